//! `issue-code`: issues an authorization code (RFC 6749, 4.1.2) for a user whom the login service has logged in. It has
//! no route; IAM allows only the login service to invoke it.

mod request;

use std::sync::Arc;

use serde_json::{Value, json};
use shared::{
    clock::{Clock, rfc3339},
    error::InvocationError,
    input::Audience,
    keys::Issuers,
    random::Random,
    runtime::function::Function,
    runtime::{Environment, Handled, SettingsError},
    store::Store,
    tokens::codes,
};

#[derive(Debug)]
pub struct IssueCode {
    store: Store,
    /// That of the deployment.
    audience: Audience,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Function for IssueCode {
    const NAME: &'static str = "issue-code";
    type Answer = Value;

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        Ok(Self {
            store: Store::from_environment(environment)?,
            audience: Issuers::from_environment(environment)?.audience_of_logins(),
            clock: Arc::clone(&environment.clock),
            random: Arc::clone(&environment.random),
        })
    }

    async fn warm(&self) {
        self.store.warm(2).await;
    }

    async fn handle(&self, event: &str) -> Handled<Value> {
        Handled::of(self.issue(event).await)
    }
}

impl IssueCode {
    async fn issue(&self, event: &str) -> Result<Value, InvocationError> {
        let now = self.clock.now();
        let request = request::parse(event, now)?;
        let issued = codes::issue(&self.store, self.random.as_ref(), &self.audience, request, now).await?;
        Ok(json!({"code": issued.code.expose(), "expiresAt": rfc3339(issued.expires_at)}))
    }
}
