//! AWS Lambda: the functions in this process, invoked with events in JSON as the Runtime API hands them over.

use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, sync::Arc};

use axum::body::Bytes;
use lambda_http::{
    Context, LambdaEvent,
    lambda_runtime::{Config, Diagnostic},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::{
    runtime::function::{Function, invoke},
    runtime::{Environment, SettingsError},
};
use uuid::Uuid;

type Invocation = Pin<Box<dyn Future<Output = Result<Vec<u8>, Diagnostic>> + Send>>;
type Handler = Box<dyn Fn(Bytes) -> Invocation + Send + Sync>;

/// The list of functions. Whatever else needs to know them takes their names from here, through [`Functions::names`].
const FUNCTIONS: &[Entry] = &[
    Entry::new::<authorize::Authorize>(),
    Entry::new::<create_app_token::CreateAppToken>(),
    Entry::new::<create_token::CreateToken>(),
    Entry::new::<exchange_token::ExchangeToken>(),
    Entry::new::<issue_code::IssueCode>(),
    Entry::new::<manage_tokens::ManageTokens>(),
    Entry::new::<oauth2::Oauth2>(),
    Entry::new::<provision::Provision>(),
    Entry::new::<publish_keys::PublishKeys>(),
];

struct Entry {
    name: &'static str,
    start: fn(&Environment) -> Result<Handler, SettingsError>,
}

impl Entry {
    const fn new<F: Function>() -> Self {
        Self { name: F::NAME, start: start::<F> }
    }
}

/// The functions by name, as one set of Lambda environments holds them.
pub struct Functions(BTreeMap<&'static str, Handler>);

impl Functions {
    pub fn names() -> impl Iterator<Item = &'static str> {
        FUNCTIONS.iter().map(|function| function.name)
    }

    /// Starts every function cold in this environment.
    ///
    /// # Errors
    /// If a function rejects its settings.
    pub fn start(environment: &Environment) -> Result<Self, SettingsError> {
        FUNCTIONS
            .iter()
            .map(|function| Ok((function.name, (function.start)(environment)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Invokes a function with an event and waits for its answer. `None` if there is no such function.
    ///
    /// # Errors
    /// The function error.
    pub async fn invoke(&self, name: &str, event: Bytes) -> Option<Result<Vec<u8>, Diagnostic>> {
        Some(self.0.get(name)?(event).await)
    }

    /// Invokes a function with an event and reads its answer.
    ///
    /// # Errors
    /// The function error, or that there is no such function.
    pub async fn call<T: DeserializeOwned>(&self, name: &str, event: &Value) -> Result<T, Diagnostic> {
        let answer = self.invoke(name, event.to_string().into()).await;
        let answer = answer.ok_or_else(|| diagnostic("ResourceNotFoundException", name.to_owned()))??;
        serde_json::from_slice(&answer).map_err(|error| diagnostic("MarshalError", error.to_string()))
    }
}

fn start<F: Function>(environment: &Environment) -> Result<Handler, SettingsError> {
    let function = Arc::new(F::load(environment)?);
    Ok(Box::new(move |event: Bytes| -> Invocation {
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
    }))
}

fn diagnostic(error_type: &str, error_message: String) -> Diagnostic {
    Diagnostic { error_type: error_type.to_owned(), error_message }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Functions").field(&self.0.keys()).finish()
    }
}
