//! The interface between a function and what runs it: AWS Lambda or the `local` crate.

use std::{fmt::Debug, future::Future, process::ExitCode};

use lambda_http::{
    LambdaEvent,
    lambda_runtime::{Diagnostic, run as serve},
    service_fn,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{InternalError, Outcome, ValidationError},
    runtime::{Environment, FunctionError, Handled, SettingsError, telemetry},
};

/// A Lambda function.
pub trait Function: Sized + Send + Sync + 'static {
    /// The name of the function and of its binary.
    const NAME: &'static str;
    /// The event that it is invoked with.
    type Event: DeserializeOwned + Send + 'static;
    /// The result of an invocation.
    type Answer: Serialize + Debug + Send;

    /// Builds the function from its environment, once per cold start.
    fn load(environment: &Environment) -> Result<Self, SettingsError>;

    /// Opens the connections and fetches the keys that the first event would otherwise wait for. A failure is harmless.
    fn warm(&self) -> impl Future<Output = ()> + Send;

    /// Handles an event.
    fn handle(&self, event: LambdaEvent<Self::Event>) -> impl Future<Output = Handled<Self::Answer>> + Send;
}

/// The errors that Lambda reports as function errors: of functions without a route, and of events that are not HTTP requests, which are invoked directly.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// The event is malformed.
    #[error(transparent)]
    Invalid(#[from] ValidationError),
    /// What this field names does not exist.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// What this field names does not exist, or is already revoked.
    #[error("{0} does not exist or is already revoked")]
    NotFoundOrRevoked(&'static str),
    /// The id or slug in this field is already taken.
    #[error("{0} is already taken")]
    Taken(&'static str),
    #[error("Internal server error")]
    InternalError(#[from] InternalError),
}

impl<A> From<Result<A, InvocationError>> for Handled<A> {
    fn from(result: Result<A, InvocationError>) -> Self {
        let (outcome, error_type) = match &result {
            Ok(_) => (Outcome::Done, ""),
            Err(InvocationError::Invalid(_)) => (Outcome::Refused("invalid request"), "InvalidRequest"),
            Err(InvocationError::NotFound(_) | InvocationError::NotFoundOrRevoked(_)) => {
                (Outcome::Refused("not found"), "NotFound")
            }
            Err(InvocationError::Taken(_)) => (Outcome::Refused("taken"), "Taken"),
            Err(InvocationError::InternalError(error)) => {
                telemetry::log_internal_error(error);
                (Outcome::Failed, "InternalError")
            }
        };
        let result = result.map_err(|error| FunctionError { error_type, message: error.to_string() });
        Self { result, outcome, status: None }
    }
}

impl From<FunctionError> for Diagnostic {
    fn from(error: FunctionError) -> Self {
        Self { error_type: error.error_type.to_owned(), error_message: error.message }
    }
}

/// Handles one event and writes its summary line to the log.
pub async fn invoke<F: Function>(function: &F, event: LambdaEvent<F::Event>) -> Result<F::Answer, FunctionError> {
    let context = event.context.clone();
    // Boxed, here and in `run`, because the futures of the SDK are large and reach the compiler's layout limit.
    telemetry::observe(F::NAME, &context, Box::pin(function.handle(event))).await.result
}

/// Runs the function on AWS Lambda until its environment is shut down. This is the body of every `main`.
pub async fn run<F: Function>() -> ExitCode {
    telemetry::to_stdout();
    let environment = Environment::of_process().await;
    let function = match F::load(&environment) {
        Ok(function) => function,
        Err(error) => {
            tracing::error!(function = F::NAME, %error, "refusing to start");
            return ExitCode::FAILURE;
        }
    };
    Box::pin(function.warm()).await;
    match serve(service_fn(|event| invoke(&function, event))).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(function = F::NAME, %error, "the Lambda runtime ended");
            ExitCode::FAILURE
        }
    }
}
