//! A request ends before its deadline, whatever AWS does, and no exchange is cut off between its commit and the write
//! that settles it.
//!
//! No test waits for a deadline: the runtime's clock is paused or set forward, which needs a runtime of one thread.

use std::time::Duration;

use local::Template;
use shared::{
    keys::SigningMode,
    runtime::{aws::OPERATION_TIMEOUT, deadline::FUNCTION_TIMEOUT},
};
use tokio::time::Instant;

use crate::harness::{CASES, Case, CaseName, Fixture, InjectedFault, Node};

/// When a request ends that has no deadline of Lambda.
const DEADLINE: Duration = Duration::from_secs(28);

const EXCHANGES: [CaseName; 4] =
    [CaseName::ExchangeCode, CaseName::Refresh, CaseName::StandardCode, CaseName::StandardRefresh];

#[test]
fn the_template_has_the_timeout_that_is_the_default() {
    let timeout = &Template::read().unwrap().document["Globals"]["Function"]["Timeout"];
    assert_eq!(timeout.as_u64(), Some(FUNCTION_TIMEOUT.as_secs()));
}

#[tokio::test]
async fn a_request_whose_calls_are_never_answered_is_a_500_in_the_form_of_its_endpoint() {
    let fixture = Fixture::new(0, SigningMode::Kms).await;
    for case in &CASES {
        let subject = fixture.subject(case.name).await;
        // The SDK would wait for longer than the request may take.
        let node = Node::start_patient(&fixture.stack, Duration::from_mins(1));
        node.calls.hang();
        tokio::time::pause();
        let start = Instant::now();
        let answer = node.send(&subject.request).await;
        let time = start.elapsed();
        tokio::time::resume();
        assert_eq!((answer.status, &answer.body), (500, &case.failure()), "{:?}", case.name);
        assert_eq!(time.as_secs(), DEADLINE.as_secs(), "{:?}", case.name);
    }
}

/// Exchanges a code or refresh token with these faults in its commits. After a 500 it must still be good. Returns the
/// status of the first answer.
async fn exchange(fixture: &Fixture, case: &Case, commits: &[InjectedFault]) -> u64 {
    let subject = fixture.subject(case.name).await;
    let node = Node::start_patient(&fixture.stack, OPERATION_TIMEOUT);
    node.calls.fail("UpdateItem", commits);
    let start = Instant::now();
    let mut answer = node.send(&subject.request).await;
    let (status, time) = (answer.status, start.elapsed());
    if status == 500 {
        assert_eq!(answer.body, case.failure());
        answer = Node::start_patient(&fixture.stack, OPERATION_TIMEOUT).send(&subject.request).await;
    }
    assert_eq!(answer.status, case.success, "{:?}: {answer:?}", case.name);
    fixture.assert_held(&subject.held, &answer).await;
    assert!(time < DEADLINE, "{:?}: {time:?}", case.name);
    status
}

/// It gives up after the fifth commit. A sixth would be done, and the deadline would come before it is settled, so that
/// the client would get no tokens and its repeat would be taken for a theft.
#[tokio::test]
async fn an_exchange_that_loses_every_race_gives_up_in_time_and_its_credential_stays_good() {
    let fixture = Fixture::new(0, SigningMode::Kms).await;
    for name in EXCHANGES {
        let mut commits = vec![InjectedFault::LostRace(4); 5];
        commits.extend([InjectedFault::Silent(5), InjectedFault::Slow(4)]);
        assert_eq!(exchange(&fixture, name.case(), &commits).await, 500, "{name:?}");
    }
}

/// The commit begins about as late as it may, and its answer is lost. There is time to find out that it has happened.
#[tokio::test]
async fn a_commit_that_begins_late_is_settled_before_the_deadline() {
    let fixture = Fixture::new(0, SigningMode::Kms).await;
    for name in EXCHANGES {
        let mut commits = vec![InjectedFault::LostRace(3); 5];
        commits.extend([InjectedFault::Silent(5), InjectedFault::Slow(4)]);
        assert_eq!(exchange(&fixture, name.case(), &commits).await, name.case().success, "{name:?}");
    }
}
