//! Bearer authentication (RFC 6750).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use lambda_http::http::{HeaderMap, header};

use crate::{
    auth::{Caller, Principal},
    clock::age,
    credential::{Credential, CredentialKind},
    error::{Unauthenticated, ValidationError},
    id::{ObjectId, RegistrationId, TokenId},
    keys::jwt::{ACCESS_TOKEN_PREFIX, UnverifiedAccessToken},
    keys::{Audience, Issuer, PublicKeys},
    runtime::ApiError,
    runtime::telemetry::{Phase, timed},
    store::Store,
};

/// A credential that passed the checks that do not need its item: an API key in the right format, or an access token whose
/// signature, issuer, audience, type and expiry are valid.
#[derive(Debug)]
enum Bearer {
    ApiKey(Credential),
    AccessToken { registration: RegistrationId, token: TokenId, scope: String },
}

/// Authenticates callers in two steps: `inspect` checks format, signature and claims, and reads only public keys, at most
/// once a second for an unknown one; `authenticate` looks the credential up. [`Self::admit`] does both in the right order.
#[derive(Debug)]
pub struct Authenticator {
    keys: PublicKeys,
    issuer: Issuer,
    audience: Audience,
    store: Store,
    recent: RecentKeys,
}

impl Authenticator {
    /// An authenticator for the credentials of this deployment.
    #[must_use]
    pub fn new(keys: PublicKeys, issuer: Issuer, audience: Audience, store: Store) -> Self {
        Self { keys, issuer, audience, store, recent: RecentKeys::default() }
    }

    /// Fetches the public keys that the first access token would otherwise wait for. A failure is harmless.
    pub async fn warm(&self) {
        self.keys.warm().await;
    }

    /// Authenticates the caller of a request and does the reads that its handler needs.
    ///
    /// 1. Without a valid credential the answer is 401, whatever else is wrong with the request.
    /// 2. If `parsed` is an error, the caller learns it only now.
    /// 3. `reads` run beside the lookup of the credential if the caller is probably genuine, and otherwise after it. So a
    ///    made-up API key costs one small read, however large the items are that the request names.
    pub async fn admit<B, T>(
        &self,
        headers: &HeaderMap,
        now: DateTime<Utc>,
        parsed: Result<B, ValidationError>,
        reads: impl AsyncFnOnce(&B) -> T,
    ) -> Result<(Principal, B, T), ApiError> {
        let bearer = self.inspect(headers, now).await?;
        let body = match parsed {
            Ok(body) => body,
            Err(invalid) => {
                timed(Phase::Load, self.authenticate(bearer, now)).await?;
                return Err(invalid.into());
            }
        };
        let (caller, read) = timed(Phase::Load, self.authenticate_beside(bearer, now, reads(&body))).await?;
        Ok((caller, body, read))
    }

    /// Parses the bearer of the `Authorization` header and does the checks that do not need its item.
    async fn inspect(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Result<Bearer, ApiError> {
        let header = headers.get(header::AUTHORIZATION).ok_or(Unauthenticated::Missing)?;
        let credential = header.to_str().ok().and_then(bearer_credential).ok_or(Unauthenticated::InvalidToken)?;
        if let Some(api_key) = Credential::parse(CredentialKind::ApiKey, credential) {
            return Ok(Bearer::ApiKey(api_key));
        }
        let jwt = credential.strip_prefix(ACCESS_TOKEN_PREFIX).ok_or(Unauthenticated::InvalidToken)?;
        let unverified = UnverifiedAccessToken::parse(jwt).ok_or(Unauthenticated::InvalidToken)?;
        let key = self.keys.find(unverified.kid()).await?.ok_or(Unauthenticated::InvalidToken)?;
        let claims = unverified.verify(key.rsa()).ok_or(Unauthenticated::InvalidToken)?;
        let addressed = claims.iss == self.issuer.as_str() && claims.aud == self.audience.as_str();
        let valid = addressed && now < claims.exp;
        match claims.sub.parse() {
            Ok(registration) if valid => {
                Ok(Bearer::AccessToken { registration, token: claims.jti, scope: claims.scope })
            }
            _ => Err(Unauthenticated::InvalidToken.into()),
        }
    }

    /// Looks up the bearer, in one read.
    async fn authenticate(&self, bearer: Bearer, now: DateTime<Utc>) -> Result<Principal, ApiError> {
        match bearer {
            Bearer::ApiKey(secret) => {
                let Some(key) = self.store.load_api_key(&secret).await? else {
                    self.recent.remove(secret.id());
                    return Err(Unauthenticated::InvalidToken.into());
                };
                self.recent.add(secret.id(), now);
                let id = Caller::ApiKey(secret.id());
                Ok(Principal { organization: key.organization_id, id, permissions: key.permissions })
            }
            Bearer::AccessToken { registration: id, token, scope } => {
                let registration = self.store.load_registration(&id).await?.ok_or(Unauthenticated::InvalidToken)?;
                // The token must be recorded with this `jti`. A token in the same slot is not enough.
                registration.find_active(token, now).ok_or(Unauthenticated::InvalidToken)?;
                let permissions = scope.split(' ').map(str::to_owned).collect();
                let id = Caller::Registration(id);
                Ok(Principal { organization: registration.organization_id, id, permissions })
            }
        }
    }

    async fn authenticate_beside<T>(
        &self,
        bearer: Bearer,
        now: DateTime<Utc>,
        reads: impl Future<Output = T>,
    ) -> Result<(Principal, T), ApiError> {
        let probably_genuine = match &bearer {
            Bearer::ApiKey(secret) => self.recent.contains(secret.id(), now),
            // Its signature is valid.
            Bearer::AccessToken { .. } => true,
        };
        let caller = self.authenticate(bearer, now);
        if probably_genuine {
            let (caller, read) = tokio::join!(caller, reads);
            Ok((caller?, read))
        } else {
            Ok((caller.await?, reads.await))
        }
    }
}

/// The API keys that were valid when this process last looked them up. Such a key is looked up again, but beside the other
/// reads, which saves a round.
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
        age(at, now) < TimeDelta::seconds(Self::SECONDS)
    }
}

/// The credential after the scheme `Bearer`, which is case-insensitive (RFC 9110, 11.1).
fn bearer_credential(header: &str) -> Option<&str> {
    let (scheme, credential) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| credential.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_scheme_is_case_insensitive() {
        assert_eq!(bearer_credential("Bearer abc"), Some("abc"));
        assert_eq!(bearer_credential("bEARER   abc "), Some("abc"));
        for wrong in ["", "Bearer", "Basic abc", "abc", "Bearerabc", "Bearer\tabc", " Bearer abc"] {
            assert_eq!(bearer_credential(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_credential_is_what_follows_the_scheme(header in "([Bb][Ee]ARER|Bearer|Basic|)[ \t]{0,3}[!-~ é\t]{0,30}") {
            if let Some(credential) = bearer_credential(&header) {
                prop_assert!(header.to_ascii_lowercase().starts_with("bearer "));
                prop_assert_eq!(header[7..].trim_matches(' '), credential);
            } else {
                prop_assert!(!header.to_ascii_lowercase().starts_with("bearer "));
            }
        }
    }
}
