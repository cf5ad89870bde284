//! The endpoints for OAuth access tokens: `{"message": …}`.

use serde_json::json;

use crate::{
    auth::IdempotencyKey,
    error::ApiError,
    runtime::http::{Response, StatusCode},
};

#[must_use]
pub fn error(error: &ApiError) -> Response {
    let answer = |status, message: &str| Response::error(status, error, &json!({"message": message}));
    match error {
        ApiError::Unauthenticated(reason) => {
            answer(StatusCode::UNAUTHORIZED, "Unauthorized").with_challenge(reason.challenge())
        }
        ApiError::Invalid(invalid) => answer(StatusCode::BAD_REQUEST, &invalid.to_string()),
        ApiError::Forbidden => answer(StatusCode::FORBIDDEN, "Forbidden"),
        ApiError::NotFound => answer(StatusCode::NOT_FOUND, "OAuth registration not found"),
        ApiError::TokenNotFound => answer(StatusCode::NOT_FOUND, "Token not found"),
        ApiError::IdempotencyKeyReused => answer(StatusCode::UNPROCESSABLE_ENTITY, IdempotencyKey::REUSED),
        ApiError::QuotaExceeded => {
            answer(StatusCode::BAD_REQUEST, "Active token quota exceeded or registration not found")
        }
        // An internal error. No request to these endpoints causes another.
        _ => answer(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
    }
}
