//! `issue-code`: issues an authorization code (RFC 6749, 4.1.2) for a user whom the login service has logged in. It has no
//! route; IAM allows only the login service to invoke it.

mod request;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use lambda_http::LambdaEvent;
use serde_json::{Value, json, value::RawValue};
use shared::{
    clock::{Clock, expiry, rfc3339},
    credential::{GrantCredential, GrantId},
    error::{InternalError, ValidationError},
    random::Random,
    runtime::function::{Function, InvocationError},
    runtime::telemetry::{Phase, timed},
    runtime::{Environment, Handled, SettingsError},
    store::{Client, Grant, GrantDetails, Store, Update},
    tokens::grants::GRANT_LIFETIME_SECONDS,
};

use self::request::IssueCodeRequest;

/// How long a code is valid. RFC 6749, 4.1.2, recommends at most ten minutes.
const CODE_LIFETIME_SECONDS: u32 = 120;
/// How long a grant is named among those of its user: as long as it can live, and two days more for clocks that are wrong.
const SESSION_LIFETIME_SECONDS: u32 = GRANT_LIFETIME_SECONDS + 2 * 86400;

#[derive(Debug)]
pub struct IssueCode {
    store: Store,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Function for IssueCode {
    const NAME: &'static str = "issue-code";
    type Event = Box<RawValue>;
    type Answer = Value;

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        Ok(Self {
            store: Store::from_environment(environment)?,
            clock: Arc::clone(&environment.clock),
            random: Arc::clone(&environment.random),
        })
    }

    async fn warm(&self) {
        self.store.warm(2).await;
    }

    async fn handle(&self, event: LambdaEvent<Box<RawValue>>) -> Handled<Value> {
        self.issue(event.payload.get()).await.into()
    }
}

impl IssueCode {
    async fn issue(&self, event: &str) -> Result<Value, InvocationError> {
        let (now, random) = (self.clock.now(), self.random.as_ref());

        // Load.
        let request = IssueCodeRequest::parse(event, now)?;
        let client = timed(Phase::Load, self.store.load_client(request.client_id)).await?;

        // Decide.
        let id = GrantId::random(random)?;
        let code = GrantCredential::generate_code(&id, random)?;
        let expires_at = expiry(now, CODE_LIFETIME_SECONDS);
        let grant = Grant::issued(decide(request, client, &code, expires_at)?, random)?;

        // Commit.
        let session = id.session();
        let subject = (grant.details.client_id, grant.details.subject.as_str());
        let recorded = self.store.record_session(subject, &session, expiry(expires_at, SESSION_LIFETIME_SECONDS));
        // Both must be written before anybody knows the code. If one fails, the other is of no use and does no harm.
        let (created, recorded) = tokio::join!(self.store.create_grant(&session, &grant, now), recorded);
        recorded?;
        match created? {
            Update::Applied(()) => {
                let expires_at = rfc3339(expires_at);
                Ok(json!({"code": code.expose(), "expiresAt": expires_at}))
            }
            // With 128 random bits a collision means that the random source is broken.
            Update::Conflict(()) | Update::Missing => {
                Err(InternalError::new("create the grant", "its random id is taken").into())
            }
        }
    }
}

fn decide(
    request: IssueCodeRequest,
    client: Option<Client>,
    code: &GrantCredential,
    code_expires_at: DateTime<Utc>,
) -> Result<GrantDetails, ValidationError> {
    let client = client.ok_or_else(|| ValidationError::new("clientId", "does not exist"))?;
    let registered = |registered: bool, field| {
        registered.then_some(()).ok_or_else(|| ValidationError::new(field, "is not registered for this client"))
    };
    registered(client.services.contains(&request.service), "service")?;
    registered(client.redirect_uris.contains(&request.redirect_uri), "redirectUri")?;
    registered(request.scopes.iter().all(|scope| client.scopes.contains(scope)), "scope")?;
    Ok(GrantDetails {
        client_id: request.client_id,
        organization_id: client.organization_id,
        confidential: client.is_confidential(),
        service: request.service,
        redirect_uri: request.redirect_uri,
        subject: request.subject,
        scopes: request.scopes,
        state: request.state,
        nonce: request.nonce,
        code_challenge: request.code_challenge,
        auth_time: request.auth_time,
        language: request.language,
        claims: request.claims,
        code: code.hash(),
        code_expires_at,
    })
}
