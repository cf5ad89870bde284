//! Revokes OAuth access tokens and app tokens. Each revocation is a conditional write with a random id, so that a retry
//! whose first attempt succeeded is a success; whoever comes second finds no such token.

use chrono::{DateTime, Utc};

use crate::{
    auth::{RevocableCredential, RevocableMachineToken, RevocableToken},
    error::ApiError,
    id::{ObjectId, RegistrationId},
    store::{Registration, Store, Update},
};

/// Revokes an active token of a registration, and returns the registration without it. If the write conflicts, it is
/// decided again on the registration as it is by then, because the token may be in another slot or gone.
///
/// # Errors
/// [`ApiError::NotFound`] if there is no such registration, [`ApiError::TokenNotFound`] if it has no such active token,
/// or a failure.
pub async fn revoke_registration_token(
    store: &Store,
    mut token: RevocableToken,
    now: DateTime<Utc>,
) -> Result<Registration, ApiError> {
    let mut retry = store.retry("revoke the token");
    loop {
        let RevocableToken { registration_id, registration, token_id, keys } = &token;
        let slot = registration.find_active(*token_id, now, keys).ok_or(ApiError::TokenNotFound)?;
        match store.revoke_token(registration_id, slot, *token_id).await? {
            Update::Applied(registration) => return Ok(registration),
            Update::Conflict(current) => token.registration = current,
            Update::Missing => return Err(ApiError::NotFound),
        }
        retry.pause().await?;
    }
}

/// Revokes a machine token, or does nothing if it is over. If the write conflicts, it is decided again on the
/// registration as it is by then.
///
/// # Errors
/// [`ApiError::NotFound`] if the registration was deleted, or a failure.
async fn revoke_machine_token(
    store: &Store,
    RevocableMachineToken { registration_id, mut registration, revocation }: RevocableMachineToken,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    let mut retry = store.retry("revoke the machine token");
    loop {
        match store.revoke_machine_token(&registration_id, revocation, &registration, now).await? {
            Update::Applied(()) => return Ok(()),
            Update::Conflict(current) => registration = current,
            Update::Missing => return Err(ApiError::NotFound),
        }
        retry.pause().await?;
    }
}

/// Revokes all tokens of a registration, machine tokens too.
///
/// # Errors
/// [`ApiError::NotFound`] if it was deleted, or a failure.
pub async fn revoke_all_tokens(
    store: &Store,
    id: &RegistrationId,
    registration: &Registration,
) -> Result<(), ApiError> {
    match store.revoke_tokens(id, registration.state.generation).await? {
        // Whoever was faster revoked everything that this caller can know of.
        Update::Applied(()) | Update::Conflict(_) => Ok(()),
        Update::Missing => Err(ApiError::NotFound),
    }
}

/// Revokes an app token.
///
/// # Errors
/// [`ApiError::TokenNotFound`] if it is unknown or revoked, or a failure.
pub async fn revoke_app_token(store: &Store, id: ObjectId, now: DateTime<Utc>) -> Result<(), ApiError> {
    match store.revoke_app_token(id, now).await? {
        Update::Applied(()) => Ok(()),
        Update::Conflict(()) | Update::Missing => Err(ApiError::TokenNotFound),
    }
}

/// Revokes a credential. Sent twice, or at the same time as another revocation of it, it is the same as once.
///
/// # Errors
/// When the table does not answer. Calling it again is safe.
pub async fn revoke(store: &Store, credential: RevocableCredential, now: DateTime<Utc>) -> Result<(), ApiError> {
    let revoked = match credential {
        // A second revocation changes nothing.
        RevocableCredential::ApiKey(id) => store.revoke_api_key(id, now).await.map(|_| ()).map_err(ApiError::from),
        RevocableCredential::AppToken(id) => revoke_app_token(store, id, now).await,
        RevocableCredential::RegistrationToken(token) => {
            revoke_registration_token(store, *token, now).await.map(|_| ())
        }
        RevocableCredential::MachineToken(token) => revoke_machine_token(store, *token, now).await,
        RevocableCredential::Grant { session_id, .. } => store.revoke_grant(&session_id).await.map_err(ApiError::from),
    };
    match revoked {
        // Somebody else was faster.
        Err(ApiError::TokenNotFound | ApiError::NotFound) => Ok(()),
        revoked => revoked,
    }
}
