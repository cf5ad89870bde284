//! The wire format of the endpoint: `{"status": …, "data": …}` and `{"status": false, "error": …}`.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::{
    auth::IdempotencyKey,
    clock::rfc3339,
    error::{Outcome, ValidationError},
    id::ObjectId,
    input::Scopes,
    runtime::http::{Request, Response},
    tokens::app_tokens::CreatedAppToken,
    wire::app_tokens::{self, ApplicationPath},
};

const MAX_SCOPES: usize = 50;
const MAX_DESCRIPTION_CHARACTERS: usize = 1000;

pub(crate) struct CreateAppTokenRequest {
    pub(crate) path: ApplicationPath,
    pub(crate) description: Option<String>,
    pub(crate) scopes: Scopes,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
}

impl CreateAppTokenRequest {
    pub(crate) fn parse(request: &Request, now: DateTime<Utc>) -> Result<Self, ValidationError> {
        let path = ApplicationPath::parse(request)?;
        let mut body = request.fields()?;
        let description = body.string("description")?;
        if description.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION_CHARACTERS) {
            let rule = format!("must have at most {MAX_DESCRIPTION_CHARACTERS} characters");
            return Err(ValidationError::new("description", rule));
        }
        let scopes = body.distinct("scopes", MAX_SCOPES)?.unwrap_or_default().into();
        let expires_at = body.expiry("expiresAt", now)?;
        let idempotency_key = request.header(IdempotencyKey::HEADER)?;
        Ok(Self { path, description, scopes, expires_at, idempotency_key })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreatedData<'a> {
    id: ObjectId,
    organization: ObjectId,
    application: ObjectId,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    bearer: &'a str,
    scopes: &'a Scopes,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

pub(crate) fn created(CreatedAppToken { token, secret, replayed }: CreatedAppToken) -> Response {
    let data = CreatedData {
        id: token.app_token_id,
        organization: token.organization_id,
        application: token.application_id,
        description: token.description.as_deref(),
        bearer: secret.expose(),
        scopes: &token.scopes,
        expires_at: token.expires_at.map(rfc3339),
    };
    let response = app_tokens::success(Outcome::Issued, &data);
    if replayed { response.replayed() } else { response }
}
