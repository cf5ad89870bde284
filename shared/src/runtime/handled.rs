//! A handled event, as Lambda and the log see it.

use lambda_http::http::StatusCode;

use crate::error::Outcome;

/// A handled event.
#[derive(Debug)]
pub struct Handled<A> {
    /// The result, or the error that Lambda reports as a function error.
    pub result: Result<A, FunctionError>,
    pub outcome: Outcome,
    /// The HTTP status, if the function is an endpoint.
    pub status: Option<StatusCode>,
}

/// A function error, which Lambda returns to the invoker instead of a result.
#[derive(Debug, thiserror::Error)]
#[error("{error_type}: {message}")]
pub struct FunctionError {
    /// The kind of error, such as `InvalidRequest`.
    pub error_type: &'static str,
    /// What is wrong: the field and the rule.
    pub message: String,
}
