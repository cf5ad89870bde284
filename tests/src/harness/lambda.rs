//! The real binaries, each in its own process, with a Lambda Runtime API that sends them one event at a time.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path as UrlPath, State},
    response::IntoResponse,
    routing::{get, post},
};
use serde_json::Value;
use shared::{
    clock::{Clock, SystemClock},
    runtime::deadline::FUNCTION_TIMEOUT,
};
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot},
};

use super::{TestStack, lock};

/// The directory of the binaries. `cargo test` does not build them. The whole workspace is built at once, so that the
/// dependencies have the features of the test build and nothing is compiled twice.
pub(crate) fn binaries() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--workspace", "--bins"]);
        assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
        std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
    })
}

/// A command that runs a function's binary in the environment that Lambda would give it on the stack's AWS.
pub(crate) fn command(stack: &TestStack, function: &str) -> Command {
    let mut command = Command::new(binaries().join(function));
    command
        .env_clear()
        .envs(&stack.local.environment().variables)
        .env("AWS_ACCESS_KEY_ID", "local")
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .env("AWS_REGION", "local")
        .env("AWS_ENDPOINT_URL", stack.local.base_url())
        .env("AWS_LAMBDA_FUNCTION_NAME", function)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1");
    command
}

type Answer = Result<Value, Value>;
type Pending = (Value, oneshot::Sender<Answer>);

#[derive(Default)]
struct Runtime {
    queue: Mutex<Queue>,
    came: Notify,
    asked: Notify,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Pending>,
    handling: Option<oneshot::Sender<Answer>>,
    closed: bool,
}

/// A function's process: one environment of Lambda, which handles one event at a time.
pub(crate) struct Lambda {
    child: Mutex<Child>,
    runtime: Arc<Runtime>,
}

impl Lambda {
    pub(crate) async fn start(stack: &TestStack, function: &str) -> Self {
        Self::start_with(command(stack, function)).await
    }

    /// Starts a function with a command from [`command`], whose environment may have been changed.
    pub(crate) async fn start_with(command: Command) -> Self {
        Self::start_logging_to(command, Stdio::null()).await
    }

    /// As [`Self::start_with`], and writes the function's log to `log`.
    pub(crate) async fn start_logging_to(mut command: Command, log: impl Into<Stdio>) -> Self {
        let runtime = Arc::<Runtime>::default();
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{outcome}", post(finished))
            .with_state(Arc::clone(&runtime));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(axum::serve(listener, router).into_future());
        let child = command.env("AWS_LAMBDA_RUNTIME_API", address).stdout(log).spawn().unwrap();
        Self { child: Mutex::new(child), runtime }
    }

    /// Invokes the function and waits for its answer or function error.
    pub(crate) async fn invoke(&self, event: Value) -> Answer {
        self.invoke_doomed(event).await.expect("the process was killed")
    }

    /// As [`Self::invoke`], but `None` if the process is killed before it answers.
    pub(crate) async fn invoke_doomed(&self, event: Value) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        {
            let mut queue = lock(&self.runtime.queue);
            if queue.closed {
                return None;
            }
            queue.events.push_back((event, answer));
        }
        self.runtime.came.notify_one();
        answered.await.ok()
    }

    /// Waits until the process asks for an event, which ends its cold start.
    pub(crate) async fn ready(&self) {
        self.runtime.asked.notified().await;
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&self) {
        let mut child = lock(&self.child);
        let _ = child.kill();
        let _ = child.wait();
        *lock(&self.runtime.queue) = Queue { closed: true, ..Queue::default() };
    }
}

impl Drop for Lambda {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn next(State(runtime): State<Arc<Runtime>>) -> impl IntoResponse {
    runtime.asked.notify_one();
    let event = loop {
        {
            let mut queue = lock(&runtime.queue);
            if let Some((event, answer)) = queue.events.pop_front() {
                queue.handling = Some(answer);
                break event;
            }
        }
        runtime.came.notified().await;
    };
    let deadline = SystemClock.now() + FUNCTION_TIMEOUT;
    let headers = [
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned()),
        ("lambda-runtime-deadline-ms", deadline.timestamp_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:local:000000000000:function:test".to_owned()),
    ];
    (headers, event.to_string())
}

async fn finished(
    State(runtime): State<Arc<Runtime>>,
    UrlPath((_, outcome)): UrlPath<(String, String)>,
    body: Bytes,
) -> impl IntoResponse {
    let body = serde_json::from_slice(&body).unwrap();
    let handling = lock(&runtime.queue).handling.take();
    if let Some(answer) = handling {
        let _ = answer.send(if outcome == "response" { Ok(body) } else { Err(body) });
    }
    reqwest::StatusCode::ACCEPTED
}
