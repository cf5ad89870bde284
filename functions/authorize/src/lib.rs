//! `authorize`: the Lambda authorizer that lets other HTTP APIs accept the credentials of this service (payload format 2.0,
//! simple responses). It has no route; API Gateway invokes it for the APIs that name it.

mod policy;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use lambda_http::{LambdaEvent, aws_lambda_events::apigw::ApiGatewayV2CustomAuthorizerV2Request, http::header};
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use shared::{
    auth::{ActiveCredential, ActiveKind, CredentialVerifier, bearer},
    clock::Clock,
    error::InternalError,
    keys::{Issuers, Keys},
    runtime::function::{Function, InvocationError},
    runtime::telemetry::{Phase, timed},
    runtime::{Environment, Handled, Outcome, SettingsError},
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

/// The answer to API Gateway. What is not allowed has no context.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    is_authorized: bool,
    /// What the API finds in `requestContext.authorizer.lambda`. All values are strings.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Map<String, Value>>,
}

impl Function for Authorize {
    const NAME: &'static str = "authorize";
    type Event = Box<RawValue>;
    type Answer = Decision;

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
        tokio::join!(self.verifier.warm(), self.store.warm());
    }

    async fn handle(&self, event: LambdaEvent<Box<RawValue>>) -> Handled<Decision> {
        match self.active_credential(event.payload.get(), self.clock.now()).await {
            Ok(Some(credential)) if self.policy.allows(&credential) => {
                let decision = Decision { is_authorized: true, context: Some(context(credential)) };
                Handled { result: Ok(decision), outcome: Outcome::Done, status: None }
            }
            Ok(found) => {
                let reason = if found.is_some() { "not allowed" } else { "unauthenticated" };
                let decision = Decision { is_authorized: false, context: None };
                Handled { result: Ok(decision), outcome: Outcome::Refused(reason), status: None }
            }
            // A function error, so that the caller gets a 500 and not a 403.
            Err(error) => Err(InvocationError::from(error)).into(),
        }
    }
}

impl Authorize {
    /// The credential in the `Authorization` header, if it is good. Whatever cannot be read has none.
    async fn active_credential(
        &self,
        event: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<ActiveCredential>, InternalError> {
        let Ok(event) = serde_json::from_str::<ApiGatewayV2CustomAuthorizerV2Request>(event) else { return Ok(None) };
        if !is_cached_by_credential(&event) {
            return Ok(None);
        }
        let Ok(text) = bearer(&event.headers) else { return Ok(None) };
        let Some(checked) = self.verifier.check(text, now).await? else { return Ok(None) };
        let active = timed(Phase::Load, self.verifier.load(checked, now)).await?;
        Ok(active.filter(|credential| credential.kind != ActiveKind::RefreshToken))
    }
}

/// API Gateway keeps a decision for the identity sources of the authorizer. If the header is not one of them, another caller
/// could get the decision.
fn is_cached_by_credential(event: &ApiGatewayV2CustomAuthorizerV2Request) -> bool {
    let header = event.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    event.identity_source.iter().flatten().any(|source| Some(source.as_str()) == header)
}

/// What the API learns of its caller, each member where the credential has one.
fn context(credential: ActiveCredential) -> Map<String, Value> {
    let registration = (credential.kind == ActiveKind::RegistrationToken).then(|| credential.subject.clone());
    let scope = Some(credential.scopes.join(" ")).filter(|scope| !scope.is_empty());
    let members = [
        ("kind", Some(policy::name(credential.kind).to_owned())),
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
