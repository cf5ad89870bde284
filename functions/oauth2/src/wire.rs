//! Answers and errors of RFC 6749 (5.1, 5.2).

use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    auth::IdempotencyKey,
    error::{ApiError, OauthError, Outcome},
    input::{Scopes, space_separated},
    runtime::http::{Response, StatusCode},
};

/// The tokens, signed and recorded.
#[derive(Serialize)]
pub(crate) struct TokenResponse {
    pub(crate) access_token: String,
    pub(crate) token_type: &'static str,
    pub(crate) expires_in: i64,
    #[serde(skip_serializing_if = "Scopes::is_empty", with = "space_separated")]
    pub(crate) scope: Scopes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id_token: Option<String>,
}

impl TokenResponse {
    /// `expires_in` is in seconds.
    pub(crate) fn new(access_token: String, expires_in: i64, scope: Scopes) -> Self {
        Self { access_token, token_type: "Bearer", expires_in, scope, refresh_token: None, id_token: None }
    }
}

impl From<TokenResponse> for Response {
    fn from(tokens: TokenResponse) -> Self {
        Self::new(StatusCode::OK, Outcome::Issued, &tokens)
    }
}

/// `error_description` has no quotation mark and no backslash (RFC 6749, 5.2), so no message may have one.
pub(crate) fn error_body(error: &ApiError) -> Value {
    let body = |code: &str, description: &str| json!({"error": code, "error_description": description});
    match error {
        ApiError::Invalid(invalid) => body("invalid_request", &invalid.to_string()),
        ApiError::IdempotencyKeyReused => body("invalid_request", IdempotencyKey::REUSED),
        ApiError::NotFound => body("invalid_request", "this deployment has no OIDC_ISSUER, so it has no such endpoint"),
        // One message for every reason, so that the answer reveals nothing about the code or token.
        ApiError::BadCredential | ApiError::Replay => {
            body("invalid_grant", "the code or refresh token is not valid for this request")
        }
        ApiError::Unauthenticated(_) => body("invalid_token", "the bearer token is missing or not valid"),
        ApiError::Oauth(OauthError::InvalidClient(_)) => body("invalid_client", "client authentication failed"),
        ApiError::Oauth(OauthError::UnauthorizedClient) => {
            body("unauthorized_client", "the client may not use this grant type")
        }
        ApiError::Oauth(OauthError::UnsupportedGrantType) => {
            body("unsupported_grant_type", "grant_type must be authorization_code, refresh_token or client_credentials")
        }
        ApiError::Oauth(OauthError::InvalidScope) => {
            body("invalid_scope", "scope is malformed or wider than what may be granted")
        }
        ApiError::Oauth(OauthError::InsufficientScope) => {
            body("insufficient_scope", "the credential does not allow this")
        }
        // The token endpoint has no code for this in RFC 6749; this one is the authorization endpoint's (4.1.2.1).
        ApiError::Oauth(OauthError::TooManyTokens { .. }) => body(
            "temporarily_unavailable",
            "as many tokens as are allowed are active; Retry-After says when one expires",
        ),
        // Only `Internal` occurs here.
        ApiError::Internal(_) | ApiError::Forbidden | ApiError::TokenNotFound | ApiError::QuotaExceeded { .. } => {
            body("server_error", "internal server error")
        }
    }
}
