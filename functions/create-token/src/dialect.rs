//! What the endpoint reads and writes: `{"message": …}`.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use shared::{
    auth::AuthError,
    fault::Fault,
    field::{Email, Invalid, required},
    function::Outcome,
    http::{Request, Response, StatusCode, header},
    id::{RegistrationId, TokenId},
    idempotency::IdempotencyKey,
    jwt::ACCESS_TOKEN_PREFIX,
    quota::{QuotaExceeded, TakeError},
    telemetry::log_fault,
};

/// A valid request.
pub(crate) struct CreateTokenRequest {
    pub(crate) registration_id: RegistrationId,
    pub(crate) email: Option<String>,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
}

impl CreateTokenRequest {
    pub(crate) fn read(request: &Request) -> Result<Self, Invalid> {
        let mut body = request.fields()?;
        Ok(Self {
            registration_id: required("registrationId", body.parsed("registrationId")?)?,
            email: body.parsed("email")?.map(Email::into_inner),
            idempotency_key: request.idempotency_key()?,
        })
    }
}

/// The token, made and recorded.
pub(crate) struct Created {
    pub(crate) id: TokenId,
    pub(crate) jwt: String,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) active_tokens: usize,
    pub(crate) max_allowed: u32,
    pub(crate) replayed: bool,
}

impl From<Created> for Response {
    fn from(created: Created) -> Self {
        let body = json!({
            "message": "Token created successfully",
            "token": {
                "id": created.id.to_string(),
                "accessToken": format!("{ACCESS_TOKEN_PREFIX}{}", created.jwt),
                "expiresAt": created.expires_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            },
            "activeTokens": created.active_tokens,
            "maxAllowed": created.max_allowed,
        });
        let response = Self::new(StatusCode::CREATED, Outcome::Issued, &body);
        if created.replayed { response.replayed() } else { response }
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Caller(#[from] AuthError),
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("permission missing")]
    Forbidden,
    #[error("no such registration")]
    NotFound,
    #[error(transparent)]
    Quota(#[from] TakeError),
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let answer = |status, outcome, message: &str| Self::new(status, outcome, &json!({"message": message}));
        match refusal {
            Refusal::Caller(AuthError::Unauthenticated(reason)) => {
                answer(StatusCode::UNAUTHORIZED, Outcome::Refused("unauthenticated"), "Unauthorized")
                    .with_header(header::WWW_AUTHENTICATE, reason.challenge())
            }
            Refusal::Invalid(invalid) => {
                answer(StatusCode::BAD_REQUEST, Outcome::Refused("invalid request"), &invalid.to_string())
            }
            Refusal::Forbidden => answer(StatusCode::FORBIDDEN, Outcome::Refused("permission missing"), "Forbidden"),
            Refusal::NotFound | Refusal::Quota(TakeError::Gone) => {
                answer(StatusCode::NOT_FOUND, Outcome::Refused("not found"), "OAuth registration not found")
            }
            Refusal::Quota(TakeError::QuotaExceeded(QuotaExceeded)) => {
                let message = "Active token quota exceeded or registration not found";
                answer(StatusCode::BAD_REQUEST, Outcome::QuotaExceeded, message)
            }
            Refusal::KeyReused => {
                let outcome = Outcome::Refused("idempotency key reused");
                answer(StatusCode::UNPROCESSABLE_ENTITY, outcome, IdempotencyKey::REUSED)
            }
            Refusal::Caller(AuthError::Fault(fault))
            | Refusal::Quota(TakeError::Fault(fault))
            | Refusal::Fault(fault) => {
                log_fault(&fault);
                answer(StatusCode::INTERNAL_SERVER_ERROR, Outcome::Failed, "Internal server error")
            }
        }
    }
}
