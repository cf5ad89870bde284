//! Who the caller is, and what it may do.

use std::{fmt, str::FromStr};

use crate::{
    error::{ApiError, Constraint},
    id::{ObjectId, RegistrationId},
    input::{Scope, Scopes},
    store::{Application, Registration},
};

/// What a caller may do. The names, such as `mad.application.token.create`, are those of the documented API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Permission {
    /// Create OAuth access tokens.
    OauthTokenCreate,
    /// List OAuth access tokens.
    OauthTokenList,
    /// Revoke OAuth access tokens.
    OauthTokenRevoke,
    /// Introspect credentials.
    OauthTokenIntrospect,
    /// Create app tokens.
    MadApplicationTokenCreate,
    /// List app tokens.
    MadApplicationTokenList,
    /// Revoke app tokens.
    MadApplicationTokenRemove,
}

impl Permission {
    pub const ALL: [Self; 7] = [
        Self::OauthTokenCreate,
        Self::OauthTokenList,
        Self::OauthTokenRevoke,
        Self::OauthTokenIntrospect,
        Self::MadApplicationTokenCreate,
        Self::MadApplicationTokenList,
        Self::MadApplicationTokenRemove,
    ];

    /// The name in API keys and in the scope of access tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OauthTokenCreate => "oauth.token.create",
            Self::OauthTokenList => "oauth.token.list",
            Self::OauthTokenRevoke => "oauth.token.revoke",
            Self::OauthTokenIntrospect => "oauth.token.introspect",
            Self::MadApplicationTokenCreate => "mad.application.token.create",
            Self::MadApplicationTokenList => "mad.application.token.list",
            Self::MadApplicationTokenRemove => "mad.application.token.remove",
        }
    }
}

impl FromStr for Permission {
    type Err = Constraint;

    fn from_str(name: &str) -> Result<Self, Constraint> {
        let named = Self::ALL.into_iter().find(|permission| permission.as_str() == name);
        named.ok_or_else(|| Constraint::one_of(&Self::ALL.map(Self::as_str)))
    }
}

impl From<Permission> for Scope {
    fn from(permission: Permission) -> Self {
        Self::of_service(permission.as_str())
    }
}

/// An authenticated caller.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The organization that it acts for.
    pub organization: ObjectId,
    pub id: Caller,
    pub(super) permissions: Scopes,
}

/// Whose credential the caller presented.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Caller {
    ApiKey(ObjectId),
    /// The registration of an OAuth access token.
    Registration(RegistrationId),
}

/// The text never changes: ids and secrets of idempotent requests are derived from it.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiKey(id) => write!(f, "API key {id}"),
            Self::Registration(id) => write!(f, "registration {id}"),
        }
    }
}

impl Principal {
    /// [`ApiError::Forbidden`] if the caller does not hold the permission.
    pub fn require(&self, permission: Permission) -> Result<(), ApiError> {
        if self.permissions.contains(permission.as_str()) { Ok(()) } else { Err(ApiError::Forbidden) }
    }

    /// [`ApiError::Forbidden`] if one of `scopes` is a permission of this service that the caller does not hold: a caller
    /// cannot pass on what it does not hold. Other scopes may be granted freely.
    pub fn require_grantable(&self, scopes: &Scopes) -> Result<(), ApiError> {
        let mut permissions = scopes.iter().filter_map(|scope| scope.as_str().parse().ok());
        permissions.try_for_each(|permission| self.require(permission))
    }

    /// The registration, if it belongs to the caller's organization: another organization's looks like none.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn require_registration(&self, registration: Option<Registration>) -> Result<Registration, ApiError> {
        registration.filter(|registration| registration.organization_id == self.organization).ok_or(ApiError::NotFound)
    }

    /// Requires that this application of this organization exists and belongs to the caller's. The organization exists if it is
    /// the caller's; every other looks like none.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn require_application(
        &self,
        organization_id: ObjectId,
        application: Option<&Application>,
    ) -> Result<(), ApiError> {
        let belongs = application.is_some_and(|application| application.organization_id == organization_id);
        if organization_id == self.organization && belongs { Ok(()) } else { Err(ApiError::NotFound) }
    }
}
