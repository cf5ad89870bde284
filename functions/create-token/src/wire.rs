//! What the endpoint reads and writes: `{"message": …}`.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use shared::{
    auth::IdempotencyKey,
    error::ValidationError,
    id::RegistrationId,
    input::{Email, required},
    keys::jwt::ACCESS_TOKEN_PREFIX,
    runtime::http::{Request, Response, StatusCode},
    runtime::{ApiError, Outcome},
    tokens::registration_tokens::IssuedToken,
};

pub(crate) struct CreateTokenRequest {
    pub(crate) registration_id: RegistrationId,
    pub(crate) email: Option<String>,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
}

impl CreateTokenRequest {
    pub(crate) fn parse(request: &Request) -> Result<Self, ValidationError> {
        let mut body = request.fields()?;
        Ok(Self {
            registration_id: required("registrationId", body.parsed("registrationId")?)?,
            email: body.parsed("email")?.map(Email::into_inner),
            idempotency_key: request.header(IdempotencyKey::HEADER)?,
        })
    }
}

pub(crate) fn created(issued: &IssuedToken) -> Response {
    let expires_at = DateTime::from_timestamp(issued.claims.exp, 0).unwrap_or_default();
    let body = json!({
        "message": "Token created successfully",
        "token": {
            "id": issued.claims.jti,
            "accessToken": format!("{ACCESS_TOKEN_PREFIX}{}", issued.jwt),
            "expiresAt": expires_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        },
        "activeTokens": issued.active_tokens,
        "maxAllowed": issued.max_allowed,
    });
    let response = Response::new(StatusCode::CREATED, Outcome::Issued, &body);
    if issued.replayed { response.replayed() } else { response }
}

pub(crate) fn error_body(error: &ApiError) -> Value {
    let message = match error {
        ApiError::Unauthenticated(_) => "Unauthorized",
        ApiError::Invalid(invalid) => return json!({"message": invalid.to_string()}),
        ApiError::Forbidden => "Forbidden",
        ApiError::NotFound => "OAuth registration not found",
        ApiError::IdempotencyKeyReused => IdempotencyKey::REUSED,
        ApiError::QuotaExceeded => "Active token quota exceeded or registration not found",
        // The last two have no place here: no code or refresh token is read.
        ApiError::Internal(_) | ApiError::BadCredential | ApiError::Replay => "Internal server error",
    };
    json!({"message": message})
}
