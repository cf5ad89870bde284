//! Revokes OAuth access tokens and app tokens. Each revocation is a conditional write with a random id, so that a retry whose
//! first attempt succeeded is a success; whoever comes second finds no such token.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::ownership::own_registration;
use crate::{
    auth::{InspectedAccessToken, InspectedCredential, Principal},
    credential::SessionId,
    error::InternalError,
    id::{ClientId, ObjectId, RegistrationId, TokenId},
    random::Random,
    runtime::ApiError,
    store::{AppToken, Grant, GrantDetails, GrantStatus, Registration, Retry, Store, Update},
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
        let registration = own_registration(caller, registration)?;
        self.remove_token(registration, registration_id, token, now).await
    }

    async fn remove_token(
        &self,
        mut registration: Registration,
        registration_id: &RegistrationId,
        token: TokenId,
        now: DateTime<Utc>,
    ) -> Result<Registration, ApiError> {
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

    /// Loads what a holder of this credential may end (RFC 7009): `None` if the credential is unknown, long rotated away, over
    /// or revoked.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn load_held(
        &self,
        credential: InspectedCredential,
        now: DateTime<Utc>,
    ) -> Result<Option<HeldCredential>, InternalError> {
        match credential {
            InspectedCredential::ApiKey(secret) => {
                let found = self.store.load_api_key(&secret).await?;
                Ok(found.map(|_| HeldCredential::ApiKey(secret.id())))
            }
            InspectedCredential::AppToken(secret) => {
                let found = self.store.load_active_app_token(&secret).await?;
                Ok(found.map(|token| HeldCredential::AppToken(token.app_token_id)))
            }
            InspectedCredential::AccessToken(InspectedAccessToken { registration: id, claims }) => {
                let registration = self.store.load_registration(&id).await?;
                let active = registration.filter(|registration| registration.find_active(claims.jti, now).is_some());
                Ok(active.map(|registration| HeldCredential::AccessToken { id, registration, token: claims.jti }))
            }
            InspectedCredential::UserToken(token) => {
                let grant = self.store.load_grant(&token.session).await?;
                let own =
                    |grant: &Grant| grant.details.client_id == token.client && grant.details.subject == token.subject;
                Ok(grant.filter(own).and_then(|grant| HeldCredential::of_grant(token.session, &grant)))
            }
            InspectedCredential::Code(code) => {
                let session = code.grant().session();
                let grant = self.store.load_grant(&session).await?;
                let own = |grant: &Grant| grant.details.code == code.hash();
                Ok(grant.filter(own).and_then(|grant| HeldCredential::of_grant(session, &grant)))
            }
            InspectedCredential::RefreshToken(token) => {
                let session = token.grant().session();
                let (grant, hash) = (self.store.load_grant(&session).await?, token.hash());
                let own = |grant: &Grant| match &grant.status {
                    GrantStatus::Active { current, rotation, .. } => {
                        *current == hash || rotation.as_ref().is_some_and(|rotation| rotation.from == hash)
                    }
                    GrantStatus::Issued | GrantStatus::Revoked => false,
                };
                Ok(grant.filter(own).and_then(|grant| HeldCredential::of_grant(session, &grant)))
            }
        }
    }

    /// Ends a credential. Sent twice, or at the same time as another revocation of it, it is the same as once.
    ///
    /// # Errors
    /// When the table does not answer. Calling it again is safe.
    pub async fn end(&self, held: HeldCredential, now: DateTime<Utc>) -> Result<(), ApiError> {
        let random = self.random.as_ref();
        match held {
            HeldCredential::ApiKey(id) => {
                let (Update::Applied(()) | Update::Conflict(()) | Update::Missing) =
                    self.store.revoke_api_key(id, now, random).await?;
                Ok(())
            }
            HeldCredential::AppToken(id) => {
                let (Update::Applied(()) | Update::Conflict(()) | Update::Missing) =
                    self.store.revoke_app_token(id, now, random).await?;
                Ok(())
            }
            HeldCredential::AccessToken { id, registration, token } => {
                match self.remove_token(registration, &id, token, now).await {
                    Ok(_) | Err(ApiError::TokenNotFound | ApiError::NotFound) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            HeldCredential::Grant { session, .. } => Ok(self.store.revoke_grant(&session, random).await?),
        }
    }
}

/// What a credential that somebody holds lets them end.
#[derive(Debug)]
pub enum HeldCredential {
    ApiKey(ObjectId),
    AppToken(ObjectId),
    AccessToken {
        id: RegistrationId,
        registration: Registration,
        token: TokenId,
    },
    /// A code, refresh token or access token of a user ends the whole grant.
    Grant {
        session: SessionId,
        client: ClientId,
        /// Whether only its client may end it.
        confidential: bool,
    },
}

impl HeldCredential {
    fn of_grant(session: SessionId, grant: &Grant) -> Option<Self> {
        let GrantDetails { client_id: client, confidential, .. } = grant.details;
        let revoked = grant.status == GrantStatus::Revoked;
        (!revoked).then_some(Self::Grant { session, client, confidential })
    }
}
