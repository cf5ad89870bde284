//! `POST /api/v1/tokens`: exchanges an authorization code or a refresh token for an access, an ID and a refresh token.

mod claims;
mod wire;

use std::sync::Arc;

use serde_json::Value;
use shared::{
    clock::{Clock, expiry},
    error::ApiError,
    keys::jwt::TokenType,
    keys::{Issuer, Keys, Signer},
    runtime::http::{Endpoint, Request, Response},
    runtime::{Environment, SettingsError},
    store::Store,
    tokens::grants::{Grants, TOKEN_LIFETIME_SECONDS},
};

use self::{
    claims::{IdClaims, access_claims},
    wire::{TokenRequest, Tokens},
};

#[derive(Debug)]
pub struct ExchangeToken {
    issuer: Issuer,
    signer: Signer,
    grants: Grants,
    clock: Arc<dyn Clock>,
}

impl Endpoint for ExchangeToken {
    const NAME: &'static str = "exchange-token";

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        let store = Store::from_environment(environment)?;
        Ok(Self {
            issuer: Issuer::from_environment(environment)?,
            signer: Keys::from_environment(environment, &store)?.signer(environment)?,
            grants: Grants { store, random: Arc::clone(&environment.random) },
            clock: Arc::clone(&environment.clock),
        })
    }

    async fn warm(&self) {
        tokio::join!(self.signer.warm(), self.grants.store.warm(2));
    }

    async fn respond(&self, request: Request) -> Result<Response, ApiError> {
        let now = self.clock.now();
        let request = TokenRequest::parse(&request)?;
        let (redemption, prepared) = tokio::join!(self.grants.redeem(&request.grant, now), self.signer.prepare());
        let redemption = redemption?;
        prepared?;

        let expires_at = expiry(now, TOKEN_LIFETIME_SECONDS);
        let random = self.grants.random.as_ref();
        let access_claims = access_claims(&request, &redemption, &self.issuer, (now, expires_at), random)?;
        let id_claims = IdClaims::new(&request, &redemption, &access_claims, random)?;
        let access_token = self.signer.sign(TokenType::Jwt, &access_claims);
        let (access_token, id_token) = tokio::join!(access_token, self.signer.sign(TokenType::Jwt, &id_claims));
        let (access_token, id_token) = (access_token?, id_token?);

        // Up to here, a failure leaves the code or refresh token unchanged.
        let refresh_token = self.grants.commit(redemption, now).await?;
        let redirect_uri = request.redirect_uri;
        Ok(Tokens { access_token, id_token, expires_at, redirect_uri, refresh_token }.into())
    }

    fn error_body(_: &str, error: &ApiError) -> Value {
        wire::error_body(error)
    }
}
