//! Whose a registration or an application is: another organization's looks like none.

use crate::{
    auth::Principal,
    id::ObjectId,
    runtime::ApiError,
    store::{Application, Registration},
};

/// The registration, if it is the caller's.
///
/// # Errors
/// [`ApiError::NotFound`].
pub fn own_registration(caller: &Principal, registration: Option<Registration>) -> Result<Registration, ApiError> {
    registration.filter(|registration| registration.organization_id == caller.organization).ok_or(ApiError::NotFound)
}

/// Requires that this application of this organization exists and is the caller's. The organization exists if it is the
/// caller's; every other looks like none.
///
/// # Errors
/// [`ApiError::NotFound`].
pub fn require_own_application(
    caller: &Principal,
    organization_id: ObjectId,
    application: Option<&Application>,
) -> Result<(), ApiError> {
    let belongs = application.is_some_and(|application| application.organization_id == organization_id);
    if organization_id == caller.organization && belongs { Ok(()) } else { Err(ApiError::NotFound) }
}
