//! `POST /api/v1/tokens`: an authorization code or a refresh token for an access, an ID and a refresh token.

mod claims;
mod dialect;
mod judge;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use shared::{
    clock::{Clock, expiry},
    credential::{CredentialHash, GrantCredential, GrantId},
    fault::Fault,
    http::{Endpoint, Request, Response},
    jwt::Type,
    random::Random,
    settings::{Environment, Issuer, SettingsError},
    signer::Signer,
    store::{Client, Grant, GrantWrite, Store, Written},
    telemetry::{Step, step},
};

use self::{
    claims::{AccessClaims, IdClaims},
    dialect::{Refusal, TokenRequest, Tokens},
    judge::{Verdict, judge},
};

/// How long the access token and the ID token live.
const TOKEN_LIFETIME_SECONDS: u32 = 3600;
/// How often a write that lost a race is decided again. Every loss moves the grant on: a code is used, a token
/// rotated, the grant revoked; after that only siblings are added, which disturb each other no more.
const MAX_ROUNDS: usize = 10;

/// The function.
#[derive(Debug)]
pub struct ExchangeToken {
    issuer: Issuer,
    signer: Signer,
    store: Store,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Endpoint for ExchangeToken {
    const NAME: &'static str = "exchange-token";

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        Ok(Self {
            issuer: Issuer::from_environment(environment)?,
            signer: Signer::from_environment(environment)?,
            store: Store::from_environment(environment)?,
            clock: Arc::clone(&environment.clock),
            random: Arc::clone(&environment.random),
        })
    }

    async fn warm(&self) {
        tokio::join!(self.signer.warm(), self.store.warm());
    }

    async fn respond(&self, request: Request) -> Response {
        self.exchange(&request).await.map_or_else(Response::from, Response::from)
    }
}

impl ExchangeToken {
    async fn exchange(&self, request: &Request) -> Result<Tokens, Refusal> {
        let (now, random) = (self.clock.now(), self.random.as_ref());

        // Load: the grant that the code or refresh token tells, and the client.
        let request = TokenRequest::read(request)?;
        let id = request.credential.grant();
        let reads =
            async { tokio::join!(self.store.grant(id), self.store.client(request.client_id), self.signer.prepare()) };
        let (grant, client, prepared) = step(Step::Load, reads).await;

        // Decide.
        let (grant, client) = (grant?.ok_or(Refusal::BadCredential)?, client?);
        let successor = GrantCredential::generate_refresh_token(id, random)?;
        let write = match judge(&request, &grant, client.as_ref(), &successor.hash(), now) {
            Verdict::Grant(write) => write,
            Verdict::Refuse => return Err(Refusal::BadCredential),
            Verdict::Replay => return Err(self.revoke(id).await),
        };
        let expires_at = expiry(now, TOKEN_LIFETIME_SECONDS);
        let access_claims = AccessClaims::new(&request, &grant, &self.issuer, (now, expires_at), random)?;
        let id_claims = IdClaims::new(&request, &grant, &access_claims, random)?;

        // Sign.
        prepared?;
        let access_token = self.signer.sign(Type::Jwt, &access_claims);
        let (access_token, id_token) = tokio::join!(access_token, self.signer.sign(Type::Jwt, &id_claims));
        let (access_token, id_token) = (access_token?, id_token?);

        // Commit: until here a failure leaves the code or refresh token as it was.
        self.commit(&request, client.as_ref(), (write, grant.progress.fence), &successor, now).await?;
        Ok(Tokens { access_token, id_token, expires_at, redirect_uri: request.redirect_uri, refresh_token: successor })
    }

    /// Writes, and where others were faster decides again on what they left.
    async fn commit(
        &self,
        request: &TokenRequest,
        client: Option<&Client>,
        (mut write, mut fence): (GrantWrite, Option<CredentialHash>),
        successor: &GrantCredential,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let id = request.credential.grant();
        for _ in 0..MAX_ROUNDS {
            let grant: Box<Grant> = match self.store.write_grant(id, &write, fence.as_ref()).await? {
                Written::Done => return Ok(()),
                Written::Moved(grant) => grant,
                Written::Gone => return Err(Refusal::BadCredential),
            };
            write = match judge(request, &grant, client, &successor.hash(), now) {
                Verdict::Grant(write) => write,
                Verdict::Refuse => return Err(Refusal::BadCredential),
                Verdict::Replay => return Err(self.revoke(id).await),
            };
            fence = grant.progress.fence;
        }
        Err(Fault::new("change the grant", "too many requests changed it at the same time").into())
    }

    /// Ends the grant of a code or refresh token that was used again (RFC 9700, 2.1.1 and 4.14.2).
    async fn revoke(&self, id: &GrantId) -> Refusal {
        match self.store.write_grant(id, &GrantWrite::Revoke, None).await {
            Ok(_) => Refusal::Replay,
            Err(fault) => fault.into(),
        }
    }
}
