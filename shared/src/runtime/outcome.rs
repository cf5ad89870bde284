//! The outcome of a request, for the caller and for the log and the metrics.

use lambda_http::http::StatusCode;

/// A handled event.
#[derive(Debug)]
pub struct Handled<A> {
    /// The result, or the error that Lambda reports as a function error.
    pub result: Result<A, FunctionError>,
    pub outcome: Outcome,
    /// The HTTP status, if the function is an endpoint.
    pub status: Option<StatusCode>,
}

/// The outcome of a request in the log and the metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A token was issued.
    Issued,
    /// A token that was issued before was returned again.
    Replayed,
    /// The quota was full.
    QuotaExceeded,
    /// A code or refresh token was used again, so its grant was revoked.
    ReplayDetected,
    /// The request was refused for another reason.
    Refused(&'static str),
    /// The request succeeded without issuing a token.
    Done,
    /// The service or AWS failed.
    Failed,
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
