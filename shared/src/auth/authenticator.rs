//! Bearer authentication (RFC 6750).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use lambda_http::http::{HeaderMap, header};

use crate::{
    auth::{
        ActiveCredential, AuthenticatedClient, AuthenticatedRegistration, CheckedCredential, ClientCredentials,
        CredentialVerifier, Lookup, ParsedClientId, Principal, PrincipalId,
    },
    clock::age,
    credential::CredentialKind,
    error::{ApiError, Unauthenticated, ValidationError},
    id::{ObjectId, TokenId},
    keys::Keys,
    keys::jwt::ACCESS_TOKEN_PREFIX,
    runtime::telemetry::{Phase, timed},
    runtime::{Environment, SettingsError},
    store::Store,
};

/// Authenticates the callers of endpoints that take an API key or an OAuth access token. [`Self::admit`] does it in the
/// right order with the rest of a request.
#[derive(Debug)]
pub struct Authenticator {
    /// What verifies credentials, the caller's and others.
    pub verifier: CredentialVerifier,
    recent: RecentCredentials,
}

impl Authenticator {
    pub fn from_environment(environment: &Environment, keys: &Keys, store: &Store) -> Result<Self, SettingsError> {
        let verifier = CredentialVerifier::from_environment(environment, keys, store)?;
        Ok(Self { verifier, recent: RecentCredentials::default() })
    }

    /// Fetches the public keys that the first access token would otherwise wait for. A failure is harmless.
    pub async fn warm(&self) {
        self.verifier.warm().await;
    }

    /// Authenticates the caller of a request and does the reads that its handler needs.
    ///
    /// 1. Without a valid credential the answer is 401, whatever else is wrong with the request.
    /// 2. If `parsed` is an error, the caller learns it only now.
    /// 3. `reads` run beside the lookup of the credential if this process lately found that credential to be good, and
    ///    otherwise after it. So a made-up API key and a revoked token cost the one read of their own item, however
    ///    large the items are that the request names.
    pub async fn admit<B, T>(
        &self,
        headers: &HeaderMap,
        now: DateTime<Utc>,
        parsed: Result<B, ValidationError>,
        reads: impl AsyncFnOnce(&B) -> T,
    ) -> Result<(Principal, B, T), ApiError> {
        let bearer = self.check(headers, now).await?;
        self.admit_bearer(bearer, now, parsed, reads).await
    }

    /// As [`Self::admit`], for a bearer that was presented in another way.
    pub async fn admit_bearer<B, T>(
        &self,
        bearer: CheckedCredential,
        now: DateTime<Utc>,
        parsed: Result<B, ValidationError>,
        reads: impl AsyncFnOnce(&B) -> T,
    ) -> Result<(Principal, B, T), ApiError> {
        let remembered_as = RecentCredential::of(&bearer);
        let was_good = remembered_as.is_some_and(|credential| self.recent.contains(credential, now));
        let lookup = async {
            let stored = self.verifier.load(bearer, Lookup::WithIssuer).await?;
            let active = stored.as_ref().and_then(|stored| stored.active(now));
            let principal = active.and_then(|active| principal(&active));
            if let Some(credential) = remembered_as {
                self.recent.update(credential, principal.is_some(), now);
            }
            principal.ok_or_else(|| ApiError::from(Unauthenticated::InvalidToken))
        };
        timed(Phase::Load, async {
            let body = match parsed {
                Ok(body) => body,
                Err(invalid) => {
                    lookup.await?;
                    return Err(invalid.into());
                }
            };
            let reads = reads(&body);
            let (principal, read) = if was_good {
                let (principal, read) = tokio::join!(lookup, reads);
                (principal?, read)
            } else {
                (lookup.await?, reads.await)
            };
            Ok((principal, body, read))
        })
        .await
    }

    /// Authenticates a client of either kind, and does `reads` in the order of [`Self::admit`]; of a client that logs
    /// users in, after it has authenticated.
    ///
    /// # Errors
    /// [`crate::error::OauthError::InvalidClient`], or a failure.
    pub async fn authenticate_client<T>(
        &self,
        credentials: &ClientCredentials,
        now: DateTime<Utc>,
        reads: impl Future<Output = T>,
    ) -> Result<(AuthenticatedClient, T), ApiError> {
        let store = &self.verifier.store;
        match credentials.parse_id()? {
            ParsedClientId::UserClient(id) => {
                let authenticate = async {
                    let client = store.load_client(id).await?;
                    credentials.authenticate(client.as_ref(), now)?;
                    Ok((AuthenticatedClient::UserClient(id), reads.await))
                };
                timed(Phase::Load, authenticate).await
            }
            ParsedClientId::Registration(id) => {
                let api_key = credentials.secret(CredentialKind::ApiKey).ok_or_else(|| credentials.invalid())?;
                let bearer = CheckedCredential::ApiKey(api_key);
                let reads = async |(): &()| tokio::join!(store.load_registration(&id), reads);
                let admitted = self.admit_bearer(bearer, now, Ok(()), reads).await;
                let (caller, (), (registration, read)) =
                    admitted.map_err(|error| error.if_unauthenticated(|| credentials.invalid()))?;
                let registration = caller.require_registration(registration?).map_err(|_| credentials.invalid())?;
                let authenticated = AuthenticatedRegistration { id, registration, caller };
                Ok((AuthenticatedClient::Registration(Box::new(authenticated)), read))
            }
        }
    }

