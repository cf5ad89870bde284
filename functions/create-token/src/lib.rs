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
    quota::{self, Place, TakeError, Taken},
    random::Random,
    settings::{Audience, Environment, Issuer, SettingsError},
    signer::Signer,
    store::{ActiveToken, Registration, Repeat, Store},
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
        let authenticator = Authenticator::from_environment(environment)?;
        Ok(Self {
            signer: Signer::sharing(authenticator.public_keys(), environment)?,
            authenticator,
            issuer: Issuer::from_environment(environment)?,
            audience: Audience::from_environment(environment)?,
            store: Store::from_environment(environment)?,
            clock: Arc::clone(&environment.clock),
            random: Arc::clone(&environment.random),
        })
    }

    async fn warm(&self) {
        tokio::join!(self.authenticator.warm(), self.signer.warm_key(), self.store.warm());
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
        let (caller, registration, prepared) =
            step(Step::Load, async { tokio::join!(caller, registration, self.signer.prepare()) }).await;

        // Decide: nothing has cost or changed anything yet.
        let (caller, body) = (caller?, body?);
        let addressed = (&self.issuer, &self.audience);
        let grant = decide(&caller, &body, registration?, addressed, now, self.random.as_ref())?;

        // Sign.
        prepared?;
        let jwt = self.signer.sign(Type::AccessToken, &grant.claims).await?;
        let created = |claims: AccessTokenClaims, jwt, active_tokens, replayed| Created {
            id: claims.jti,
            expires_at: DateTime::from_timestamp(claims.exp, 0).unwrap_or_default(),
            jwt,
            active_tokens,
            max_allowed: grant.max_allowed,
            replayed,
        };
        let place = match grant.next {
            Next::Record(place) => place,
            Next::Repeat { active_tokens } => return Ok(created(grant.claims, jwt, active_tokens, true)),
        };

        // Commit: until here a failure leaves nothing behind.
        let token = (grant.claims.jti, &grant.token);
        match quota::take(&self.store, &body.registration_id, place, token, now, self.random.as_ref()).await? {
            Taken::New(active_tokens) => Ok(created(grant.claims, jwt, active_tokens, false)),
            // A request with the same key was faster, and its token is the one.
            Taken::Standing(standing, active_tokens) => {
                let claims = repeat(grant.claims.clone(), &standing)?;
                let same = claims == grant.claims;
                let jwt = if same { jwt } else { self.signer.sign(Type::AccessToken, &claims).await? };
                Ok(created(claims, jwt, active_tokens, true))
            }
        }
    }
}

/// What was decided: the token to sign, and what comes after.
struct Grant {
    claims: AccessTokenClaims,
    token: ActiveToken,
    next: Next,
    max_allowed: u32,
}

enum Next {
    /// It is new, and recorded in this place.
    Record(Place),
    /// It stands already.
    Repeat { active_tokens: usize },
}

fn decide(
    caller: &Principal,
    request: &CreateTokenRequest,
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
    let jti = match &request.idempotency_key {
        None => TokenId::random(random)?,
        Some(key) => TokenId::derived(&key.scoped(CreateToken::NAME, caller, request.registration_id.as_str())),
    };
    let claims = AccessTokenClaims {
        iss: issuer.as_str().to_owned(),
        sub: request.registration_id.to_string(),
        aud: audience.as_str().to_owned(),
        client_id: request.registration_id.to_string(),
        jti,
        iat: now.timestamp(),
        exp: expiry(now, registration.token_ttl_seconds).timestamp(),
        scope: registration.scopes.join(" "),
        email: request.email.clone(),
    };
    let max_allowed = registration.max_allowed;
    if let Some(standing) = registration.tokens.get(&jti).filter(|token| token.is_active(now)) {
        let next = Next::Repeat { active_tokens: registration.active_tokens(now) };
        return Ok(Grant { claims: repeat(claims, standing)?, token: standing.clone(), next, max_allowed });
    }
    let place = quota::find_place(&registration, jti, now, quota::random_start(random)?).map_err(TakeError::from)?;
    let repeat = match request.idempotency_key {
        None => None,
        Some(_) => Some(Repeat { iat: claims.iat, writer: u64::from_be_bytes(random.bytes()?) }),
    };
    let token = ActiveToken { exp: claims.exp, email: claims.email.clone(), repeat };
    Ok(Grant { claims, token, next: Next::Record(place), max_allowed })
}

/// The claims of the token that stands under the id of `claims`: RS256 is deterministic, so that they make the same
/// token. What a request says beyond its registration, which holds the token, is the e-mail address.
fn repeat(claims: AccessTokenClaims, standing: &ActiveToken) -> Result<AccessTokenClaims, Refusal> {
    match &standing.repeat {
        Some(Repeat { iat, .. }) if standing.email == claims.email => {
            Ok(AccessTokenClaims { iat: *iat, exp: standing.exp, ..claims })
        }
        _ => Err(Refusal::KeyReused),
    }
}
