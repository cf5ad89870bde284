//! The errors that Lambda reports as function errors.

use crate::error::{InternalError, Outcome, ValidationError};

/// An error of a function without a route, or of an endpoint whose event is not an HTTP request.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// The event is malformed.
    #[error(transparent)]
    Invalid(#[from] ValidationError),
    /// What this field names does not exist.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// What this field names does not exist, or is already revoked.
    #[error("{0} does not exist or is already revoked")]
    NotFoundOrRevoked(&'static str),
    /// What this field names does not exist, is revoked or has expired.
    #[error("{0} does not exist, or is revoked or expired")]
    NotFoundOrOver(&'static str),
    /// The id or slug in this field is already taken.
    #[error("{0} is already taken")]
    Taken(&'static str),
    #[error("Internal server error")]
    Internal(#[from] InternalError),
}

crate::named! {
    /// The `errorType` of a function error.
    pub enum ErrorType {
        InvalidRequest = "InvalidRequest",
        NotFound = "NotFound",
        Taken = "Taken",
        InternalError = "InternalError",
    }
}

impl InvocationError {
    #[must_use]
    pub const fn error_type(&self) -> ErrorType {
        match self {
            Self::Invalid(_) => ErrorType::InvalidRequest,
            Self::NotFound(_) | Self::NotFoundOrRevoked(_) | Self::NotFoundOrOver(_) => ErrorType::NotFound,
            Self::Taken(_) => ErrorType::Taken,
            Self::Internal(_) => ErrorType::InternalError,
        }
    }

    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self.error_type() {
            ErrorType::InvalidRequest => Outcome::InvalidRequest,
            ErrorType::NotFound => Outcome::NotFound,
            ErrorType::Taken => Outcome::Taken,
            ErrorType::InternalError => Outcome::Failed,
        }
    }
}
