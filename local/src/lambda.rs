//! AWS Lambda: the functions in this process, invoked with events in JSON as the Runtime API hands them over.

use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, sync::Arc};

use axum::body::Bytes;
use create_app_token::CreateAppToken;
use create_token::CreateToken;
use exchange_token::ExchangeToken;
use issue_code::IssueCode;
use lambda_http::{
    Context, LambdaEvent,
    lambda_runtime::{Config, Diagnostic},
};
use manage_tokens::ManageTokens;
use provision::Provision;
use publish_keys::PublishKeys;
use shared::{
    runtime::function::{Function, invoke},
    runtime::http::Http,
    runtime::{Environment, SettingsError},
};
use uuid::Uuid;

type Invocation = Pin<Box<dyn Future<Output = Result<Vec<u8>, Diagnostic>> + Send>>;
type Handler = Box<dyn Fn(Bytes) -> Invocation + Send + Sync>;

/// The functions by name, as one set of Lambda environments holds them.
#[derive(Default)]
pub struct Functions(BTreeMap<&'static str, Handler>);

impl Functions {
    /// Starts every function cold in this environment.
    ///
    /// # Errors
    /// When one refuses it.
    pub fn start(environment: &Environment) -> Result<Self, SettingsError> {
        let mut functions = Self::default();
        functions.add::<Http<CreateAppToken>>(environment)?;
        functions.add::<Http<CreateToken>>(environment)?;
        functions.add::<Http<ExchangeToken>>(environment)?;
        functions.add::<IssueCode>(environment)?;
        functions.add::<Http<ManageTokens>>(environment)?;
        functions.add::<Provision>(environment)?;
        functions.add::<Http<PublishKeys>>(environment)?;
        Ok(functions)
    }

    fn add<F: Function>(&mut self, environment: &Environment) -> Result<(), SettingsError> {
        let function = Arc::new(F::load(environment)?);
        let handler = move |event: Bytes| -> Invocation {
            let function = Arc::clone(&function);
            Box::pin(async move {
                let event = serde_json::from_slice(&event).map_err(|error| {
                    diagnostic("Runtime.UnmarshalError", format!("the event is not what the function reads: {error}"))
                })?;
                let mut context = Context::default();
                context.request_id = Uuid::new_v4().to_string();
                context.env_config = Arc::new(Config { function_name: F::NAME.to_owned(), ..Config::default() });
                let answer = invoke(function.as_ref(), LambdaEvent::new(event, context)).await?;
                serde_json::to_vec(&answer).map_err(|error| diagnostic("Runtime.MarshalError", error.to_string()))
            })
        };
        self.0.insert(F::NAME, Box::new(handler));
        Ok(())
    }

    /// Invokes a function with an event and waits for its answer; `None` where there is no such function.
    ///
    /// # Errors
    /// The function error.
    pub async fn invoke(&self, name: &str, event: Bytes) -> Option<Result<Vec<u8>, Diagnostic>> {
        Some(self.0.get(name)?(event).await)
    }

    /// The names of the functions.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().copied()
    }
}

fn diagnostic(error_type: &str, error_message: String) -> Diagnostic {
    Diagnostic { error_type: error_type.to_owned(), error_message }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Functions").field(&self.0.keys()).finish()
    }
}
