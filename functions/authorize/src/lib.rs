//! `authorize`: the Lambda authorizer that lets other HTTP APIs accept the credentials of this service (payload format
//! 2.0, simple responses). It has no route; API Gateway invokes it for the APIs that name it.

mod policy;

use std::sync::Arc;

use lambda_http::{aws_lambda_events::apigw::ApiGatewayV2CustomAuthorizerV2Request, http::header};
use serde::Serialize;
use serde_json::{Map, Value};
use shared::{
    auth::{ActiveCredential, ActiveKind, CredentialVerifier, bearer},
    clock::Clock,
    error::Outcome,
    input::Claims,
    keys::Keys,
    runtime::function::Function,
    runtime::telemetry::{Phase, timed},
    runtime::{Environment, Handled, SettingsError},
    store::Store,
};

use self::policy::Policy;

#[derive(Debug)]
pub struct Authorize {
    policy: Policy,
    verifier: CredentialVerifier,
    store: Store,
    clock: Arc<dyn Clock>,
}

/// A simple response for API Gateway. A denial has no context, which the type of `aws_lambda_events` cannot express.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SimpleResponse {
    is_authorized: bool,
    /// What the API finds in `requestContext.authorizer.lambda`. All values are strings.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Map<String, Value>>,
}

impl Function for Authorize {
    const NAME: &'static str = "authorize";
    type Answer = SimpleResponse;

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        let store = Store::from_environment(environment)?;
        let keys = Keys::from_environment(environment, &store)?;
        Ok(Self {
            policy: Policy::from_environment(environment)?,
            verifier: CredentialVerifier::from_environment(environment, &keys, &store)?,
            store,
            clock: Arc::clone(&environment.clock),
        })
    }

    async fn warm(&self) {
        tokio::join!(self.verifier.warm(), self.store.warm(1));
    }

    async fn handle(&self, event: &str) -> Handled<SimpleResponse> {
        let denied = |outcome| {
            let response = SimpleResponse { is_authorized: false, context: None };
            Handled { outcome, ..Handled::of(Ok(response)) }
        };
        let Ok(event) = serde_json::from_str::<ApiGatewayV2CustomAuthorizerV2Request>(event) else {
            return denied(Outcome::InvalidEvent);
        };
        if !authorization_is_identity_source(&event) {
            return denied(Outcome::WrongIdentitySource);
        }
        let Ok(text) = bearer(&event.headers) else { return denied(Outcome::Unauthenticated) };
        let now = self.clock.now();
        let find = self.verifier.find(text, now, self.policy.audiences(), &ActiveKind::BEARERS);
        let found = match timed(Phase::Load, find).await {
            Ok(found) => found,
            // A function error, so that the caller gets a 500 and not a 403.
            Err(error) => return Handled::of(Err(error.into())),
        };
        match found.as_ref().and_then(|stored| stored.active(now)) {
            None => denied(Outcome::Unauthenticated),
            Some(credential) if !self.policy.allows(&credential) => denied(Outcome::DeniedByPolicy),
            Some(credential) => {
                Handled::of(Ok(SimpleResponse { is_authorized: true, context: Some(context(&credential)) }))
            }
        }
    }
}

/// Whether the `Authorization` header is an identity source. API Gateway caches decisions by identity source, so
/// otherwise another caller could get this one.
fn authorization_is_identity_source(event: &ApiGatewayV2CustomAuthorizerV2Request) -> bool {
    let header = event.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    event.identity_source.iter().flatten().any(|source| Some(source.as_str()) == header)
}

/// Claims as JSON; `None` if there are none.
fn text(claims: &Claims) -> Option<String> {
    serde_json::to_string(claims).ok().filter(|_| !claims.is_empty())
}

/// What the API learns of its caller, each member where the credential has one.
fn context(credential: &ActiveCredential<'_>) -> Map<String, Value> {
    let (kind, subject) = (credential.kind(), credential.subject());
    let members = [
        ("kind", Some(kind.as_str().to_owned())),
        ("tokenId", credential.id()),
        ("organization", credential.organization_id().map(|id| id.to_string())),
        ("application", credential.application_id().map(|id| id.to_string())),
        ("registration", (kind == ActiveKind::RegistrationToken).then(|| subject.clone())),
        ("clientId", credential.client_id().map(|id| id.to_string())),
        ("sub", Some(subject)),
        ("scope", credential.scope()),
        ("aud", credential.claims().map(|claims| claims.audiences.to_string())),
        ("exp", credential.expires_at().map(|at| at.timestamp().to_string())),
        ("claims", credential.claims().and_then(|claims| text(&claims.given()))),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
}
