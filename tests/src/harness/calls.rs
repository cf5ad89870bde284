//! The AWS calls at the boundary of the SDK: counts them, and injects faults that a test or a seed chooses.

use std::{
    collections::BTreeMap,
    future::pending,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use aws_lc_rs::digest;
use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::{RuntimeComponents, RuntimeComponentsBuilder},
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::lock;

/// What happens to one attempt of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum InjectedFault {
    /// The connection breaks before the server sees the request.
    NotSent,
    /// The request hangs until the SDK gives up, and never arrives.
    Stalled,
    /// As `Stalled`, but it arrives in the end, after all later requests: see [`Calls::deliver`].
    Overtaken,
    /// The server does the work and the connection breaks before its answer.
    AnswerLost,
    /// The server does the work, and its answer takes longer than the SDK waits.
    Late,
    /// The server does the work, and half of its answer arrives and looks complete.
    Truncated,
    /// The server does the work, and the connection breaks in the middle of the answer.
    CutShort,
    /// The server refuses with this error and does nothing.
    Error(&'static str),
    /// The server does the work, but answers with this error.
    ErrorAfter(&'static str),
    /// The server does the work, and its answer takes this many seconds, which [`pass`].
    Slow(u64),
    /// The server does the work, these seconds pass, and no answer ever comes.
    Silent(u64),
    /// Another process has just replaced the version of the grant that this write requires. The answer is slow.
    LostRace(u64),
}

/// The errors of the services, with their HTTP status.
const DYNAMODB_ERRORS: [&str; 4] =
    ["InternalServerError", "ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"];
/// A transaction beside another one of the same items, and an earlier attempt of the same that is not over.
const TRANSACTION_ERRORS: [&str; 2] = ["TransactionCanceledException", "TransactionInProgressException"];
const KMS_ERRORS: [&str; 4] =
    ["DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException", "ThrottlingException"];

impl InjectedFault {
    /// Every fault that an attempt of this operation can meet.
    pub(crate) fn all(operation: &str) -> Vec<Self> {
        let is_dynamodb = operation == "Query" || operation.ends_with("Item") || operation.ends_with("Items");
        let errors = if is_dynamodb { DYNAMODB_ERRORS } else { KMS_ERRORS };
        let mut faults = vec![
            Self::NotSent,
            Self::Stalled,
            Self::Overtaken,
            Self::AnswerLost,
            Self::Late,
            Self::Truncated,
            Self::CutShort,
        ];
        faults.extend(errors.map(Self::Error));
        if operation == "TransactWriteItems" {
            faults.extend(TRANSACTION_ERRORS.map(Self::Error));
        }
        // After an internal error the work may have been done, as the services document.
        faults.extend(errors.into_iter().filter(|error| error.contains("Internal")).map(Self::ErrorAfter));
        faults
    }

    /// Whether the server does the work, at once or later.
    pub(crate) fn reaches_the_server(self) -> bool {
        !matches!(self, Self::NotSent | Self::Stalled | Self::Error(_))
    }
}

/// The calls that were made, and the faults to inject.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    ticks: AtomicU64,
    hang: AtomicBool,
    done: Mutex<Vec<Call>>,
    planned: Mutex<Vec<Planned>>,
    random: Mutex<Option<RandomFaults>>,
    overtaken: Mutex<Vec<(SharedHttpConnector, HttpRequest)>>,
    together: Mutex<BTreeMap<String, Arc<Barrier>>>,
}

#[derive(Clone, Debug)]
struct Call {
    operation: String,
    /// The same for all attempts of one call.
    invocation: String,
    /// The partition key of the item that it names, if it names one.
    item: Option<String>,
    started: u64,
    ended: u64,
}

/// A fault for an attempt of this operation: of any call, or of the one that comes after `skip` others.
#[derive(Debug)]
struct Planned {
    operation: String,
    only: Option<Nth>,
    fault: InjectedFault,
}

#[derive(Clone, Debug)]
struct Nth {
    skip: usize,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Nth {
    fn is(&self, invocation: &str) -> bool {
        let mut seen = lock(&self.seen);
        if !seen.iter().any(|other| other == invocation) {
            seen.push(invocation.to_owned());
        }
        seen.get(self.skip).is_some_and(|it| it == invocation)
    }
}

/// Random faults. The seed alone decides whether the nth attempt of the nth call of an operation fails.
#[derive(Debug)]
struct RandomFaults {
    seed: u64,
    percent: u8,
    /// The calls of each operation, each with the number of its attempts.
    calls: BTreeMap<String, Vec<(String, usize)>>,
}

impl Calls {
    /// Injects these faults into the next attempts of `operation`, one each, whatever the call.
    pub(crate) fn fail(&self, operation: &str, faults: &[InjectedFault]) {
        let planned = |fault: &InjectedFault| Planned { operation: operation.to_owned(), only: None, fault: *fault };
        lock(&self.planned).extend(faults.iter().map(planned));
    }

    /// Injects these faults into the attempts of one call of `operation`, the one after `skip` others from now on.
    pub(crate) fn fail_nth(&self, operation: &str, skip: usize, faults: &[InjectedFault]) {
        let nth = Nth { skip, seen: Arc::default() };
        let planned =
            |fault: &InjectedFault| Planned { operation: operation.to_owned(), only: Some(nth.clone()), fault: *fault };
        lock(&self.planned).extend(faults.iter().map(planned));
    }

    /// Injects a random fault into this percentage of attempts, until [`Self::heal`].
    pub(crate) fn fail_by_chance(&self, seed: u64, percent: u8) {
        *lock(&self.random) = Some(RandomFaults { seed, percent, calls: BTreeMap::new() });
    }

    /// From now on calls of `operation` are answered only when this many are waiting. Calls that are made in parallel
    /// all get their answers, however busy the machine is; calls that are made one after the other hang.
    pub(crate) fn answer_together(&self, operation: &str, count: usize) {
        lock(&self.together).insert(operation.to_owned(), Arc::new(Barrier::new(count)));
    }

    /// From now on no call is answered.
    pub(crate) fn hang(&self) {
        self.hang.store(true, SeqCst);
    }

    /// Drops the faults that have not happened yet.
    pub(crate) fn heal(&self) {
        lock(&self.planned).clear();
        *lock(&self.random) = None;
    }

    /// Whether every planned fault has happened.
    pub(crate) fn all_failed(&self) -> bool {
        lock(&self.planned).is_empty()
    }

    /// Delivers the requests that were overtaken. Their answers are dropped.
    pub(crate) async fn deliver(&self) {
        let overtaken = std::mem::take(&mut *lock(&self.overtaken));
        for (connector, request) in overtaken {
            let _ = connector.call(request).await;
        }
    }

    /// Starts counting again.
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

    /// The partition keys of the items that were read since the reset, sorted.
    pub(crate) fn items_read(&self) -> Vec<String> {
        let calls = lock(&self.done);
        let reads = calls.iter().filter(|call| call.operation == "GetItem");
        let mut items: Vec<_> = reads.filter_map(|call| call.item.clone()).collect();
        items.sort_unstable();
        items
    }

    /// The operations that were called since the reset, each with the number of earlier calls of it.
    pub(crate) fn sequence(&self) -> Vec<(String, usize)> {
        let mut calls = lock(&self.done).clone();
        calls.sort_by_key(|call| call.started);
        calls.dedup_by(|one, two| one.invocation == two.invocation);
        let mut count = BTreeMap::<_, usize>::new();
        let numbered = calls.into_iter().map(|call| {
            let before = count.entry(call.operation.clone()).or_default();
            *before += 1;
            (call.operation, *before - 1)
        });
        numbered.collect()
    }

    /// The number of rounds of the calls since the reset. A call that began after another one had ended is in a later
    /// round.
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

    fn next_fault(&self, operation: &str, invocation: &str) -> Option<InjectedFault> {
        let mut planned = lock(&self.planned);
        let meets = |planned: &Planned| {
            planned.operation == operation && planned.only.as_ref().is_none_or(|nth| nth.is(invocation))
        };
        match planned.iter().position(meets) {
            Some(at) => Some(planned.remove(at).fault),
            None => lock(&self.random).as_mut().and_then(|random| random.next(operation, invocation)),
        }
    }
}

impl RandomFaults {
    fn next(&mut self, operation: &str, invocation: &str) -> Option<InjectedFault> {
        let calls = self.calls.entry(operation.to_owned()).or_default();
        let nth = calls.iter().position(|(other, _)| other == invocation).unwrap_or_else(|| {
            calls.push((invocation.to_owned(), 0));
            calls.len() - 1
        });
        calls[nth].1 += 1;
        let drawn = format!("{} {operation} {nth} {}", self.seed, calls[nth].1);
        let drawn = digest::digest(&digest::SHA256, drawn.as_bytes());
        let (happens, which) = (drawn.as_ref()[0], usize::from(drawn.as_ref()[1]));
        let faults = InjectedFault::all(operation);
        (happens % 100 < self.percent).then(|| faults[which % faults.len()])
    }
}

/// A client whose calls `calls` counts and fails.
pub(crate) fn client(inner: SharedHttpClient, calls: &Arc<Calls>) -> SharedHttpClient {
    SharedHttpClient::new(Seen { inner, calls: Arc::clone(calls) })
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
        let invocation = request.headers().get("amz-sdk-invocation-id").unwrap_or_default().to_owned();
        let item = request.body().bytes().and_then(item);
        let (inner, calls) = (self.inner.clone(), Arc::clone(&self.calls));
        HttpConnectorFuture::new(async move {
            let started = calls.tick();
            if calls.hang.load(SeqCst) {
                return pending().await;
            }
            let answer = match calls.next_fault(&operation, &invocation) {
                None => inner.call(request).await,
                Some(fault) => inject(fault, inner, request, &calls).await,
            };
            let together = lock(&calls.together).get(&operation).cloned();
            if let Some(together) = together {
                together.wait().await;
            }
            lock(&calls.done).push(Call { operation, invocation, item, started, ended: calls.tick() });
            answer
        })
    }
}

/// The partition key of the item that a call to DynamoDB names.
fn item(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body["Key"]["pk"]["S"].as_str().map(str::to_owned)
}

async fn inject(
    fault: InjectedFault,
    inner: SharedHttpConnector,
    request: HttpRequest,
    calls: &Calls,
) -> Result<HttpResponse, ConnectorError> {
    let broken = || Err(ConnectorError::io("broken by the test".into()));
    match fault {
        InjectedFault::NotSent => return broken(),
        InjectedFault::Stalled => return pending().await,
        InjectedFault::Overtaken => {
            lock(&calls.overtaken).push((inner, request));
            return pending().await;
        }
        InjectedFault::Error(kind) => return Ok(error(kind)),
        InjectedFault::LostRace(_) => drop(inner.call(replacing_the_version(&request, calls.tick())).await?),
        _ => {}
    }
    let mut answer = inner.call(request).await?;
    let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
    let body = body.collect().await.map_err(ConnectorError::io)?.to_bytes();
    let half = body.slice(..body.len() / 2);
    match fault {
        InjectedFault::Late => pending().await,
        InjectedFault::Silent(seconds) => {
            pass(seconds).await;
            pending().await
        }
        InjectedFault::Slow(seconds) | InjectedFault::LostRace(seconds) => {
            pass(seconds).await;
            *answer.body_mut() = SdkBody::from(body);
            Ok(answer)
        }
        InjectedFault::ErrorAfter(kind) => Ok(error(kind)),
        InjectedFault::Truncated => {
            answer.headers_mut().insert("content-length", half.len().to_string());
            *answer.body_mut() = SdkBody::from(half);
            Ok(answer)
        }
        InjectedFault::CutShort => {
            let end = io::Error::new(io::ErrorKind::UnexpectedEof, "broken by the test");
            let frames: [Result<_, io::Error>; 2] = [Ok(Frame::data(half)), Err(end)];
            *answer.body_mut() = SdkBody::from_body_1_x(StreamBody::new(stream::iter(frames)));
            Ok(answer)
        }
        _ => broken(),
    }
}

/// Lets these seconds pass at once: the runtime's clock is set forward. The runtime must have a single thread.
async fn pass(seconds: u64) {
    /// Also if the SDK gives up meanwhile, the clock runs again.
    struct Resume;

    impl Drop for Resume {
        fn drop(&mut self) {
            tokio::time::resume();
        }
    }

    tokio::time::pause();
    let _resume = Resume;
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

/// The write of another process to the same grant.
fn replacing_the_version(request: &HttpRequest, version: u64) -> HttpRequest {
    let mut replacing = request.try_clone().unwrap();
    let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
    let body = json!({
        "TableName": body["TableName"], "Key": body["Key"],
        "UpdateExpression": "SET version = :version",
        "ExpressionAttributeValues": {":version": {"S": format!("{version:032x}")}},
    });
    let body = body.to_string();
    replacing.headers_mut().insert("content-length", body.len().to_string());
    *replacing.body_mut() = SdkBody::from(body);
    replacing
}

fn error(kind: &str) -> HttpResponse {
    let internal =
        ["DependencyTimeoutException", "InternalServerError", "KMSInternalException", "KeyUnavailableException"];
    let status = if internal.contains(&kind) { 500 } else { 400 };
    let mut body = json!({"__type": kind, "message": "made by the test"});
    if kind == "TransactionCanceledException" {
        body["CancellationReasons"] = json!([{"Code": "None"}, {"Code": "None"}, {"Code": "TransactionConflict"}]);
    }
    HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body.to_string()))
}
