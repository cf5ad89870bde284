//! The endpoints for integration tokens of an app: `{"status": true, "data": …}` and `{"status": false, "error": …}`.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    auth::IdempotencyKey,
    error::{ApiError, Outcome, Unauthenticated, ValidationError},
    id::{IdOrSlug, ObjectId},
    runtime::http::{Request, Response, StatusCode},
    store::{Application, Organization},
};

/// The application that a path names: `/v1/organizations/{organizationId}/apps/{applicationId}/…`. It need not exist.
#[derive(Clone, Copy, Debug)]
pub struct ApplicationPath {
    /// The organization.
    pub organization_id: ObjectId,
    /// The application.
    pub application_id: ObjectId,
}

impl ApplicationPath {
    /// Reads the path. Slugs hash to ids, so resolving one needs no read.
    ///
    /// # Errors
    /// When a parameter is neither an id nor a slug.
    pub fn parse(request: &Request) -> Result<Self, ValidationError> {
        let organization: IdOrSlug = request.path_parameter("organizationId")?;
        let application: IdOrSlug = request.path_parameter("applicationId")?;
        let organization_id = organization.id(Organization::NAMESPACE);
        Ok(Self { organization_id, application_id: application.id(&Application::namespace(organization_id)) })
    }
}

/// An answer with this data.
#[must_use]
pub fn success<T: Serialize>(outcome: Outcome, data: &T) -> Response {
    Response::new(StatusCode::OK, outcome, &Success { status: true, data })
}

#[derive(Serialize)]
struct Success<'a, T> {
    status: bool,
    data: &'a T,
}

/// The body of an error.
#[must_use]
pub fn error_body(error: &ApiError) -> Value {
    let body = |code: u16, message: &str| json!({"status": false, "error": {"code": code, "message": message}});
    match error {
        ApiError::Unauthenticated(Unauthenticated::Missing) => body(4002, "No auth token"),
        ApiError::Unauthenticated(Unauthenticated::InvalidToken) => body(4004, "Invalid Token"),
        ApiError::Invalid(invalid) => body(2001, &invalid.to_string()),
        ApiError::Forbidden => body(4003, "Permission denied"),
        ApiError::NotFound | ApiError::TokenNotFound => body(3001, "Entity not found"),
        ApiError::IdempotencyKeyReused => body(2002, IdempotencyKey::REUSED),
        // These endpoints have no quota and read no code, refresh token or client, so the rest does not occur.
        ApiError::Internal(_)
        | ApiError::QuotaExceeded { .. }
        | ApiError::BadCredential
        | ApiError::Replay
        | ApiError::Oauth(_) => body(1001, "Internal server error"),
    }
}
