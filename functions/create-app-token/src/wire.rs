//! What the endpoint reads and writes: `{"status": …, "data": …}` and `{"status": false, "error": …}`.

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
            // API Gateway gives every parameter of the route; one that is missing breaks the rule as an empty one does.
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

pub(crate) fn created(CreatedAppToken { token, secret, replayed }: CreatedAppToken) -> Response {
    let mut data = json!({
        "id": token.app_token_id,
        "organization": token.organization_id,
        "application": token.application_id,
    });
    if let (Some(data), Some(description)) = (data.as_object_mut(), token.description) {
        data.insert("description".to_owned(), description.into());
    }
    if let Some(data) = data.as_object_mut() {
        data.insert("bearer".to_owned(), secret.expose().into());
        data.insert("scopes".to_owned(), token.scopes.into());
    }
    let response = Response::new(StatusCode::OK, Outcome::Issued, &json!({"status": true, "data": data}));
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
        // The last three have no place here: there is no quota, and no code or refresh token is read.
        ApiError::Internal(_) | ApiError::QuotaExceeded | ApiError::BadCredential | ApiError::Replay => {
            body(1001, "Internal server error")
        }
    }
}
