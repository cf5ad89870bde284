//! The endpoints for OAuth access tokens: `{"message": …}`.

use serde_json::{Value, json};

use crate::{auth::IdempotencyKey, error::ApiError};

/// The body of an error.
#[must_use]
pub fn error_body(error: &ApiError) -> Value {
    let message = match error {
        ApiError::Unauthenticated(_) => "Unauthorized",
        ApiError::Invalid(invalid) => return json!({"message": invalid.to_string()}),
        ApiError::Forbidden => "Forbidden",
        ApiError::NotFound => "OAuth registration not found",
        ApiError::TokenNotFound => "Token not found",
        ApiError::IdempotencyKeyReused => IdempotencyKey::REUSED,
        ApiError::QuotaExceeded { .. } => "Active token quota exceeded or registration not found",
        // These endpoints read no code, refresh token, client or scope, so the rest does not occur.
        ApiError::Internal(_) | ApiError::BadCredential | ApiError::Replay | ApiError::Oauth(_) => {
            "Internal server error"
        }
    };
    json!({"message": message})
}
