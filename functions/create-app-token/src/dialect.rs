//! What the endpoint reads and writes: `{"status": …, "data": …}` and `{"status": false, "error": …}`.

use serde_json::json;
use shared::{
    auth::{AuthError, Unauthenticated},
    credential::Credential,
    fault::Fault,
    field::{Invalid, Rule, Scope},
    function::Outcome,
    http::{Request, Response, StatusCode, header},
    id::Reference,
    idempotency::IdempotencyKey,
    store::AppToken,
    telemetry::log_fault,
};

const MAX_SCOPES: usize = 50;
const MAX_DESCRIPTION_CHARACTERS: usize = 1000;

/// A valid request.
pub(crate) struct CreateAppTokenRequest {
    pub(crate) organization: Reference,
    pub(crate) application: Reference,
    pub(crate) description: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
}

impl CreateAppTokenRequest {
    pub(crate) fn read(request: &Request) -> Result<Self, Invalid> {
        let reference = |name: &'static str| {
            // API Gateway gives every parameter of the route; one that is missing breaks the rule as an empty one does.
            let text = request.path_parameters.get(name).map_or("", String::as_str);
            text.parse().map_err(|Rule(rule)| Invalid::new(name, rule))
        };
        let (organization, application) = (reference("organizationId")?, reference("applicationId")?);
        let mut body = request.fields()?;
        let description = body.string("description")?;
        if description.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION_CHARACTERS) {
            let rule = format!("must have at most {MAX_DESCRIPTION_CHARACTERS} characters");
            return Err(Invalid::new("description", rule));
        }
        let scopes = body.distinct("scopes", MAX_SCOPES)?.unwrap_or_default();
        let scopes = scopes.into_iter().map(Scope::into_inner).collect();
        let idempotency_key = request.idempotency_key()?;
        Ok(Self { organization, application, description, scopes, idempotency_key })
    }
}

/// The token, recorded, and its secret, which is shown this once.
pub(crate) struct Created {
    pub(crate) token: AppToken,
    pub(crate) secret: Credential,
    pub(crate) replayed: bool,
}

impl From<Created> for Response {
    fn from(Created { token, secret, replayed }: Created) -> Self {
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
        let response = Self::new(StatusCode::OK, Outcome::Issued, &json!({"status": true, "data": data}));
        if replayed { response.replayed() } else { response }
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Caller(#[from] AuthError),
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("permission missing")]
    Forbidden,
    #[error("no such organization or application")]
    NotFound,
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let answer = |status, outcome, code: u16, message: &str| {
            Self::new(status, outcome, &json!({"status": false, "error": {"code": code, "message": message}}))
        };
        match refusal {
            Refusal::Caller(AuthError::Unauthenticated(reason)) => {
                let (code, message) = match reason {
                    Unauthenticated::Missing => (4002, "No auth token"),
                    Unauthenticated::InvalidToken => (4004, "Invalid Token"),
                };
                answer(StatusCode::UNAUTHORIZED, Outcome::Refused("unauthenticated"), code, message)
                    .with_header(header::WWW_AUTHENTICATE, reason.challenge())
            }
            Refusal::Invalid(invalid) => {
                answer(StatusCode::BAD_REQUEST, Outcome::Refused("invalid request"), 2001, &invalid.to_string())
            }
            Refusal::Forbidden => {
                answer(StatusCode::FORBIDDEN, Outcome::Refused("permission missing"), 4003, "Permission denied")
            }
            Refusal::NotFound => answer(StatusCode::NOT_FOUND, Outcome::Refused("not found"), 3001, "Entity not found"),
            Refusal::KeyReused => {
                let outcome = Outcome::Refused("idempotency key reused");
                answer(StatusCode::UNPROCESSABLE_ENTITY, outcome, 2002, IdempotencyKey::REUSED)
            }
            Refusal::Caller(AuthError::Fault(fault)) | Refusal::Fault(fault) => {
                log_fault(&fault);
                answer(StatusCode::INTERNAL_SERVER_ERROR, Outcome::Failed, 1001, "Internal server error")
            }
        }
    }
}
