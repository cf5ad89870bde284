//! Who the caller is, and what it may do.

use std::fmt;

use crate::{
    error::ApiError,
    id::{ObjectId, RegistrationId},
    input::{Scope, Scopes},
    store::{Application, Registration},
};

crate::named! {
    /// What a caller may do. The names are those in API keys and in the scope of access tokens.
    pub enum Permission {
        OauthTokenCreate = "oauth.token.create",
        OauthTokenList = "oauth.token.list",
        OauthTokenRevoke = "oauth.token.revoke",
        OauthTokenIntrospect = "oauth.token.introspect",
        MadApplicationTokenCreate = "mad.application.token.create",
        MadApplicationTokenList = "mad.application.token.list",
        MadApplicationTokenRemove = "mad.application.token.remove",
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
    pub id: PrincipalId,
    pub(super) permissions: Scopes,
}

/// Whose credential the caller presented.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PrincipalId {
    ApiKey(ObjectId),
    /// The registration of an OAuth access token.
    Registration(RegistrationId),
}

/// The text never changes: ids and secrets of idempotent requests are derived from it.
impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiKey(id) => write!(f, "API key {id}"),
            Self::Registration(id) => write!(f, "registration {id}"),
        }
    }
}

impl Principal {
    /// A registration that has authenticated with its own secret. It holds all of its scopes.
    pub(super) fn of_registration(id: RegistrationId, registration: &Registration) -> Self {
        let Registration { organization_id, scopes, .. } = registration;
        Self { organization: *organization_id, id: PrincipalId::Registration(id), permissions: scopes.clone() }
    }

    /// [`ApiError::Forbidden`] if the caller does not hold the permission.
    pub fn require(&self, permission: Permission) -> Result<(), ApiError> {
        if self.permissions.contains(permission.as_str()) { Ok(()) } else { Err(ApiError::Forbidden) }
    }

    /// [`ApiError::Forbidden`] if one of `scopes` is a permission of this service that the caller does not hold: a
    /// caller cannot pass on what it does not hold. Other scopes may be granted freely.
    pub fn require_grantable(&self, scopes: &Scopes) -> Result<(), ApiError> {
        let mut permissions = scopes.iter().filter_map(|scope| Permission::named(scope.as_str()));
        permissions.try_for_each(|permission| self.require(permission))
    }

    /// The registration, if it is enabled and belongs to the caller's organization: another looks like none.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn require_registration(&self, registration: Option<Registration>) -> Result<Registration, ApiError> {
        let is_usable = |registration: &Registration| {
            registration.organization_id == self.organization && registration.state.is_usable()
        };
        registration.filter(is_usable).ok_or(ApiError::NotFound)
    }

    /// The application of this organization, if it is enabled and belongs to the caller's. The organization exists if
    /// it is the caller's; every other looks like none.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn require_application(
        &self,
        organization_id: ObjectId,
        application: Option<Application>,
    ) -> Result<Application, ApiError> {
        let is_usable =
            |application: &Application| application.organization_id == organization_id && application.state.is_usable();
        let application = application.filter(|_| organization_id == self.organization);
        application.filter(is_usable).ok_or(ApiError::NotFound)
    }
}
