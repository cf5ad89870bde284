//! What became of a request: what leaves, and what the log and the metrics call it.

use lambda_http::http::StatusCode;

/// A handled event: what leaves, and what the log says of it.
#[derive(Debug)]
pub struct Handled<A> {
    /// The answer, or the error that Lambda reports as a function error.
    pub result: Result<A, FunctionError>,
    /// What came of it, for the log and the metrics.
    pub outcome: Outcome,
    /// The HTTP status, where there is one.
    pub status: Option<StatusCode>,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A token was made.
    Issued,
    /// A token that was made before was made again.
    Replayed,
    /// The quota was full.
    QuotaExceeded,
    /// A code or refresh token was used again, and its grant revoked.
    ReplayDetected,
    /// It was refused for another reason.
    Refused(&'static str),
    /// It was done, without a token.
    Done,
    /// It failed, and not by the caller's fault.
    Failed,
}

/// A function error: what an invoker gets in place of an answer.
#[derive(Debug, thiserror::Error)]
#[error("{error_type}: {message}")]
pub struct FunctionError {
    /// A name to tell errors apart by, such as `InvalidRequest`.
    pub error_type: &'static str,
    /// What is wrong, naming field and rule.
    pub message: String,
}
