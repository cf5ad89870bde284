//! `POST /v1/organizations/{organizationId}/apps/{applicationId}/tokens`: creates an app token.

mod wire;

use std::sync::Arc;

use shared::{
    auth::{Authenticator, Permission},
    clock::Clock,
    error::ApiError,
    keys::{Keys, MacKey},
    runtime::http::{Endpoint, Request, Response},
    runtime::{Environment, SettingsError},
    store::Store,
    tokens::app_tokens::{AppTokens, CreateRequest},
    wire::app_tokens,
};

use self::wire::CreateAppTokenRequest;

#[derive(Debug)]
pub struct CreateAppToken {
    authenticator: Authenticator,
    tokens: AppTokens,
    clock: Arc<dyn Clock>,
}

impl Endpoint for CreateAppToken {
    const NAME: &'static str = "create-app-token";

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        let store = Store::from_environment(environment)?;
        let keys = Keys::from_environment(environment, &store)?;
        Ok(Self {
            authenticator: Authenticator::from_environment(environment, &keys, &store)?,
            tokens: AppTokens {
                store,
                mac_key: MacKey::from_environment(environment)?,
                random: Arc::clone(&environment.random),
            },
            clock: Arc::clone(&environment.clock),
        })
    }

    async fn warm(&self) {
        tokio::join!(self.authenticator.warm(), self.tokens.store.warm(2));
    }

    async fn respond(&self, request: Request) -> Result<Response, ApiError> {
        let now = self.clock.now();
        let parsed = CreateAppTokenRequest::parse(&request, now);
        let reads =
            async |body: &CreateAppTokenRequest| self.tokens.store.load_application(body.path.application_id).await;
        let (caller, body, application) = self.authenticator.admit(&request.headers, now, parsed, reads).await?;
        caller.require(Permission::MadApplicationTokenCreate)?;
        let request = CreateRequest {
            endpoint: Self::NAME,
            organization_id: body.path.organization_id,
            application_id: body.path.application_id,
            description: body.description,
            scopes: body.scopes,
            expires_at: body.expires_at,
            idempotency_key: body.idempotency_key.as_ref(),
        };
        self.tokens.create(&caller, application?, request, now).await.map(wire::created)
    }

    fn error(_: &str, error: &ApiError) -> Response {
        app_tokens::error(error)
    }
}
