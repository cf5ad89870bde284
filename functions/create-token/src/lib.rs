//! `POST /api/v1/create-token`: creates an OAuth access token for a registration, within its quota of active tokens.

mod wire;

use std::sync::Arc;

use shared::{
    auth::{Authenticator, Permission},
    clock::Clock,
    error::ApiError,
    keys::{Issuers, Keys, MaxTokenTtl},
    runtime::http::{Endpoint, Request, Response},
    runtime::{Environment, SettingsError},
    store::Store,
    tokens::registration_tokens::{IssueRequest, RegistrationTokens},
    wire::registration_tokens,
};

use self::wire::CreateTokenRequest;

#[derive(Debug)]
pub struct CreateToken {
    authenticator: Authenticator,
    tokens: RegistrationTokens,
    clock: Arc<dyn Clock>,
}

impl Endpoint for CreateToken {
    const NAME: &'static str = "create-token";

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        let store = Store::from_environment(environment)?;
        let keys = Keys::from_environment(environment, &store)?;
        let issuers = Issuers::from_environment(environment)?;
        let issuer = issuers.api_v1().clone();
        let audience = issuers.audience_of(&issuer);
        let authenticator = Authenticator::from_environment(environment, &keys, &store)?;
        Ok(Self {
            tokens: RegistrationTokens {
                store,
                signer: keys.signer(environment)?,
                keys: Arc::clone(&authenticator.verifier.keys),
                issuer,
                audience,
                max_ttl: MaxTokenTtl::from_environment(environment)?,
                random: Arc::clone(&environment.random),
            },
            authenticator,
            clock: Arc::clone(&environment.clock),
        })
    }

    async fn warm(&self) {
        tokio::join!(self.authenticator.warm(), self.tokens.signer.warm_key(), self.tokens.store.warm(2));
    }

    async fn respond(&self, request: Request) -> Result<Response, ApiError> {
        let now = self.clock.now();
        let parsed = CreateTokenRequest::parse(&request);
        let reads = async |body: &CreateTokenRequest| {
            tokio::join!(self.tokens.store.load_registration(&body.registration_id), self.tokens.signer.prepare())
        };
        let (caller, body, (registration, prepared)) =
            self.authenticator.admit(&request.headers, now, parsed, reads).await?;
        caller.require(Permission::OauthTokenCreate)?;
        let request = IssueRequest {
            endpoint: Self::NAME,
            registration_id: &body.registration_id,
            email: body.email.as_ref(),
            idempotency_key: body.idempotency_key.as_ref(),
        };
        prepared?;
        let issued = self.tokens.issue(&caller, registration?, &request, now).await?;
        Ok(wire::created(&issued))
    }

    fn error(_: &str, error: &ApiError) -> Response {
        registration_tokens::error(error)
    }
}
