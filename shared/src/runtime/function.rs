//! The interface between a function and what runs it: AWS Lambda or the `local` crate.

use std::{future::Future, process::ExitCode};

use lambda_http::{
    LambdaEvent,
    lambda_runtime::{Diagnostic, run as serve},
    service_fn,
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    error::InternalError,
    runtime::deadline::Deadline,
    runtime::{Environment, Handled, SettingsError, telemetry},
};

/// A Lambda function.
pub trait Function: Sized + Send + Sync + 'static {
    /// The name of the function and of its binary.
    const NAME: &'static str;
    /// The result of an invocation.
    type Answer: Serialize;

    /// Builds the function from its environment, once per cold start.
    fn load(environment: &Environment) -> Result<Self, SettingsError>;

    /// Opens the connections and fetches the keys that the first event would otherwise wait for. A failure is harmless.
    fn warm(&self) -> impl Future<Output = ()> + Send;

    /// Handles an event, which is not parsed yet: if the runtime cannot parse an event, it logs the error with values
    /// from it.
    fn handle(&self, event: &str) -> impl Future<Output = Handled<Self::Answer>> + Send;

    /// The end of an event that was not handled before its deadline.
    #[must_use]
    fn late(_event: &str, error: InternalError) -> Handled<Self::Answer> {
        Handled::of(Err(error.into()))
    }
}

/// Handles one event within its deadline, and writes its summary line to the log.
pub async fn invoke<F: Function>(function: &F, event: LambdaEvent<Box<RawValue>>) -> Result<F::Answer, Diagnostic> {
    let LambdaEvent { payload, context } = event;
    // Boxed, here and in `run`, because the futures of the SDK are large and reach the compiler's layout limit.
    let handling = Deadline::of(&context).enforce(Box::pin(function.handle(payload.get())));
    let handling = async { handling.await.unwrap_or_else(|error| F::late(payload.get(), error)) };
    let handled = telemetry::observe(F::NAME, &context, handling).await;
    handled.result.map_err(|error| Diagnostic {
        error_type: error.error_type().as_str().to_owned(),
        error_message: error.to_string(),
    })
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
