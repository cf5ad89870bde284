//! The errors of HTTP endpoints. They determine status, outcome and challenge; the wire module of an endpoint only adds a
//! body in its own format.

use lambda_http::http::{HeaderName, HeaderValue, StatusCode, header};

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
    QuotaExceeded {
        /// How many seconds it takes until one of them expires, at least 1.
        retry_after: u32,
    },
    /// The code or refresh token is not valid for this request.
    #[error("bad credential")]
    BadCredential,
    /// A code or refresh token was used again, so its grant was revoked.
    #[error("replay detected")]
    Replay,
    /// The client is unknown, or its authentication is missing or wrong (RFC 6749, 5.2: `invalid_client`).
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
    /// The caller is authenticated, but its credential does not allow this (RFC 6750, 3.1).
    #[error("insufficient scope")]
    InsufficientScope,
    /// As [`Self::QuotaExceeded`], for clients that wait as `Retry-After` says.
    #[error("too many tokens")]
    TooManyTokens {
        /// How many seconds to wait, at least 1.
        retry_after: u32,
    },
    /// The service or AWS failed.
    #[error("failed")]
    Internal(#[from] InternalError),
}

impl ApiError {
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated(_) | Self::InvalidClient(_) => StatusCode::UNAUTHORIZED,
            Self::Invalid(_)
            | Self::QuotaExceeded { .. }
            | Self::BadCredential
            | Self::Replay
            | Self::UnauthorizedClient
            | Self::UnsupportedGrantType
            | Self::InvalidScope => StatusCode::BAD_REQUEST,
            Self::Forbidden | Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::TooManyTokens { .. } => StatusCode::TOO_MANY_REQUESTS,
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
            Self::InvalidClient(_) => Outcome::Refused("invalid client"),
            Self::UnauthorizedClient => Outcome::Refused("unauthorized client"),
            Self::UnsupportedGrantType => Outcome::Refused("unsupported grant type"),
            Self::InvalidScope => Outcome::Refused("invalid scope"),
            Self::Forbidden | Self::InsufficientScope => Outcome::Refused("permission missing"),
            Self::NotFound | Self::TokenNotFound => Outcome::Refused("not found"),
            Self::IdempotencyKeyReused => Outcome::Refused("idempotency key reused"),
            Self::QuotaExceeded { .. } | Self::TooManyTokens { .. } => Outcome::QuotaExceeded,
            Self::BadCredential => Outcome::Refused("bad credential"),
            Self::Replay => Outcome::ReplayDetected,
            Self::Internal(_) => Outcome::Failed,
        }
    }

    /// The header that tells the caller how to do better, if there is one.
    #[must_use]
    pub fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let challenge = |challenge: Challenge| (header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge.as_str()));
        match self {
            Self::Unauthenticated(Unauthenticated::Missing) => Some(challenge(Challenge::Bearer)),
            Self::Unauthenticated(Unauthenticated::InvalidToken) => Some(challenge(Challenge::BearerInvalidToken)),
            Self::InvalidClient(scheme) => scheme.map(challenge),
            Self::InsufficientScope => Some(challenge(Challenge::BearerInsufficientScope)),
            Self::TooManyTokens { retry_after } => Some((header::RETRY_AFTER, (*retry_after).into())),
            _ => None,
        }
    }
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
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer realm=\"tokenmint\"",
            Self::BearerInvalidToken => "Bearer realm=\"tokenmint\", error=\"invalid_token\"",
            Self::BearerInsufficientScope => "Bearer realm=\"tokenmint\", error=\"insufficient_scope\"",
            Self::Basic => "Basic realm=\"tokenmint\"",
        }
    }
}
