//! Bearer authentication (RFC 6750): who calls, for which organization, and what they may do.

use chrono::{DateTime, Utc};
use lambda_http::http::{HeaderMap, header};

use crate::{
    credential::{Credential, CredentialHash, Kind},
    fault::Fault,
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
    /// Create integration tokens of an app.
    MadApplicationTokenCreate,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::OauthTokenCreate, Self::MadApplicationTokenCreate];

    /// Its name, in API keys and in the scope of access tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OauthTokenCreate => "oauth.token.create",
            Self::MadApplicationTokenCreate => "mad.application.token.create",
        }
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
    /// Whether it may do this.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.iter().any(|held| held == permission.as_str())
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
    /// The `WWW-Authenticate` header that goes with it (RFC 6750, 3).
    #[must_use]
    pub const fn challenge(self) -> &'static str {
        match self {
            Self::Missing => "Bearer",
            Self::InvalidToken => "Bearer error=\"invalid_token\"",
        }
    }
}

/// Why authentication gave no principal.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The caller's credential is not good.
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    /// Whether it is could not be found out.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A bearer that is good as far as it can tell by itself: an API key of right form, or an access token of right
/// signature, issuer, audience, type and time. What the table says of it is still to be read.
#[derive(Debug)]
pub struct Bearer(Presented);

#[derive(Debug)]
enum Presented {
    ApiKey(CredentialHash),
    AccessToken { registration: RegistrationId, token: TokenId, scope: String },
}

/// Authenticates callers in two steps, so that a forged credential is refused before anything is read, and a handler
/// can read what it needs while the credential is looked up.
#[derive(Debug)]
pub struct Authenticator {
    keys: PublicKeys,
    issuer: Issuer,
    audience: Audience,
    store: Store,
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
    /// When there is none or it is not good; a fault only where a public key is not known yet and cannot be fetched.
    pub async fn inspect(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Result<Bearer, AuthError> {
        let header = headers.get(header::AUTHORIZATION).ok_or(Unauthenticated::Missing)?;
        let credential = header.to_str().ok().and_then(bearer_credential).ok_or(Unauthenticated::InvalidToken)?;
        if let Some(api_key) = Credential::parse(Kind::ApiKey, credential) {
            return Ok(Bearer(Presented::ApiKey(api_key.hash())));
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
    pub async fn authenticate(&self, bearer: Bearer, now: DateTime<Utc>) -> Result<Principal, AuthError> {
        match bearer.0 {
            Presented::ApiKey(hash) => {
                let key = self.store.api_key(&hash).await?.ok_or(Unauthenticated::InvalidToken)?;
                let id = format!("API key {}", key.api_key_id);
                Ok(Principal { organization: key.organization_id, id, permissions: key.permissions })
            }
            Presented::AccessToken { registration, token, scope } => {
                let id = format!("registration {registration}");
                let registration =
                    self.store.registration(&registration).await?.ok_or(Unauthenticated::InvalidToken)?;
                let held = registration.tokens.get(&token).is_some_and(|token| token.is_active(now));
                if !held {
                    return Err(Unauthenticated::InvalidToken.into());
                }
                let permissions = scope.split(' ').map(str::to_owned).collect();
                Ok(Principal { organization: registration.organization_id, id, permissions })
            }
        }
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
