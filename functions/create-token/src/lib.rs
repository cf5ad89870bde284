//! `POST /api/v1/create-token`: an OAuth access token for a registration, under its active-token quota.

mod dialect;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use shared::{
    auth::{Authenticator, Permission, Principal},
    clock::{Clock, expiry},
    http::{Endpoint, Request, Response},
    id::TokenId,
    jwt::{AccessTokenClaims, Type},
    quota::{self, Place},
    random::Random,
    settings::{Audience, Environment, Issuer, SettingsError},
    signer::Signer,
    store::{ActiveToken, Registration, Store},
    telemetry::{Step, step},
};

use self::dialect::{CreateTokenRequest, Created, Refusal};

/// The function.
#[derive(Debug)]
pub struct CreateToken {
    authenticator: Authenticator,
    issuer: Issuer,
    audience: Audience,
    signer: Signer,
    store: Store,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Endpoint for CreateToken {
    const NAME: &'static str = "create-token";

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        Ok(Self {
            authenticator: Authenticator::from_environment(environment)?,
            issuer: Issuer::from_environment(environment)?,
            audience: Audience::from_environment(environment)?,
            signer: Signer::from_environment(environment)?,
            store: Store::from_environment(environment)?,
            clock: Arc::clone(&environment.clock),
            random: Arc::clone(&environment.random),
        })
    }

    async fn warm(&self) {
        tokio::join!(self.authenticator.warm(), self.store.warm());
    }

    async fn respond(&self, request: Request) -> Response {
        self.create(&request).await.map_or_else(Response::from, Response::from)
    }
}

impl CreateToken {
    async fn create(&self, request: &Request) -> Result<Created, Refusal> {
        let now = self.clock.now();

        // Load: the caller and the registration at the same time. Whose fault comes first is decided below.
        let bearer = self.authenticator.inspect(&request.headers, now).await?;
        let body = CreateTokenRequest::read(request);
        let registration = async {
            match &body {
                Ok(body) => self.store.registration(&body.registration_id).await,
                Err(_) => Ok(None),
            }
        };
        let caller = self.authenticator.authenticate(bearer, now);
        let (caller, registration) = step(Step::Load, async { tokio::join!(caller, registration) }).await;

        // Decide: nothing has cost or changed anything yet.
        let (caller, body) = (caller?, body?);
        let grant = decide(&caller, body, registration?, (&self.issuer, &self.audience), now, self.random.as_ref())?;

        // Sign.
        let jwt = self.signer.sign(Type::AccessToken, &grant.claims).await?;

        // Commit: until here a failure leaves nothing behind.
        let (id, random) = (grant.claims.jti, self.random.as_ref());
        let registration = &grant.request.registration_id;
        let active_tokens =
            quota::take(&self.store, registration, grant.place, (id, &grant.token), now, random).await?;
        Ok(Created { id, jwt, expires_at: grant.expires_at, active_tokens, max_allowed: grant.max_allowed })
    }
}

/// What was decided: the token to sign, and where to record it.
struct Grant {
    request: CreateTokenRequest,
    claims: AccessTokenClaims,
    token: ActiveToken,
    place: Place,
    expires_at: DateTime<Utc>,
    max_allowed: u32,
}

fn decide(
    caller: &Principal,
    request: CreateTokenRequest,
    registration: Option<Registration>,
    (issuer, audience): (&Issuer, &Audience),
    now: DateTime<Utc>,
    random: &dyn Random,
) -> Result<Grant, Refusal> {
    if !caller.may(Permission::OauthTokenCreate) {
        return Err(Refusal::Forbidden);
    }
    // Another organization's registration must look like none.
    let registration = registration.filter(|registration| registration.organization_id == caller.organization);
    let registration = registration.ok_or(Refusal::NotFound)?;
    let place = quota::find_place(&registration, now, quota::random_start(random)?)?;
    let expires_at = expiry(now, registration.token_ttl_seconds);
    let claims = AccessTokenClaims {
        iss: issuer.as_str().to_owned(),
        sub: request.registration_id.to_string(),
        aud: audience.as_str().to_owned(),
        client_id: request.registration_id.to_string(),
        jti: TokenId::random(random)?,
        iat: now.timestamp(),
        exp: expires_at.timestamp(),
        scope: registration.scopes.join(" "),
        email: request.email.clone(),
    };
    let token = ActiveToken { exp: claims.exp, email: claims.email.clone() };
    Ok(Grant { request, claims, token, place, expires_at, max_allowed: registration.max_allowed })
}
