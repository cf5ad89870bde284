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
        CredentialVerifier, Lookup, ParsedClientId, Permission, Principal, PrincipalId,
    },
    clock::age,
    credential::{Credential, CredentialKind},
    error::{ApiError, Unauthenticated, ValidationError},
    id::{ObjectId, TokenId},
    keys::jwt::ACCESS_TOKEN_PREFIX,
    keys::{AcceptedAudiences, Keys},
    runtime::telemetry::{Phase, timed},
    runtime::{Environment, SettingsError},
    store::{Registration, Store},
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
        self.admit_as(bearer, now, parsed, reads, Principal::of).await
    }

    /// As [`Self::admit`], for the API key of an introspection request.
    pub async fn admit_introspector<B, T>(
        &self,
        api_key: Credential,
        now: DateTime<Utc>,
        parsed: Result<B, ValidationError>,
        reads: impl AsyncFnOnce(&B) -> T,
    ) -> Result<(Introspector, B, T), ApiError> {
        let caller = |active: &ActiveCredential<'_>| Some(Introspector::of(active));
        self.admit_as(CheckedCredential::ApiKey(api_key), now, parsed, reads, caller).await
    }

    /// As [`Self::admit`]; `caller` says who the holder of an active credential is, if it is a bearer here.
    async fn admit_as<C, B, T>(
        &self,
        bearer: CheckedCredential,
        now: DateTime<Utc>,
        parsed: Result<B, ValidationError>,
        reads: impl AsyncFnOnce(&B) -> T,
        caller: impl FnOnce(&ActiveCredential<'_>) -> Option<C>,
    ) -> Result<(C, B, T), ApiError> {
        let remembered_as = RecentCredential::of(&bearer);
        // Boxed, here and below, to keep the futures around it small.
        let lookup = Box::pin(async {
            let stored = self.verifier.load(bearer, Lookup::WithIssuer).await?;
            let active = stored.as_ref().and_then(|stored| stored.active(now));
            let caller = active.and_then(|active| caller(&active));
            caller.ok_or_else(|| ApiError::from(Unauthenticated::InvalidToken))
        });
        let body = match parsed {
            Ok(body) => body,
            Err(invalid) => {
                self.with_reads(remembered_as, now, lookup, async {}).await?;
                return Err(invalid.into());
            }
        };
        let (caller, read) = self.with_reads(remembered_as, now, lookup, reads(&body)).await?;
        Ok((caller, body, read))
    }

    /// Looks a credential up. `reads` run beside that if this process lately found the credential to be good, and
    /// otherwise once it turns out to be.
    async fn with_reads<C, T>(
        &self,
        remembered_as: Option<RecentCredential>,
        now: DateTime<Utc>,
        lookup: impl Future<Output = Result<C, ApiError>>,
        reads: impl Future<Output = T>,
    ) -> Result<(C, T), ApiError> {
        let was_good = self.was_good(remembered_as, now);
        let lookup = async {
            let found = lookup.await;
            if let Some(credential) = remembered_as {
                self.recent.update(credential, found.is_ok(), now);
            }
            found
        };
        timed(Phase::Load, async {
            if was_good {
                let (found, read) = tokio::join!(lookup, reads);
                Ok((found?, read))
            } else {
                Ok((lookup.await?, reads.await))
            }
        })
        .await
    }

    fn was_good(&self, remembered_as: Option<RecentCredential>, now: DateTime<Utc>) -> bool {
        remembered_as.is_some_and(|credential| self.recent.contains(credential, now))
    }

    /// Authenticates a client of either kind, and does `reads` in the order of [`Self::admit`].
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
        match (credentials.parse_id()?, credentials.secret(CredentialKind::ApiKey)) {
            (ParsedClientId::UserClient(id), _) => {
                let authenticate = Box::pin(async {
                    let client = store.load_client(id).await?;
                    credentials.authenticate(client.as_ref(), now)?;
                    Ok(AuthenticatedClient::UserClient(id))
                });
                self.with_reads(RecentCredential::of_client(credentials), now, authenticate, reads).await
            }
            (ParsedClientId::Registration(id), Some(api_key)) => {
                let bearer = CheckedCredential::ApiKey(api_key);
                let reads = async |(): &()| tokio::join!(Box::pin(store.load_registration(&id)), reads);
                let admitted = Box::pin(self.admit_as(bearer, now, Ok(()), reads, Principal::of)).await;
                let (caller, (), (registration, read)) =
                    admitted.map_err(|error| error.if_unauthenticated(|| credentials.invalid()))?;
                let registration = caller.require_registration(registration?).map_err(|_| credentials.invalid())?;
                let authenticated = AuthenticatedRegistration { id, registration, caller };
                Ok((AuthenticatedClient::Registration(Box::new(authenticated)), read))
            }
            (ParsedClientId::Registration(id), None) => {
                let remembered_as = RecentCredential::of_client(credentials);
                let authenticate = Box::pin(async {
                    let check = async {
                        let secret = credentials.secret_hash().ok_or_else(|| credentials.invalid())?;
                        let found = store.load_registration_secrets(&id).await?;
                        let is_right = found.is_some_and(|found| found.secrets.accepts(&secret, now));
                        if is_right { Ok(()) } else { Err(credentials.invalid()) }
                    };
                    let load = store.load_registration(&id);
                    let registration = if self.was_good(remembered_as, now) {
                        let (checked, loaded) = tokio::join!(check, load);
                        checked?;
                        loaded?
                    } else {
                        check.await?;
                        load.await?
                    };
                    let is_usable = |registration: &Registration| registration.state.is_usable();
                    let registration = registration.filter(is_usable).ok_or_else(|| credentials.invalid())?;
                    let caller = Principal::of_registration(id.clone(), &registration);
                    let authenticated = AuthenticatedRegistration { id, registration, caller };
                    Ok(AuthenticatedClient::Registration(Box::new(authenticated)))
                });
                self.with_reads(remembered_as, now, authenticate, reads).await
            }
        }
    }

    /// Parses the bearer of the `Authorization` header and does the checks that do not need its item.
    async fn check(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Result<CheckedCredential, ApiError> {
        let text = bearer(headers)?;
        match self.verifier.check(text, now, &AcceptedAudiences::Deployment).await? {
            Some(api_key @ CheckedCredential::ApiKey(_)) => Ok(api_key),
            // These endpoints take an access token with its prefix only.
            Some(token @ CheckedCredential::RegistrationToken(_)) if text.starts_with(ACCESS_TOKEN_PREFIX) => Ok(token),
            _ => Err(Unauthenticated::InvalidToken.into()),
        }
    }
}

