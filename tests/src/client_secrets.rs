//! The secrets of confidential clients: brought along, rotated, and rotated by several operators at once.

use std::{collections::BTreeSet, time::Duration};

use chrono::TimeDelta;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use crate::harness::{
    ApiRequest, InjectedFault, Node, Secrets, TestStack,
    exchange_token::{CLIENT, REDIRECT_URI, client, issue},
    items,
    oauth2::{REVOKE, TOKEN, refresh_form},
    with,
};

const CHOSEN: &str = "a-secret-of-another-service-01234567";
/// What form encoding and Basic could get wrong.
const AWKWARD: &str = "%41+:&=\"\\#!$'()*,-./;<>?@[]^_`{|}~%zz";
const FORM: &str = "clientSecret must be 32 to 128 printable ASCII characters without spaces, of which at least 16 are \
                    different";

fn refused(error_type: &str, message: &str) -> Result<Value, Value> {
    Err(json!({"errorType": error_type, "errorMessage": message}))
}

fn rotation(more: &Value) -> Value {
    with(&json!({"action": "rotateSecret", "clientId": CLIENT}), more)
}

async fn rotate(stack: &TestStack, more: &Value) -> Result<Value, Value> {
    stack.try_provision(&rotation(more)).await
}

/// The secret that an answer shows.
fn shown(answer: &Value) -> String {
    assert_eq!((&answer["clientId"], answer.as_object().unwrap().len()), (&json!(CLIENT), 2));
    let secret = answer["clientSecret"].as_str().unwrap().to_owned();
    Secrets::add_credential(&secret);
    assert!(secret.starts_with("tms_") && secret.len() == 53);
    secret
}

/// A stack with a confidential client, and its secret.
async fn start() -> (TestStack, String) {
    let stack = TestStack::start().await;
    let create = json!({
        "action": "createClient", "clientId": CLIENT, "redirectUris": [REDIRECT_URI], "scopes": ["openid"],
        "services": ["email"], "confidential": true,
    });
    let secret = shown(&stack.provision(&create).await);
    assert!(!stack.dump().await.contains(&secret));
    (stack, secret)
}

fn form_encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Whether the client authenticates with this secret, which both methods agree on. Its refresh token is none.
async fn is_good(stack: &TestStack, secret: &str) -> bool {
    let form = refresh_form("x");
    let basic = stack.form(TOKEN, &form).basic_auth(form_encoded(CLIENT), Some(form_encoded(secret)));
    let in_body = stack.form(TOKEN, &[&form[..], &[("client_id", CLIENT), ("client_secret", secret)]].concat());
    let statuses = [stack.send(basic).await.status, stack.send(in_body).await.status];
    assert!(statuses == [400, 400] || statuses == [401, 401], "{statuses:?}");
    statuses[0] == 400
}

/// Those that are good, by their numbers.
async fn good(stack: &TestStack, secrets: &[&str]) -> Vec<usize> {
    let mut good = vec![];
    for (n, secret) in secrets.iter().enumerate() {
        if is_good(stack, secret).await {
            good.push(n);
        }
    }
    good
}

// ------------------------------------------------------------------------------------------------ brought along

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_brought_along_is_stored_as_a_hash_and_never_shown() {
    let stack = TestStack::start().await;
    for secret in [CHOSEN, AWKWARD, &"0123456789abcdef".repeat(8)] {
        Secrets::add_credential(secret);
    }
    let create = json!({
        "action": "createClient", "redirectUris": [REDIRECT_URI], "scopes": ["openid"], "services": ["email"],
        "confidential": true, "clientSecret": CHOSEN,
    });
    let made = stack.provision(&with(&create, &json!({"clientId": CLIENT}))).await;
    assert_eq!(made, json!({"clientId": CLIENT}));
    assert!(!stack.dump().await.contains(CHOSEN));
    assert_eq!(good(&stack, &[CHOSEN, &CHOSEN[1..], &CHOSEN.to_uppercase(), AWKWARD]).await, [0]);

    for wrong in [&CHOSEN[..31], &"0123456789abcde".repeat(3), &format!("{CHOSEN} "), &format!("{CHOSEN}é"), ""] {
        let wrong = json!({"clientSecret": wrong});
        assert_eq!(stack.try_provision(&with(&create, &wrong)).await, refused("InvalidRequest", FORM));
        assert_eq!(rotate(&stack, &wrong).await, refused("InvalidRequest", FORM));
    }
    let too_long = json!({"clientSecret": format!("{}x", "0123456789abcdef".repeat(8))});
    assert_eq!(rotate(&stack, &too_long).await, refused("InvalidRequest", FORM));
    let public = with(&create, &json!({"confidential": null}));
    let message = "clientSecret must not be given unless confidential is true";
    assert_eq!(stack.try_provision(&public).await, refused("InvalidRequest", message));
    assert_eq!(good(&stack, &[CHOSEN, AWKWARD]).await, [0], "a refusal changes nothing");

    assert_eq!(rotate(&stack, &json!({"clientSecret": AWKWARD})).await, Ok(json!({"clientId": CLIENT})));
    assert!(!stack.dump().await.contains(AWKWARD));
    assert_eq!(good(&stack, &[CHOSEN, AWKWARD]).await, [0, 1]);
    let longest = "0123456789abcdef".repeat(8);
    assert_eq!(rotate(&stack, &json!({"clientSecret": longest})).await, Ok(json!({"clientId": CLIENT})));
    assert_eq!(good(&stack, &[CHOSEN, AWKWARD, &longest]).await, [1, 2]);
}

