//! OAuth access tokens of a registration, under its active-token quota.
//!
//! A token is recorded in a *slot* of its registration: its `jti` or, with an idempotency key, a UUID derived from the
//! key. The slot of a key is used again; the recorded `jti`, which is random, decides which token is valid. So a repeat
//! of the key finds what was issued, and a token that expired or was revoked is never valid again.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};

use super::quota::{self, Plan};
use crate::{
    auth::{IdempotencyKey, Principal},
    clock::expiry,
    error::{ApiError, InternalError},
    id::{KeyFingerprint, RegistrationId, TokenId, TokenSlot, TrustedKeys},
    input::{Audience, Claims, Email, Scopes},
    keys::jwt::{RegistrationTokenClaims, TokenType, WithClaims},
    keys::{Issuer, MaxTokenTtl, PublicKeys, Signer},
    random::Random,
    store::{EndedToken, IdempotencyRecord, Registration, RegistrationToken, Store, TokenWritePlan, Update},
};

/// A request for a token.
#[derive(Debug)]
pub struct IssueRequest<'a> {
    /// The endpoint that it was made at, which is part of what an idempotency key means.
    pub endpoint: &'static str,
    pub registration_id: &'a RegistrationId,
    pub email: Option<&'a Email>,
    pub idempotency_key: Option<&'a IdempotencyKey>,
}

/// A token, signed and recorded.
#[derive(Debug)]
pub struct IssuedToken {
    pub claims: RegistrationTokenClaims,
    /// The JWT, without a prefix.
    pub jwt: String,
    /// How many tokens of the registration are active, this one included.
    pub active_tokens: usize,
    pub max_allowed: u32,
    /// Whether it had been issued before, to a request with the same idempotency key.
    pub replayed: bool,
}

#[derive(Debug)]
pub struct RegistrationTokens {
    pub store: Store,
    pub signer: Signer,
    /// The keys whose tokens take a place in the quota.
    pub keys: Arc<PublicKeys>,
    pub issuer: Issuer,
    pub audience: Audience,
    pub max_ttl: MaxTokenTtl,
    pub random: Arc<dyn Random>,
}

impl RegistrationTokens {
    /// Issues a token for a registration, or repeats the one that the request's idempotency key names. If the write
    /// loses a race, it is decided again on the returned item, without a read.
    ///
    /// # Errors
    /// [`ApiError::NotFound`], [`ApiError::Forbidden`] if the token would hold a permission that the caller lacks,
    /// [`ApiError::QuotaExceeded`], [`ApiError::IdempotencyKeyReused`], or a failure.
    pub async fn issue(
        &self,
        caller: &Principal,
        registration: Option<Registration>,
        request: &IssueRequest<'_>,
        now: DateTime<Utc>,
    ) -> Result<IssuedToken, ApiError> {
        let mut registration = caller.require_registration(registration)?;
        let mut jti = TokenId::random(self.random.as_ref())?;
        let keys = self.keys.load_trusted(registration.keys(now)).await?;
        let mut attempt = Attempt { caller, request, keys, now };
        let mut signed: Option<Signed> = None;
        let mut retry = self.store.retry("record the token");
        loop {
            let decision = self.decide(&attempt, &registration, jti)?;
            let (claims, idempotency, plan) = match decision {
                Decision::Repeat(claims) => {
                    let signed = self.sign_once(signed, claims).await?;
                    return Ok(signed.issued(&registration, true, attempt));
                }
                Decision::MakeRoom(ended) => {
                    registration = self.make_room(request.registration_id, &ended, now).await?;
                    attempt.keys = self.keys.load_trusted(registration.keys(now)).await?;
                    continue;
                }
                Decision::Record { claims, idempotency, plan } => (claims, idempotency, plan),
            };
            let token_signed = self.sign_once(signed, claims).await?;
            let token = token_signed.record(idempotency);
            match self.store.record_token(request.registration_id, &token, &plan, &registration, now).await? {
                Update::Applied(recorded) => return Ok(token_signed.issued(&recorded, false, attempt)),
                Update::Conflict(current) => {
                    // An earlier attempt may have recorded the token, and somebody may have revoked it. So its id is
                    // not used again.
                    let forgotten = current.revoked_emptied_by != registration.revoked_emptied_by;
                    if forgotten || current.revoked.contains_key(&jti) {
                        jti = TokenId::random(self.random.as_ref())?;
                    }
                    registration = current;
                }
                Update::Missing => return Err(ApiError::NotFound),
            }
            signed = Some(token_signed);
            attempt.keys = self.keys.load_trusted(registration.keys(now)).await?;
            retry.pause().await?;
        }
    }

    /// Signs claims, unless the last round signed the same ones. They change only if the race was lost to a request
    /// with the same idempotency key, to a change of the settings, or to a revocation of this token.
    async fn sign_once(&self, signed: Option<Signed>, claims: IssuedClaims) -> Result<Signed, InternalError> {
        if let Some(signed) = signed.filter(|signed| signed.claims == claims) {
            return Ok(signed);
        }
        let all = WithClaims { own: &claims.own, others: &claims.others };
        let (jwt, key) = self.signer.sign_and_name_key(TokenType::AtJwt, &all).await?;
        Ok(Signed { claims, jwt, key })
    }

    /// Removes tokens that are over. The rounds need no limit: each removes some, here or in another request.
    async fn make_room(
        &self,
        id: &RegistrationId,
        ended: &[EndedToken],
        now: DateTime<Utc>,
    ) -> Result<Registration, ApiError> {
        match self.store.remove_ended_tokens(id, ended, now).await? {
            Update::Applied(current) | Update::Conflict(current) => Ok(current),
            Update::Missing => Err(ApiError::NotFound),
        }
    }

