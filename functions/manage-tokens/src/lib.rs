//! Lists and revokes OAuth access tokens and app tokens. Each route uses the format of the endpoint that creates that
//! kind of token.

mod wire;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use shared::{
    auth::{Authenticator, Permission, RevocableToken},
    clock::Clock,
    error::{ApiError, InternalError},
    id::{RegistrationId, TrustedKeys},
    keys::Keys,
    runtime::http::{Endpoint, Request, Response},
    runtime::{Environment, SettingsError},
    store::{AppToken, Registration, Store},
    tokens::{
        listing::{self, ActiveAppTokens},
        revocation,
    },
    wire::app_tokens::ApplicationPath,
};

use self::wire::{ListAppTokensRequest, RegistrationRequest, RevokeAppTokenRequest, RevokeTokenRequest};

#[derive(Debug)]
pub struct ManageTokens {
    authenticator: Authenticator,
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Endpoint for ManageTokens {
    const NAME: &'static str = "manage-tokens";

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        let store = Store::from_environment(environment)?;
        let keys = Keys::from_environment(environment, &store)?;
        Ok(Self {
            authenticator: Authenticator::from_environment(environment, &keys, &store)?,
            store,
            clock: Arc::clone(&environment.clock),
        })
    }

    async fn warm(&self) {
        tokio::join!(self.authenticator.warm(), self.store.warm(2));
    }

    async fn respond(&self, request: Request) -> Result<Response, ApiError> {
        let now = self.clock.now();
        match request.route.as_str() {
            "POST /api/v1/list-tokens" => self.list_tokens(&request, now).await,
            "POST /api/v1/revoke-token" => self.revoke_token(&request, now).await,
            "POST /api/v1/revoke-tokens" => self.revoke_tokens(&request, now).await,
            "GET /v1/organizations/{organizationId}/apps/{applicationId}/tokens" => {
                self.list_app_tokens(&request, now).await
            }
            "DELETE /v1/organizations/{organizationId}/apps/{applicationId}/tokens/{tokenId}" => {
                self.revoke_app_token(&request, now).await
            }
            // Unreachable behind API Gateway, which sends only these.
            _ => Err(ApiError::NotFound),
        }
    }

    fn error(route: &str, error: &ApiError) -> Response {
        wire::error(route, error)
    }
}

impl ManageTokens {
    async fn list_tokens(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let parsed = RegistrationRequest::parse(request);
        let reads = async |body: &RegistrationRequest| self.load_registration(&body.registration_id, now).await;
        let (caller, _, loaded) = self.authenticator.admit(&request.headers, now, parsed, reads).await?;
        caller.require(Permission::OauthTokenList)?;
        let (registration, keys) = loaded?;
        let registration = caller.require_registration(registration)?;
        Ok(wire::tokens(&registration, &listing::active_tokens(&registration, now, &keys)))
    }

    async fn revoke_token(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let parsed = RevokeTokenRequest::parse(request);
        let reads = async |body: &RevokeTokenRequest| self.load_registration(&body.registration_id, now).await;
        let (caller, body, loaded) = self.authenticator.admit(&request.headers, now, parsed, reads).await?;
        caller.require(Permission::OauthTokenRevoke)?;
        let (registration, keys) = loaded?;
        let RevokeTokenRequest { registration_id, token_id } = body;
        let registration = caller.require_registration(registration)?;
        let token = RevocableToken { registration_id, registration, token_id, keys: keys.clone() };
        let registration = revocation::revoke_registration_token(&self.store, token, now).await?;
        Ok(wire::token_revoked(registration.active_tokens(now, &keys), registration.max_allowed))
    }

    async fn revoke_tokens(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let parsed = RegistrationRequest::parse(request);
        let reads = async |body: &RegistrationRequest| self.store.load_registration(&body.registration_id).await;
        let (caller, body, registration) = self.authenticator.admit(&request.headers, now, parsed, reads).await?;
        caller.require(Permission::OauthTokenRevoke)?;
        let registration = caller.require_registration(registration?)?;
        revocation::revoke_all_tokens(&self.store, &body.registration_id, &registration).await?;
        Ok(wire::tokens_revoked(registration.max_allowed))
    }

    async fn list_app_tokens(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let parsed = ListAppTokensRequest::parse(request);
        let reads = async |body: &ListAppTokensRequest| self.store.load_application(body.path.application_id).await;
        let (caller, body, application) = self.authenticator.admit(&request.headers, now, parsed, reads).await?;
        caller.require(Permission::MadApplicationTokenList)?;
        let application = caller.require_application(body.path.organization_id, application?)?;
        let application_id = body.path.application_id;
        let tokens = ActiveAppTokens { application_id, application: application.state, now };
        let page = listing::app_tokens(&self.store, tokens, body.order, body.skip(), body.limit).await?;
        Ok(wire::app_tokens(&body, &page))
    }

    async fn revoke_app_token(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let parsed = RevokeAppTokenRequest::parse(request);
        let reads = async |body: &RevokeAppTokenRequest| {
            let application = self.store.load_application(body.path.application_id);
            tokio::join!(self.store.load_app_token(body.token_id), application)
        };
        let (caller, body, (token, application)) =
            self.authenticator.admit(&request.headers, now, parsed, reads).await?;
        caller.require(Permission::MadApplicationTokenRemove)?;
        let ApplicationPath { organization_id, application_id } = body.path;
        let application = caller.require_application(organization_id, application?)?;
        let is_named =
            |token: &AppToken| token.application_id == application_id && token.is_active(&application.state, now);
        let token = token?.filter(is_named).ok_or(ApiError::TokenNotFound)?;
        revocation::revoke_app_token(&self.store, token.app_token_id, now).await?;
        Ok(wire::app_token_revoked())
    }

    /// A registration, and the keys that say which of its tokens are active.
    async fn load_registration(
        &self,
        id: &RegistrationId,
        now: DateTime<Utc>,
    ) -> Result<(Option<Registration>, TrustedKeys), InternalError> {
        let public_keys = &self.authenticator.verifier.keys;
        // Refreshed beside the read if it is time, so that looking at them afterwards costs no round.
        let (registration, ()) = tokio::join!(self.store.load_registration(id), public_keys.refresh_if_due());
        let registration = registration?;
        let keys = registration.iter().flat_map(|registration| registration.keys(now));
        let keys = public_keys.load_trusted(keys).await?;
        Ok((registration, keys))
    }
}