/// The holder of an API key, at introspection.
#[derive(Debug)]
pub struct Introspector {
    /// The organization whose credentials it may ask about. `None`: any.
    pub organization: Option<ObjectId>,
    /// Whether it may ask at all.
    pub is_permitted: bool,
}

impl Introspector {
    fn of(api_key: &ActiveCredential<'_>) -> Self {
        let is_permitted = api_key.scopes().contains(Permission::OauthTokenIntrospect.as_str());
        Self { organization: api_key.organization_id(), is_permitted }
    }
}

impl Principal {
    /// The caller that a credential is a bearer of; `None` if these endpoints do not take it.
    fn of(active: &ActiveCredential<'_>) -> Option<Self> {
        let id = match active {
            ActiveCredential::ApiKey { id, .. } => PrincipalId::ApiKey(*id),
            ActiveCredential::RegistrationToken { token, .. } => {
                PrincipalId::Registration(token.registration_id.clone())
            }
            ActiveCredential::AppToken(_)
            | ActiveCredential::UserToken { .. }
            | ActiveCredential::RefreshToken { .. } => return None,
        };
        Some(Self { organization: active.organization_id()?, id, permissions: active.scopes().clone() })
    }
}

/// What a credential is remembered by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum RecentCredential {
    ApiKey(ObjectId),
    /// By its `jti`.
    RegistrationToken(TokenId),
    /// By a hash of the client's id and secret.
    Client(ObjectId),
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

    /// `None` without a secret.
    fn of_client(ClientCredentials { id, secret, .. }: &ClientCredentials) -> Option<Self> {
        let secret = secret.as_ref()?;
        Some(Self::Client(ObjectId::of_sha256(format!("{id}\0{secret}").as_bytes())))
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
