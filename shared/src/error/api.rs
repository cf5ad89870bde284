//! The errors of HTTP endpoints. They determine status, outcome and challenge; the wire module of an endpoint only adds a
//! body in its own format.

use lambda_http::http::{HeaderName, HeaderValue, StatusCode, header};

use crate::error::{InternalError, Outcome, ValidationError};

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
    /// An error of the endpoints under `/oauth2`.
    #[error(transparent)]
    Oauth(#[from] OauthError),
    /// The service or AWS failed.
    #[error("failed")]
    Internal(#[from] InternalError),
}

impl ApiError {
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated(_) | Self::Oauth(OauthError::InvalidClient(_)) => StatusCode::UNAUTHORIZED,
            Self::Invalid(_)
            | Self::QuotaExceeded { .. }
            | Self::BadCredential
            | Self::Replay
            | Self::Oauth(
                OauthError::UnauthorizedClient | OauthError::UnsupportedGrantType | OauthError::InvalidScope,
            ) => StatusCode::BAD_REQUEST,
            Self::Forbidden | Self::Oauth(OauthError::InsufficientScope) => StatusCode::FORBIDDEN,
            Self::Oauth(OauthError::TooManyTokens { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound | Self::TokenNotFound => StatusCode::NOT_FOUND,
            Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

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
            Self::Forbidden | Self::Oauth(OauthError::InsufficientScope) => Outcome::PermissionMissing,
            Self::NotFound | Self::TokenNotFound => Outcome::NotFound,
            Self::IdempotencyKeyReused => Outcome::IdempotencyKeyReused,
            Self::QuotaExceeded { .. } | Self::Oauth(OauthError::TooManyTokens { .. }) => Outcome::QuotaExceeded,
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

    /// The header that tells the caller how to do better, if there is one.
    #[must_use]
    pub fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let challenge = |challenge: Challenge| (header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge.as_str()));
        match self {
            Self::Unauthenticated(Unauthenticated::Missing) => Some(challenge(Challenge::Bearer)),
            Self::Unauthenticated(Unauthenticated::InvalidToken) => Some(challenge(Challenge::BearerInvalidToken)),
            Self::Oauth(OauthError::InvalidClient(scheme)) => scheme.map(challenge),
            Self::Oauth(OauthError::InsufficientScope) => Some(challenge(Challenge::BearerInsufficientScope)),
            Self::Oauth(OauthError::TooManyTokens { retry_after }) => {
                Some((header::RETRY_AFTER, (*retry_after).into()))
            }
            _ => None,
        }
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

/// What only the endpoints under `/oauth2` answer.
#[derive(Debug, thiserror::Error)]
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
    /// The caller is authenticated, but its credential does not allow this (RFC 6750, 3.1).
    #[error("insufficient scope")]
    InsufficientScope,
    /// The quota is full. `/api/v1/create-token` answers it with 400 ([`ApiError::QuotaExceeded`]), these with 429.
    #[error("too many tokens")]
    TooManyTokens {
        /// How many seconds to wait, at least 1.
        retry_after: u32,
    },
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