    /// Parses the bearer of the `Authorization` header and does the checks that do not need its item.
    async fn check(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Result<CheckedCredential, ApiError> {
        let text = bearer(headers)?;
        match self.verifier.check(text, now).await? {
            Some(api_key @ CheckedCredential::ApiKey(_)) => Ok(api_key),
            // These endpoints take an access token with its prefix only.
            Some(token @ CheckedCredential::RegistrationToken(_)) if text.starts_with(ACCESS_TOKEN_PREFIX) => Ok(token),
            _ => Err(Unauthenticated::InvalidToken.into()),
        }
    }
}

/// The caller that a credential is a bearer of; `None` if these endpoints do not take this kind.
fn principal(active: &ActiveCredential<'_>) -> Option<Principal> {
    let id = match active {
        ActiveCredential::ApiKey { id, .. } => PrincipalId::ApiKey(*id),
        ActiveCredential::RegistrationToken { token, .. } => PrincipalId::Registration(token.registration_id.clone()),
        ActiveCredential::AppToken(_) | ActiveCredential::UserToken { .. } | ActiveCredential::RefreshToken { .. } => {
            return None;
        }
    };
    Some(Principal { organization: active.organization_id()?, id, permissions: active.scopes().clone() })
}

/// What a credential is remembered by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum RecentCredential {
    ApiKey(ObjectId),
    /// By its `jti`.
    RegistrationToken(TokenId),
}

impl RecentCredential {
    /// `None` if no caller is authenticated by this kind of credential.
    fn of(credential: &CheckedCredential) -> Option<Self> {
        match credential {
            CheckedCredential::ApiKey(secret) => Some(Self::ApiKey(secret.id())),
            CheckedCredential::RegistrationToken(token) => Some(Self::RegistrationToken(token.claims.id)),
            CheckedCredential::AppToken(_)
            | CheckedCredential::Code(_)
            | CheckedCredential::RefreshToken(_)
            | CheckedCredential::UserToken(_) => None,
        }
    }
}

/// The credentials that were good when this process last looked them up. They are looked up again, but beside the other
/// reads, which saves a round. A valid signature does not earn that: a revoked token keeps its signature.
#[derive(Debug, Default)]
struct RecentCredentials(Mutex<HashMap<RecentCredential, DateTime<Utc>>>);

impl RecentCredentials {
    const SECONDS: i64 = 3600;
    const MAX: usize = 1000;

    fn update(&self, credential: RecentCredential, is_good: bool, now: DateTime<Utc>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_good {
            seen.remove(&credential);
            return;
        }
        if seen.len() >= Self::MAX {
            seen.retain(|_, at| Self::is_recent(*at, now));
        }
        if seen.len() < Self::MAX {
            seen.insert(credential, now);
        }
    }

    fn contains(&self, credential: RecentCredential, now: DateTime<Utc>) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&credential).is_some_and(|at| Self::is_recent(*at, now))
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
    use crate::random::SystemRandom;

    #[test]
    fn only_so_many_credentials_are_remembered_and_none_of_them_for_long() {
        let (recent, now) = (RecentCredentials::default(), DateTime::UNIX_EPOCH);
        let new = || RecentCredential::RegistrationToken(TokenId::random(&SystemRandom).unwrap());
        let first = new();
        recent.update(first, true, now);
        for _ in 0..RecentCredentials::MAX {
            recent.update(new(), true, now);
        }
        let later = now + TimeDelta::seconds(RecentCredentials::SECONDS);
        assert_eq!(recent.0.lock().unwrap().len(), RecentCredentials::MAX);
        assert!(recent.contains(first, now) && !recent.contains(first, later));
        recent.update(first, false, now);
        assert!(!recent.contains(first, now));

        let last = new();
        recent.update(new(), true, now);
        recent.update(last, true, later);
        assert!(recent.contains(last, later) && recent.0.lock().unwrap().len() == 1);
    }

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
