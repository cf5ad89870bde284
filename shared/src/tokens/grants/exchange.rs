//! Exchanges a code or refresh token: load, decide, sign, commit.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{
    decide::{Attempt, Decision, Denial, forgives_lateness},
    request::{Binding, GrantRequest, PresentedGrant, RequestClient},
};
use crate::{
    credential::{GrantCredential, SessionId},
    error::{ApiError, InternalError, OauthError, ValidationError},
    input::{Audiences, Scopes},
    keys::Signer,
    random::Random,
    runtime::telemetry::{Phase, timed},
    store::{Client, Grant, GrantDetails, GrantStep, Store, Update},
};

/// Exchanges codes and refresh tokens.
#[derive(Debug)]
pub struct Grants {
    pub store: Store,
    pub signer: Signer,
    pub random: Arc<dyn Random>,
}

/// What the tokens of a granted request are made of.
#[derive(Debug)]
pub struct Issuance<'a> {
    pub grant: &'a GrantDetails,
    pub session: SessionId,
    /// The scopes of the tokens.
    pub scopes: &'a Scopes,
    /// The audiences of the access token.
    pub audiences: &'a Audiences,
    /// Whether a code is exchanged, and not a refresh token.
    pub is_code_exchange: bool,
    pub issued_at: DateTime<Utc>,
    /// When the access token and the ID token expire.
    pub expires_at: DateTime<Utc>,
}

/// The tokens of a request that is committed.
#[derive(Debug)]
pub struct Exchanged<T> {
    /// What was signed.
    pub signed: T,
    /// `None` if the client gets none for this grant.
    pub refresh_token: Option<GrantCredential>,
    /// When the access token and the ID token expire.
    pub expires_at: DateTime<Utc>,
}

