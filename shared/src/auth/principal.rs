//! Who calls, and what they may do.

use crate::{id::ObjectId, runtime::ApiError};

/// What a caller may be allowed to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Permission {
    /// Create OAuth access tokens.
    OauthTokenCreate,
    /// List the OAuth access tokens of a registration.
    OauthTokenList,
    /// Revoke OAuth access tokens.
    OauthTokenRevoke,
    /// Ask whether a credential is valid, and what it may do.
    OauthTokenIntrospect,
    /// Create integration tokens of an app.
    MadApplicationTokenCreate,
    /// List the integration tokens of an app.
    MadApplicationTokenList,
    /// Revoke integration tokens of an app.
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

    /// Its name, in API keys and in the scope of access tokens.
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

    /// The permission with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == name)
    }
}

/// An authenticated caller.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The organization that it acts for.
    pub organization: ObjectId,
    /// Which API key or registration it is.
    pub id: String,
    pub(super) permissions: Vec<String>,
}

impl Principal {
    /// Requires a permission.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] if the caller does not hold it.
    pub fn require(&self, permission: Permission) -> Result<(), ApiError> {
        let held = self.permissions.iter().any(|held| held == permission.as_str());
        if held { Ok(()) } else { Err(ApiError::Forbidden) }
    }

    /// Requires each of `scopes` that is a permission of this service: a caller cannot pass on what it does not hold. Other
    /// scopes are free.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] if the caller lacks one of them.
    pub fn require_all_of(&self, scopes: &[String]) -> Result<(), ApiError> {
        scopes.iter().filter_map(|scope| Permission::named(scope)).try_for_each(|permission| self.require(permission))
    }
}
