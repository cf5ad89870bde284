//! `authorize`: the Lambda authorizer that lets other HTTP APIs accept the credentials of this service (payload format
//! 2.0, simple responses). It has no route; API Gateway invokes it for the APIs that name it.

mod policy;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use lambda_http::{
    aws_lambda_events::apigw::ApiGatewayV2CustomAuthorizerV2Request,
    http::{HeaderMap, header},
};
use serde::Serialize;
use serde_json::{Map, Value};
use shared::{
    auth::{ActiveCredential, ActiveKind, CredentialVerifier, bearer},
    clock::Clock,
    error::{InternalError, Outcome},
    keys::{Issuers, Keys},
    runtime::function::Function,
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
        let public_keys = Keys::from_environment(environment, &store)?.public_keys(environment)?;
        let issuers = Issuers::from_environment(environment)?;
        Ok(Self {
            policy: Policy::from_environment(environment)?,
            verifier: CredentialVerifier::new(public_keys, issuers, store.clone()),
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
        match self.verify(&event.headers, self.clock.now()).await {
            Ok(None) => denied(Outcome::Unauthenticated),
            Ok(Some(credential)) if !self.policy.allows(&credential) => denied(Outcome::DeniedByPolicy),
            Ok(Some(credential)) => {
                Handled::of(Ok(SimpleResponse { is_authorized: true, context: Some(context(credential)) }))
            }
            // A function error, so that the caller gets a 500 and not a 403.
            Err(error) => Handled::of(Err(error.into())),
        }
    }
}

impl Authorize {
    /// The active credential in the `Authorization` header; `None` if there is none.
    async fn verify(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Result<Option<ActiveCredential>, InternalError> {
        match bearer(headers) {
            Ok(text) => self.verifier.verify(text, now).await,
            Err(_) => Ok(None),
        }
    }
}

/// Whether the `Authorization` header is an identity source. API Gateway caches decisions by identity source, so
/// otherwise another caller could get this one.
fn authorization_is_identity_source(event: &ApiGatewayV2CustomAuthorizerV2Request) -> bool {
    let header = event.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    event.identity_source.iter().flatten().any(|source| Some(source.as_str()) == header)
}

/// What the API learns of its caller, each member where the credential has one.
fn context(credential: ActiveCredential) -> Map<String, Value> {
    let registration = (credential.kind == ActiveKind::RegistrationToken).then(|| credential.subject.clone());
    let scope = credential.scope();
    let members = [
        ("kind", Some(credential.kind.as_str().to_owned())),
        ("tokenId", credential.id),
        ("organization", credential.organization.map(|id| id.to_string())),
        ("application", credential.application.map(|id| id.to_string())),
        ("registration", registration),
        ("clientId", credential.client_id),
        ("sub", Some(credential.subject)),
        ("scope", scope),
        ("exp", credential.expires_at.map(|at| at.timestamp().to_string())),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
}
