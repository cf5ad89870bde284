//! The wire format of the endpoint: `{"message": …}`.

use serde_json::json;
use shared::{
    auth::IdempotencyKey,
    clock::rfc3339,
    error::{Outcome, ValidationError},
    id::RegistrationId,
    input::{Email, required},
    keys::jwt::ACCESS_TOKEN_PREFIX,
    runtime::http::{Request, Response, StatusCode},
    tokens::registration_tokens::IssuedToken,
};

pub(crate) struct CreateTokenRequest {
    pub(crate) registration_id: RegistrationId,
    pub(crate) email: Option<Email>,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
}

impl CreateTokenRequest {
    pub(crate) fn parse(request: &Request) -> Result<Self, ValidationError> {
        let mut body = request.fields()?;
        Ok(Self {
            registration_id: required("registrationId", body.parsed("registrationId")?)?,
            email: body.parsed("email")?,
            idempotency_key: request.header(IdempotencyKey::HEADER)?,
        })
    }
}

pub(crate) fn created(issued: &IssuedToken) -> Response {
    let body = json!({
        "message": "Token created successfully",
        "token": {
            "id": issued.claims.jti,
            "accessToken": format!("{ACCESS_TOKEN_PREFIX}{}", issued.jwt),
            "expiresAt": rfc3339(issued.claims.exp),
        },
        "activeTokens": issued.active_tokens,
        "maxAllowed": issued.max_allowed,
    });
    let response = Response::new(StatusCode::CREATED, Outcome::Issued, &body);
    if issued.replayed { response.replayed() } else { response }
}
