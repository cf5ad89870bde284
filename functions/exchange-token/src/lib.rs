//! `POST /api/v1/tokens`: exchanges an authorization code or a refresh token for an access, an ID and a refresh token.

mod claims;
mod wire;

use std::sync::Arc;

use shared::{
    clock::Clock,
    error::ApiError,
    id::TokenId,
    keys::jwt::{TokenType, WithClaims},
    keys::{Issuer, Keys, Signer},
    runtime::http::{Endpoint, Request, Response},
    runtime::{Environment, SettingsError},
    store::Store,
    tokens::grants::{Grants, Issuance},
};

use self::{
    claims::{IdClaims, access_claims},
    wire::TokenRequest,
};

#[derive(Debug)]
pub struct ExchangeToken {
    issuer: Issuer,
    grants: Grants,
    clock: Arc<dyn Clock>,
}

impl Endpoint for ExchangeToken {
    const NAME: &'static str = "exchange-token";

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        let store = Store::from_environment(environment)?;
        Ok(Self {
            issuer: Issuer::from_environment(environment)?,
            grants: Grants {
                signer: Keys::from_environment(environment, &store)?.signer(environment)?,
                store,
                random: Arc::clone(&environment.random),
            },
            clock: Arc::clone(&environment.clock),
        })
    }

    async fn warm(&self) {
        tokio::join!(self.grants.signer.warm(), self.grants.store.warm(2));
    }

    async fn respond(&self, request: Request) -> Result<Response, ApiError> {
        let now = self.clock.now();
        let request = TokenRequest::parse(&request)?;
        let random = self.grants.random.as_ref();
        let sign = async |signer: &Signer, issuance: &Issuance<'_>| {
            let access_claims = access_claims(&request, issuance, &self.issuer, TokenId::random(random)?);
            let id_claims = IdClaims::new(&request, issuance, &access_claims, TokenId::random(random)?);
            let access_claims = WithClaims { own: &access_claims, others: &issuance.grant.access_token_claims };
            tokio::try_join!(signer.sign(TokenType::Jwt, &access_claims), signer.sign(TokenType::Jwt, &id_claims))
        };
        let exchanged = self.grants.exchange(&request.grant, now, sign).await?;
        Ok(wire::tokens(exchanged, &request.redirect_uri))
    }

    fn error(_: &str, error: &ApiError) -> Response {
        wire::error(error)
    }
}
