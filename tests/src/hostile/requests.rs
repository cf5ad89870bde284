//! Randomly broken requests.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Write as _,
    time::Duration,
};

use proptest::{collection::vec, prelude::*, sample::Index};
use reqwest::header::HeaderValue;
use serde_json::json;

use super::{
    MARKER,
    input::{Change, Edit, broken, broken_form, changes, edits},
    timed,
};
use crate::harness::{Api, TestStack, api, exchange_token, items, runner};

/// A header value of any bytes that HTTP allows.
fn header_value() -> impl Strategy<Value = HeaderValue> {
    let texts = prop_oneof![
        2 => any::<String>().prop_map(|text| format!("{MARKER}{text}").into_bytes()),
        1 => vec(any::<u8>(), 0..100),
        1 => "(Bearer|bearer|Basic|) *(tmk_|tma_|oauth2_|)[ -~]{0,60}"
            .prop_map(|text| format!("{text}{MARKER}").into_bytes()),
        1 => "application/json *;?[ -~]{0,20}".prop_map(String::into_bytes),
        1 => (0..9000_usize).prop_map(|length| format!("Bearer oauth2_{}", MARKER.repeat(length / 13)).into_bytes()),
    ];
    texts.prop_filter_map("a header", |bytes| HeaderValue::from_bytes(&bytes).ok())
}

/// A percent-encoded path segment of any bytes.
fn segment() -> impl Strategy<Value = String> {
    let encode = |bytes: Vec<u8>| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "%{byte:02X}");
            text
        })
    };
    prop_oneof![
        vec(any::<u8>(), 1..40).prop_map(encode),
        "[a-zA-Z0-9._~!$&'()*+,;=:@%-]{1,140}".prop_map(|text| format!("{MARKER}{text}")),
    ]
}

#[derive(Clone, Debug)]
struct Hostile {
    operation: Index,
    segments: Option<[String; 2]>,
    query: String,
    headers: Vec<(&'static str, HeaderValue)>,
    changes: Vec<Change>,
    edits: Vec<Edit>,
}

fn hostile() -> impl Strategy<Value = Hostile> {
    const NAMES: &[&str] =
        &["authorization", "content-type", "idempotency-key", "x-forwarded-for", "accept", "origin", "cookie"];
    let header = (proptest::sample::select(NAMES), header_value());
    let segments = proptest::option::weighted(0.3, [segment(), segment()]);
    let query = "((page|limit|sort)=[ -~]{0,8}&?){0,3}[ -~]{0,30}";
    (any::<Index>(), segments, query, vec(header, 0..3), changes(), edits()).prop_map(
        |(operation, segments, query, headers, changes, edits)| Hostile {
            operation,
            segments,
            query,
            headers,
            changes,
            edits,
        },
    )
}

#[test]
fn no_request_gets_an_answer_that_is_not_documented() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (stack, key) = runtime.block_on(async {
        let (stack, key) = TestStack::with_demo().await;
        // Tokens expire at once, so that valid requests do not meet the quota.
        let demo = items::registration_key("demo");
        stack.update_item(&demo, "SET tokenTtlSeconds = :one", json!({":one": {"N": "1"}})).await;
        (stack, key)
    });
    let operations = api().operations();
    let slowest = Cell::new(Duration::ZERO);
    let statuses = RefCell::new(BTreeMap::<_, usize>::new());
    let result = runner(ProptestConfig::default().cases).run(&hostile(), |hostile| {
        stack.clock.advance(1);
        let (route, operation) = hostile.operation.get(&operations);
        let (method, path) = route.split_once(' ').unwrap();
        let mut url = stack.url(path);
        let parameters = operation["parameters"].as_array().unwrap().iter();
        for (at, parameter) in parameters.filter(|parameter| parameter["in"] == "path").enumerate() {
            let example = parameter["example"].as_str().unwrap();
            let segment =
                hostile.segments.as_ref().and_then(|segments| segments.get(at)).map_or(example, String::as_str);
            url = url.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), segment);
        }
        let url = format!("{url}?{}", hostile.query);
        let mut request = stack.http.request(method.parse().unwrap(), url);
        // The clients of forms have their credentials in the body.
        let media_type = Api::body_of(operation).map_or("application/json", |(media_type, _)| media_type);
        let takes_bearer = operation["security"][0].get("bearerAuth").is_some();
        request = if takes_bearer { request.bearer_auth(&key) } else { request };
        request = request.header("content-type", media_type);
        for (name, value) in hostile.headers {
            // Half of them replace the valid header, half are sent in addition to it.
            let replace = value.len() % 2 == 0;
            request = if replace {
                request.headers([(name.parse().unwrap(), value)].into_iter().collect())
            } else {
                request.header(name, value)
            };
        }
        if let Some((media_type, body)) = Api::body_of(operation) {
            let example = &body["examples"].as_object().unwrap().values().next().unwrap()["value"];
            request = request.body(match media_type {
                "application/json" => broken(example, hostile.changes, hostile.edits),
                _ => broken_form(example, hostile.changes, hostile.edits),
            });
        }
        let (answer, took) = runtime.block_on(timed(stack.send(request)));
        slowest.set(slowest.get().max(took));
        *statuses.borrow_mut().entry((route.clone(), answer.status)).or_default() += 1;
        prop_assert!(answer.status < 500, "{:?}", answer);
        prop_assert!(answer.status < 300 || !answer.text.contains(MARKER), "{:?}", answer);
        Ok(())
    });
    println!("{:#?}, the slowest in {:?}", statuses.borrow(), slowest.get());
    result.unwrap();
}

/// A member name that `serde_json` itself gives a meaning to: it would let any value pass for a string, and nest
/// without end.
#[tokio::test(flavor = "multi_thread")]
async fn no_member_name_is_special() {
    let stack = TestStack::start().await;
    let organization = stack.organization("acme").await;
    let key = stack.api_key(&organization).await;
    let registration = stack.registration(&organization, &json!({})).await;
    let token = "$serde_json::private::RawValue";
    let registration = json!({"registrationId": {token: format!("\"{registration}\"")}});
    let answer = stack.post("/api/v1/create-token", &key, &registration).await;
    answer.assert(400, &json!({"message": "registrationId must be a string"}));

    let mut nested = "1".to_owned();
    while nested.len() < 7000 {
        let deeper = format!("{}{nested}{}", "[".repeat(100), "]".repeat(100));
        nested = json!({token: deeper}).to_string();
    }
    let body = format!("{{\"unknown\":{nested}}}");
    let request =
        stack.http.post(stack.url(exchange_token::PATH)).header("content-type", "application/json").body(body);
    assert_eq!(stack.send(request).await.status, 400);
}
