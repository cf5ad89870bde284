//! One deadline for a whole request, so that its client gets an answer of ours before Lambda or API Gateway gives up on
//! it. However many AWS calls a request needs, none of them can delay the answer further.

use std::{future::Future, time::Duration};

use chrono::{DateTime, Utc};
use lambda_http::Context;
use tokio::time::{Instant, timeout_at};

use crate::{
    clock::{Clock, SystemClock},
    error::InternalError,
    runtime::aws::OPERATION_TIMEOUT,
};

/// The timeout of the functions in the template, just under the 30 s after which API Gateway gives up. It is used if
/// the context has no deadline, as in the local stack, or a later one.
pub const FUNCTION_TIMEOUT: Duration = Duration::from_secs(29);
/// What is kept for writing the log and for sending the answer.
const TIME_TO_ANSWER: Duration = Duration::from_secs(1);
/// What a commit to a grant and the write that settles it can take, with a second for the time between them. Of the
/// functions' 29 s this leaves 17 s for what comes before the commit: three operations that all take their 5 s.
const TIME_TO_COMMIT: Duration = OPERATION_TIMEOUT.saturating_mul(2).saturating_add(Duration::from_secs(1));

/// When the handling of a request ends, whatever it has done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

tokio::task_local! {
    /// The deadline of the request that this task handles. As a parameter it would pass through every operation between
    /// the event and the store, which alone asks for it, and what happens outside a request would have to make one up.
    static CURRENT: Deadline;
}

impl Deadline {
    /// The deadline of an event that has just arrived.
    pub(crate) fn of(context: &Context) -> Self {
        Self(Instant::now() + time_to_handle(context.deadline, SystemClock.now()))
    }

    /// Handles a request under this deadline.
    ///
    /// # Errors
    /// When the deadline passes first. The handling is then dropped.
    pub(crate) async fn enforce<T>(self, handling: impl Future<Output = T>) -> Result<T, InternalError> {
        let handled = CURRENT.scope(self, timeout_at(self.0, handling)).await;
        handled.map_err(|_| InternalError::new("answer before the deadline", "the AWS calls took too long"))
    }
}

/// How long the handling of an event may take, by the deadline of its context in milliseconds since 1970.
fn time_to_handle(deadline: u64, now: DateTime<Utc>) -> Duration {
    let now = u64::try_from(now.timestamp_millis()).unwrap_or_default();
    let left = match deadline {
        0 => FUNCTION_TIMEOUT,
        deadline => Duration::from_millis(deadline.saturating_sub(now)).min(FUNCTION_TIMEOUT),
    };
    left.saturating_sub(TIME_TO_ANSWER)
}

/// Requires that a commit which starts now is answered and, if need be, settled before the deadline. Cut off between
/// the two, the client would not know that its code or refresh token was used, and its repeat would look like a theft.
///
/// # Errors
/// When too little time is left. Outside a request there is no deadline.
pub(crate) fn require_time_to_commit(context: &'static str) -> Result<(), InternalError> {
    match CURRENT.try_with(|deadline| deadline.0.saturating_duration_since(Instant::now())) {
        Ok(left) if left < TIME_TO_COMMIT => {
            Err(InternalError::new(context, "too little time is left before the deadline"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[test]
    fn a_request_ends_a_second_before_lambda_ends_the_function() {
        let now = DateTime::from_timestamp_millis(1_800_000_000_250).unwrap();
        for (left, milliseconds) in [(10_000, 9000), (29_000, 28_000), (900_000, 28_000), (500, 0), (-5000, 0)] {
            let deadline = (now.timestamp_millis() + left).try_into().unwrap();
            assert_eq!(time_to_handle(deadline, now), Duration::from_millis(milliseconds), "{left}");
        }
        assert_eq!(time_to_handle(0, now), Duration::from_secs(28), "without a deadline");
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_is_dropped() {
        let start = Instant::now();
        let error = Deadline::of(&Context::default()).enforce(pending::<()>()).await.unwrap_err();
        assert_eq!(error.chain(), "could not answer before the deadline: the AWS calls took too long");
        assert_eq!(start.elapsed().as_secs(), 28);
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_starts_only_while_it_can_also_be_settled() {
        let commits = async {
            tokio::time::advance(Duration::from_secs(17)).await;
            require_time_to_commit("commit").unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
            require_time_to_commit("commit").unwrap_err().chain()
        };
        let error = Deadline::of(&Context::default()).enforce(commits).await.unwrap();
        assert_eq!(error, "could not commit: too little time is left before the deadline");
        require_time_to_commit("commit").unwrap();
    }
}
