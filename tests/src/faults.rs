//! Whatever happens to an AWS call, the answer is the success or a 500, repeating the request succeeds, and the table
//! then holds one token.

use chrono::TimeDelta;
use futures_util::{StreamExt as _, stream};
use shared::keys::SigningMode;

use crate::harness::{CASES, Case, CaseName, Fixture, InjectedFault, Node, Outcome, Repeat, Subject, scale};

/// The most attempts that the SDK makes for one call.
const ATTEMPTS: usize = 3;
/// The number of cases that run at the same time. They mostly wait.
const AT_ONCE: usize = 8;

impl Fixture {
    /// Repeats a failed request until it succeeds. Returns how many failures there were, and what the table holds.
    async fn repeat_and_count(
        &self,
        case: &Case,
        subject: &Subject,
        mut answer: Outcome,
        what: &str,
    ) -> (usize, usize) {
        let mut failures = 0;
        let node = Node::start(&self.stack, TimeDelta::zero());
        while answer.status != case.success && !case.is_done_already(&answer) {
            assert_eq!((answer.status, &answer.body), (500, &case.failure()), "{what}");
            failures += 1;
            // On a busy machine a call can time out, but not ten times.
            assert!(failures < 10, "{what}");
            answer = node.send(&subject.request).await;
        }
        self.assert_held(&subject.held, &answer).await;
        if case.repeat == Repeat::Replayed {
            let again = node.send(&subject.request).await;
            assert!(again.replayed && again.status == case.success, "{what}: {again:?}");
            assert_eq!(again.body, answer.body, "{what}");
        }
        (failures, self.count(&subject.held).await)
    }
}

// ------------------------------------------------------------------------------------------------ each fault

/// A fault in one call of a request.
struct Trial {
    operation: String,
    nth: usize,
    fault: InjectedFault,
    /// How many attempts of the call meet it.
    attempts: usize,
}

/// Injects each fault into each call of a successful request: into one attempt, and into all.
async fn exhaust(case: &Case, mode: SigningMode) {
    // Without a reuse window a repeated refresh succeeds only if it is recognized.
    let fixture = Fixture::new(0, mode).await;
    let subject = fixture.subject(case.name).await;
    let node = Node::start(&fixture.stack, TimeDelta::zero());
    let answer = node.send(&subject.request).await;
    assert_eq!(answer.status, case.success, "{answer:?}");
    fixture.assert_held(&subject.held, &answer).await;
    assert_eq!(fixture.count(&subject.held).await, 1);

    let sequence = node.calls.sequence();
    let commit = sequence.last().unwrap().0.clone();
    let mut trials = Vec::new();
    for (operation, nth) in sequence {
        for fault in InjectedFault::all(&operation) {
            trials.extend([1, ATTEMPTS].map(|attempts| Trial { operation: operation.clone(), nth, fault, attempts }));
        }
    }
    println!("{:?} with {mode:?}: {} faults", case.name, trials.len());
    stream::iter(trials)
        .for_each_concurrent(AT_ONCE, async |Trial { operation, nth, fault, attempts }| {
            let what = format!("{:?}, {operation} {nth}, {attempts} x {fault:?}", case.name);
            let subject = fixture.subject(case.name).await;
            let node = Node::start(&fixture.stack, TimeDelta::zero());
            node.calls.fail_nth(&operation, nth, &vec![fault; attempts]);
            let answer = node.send(&subject.request).await;
            // The SDK retries after fewer faults than it has attempts, except if it cannot read an answer.
            assert!(
                attempts == ATTEMPTS || fault == InjectedFault::Truncated || answer.status == case.success,
                "{what}: {answer:?}"
            );
            node.calls.heal();
            node.calls.deliver().await;
            let (failures, held) = fixture.repeat_and_count(case, &subject, answer, &what).await;
            // It writes two items at the same time: one may be written although the other is not.
            let may_be_written = fault.reaches_the_server() || case.name == CaseName::IssueCode;
            let in_doubt = operation == commit && may_be_written && case.repeat == Repeat::Another;
            assert!((1..=1 + if in_doubt { failures } else { 0 }).contains(&held), "{what}: {held}");
        })
        .await;
}

async fn exhaust_all_of(function: &str) {
    for case in CASES.iter().filter(|case| case.function == function) {
        exhaust(case, SigningMode::Kms).await;
    }
}

/// Functions with many calls have a test of their own, so that these run at the same time.
const WITH_THEIR_OWN: [&str; 6] =
    ["create-token", "create-app-token", "exchange-token", "manage-tokens", "oauth2", "provision"];

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_costs_or_doubles_an_oauth_token() {
    exhaust_all_of("create-token").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_costs_or_doubles_an_app_token() {
    exhaust_all_of("create-app-token").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_costs_a_code_or_a_refresh_token() {
    exhaust_all_of("exchange-token").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_costs_or_doubles_a_token_of_a_standard_client() {
    exhaust_all_of("oauth2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_keeps_a_token_from_being_revoked() {
    exhaust_all_of("manage-tokens").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_keeps_an_operator_from_anything() {
    exhaust_all_of("provision").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_costs_or_doubles_anything_else() {
    for case in CASES.iter().filter(|case| !WITH_THEIR_OWN.contains(&case.function)) {
        exhaust(case, SigningMode::Kms).await;
    }
}

/// With envelope signing the calls of the cold start are among those of the first request.
#[tokio::test(flavor = "multi_thread")]
async fn no_fault_costs_or_doubles_what_is_signed_in_the_function() {
    for name in [CaseName::CreateTokenOnce, CaseName::ExchangeCode, CaseName::KeySet] {
        exhaust(name.case(), SigningMode::Envelope).await;
    }
}

// ------------------------------------------------------------------------------------------------ by chance

/// Every attempt of every call may meet any fault. A seed always gives the same faults; `TEST_SCALE` adds seeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_day_costs_and_doubles_nothing() {
    const SEEDS: u64 = 30;
    const PERCENT: u8 = 30;
    let fixture = Fixture::new(0, SigningMode::Kms).await;
    let trials = (0..SEEDS * scale()).flat_map(|seed| CASES.iter().map(move |case| (seed, case)));
    stream::iter(trials)
        .for_each_concurrent(AT_ONCE, async |(seed, case)| {
            let what = format!("{:?} with seed {seed}", case.name);
            let subject = fixture.subject(case.name).await;
            let node = Node::start(&fixture.stack, TimeDelta::zero());
            node.calls.fail_by_chance(seed, PERCENT);
            let answer = node.send(&subject.request).await;
            node.calls.heal();
            node.calls.deliver().await;
            let (failures, held) = fixture.repeat_and_count(case, &subject, answer, &what).await;
            let most = 1 + if case.repeat == Repeat::Another { failures } else { 0 };
            assert!((1..=most).contains(&held), "{what}: {held}");
        })
        .await;
}
