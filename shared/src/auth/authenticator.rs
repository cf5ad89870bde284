//! Bearer authentication (RFC 6750).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use lambda_http::http::{HeaderMap, header};

use crate::{
    auth::{
        AuthenticatedClient, AuthenticatedRegistration, CheckedCredential, CheckedRegistrationToken, ClientCredentials,
        CredentialVerifier, ParsedClientId, Principal, PrincipalId,
    },
    clock::age,
    credential::{Credential, CredentialKind},
    error::{ApiError, Unauthenticated, ValidationError},
    id::ObjectId,
    keys::jwt::ACCESS_TOKEN_PREFIX,
    runtime::telemetry::{Phase, timed},
};

/// A bearer that these endpoints take, before it is looked up.
#[derive(Debug)]
enum Bearer {
    ApiKey(Credential),
    RegistrationToken(CheckedRegistrationToken),
}

/// Authenticates the callers of endpoints that take an API key or an OAuth access token. [`Self::admit`] does it in the right
/// order with the rest of a request.
#[derive(Debug)]
pub struct Authenticator {
    /// What verifies credentials, the caller's and others.
    pub verifier: CredentialVerifier,
    recent: RecentKeys,
}

impl Authenticator {
    #[must_use]
    pub fn new(verifier: CredentialVerifier) -> Self {
        Self { verifier, recent: RecentKeys::default() }
    }

    /// Fetches the public keys that the first access token would otherwise wait for. A failure is harmless.
    pub async fn warm(&self) {
        self.verifier.warm().await;
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
        self.admit_bearer(bearer, now, parsed, reads).await
    }

    /// As [`Self::admit`], for an API key that was presented in another way.
    pub async fn admit_api_key<B, T>(
        &self,
        api_key: Credential,
        now: DateTime<Utc>,
        parsed: Result<B, ValidationError>,
        reads: impl AsyncFnOnce(&B) -> T,
    ) -> Result<(Principal, B, T), ApiError> {
        self.admit_bearer(Bearer::ApiKey(api_key), now, parsed, reads).await
    }

    async fn admit_bearer<B, T>(
        &self,
        bearer: Bearer,
        now: DateTime<Utc>,
        parsed: Result<B, ValidationError>,
        reads: impl AsyncFnOnce(&B) -> T,
    ) -> Result<(Principal, B, T), ApiError> {
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

    /// Authenticates a client of either kind, and does `reads` in the order of [`Self::admit_api_key`].
    ///
    /// # Errors
    /// [`OauthError::InvalidClient`], or a failure.
    pub async fn authenticate_client<T>(
        &self,
        credentials: &ClientCredentials,
        now: DateTime<Utc>,
        reads: impl Future<Output = T>,
    ) -> Result<(AuthenticatedClient, T), ApiError> {
        let store = &self.verifier.store;
        match credentials.parse_id()? {
            ParsedClientId::UserClient(id) => {
                let client = timed(Phase::Load, store.load_client(id)).await?;
                credentials.authenticate(client.as_ref())?;
                Ok((AuthenticatedClient::UserClient(id), reads.await))
            }
            ParsedClientId::Registration(id) => {
                let api_key = credentials.secret(CredentialKind::ApiKey).ok_or_else(|| credentials.invalid())?;
                let reads = async |(): &()| tokio::join!(store.load_registration(&id), reads);
                let admitted = self.admit_api_key(api_key, now, Ok(()), reads).await;
                let (caller, (), (registration, read)) =
                    admitted.map_err(|error| error.if_unauthenticated(|| credentials.invalid()))?;
                let own = registration?.filter(|registration| registration.organization_id == caller.organization);
                let registration = own.ok_or_else(|| credentials.invalid())?;
                let authenticated = AuthenticatedRegistration { id, registration, caller };
                Ok((AuthenticatedClient::Registration(Box::new(authenticated)), read))
            }
        }
    }

    /// Parses the bearer of the `Authorization` header and does the checks that do not need its item.
    async fn inspect(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Result<Bearer, ApiError> {
        let text = bearer(headers)?;
        match self.verifier.check(text, now).await? {
            Some(CheckedCredential::ApiKey(api_key)) => Ok(Bearer::ApiKey(api_key)),
            // These endpoints take an access token with its prefix only.
            Some(CheckedCredential::RegistrationToken(token)) if text.starts_with(ACCESS_TOKEN_PREFIX) => {
                Ok(Bearer::RegistrationToken(token))
            }
            _ => Err(Unauthenticated::InvalidToken.into()),
        }
    }

    /// Looks up the bearer, in one read.
    async fn authenticate(&self, bearer: Bearer, now: DateTime<Utc>) -> Result<Principal, ApiError> {
        match bearer {
            Bearer::ApiKey(api_key) => self.authenticate_api_key(&api_key, now).await,
            Bearer::RegistrationToken(token) => {
                let id = PrincipalId::Registration(token.registration.clone());
                let active = self.verifier.load(CheckedCredential::RegistrationToken(token), now).await?;
                let active = active.ok_or(Unauthenticated::InvalidToken)?;
                let organization = active.organization.ok_or(Unauthenticated::InvalidToken)?;
                Ok(Principal { organization, id, permissions: active.scopes })
            }
        }
    }

    async fn authenticate_api_key(&self, secret: &Credential, now: DateTime<Utc>) -> Result<Principal, ApiError> {
        let Some(key) = self.verifier.store.load_api_key(secret).await? else {
            self.recent.remove(secret.id());
            return Err(Unauthenticated::InvalidToken.into());
        };
        self.recent.add(secret.id(), now);
        let id = PrincipalId::ApiKey(secret.id());
        Ok(Principal { organization: key.organization_id, id, permissions: key.permissions })
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
            Bearer::RegistrationToken { .. } => true,
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

/// The bearer of the `Authorization` header (RFC 6750, 2.1).
pub fn bearer(headers: &HeaderMap) -> Result<&str, Unauthenticated> {
    let header = headers.get(header::AUTHORIZATION).ok_or(Unauthenticated::Missing)?;
    header.to_str().ok().and_then(bearer_credential).ok_or(Unauthenticated::InvalidToken)
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
