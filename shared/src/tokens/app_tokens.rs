//! Integration tokens of an application.
//!
//! With an idempotency key the secret is derived: KMS makes a MAC over what identifies the request, and from that come
//! the secrets of one *generation* after another. A revoked token keeps its item, so its secret is never made again:
//! the key goes on with the next generation.

use std::sync::Arc;

use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;

use crate::{
    auth::{IdempotencyKey, Principal},
    credential::{Credential, CredentialKind},
    encoding::truncated,
    error::{ApiError, InternalError},
    id::ObjectId,
    input::Scopes,
    keys::MacKey,
    random::Random,
    store::{AppToken, Application, Store, Update},
};

/// A request for an app token.
#[derive(Debug)]
pub struct CreateRequest<'a> {
    /// The endpoint that it was made at, which is part of what an idempotency key means.
    pub endpoint: &'static str,
    pub organization_id: ObjectId,
    pub application_id: ObjectId,
    pub description: Option<String>,
    pub scopes: Scopes,
    pub idempotency_key: Option<&'a IdempotencyKey>,
}

/// An app token, recorded, and its secret.
#[derive(Debug)]
pub struct CreatedAppToken {
    pub token: AppToken,
    pub secret: Credential,
    /// Whether it had been created before, by a request with the same idempotency key.
    pub replayed: bool,
}

#[derive(Debug)]
pub struct AppTokens {
    pub store: Store,
    /// What derives their secrets from idempotency keys.
    pub mac_key: MacKey,
    pub random: Arc<dyn Random>,
}

impl AppTokens {
    /// Creates a token for an application, or repeats the one that the request's idempotency key names.
    ///
    /// # Errors
    /// [`ApiError::NotFound`], [`ApiError::Forbidden`] if the token would hold a permission that the caller lacks,
    /// [`ApiError::IdempotencyKeyReused`], or a failure.
    pub async fn create(
        &self,
        caller: &Principal,
        application: Option<Application>,
        request: CreateRequest<'_>,
        now: DateTime<Utc>,
    ) -> Result<CreatedAppToken, ApiError> {
        caller.require_grantable(&request.scopes)?;
        caller.require_application(request.organization_id, application.as_ref())?;
        let Some(key) = request.idempotency_key else {
            let secret = Credential::generate(CredentialKind::AppToken, self.random.as_ref())?;
            return self.create_with_random_secret(&request, secret, now).await;
        };
        let message = key.derivation_input(request.endpoint, caller, &request.application_id.to_string());
        let generations = Generations(hmac::Key::new(hmac::HMAC_SHA256, &self.mac_key.mac(message).await?));
        self.create_or_repeat(&request, &generations, now).await
    }

    async fn create_with_random_secret(
        &self,
        request: &CreateRequest<'_>,
        secret: Credential,
        now: DateTime<Utc>,
    ) -> Result<CreatedAppToken, ApiError> {
        let token = app_token(request, &secret);
        match self.store.create_app_token(&token, now).await? {
            Update::Applied(()) => Ok(CreatedAppToken { token, secret, replayed: false }),
            // Next to impossible with 256 random bits, so the random source is broken.
            Update::Conflict(_) | Update::Missing => {
                Err(InternalError::new("record the app token", "its id is taken").into())
            }
        }
    }

    async fn create_or_repeat(
        &self,
        request: &CreateRequest<'_>,
        generations: &Generations,
        now: DateTime<Utc>,
    ) -> Result<CreatedAppToken, ApiError> {
        let mut generation = 0;
        loop {
            let secret = generations.secret(generation);
            let token = app_token(request, &secret);
            match self.store.create_app_token(&token, now).await? {
                Update::Applied(()) => return Ok(CreatedAppToken { token, secret, replayed: false }),
                Update::Conflict(existing) if existing.revoked_at.is_some() => {
                    generation = self.next_generation(generations, generation).await?;
                }
                Update::Conflict(existing)
                    if existing.description == token.description && existing.scopes == token.scopes =>
                {
                    return Ok(CreatedAppToken { token: existing, secret, replayed: true });
                }
                Update::Conflict(_) | Update::Missing => return Err(ApiError::IdempotencyKeyReused),
            }
        }
    }

    /// The first generation that is not revoked. `revoked` is one that is. Generations are revoked in order, so probes
    /// at growing distances, many at once, find two that it lies between, and then narrow them.
    async fn next_generation(&self, generations: &Generations, revoked: u32) -> Result<u32, InternalError> {
        let (mut low, mut high) = (revoked, None);
        let mut probes = vec![low.saturating_add(1)];
        loop {
            let is_revoked = async |generation: u32| {
                let found = self.store.load_app_token(generations.secret(generation).id()).await?;
                Ok::<_, InternalError>(found.is_some_and(|token| token.revoked_at.is_some()))
            };
            let found = try_join_all(probes.iter().map(|generation| is_revoked(*generation))).await?;
            for (generation, is_revoked) in probes.into_iter().zip(found) {
                if is_revoked {
                    low = low.max(generation);
                } else {
                    high = Some(high.map_or(generation, |high: u32| high.min(generation)));
                }
            }
            probes = match high {
                Some(high) if high.saturating_sub(low) <= 1 => return Ok(low.saturating_add(1)),
                Some(high) => {
                    (1..=PROBES).map(|n| low + (high - low) * n / (PROBES + 1)).filter(|n| *n > low).collect()
                }
                None => (0..PROBES).map(|n| low.saturating_add(1 << n)).collect(),
            };
            probes.dedup();
        }
    }
}

/// How many generations are read at once. So 120 of them that are revoked cost four rounds.
const PROBES: u32 = 16;

/// The secrets of one idempotency key, one after another.
struct Generations(hmac::Key);

impl Generations {
    fn secret(&self, generation: u32) -> Credential {
        let mac = hmac::sign(&self.0, &generation.to_be_bytes());
        Credential::of_secret(CredentialKind::AppToken, truncated(mac.as_ref()))
    }
}

fn app_token(request: &CreateRequest<'_>, secret: &Credential) -> AppToken {
    AppToken {
        app_token_id: secret.id(),
        hash: secret.hash(),
        organization_id: request.organization_id,
        application_id: request.application_id,
        description: request.description.clone(),
        scopes: request.scopes.clone(),
        revoked_at: None,
    }
}
