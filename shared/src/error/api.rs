//! The errors of HTTP endpoints. They determine the outcome; the wire format of an endpoint gives them status, headers
//! and body.

use crate::error::{InternalError, Outcome, ValidationError};

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The caller could not be authenticated.
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    /// The request is malformed.
    #[error(transparent)]
    Invalid(#[from] ValidationError),
    /// The caller's credential does not allow this.
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
    /// An error that RFC 6749 (5.2) or RFC 6750 (3.1) defines.
    #[error(transparent)]
    Oauth(#[from] OauthError),
    /// The service or AWS failed.
    #[error("failed")]
    Internal(#[from] InternalError),
}

impl ApiError {
    /// The name of the error in the log and the metrics.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unauthenticated(_) => Outcome::Unauthenticated,
            Self::Invalid(_) => Outcome::InvalidRequest,
            Self::Oauth(OauthError::InvalidClient(_)) => Outcome::InvalidClient,
            Self::Oauth(OauthError::UnauthorizedClient) => Outcome::UnauthorizedClient,
            Self::Oauth(OauthError::UnsupportedGrantType) => Outcome::UnsupportedGrantType,
            Self::Oauth(OauthError::InvalidScope) => Outcome::InvalidScope,
            Self::Oauth(OauthError::InvalidTarget) => Outcome::InvalidTarget,
            Self::Forbidden => Outcome::PermissionMissing,
            Self::NotFound | Self::TokenNotFound => Outcome::NotFound,
            Self::IdempotencyKeyReused => Outcome::IdempotencyKeyReused,
            Self::QuotaExceeded => Outcome::QuotaExceeded,
            Self::BadCredential => Outcome::BadCredential,
            Self::Replay => Outcome::ReplayDetected,
            Self::Internal(_) => Outcome::Failed,
        }
    }

    /// The same error, or this one if the caller could not be authenticated.
    #[must_use]
    pub fn if_unauthenticated(self, other: impl FnOnce() -> Self) -> Self {
        if matches!(self, Self::Unauthenticated(_)) { other() } else { self }
    }
}

/// Why authentication failed. The caller does not learn why a token is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unauthenticated {
    /// There is no `Authorization` header.
    #[error("no authorization header")]
    Missing,
    /// The credential is malformed, unknown, expired or revoked.
    #[error("invalid token")]
    InvalidToken,
}

impl Unauthenticated {
    #[must_use]
    pub const fn challenge(self) -> Challenge {
        match self {
            Self::Missing => Challenge::Bearer,
            Self::InvalidToken => Challenge::BearerInvalidToken,
        }
    }
}

/// The errors that RFC 6749 (5.2) and RFC 8707 (2) define.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OauthError {
    /// The client is unknown, or its authentication is missing or wrong (RFC 6749, 5.2).
    #[error("invalid client")]
    InvalidClient(Option<Challenge>),
    /// The client may not use this grant type (RFC 6749, 5.2).
    #[error("unauthorized client")]
    UnauthorizedClient,
    /// There is no such grant type (RFC 6749, 5.2).
    #[error("unsupported grant type")]
    UnsupportedGrantType,
    /// The scope is malformed, or wider than what may be granted (RFC 6749, 5.2).
    #[error("invalid scope")]
    InvalidScope,
    /// A resource or audience is malformed, or not one that may be granted (RFC 8707, 2).
    #[error("invalid target")]
    InvalidTarget,
}

/// The value of `WWW-Authenticate` (RFC 9110, 11.6.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Challenge {
    /// No credential was given. A challenge has at least one parameter (RFC 6750, 3).
    Bearer,
    BearerInvalidToken,
    BearerInsufficientScope,
    /// For a client that authenticated with `Basic` (RFC 6749, 5.2).
    Basic,
}

impl Challenge {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer realm=\"tokenmint\"",
            Self::BearerInvalidToken => "Bearer realm=\"tokenmint\", error=\"invalid_token\"",
            Self::BearerInsufficientScope => "Bearer realm=\"tokenmint\", error=\"insufficient_scope\"",
            Self::Basic => "Basic realm=\"tokenmint\"",
        }
    }
}