    fn decide(&self, attempt: &Attempt<'_>, registration: &Registration, jti: TokenId) -> Result<Decision, ApiError> {
        let Attempt { caller, request, keys, now } = attempt;
        let now = *now;
        // It may have been disabled since the last round.
        if !registration.state.is_usable() {
            return Err(ApiError::NotFound);
        }
        let slot = match request.idempotency_key {
            None => jti.into(),
            Some(key) => {
                TokenSlot::derived(&key.derivation_input(request.endpoint, caller, request.registration_id.as_str()))
            }
        };
        if let Some(existing) = registration.tokens.get(&slot).filter(|token| token.is_active(now, keys)) {
            return self.repeat(attempt, registration, existing).map(Decision::Repeat);
        }
        caller.require_grantable(&registration.scopes)?;
        let start = quota::random_start(self.random.as_ref())?;
        let plan = match quota::plan(registration, slot, now, keys, start) {
            Plan::Record(plan) => plan,
            Plan::MakeRoom(ended) => return Ok(Decision::MakeRoom(ended)),
            Plan::Full => return Err(ApiError::QuotaExceeded),
        };
        let MaxTokenTtl(max_ttl) = self.max_ttl;
        let expires_at = expiry(now, registration.token_ttl_seconds.min(max_ttl));
        let contents = Contents { scopes: &registration.scopes, claims: &registration.claims };
        let claims = self.claims(attempt, registration, jti, Validity { issued_at: now, expires_at }, contents);
        let idempotency = request.idempotency_key.map(|_| IdempotencyRecord {
            jti,
            issued_at: now.trunc_subsecs(0),
            contents_revision: registration.contents_revision,
        });
        Ok(Decision::Record { claims, idempotency, plan })
    }

    /// The claims of the active token that an earlier request with the same idempotency key made, if this one asks for
    /// the same.
    fn repeat(
        &self,
        attempt: &Attempt<'_>,
        registration: &Registration,
        existing: &RegistrationToken,
    ) -> Result<IssuedClaims, ApiError> {
        let record = existing.idempotency.as_ref().ok_or(ApiError::IdempotencyKeyReused)?;
        let (scopes, claims) = registration.issued_contents(record).ok_or_else(damaged)?;
        attempt.caller.require_grantable(scopes)?;
        if existing.email.as_ref() != attempt.request.email {
            return Err(ApiError::IdempotencyKeyReused);
        }
        let validity = Validity { issued_at: record.issued_at, expires_at: existing.expires_at };
        Ok(self.claims(attempt, registration, record.jti, validity, Contents { scopes, claims }))
    }

    fn claims(
        &self,
        Attempt { request, .. }: &Attempt<'_>,
        registration: &Registration,
        jti: TokenId,
        validity: Validity,
        contents: Contents<'_>,
    ) -> IssuedClaims {
        let own = RegistrationTokenClaims {
            iss: self.issuer.as_str().to_owned(),
            sub: request.registration_id.clone(),
            aud: self.audience.clone().into(),
            client_id: request.registration_id.clone(),
            jti,
            iat: validity.issued_at.trunc_subsecs(0),
            exp: validity.expires_at,
            scope: contents.scopes.clone(),
            organization: Some(registration.organization_id),
            generation: None,
            email: request.email.cloned(),
        };
        // The address of the request takes the place of the registration's.
        let others = contents.claims.filtered(|name| name != "email" || own.email.is_none());
        IssuedClaims { own, others }
    }
}

/// What a token contains by the settings of its registration.
#[derive(Clone, Copy)]
struct Contents<'a> {
    scopes: &'a Scopes,
    claims: &'a Claims,
}

/// The claims of a token: those that it sets itself, and the registration's.
#[derive(Debug, PartialEq)]
struct IssuedClaims {
    own: RegistrationTokenClaims,
    others: Claims,
}

/// A request, and what it is decided by beside the registration.
struct Attempt<'a> {
    caller: &'a Principal,
    request: &'a IssueRequest<'a>,
    keys: TrustedKeys,
    now: DateTime<Utc>,
}

#[derive(Clone, Copy)]
struct Validity {
    issued_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

enum Decision {
    /// Sign these claims: they are those of a token that is recorded.
    Repeat(IssuedClaims),
    /// Sign these claims, and record the token.
    Record { claims: IssuedClaims, idempotency: Option<IdempotencyRecord>, plan: TokenWritePlan },
    /// Remove these tokens, which are over, and decide again.
    MakeRoom(Vec<EndedToken>),
}

/// A signed token that may not be recorded yet.
struct Signed {
    claims: IssuedClaims,
    jwt: String,
    key: KeyFingerprint,
}

impl Signed {
    /// What the registration keeps of it.
    fn record(&self, idempotency: Option<IdempotencyRecord>) -> RegistrationToken {
        let RegistrationTokenClaims { exp, email, .. } = &self.claims.own;
        RegistrationToken { expires_at: *exp, key: self.key.clone(), email: email.clone(), idempotency }
    }

    /// The answer, once it is recorded in this registration.
    fn issued(self, registration: &Registration, replayed: bool, attempt: Attempt<'_>) -> IssuedToken {
        let now = attempt.now;
        // The key may be newer than those that were trusted when the request began.
        let keys = attempt.keys.with(self.key);
        let (active_tokens, max_allowed) = (registration.active_tokens(now, &keys), registration.max_allowed);
        IssuedToken { claims: self.claims.own, jwt: self.jwt, active_tokens, max_allowed, replayed }
    }
}

fn damaged() -> InternalError {
    InternalError::new("repeat the token", "the registration has lost what it was issued with")
}
