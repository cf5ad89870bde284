//! The AWS calls at the boundary of the SDK: counted, and failed where a test says so.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    result::ConnectorError,
    runtime_components::{RuntimeComponents, RuntimeComponentsBuilder},
};

use super::lock;

/// What happens to a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// The connection breaks before the server sees the request.
    NotSent,
    /// The server does the work and its answer is lost.
    AnswerLost,
}

/// What was called, and what is to fail.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    ticks: AtomicU64,
    done: Mutex<Vec<Call>>,
    script: Mutex<Vec<(String, Fault)>>,
}

#[derive(Clone, Debug)]
struct Call {
    operation: String,
    started: u64,
    ended: u64,
}

impl Calls {
    /// The next calls of `operation` meet these faults, one each.
    pub(crate) fn fail(&self, operation: &str, faults: &[Fault]) {
        lock(&self.script).extend(faults.iter().map(|fault| (operation.to_owned(), *fault)));
    }

    /// Forgets the faults that have not happened.
    pub(crate) fn heal(&self) {
        lock(&self.script).clear();
    }

    /// Whether every fault that was to happen has happened.
    pub(crate) fn all_failed(&self) -> bool {
        lock(&self.script).is_empty()
    }

    /// Forgets what was called so far.
    pub(crate) fn reset(&self) {
        lock(&self.done).clear();
    }

    /// How often each operation was called since the reset.
    pub(crate) fn count(&self) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for call in lock(&self.done).iter() {
            *count.entry(call.operation.clone()).or_default() += 1;
        }
        count
    }

    /// How many rounds the calls since the reset took one after the other: a call belongs to a later round than the
    /// calls that had ended when it began.
    pub(crate) fn rounds(&self) -> usize {
        let mut calls = lock(&self.done).clone();
        calls.sort_by_key(|call| call.started);
        let mut rounds = 0;
        let mut round_ends = 0;
        for call in calls {
            if rounds == 0 || call.started > round_ends {
                rounds += 1;
                round_ends = call.ended;
            }
            round_ends = round_ends.min(call.ended);
        }
        rounds
    }

    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, SeqCst)
    }

    fn next_fault(&self, operation: &str) -> Option<Fault> {
        let mut script = lock(&self.script);
        let at = script.iter().position(|(failing, _)| failing == operation)?;
        Some(script.remove(at).1)
    }
}

/// The production client, seen through `calls`.
pub(crate) fn client(calls: &Arc<Calls>) -> SharedHttpClient {
    SharedHttpClient::new(Seen { inner: shared::aws::http_client(), calls: Arc::clone(calls) })
}

#[derive(Debug)]
struct Seen<T> {
    inner: T,
    calls: Arc<Calls>,
}

impl HttpClient for Seen<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Seen { inner, calls: Arc::clone(&self.calls) })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &aws_smithy_types::config_bag::ConfigBag,
    ) -> Result<(), aws_smithy_runtime_api::box_error::BoxError> {
        self.inner.validate_base_client_config(components, config)
    }
}

impl HttpConnector for Seen<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let (inner, calls) = (self.inner.clone(), Arc::clone(&self.calls));
        HttpConnectorFuture::new(async move {
            let started = calls.tick();
            let fault = calls.next_fault(&operation);
            let broken = || Err(ConnectorError::io("broken by the test".into()));
            let answer = match fault {
                Some(Fault::NotSent) => broken(),
                Some(Fault::AnswerLost) => match inner.call(request).await {
                    Ok(_) => broken(),
                    Err(error) => Err(error),
                },
                None => inner.call(request).await,
            };
            lock(&calls.done).push(Call { operation, started, ended: calls.tick() });
            answer
        })
    }
}
