//! `POST /api/v1/create-token`.

use std::collections::BTreeSet;

use base64::Engine;
use futures_util::future::join_all;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use crate::harness::{
    Answer, CREATE_TOKEN, ISSUER, InjectedFault, START, Secrets, Tenant, TestStack, calls, current_key, current_kid,
    items, runner, verified,
};

fn message(text: &str) -> Value {
    json!({"message": text})
}

fn quota_exceeded() -> Value {
    message("Active token quota exceeded or registration not found")
}

// ------------------------------------------------------------------------------------------------ success

#[tokio::test(flavor = "multi_thread")]
async fn a_created_token_is_recorded_and_verifiable() {
    let stack = TestStack::start().await;
    let caller =
        Tenant::with_registration(&stack, "acme", &json!({"scopes": ["oauth.token.create", "read:things"]})).await;
    stack.introduce(CREATE_TOKEN, &caller.key).await;
    stack.calls.reset();
    let body = json!({"registrationId": caller.registration, "email": "user@example.com", "unknown": {"x": [1]}});
    let answer = stack.post(CREATE_TOKEN, &caller.key, &body).await;

    // The public key is fetched once per process, and only for a bearer that is a JWT.
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Sign", 1), ("UpdateItem", 1)]));
    assert_eq!(stack.calls.rounds(), 3);

    let token = answer.json()["token"].clone();
    let id = token["id"].as_str().unwrap();
    let access_token = token["accessToken"].as_str().unwrap();
    answer.assert(
        201,
        &json!({
            "message": "Token created successfully",
            "token": {"id": id, "accessToken": access_token, "expiresAt": "2028-01-15T08:00:00.000Z"},
            "activeTokens": 1,
            "maxAllowed": 10,
        }),
    );

    let jwt = access_token.strip_prefix("oauth2_").unwrap();
    let (header, claims) = verified(&stack, jwt, ISSUER).await;
    let kid = current_kid(&stack).await;
    assert_eq!(header, format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"{kid}"}}"#));
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "sub": caller.registration, "aud": ISSUER, "client_id": caller.registration, "jti": id,
            "iat": START, "exp": START + 365 * 86400, "scope": "oauth.token.create read:things",
            "organization": caller.organization, "email": "user@example.com",
        })
    );

    let entry = &stack.registration_item(&caller.registration).await["tokens"]["M"][id]["M"];
    let exp = (START + 365 * 86400).to_string();
    let key = current_key(&stack).await;
    assert_eq!(*entry, json!({"exp": {"N": exp}, "key": key, "email": {"S": "user@example.com"}}));
    let dump = stack.dump().await;
    let signature = access_token.rsplit('.').next().unwrap();
    assert!(!dump.contains(&caller.key) && !dump.contains(signature) && !dump.contains("tmk_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_an_email_has_no_email_claim() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    let body = json!({"registrationId": caller.registration, "email": null});
    let token = stack.post(CREATE_TOKEN, &caller.key, &body).await.access_token();
    let jwt = token.strip_prefix("oauth2_").unwrap();
    assert_eq!(verified(&stack, jwt, ISSUER).await.1.get("email"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_authenticates_the_next_create() {
    let stack = TestStack::start().await;
    let caller = Tenant::with_registration(&stack, "acme", &json!({"tokenTtlSeconds": 60})).await;
    let token = caller.create_token(&stack).await.json()["token"].clone();
    let bearer = token["accessToken"].as_str().unwrap();
    stack.calls.reset();
    let second = caller.create_token_as(&stack, bearer).await;
    assert_eq!((second.status, &second.json()["activeTokens"]), (201, &json!(2)));
    assert_eq!(stack.calls.rounds(), 5, "once, the public key and the token's own registration are read first");
    for _ in 0..2 {
        stack.calls.reset();
        assert_eq!(caller.create_token_as(&stack, bearer).await.status, 201);
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Sign", 1), ("UpdateItem", 1)]));
        assert_eq!(stack.calls.rounds(), 3);
    }

    // It works for its own organization only.
    let other = Tenant::new(&stack, "other").await;
    assert_eq!(other.create_token_as(&stack, bearer).await.status, 404);

    // It is refused once it has expired.
    stack.clock.advance(59);
    assert_eq!(caller.create_token_as(&stack, bearer).await.status, 201);
    stack.clock.advance(1);
    stack.calls.reset();
    refused(&caller.create_token_as(&stack, bearer).await, INVALID_TOKEN);
    assert!(stack.calls.count().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_its_registration_no_longer_holds_is_401() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    let token = caller.create_token(&stack).await.json()["token"].clone();
    let bearer = token["accessToken"].as_str().unwrap();
    assert_eq!(caller.create_token_as(&stack, bearer).await.status, 201);
    assert!(stack.revoke_token(&caller.registration, token["id"].as_str().unwrap()).await);
    refused(&caller.create_token_as(&stack, bearer).await, INVALID_TOKEN);
}

/// A valid signature does not say that a token is still good, so it does not pay for the read of a large item that the
/// request names. A token that this process lately found to be good does.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_costs_one_read_and_never_of_the_registration_that_the_request_names() {
    let stack = TestStack::start().await;
    let (caller, other) = (Tenant::new(&stack, "acme").await, Tenant::new(&stack, "other").await);
    let token = async || caller.create_token(&stack).await.json()["token"].clone();
    let (revoked, used) = (token().await, token().await);
    let bearer = |token: &Value| token["accessToken"].as_str().unwrap().to_owned();
    let revoke = async |token: &Value| {
        assert!(stack.revoke_token(&caller.registration, token["id"].as_str().unwrap()).await);
    };
    let [own, named] = [&caller, &other].map(|tenant| items::registration_key(&tenant.registration));
    let reads_of_refusal = async |token: &Value| {
        stack.calls.reset();
        refused(&other.create_token_as(&stack, &bearer(token)).await, INVALID_TOKEN);
        let reads = stack.calls.items_read();
        assert_eq!(stack.calls.count(), calls(&[("GetItem", reads.len())]));
        reads
    };
    assert_eq!(other.create_token_as(&stack, &bearer(&used)).await.status, 404);

    revoke(&revoked).await;
    for _ in 0..2 {
        assert_eq!(reads_of_refusal(&revoked).await, [own.as_str()]);
    }
    // One that was good when it was last used has both reads once more, and is forgotten when they show that it is not.
    revoke(&used).await;
    let mut both = [own.clone(), named];
    both.sort();
    assert_eq!(reads_of_refusal(&used).await, both);
    assert_eq!(reads_of_refusal(&used).await, [own]);
}

// ------------------------------------------------------------------------------------------------ refusals

const MISSING_TOKEN: &str = "Bearer realm=\"tokenmint\"";
const INVALID_TOKEN: &str = "Bearer realm=\"tokenmint\", error=\"invalid_token\"";

#[track_caller]
fn refused(answer: &Answer, challenge: &str) {
    answer.assert(401, &message("Unauthorized"));
    assert_eq!(answer.header("www-authenticate"), Some(challenge));
}

#[tokio::test(flavor = "multi_thread")]
async fn create_token_without_authorization_is_401_whatever_the_body() {
    let stack = TestStack::start().await;
    for body in [json!({}), json!([]), json!({"registrationId": 1})] {
        refused(&stack.post(CREATE_TOKEN, "", &body).await, MISSING_TOKEN);
    }
    refused(&stack.send(stack.http.post(stack.url(CREATE_TOKEN))).await, MISSING_TOKEN);
    assert!(stack.calls.count().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_authorization_is_401_without_any_call() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    let key = caller.key.clone();
    let mistyped = format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    stack.calls.reset();
    for header in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Basic {key}"),
        key.clone(),
        format!("Bearer {mistyped}"),
        format!("Bearer {key}x"),
        format!("Bearer {key} {key}"),
        format!("Bearer {key},Bearer {key}"),
        format!("Bearer {}", key.replacen("tmk_", "tma_", 1)),
        "Bearer oauth2_".to_owned(),
        "Bearer oauth2_a.b.c".to_owned(),
        "Bearer oauth2_é".to_owned(),
        format!("Bearer oauth2_{}", "x".repeat(9000)),
    ] {
        let request = stack.http.post(stack.url(CREATE_TOKEN)).header("authorization", header.as_bytes()).body("{}");
        refused(&stack.send(request).await, INVALID_TOKEN);
    }
    let twice = stack.http.post(stack.url(CREATE_TOKEN)).bearer_auth(&key).bearer_auth(&key);
    refused(&stack.send(twice).await, INVALID_TOKEN);
    assert!(stack.calls.count().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bearer_scheme_is_case_insensitive() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    let body = json!({"registrationId": caller.registration}).to_string();
    let request = stack.http.post(stack.url(CREATE_TOKEN)).header("authorization", format!("bEARER {}", caller.key));
    let request = request.header("Content-Type", "Application/JSON ; Charset=utf-8").body(body);
    assert_eq!(stack.send(request).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_api_key_is_401_without_a_signature() {
    let stack = TestStack::start().await;
    let elsewhere = TestStack::start().await;
    let key = elsewhere.api_key(&elsewhere.organization("acme").await).await;
    let caller = Tenant::new(&stack, "acme").await;
    stack.calls.reset();
    refused(&caller.create_token_as(&stack, &key).await, INVALID_TOKEN);
    // The answer does not say what is wrong with the body.
    refused(&stack.post(CREATE_TOKEN, &key, &json!({"registrationId": ""})).await, INVALID_TOKEN);
    // One small read each: for an unknown caller the registration is not read.
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_use_of_an_api_key_takes_one_more_round() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    for rounds in [4, 3, 3] {
        stack.calls.reset();
        assert_eq!(caller.create_token(&stack).await.status, 201);
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Sign", 1), ("UpdateItem", 1)]));
        assert_eq!(stack.calls.rounds(), rounds);
    }
    // A key that was good is forgotten after a while.
    stack.clock.advance(3600);
    stack.calls.reset();
    assert_eq!(caller.create_token(&stack).await.status, 201);
    assert_eq!(stack.calls.rounds(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_the_caller_lacks_cannot_be_passed_on() {
    let stack = TestStack::start().await;
    let organization = stack.organization("acme").await;
    let both = json!({"scopes": ["oauth.token.create", "mad.application.token.create", "read:things"]});
    let registration = stack.registration(&organization, &both).await;
    let body = json!({"registrationId": registration});
    let less = stack.api_key_that_may(&organization, &["oauth.token.create"]).await;
    let more = stack.api_key_that_may(&organization, &["oauth.token.create", "mad.application.token.create"]).await;
    stack.calls.reset();
    stack.post(CREATE_TOKEN, &less, &body).await.assert(403, &message("Forbidden"));
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2)]));
    let answer = stack.post(CREATE_TOKEN, &more, &body).await;
    assert_eq!(answer.status, 201);

    // A token that is repeated counts as well: both bearers are the same principal to an idempotency key.
    let bearer = answer.access_token();
    let fewer =
        json!({"action": "updateRegistration", "registrationId": registration, "scopes": ["oauth.token.create"]});
    let repeat = async |bearer: &str| {
        stack.send(stack.json(CREATE_TOKEN, &body).bearer_auth(bearer).header("idempotency-key", "one")).await
    };
    assert_eq!(repeat(&bearer).await.status, 201);
    stack.provision(&fewer).await;
    let narrower = stack.post(CREATE_TOKEN, &more, &body).await.access_token();
    repeat(&narrower).await.assert(403, &message("Forbidden"));
    assert_eq!(repeat(&bearer).await.header("idempotency-replayed"), Some("true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_type_other_than_json_is_400() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    stack.calls.reset();
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/jsonp"),
        Some(""),
        Some("multipart/form-data; boundary=application/json"),
    ] {
        let request = stack.http.post(stack.url(CREATE_TOKEN)).bearer_auth(&caller.key).body("{}");
        let request = match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        };
        stack.send(request).await.assert(400, &message("Content-Type must be application/json"));
    }
    assert_eq!(stack.calls.count().keys().collect::<Vec<_>>(), ["GetItem"], "no signature and no write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_is_400_with_field_and_rule_and_no_value() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    let post = async |body: Vec<u8>| {
        let request = stack.http.post(stack.url(CREATE_TOKEN)).bearer_auth(&caller.key).body(body);
        stack.send(request.header("content-type", "application/json")).await
    };
    stack.calls.reset();
    let id = &caller.registration;
    let many = format!(r#"{{"registrationId":"{id}","x":"{}"}}"#, "x".repeat(16 * 1024));
    let deep = format!(r#"{{"registrationId":"{id}","x":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let not_json = |column| format!("body is not valid JSON (line 1, column {column})");
    let email = "email must be one e-mail address of at most 254 characters";
    let registration_id = "registrationId must match ^[A-Za-z0-9_-]{1,64}$";
    for (body, expected) in [
        (String::new(), "body must not be empty"),
        (many, "body must be at most 16384 bytes long"),
        ("hello".to_owned(), &not_json(1)),
        (format!(r#"{{"registrationId":"{id}""#), &not_json(44)),
        (format!(r#"{{"registrationId":"{id}"}}x"#), &not_json(46)),
        (deep, "body is nested too deeply (at most 127 levels)"),
        (r#"{"registrationId":"\ud800"}"#.to_owned(), &not_json(26)),
        ("[]".to_owned(), "body must be a JSON object"),
        ("null".to_owned(), "body must be a JSON object"),
        ("{}".to_owned(), "registrationId is required"),
        (r#"{"registrationId":null}"#.to_owned(), "registrationId is required"),
        (r#"{"registrationId":17}"#.to_owned(), "registrationId must be a string"),
        (r#"{"registrationId":["secret"]}"#.to_owned(), "registrationId must be a string"),
        (r#"{"registrationId":""}"#.to_owned(), registration_id),
        (r#"{"registrationId":"a b"}"#.to_owned(), registration_id),
        (format!(r#"{{"registrationId":"{}"}}"#, "x".repeat(65)), registration_id),
        (format!(r#"{{"registrationId":"{id}","registrationId":"{id}"}}"#), "registrationId must be given once"),
        (format!(r#"{{"registrationId":"{id}","email":""}}"#), email),
        (format!(r#"{{"registrationId":"{id}","email":"secret"}}"#), email),
        (format!(r#"{{"registrationId":"{id}","email":"{}@example.com"}}"#, "x".repeat(254)), email),
        (format!(r#"{{"registrationId":"{id}","email":false}}"#), "email must be a string"),
    ] {
        post(body.into_bytes()).await.assert(400, &message(expected));
    }
    let not_utf8 = post(b"{\"registrationId\":\"\xff\"}".to_vec()).await;
    not_utf8.assert(400, &message("body is not valid UTF-8"));
    let count = stack.calls.count();
    assert_eq!(count.keys().collect::<Vec<_>>(), ["GetItem"], "no signature and no write");
    // A large body within the bound is read.
    let padded = format!(r#"{{"registrationId":"{id}","x":"{}"}}"#, "x".repeat(16 * 1024 - 60));
    assert_eq!(post(padded.into_bytes()).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn base64_bodies_are_decoded() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    let invoke = async |body: &str| {
        let event = json!({
            "version": "2.0", "routeKey": format!("POST {CREATE_TOKEN}"), "rawPath": "/a b?é",
            "headers": {"content-type": "application/json", "authorization": format!("Bearer {}", caller.key)},
            "requestContext": {"http": {"method": "POST", "path": CREATE_TOKEN}},
            "body": body, "isBase64Encoded": true,
        });
        let answer = stack.local.invoke("create-token", &event).await.unwrap();
        (answer["statusCode"].clone(), answer["body"].as_str().unwrap().to_owned())
    };
    let body =
        base64::engine::general_purpose::STANDARD.encode(json!({"registrationId": caller.registration}).to_string());
    assert_eq!(invoke(&body).await.0, 201);
    for wrong in ["{}", "e30", "e30=e30=", "é"] {
        let refused = r#"{"message":"body is not valid base64"}"#;
        assert_eq!(invoke(wrong).await, (json!(400), refused.to_owned()), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn create_token_without_permission_is_403() {
    let stack = TestStack::start().await;
    let organization = stack.organization("acme").await;
    let registration = stack.registration(&organization, &json!({"scopes": []})).await;
    let weak = stack.api_key_that_may(&organization, &["mad.application.token.create"]).await;
    stack.calls.reset();
    for id in [registration.as_str(), "unknown"] {
        stack.post(CREATE_TOKEN, &weak, &json!({"registrationId": id})).await.assert(403, &message("Forbidden"));
    }
    stack.post(CREATE_TOKEN, &weak, &json!({})).await.assert(400, &message("registrationId is required"));
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 5)]));

    // Nor does an access token without the scope have it.
    let key = stack.api_key(&organization).await;
    let token = stack.post(CREATE_TOKEN, &key, &json!({"registrationId": registration})).await.access_token();
    stack.post(CREATE_TOKEN, &token, &json!({"registrationId": registration})).await.assert(403, &message("Forbidden"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_of_another_organization_looks_unknown() {
    let stack = TestStack::start().await;
    let (caller, other) = (Tenant::new(&stack, "acme").await, Tenant::new(&stack, "other").await);
    stack.calls.reset();
    let foreign = other.create_token_as(&stack, &caller.key).await;
    foreign.assert(404, &message("OAuth registration not found"));
    let unknown = stack.post(CREATE_TOKEN, &caller.key, &json!({"registrationId": "abc123def456"})).await;
    assert_eq!((foreign.status, &foreign.text), (unknown.status, &unknown.text));
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 4)]));
}

// ------------------------------------------------------------------------------------------------ quota

#[tokio::test(flavor = "multi_thread")]
async fn a_create_beyond_the_quota_is_refused_without_signature_or_write() {
    let stack = TestStack::start().await;
    let caller = Tenant::with_registration(&stack, "acme", &json!({"maxAllowed": 2, "tokenTtlSeconds": 10})).await;
    for active in 1..=2 {
        assert_eq!(caller.create_token(&stack).await.json()["activeTokens"], active);
    }
    stack.calls.reset();
    caller.create_token(&stack).await.assert(400, &quota_exceeded());
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2)]));

    // The places are free again at the second of the expiry.
    stack.clock.advance(9);
    caller.create_token(&stack).await.assert(400, &quota_exceeded());
    stack.clock.advance(1);
    let answer = caller.create_token(&stack).await.json();
    assert_eq!((&answer["activeTokens"], &answer["maxAllowed"]), (&json!(1), &json!(2)));
    let held = stack.registration_item(&caller.registration).await["tokens"]["M"].as_object().unwrap().len();
    assert_eq!(held, 1, "the write removed the expired ones");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_creates_at_once_fill_the_quota_exactly() {
    let stack = TestStack::start().await;
    let caller = Tenant::with_registration(&stack, "acme", &json!({"maxAllowed": 10})).await;
    let answers = join_all((0..200).map(|_| caller.create_token(&stack))).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!((made.len(), refused.len()), (10, 190));
    for answer in refused {
        answer.assert(400, &quota_exceeded());
    }
    let active: BTreeSet<u64> = made.iter().map(|answer| answer.json()["activeTokens"].as_u64().unwrap()).collect();
    assert_eq!(active, (1..=10).collect());
    let ids: BTreeSet<String> = made.iter().map(|answer| answer.json()["token"]["id"].to_string()).collect();
    assert_eq!(ids.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_creates_share_the_places_of_expired_tokens() {
    let stack = TestStack::start().await;
    let caller = Tenant::with_registration(&stack, "acme", &json!({"maxAllowed": 400})).await;
    let expired = json!({"M": {"exp": {"N": START.to_string()}, "key": current_key(&stack).await}});
    let expired: serde_json::Map<_, _> =
        (0..400).map(|n| (format!("00000000-0000-4000-8000-{n:012}"), expired.clone())).collect();
    let key = items::registration_key(&caller.registration);
    stack.update_item(&key, "SET tokens = :expired", json!({":expired": {"M": expired}})).await;
    let answers = join_all((0..30).map(|_| caller.create_token(&stack))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 30);
    let active: BTreeSet<u64> = answers.iter().map(|answer| answer.json()["activeTokens"].as_u64().unwrap()).collect();
    assert_eq!(active, (1..=30).collect());
}
#[derive(Clone, Debug)]
enum Event {
    Create,
    Race(usize),
    Pass(i64),
}

#[test]
fn active_tokens_never_exceed_the_quota_and_no_place_is_lost() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (stack, tenant) = runtime.block_on(async {
        let stack = TestStack::start().await;
        let tenant = Tenant::new(&stack, "acme").await;
        (stack, tenant)
    });
    let event = prop_oneof![Just(Event::Create), (2..6_usize).prop_map(Event::Race), (1..5_i64).prop_map(Event::Pass)];
    let runs = (1..5_usize, 1..9_i64, vec(event, 1..16));
    let result = runner(40).run(&runs, |(max, ttl, events)| {
        runtime.block_on(async {
            let registration = json!({"maxAllowed": max, "tokenTtlSeconds": ttl});
            let registration = stack.registration(&tenant.organization, &registration).await;
            let caller = Tenant { registration, ..tenant.clone() };
            let mut expiries: Vec<i64> = vec![];
            let mut now = 0;
            for event in events {
                let creates = match event {
                    Event::Pass(seconds) => {
                        stack.clock.advance(seconds);
                        now += seconds;
                        continue;
                    }
                    Event::Create => 1,
                    Event::Race(creates) => creates,
                };
                expiries.retain(|expiry| now < *expiry);
                let answers = join_all((0..creates).map(|_| caller.create_token(&stack))).await;
                let made: BTreeSet<usize> = answers
                    .iter()
                    .filter(|answer| answer.status == 201)
                    .map(|answer| answer.json()["activeTokens"].as_u64().unwrap().try_into().unwrap())
                    .collect();
                let expected = creates.min(max - expiries.len());
                prop_assert_eq!(made, (expiries.len() + 1..=expiries.len() + expected).collect());
                prop_assert!(answers.iter().all(|answer| answer.status == 201 || answer.json() == quota_exceeded()));
                expiries.extend(vec![now + ttl; expected]);
            }
            Ok(())
        })
    });
    result.unwrap();
}

// ------------------------------------------------------------------------------------------------ faults

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_recognizes_itself() {
    let stack = TestStack::start().await;
    let caller = Tenant::with_registration(&stack, "acme", &json!({"maxAllowed": 1})).await;
    stack.calls.fail("UpdateItem", &[InjectedFault::AnswerLost]);
    let answer = caller.create_token(&stack).await;
    assert!(stack.calls.all_failed());
    assert_eq!((answer.status, &answer.json()["activeTokens"]), (201, &json!(1)));
    caller.create_token(&stack).await.assert(400, &quota_exceeded());
    let tokens = stack.registration_item(&caller.registration).await["tokens"]["M"].clone();
    let ids: Vec<&str> = tokens.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(ids, [answer.json()["token"]["id"].as_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_before_the_commit_leaves_nothing_behind() {
    let stack = TestStack::start().await;
    let caller = Tenant::with_registration(&stack, "acme", &json!({"maxAllowed": 1})).await;
    stack.introduce(CREATE_TOKEN, &caller.key).await;
    for operation in ["GetItem", "Sign", "UpdateItem"] {
        // Three attempts of one call; the two reads are two calls.
        stack.calls.fail(operation, &[InjectedFault::NotSent; 6][..if operation == "GetItem" { 6 } else { 3 }]);
        caller.create_token(&stack).await.assert(500, &message("Internal server error"));
        assert!(stack.calls.all_failed());
        let item = stack.registration_item(&caller.registration).await;
        assert_eq!(item["tokens"], json!({"M": {}}), "{operation}");
    }
    assert_eq!(caller.create_token(&stack).await.status, 201);
}

// ------------------------------------------------------------------------------------------------ the log

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_log_would_be_found() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    let before = Secrets::lines();
    assert_eq!(caller.create_token(&stack).await.status, 201);
    assert!(Secrets::lines() > before, "requests are logged");
    assert!(Secrets::found_in(&format!("a line with {}", caller.key)).is_some());
    assert!(Secrets::found_in("user@example.com").is_some());
    assert!(Secrets::found_in("a line without").is_none());
}
