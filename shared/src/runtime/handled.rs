//! A handled event, as Lambda and the log see it.

use lambda_http::http::StatusCode;

use crate::error::{InvocationError, Outcome};

#[derive(Debug)]
pub struct Handled<A> {
    /// An error is reported to Lambda as a function error.
    pub result: Result<A, InvocationError>,
    pub outcome: Outcome,
    /// The HTTP status, if the function is an endpoint.
    pub status: Option<StatusCode>,
}

impl<A> Handled<A> {
    /// The end of an invocation that issues no token and is no HTTP request.
    pub fn of(result: Result<A, InvocationError>) -> Self {
        let outcome = result.as_ref().map_or_else(InvocationError::outcome, |_| Outcome::Done);
        Self { result, outcome, status: None }
    }
}
