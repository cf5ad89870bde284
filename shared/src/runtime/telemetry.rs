//! The log: JSON lines, with one summary line per request and internal errors with their causes. It contains no secret,
//! only ids, counts, times and names of outcomes.

use std::{
    fmt,
    future::Future,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeTransmitInterceptorContextRef, dyn_dispatch_hint},
        retries::RequestAttempts,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use lambda_http::Context;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::json;
use tracing::{Event, Metadata, Subscriber, field::Field, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::{Targets, filter_fn},
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{self, Format, Json, JsonFields, Writer},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
};

use crate::{
    error::{InternalError, InvocationError, Outcome},
    runtime::Handled,
};

/// The target of summary lines. Their message is the whole line.
const SUMMARY: &str = "tokenmint::summary";
/// The CloudWatch namespace of the metrics.
const NAMESPACE: &str = "tokenmint";

/// Logs to standard output, which Lambda collects. `AWS_LAMBDA_LOG_LEVEL` can make the log quieter (`WARN`, `ERROR`),
/// but not more verbose: below `INFO` the SDK logs requests with their contents.
pub fn to_stdout() {
    #[expect(clippy::disallowed_methods, reason = "logging starts before there is an environment to read it from")]
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    let level = level.unwrap_or(LevelFilter::INFO).min(LevelFilter::INFO);
    // This fails only if a subscriber is already set. That one is used then.
    let _ = tracing::subscriber::set_global_default(subscriber(std::io::stdout, level));
}

/// Logs to standard error, for a program whose standard output is read by people.
pub fn to_stderr() {
    let _ = tracing::subscriber::set_global_default(subscriber(std::io::stderr, LevelFilter::INFO));
}

/// A subscriber that writes the lines of the log to `writer`.
pub fn subscriber<W>(writer: W, level: LevelFilter) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .fmt_fields(JsonFields::new())
        .event_format(Lines(format::format().json().flatten_event(true)))
        .with_writer(writer);
    // Metrics and alarms need the summaries, so they are written at every level.
    let kept = Targets::new().with_default(level).with_target(SUMMARY, LevelFilter::INFO);
    tracing_subscriber::registry().with(lines).with(kept).with(filter_fn(|event| !repeats_function_error(event)))
}

/// Whether this is the event with which `lambda_runtime` logs the `Err` of a handler, whose summary line was already
/// written. It logs a panic, which has no summary line, with the same target and level, but in a field named `error`.
fn repeats_function_error(event: &Metadata<'_>) -> bool {
    event.target() == "lambda_runtime::layers::panic" && event.fields().field("error").is_none()
}

/// Writes events as JSON lines and summaries unchanged: the embedded metric format needs a nested `_aws` object at the
/// top level, which `tracing` cannot write.
struct Lines(Format<Json>);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if event.metadata().target() != SUMMARY {
            return self.0.format_event(context, writer, event);
        }
        let mut result = Ok(());
        event.record(&mut |field: &Field, message: &dyn fmt::Debug| {
            if field.name() == "message" {
                result = writeln!(writer, "{message:?}");
            }
        });
        result
    }
}

/// The phases of a request that are timed.
#[derive(Clone, Copy, Debug)]
pub enum Phase {
    /// Authenticate and read.
    Load,
    /// Sign, and before that decrypt the signing key if needed; or derive a secret.
    Sign,
    /// The conditional write.
    Commit,
}

/// The measurements of one request.
#[derive(Debug, Default)]
struct Trace {
    request_id: String,
    function_name: String,
    xray_trace_id: Option<String>,
    dynamodb_calls: AtomicU32,
    kms_calls: AtomicU32,
    retries: AtomicU32,
    load_us: AtomicU64,
    sign_us: AtomicU64,
    commit_us: AtomicU64,
}

tokio::task_local! {
    static TRACE: Trace;
}

/// Awaits `work` and adds its duration to the phase.
pub async fn timed<T>(phase: Phase, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let result = work.await;
    // Outside a request, such as during warm-up, nothing is measured.
    let _ = TRACE.try_with(|trace| {
        let sum = match phase {
            Phase::Load => &trace.load_us,
            Phase::Sign => &trace.sign_us,
            Phase::Commit => &trace.commit_us,
        };
        sum.fetch_add(microseconds(start), Relaxed);
    });
    result
}

/// The trace header that the event came with, for the AWS calls of its request.
pub(crate) fn xray_trace_id() -> Option<String> {
    TRACE.try_with(|trace| trace.xray_trace_id.clone()).ok().flatten()
}

/// Logs an internal error with all its causes. The caller gets only a bare 500.
pub(crate) fn log_internal_error(error: &InternalError) {
    let request_id = TRACE.try_with(|trace| trace.request_id.clone()).unwrap_or_default();
    tracing::error!(request_id, error = error.chain(), "request failed");
}

