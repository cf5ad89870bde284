//! The errors of HTTP endpoints. They determine status, outcome and challenge; the wire module of an endpoint only adds a
//! body in its own format.

use lambda_http::http::StatusCode;

use crate::{
    error::{InternalError, Unauthenticated, ValidationError},
    runtime::Outcome,
};

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
    /// The registration or application has no such active token.
    #[error("token not found")]
    TokenNotFound,
    /// The `Idempotency-Key` was already used for a different request.
    #[error("idempotency key reused")]
    IdempotencyKeyReused,
    /// The maximum number of tokens is already active.
    #[error("quota exceeded")]
    QuotaExceeded,
    /// The code or refresh token is not valid for this request.
    #[error("bad credential")]
    BadCredential,
    /// A code or refresh token was used again, so its grant was revoked.
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

    /// The name of the error in the log and the metrics.
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