impl Grants {
    /// Exchanges a code or refresh token. `sign` signs the tokens; they leave only after the exchange is recorded. A
    /// replay revokes the grant.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] without a redirect URI that the client may not leave out, [`OauthError::InvalidClient`],
    /// [`ApiError::BadCredential`], [`OauthError::InvalidScope`], [`OauthError::InvalidTarget`],
    /// [`ApiError::Replay`], or a failure. After a failure the code or refresh token may be presented again.
    pub async fn exchange<T>(
        &self,
        request: &GrantRequest,
        now: DateTime<Utc>,
        sign: impl AsyncFnOnce(&Signer, &Issuance<'_>) -> Result<T, InternalError>,
    ) -> Result<Exchanged<T>, ApiError> {
        let (loaded, prepared) = tokio::join!(timed(Phase::Load, self.load(request, now)), self.signer.prepare());
        let mut attempt = loaded?;
        let decision = self.enforce(attempt.decide(), &attempt).await?;
        prepared?;

        let issuance = attempt.issuance(&decision);
        let signed = sign(&self.signer, &issuance).await?;
        let expires_at = issuance.expires_at;

        let refresh_token = self.commit(&mut attempt, decision).await?;
        Ok(Exchanged { signed, refresh_token, expires_at })
    }

    async fn load<'a>(&self, request: &'a GrantRequest, now: DateTime<Utc>) -> Result<Attempt<'a>, ApiError> {
        let (grant, client) = self.load_grant_and_client(request, now).await?;
        let grant_id = request.presented.credential().grant();
        let first = GrantCredential::generate_refresh_token(grant_id, self.random.as_ref())?;
        Ok(Attempt { request, session: request.presented.session_id(), grant, client, first, now })
    }

    /// The grant, and its client if the request is from it.
    async fn load_grant_and_client(
        &self,
        request: &GrantRequest,
        now: DateTime<Utc>,
    ) -> Result<(Grant, Option<Client>), ApiError> {
        let session = request.presented.session_id();
        let grant = self.store.load_grant(&session);
        let (grant, client) = match &request.client {
            RequestClient::IdOnly(id) | RequestClient::WithCredentials(id, _) => {
                let (grant, client) = tokio::join!(grant, self.store.load_client(*id));
                let client = client?;
                let is_unusable = client.as_ref().is_some_and(|client| !client.state.is_usable());
                if let RequestClient::WithCredentials(_, credentials) = &request.client {
                    credentials.authenticate(client.as_ref(), now)?;
                }
                // The grants of such a client are left unchanged: not even a replay revokes one.
                if is_unusable {
                    return Err(ApiError::BadCredential);
                }
                // Decided by the client alone, so that it says nothing about the code.
                if matches!(request.binding, Binding::Code { redirect_uri: None })
                    && !client.as_ref().is_some_and(Client::may_omit_redirect_uri)
                {
                    return Err(ValidationError::new("redirect_uri", "is required").into());
                }
                let grant = grant?.ok_or(ApiError::BadCredential)?;
                let is_its_client = *id == grant.details.client_id;
                (grant, client.filter(|_| is_its_client))
            }
            RequestClient::Omitted => {
                let grant = grant.await?.ok_or(ApiError::BadCredential)?;
                if grant.details.confidential {
                    return Err(OauthError::InvalidClient(None).into());
                }
                let client = self.store.load_client(grant.details.client_id).await?;
                if client.as_ref().is_none_or(|client| !client.state.is_usable()) {
                    return Err(ApiError::BadCredential);
                }
                (grant, client)
            }
        };
        let authenticated = matches!(request.client, RequestClient::WithCredentials(..));
        Ok((grant, client.filter(|client| authenticated || !client.is_confidential())))
    }

    /// Records the decision and returns the refresh token, if the grant has one. A write that loses a race is decided
    /// again on the grant that it lost to.
    async fn commit(
        &self,
        attempt: &mut Attempt<'_>,
        mut decision: Decision,
    ) -> Result<Option<GrantCredential>, ApiError> {
        let to = self.store.write_id()?;
        let mut retry = self.store.retry("change the grant");
        loop {
            let Some(change) = &decision.change else { return Ok(decision.refresh_token) };
            let step = GrantStep { from: &attempt.grant.version, to: &to };
            match self.store.change_grant(&attempt.session, change, step).await? {
                Update::Applied(()) => return Ok(decision.refresh_token),
                Update::Conflict(current) => attempt.grant = current,
                Update::Missing => return Err(ApiError::BadCredential),
            }
            retry.pause().await?;
            let again = match attempt.decide() {
                // It was the current token when this request loaded it. Faster requests have used its successor since,
                // so this request is late, not stolen.
                Err(Denial::Replay) if forgives_lateness(attempt.request, attempt.client.as_ref()) => {
                    Err(Denial::BadCredential)
                }
                again => again,
            };
            decision = self.enforce(again, attempt).await?;
        }
    }

    /// Whether the grant is of a disabled or suspended client, which the request did not name. Its grants are left
    /// unchanged.
    async fn is_of_unusable_client(&self, attempt: &Attempt<'_>) -> Result<bool, InternalError> {
        if attempt.client.is_some() {
            return Ok(false);
        }
        let client = self.store.load_client(attempt.grant.details.client_id).await?;
        Ok(client.is_some_and(|client| !client.state.is_usable()))
    }

    /// Turns a denial into an error, and revokes the grant of a replay.
    async fn enforce(&self, decision: Result<Decision, Denial>, attempt: &Attempt<'_>) -> Result<Decision, ApiError> {
        match decision {
            Ok(decision) => Ok(decision),
            Err(Denial::BadCredential) => Err(ApiError::BadCredential),
            Err(Denial::Refused(error)) => Err(error.into()),
            Err(Denial::Replay) if self.is_of_unusable_client(attempt).await? => Err(ApiError::BadCredential),
            Err(Denial::Replay) => {
                self.store.revoke_grant(&attempt.session).await?;
                Err(ApiError::Replay)
            }
        }
    }
}

impl Attempt<'_> {
    fn issuance<'a>(&'a self, decision: &'a Decision) -> Issuance<'a> {
        Issuance {
            grant: &self.grant.details,
            session: self.session.clone(),
            scopes: self.request.scopes.as_ref().unwrap_or(&self.grant.details.scopes),
            audiences: &decision.audiences,
            is_code_exchange: matches!(self.request.presented, PresentedGrant::Code { .. }),
            issued_at: self.now,
            expires_at: decision.tokens_expire_at,
        }
    }
}
