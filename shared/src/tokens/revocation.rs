//! Revokes OAuth access tokens and app tokens. Each revocation is a conditional write with a random id, so that a retry whose
//! first attempt succeeded is a success; whoever comes second finds no such token.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::ownership::own_registration;
use crate::{
    auth::Principal,
    id::{ObjectId, RegistrationId, TokenId},
    random::Random,
    runtime::ApiError,
    store::{AppToken, Registration, Retry, Store, Update},
};

/// Revokes tokens.
#[derive(Debug)]
pub struct Revocations {
    /// Where they are recorded.
    pub store: Store,
    /// The source of the random write ids.
    pub random: Arc<dyn Random>,
}

impl Revocations {
    /// Revokes an active token of a registration, and returns the registration without it. If the
    /// write conflicts, it is decided again on the registration as it is by then, because the token may be in another slot or
    /// gone.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such registration, [`ApiError::TokenNotFound`] if it has no such active token,
    /// or a failure.
    pub async fn revoke_token(
        &self,
        caller: &Principal,
        registration: Option<Registration>,
        (registration_id, token): (&RegistrationId, TokenId),
        now: DateTime<Utc>,
    ) -> Result<Registration, ApiError> {
        let mut registration = own_registration(caller, registration)?;
        let mut retry = Retry::new("revoke the token", self.random.as_ref());
        loop {
            let (slot, _) = registration.find_active(token, now).ok_or(ApiError::TokenNotFound)?;
            match self.store.revoke_token(registration_id, (slot, token), &registration, self.random.as_ref()).await? {
                Update::Applied(registration) => return Ok(registration),
                Update::Conflict(current) => registration = current,
                Update::Missing => return Err(ApiError::NotFound),
            }
            retry.pause().await?;
        }
    }

    /// Revokes a token of an application.
    ///
    /// # Errors
    /// [`ApiError::TokenNotFound`] if it is unknown, another application's or revoked, or a failure.
    pub async fn revoke_app_token(
        &self,
        caller: &Principal,
        (organization_id, application_id): (ObjectId, ObjectId),
        token: Option<AppToken>,
        now: DateTime<Utc>,
    ) -> Result<(), ApiError> {
        let own = |token: &AppToken| {
            caller.organization == organization_id
                && token.organization_id == organization_id
                && token.application_id == application_id
                && token.revoked_at.is_none()
        };
        let token = token.filter(own).ok_or(ApiError::TokenNotFound)?;
        match self.store.revoke_app_token(token.app_token_id, now, self.random.as_ref()).await? {
            Update::Applied(()) => Ok(()),
            Update::Conflict(()) | Update::Missing => Err(ApiError::TokenNotFound),
        }
    }
}
