//! The endpoints for app tokens: `{"status": true, "data": …}` and `{"status": false, "error": …}`.

use serde::Serialize;
use serde_json::json;

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

#[must_use]
pub fn error(error: &ApiError) -> Response {
    let answer = |status, code: u16, message: &str| {
        Response::error(status, error, &json!({"status": false, "error": {"code": code, "message": message}}))
    };
    match error {
        ApiError::Unauthenticated(reason) => {
            let (code, message) = match reason {
                Unauthenticated::Missing => (4002, "No auth token"),
                Unauthenticated::InvalidToken => (4004, "Invalid Token"),
            };
            answer(StatusCode::UNAUTHORIZED, code, message).with_challenge(reason.challenge())
        }
        ApiError::Invalid(invalid) => answer(StatusCode::BAD_REQUEST, 2001, &invalid.to_string()),
        ApiError::Forbidden => answer(StatusCode::FORBIDDEN, 4003, "Permission denied"),
        ApiError::NotFound | ApiError::TokenNotFound => answer(StatusCode::NOT_FOUND, 3001, "Entity not found"),
        ApiError::IdempotencyKeyReused => answer(StatusCode::UNPROCESSABLE_ENTITY, 2002, IdempotencyKey::REUSED),
        // An internal error. No request to these endpoints causes another.
        _ => answer(StatusCode::INTERNAL_SERVER_ERROR, 1001, "Internal server error"),
    }
}
