//! Lists and revokes what was minted, each route in the format of the endpoint that created it.

mod wire;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::{
    auth::{Authenticator, Bearer, Permission},
    clock::Clock,
    keys::{Audience, Issuer, Keys},
    runtime::http::{Endpoint, Request, Response},
    runtime::telemetry::{Phase, timed},
    runtime::{ApiError, Environment, SettingsError},
    store::Store,
    tokens::listing,
    tokens::revocation::Revocations,
};

use self::wire::{AppTokensQuery, Call};

/// The function.
#[derive(Debug)]
pub struct ManageTokens {
    authenticator: Authenticator,
    revocations: Revocations,
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Endpoint for ManageTokens {
    const NAME: &'static str = "manage-tokens";

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        let store = Store::from_environment(environment)?;
        let public_keys = Keys::from_environment(environment, &store)?.public_keys(environment)?;
        let issuer = Issuer::from_environment(environment)?;
        let audience = Audience::from_environment(environment, &issuer)?;
        Ok(Self {
            authenticator: Authenticator::new(public_keys, issuer, audience, store.clone()),
            revocations: Revocations { store: store.clone(), random: Arc::clone(&environment.random) },
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
        let call = match Call::parse(&request) {
            Ok(call) => call,
            // A stranger does not learn what is wrong with the request.
            Err(invalid) => {
                timed(Phase::Load, self.authenticator.authenticate(bearer, now)).await?;
                return Err(invalid);
            }
        };
        self.perform(call, bearer, now).await
    }

    fn error_body(route: &str, error: &ApiError) -> Value {
        wire::error_body(route, error)
    }
}

impl ManageTokens {
    async fn perform(&self, call: Call, bearer: Bearer, now: DateTime<Utc>) -> Result<Response, ApiError> {
        match call {
            Call::ListTokens { registration_id } => {
                let read = self.store.load_registration(&registration_id);
                let (caller, read) =
                    timed(Phase::Load, self.authenticator.authenticate_beside(bearer, now, read)).await?;
                caller.require(Permission::OauthTokenList)?;
                let registration = listing::own_registration(&caller, read?)?;
                Ok(wire::tokens(&registration, &listing::active_tokens(&registration, now)))
            }
            Call::RevokeToken { registration_id, token_id } => {
                let read = self.store.load_registration(&registration_id);
                let (caller, read) =
                    timed(Phase::Load, self.authenticator.authenticate_beside(bearer, now, read)).await?;
                caller.require(Permission::OauthTokenRevoke)?;
                let revoked = self.revocations.revoke_token(&caller, read?, (&registration_id, token_id), now).await?;
                Ok(wire::token_revoked(revoked.active_tokens(now), revoked.max_allowed))
            }
            Call::ListAppTokens { path, query } => {
                let read = self.store.load_application(path.application_id);
                let (caller, read) =
                    timed(Phase::Load, self.authenticator.authenticate_beside(bearer, now, read)).await?;
                caller.require(Permission::MadApplicationTokenList)?;
                listing::require_own_application(&caller, path.organization_id, read?.as_ref())?;
                let AppTokensQuery { order, limit, .. } = query;
                let page = listing::app_tokens(&self.store, path.application_id, order, query.skip(), limit).await?;
                Ok(wire::app_tokens(path, &query, page))
            }
            Call::RevokeAppToken { path, token_id } => {
                let read = self.store.load_app_token(token_id);
                let (caller, read) =
                    timed(Phase::Load, self.authenticator.authenticate_beside(bearer, now, read)).await?;
                caller.require(Permission::MadApplicationTokenRemove)?;
                let application = (path.organization_id, path.application_id);
                self.revocations.revoke_app_token(&caller, application, read?, now).await?;
                Ok(wire::app_token_revoked())
            }
        }
    }
}
