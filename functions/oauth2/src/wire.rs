//! Answers and errors of RFC 6749 (5.1, 5.2).

use serde::Serialize;
use serde_json::json;
use shared::{
    error::{ApiError, Challenge, OauthError, Outcome},
    input::{Scopes, space_separated},
    runtime::http::{HeaderValue, Response, StatusCode, header},
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

/// Adds the header that RFC 6749 (5.1) requires beside `Cache-Control`, which every response has.
pub(crate) fn with_pragma(response: Response) -> Response {
    response.with_header(header::PRAGMA, HeaderValue::from_static("no-cache"))
}

/// `error_description` has no quotation mark and no backslash (RFC 6749, 5.2), so no message may have one.
pub(crate) fn error(error: &ApiError) -> Response {
    let answer = |status, code: &str, description: &str| {
        with_pragma(Response::error(status, error, &json!({"error": code, "error_description": description})))
    };
    let bad_request = |code, description: &str| answer(StatusCode::BAD_REQUEST, code, description);
    match error {
        ApiError::Invalid(invalid) => bad_request("invalid_request", &invalid.to_string()),
        ApiError::NotFound => {
            const DESCRIPTION: &str = "this deployment has no OIDC_ISSUER, so it has no such endpoint";
            answer(StatusCode::NOT_FOUND, "invalid_request", DESCRIPTION)
        }
        // One message for every reason, so that the answer reveals nothing about the code or token.
        ApiError::BadCredential | ApiError::Replay => {
            bad_request("invalid_grant", "the code or refresh token is not valid for this request")
        }
        ApiError::Unauthenticated(reason) => {
            let description = "the bearer token is missing or not valid";
            answer(StatusCode::UNAUTHORIZED, "invalid_token", description).with_challenge(reason.challenge())
        }
        ApiError::Oauth(OauthError::InvalidClient(challenge)) => {
            answer(StatusCode::UNAUTHORIZED, "invalid_client", "client authentication failed")
                .with_challenge(*challenge)
        }
        ApiError::Oauth(OauthError::UnauthorizedClient) => {
            bad_request("unauthorized_client", "the client may not use this grant type")
        }
        ApiError::Oauth(OauthError::UnsupportedGrantType) => {
            const DESCRIPTION: &str = "grant_type must be authorization_code, refresh_token or client_credentials";
            bad_request("unsupported_grant_type", DESCRIPTION)
        }
        ApiError::Oauth(OauthError::InvalidScope) => {
            bad_request("invalid_scope", "scope is malformed or wider than what may be granted")
        }
        ApiError::Oauth(OauthError::InvalidTarget) => {
            bad_request("invalid_target", "a resource or audience is malformed or not one that may be granted")
        }
        // RFC 6750, 3.1.
        ApiError::Forbidden => {
            answer(StatusCode::FORBIDDEN, "insufficient_scope", "the credential does not allow this")
                .with_challenge(Challenge::BearerInsufficientScope)
        }
        // An internal error. No request to these endpoints causes another.
        _ => answer(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal server error"),
    }
}
