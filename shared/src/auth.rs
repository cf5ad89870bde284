//! Bearer authentication (RFC 6750): who calls, for which organization, and what they may do.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use lambda_http::http::{HeaderMap, header};

use crate::{
    credential::{Credential, Kind},
    error::ApiError,
    id::{ObjectId, RegistrationId, TokenId},
    jwt::{ACCESS_TOKEN_PREFIX, UnverifiedAccessToken},
    public_keys::PublicKeys,
    settings::{Audience, Environment, Issuer, SettingsError},
    store::Store,
};

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
    /// All of them.
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
    permissions: Vec<String>,
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

/// Why a caller is nobody to us. Which of the reasons made a token invalid is not told.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unauthenticated {
    /// There is no `Authorization` header.
    #[error("no authorization header")]
    Missing,
    /// It is malformed, unknown, expired or revoked.
    #[error("invalid token")]
    InvalidToken,
}

impl Unauthenticated {
    /// The `WWW-Authenticate` header. A challenge has at least one parameter (RFC 6750, 3).
    #[must_use]
    pub const fn challenge(self) -> &'static str {
        match self {
            Self::Missing => "Bearer realm=\"tokenmint\"",
            Self::InvalidToken => "Bearer realm=\"tokenmint\", error=\"invalid_token\"",
        }
    }
}

/// A bearer that is good as far as it can tell by itself: an API key of right form, or an access token of right
/// signature, issuer, audience, type and time. What the table says of it is still to be read.
#[derive(Debug)]
pub struct Bearer(Presented);

#[derive(Debug)]
enum Presented {
    ApiKey(Credential),
    AccessToken { registration: RegistrationId, token: TokenId, scope: String },
}

/// Authenticates callers in two steps, so that a forged credential is refused before anything is read, and a handler
/// can read what it needs while the credential of a caller that is no stranger is looked up.
#[derive(Debug)]
pub struct Authenticator {
    keys: PublicKeys,
    issuer: Issuer,
    audience: Audience,
    store: Store,
    recent: RecentKeys,
}

