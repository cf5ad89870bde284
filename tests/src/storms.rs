//! Several processes of each function's binary, with one table and one KMS: the invariants hold between them, also if
//! processes are killed.

use std::{
    collections::BTreeSet,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use chrono::TimeDelta;
use futures_util::future::{join, join_all};
use serde_json::Value;
use shared::{
    keys::SigningMode,
    random::{Random, SystemRandom},
};

use crate::harness::{
    ApiRequest, AwsProxy, CaseName, Fixture, Held, Lambda, Moment, Node, Outcome, Repeat, TestStack,
    exchange_token::{self, refresh_body},
    lock, scale,
};

/// The number of processes of a function.
const PROCESSES: usize = 4;

// ------------------------------------------------------------------------------------------------ killed at a call

/// Kills a process between any two AWS calls, and between the last one and the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_any_call_breaks_nothing() {
    let fixture = Fixture::new(60, SigningMode::Kms).await;
    for name in [
        CaseName::CreateToken,
        CaseName::CreateTokenOnce,
        CaseName::CreateAppToken,
        CaseName::CreateAppTokenOnce,
        CaseName::ExchangeCode,
        CaseName::Refresh,
        CaseName::IssueCode,
        CaseName::CreateRegistration,
        CaseName::CreateApiKey,
        CaseName::UpdateRegistration,
        CaseName::UpdateApplication,
        CaseName::RevokeApiKey,
        CaseName::RotateApiKey,
        CaseName::RotateSecret,
        CaseName::RotateSecretOfRegistration,
        CaseName::RevokeTokensOfApplication,
        CaseName::RevokeTokensOfClient,
        CaseName::SuspendOrganization,
        CaseName::ResumeOrganization,
        CaseName::DeleteRegistration,
        CaseName::EndSessions,
        CaseName::RevokeToken,
        CaseName::RevokeTokens,
        CaseName::RevokeAppToken,
    ] {
        let case = name.case();
        let subject = fixture.subject(name).await;
        let process = AwsProxy::start(&fixture.stack, subject.request.function).await;
        let outcome = Outcome::from(process.lambda.invoke(subject.request.event).await);
        assert_eq!(outcome.status, case.success, "{outcome:?}");
        let calls = process.calls();
        for (call, moment) in (0..calls).flat_map(|call| [(call, Moment::Before), (call, Moment::After)]) {
            let what = format!("{name:?} killed {moment:?} call {call}");
            let subject = fixture.subject(name).await;
            let process = AwsProxy::start(&fixture.stack, subject.request.function).await;
            process.kill_at(call, moment);
            let answer = process.lambda.invoke_doomed(subject.request.event.clone()).await;
            assert!(answer.is_none(), "{what}: {answer:?}");

            // The commit is done, and only its answer is lost.
            let committed = (call, moment) == (calls - 1, Moment::After);
            let again = Node::start(&fixture.stack, TimeDelta::zero()).send(&subject.request).await;
            let held = fixture.count(&subject.held).await;
            if name == CaseName::ExchangeCode && committed {
                // A code works once, even if the client did not get the answer.
                assert_eq!((again.status, held), (400, 0), "{what}: {again:?}");
            } else {
                assert!(again.status == case.success || case.is_done_already(&again), "{what}: {again:?}");
                let twice = committed && case.repeat == Repeat::Another;
                // It writes two items at the same time, in either order.
                let either = name == CaseName::IssueCode && call + 2 >= calls;
                assert!(held == if twice { 2 } else { 1 } || (either && held <= 2), "{what}: {held}");
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------ storms

/// Several processes of one function. Each one that dies is replaced.
struct Fleet<'s> {
    stack: &'s TestStack,
    function: &'static str,
    processes: Vec<Process>,
    next: AtomicUsize,
    answered: AtomicUsize,
    /// Requests that died with their process.
    lost: AtomicUsize,
}

struct Process {
    lambda: Mutex<Arc<Lambda>>,
    busy: tokio::sync::Mutex<()>,
}

impl<'s> Fleet<'s> {
    async fn start(stack: &'s TestStack, function: &'static str) -> Self {
        let processes = (0..PROCESSES).map(async |_| {
            let lambda = Mutex::new(Lambda::start(stack, function).await.into());
            Process { lambda, busy: tokio::sync::Mutex::default() }
        });
        let processes = join_all(processes).await;
        Self { stack, function, processes, next: 0.into(), answered: 0.into(), lost: 0.into() }
    }

    /// `None` if the process was killed before it answered.
    async fn send(&self, request: &ApiRequest) -> Option<Outcome> {
        let process = &self.processes[self.next.fetch_add(1, Relaxed) % PROCESSES];
        let _one_at_a_time = process.busy.lock().await;
        let lambda = Arc::clone(&lock(&process.lambda));
        let answer = lambda.invoke_doomed(request.event.clone()).await;
        if answer.is_none() {
            self.lost.fetch_add(1, Relaxed);
            *lock(&process.lambda) = Lambda::start(self.stack, self.function).await.into();
        } else {
            self.answered.fetch_add(1, Relaxed);
        }
        answer.map(Outcome::from)
    }

    /// Sends a request until it is answered.
    async fn insist(&self, request: &ApiRequest) -> Outcome {
        for _ in 0..1000 {
            match self.send(request).await {
                Some(outcome) if outcome.status < 500 => return outcome,
                _ => {}
            }
        }
        panic!("{} does not answer", self.function)
    }

    /// Does the work, and if `killing`, kills processes at random moments, but slowly enough that requests are
    /// answered.
    async fn run<T>(&self, killing: bool, work: impl Future<Output = T>) -> T {
        let mut kills = 0;
        let kill = async {
            if !killing {
                pending::<()>().await;
            }
            loop {
                let [pause, which] = (&SystemRandom as &dyn Random).bytes::<2>().unwrap();
                tokio::time::sleep(Duration::from_micros(u64::from(pause) * 400)).await;
                if self.answered.load(Relaxed) > 2 * kills {
                    lock(&self.processes[usize::from(which) % PROCESSES].lambda).kill();
                    kills += 1;
                }
            }
        };
        let done = tokio::select! {
            done = work => done,
            never = kill => never,
        };
        println!("{}: {kills} kills, {} requests died", self.function, self.lost.load(Relaxed));
        assert!(killing || self.lost.load(Relaxed) == 0);
        done
    }
}

/// The number of requests at once, times the scale.
fn many(count: usize) -> usize {
    count * usize::try_from(scale()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_between_processes() {
    for killing in [false, true] {
        let fixture = Fixture::new(60, SigningMode::Kms).await;
        let max = many(20).min(900);
        let registration = fixture.registration(max).await;
        let request = fixture.create_token(&registration);
        let fleet = Fleet::start(&fixture.stack, "create-token").await;
        let answers = fleet.run(killing, join_all((0..max * 4).map(|_| fleet.send(&request)))).await;

        let answered = answers.into_iter().flatten().collect::<Vec<_>>();
        let made = answered.iter().filter(|answer| answer.status == 201).collect::<Vec<_>>();
        assert!(answered.iter().all(|answer| [201, 400].contains(&answer.status)));
        let held = fixture.stack.registration_item(&registration).await["tokens"]["M"].clone();
        let held = held.as_object().unwrap();
        assert!(made.iter().all(|answer| held.contains_key(answer.body["token"]["id"].as_str().unwrap())));
        let numbers = made.iter().map(|answer| answer.body["activeTokens"].as_u64().unwrap()).collect::<BTreeSet<_>>();
        assert_eq!(numbers.len(), made.len(), "each was the only one to take its place");
        let lost = fleet.lost.load(Relaxed);
        assert!((made.len()..=made.len() + lost).contains(&held.len()), "{} of {}", made.len(), held.len());
        assert!(held.len() == max || (held.len() < max && lost > 0), "{} of {max}", held.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_one_token_between_processes() {
    for killing in [false, true] {
        let fixture = Fixture::new(60, SigningMode::Kms).await;
        let keys = many(20).min(900);
        let registration = fixture.registration(keys).await;
        let subject = fixture.subject(CaseName::CreateAppToken).await;
        for (request, held) in
            [(fixture.create_token(&registration), Held::Tokens(registration)), (subject.request, subject.held)]
        {
            let fleet = Fleet::start(&fixture.stack, request.function).await;
            let pairs = (0..keys).map(async |key| {
                let request = request.clone().with_idempotency_key(&format!("key-{key}"));
                join(fleet.insist(&request), fleet.insist(&request)).await
            });
            for (one, two) in fleet.run(killing, join_all(pairs)).await {
                assert!(one.status < 300, "{one:?}");
                let token = |answer: &Outcome| match answer.body["token"].clone() {
                    Value::Null => answer.body["data"].clone(),
                    token => token,
                };
                assert_eq!(token(&one), token(&two));
            }
            assert_eq!(fixture.count(&held).await, keys);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_works_once_between_processes() {
    for killing in [false, true] {
        let fixture = Fixture::new(60, SigningMode::Kms).await;
        let fleet = Fleet::start(&fixture.stack, "exchange-token").await;
        let mut codes = Vec::new();
        for _ in 0..many(15) {
            codes.push(fixture.subject(CaseName::ExchangeCode).await);
        }
        let uses = codes.iter().map(async |code| join_all((0..3).map(|_| fleet.send(&code.request))).await);
        for (code, answers) in codes.iter().zip(fleet.run(killing, join_all(uses)).await) {
            let statuses = answers.iter().flatten().map(|answer| answer.status).collect::<Vec<_>>();
            assert!(statuses.iter().all(|status| [201, 400].contains(status)), "{statuses:?}");
            let exchanged = statuses.iter().filter(|status| **status == 201).count();
            assert!(exchanged == 1 || (exchanged == 0 && statuses.len() < 3), "{statuses:?}");
            // The second use of the code has ended the grant.
            if statuses.contains(&400) {
                assert_eq!(fixture.count(&code.held).await, 0, "{statuses:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_refreshes_outlives_its_processes() {
    for killing in [false, true] {
        let fixture = Fixture::new(60, SigningMode::Kms).await;
        let fleet = Fleet::start(&fixture.stack, "exchange-token").await;
        let chains = (0..6).map(async |_| {
            let mut request = fixture.subject(CaseName::Refresh).await.request;
            for _ in 0..many(10) {
                let answer = fleet.insist(&request).await;
                request = exchange_token::request(&refresh_body(&answer.refresh_token()));
            }
        });
        fleet.run(killing, join_all(chains)).await;
    }
}
