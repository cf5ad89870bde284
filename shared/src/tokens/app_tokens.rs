//! Integration tokens of an application.
//!
//! With an idempotency key the secret is derived: KMS makes a MAC over what identifies the request, and from that comes
//! one secret after another, by number. A token that is over keeps its item, so its secret is never made again: the
//! key goes on with the next number.

use std::sync::Arc;

use aws_lc_rs::hmac;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::try_join_all;

use crate::{
    auth::{IdempotencyKey, Principal},
    credential::AppBearer,
    encoding::truncated,
    error::{ApiError, InternalError, ValidationError},
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
    /// When it is to expire. `None` if never, or as late as the application allows.
    pub expires_at: Option<DateTime<Utc>>,
    pub idempotency_key: Option<&'a IdempotencyKey>,
}

/// An app token, recorded, and its secret.
#[derive(Debug)]
pub struct CreatedAppToken {
    pub token: AppToken,
    pub secret: AppBearer,
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
        let application = caller.require_application(request.organization_id, application)?;
        let attempt = Attempt { expires_at: expires_at(&request, &application, now)?, application, request, now };
        let Some(key) = attempt.request.idempotency_key else {
            return self.create_with_random_secret(&attempt).await;
        };
        let (endpoint, application_id) = (attempt.request.endpoint, attempt.request.application_id);
        let message = key.derivation_input(endpoint, caller, &application_id.to_string());
        let mac = self.mac_key.mac(message).await?;
        let secrets = Secrets { application_id, key: hmac::Key::new(hmac::HMAC_SHA256, &mac) };
        self.create_or_repeat(&attempt, &secrets).await
    }

    async fn create_with_random_secret(&self, attempt: &Attempt<'_>) -> Result<CreatedAppToken, ApiError> {
        let secret = AppBearer::generate(attempt.request.application_id, self.random.as_ref())?;
        let token = attempt.token(&secret);
        match self.store.create_app_token(&token, attempt.now).await? {
            Update::Applied(()) => Ok(CreatedAppToken { token, secret, replayed: false }),
            // Next to impossible with 256 random bits, so the random source is broken.
            Update::Conflict(_) | Update::Missing => {
                Err(InternalError::new("record the app token", "its id is taken").into())
            }
        }
    }

    async fn create_or_repeat(&self, attempt: &Attempt<'_>, secrets: &Secrets) -> Result<CreatedAppToken, ApiError> {
        let mut number = 0;
        loop {
            let secret = secrets.secret(number);
            let token = attempt.token(&secret);
            match self.store.create_app_token(&token, attempt.now).await? {
                Update::Applied(()) => return Ok(CreatedAppToken { token, secret, replayed: false }),
                Update::Conflict(existing) if attempt.is_over(&existing) => {
                    number = self.next_number(attempt, secrets, number).await?;
                }
                Update::Conflict(existing) if attempt.asks_for(&existing) => {
                    return Ok(CreatedAppToken { token: existing, secret, replayed: true });
                }
                Update::Conflict(_) | Update::Missing => return Err(ApiError::IdempotencyKeyReused),
            }
        }
    }

    /// The first number whose token is not over. `over` is one whose token is. They end in order, because each is made
    /// after the end of the one before. So probes at growing distances, many at once, find two that it lies between,
    /// and then narrow them.
    async fn next_number(&self, attempt: &Attempt<'_>, secrets: &Secrets, over: u32) -> Result<u32, InternalError> {
        let (mut low, mut high) = (over, None);
        let mut probes = vec![low.saturating_add(1)];
        loop {
            let is_over = async |number: u32| {
                let found = self.store.load_app_token(secrets.secret(number).id()).await?;
                Ok::<_, InternalError>(found.is_some_and(|token| attempt.is_over(&token)))
            };
            let found = try_join_all(probes.iter().map(|number| is_over(*number))).await?;
            for (number, is_over) in probes.into_iter().zip(found) {
                if is_over {
                    low = low.max(number);
                } else {
                    high = Some(high.map_or(number, |high: u32| high.min(number)));
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

/// How many secrets are looked up at once. So 120 of them whose tokens are over cost four rounds.
const PROBES: u32 = 16;

/// A request, and what it is decided by.
struct Attempt<'a> {
    request: CreateRequest<'a>,
    application: Application,
    expires_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
}

impl Attempt<'_> {
    fn token(&self, secret: &AppBearer) -> AppToken {
        AppToken {
            app_token_id: secret.id(),
            hash: secret.hash(),
            organization_id: self.request.organization_id,
            application_id: self.request.application_id,
            description: self.request.description.clone(),
            scopes: self.request.scopes.clone(),
            generation: self.application.state.generation,
            expires_at: self.expires_at,
            requested_expiry: self.request.expires_at.is_some(),
            revoked_at: None,
        }
    }

    fn is_over(&self, token: &AppToken) -> bool {
        token.is_over(&self.application.state, self.now)
    }

    /// Whether an earlier request that made this token asked for the same.
    fn asks_for(&self, token: &AppToken) -> bool {
        let requested = self.request.expires_at;
        let same_expiry = requested.is_some() == token.requested_expiry
            && requested.is_none_or(|requested| Some(requested) == token.expires_at);
        self.request.description == token.description && self.request.scopes == token.scopes && same_expiry
    }
}

/// When a token is to expire: as asked for, else as late as its application allows.
fn expires_at(
    request: &CreateRequest<'_>,
    application: &Application,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, ApiError> {
    let latest = application.max_app_token_ttl_seconds.map(|seconds| now + TimeDelta::seconds(seconds.into()));
    match (request.expires_at, latest) {
        (Some(requested), Some(latest)) if requested > latest => {
            let rule = "must not be later than the application's maxAppTokenTtlSeconds from now";
            Err(ValidationError::new("expiresAt", rule).into())
        }
        (requested, latest) => Ok(requested.or(latest)),
    }
}

/// The secrets of one idempotency key, one after another.
struct Secrets {
    application_id: ObjectId,
    key: hmac::Key,
}

impl Secrets {
    fn secret(&self, number: u32) -> AppBearer {
        let mac = hmac::sign(&self.key, &number.to_be_bytes());
        AppBearer::of_secret(self.application_id, truncated(mac.as_ref()))
    }
}