impl Authenticator {
    /// An authenticator of the deployment's own credentials.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        Ok(Self {
            keys: PublicKeys::from_environment(environment)?,
            issuer: Issuer::from_environment(environment)?,
            audience: Audience::from_environment(environment)?,
            store: Store::from_environment(environment)?,
            recent: RecentKeys::default(),
        })
    }

    /// Fetches the public keys that the first access token would otherwise wait for. Failing is harmless.
    pub async fn warm(&self) {
        self.keys.warm().await;
    }

    /// The public keys, whose copy of the table's keys a signer can share.
    #[must_use]
    pub fn public_keys(&self) -> &PublicKeys {
        &self.keys
    }

    /// Takes the bearer from the `Authorization` header and checks what needs no database.
    ///
    /// # Errors
    /// When there is none or it is not good; a failure only if a public key is not known yet and cannot be fetched.
    pub async fn inspect(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Result<Bearer, ApiError> {
        let header = headers.get(header::AUTHORIZATION).ok_or(Unauthenticated::Missing)?;
        let credential = header.to_str().ok().and_then(bearer_credential).ok_or(Unauthenticated::InvalidToken)?;
        if let Some(api_key) = Credential::parse(Kind::ApiKey, credential) {
            return Ok(Bearer(Presented::ApiKey(api_key)));
        }
        let jwt = credential.strip_prefix(ACCESS_TOKEN_PREFIX).ok_or(Unauthenticated::InvalidToken)?;
        let unverified = UnverifiedAccessToken::parse(jwt).ok_or(Unauthenticated::InvalidToken)?;
        let key = self.keys.find(unverified.kid()).await?.ok_or(Unauthenticated::InvalidToken)?;
        let claims = unverified.verify(key.rsa()).ok_or(Unauthenticated::InvalidToken)?;
        let addressed = claims.iss == self.issuer.as_str() && claims.aud == self.audience.as_str();
        let ours = addressed && now.timestamp() < claims.exp;
        match claims.sub.parse() {
            Ok(registration) if ours => {
                Ok(Bearer(Presented::AccessToken { registration, token: claims.jti, scope: claims.scope }))
            }
            _ => Err(Unauthenticated::InvalidToken.into()),
        }
    }

    /// Looks the bearer up, in one read.
    ///
    /// # Errors
    /// When the table does not know it, or does not answer.
    pub async fn authenticate(&self, bearer: Bearer, now: DateTime<Utc>) -> Result<Principal, ApiError> {
        match bearer.0 {
            Presented::ApiKey(secret) => {
                let key = self.store.load_api_key(&secret).await?.ok_or(Unauthenticated::InvalidToken)?;
                self.recent.add(secret.id(), now);
                let id = format!("API key {}", secret.id());
                Ok(Principal { organization: key.organization_id, id, permissions: key.permissions })
            }
            Presented::AccessToken { registration, token, scope } => {
                let id = format!("registration {registration}");
                let registration =
                    self.store.load_registration(&registration).await?.ok_or(Unauthenticated::InvalidToken)?;
                // Not merely a token of that id: the one that is recorded.
                registration.find_active(token, now).ok_or(Unauthenticated::InvalidToken)?;
                let permissions = scope.split(' ').map(str::to_owned).collect();
                Ok(Principal { organization: registration.organization_id, id, permissions })
            }
        }
    }

    /// Looks the bearer up, and does the handler's own reads: at the same time, if the caller is known to be somebody, and
    /// else afterwards. So a made-up API key costs one small read, however large the items that the request names.
    ///
    /// # Errors
    /// As for [`Self::authenticate`].
    pub async fn authenticate_beside<T>(
        &self,
        bearer: Bearer,
        now: DateTime<Utc>,
        reads: impl Future<Output = T>,
    ) -> Result<(Principal, T), ApiError> {
        let known = match &bearer.0 {
            Presented::ApiKey(secret) => self.recent.contains(secret.id(), now),
            // Its signature is valid.
            Presented::AccessToken { .. } => true,
        };
        let caller = self.authenticate(bearer, now);
        if known {
            let (caller, read) = tokio::join!(caller, reads);
            Ok((caller?, read))
        } else {
            Ok((caller.await?, reads.await))
        }
    }
}

/// The API keys that this process has lately seen to be good. Knowing one saves a round and decides nothing: the key is
/// looked up all the same.
#[derive(Debug, Default)]
struct RecentKeys(Mutex<HashMap<ObjectId, DateTime<Utc>>>);

impl RecentKeys {
    const SECONDS: i64 = 3600;
    const MAX: usize = 1000;

    fn add(&self, id: ObjectId, now: DateTime<Utc>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= Self::MAX {
            seen.retain(|_, at| Self::is_recent(*at, now));
        }
        if seen.len() < Self::MAX {
            seen.insert(id, now);
        }
    }

    fn contains(&self, id: ObjectId, now: DateTime<Utc>) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&id).is_some_and(|at| Self::is_recent(*at, now))
    }

    fn is_recent(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        now.signed_duration_since(at) < TimeDelta::seconds(Self::SECONDS)
    }
}

/// What follows `Bearer`, whose case does not matter (RFC 9110, 11.1).
fn bearer_credential(header: &str) -> Option<&str> {
    let (scheme, credential) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| credential.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer_credential("Bearer abc"), Some("abc"));
        assert_eq!(bearer_credential("bEARER   abc "), Some("abc"));
        for wrong in ["", "Bearer", "Basic abc", "abc", "Bearerabc", "Bearer\tabc", " Bearer abc"] {
            assert_eq!(bearer_credential(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_credential_is_all_that_follows_the_scheme(header in "([Bb][Ee]ARER|Bearer|Basic|)[ \t]{0,3}[!-~ é\t]{0,30}") {
            if let Some(credential) = bearer_credential(&header) {
                prop_assert!(header.to_ascii_lowercase().starts_with("bearer "));
                prop_assert_eq!(header[7..].trim_matches(' '), credential);
            } else {
                prop_assert!(!header.to_ascii_lowercase().starts_with("bearer "));
            }
        }
    }
}
