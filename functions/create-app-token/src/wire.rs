//! The wire format of the endpoint: `{"status": …, "data": …}` and `{"status": false, "error": …}`.

use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    auth::IdempotencyKey,
    error::{Constraint, Unauthenticated, ValidationError},
    id::{ObjectId, Reference},
    input::Scope,
    runtime::http::{Request, Response, StatusCode},
    runtime::{ApiError, Outcome},
    store::{Application, Organization},
    tokens::app_tokens::CreatedAppToken,
};

const MAX_SCOPES: usize = 50;
const MAX_DESCRIPTION_CHARACTERS: usize = 1000;

pub(crate) struct CreateAppTokenRequest {
    pub(crate) organization_id: ObjectId,
    pub(crate) application_id: ObjectId,
    pub(crate) description: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
}

impl CreateAppTokenRequest {
    pub(crate) fn parse(request: &Request) -> Result<Self, ValidationError> {
        let reference = |name: &'static str| -> Result<Reference, ValidationError> {
            // API Gateway passes every parameter of the route. A missing one is treated like an empty one.
            let text = request.path_parameters.get(name).map_or("", String::as_str);
            text.parse().map_err(|constraint: Constraint| constraint.of(name))
        };
        let (organization, application) = (reference("organizationId")?, reference("applicationId")?);
        // Slugs hash to ids, so resolving one needs no read.
        let organization_id = organization.id(Organization::NAMESPACE);
        let application_id = application.id(&Application::namespace(organization_id));
        let mut body = request.fields()?;
        let description = body.string("description")?;
        if description.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION_CHARACTERS) {
            let rule = format!("must have at most {MAX_DESCRIPTION_CHARACTERS} characters");
            return Err(ValidationError::new("description", rule));
        }
        let scopes = body.distinct("scopes", MAX_SCOPES)?.unwrap_or_default();
        let scopes = scopes.into_iter().map(Scope::into_inner).collect();
        let idempotency_key = request.header(IdempotencyKey::HEADER)?;
        Ok(Self { organization_id, application_id, description, scopes, idempotency_key })
    }
}

#[derive(Serialize)]
struct Created<'a> {
    status: bool,
    data: CreatedData<'a>,
}

#[derive(Serialize)]
struct CreatedData<'a> {
    id: ObjectId,
    organization: ObjectId,
    application: ObjectId,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    bearer: &'a str,
    scopes: &'a [String],
}

pub(crate) fn created(CreatedAppToken { token, secret, replayed }: CreatedAppToken) -> Response {
    let data = CreatedData {
        id: token.app_token_id,
        organization: token.organization_id,
        application: token.application_id,
        description: token.description.as_deref(),
        bearer: secret.expose(),
        scopes: &token.scopes,
    };
    let response = Response::new(StatusCode::OK, Outcome::Issued, &Created { status: true, data });
    if replayed { response.replayed() } else { response }
}

pub(crate) fn error_body(error: &ApiError) -> Value {
    let body = |code: u16, message: &str| json!({"status": false, "error": {"code": code, "message": message}});
    match error {
        ApiError::Unauthenticated(Unauthenticated::Missing) => body(4002, "No auth token"),
        ApiError::Unauthenticated(Unauthenticated::InvalidToken) => body(4004, "Invalid Token"),
        ApiError::Invalid(invalid) => body(2001, &invalid.to_string()),
        ApiError::Forbidden => body(4003, "Permission denied"),
        ApiError::NotFound => body(3001, "Entity not found"),
        ApiError::IdempotencyKeyReused => body(2002, IdempotencyKey::REUSED),
        // The last three never occur: there is no quota, and the endpoint takes no code or refresh token.
        ApiError::Internal(_) | ApiError::QuotaExceeded | ApiError::BadCredential | ApiError::Replay => {
            body(1001, "Internal server error")
        }
    }
}