crate::named! {
    pub enum Metric {
        TokensIssued = "TokensIssued",
        QuotaRefusals = "QuotaRefusals",
        ReplaysDetected = "ReplaysDetected",
        Failures = "Failures",
        /// Lambda counts these as errors of the function. Its other errors are crashes, timeouts and failed starts.
        ReportedErrors = "ReportedErrors",
        /// Of the whole deployment.
        SigningKeysLeftOut = "SigningKeysLeftOut",
    }
}

/// Logs a warning about the object with this id, and counts it in a metric of the whole deployment.
pub(crate) fn warn_and_count(metric: Metric, message: &str, id: &str, error: &InternalError) {
    let metric = metric.as_str();
    let directive = json!({"Namespace": NAMESPACE, "Dimensions": [[]], "Metrics": [{"Name": metric, "Unit": "Count"}]});
    let timestamp = crate::clock::Clock::now(&crate::clock::SystemClock).timestamp_millis();
    let line = json!({
        "level": "WARN",
        "message": message,
        "id": id,
        "error": error.chain(),
        metric: 1,
        "_aws": {"Timestamp": timestamp, "CloudWatchMetrics": [directive]},
    });
    tracing::info!(target: SUMMARY, "{line}");
}

/// Runs the handling of a request and writes its summary line.
pub(crate) async fn observe<A>(
    function: &'static str,
    context: &Context,
    handling: impl Future<Output = Handled<A>>,
) -> Handled<A> {
    let start = Instant::now();
    let trace = Trace {
        request_id: context.request_id.clone(),
        function_name: context.env_config.function_name.clone(),
        xray_trace_id: context.xray_trace_id.clone(),
        ..Trace::default()
    };
    let work = async {
        let handled = handling.await;
        if let Err(InvocationError::Internal(error)) = &handled.result {
            log_internal_error(error);
        }
        let line = TRACE.with(|trace| {
            let summary = Summary::new(function, &handled, trace, microseconds(start));
            // Serialization never fails: only a map with keys that are not strings would.
            serde_json::to_string(&summary).unwrap_or_default()
        });
        tracing::info!(target: SUMMARY, "{line}");
        handled
    };
    TRACE.scope(trace, work).await
}

/// The summary line of a request.
struct Summary<'a> {
    function: &'static str,
    outcome: Outcome,
    status: Option<u16>,
    reported_error: bool,
    trace: &'a Trace,
    total_us: u64,
}

impl<'a> Summary<'a> {
    fn new<A>(function: &'static str, handled: &Handled<A>, trace: &'a Trace, total_us: u64) -> Self {
        let status = handled.status.map(|status| status.as_u16());
        Self { function, outcome: handled.outcome, status, reported_error: handled.result.is_err(), trace, total_us }
    }
}

impl Serialize for Summary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { function, outcome, status, reported_error, trace, total_us } = self;
        let (level, metric) = level_and_metric(*outcome);
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("level", level)?;
        line.serialize_entry("function", function)?;
        line.serialize_entry("functionName", &trace.function_name)?;
        line.serialize_entry("requestId", &trace.request_id)?;
        line.serialize_entry("outcome", outcome.as_str())?;
        line.serialize_entry("status", status)?;
        line.serialize_entry("dynamodbCalls", &trace.dynamodb_calls.load(Relaxed))?;
        line.serialize_entry("kmsCalls", &trace.kms_calls.load(Relaxed))?;
        line.serialize_entry("retries", &trace.retries.load(Relaxed))?;
        line.serialize_entry("loadMs", &milliseconds(trace.load_us.load(Relaxed)))?;
        line.serialize_entry("signMs", &milliseconds(trace.sign_us.load(Relaxed)))?;
        line.serialize_entry("commitMs", &milliseconds(trace.commit_us.load(Relaxed)))?;
        line.serialize_entry("totalMs", &milliseconds(*total_us))?;
        let metrics = metric.into_iter().chain(reported_error.then_some(Metric::ReportedErrors));
        let metrics: Vec<&str> = metrics.map(Metric::as_str).collect();
        if !metrics.is_empty() {
            for metric in &metrics {
                line.serialize_entry(metric, &1)?;
            }
            let directive = json!({
                "Namespace": NAMESPACE,
                "Dimensions": [["functionName"]],
                "Metrics": metrics.iter().map(|metric| json!({"Name": metric, "Unit": "Count"})).collect::<Vec<_>>(),
            });
            // The metrics of Lambda itself have the time at which the invocation started.
            let started = crate::clock::Clock::now(&crate::clock::SystemClock).timestamp_millis()
                - i64::try_from(total_us / 1000).unwrap_or_default();
            line.serialize_entry("_aws", &json!({"Timestamp": started, "CloudWatchMetrics": [directive]}))?;
        }
        line.end()
    }
}

