//! A second set of the functions on the stack's AWS: with a cold start, a clock and shorter timeouts of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use aws_config::{Region, timeout::TimeoutConfig};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use lambda_http::lambda_runtime::Diagnostic;
use local::Functions;
use serde_json::{Value, json};
use shared::{clock::Clock, runtime::Environment};

use super::{Calls, TestStack, calls};

/// Production has 2 s and 5 s. These are shorter because many tests wait for them.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(600);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(2);
/// A request ends at its deadline, which is earlier, so one that takes longer hangs.
const HANGS: Duration = Duration::from_secs(30);

/// A set of functions and its AWS calls.
pub(crate) struct Node {
    functions: Functions,
    pub(crate) calls: Arc<Calls>,
}

/// A request, as the event that a function gets.
#[derive(Clone, Debug)]
pub(crate) struct ApiRequest {
    pub(crate) function: &'static str,
    pub(crate) event: Value,
}

impl ApiRequest {
    pub(crate) fn new(function: &'static str, path_parameters: &Value, bearer: &str, body: &Value) -> Self {
        let headers = json!({"content-type": "application/json"});
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "", "headers": headers,
            "requestContext": {"http": {"method": "POST", "path": "/"}}, "pathParameters": path_parameters,
            "body": body.to_string(), "isBase64Encoded": false,
        });
        let request = Self { function, event };
        if bearer.is_empty() { request } else { request.with_bearer(bearer) }
    }

    pub(crate) fn key_set() -> Self {
        Self::new("publish-keys", &json!({}), "", &json!({})).with_route("GET /.well-known/jwks.json", "")
    }

    /// An action of an operator.
    pub(crate) fn provision(action: Value) -> Self {
        Self { function: "provision", event: action }
    }

    /// A request of a route of `oauth2` that takes a form.
    pub(crate) fn form(route: &str, form: &[(&str, &str)]) -> Self {
        let mut request = Self::new("oauth2", &json!({}), "", &json!({})).with_route(route, "");
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        request.event["headers"]["content-type"] = "application/x-www-form-urlencoded".into();
        (request.event["body"], request.event["isBase64Encoded"]) = (STANDARD.encode(body).into(), true.into());
        request
    }

    pub(crate) fn with_bearer(mut self, bearer: &str) -> Self {
        self.event["headers"]["authorization"] = format!("Bearer {bearer}").into();
        self
    }

    /// For a function with several routes: the one that matched, and the query string.
    pub(crate) fn with_route(mut self, route: &str, query: &str) -> Self {
        self.event["routeKey"] = route.into();
        self.event["rawQueryString"] = query.into();
        self.event["requestContext"]["http"]["method"] = route.split(' ').next().into();
        self
    }

    pub(crate) fn with_idempotency_key(mut self, key: &str) -> Self {
        self.event["headers"]["idempotency-key"] = key.into();
        self
    }
}

/// A function's answer. If it has a route, the HTTP status and body; otherwise 200 and the result, 500 and an internal
/// error, or 400 and any other error.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) status: u64,
    pub(crate) body: Value,
    pub(crate) replayed: bool,
}

/// A clock that is wrong by a constant.
#[derive(Debug)]
struct Skewed {
    clock: Arc<dyn Clock>,
    by: TimeDelta,
}

impl Clock for Skewed {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now() + self.by
    }
}

impl Node {
    /// Starts the functions cold. Clients in one region share the SDK's retry budget, so each node has a region of its
    /// own.
    pub(crate) fn start(stack: &TestStack, skew: TimeDelta) -> Self {
        Self::start_with(stack, skew, &[])
    }

    /// As [`Self::start`], with other variables.
    pub(crate) fn start_with(stack: &TestStack, skew: TimeDelta, changes: &[(&str, &str)]) -> Self {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        Self::start_cold(stack, skew, changes, timeouts)
    }

    /// As [`Self::start`], with this timeout of an operation and of its attempts.
    pub(crate) fn start_patient(stack: &TestStack, timeout: Duration) -> Self {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(timeout).operation_timeout(timeout).build();
        Self::start_cold(stack, TimeDelta::zero(), &[], timeouts)
    }

    fn start_cold(stack: &TestStack, skew: TimeDelta, changes: &[(&str, &str)], timeouts: TimeoutConfig) -> Self {
        static REGIONS: AtomicUsize = AtomicUsize::new(0);
        let environment = stack.local.environment();
        let region = Region::new(format!("node-{}", REGIONS.fetch_add(1, Relaxed)));
        let calls = Arc::new(Calls::default());
        let aws = environment.aws.to_builder().region(region).timeout_config(timeouts);
        let aws = aws.http_client(calls::client(stack.connector.clone(), &calls)).build();
        let clock = Arc::new(Skewed { clock: Arc::clone(&environment.clock), by: skew });
        let mut variables = environment.variables.clone();
        variables.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let random = Arc::clone(&environment.random);
        let functions = Functions::start(&Environment { variables, aws, clock, random }).unwrap();
        Self { functions, calls }
    }

    /// Whether it accepts a bearer: `create-token` refuses a request without a body only after it knows the caller.
    pub(crate) async fn accepts(&self, bearer: &str) -> bool {
        let mut request = ApiRequest::new("create-token", &json!({}), bearer, &json!({}));
        request.event["body"] = "".into();
        match self.send(&request).await.status {
            400 => true,
            401 => false,
            other => panic!("{other}"),
        }
    }

    /// Sends a request and waits for the answer. Panics if it hangs.
    pub(crate) async fn send(&self, request: &ApiRequest) -> Outcome {
        let invocation = self.functions.invoke(request.function, request.event.to_string().into());
        let answer = tokio::time::timeout(HANGS, invocation).await.expect("the function hangs").unwrap();
        let error = |error: Diagnostic| json!({"errorType": error.error_type, "errorMessage": error.error_message});
        answer.map(|answer| serde_json::from_slice(&answer).unwrap()).map_err(error).into()
    }
}

impl From<Result<Value, Value>> for Outcome {
    fn from(answer: Result<Value, Value>) -> Self {
        match answer {
            Ok(answer) if answer["statusCode"].is_u64() => Self {
                status: answer["statusCode"].as_u64().unwrap(),
                body: serde_json::from_str(answer["body"].as_str().unwrap()).unwrap(),
                replayed: answer["headers"]["idempotency-replayed"] == "true",
            },
            Ok(body) => Self { status: 200, body, replayed: false },
            Err(body) => {
                Self { status: if body["errorType"] == "InternalError" { 500 } else { 400 }, body, replayed: false }
            }
        }
    }
}
