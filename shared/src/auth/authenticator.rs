//! Bearer authentication (RFC 6750): who calls, for which organization, and what they may do.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use lambda_http::http::{HeaderMap, header};

use crate::{
    auth::Principal,
    credential::{Credential, CredentialKind},
    error::Unauthenticated,
    id::{ObjectId, RegistrationId, TokenId},
    keys::jwt::{ACCESS_TOKEN_PREFIX, UnverifiedAccessToken},
    keys::{Audience, Issuer, PublicKeys},
    runtime::ApiError,
    store::Store,
};

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
    #[must_use]
    pub fn new(keys: PublicKeys, issuer: Issuer, audience: Audience, store: Store) -> Self {
        Self { keys, issuer, audience, store, recent: RecentKeys::default() }
    }

    /// Fetches the public keys that the first access token would otherwise wait for. Failing is harmless.
    pub async fn warm(&self) {
        self.keys.warm().await;
    }

    /// Takes the bearer from the `Authorization` header and checks what needs no database.
    ///
    /// # Errors
    /// When there is none or it is not good; a failure only if a public key is not known yet and cannot be fetched.
    pub async fn inspect(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Result<Bearer, ApiError> {
        let header = headers.get(header::AUTHORIZATION).ok_or(Unauthenticated::Missing)?;
        let credential = header.to_str().ok().and_then(bearer_credential).ok_or(Unauthenticated::InvalidToken)?;
        if let Some(api_key) = Credential::parse(CredentialKind::ApiKey, credential) {
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
                let Some(key) = self.store.load_api_key(&secret).await? else {
                    self.recent.remove(secret.id());
                    return Err(Unauthenticated::InvalidToken.into());
                };
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

    fn remove(&self, id: ObjectId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
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