/// From the code to the end of the grant, by both methods.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_brought_along_serves_a_whole_login() {
    let (stack, _) = start().await;
    Secrets::add_credential(AWKWARD);
    rotate(&stack, &json!({"clientSecret": AWKWARD})).await.unwrap();
    let code = issue(&stack, &json!({"scope": "openid"})).await;
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", REDIRECT_URI)];
    let basic = |form: &[(&str, &str)]| stack.form(TOKEN, form).basic_auth(CLIENT, Some(form_encoded(AWKWARD)));
    let first = stack.send(basic(&form)).await.user(code.clone());
    let in_body = [("client_id", CLIENT), ("client_secret", AWKWARD)];
    let form = [&refresh_form(&first.refresh_token)[..], &in_body].concat();
    let second = stack.post_form(TOKEN, &form).await.user(code.clone());
    let revoke = [("token", second.refresh_token.as_str()), in_body[0], in_body[1]];
    assert_eq!(stack.post_form(REVOKE, &revoke).await.status, 200);
    assert_eq!(stack.send(basic(&refresh_form(&second.refresh_token))).await.status, 400);
}

// ------------------------------------------------------------------------------------------------ rotation

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_before_is_good_for_the_overlap_and_an_older_one_ends_at_once() {
    let (stack, first) = start().await;
    let second = shown(&rotate(&stack, &json!({"overlapSeconds": 100})).await.unwrap());
    assert!(!stack.dump().await.contains(&second));
    stack.clock.advance(99);
    assert_eq!(good(&stack, &[&first, &second]).await, [0, 1]);
    stack.clock.advance(1);
    assert_eq!(good(&stack, &[&first, &second]).await, [1]);

    let third = shown(&rotate(&stack, &json!({})).await.unwrap());
    stack.clock.advance(86399);
    assert_eq!(good(&stack, &[&first, &second, &third]).await, [1, 2]);
    let fourth = shown(&rotate(&stack, &json!({"overlapSeconds": 2_592_000})).await.unwrap());
    assert_eq!(good(&stack, &[&second, &third, &fourth]).await, [1, 2], "an older one ends at once");
    stack.clock.advance(86400);
    assert_eq!(good(&stack, &[&second, &third, &fourth]).await, [1, 2]);
    let fifth = shown(&rotate(&stack, &json!({"overlapSeconds": 0})).await.unwrap());
    assert_eq!(good(&stack, &[&third, &fourth, &fifth]).await, [2]);

    // By default a day.
    let sixth = shown(&rotate(&stack, &json!({})).await.unwrap());
    stack.clock.advance(86400);
    assert_eq!(good(&stack, &[&fifth, &sixth]).await, [1]);
    for overlap in [-1, 2_592_001] {
        let message = "overlapSeconds must be a whole number from 0 to 2592000";
        let refusal = rotate(&stack, &json!({"overlapSeconds": overlap})).await;
        assert_eq!(refusal, refused("InvalidRequest", message));
    }
    assert_eq!(good(&stack, &[&sixth]).await, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_confidential_client_has_a_secret_to_rotate() {
    let stack = TestStack::start().await;
    assert_eq!(rotate(&stack, &json!({})).await, refused("NotFound", "clientId does not exist"));
    client(&stack, &json!({})).await;
    let before = stack.item(&items::client_key(CLIENT)).await;
    for secret in [json!({}), json!({"clientSecret": CHOSEN})] {
        let message = "clientId must be that of a confidential client";
        assert_eq!(rotate(&stack, &secret).await, refused("InvalidRequest", message));
    }
    assert_eq!(stack.item(&items::client_key(CLIENT)).await, before);
    // The field of earlier versions.
    let old = json!({"action": "updateClient", "clientId": CLIENT, "rotateSecret": true});
    let refusal = stack.try_provision(&old).await;
    assert_eq!(refusal, refused("InvalidRequest", "rotateSecret is not a field of this request"));
}

/// The operator cannot know that the first call has done its work. A second rotation would end the first secret.
#[tokio::test(flavor = "multi_thread")]
async fn the_repeat_of_a_rotation_to_a_secret_that_is_brought_along_changes_nothing() {
    let (stack, first) = start().await;
    Secrets::add_credential(CHOSEN);
    let chosen = json!({"clientSecret": CHOSEN, "overlapSeconds": 100});
    stack.calls.fail("UpdateItem", &[InjectedFault::AnswerLost; 3]);
    assert_eq!(rotate(&stack, &chosen).await.unwrap_err()["errorType"], "InternalError");
    assert!(stack.calls.all_failed());
    stack.clock.advance(50);
    assert_eq!(rotate(&stack, &chosen).await, Ok(json!({"clientId": CLIENT})));
    stack.clock.advance(49);
    assert_eq!(good(&stack, &[&first, CHOSEN]).await, [0, 1]);
    stack.clock.advance(1);
    assert_eq!(good(&stack, &[&first, CHOSEN]).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_whose_answer_was_lost_is_one_rotation() {
    let (stack, first) = start().await;
    stack.calls.fail("UpdateItem", &[InjectedFault::AnswerLost]);
    let second = shown(&rotate(&stack, &json!({})).await.unwrap());
    assert!(stack.calls.all_failed());
    assert_eq!(good(&stack, &[&first, &second]).await, [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_rotations_at_once_the_last_two_are_good() {
    let (stack, first) = start().await;
    for _ in 0..3 {
        // Each has read the same item before any of them writes.
        stack.calls.answer_together("GetItem", 10);
        let answers = join_all((0..10).map(async |_| rotate(&stack, &json!({})).await)).await;
        stack.calls.answer_together("GetItem", 1);
        let secrets: Vec<_> = answers.iter().map(|answer| shown(answer.as_ref().unwrap())).collect();
        assert_eq!(secrets.iter().collect::<BTreeSet<_>>().len(), 10);
        let all: Vec<_> = secrets.iter().chain([&first]).map(String::as_str).collect();
        let good = good(&stack, &all).await;
        assert!(good.len() == 2 && !good.contains(&10), "{good:?}");
        // Each later rotation makes the current one the previous one, so it is one of the two.
        let last = shown(&rotate(&stack, &json!({})).await.unwrap());
        let remaining = self::good(&stack, &all).await;
        assert!(remaining.len() == 1 && good.contains(&remaining[0]) && is_good(&stack, &last).await);
    }
}

/// A rotation is recorded, its answer is lost, and two others rotate before it is sent again. What it recorded first
/// has ended by then, and stays so.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_others_overtook_has_a_new_secret() {
    let (stack, first) = start().await;
    let key = items::client_key(CLIENT);
    let node = Node::start(&stack, TimeDelta::zero());
    node.calls.fail("UpdateItem", &[InjectedFault::Late]);
    let others = async {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let recorded = stack.item(&key).await["secretHash"].clone();
        let second = shown(&rotate(&stack, &json!({})).await.unwrap());
        (recorded, second, shown(&rotate(&stack, &json!({})).await.unwrap()))
    };
    let slow = ApiRequest::provision(rotation(&json!({})));
    let (answer, (recorded, second, third)) = join(node.send(&slow), others).await;
    let last = shown(&answer.body);
    assert_eq!(good(&stack, &[&first, &second, &third, &last]).await, [2, 3]);
    let item = stack.item(&key).await;
    assert!(item["secretHash"] != recorded && item["previousSecret"]["M"]["hash"] != recorded);
}

/// The first attempt of a write arrives after later ones, of a rotation and of an update beside one.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_rotated_away_does_not_come_back() {
    let (stack, first) = start().await;
    let update = json!({"action": "updateClient", "clientId": CLIENT, "name": "late"});
    for slow in [rotation(&json!({})), update] {
        let node = Node::start(&stack, TimeDelta::zero());
        node.calls.fail("UpdateItem", &[InjectedFault::Overtaken]);
        let answer = node.send(&ApiRequest::provision(slow)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let late = answer.body["clientSecret"].is_string().then(|| shown(&answer.body));
        let others = join_all([0, 1].map(async |_| rotate(&stack, &json!({})).await)).await;
        let others: Vec<_> = others.iter().map(|answer| shown(answer.as_ref().unwrap())).collect();
        let before = stack.item(&items::client_key(CLIENT)).await;
        node.calls.deliver().await;
        assert_eq!(stack.item(&items::client_key(CLIENT)).await, before);
        assert_eq!(good(&stack, &[&others[0], &others[1], &first, late.as_deref().unwrap_or("x")]).await, [0, 1]);
    }
}
