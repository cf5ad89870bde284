//! A proxy between one process and AWS. It records the rights that the process uses, and can kill it at any call.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, OnceLock},
};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{Lambda, TestStack, command, lock};
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Moment {
    /// The request is sent, and AWS has not seen it.
    Before,
    /// AWS has done the work, and the process has not seen the answer.
    After,
}

/// A function's process behind its proxy.
pub(crate) struct AwsProxy {
    pub(crate) lambda: Arc<Lambda>,
    proxy: Arc<ProxyState>,
}

struct ProxyState {
    http: reqwest::Client,
    aws: String,
    process: OnceLock<Arc<Lambda>>,
    calls: Mutex<usize>,
    rights: Mutex<BTreeSet<String>>,
    fatal: Mutex<Option<(usize, Moment)>>,
}

impl AwsProxy {
    /// Starts a function's process and waits until it asks for its first event.
    pub(crate) async fn start(stack: &TestStack, function: &str) -> Self {
        let (http, aws) = (stack.http.clone(), stack.url("/"));
        let (calls, rights, fatal) = (Mutex::default(), Mutex::default(), Mutex::default());
        let proxy = Arc::new(ProxyState { http, aws, process: OnceLock::new(), calls, rights, fatal });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(Arc::clone(&proxy));
        tokio::spawn(axum::serve(listener, router).into_future());
        let mut command = command(stack, function);
        command.env("AWS_ENDPOINT_URL", address);
        let lambda = Arc::new(Lambda::start_with(command).await);
        let _ = proxy.process.set(Arc::clone(&lambda));
        lambda.ready().await;
        *lock(&proxy.calls) = 0;
        Self { lambda, proxy }
    }

    /// How many calls were made since the start.
    pub(crate) fn calls(&self) -> usize {
        *lock(&self.proxy.calls)
    }

    /// The IAM actions of all calls, including those of the cold start, with the prefix of the item's key.
    pub(crate) fn rights(&self) -> BTreeSet<String> {
        lock(&self.proxy.rights).clone()
    }

    /// Kills the process at this call, counted from the start.
    pub(crate) fn kill_at(&self, call: usize, moment: Moment) {
        *lock(&self.proxy.fatal) = Some((call, moment));
    }
}

async fn pass(State(proxy): State<Arc<ProxyState>>, request: Request) -> Response {
    let call = {
        let mut calls = lock(&proxy.calls);
        *calls += 1;
        *calls - 1
    };
    let fatal = *lock(&proxy.fatal);
    let kill = || proxy.process.get().unwrap().kill();
    if fatal == Some((call, Moment::Before)) {
        kill();
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    lock(&proxy.rights).extend(rights(&parts, &body));
    let request = proxy.http.request(parts.method, &proxy.aws).headers(parts.headers).body(body);
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.unwrap();
    if fatal == Some((call, Moment::After)) {
        kill();
    }
    (status, headers, body).into_response()
}

/// What a policy must allow for this call, as the template writes it. A transaction needs what its writes need.
fn rights(parts: &Parts, body: &[u8]) -> Vec<String> {
    let (service, operation) = parts.headers["x-amz-target"].to_str().unwrap().split_once('.').unwrap();
    if service == "TrentService" {
        return vec![format!("kms:{operation}")];
    }
    let body: Value = serde_json::from_slice(body).unwrap();
    match operation {
        "Query" => {
            let values = &body["ExpressionAttributeValues"];
            let is_list = body["IndexName"] == "byOwner";
            vec![right(operation, &values[if is_list { ":owner" } else { ":pk" }])]
        }
        "TransactWriteItems" => {
            let writes = body["TransactItems"].as_array().unwrap().iter();
            let writes = writes.flat_map(|write| write.as_object().unwrap());
            writes.map(|(kind, write)| right(&format!("{kind}Item"), partition_key(write))).collect()
        }
        _ => vec![right(operation, partition_key(&body))],
    }
}

fn partition_key(call: &Value) -> &Value {
    let key = if call["Key"].is_null() { &call["Item"] } else { &call["Key"] };
    &key["pk"]
}

fn right(operation: &str, key: &Value) -> String {
    let (kind, id) = key["S"].as_str().unwrap().split_once('#').unwrap();
    format!("dynamodb:{operation} {kind}#{}", if id.is_empty() { "" } else { "*" })
}
