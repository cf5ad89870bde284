//! Revokes OAuth access tokens and app tokens. Each revocation is a conditional write with a random id, so that a retry whose
//! first attempt succeeded is a success; whoever comes second finds no such token.

use chrono::{DateTime, Utc};

use crate::{
    auth::{CheckedCredential, CheckedRegistrationToken, Principal},
    credential::SessionId,
    error::{ApiError, InternalError},
    id::{ClientId, ObjectId, RegistrationId, TokenId},
    store::{AppToken, Grant, GrantDetails, GrantStatus, Registration, Store, Update},
};

/// Revokes an active token of a registration, and returns the registration without it. If the
/// write conflicts, it is decided again on the registration as it is by then, because the token may be in another slot or
/// gone.
///
/// # Errors
/// [`ApiError::NotFound`] if there is no such registration, [`ApiError::TokenNotFound`] if it has no such active token,
/// or a failure.
pub async fn revoke_token(
    store: &Store,
    caller: &Principal,
    registration: Option<Registration>,
    (registration_id, token): (&RegistrationId, TokenId),
    now: DateTime<Utc>,
) -> Result<Registration, ApiError> {
    let registration = caller.require_registration(registration)?;
    remove_token(store, registration, registration_id, token, now).await
}

async fn remove_token(
    store: &Store,
    mut registration: Registration,
    registration_id: &RegistrationId,
    token: TokenId,
    now: DateTime<Utc>,
) -> Result<Registration, ApiError> {
    let mut retry = store.retry("revoke the token");
    loop {
        let (slot, _) = registration.find_active(token, now).ok_or(ApiError::TokenNotFound)?;
        match store.revoke_token(registration_id, (slot, token), &registration).await? {
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
    store: &Store,
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
    match store.revoke_app_token(token.app_token_id, now).await? {
        Update::Applied(()) => Ok(()),
        Update::Conflict(()) | Update::Missing => Err(ApiError::TokenNotFound),
    }
}

/// Loads what a holder of this credential may revoke (RFC 7009): `None` if the credential is unknown, long rotated away,
/// expired or revoked.
///
/// # Errors
/// When the table does not answer.
pub async fn load_revocable(
    store: &Store,
    credential: CheckedCredential,
    now: DateTime<Utc>,
) -> Result<Option<RevocableCredential>, InternalError> {
    match credential {
        CheckedCredential::ApiKey(secret) => {
            let found = store.load_api_key(&secret).await?;
            Ok(found.map(|_| RevocableCredential::ApiKey(secret.id())))
        }
        CheckedCredential::AppToken(secret) => {
            let found = store.load_active_app_token(&secret).await?;
            Ok(found.map(|token| RevocableCredential::AppToken(token.app_token_id)))
        }
        CheckedCredential::RegistrationToken(CheckedRegistrationToken { registration: id, claims }) => {
            let registration = store.load_registration(&id).await?;
            let active = registration.filter(|registration| registration.find_active(claims.jti, now).is_some());
            Ok(active.map(|registration| RevocableCredential::RegistrationToken {
                id,
                registration,
                token: claims.jti,
            }))
        }
        CheckedCredential::UserToken(token) => {
            let grant = store.load_grant(&token.session).await?;
            Ok(grant
                .filter(|grant| token.was_issued_under(grant))
                .and_then(|grant| RevocableCredential::of_grant(token.session, &grant, now)))
        }
        CheckedCredential::Code(code) => {
            let session = code.grant().session();
            let grant = store.load_grant(&session).await?;
            let own = |grant: &Grant| grant.details.code == code.hash();
            Ok(grant.filter(own).and_then(|grant| RevocableCredential::of_grant(session, &grant, now)))
        }
        CheckedCredential::RefreshToken(token) => {
            let session = token.grant().session();
            let (grant, hash) = (store.load_grant(&session).await?, token.hash());
            let own = |grant: &Grant| match &grant.status {
                GrantStatus::Active { current, rotation, .. } => {
                    *current == hash || rotation.as_ref().is_some_and(|rotation| rotation.from == hash)
                }
                GrantStatus::Issued | GrantStatus::Revoked => false,
            };
            Ok(grant.filter(own).and_then(|grant| RevocableCredential::of_grant(session, &grant, now)))
        }
    }
}

/// Revokes a credential. Sent twice, or at the same time as another revocation of it, it is the same as once.
///
/// # Errors
/// When the table does not answer. Calling it again is safe.
pub async fn revoke(store: &Store, credential: RevocableCredential, now: DateTime<Utc>) -> Result<(), ApiError> {
    match credential {
        RevocableCredential::ApiKey(id) => {
            // A second revocation changes nothing.
            let _: Update<()> = store.revoke_api_key(id, now).await?;
            Ok(())
        }
        RevocableCredential::AppToken(id) => {
            let _: Update<()> = store.revoke_app_token(id, now).await?;
            Ok(())
        }
        RevocableCredential::RegistrationToken { id, registration, token } => {
            match remove_token(store, registration, &id, token, now).await {
                Ok(_) | Err(ApiError::TokenNotFound | ApiError::NotFound) => Ok(()),
                Err(error) => Err(error),
            }
        }
        RevocableCredential::Grant { session, .. } => Ok(store.revoke_grant(&session).await?),
    }
}

/// What the possession of a credential lets somebody revoke.
#[derive(Debug)]
pub enum RevocableCredential {
    ApiKey(ObjectId),
    AppToken(ObjectId),
    RegistrationToken {
        id: RegistrationId,
        registration: Registration,
        token: TokenId,
    },
    /// Of a code, or of a refresh token or access token of a user.
    Grant {
        session: SessionId,
        client: ClientId,
        /// Whether only its client may revoke it.
        confidential: bool,
    },
}

impl RevocableCredential {
    fn of_grant(session: SessionId, grant: &Grant, now: DateTime<Utc>) -> Option<Self> {
        let ended = match grant.status {
            GrantStatus::Issued => false,
            GrantStatus::Active { expires_at, .. } => expires_at <= now,
            GrantStatus::Revoked => true,
        };
        let GrantDetails { client_id: client, confidential, .. } = grant.details;
        (!ended).then_some(Self::Grant { session, client, confidential })
    }
}
