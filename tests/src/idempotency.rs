//! `Idempotency-Key` at both endpoints that take it.

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use crate::harness::{
    Answer, ApiRequest, CREATE_TOKEN, InjectedFault, Lambda, START, Secrets, Tenant, TestStack, calls, current_key,
    items,
};

const KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";
const MALFORMED: &str =
    "Idempotency-Key must be given once, with 1 to 255 visible ASCII characters other than the comma";
const REUSED: &str = "Idempotency-Key was used for another request";

/// The path and body of a create at either endpoint.
fn requests(caller: &Tenant) -> [(&'static str, Value); 2] {
    [
        (CREATE_TOKEN, json!({"registrationId": caller.registration, "email": "user@example.com"})),
        ("/v1/organizations/acme/apps/my-app/tokens", json!({"description": "CI", "scopes": ["sdk"]})),
    ]
}

async fn post(stack: &TestStack, path: &str, bearer: &str, key: &str, body: &Value) -> Answer {
    let request = stack.json(path, body).bearer_auth(bearer).header("idempotency-key", key);
    let answer = stack.send(request).await;
    if answer.status < 300 {
        let secret = secret(&answer);
        Secrets::add_credential(&secret);
    }
    answer
}

/// The token or bearer of a success.
fn secret(answer: &Answer) -> String {
    let body = answer.json();
    let secret = if body["data"].is_null() { &body["token"]["accessToken"] } else { &body["data"]["bearer"] };
    secret.as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

fn is_replayed(answer: &Answer) -> bool {
    match answer.header("idempotency-replayed") {
        None => false,
        Some(value) => value == "true" || panic!("{value}"),
    }
}

fn error(path: &str, code: u16, text: &str) -> Value {
    if path.contains("create-token") {
        json!({"message": text})
    } else {
        json!({"status": false, "error": {"code": code, "message": text}})
    }
}

/// The number of tokens of the registration and of the app.
async fn tokens(stack: &TestStack, caller: &Tenant) -> [usize; 2] {
    let held = stack.registration_item(&caller.registration).await["tokens"]["M"].as_object().unwrap().len();
    [held, stack.count_items(items::APP_TOKEN).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_same_answer() {
    let stack = TestStack::start().await;
    let caller = Tenant::with_registration(&stack, "acme", &json!({"maxAllowed": 1})).await;
    for (path, body) in requests(&caller) {
        let first = post(&stack, path, &caller.key, KEY, &body).await;
        assert!(!is_replayed(&first) && first.status < 300);
        // Later, with the quota full, and with insignificant differences in the request.
        stack.clock.advance(1000);
        stack.calls.reset();
        let mut again = body.clone();
        again["unknown"] = json!([1, 2]);
        let second = post(&stack, path, &caller.key, KEY, &again).await;
        assert_eq!((second.status, &second.text), (first.status, &first.text));
        assert!(is_replayed(&second));
        let expected = if path.contains("create-token") {
            calls(&[("GetItem", 2), ("Sign", 1)])
        } else {
            calls(&[("GenerateMac", 1), ("GetItem", 2), ("PutItem", 1)])
        };
        assert_eq!(stack.calls.count(), expected);
    }
    assert_eq!(tokens(&stack, &caller).await, [1, 1]);
    let dump = stack.dump().await;
    assert!(!dump.contains("tma_") && !dump.contains("eyJ") && !dump.contains(KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_with_a_key_adds_only_the_mac() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    let [(create_token, token_body), (create_app_token, app_body)] = requests(&caller);
    stack.introduce(create_token, &caller.key).await;
    stack.introduce(create_app_token, &caller.key).await;
    stack.calls.reset();
    post(&stack, create_token, &caller.key, KEY, &token_body).await;
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Sign", 1), ("UpdateItem", 1)]));
    assert_eq!(stack.calls.rounds(), 3);
    stack.calls.reset();
    post(&stack, create_app_token, &caller.key, KEY, &app_body).await;
    assert_eq!(stack.calls.count(), calls(&[("GenerateMac", 1), ("GetItem", 2), ("PutItem", 1)]));
    assert_eq!(stack.calls.rounds(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_requests_at_once_make_one_token() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    for (path, body) in requests(&caller) {
        let answers = join_all((0..50).map(|_| post(&stack, path, &caller.key, KEY, &body))).await;
        let texts: BTreeSet<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert_eq!(answers.iter().filter(|answer| !is_replayed(answer)).count(), 1);
    }
    assert_eq!(tokens(&stack, &caller).await, [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_with_different_clocks_agree_on_one_token() {
    // The loser of a race has signed another `iat` and must sign again. The stack's clock is in another year than the
    // processes' clocks.
    let stack = TestStack::start().await;
    let caller = Tenant::with_registration(&stack, "acme", &json!({"maxAllowed": 20})).await;
    let (first, second) = (Lambda::start(&stack, "create-token").await, Lambda::start(&stack, "create-token").await);
    let [(path, body), _] = requests(&caller);
    for round in 0..10 {
        let key = format!("round-{round}");
        let request = ApiRequest::new("create-token", &json!({}), &caller.key, &body).with_idempotency_key(&key);
        let processes = join(first.invoke(request.event.clone()), second.invoke(request.event));
        let ((one, two), three) = join(processes, post(&stack, path, &caller.key, &key, &body)).await;
        let token =
            |answer: &Value| serde_json::from_str::<Value>(answer["body"].as_str().unwrap()).unwrap()["token"].clone();
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!([&token(&one), &token(&two)], [&three.json()["token"]; 2]);
        let replayed = [&one, &two].iter().filter(|answer| answer["headers"]["idempotency-replayed"] == "true").count();
        assert_eq!(replayed + usize::from(is_replayed(&three)), 2);
    }
    assert_eq!(tokens(&stack, &caller).await[0], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let open = async || {
        let path = directory.path().to_owned();
        TestStack::start_with(|options| options.data_dir = Some(path)).await
    };
    let stack = open().await;
    let caller = Tenant::new(&stack, "acme").await;
    let mut texts = vec![];
    for (path, body) in requests(&caller) {
        texts.push(post(&stack, path, &caller.key, KEY, &body).await.text);
    }
    stack.local.stop().await;
    let stack = open().await;
    for ((path, body), text) in requests(&caller).into_iter().zip(texts) {
        let answer = post(&stack, path, &caller.key, KEY, &body).await;
        assert_eq!((answer.text.as_str(), is_replayed(&answer)), (text.as_str(), true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_what_was_issued_whatever_became_of_the_scopes() {
    let stack = TestStack::start().await;
    let caller = Tenant::with_registration(&stack, "acme", &json!({"scopes": ["read:things"], "maxAllowed": 50})).await;
    let [(path, body), _] = requests(&caller);
    let update = |scopes: &[&str]| {
        let registration = &caller.registration;
        json!({"action": "updateRegistration", "registrationId": registration, "scopes": scopes})
    };
    let mut issued = Vec::new();
    let keys = (0..11).map(|n| format!("key-{n}")).collect::<Vec<_>>();
    for (n, key) in keys.iter().enumerate() {
        issued.push(post(&stack, path, &caller.key, key, &body).await.text);
        if n < 10 {
            stack.provision(&update(&["read:things", key])).await;
        }
        for (key, text) in keys.iter().zip(&issued) {
            let again = post(&stack, path, &caller.key, key, &body).await;
            assert_eq!((&again.json()["token"], is_replayed(&again)), (&token(text), true));
        }
    }
    // The number of earlier lists is limited.
    let refused = stack.try_provision(&update(&["other"])).await.unwrap_err();
    assert_eq!(refused["errorType"], "InvalidRequest");
    assert!(refused["errorMessage"].as_str().unwrap().starts_with("scopes cannot be changed now: "), "{refused}");
    let same = stack.try_provision(&update(&["read:things", "key-9"])).await;
    assert_eq!(same.unwrap(), json!({"registrationId": caller.registration}));
    assert!(stack.revoke_token(&caller.registration, token(&issued[0])["id"].as_str().unwrap()).await);
    stack.provision(&update(&["other"])).await;
    for (key, text) in keys.iter().zip(&issued).skip(1) {
        assert_eq!(post(&stack, path, &caller.key, key, &body).await.json()["token"], token(text));
    }
}

fn token(text: &str) -> Value {
    serde_json::from_str::<Value>(text).unwrap()["token"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_with_the_same_key_is_422() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    for (path, body) in requests(&caller) {
        post(&stack, path, &caller.key, KEY, &body).await;
        for changes in [
            json!({"email": "other@example.com", "description": "other"}),
            json!({"email": null, "description": null}),
            json!({"email": null, "description": "CI", "scopes": []}),
        ] {
            let mut other = body.clone();
            other.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            post(&stack, path, &caller.key, KEY, &other).await.assert(422, &error(path, 2002, REUSED));
        }
    }
    assert_eq!(tokens(&stack, &caller).await, [1, 1]);
}

/// A thousand of the largest tokens fit, or 900 beside the longest of everything else.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_registration_fits_its_item() {
    let stack = TestStack::start().await;
    // Times that DynamoDB cannot shorten.
    let time = json!({"N": (START + 1_234_567).to_string()});
    let email =
        ["x".repeat(63), "@".to_owned(), "a".repeat(63), ".".to_owned(), "b".repeat(63), ".".to_owned()].concat();
    let email = format!("{email}{}.com", "c".repeat(58));
    assert_eq!(email.len(), 254);
    let largest = json!({"M": {
        "key": current_key(&stack).await, "exp": time, "email": {"S": email},
        "idem": {"M": {
            "iat": time, "jti": {"S": "00000000-0000-4000-8000-000000000000"}, "rev": {"N": "4294967295"},
        }},
    }});
    let map = |count: usize, value: &Value| {
        let entries = (0..count).map(|n| (format!("00000000-0000-8000-8000-{n:012}"), value.clone()));
        json!({"M": entries.collect::<serde_json::Map<_, _>>()})
    };
    let scopes: Vec<_> = (0..50).map(|n| format!("{n:020}")).collect();
    let claims = json!({"x": "x".repeat(1024 - 8)});
    let longest = json!({
        "maxAllowed": 900, "name": "\u{1F511}".repeat(200), "scopes": scopes, "claims": claims,
        "audiences": (0..20).map(|n| format!("{n:0512}")).collect::<Vec<_>>(),
    });
    // Ten earlier lists of fifty scopes, each list of 1000 characters, with claims.
    let scopes: Vec<_> = scopes.iter().map(|scope| json!({"S": scope})).collect();
    let contents = |n: usize| {
        json!({"M": {
            "revision": {"N": n.to_string()}, "scopes": {"L": scopes}, "claims": {"S": claims.to_string()},
        }})
    };
    let earlier: Vec<_> = (0..10).map(contents).collect();
    for (n, (settings, max_allowed, full)) in
        [(json!({"maxAllowed": 1000}), 1000, false), (longest, 900, true)].into_iter().enumerate()
    {
        let caller = Tenant::with_registration(&stack, &format!("acme-{n}"), &settings).await;
        let revoked = if full { 20 } else { 0 };
        let machines = if full { 200 } else { 0 };
        let values = json!({
            ":tokens": map(max_allowed - 1, &largest), ":earlier": {"L": if full { earlier.clone() } else { vec![] }},
            ":revoked": map(revoked, &json!({"S": "0".repeat(32)})), ":machines": map(machines, &time),
        });
        let key = items::registration_key(&caller.registration);
        let update = "SET tokens = :tokens, earlierContents = :earlier, revoked = :revoked, \
                      revokedMachineTokens = :machines";
        stack.update_item(&key, update, values).await;
        let body = json!({"registrationId": caller.registration, "email": email});
        let last = post(&stack, "/api/v1/create-token", &caller.key, KEY, &body).await;
        assert_eq!((last.status, &last.json()["activeTokens"]), (201, &json!(max_allowed)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_the_callers_own() {
    let stack = TestStack::start().await;
    let caller = Tenant::with_registration(
        &stack,
        "acme",
        &json!({"scopes": ["oauth.token.create", "mad.application.token.create"]}),
    )
    .await;
    let token = stack.post("/api/v1/create-token", &caller.key, &json!({"registrationId": caller.registration})).await;
    let bearers = [caller.key.clone(), stack.api_key(&caller.organization).await, secret(&token)];
    let more = stack.registration(&caller.organization, &json!({})).await;
    stack.application(&caller.organization, "other-app").await;
    for (path, body) in requests(&caller) {
        let mut secrets = BTreeSet::new();
        for bearer in &bearers {
            let answer = post(&stack, path, bearer, KEY, &body).await;
            assert!(!is_replayed(&answer));
            secrets.insert(secret(&answer));
            assert!(is_replayed(&post(&stack, path, bearer, KEY, &body).await));
            let other_path = path.replace("my-app", "other-app");
            let mut other_body = body.clone();
            if path.contains("create-token") {
                other_body["registrationId"] = more.clone().into();
            }
            let elsewhere = post(&stack, &other_path, bearer, KEY, &other_body).await;
            assert!(!is_replayed(&elsewhere));
            secrets.insert(secret(&elsewhere));
            let other_key = post(&stack, path, bearer, "another-key", &body).await;
            assert!(!is_replayed(&other_key));
            secrets.insert(secret(&other_key));
        }
        assert_eq!(secrets.len(), 9);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_free_again_when_its_token_has_expired_or_was_revoked() {
    let stack = TestStack::start().await;
    let caller = Tenant::with_registration(&stack, "acme", &json!({"maxAllowed": 1, "tokenTtlSeconds": 10})).await;
    let [(path, body), (app_path, app_body)] = requests(&caller);
    let first = post(&stack, path, &caller.key, KEY, &body).await;
    stack.clock.advance(9);
    assert!(is_replayed(&post(&stack, path, &caller.key, KEY, &body).await));
    stack.clock.advance(1);
    // Fifty at once find the slot of the expired token. The key is free, so another address is a new request.
    let other = json!({"registrationId": caller.registration});
    let answers = join_all((0..50).map(|_| post(&stack, path, &caller.key, KEY, &other))).await;
    let texts: BTreeSet<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
    assert_eq!((texts.len(), texts.contains(first.text.as_str())), (1, false));
    assert_eq!(answers.iter().filter(|answer| !is_replayed(answer)).count(), 1);

    let second = answers[0].json()["token"]["id"].as_str().unwrap().to_owned();
    assert!(stack.revoke_token(&caller.registration, &second).await);
    let third = post(&stack, path, &caller.key, KEY, &body).await;
    assert!(!is_replayed(&third));
    assert_ne!(third.json()["token"]["id"], second, "an id that was revoked never comes back");

    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        stack.calls.reset();
        let created = post(&stack, app_path, &caller.key, KEY, &app_body).await;
        assert!(!is_replayed(&created));
        // The caller and the application, the MAC, the first generation, at most four rounds of probes, and the new
        // one.
        assert!(stack.calls.rounds() <= 8, "{} after {} revocations", stack.calls.rounds(), seen.len());
        let repeated = post(&stack, app_path, &caller.key, KEY, &app_body).await;
        assert_eq!((&repeated.text, is_replayed(&repeated)), (&created.text, true));
        let id = created.json()["data"]["id"].as_str().unwrap().to_owned();
        assert!(seen.insert(secret(&created)) && seen.insert(id.clone()), "nor does a secret");
        assert!(stack.revoke_app_token(&id).await && !stack.revoke_app_token(&id).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_beyond_its_bounds_is_400() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    for (path, body) in requests(&caller) {
        stack.calls.reset();
        for wrong in ["", &"x".repeat(256), "a b", "a\tb", "é", "a,b"] {
            post(&stack, path, &caller.key, wrong, &body).await.assert(400, &error(path, 2001, MALFORMED));
        }
        let twice = stack.json(path, &body).bearer_auth(&caller.key).header("idempotency-key", "a");
        let answer = stack.send(twice.header("idempotency-key", "b")).await;
        answer.assert(400, &error(path, 2001, MALFORMED));
        assert_eq!(stack.calls.count().keys().collect::<Vec<_>>(), ["GetItem"]);
        for right in ["!", "~", "\"quoted\"", &"x".repeat(255)] {
            assert!(post(&stack, path, &caller.key, right, &body).await.status < 300, "{right}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeating_until_an_answer_comes_makes_one_token() {
    let stack = TestStack::start().await;
    let caller = Tenant::with_registration(&stack, "acme", &json!({"maxAllowed": 1000})).await;
    let mut expected = [0, 0];
    for (endpoint, (path, body)) in requests(&caller).into_iter().enumerate() {
        for operation in ["GetItem", "Sign", "GenerateMac", "UpdateItem", "PutItem"] {
            for fault in [InjectedFault::NotSent, InjectedFault::AnswerLost] {
                for attempts in 1..=6 {
                    let key = format!("{operation}-{fault:?}-{attempts}");
                    stack.calls.fail(operation, &vec![fault; attempts]);
                    let mut answer = post(&stack, path, &caller.key, &key, &body).await;
                    let internal_error = error(path, 1001, "Internal server error");
                    for _ in 0..4 {
                        if answer.status < 300 {
                            break;
                        }
                        answer.assert(500, &internal_error);
                        answer = post(&stack, path, &caller.key, &key, &body).await;
                    }
                    stack.calls.heal();
                    let again = post(&stack, path, &caller.key, &key, &body).await;
                    assert_eq!((secret(&again), is_replayed(&again)), (secret(&answer), true), "{key}");
                    expected[endpoint] += 1;
                }
            }
        }
    }
    assert_eq!(tokens(&stack, &caller).await, expected);
}