const fn level_and_metric(outcome: Outcome) -> (&'static str, Option<Metric>) {
    match outcome {
        Outcome::Issued => ("INFO", Some(Metric::TokensIssued)),
        Outcome::QuotaExceeded => ("INFO", Some(Metric::QuotaRefusals)),
        Outcome::ReplayDetected => ("INFO", Some(Metric::ReplaysDetected)),
        Outcome::Failed => ("ERROR", Some(Metric::Failures)),
        Outcome::Replayed
        | Outcome::Done
        | Outcome::Unauthenticated
        | Outcome::InvalidRequest
        | Outcome::InvalidClient
        | Outcome::UnauthorizedClient
        | Outcome::UnsupportedGrantType
        | Outcome::InvalidScope
        | Outcome::InvalidTarget
        | Outcome::PermissionMissing
        | Outcome::NotFound
        | Outcome::IdempotencyKeyReused
        | Outcome::BadCredential
        | Outcome::Taken
        | Outcome::InvalidEvent
        | Outcome::WrongIdentitySource
        | Outcome::DeniedByPolicy => ("INFO", None),
    }
}

fn microseconds(since: Instant) -> u64 {
    since.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
}

/// With at most two decimals, because a warm call takes well below a millisecond.
fn milliseconds(microseconds: u64) -> f64 {
    f64::from(u32::try_from(microseconds / 10).unwrap_or(u32::MAX)) / 100.0
}

/// The AWS services whose calls are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    DynamoDb,
    Kms,
}

/// Counts the calls that the SDK sends during a request, including retries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter(pub(crate) Service);

#[dyn_dispatch_hint]
impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn read_before_attempt(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let repeated = config.load::<RequestAttempts>().is_some_and(|attempts| attempts.attempts() > 1);
        let _ = TRACE.try_with(|trace| {
            let calls = match self.0 {
                Service::DynamoDb => &trace.dynamodb_calls,
                Service::Kms => &trace.kms_calls,
            };
            calls.fetch_add(1, Relaxed);
            trace.retries.fetch_add(u32::from(repeated), Relaxed);
        });
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use serde_json::Value;
    use tracing::subscriber::DefaultGuard;

    use super::*;

    /// The lines of the log.
    #[derive(Clone, Default)]
    pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        /// Keeps what this thread logs until the guard is dropped.
        pub(crate) fn guard(&self) -> DefaultGuard {
            let writer = self.clone();
            tracing::subscriber::set_default(subscriber(move || writer.clone(), LevelFilter::INFO))
        }

        pub(crate) fn json(&self) -> Vec<Value> {
            let lines = self.0.lock().unwrap();
            serde_json::Deserializer::from_slice(&lines).into_iter().map(Result::unwrap).collect()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_counted_warning_is_one_line_at_every_level() {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing::subscriber::with_default(subscriber(move || writer.clone(), LevelFilter::ERROR), || {
            let error = InternalError::new("fetch a public key", "NotFoundException");
            warn_and_count(Metric::SigningKeysLeftOut, "left out a previous signing key", "key-1", &error);
        });
        let mut line: Value = serde_json::from_slice(&lines.0.lock().unwrap()).unwrap();
        assert!(line["_aws"]["Timestamp"].take().is_i64());
        let metrics = json!([{"Name": "SigningKeysLeftOut", "Unit": "Count"}]);
        let directive = json!({"Namespace": "tokenmint", "Dimensions": [[]], "Metrics": metrics});
        let expected = json!({
            "level": "WARN", "message": "left out a previous signing key", "id": "key-1",
            "error": "could not fetch a public key: NotFoundException", "SigningKeysLeftOut": 1,
            "_aws": {"Timestamp": null, "CloudWatchMetrics": [directive]},
        });
        assert_eq!(line, expected);
    }

    fn metrics(handled: &Handled<()>) -> Vec<String> {
        let trace = Trace::default();
        let line = serde_json::to_value(Summary::new("issue-code", handled, &trace, 20_000)).unwrap();
        let directives = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().cloned().unwrap_or_default();
        let names = directives.iter().map(|metric| metric["Name"].as_str().unwrap().to_owned());
        names.inspect(|name| assert_eq!(line[name], 1, "{line}")).collect()
    }

    #[test]
    fn times_have_two_decimals() {
        assert_eq!(
            [0, 1_239, 20_000, 9_999_999].map(|us| milliseconds(us).to_string()),
            ["0", "1.23", "20", "9999.99"]
        );
    }

    #[test]
    fn a_reported_error_is_counted() {
        let answered = |outcome| Handled { outcome, ..Handled::of(Ok(())) };
        assert_eq!(metrics(&Handled::of(Err(InvocationError::Taken("slug")))), ["ReportedErrors"]);
        let failure = InternalError::new("load", "no answer");
        assert_eq!(metrics(&Handled::of(Err(failure.into()))), ["Failures", "ReportedErrors"]);
        assert_eq!(metrics(&answered(Outcome::Failed)), ["Failures"]);
        assert_eq!(metrics(&answered(Outcome::Issued)), ["TokensIssued"]);
        assert!(metrics(&answered(Outcome::NotFound)).is_empty());
    }
}
