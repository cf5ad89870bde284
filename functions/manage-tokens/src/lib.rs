//! Lists and revokes OAuth access tokens and app tokens. Each route uses the format of the endpoint that creates that
//! kind of token.

mod wire;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use shared::{
    auth::{Authenticator, Permission},
    clock::Clock,
    error::ApiError,
    keys::Keys,
    runtime::http::{Endpoint, Request, Response},
    runtime::{Environment, SettingsError},
    store::Store,
    tokens::{listing, revocation},
    wire::app_tokens::ApplicationPath,
};

use self::wire::{ListAppTokensRequest, ListTokensRequest, RevokeAppTokenRequest, RevokeTokenRequest};

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
            "GET /v1/organizations/{organizationId}/apps/{applicationId}/tokens" => {
                self.list_app_tokens(&request, now).await
            }
            "DELETE /v1/organizations/{organizationId}/apps/{applicationId}/tokens/{tokenId}" => {
                self.revoke_app_token(&request, now).await
            }
            // Unreachable behind API Gateway, which sends only these four.
            _ => Err(ApiError::NotFound),
        }
    }

    fn error(route: &str, error: &ApiError) -> Response {
        wire::error(route, error)
    }
}

impl ManageTokens {
    async fn list_tokens(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let parsed = ListTokensRequest::parse(request);
        let reads = async |body: &ListTokensRequest| self.store.load_registration(&body.registration_id).await;
        let (caller, _, registration) = self.authenticator.admit(&request.headers, now, parsed, reads).await?;
        caller.require(Permission::OauthTokenList)?;
        let registration = caller.require_registration(registration?)?;
        Ok(wire::tokens(&registration, &listing::active_tokens(&registration, now)))
    }

    async fn revoke_token(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let parsed = RevokeTokenRequest::parse(request);
        let reads = async |body: &RevokeTokenRequest| self.store.load_registration(&body.registration_id).await;
        let (caller, body, registration) = self.authenticator.admit(&request.headers, now, parsed, reads).await?;
        caller.require(Permission::OauthTokenRevoke)?;
        let (id, registration) = (&body.registration_id, caller.require_registration(registration?)?);
        let registration =
            revocation::revoke_registration_token(&self.store, id, registration, body.token_id, now).await?;
        Ok(wire::token_revoked(registration.active_tokens(now), registration.max_allowed))
    }

    async fn list_app_tokens(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let parsed = ListAppTokensRequest::parse(request);
        let reads = async |body: &ListAppTokensRequest| self.store.load_application(body.path.application_id).await;
        let (caller, body, application) = self.authenticator.admit(&request.headers, now, parsed, reads).await?;
        caller.require(Permission::MadApplicationTokenList)?;
        caller.require_application(body.path.organization_id, application?.as_ref())?;
        let application = body.path.application_id;
        let page = listing::app_tokens(&self.store, application, body.order, body.skip(), body.limit).await?;
        Ok(wire::app_tokens(&body, &page))
    }

    async fn revoke_app_token(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let parsed = RevokeAppTokenRequest::parse(request);
        let reads = async |body: &RevokeAppTokenRequest| self.store.load_app_token(body.token_id).await;
        let (caller, body, token) = self.authenticator.admit(&request.headers, now, parsed, reads).await?;
        caller.require(Permission::MadApplicationTokenRemove)?;
        let ApplicationPath { organization_id, application_id } = body.path;
        let token = caller.require_app_token(organization_id, application_id, token?)?;
        revocation::revoke_app_token(&self.store, token.app_token_id, now).await?;
        Ok(wire::app_token_revoked())
    }
}
