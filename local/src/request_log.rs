//! The log for a person at a terminal: one short line per request, and what went wrong below it. If nobody watches, the
//! log is the JSON lines of the functions.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    future::Future,
    io::Write as _,
    sync::OnceLock,
    time::{Duration, Instant},
};

use axum::response::Response;
use chrono::{DateTime, Utc};
use serde_json::Value;
use tracing::{Event, Level, Subscriber, field::Field};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::{Context, SubscriberExt as _},
};

/// The target of the functions' summary lines, whose message is a JSON object.
const SUMMARY: &str = "tokenmint::summary";

/// How the lines look. Not set: the log is JSON.
static STYLE: OnceLock<Style> = OnceLock::new();

tokio::task_local! {
    /// What the functions have logged during this request.
    static LOGGED: RefCell<Logged>;
}

#[derive(Debug, Default)]
struct Logged {
    /// The summary of the last function.
    summary: Value,
    errors: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Style {
    color: bool,
}

/// From now on this process logs readable lines to standard error.
pub fn readable(color: bool) {
    let _ = STYLE.set(Style { color });
    // Without the embedded database, which logs what is of no use here.
    let targets = ["local", "shared", "tokenmint"].map(|target| (target, LevelFilter::INFO));
    let lines = Lines.with_filter(Targets::new().with_targets(targets));
    // This fails only if a subscriber is already set. That one is used then.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines));
}

struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let summary = event.metadata().target() == SUMMARY;
        if !summary && *event.metadata().level() > Level::WARN {
            return;
        }
        let mut text = String::new();
        event.record(&mut |field: &Field, value: &dyn fmt::Debug| {
            if ["message", "error"].contains(&field.name()) {
                let separator = if text.is_empty() { "" } else { ": " };
                let _ = write!(text, "{separator}{value:?}");
            }
        });
        let of_a_request = LOGGED.try_with(|logged| {
            let mut logged = logged.borrow_mut();
            if summary {
                logged.summary = serde_json::from_str(&text).unwrap_or_default();
            } else {
                logged.errors.push(text.clone());
            }
        });
        if of_a_request.is_err() && !summary {
            // Nobody reads it if standard error is closed.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }
}

/// Awaits the answer to a request, and prints its line if the log is readable and the request has a label.
pub(crate) async fn observe(label: Option<String>, answer: impl Future<Output = Response>) -> Response {
    let Some((style, label)) = STYLE.get().zip(label) else { return answer.await };
    let start = Instant::now();
    let work = async {
        let response = answer.await;
        (response, LOGGED.with(RefCell::take))
    };
    let (response, logged) = LOGGED.scope(RefCell::default(), work).await;
    // A person compares with their own clock; that of the stack may be a test's.
    let now = shared::clock::Clock::now(&shared::clock::SystemClock);
    let text = style.lines(now, &label, response.status().as_u16(), start.elapsed(), &logged);
    // Nobody reads it if standard error is closed.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    response
}

impl Style {
    fn lines(self, now: DateTime<Utc>, label: &str, status: u16, took: Duration, logged: &Logged) -> String {
        let paint = |code: &str, text: &str| {
            if self.color && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
        };
        let time = paint("2", &now.format("%H:%M:%S").to_string());
        let status = paint(
            if status < 400 {
                "32"
            } else if status < 500 {
                "33"
            } else {
                "31;1"
            },
            &status.to_string(),
        );
        let outcome = logged.summary.get("outcome").and_then(Value::as_str).unwrap_or("-");
        let count = |key: &str| logged.summary.get(key).and_then(Value::as_u64).unwrap_or(0);
        let calls: Vec<_> = [("DynamoDB", count("dynamodbCalls")), ("KMS", count("kmsCalls"))]
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(service, count)| format!("{count} {service}"))
            .collect();
        let milliseconds = format!("{} ms", took.as_millis());
        let calls = paint("2", &calls.join(", "));
        let line = format!("{time}  {label:<46} {status}  {outcome:<16} {milliseconds:>8}  {calls}");
        let mut text = format!("{}\n", line.trim_end());
        for error in &logged.errors {
            let _ = writeln!(text, "          {}", paint("31", error));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(color: bool, status: u16, logged: &Logged) -> String {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        Style { color }.lines(now, "POST /api/v1/create-token", status, Duration::from_millis(12), logged)
    }

    #[test]
    fn a_request_is_one_line() {
        let summary = json!({"outcome": "issued", "dynamodbCalls": 3, "kmsCalls": 1});
        let logged = Logged { summary, errors: vec![] };
        let expected = format!(
            "08:00:00  {:<46} 201  {:<16} {:>8}  3 DynamoDB, 1 KMS\n",
            "POST /api/v1/create-token", "issued", "12 ms"
        );
        assert_eq!(lines(false, 201, &logged), expected);
        assert!(lines(true, 201, &logged).contains("\u{1b}[32m201\u{1b}[0m"));
    }

    #[test]
    fn what_went_wrong_is_below_its_request() {
        let logged =
            Logged { summary: Value::Null, errors: vec!["request failed: could not read the table".to_owned()] };
        let text = lines(false, 500, &logged);
        assert!(text.ends_with("\n          request failed: could not read the table\n"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }
}
