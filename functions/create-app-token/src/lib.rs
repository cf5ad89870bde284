//! `POST /v1/organizations/{organizationId}/apps/{applicationId}/tokens`: an integration token of an app.

mod wire;

use std::sync::Arc;

use serde_json::Value;
use shared::{
    auth::{Authenticator, Permission},
    clock::Clock,
    keys::{Audience, Issuer, Keys, MacKey},
    runtime::http::{Endpoint, Request, Response},
    runtime::telemetry::{Phase, timed},
    runtime::{ApiError, Environment, SettingsError},
    store::Store,
    tokens::app_tokens::{AppTokens, CreateRequest},
    wire::app_tokens,
};

use self::wire::CreateAppTokenRequest;

/// The function.
#[derive(Debug)]
pub struct CreateAppToken {
    authenticator: Authenticator,
    tokens: AppTokens,
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Endpoint for CreateAppToken {
    const NAME: &'static str = "create-app-token";

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        let store = Store::from_environment(environment)?;
        let public_keys = Keys::from_environment(environment, &store)?.public_keys(environment)?;
        let issuer = Issuer::from_environment(environment)?;
        let audience = Audience::from_environment(environment, &issuer)?;
        Ok(Self {
            authenticator: Authenticator::new(public_keys, issuer, audience, store.clone()),
            tokens: AppTokens {
                store: store.clone(),
                mac_key: MacKey::from_environment(environment)?,
                random: Arc::clone(&environment.random),
            },
            store,
            clock: Arc::clone(&environment.clock),
        })
    }

    async fn warm(&self) {
        tokio::join!(self.authenticator.warm(), self.store.warm());
    }

    async fn respond(&self, request: Request) -> Result<Response, ApiError> {
        let now = self.clock.now();
        let bearer = self.authenticator.inspect(&request.headers, now).await?;
        let request = match CreateAppTokenRequest::parse(&request) {
            Ok(request) => request,
            // A stranger does not learn what is wrong with the request.
            Err(invalid) => {
                timed(Phase::Load, self.authenticator.authenticate(bearer, now)).await?;
                return Err(invalid.into());
            }
        };
        let application = self.store.load_application(request.path.application_id);
        let reads = self.authenticator.authenticate_beside(bearer, now, application);
        let (caller, application) = timed(Phase::Load, reads).await?;
        caller.require(Permission::MadApplicationTokenCreate)?;
        let request = CreateRequest {
            endpoint: Self::NAME,
            organization_id: request.path.organization_id,
            application_id: request.path.application_id,
            description: request.description,
            scopes: request.scopes,
            idempotency_key: request.idempotency_key.as_ref(),
        };
        self.tokens.create(&caller, application?, request, now).await.map(wire::created)
    }

    fn error_body(_: &str, error: &ApiError) -> Value {
        app_tokens::error_body(error)
    }
}
