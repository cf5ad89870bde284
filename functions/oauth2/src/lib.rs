//! The endpoints of the standards, for clients that were not written for this service: the token endpoint (RFC 6749,
//! 3.2), revocation (RFC 7009), introspection (RFC 7662) and user information (OpenID Connect Core 1.0, 5.3).

mod claims;
mod endpoints;
mod introspect;
mod revoke;
mod token;
mod userinfo;
mod wire;

use std::sync::Arc;

use shared::{
    auth::Authenticator,
    clock::Clock,
    error::ApiError,
    keys::{Issuers, Keys},
    runtime::http::{Endpoint, Request, Response},
    runtime::{Environment, SettingsError},
    store::Store,
    tokens::{grants::Grants, machine_tokens::MachineTokens},
};

use self::endpoints::Endpoints;

#[derive(Debug)]
pub struct Oauth2 {
    /// `None` if the deployment has no issuer that clients can find these endpoints by.
    endpoints: Option<Endpoints>,
    clock: Arc<dyn Clock>,
}

impl Endpoint for Oauth2 {
    const NAME: &'static str = "oauth2";

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        let store = Store::from_environment(environment)?;
        let keys = Keys::from_environment(environment, &store)?;
        let issuers = Issuers::from_environment(environment)?;
        let signer = keys.signer(environment)?;
        let authenticator = Authenticator::from_environment(environment, &keys, &store)?;
        let endpoints = issuers.oidc().cloned().map(|issuer| {
            let random = || Arc::clone(&environment.random);
            Endpoints {
                grants: Grants { store: store.clone(), signer: signer.clone(), random: random() },
                machine_tokens: MachineTokens {
                    signer,
                    audience: issuers.audience_of(&issuer),
                    issuer,
                    random: random(),
                },
                store,
                authenticator,
            }
        });
        Ok(Self { endpoints, clock: Arc::clone(&environment.clock) })
    }

    async fn warm(&self) {
        if let Some(Endpoints { authenticator, grants, store, .. }) = &self.endpoints {
            tokio::join!(authenticator.warm(), grants.signer.warm_key(), store.warm(2));
        }
    }

    async fn respond(&self, request: Request) -> Result<Response, ApiError> {
        let now = self.clock.now();
        let endpoints = self.endpoints.as_ref().ok_or(ApiError::NotFound)?;
        let response = match request.route.as_str() {
            "POST /oauth2/token" => endpoints.token(&request, now).await,
            "POST /oauth2/revoke" => endpoints.revoke(&request, now).await,
            "POST /oauth2/introspect" => endpoints.introspect(&request, now).await,
            "GET /oauth2/userinfo" | "POST /oauth2/userinfo" => endpoints.userinfo(&request, now).await,
            // Unreachable behind API Gateway, which sends only these.
            _ => Err(ApiError::NotFound),
        };
        response.map(wire::with_pragma)
    }

    fn error(_: &str, error: &ApiError) -> Response {
        wire::error(error)
    }
}
