//! Why an HTTP endpoint refuses a request or fails. Status, outcome and challenge follow from here; an endpoint's wire
//! module only gives the error a body in its dialect.

use lambda_http::http::StatusCode;

use crate::{
    error::{InternalError, Unauthenticated, ValidationError},
    runtime::Outcome,
};

/// An error of an HTTP endpoint.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The caller could not be authenticated.
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    /// The request is malformed.
    #[error(transparent)]
    Invalid(#[from] ValidationError),
    /// The caller lacks a permission.
    #[error("permission missing")]
    Forbidden,
    /// What the request names does not exist, or belongs to another organization.
    #[error("not found")]
    NotFound,
    /// The registration or application has no such token that is active.
    #[error("token not found")]
    TokenNotFound,
    /// The `Idempotency-Key` belongs to another request.
    #[error("idempotency key reused")]
    IdempotencyKeyReused,
    /// As many tokens as are allowed are active.
    #[error("quota exceeded")]
    QuotaExceeded,
    /// The code or refresh token is not valid for this request.
    #[error("bad credential")]
    BadCredential,
    /// A code or refresh token was used again, and its grant is revoked.
    #[error("replay detected")]
    Replay,
    /// The service or AWS failed.
    #[error("failed")]
    Internal(#[from] InternalError),
}

impl ApiError {
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::Invalid(_) | Self::QuotaExceeded | Self::BadCredential | Self::Replay => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound | Self::TokenNotFound => StatusCode::NOT_FOUND,
            Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the log and the metrics call it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unauthenticated(_) => Outcome::Refused("unauthenticated"),
            Self::Invalid(_) => Outcome::Refused("invalid request"),
            Self::Forbidden => Outcome::Refused("permission missing"),
            Self::NotFound | Self::TokenNotFound => Outcome::Refused("not found"),
            Self::IdempotencyKeyReused => Outcome::Refused("idempotency key reused"),
            Self::QuotaExceeded => Outcome::QuotaExceeded,
            Self::BadCredential => Outcome::Refused("bad credential"),
            Self::Replay => Outcome::ReplayDetected,
            Self::Internal(_) => Outcome::Failed,
        }
    }
}
