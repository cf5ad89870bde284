//! Envelope signing: keys that KMS made and the table keeps, rotated while functions run.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::{
    credential::{Credential, CredentialKind},
    keys::SigningMode,
    random::SystemRandom,
};

use crate::harness::{
    ApiRequest, CaseName, Fixture, ISSUER, InjectedFault, Node, Outcome, TestStack, calls, exchange_token::CLIENT,
    items, verified, with,
};

async fn rotate(stack: &TestStack, more: &Value) -> String {
    let mut action = json!({"action": "rotateSigningKey"});
    action.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stack.provision(&action).await["kid"].as_str().unwrap().to_owned()
}

fn node(fixture: &Fixture, mode: &str) -> Node {
    Node::start_with(&fixture.stack, TimeDelta::zero(), &[("SIGNING_MODE", mode)])
}

/// The ids of the published keys, the one that signs first.
async fn published(node: &Node) -> Vec<String> {
    let answer = node.send(&ApiRequest::key_set()).await;
    let keys = answer.body["keys"].as_array().unwrap_or_else(|| panic!("{answer:?}")).iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// A new OAuth access token.
async fn create(fixture: &Fixture, node: &Node) -> String {
    let answer = node.send(&fixture.subject(CaseName::CreateToken).await.request).await;
    answer.body["token"]["accessToken"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// Whether a token is accepted as a bearer.
async fn is_trusted(fixture: &Fixture, node: &Node, token: &str) -> bool {
    let request = fixture.subject(CaseName::CreateToken).await.request.with_bearer(token);
    match node.send(&request).await {
        Outcome { status: 201, .. } => true,
        Outcome { status: 401, .. } => false,
        other => panic!("{other:?}"),
    }
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token.strip_prefix("oauth2_").unwrap_or(token)).unwrap().kid.unwrap()
}

async fn signing_keys(stack: &TestStack) -> Value {
    stack.item(items::SIGNING_KEYS).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_and_an_exchange_take_two_rounds() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    for case in [CaseName::CreateToken, CaseName::ExchangeCode, CaseName::Refresh] {
        let node = node(&fixture, "envelope");
        assert_eq!(node.send(&fixture.subject(case).await.request).await.status, 201);
        assert_eq!(node.calls.count()["Decrypt"], 1, "the key is decrypted once per process");
        node.calls.reset();
        node.calls.answer_together("GetItem", 2);
        assert_eq!(node.send(&fixture.subject(case).await.request).await.status, 201);
        assert_eq!(node.calls.count(), calls(&[("GetItem", 2), ("UpdateItem", 1)]), "{case:?}");
        assert_eq!(node.calls.rounds(), 2, "{case:?}");
    }
}

/// The keys are read in parallel with what the request reads anyway.
#[tokio::test(flavor = "multi_thread")]
async fn looking_for_a_new_key_takes_no_round_of_its_own() {
    for case in [CaseName::CreateToken, CaseName::ExchangeCode, CaseName::Refresh] {
        let fixture = Fixture::new(60, SigningMode::Envelope).await;
        let node = node(&fixture, "envelope");
        assert_eq!(node.send(&fixture.subject(case).await.request).await.status, 201);
        for seconds in [30, 61, 600] {
            fixture.stack.clock.advance(seconds);
            let subject = fixture.subject(case).await;
            node.calls.reset();
            node.calls.answer_together("GetItem", 3);
            assert_eq!(node.send(&subject.request).await.status, 201);
            assert_eq!(node.calls.count(), calls(&[("GetItem", 3), ("UpdateItem", 1)]), "{case:?}");
            assert_eq!(node.calls.rounds(), 2, "{case:?}");
        }
    }
}

/// Signing and verifying share one copy of the keys, and parallel requests share one read and one decryption.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_reads_and_decrypts_its_keys_once() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let token = create(&fixture, &node(&fixture, "envelope")).await;
    let node = node(&fixture, "envelope");
    let request = fixture.create_token(&fixture.registration(20).await).with_bearer(&token);
    let answers = join_all((0..20).map(|_| node.send(&request))).await;
    assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
    let count = node.calls.count();
    assert_eq!((count["GetItem"], count["Decrypt"]), (2 * 20 + 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn anyone_can_verify_the_tokens() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let stack = &fixture.stack;
    let kid = signing_keys(stack).await["kid"]["S"].as_str().unwrap().to_owned();
    let token = create(&fixture, &node(&fixture, "envelope")).await;
    let (header, _) = verified(stack, token.strip_prefix("oauth2_").unwrap(), ISSUER).await;
    assert_eq!(header, format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"{kid}"}}"#));

    let tokens = node(&fixture, "envelope").send(&fixture.subject(CaseName::ExchangeCode).await.request).await;
    for name in ["accessToken", "idToken"] {
        verified(stack, tokens.body["items"][0][name].as_str().unwrap(), CLIENT).await;
    }
    let keys = stack.get(&format!("/api/v1/apps/{CLIENT}/keys")).await.json();
    assert_eq!(keys["items"][0]["uuid"], kid);
}

/// The process's signatures are deterministic, as KMS's are, so a repeat gets the same token.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_the_same_token_until_the_key_is_replaced() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let subject = fixture.subject(CaseName::CreateTokenOnce).await;
    let first = node(&fixture, "envelope").send(&subject.request).await;
    let again = node(&fixture, "envelope").send(&subject.request).await;
    assert_eq!((&again.body, again.replayed), (&first.body, true));
    rotate(&fixture.stack, &json!({})).await;
    let later = node(&fixture, "envelope").send(&subject.request).await;
    assert_eq!((&later.body["token"]["id"], later.replayed), (&first.body["token"]["id"], true));
    assert_ne!(later.body, first.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_disturbs_nobody() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let stack = &fixture.stack;
    let old = node(&fixture, "envelope");
    let first = published(&old).await[0].clone();
    let old_token = create(&fixture, &old).await;
    assert!(is_trusted(&fixture, &old, &old_token).await);

    let second = rotate(stack, &json!({})).await;
    assert_eq!(
        published(&old).await[..2],
        [second.clone(), first.clone()],
        "whoever serves the set serves the new one"
    );
    let new = node(&fixture, "envelope");
    let new_token = create(&fixture, &new).await;
    // Who runs signs on with the key it has, for a minute; who starts has the new one; both know both.
    assert_eq!((kid(&create(&fixture, &old).await), kid(&new_token)), (first, second.clone()));
    for node in [&old, &new] {
        for token in [&old_token, &new_token] {
            assert!(is_trusted(&fixture, node, token).await);
        }
    }
    stack.clock.advance(60);
    assert_eq!(kid(&create(&fixture, &old).await), second);
    // Of the old key there is only what verifies.
    let item = signing_keys(stack).await;
    let fields = item["previous"]["L"][0]["M"].as_object().unwrap().keys().map(String::as_str).collect::<BTreeSet<_>>();
    assert_eq!(fields, BTreeSet::from(["kid", "publicKey", "replacedAt"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_key_is_trusted_for_a_minute_at_most() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let (stolen, running) = (node(&fixture, "envelope"), node(&fixture, "envelope"));
    let token = create(&fixture, &stolen).await;
    assert!(is_trusted(&fixture, &running, &token).await);
    let kid = rotate(&fixture.stack, &json!({"withdrawPrevious": true})).await;
    let kms_key = published(&node(&fixture, "kms")).await;
    assert_eq!(published(&running).await, [vec![kid], kms_key].concat());
    fixture.stack.clock.advance(61);
    assert!(!is_trusted(&fixture, &running, &token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_key_signs_for_a_minute_at_most() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    for case in [CaseName::CreateToken, CaseName::ExchangeCode, CaseName::Refresh] {
        let node = node(&fixture, "envelope");
        assert_eq!(node.send(&fixture.subject(case).await.request).await.status, 201);
        let kid = rotate(&fixture.stack, &json!({"withdrawPrevious": true})).await;
        fixture.stack.clock.advance(60);
        for decrypted in [true, false] {
            let subject = fixture.subject(case).await;
            node.calls.reset();
            let answer = node.send(&subject.request).await;
            assert_eq!(signed_with(&answer), kid, "{case:?}");
            assert_eq!(node.calls.count().contains_key("Decrypt"), decrypted, "{case:?}");
        }
    }
}

/// The id of the key that signed the answer's token.
fn signed_with(answer: &Outcome) -> String {
    let tokens = ["/token/accessToken", "/items/0/accessToken", "/items/0/idToken"];
    let kids =
        tokens.iter().filter_map(|pointer| answer.body.pointer(pointer)).map(|token| kid(token.as_str().unwrap()));
    let kids = kids.collect::<BTreeSet<_>>();
    assert_eq!(kids.len(), 1, "{answer:?}");
    kids.into_iter().next().unwrap()
}

/// The third read of a request is that of the keys, and comes last.
const READ_OF_KEYS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_look_for_a_new_key_fails_nothing_and_delays_no_withdrawal() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    for fault in [
        InjectedFault::NotSent,
        InjectedFault::Stalled,
        InjectedFault::Truncated,
        InjectedFault::Error("ThrottlingException"),
    ] {
        let node = node(&fixture, "envelope");
        let withdrawn = kid(&create(&fixture, &node).await);
        let new = rotate(&fixture.stack, &json!({"withdrawPrevious": true})).await;
        fixture.stack.clock.advance(59);
        node.calls.fail_nth("GetItem", READ_OF_KEYS, &[fault; 3]);
        assert_eq!(kid(&create(&fixture, &node).await), withdrawn, "{fault:?}");
        // From now on the process cannot know whether the key may still sign.
        fixture.stack.clock.advance(1);
        node.calls.heal();
        node.calls.fail_nth("GetItem", READ_OF_KEYS, &[fault; 3]);
        let request = fixture.subject(CaseName::CreateToken).await.request;
        assert_eq!(node.send(&request).await.status, 500, "{fault:?}");
        node.calls.heal();
        assert_eq!(kid(&create(&fixture, &node).await), new, "{fault:?}");
    }
}

/// An unknown caller causes no KMS call, not even if there is a new key to decrypt.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_a_key_decrypted() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let node = node(&fixture, "envelope");
    let (created, exchanged) =
        (fixture.subject(CaseName::CreateToken).await, fixture.subject(CaseName::ExchangeCode).await);
    for subject in [&created, &exchanged] {
        assert_eq!(node.send(&subject.request).await.status, 201);
    }
    rotate(&fixture.stack, &json!({"withdrawPrevious": true})).await;
    fixture.stack.clock.advance(60);
    node.calls.reset();
    let unknown = Credential::generate(CredentialKind::ApiKey, &SystemRandom).unwrap();
    assert!(!is_trusted(&fixture, &node, unknown.expose()).await);
    assert_eq!(node.send(&exchanged.request).await.status, 400, "the code was used");
    assert!(!node.calls.count().contains_key("Decrypt"), "{:?}", node.calls.count());
}

/// A forged token with this `kid`.
fn forged(token: &str, kid: &str) -> String {
    let header = format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"{kid}"}}"#);
    let header = URL_SAFE_NO_PAD.encode(header);
    format!("oauth2_{header}.{}", token.split_once('.').unwrap().1)
}

/// Bearers with unknown key ids cause at most one read a second, however many there are.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_key_ids_cost_one_read_a_second() {
    for mode in ["envelope", "transition"] {
        let fixture = Fixture::new(60, SigningMode::Envelope).await;
        let node = node(&fixture, mode);
        let token = create(&fixture, &node).await;
        for seconds in 0..3 {
            fixture.stack.clock.advance(1);
            node.calls.reset();
            let tokens = (0..50).map(|n| forged(&token, &format!("no-such-key-{seconds}-{n}"))).collect::<Vec<_>>();
            let trusted = join_all(tokens.iter().map(|token| is_trusted(&fixture, &node, token))).await;
            assert!(!trusted.contains(&true));
            assert!(!is_trusted(&fixture, &node, &forged(&token, "no-such-key")).await);
            assert_eq!(node.calls.count(), calls(&[("GetItem", 1)]), "{mode}");
        }
    }
}

/// The limit on reads for unknown key ids does not delay the discovery of a rotation.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_trusted_at_once() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let running = node(&fixture, "envelope");
    let token = create(&fixture, &running).await;
    for _ in 0..3 {
        rotate(&fixture.stack, &json!({})).await;
        let token = create(&fixture, &node(&fixture, "envelope")).await;
        assert!(is_trusted(&fixture, &running, &token).await);
    }
    // Among forged key ids it may take a second.
    assert!(!is_trusted(&fixture, &running, &forged(&token, "no-such-key")).await);
    rotate(&fixture.stack, &json!({})).await;
    let token = create(&fixture, &node(&fixture, "envelope")).await;
    fixture.stack.clock.advance(1);
    assert!(is_trusted(&fixture, &running, &token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_ends_on_the_way_from_one_mode_to_the_other_and_back() {
    let fixture = Fixture::new(60, SigningMode::Kms).await;
    let mut tokens = Vec::new();
    for (mode, signs_with_kms) in
        [("kms", true), ("transition", true), ("envelope", false), ("transition", true), ("envelope", false)]
    {
        let node = node(&fixture, mode);
        let rotation = node.send(&ApiRequest::provision(json!({"action": "rotateSigningKey"}))).await;
        assert_eq!(rotation.status, if mode == "kms" { 400 } else { 200 }, "{rotation:?}");
        tokens.push(create(&fixture, &node).await);
        let kms_key = fixture.stack.local.environment().variables["SIGNING_KEY_ID"].clone();
        let keys = published(&node).await;
        assert_eq!(keys[0], kid(tokens.last().unwrap()), "the key that signs comes first");
        assert_eq!(keys[0] == kms_key, signs_with_kms);
        for token in &tokens {
            assert!(keys.contains(&kid(token)) && is_trusted(&fixture, &node, token).await, "{mode}");
        }
    }
    // With `kms` the table's keys are no longer trusted.
    let kms = node(&fixture, "kms");
    let trusted = join_all(tokens.iter().map(|token| is_trusted(&fixture, &kms, token))).await;
    assert_eq!(trusted, [true, true, false, true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_is_signed_until_there_is_one() {
    let fixture = Fixture::new(60, SigningMode::Kms).await;
    let node = node(&fixture, "envelope");
    let subject = fixture.subject(CaseName::ExchangeCode).await;
    assert_eq!(node.send(&subject.request).await.status, 500);
    let rotation = ApiRequest::provision(json!({"action": "rotateSigningKey"}));
    assert_eq!(node.send(&rotation).await.status, 200);
    assert_eq!(node.send(&subject.request).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapped_key_is_good_for_its_table_and_id_only() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let mut item = signing_keys(&fixture.stack).await;
    assert!(!item.to_string().contains("PRIVATE"));
    item["kid"] = json!({"S": "another-id"});
    fixture.stack.dynamodb("PutItem", json!({"Item": item})).await;
    let subject = fixture.subject(CaseName::CreateToken).await;
    assert_eq!(node(&fixture, "envelope").send(&subject.request).await.status, 500);
    rotate(&fixture.stack, &json!({})).await;
    assert_eq!(node(&fixture, "envelope").send(&subject.request).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_rotations_all_happen() {
    const RACERS: usize = 8;
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let before = published(&node(&fixture, "envelope")).await;
    let more = json!({});
    let racing = join_all((0..RACERS).map(|_| rotate(&fixture.stack, &more))).await;
    let after = published(&node(&fixture, "envelope")).await;
    assert_eq!(after.len(), before.len() + RACERS);
    assert!(racing.contains(&after[0]) && racing.iter().all(|kid| after.contains(kid)));
}

/// The first attempt is recorded, and others rotate before it is sent again, or withdraw what it recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_others_overtook_recognizes_itself() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    for (slow, fast) in [
        (json!({}), json!({})),
        (json!({}), json!({"withdrawPrevious": true})),
        (json!({"stage": "prepare"}), json!({"withdrawPrevious": true})),
        (json!({"stage": "activate", "force": true}), json!({})),
        (json!({"stage": "activate", "force": true}), json!({"withdrawPrevious": true})),
    ] {
        if slow["stage"] == "activate" {
            rotate(&fixture.stack, &json!({"stage": "prepare"})).await;
        }
        let node = node(&fixture, "envelope");
        node.calls.fail("PutItem", &[InjectedFault::Late]);
        let rotation = ApiRequest::provision(with(&json!({"action": "rotateSigningKey"}), &slow));
        let before = signing_keys(&fixture.stack).await;
        let others = async {
            // While the attempt waits for its answer.
            while signing_keys(&fixture.stack).await == before {
                tokio::task::yield_now().await;
            }
            rotate(&fixture.stack, &fast).await
        };
        let (ours, theirs) = tokio::join!(node.send(&rotation), others);
        assert!(ours.body["kid"].is_string() && node.calls.all_failed(), "{slow}: {ours:?}");
        assert_eq!(signing_keys(&fixture.stack).await["kid"]["S"], theirs, "{slow}, {fast}");
        assert_eq!(node.calls.count()["PutItem"], 1, "the second attempt recognized the first");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_sent_twice_is_one() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    for (operation, faults) in [
        ("PutItem", vec![InjectedFault::AnswerLost]),
        ("PutItem", vec![InjectedFault::NotSent]),
        ("GenerateDataKeyPairWithoutPlaintext", vec![InjectedFault::Error("KMSInternalException")]),
        // By default KMS makes one RSA pair a second.
        ("GenerateDataKeyPairWithoutPlaintext", vec![InjectedFault::Error("ThrottlingException"); 4]),
    ] {
        let before = published(&node(&fixture, "envelope")).await;
        let node = node(&fixture, "envelope");
        node.calls.fail(operation, &faults);
        let rotation = ApiRequest::provision(json!({"action": "rotateSigningKey"}));
        let answer = node.send(&rotation).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(node.calls.all_failed());
        let after = published(&node).await;
        assert_eq!((after.len(), &after[0]), (before.len() + 1, &answer.body["kid"].as_str().unwrap().to_owned()));
    }
}

/// Coming back from `kms`, the template creates another wrapping key, and the functions may use only that one.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_wrapping_key_needs_a_new_signing_key() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let stack = &fixture.stack;
    let wrapping_key = signing_keys(stack).await["wrappingKey"]["S"].as_str().unwrap().to_owned();
    assert!(wrapping_key.ends_with(&format!(":key/{}", stack.local.environment().variables["WRAPPING_KEY_ID"])));
    let token = create(&fixture, &node(&fixture, "envelope")).await;

    let other = json!({"KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT"});
    let other = stack.kms("CreateKey", &other).await["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let changes = [("SIGNING_MODE", "envelope"), ("WRAPPING_KEY_ID", other.as_str())];
    let node = Node::start_with(stack, TimeDelta::zero(), &changes);
    for _ in 0..2 {
        assert_eq!(node.send(&fixture.subject(CaseName::CreateToken).await.request).await.status, 500);
    }
    assert!(!node.calls.count().contains_key("Decrypt"));
    let rotation = ApiRequest::provision(json!({"action": "rotateSigningKey"}));
    let rotated = node.send(&rotation).await.body["kid"].as_str().unwrap().to_owned();
    // At once: after a failed decryption the next request reads the keys again.
    assert_eq!(kid(&create(&fixture, &node).await), rotated);
    assert!(is_trusted(&fixture, &node, &token).await);
    assert_eq!(signing_keys(stack).await["wrappingKey"], json!({"S": other}));
}

/// An item as an older version wrote it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_wrapping_key_is_not_recorded_is_used() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let mut item = signing_keys(&fixture.stack).await;
    item.as_object_mut().unwrap().remove("wrappingKey").unwrap();
    fixture.stack.dynamodb("PutItem", json!({"Item": item})).await;
    assert_eq!(kid(&create(&fixture, &node(&fixture, "envelope")).await), item["kid"]["S"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_when_no_token_of_it_can_live() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let first = published(&node(&fixture, "envelope")).await[0].clone();
    rotate(&fixture.stack, &json!({})).await;
    // The longest lifetime of a token, plus a day for processes that still had the key.
    fixture.stack.clock.advance(31_536_000 + 86_400 - 1);
    rotate(&fixture.stack, &json!({})).await;
    assert!(published(&node(&fixture, "envelope")).await.contains(&first));
    fixture.stack.clock.advance(1);
    rotate(&fixture.stack, &json!({})).await;
    assert!(!published(&node(&fixture, "envelope")).await.contains(&first));
}

/// The next key is published first, second in the set, and signs once verifiers have had the time to learn of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_prepared_published_and_then_activated() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let keys = async || published(&node(&fixture, "envelope")).await;
    let try_rotate = async |more: &Value| {
        let action = with(&json!({"action": "rotateSigningKey"}), more);
        fixture.stack.try_provision(&action).await.map_err(|error| error["errorMessage"].clone())
    };
    let before = keys().await;
    let (prepare, activate) = (json!({"stage": "prepare"}), json!({"stage": "activate"}));
    let none = Err(json!("stage must not be activate: no key is prepared"));
    assert_eq!(try_rotate(&activate).await, none);
    let next = rotate(&fixture.stack, &prepare).await;
    assert_eq!(keys().await, [&before[..1], std::slice::from_ref(&next), &before[1..]].concat());
    assert_eq!(rotate(&fixture.stack, &prepare).await, next, "prepared already");
    let signing = create(&fixture, &node(&fixture, "envelope")).await;
    assert_eq!(kid(&signing), before[0]);
    fixture.stack.clock.advance(7199);
    let early = try_rotate(&activate).await.unwrap_err();
    assert!(early.as_str().unwrap().starts_with("stage must not be activate before 20"), "{early}");
    fixture.stack.clock.advance(1);
    assert_eq!(rotate(&fixture.stack, &activate).await, next);
    assert_eq!(keys().await, [std::slice::from_ref(&next), &before[..]].concat());
    assert_eq!(kid(&create(&fixture, &node(&fixture, "envelope")).await), next);
    assert!(is_trusted(&fixture, &node(&fixture, "envelope"), &signing).await);
    assert_eq!(try_rotate(&activate).await, none);

    // `force` lifts the wait. Withdrawing leaves the key that signs, and drops the others of the table.
    let forced = rotate(&fixture.stack, &prepare).await;
    assert_eq!(rotate(&fixture.stack, &json!({"stage": "activate", "force": true})).await, forced);
    let prepared = rotate(&fixture.stack, &prepare).await;
    let replaced = rotate(&fixture.stack, &json!({})).await;
    assert_eq!(&keys().await[..2], [replaced.clone(), prepared.clone()], "it stays prepared");
    fixture.stack.clock.advance(7200);
    assert_eq!(rotate(&fixture.stack, &json!({"stage": "activate", "withdrawPrevious": true})).await, prepared);
    assert_eq!(keys().await, [prepared, before[1].clone()]);
    let prepared = rotate(&fixture.stack, &prepare).await;
    let last = rotate(&fixture.stack, &json!({"withdrawPrevious": true})).await;
    assert_eq!(keys().await, [last, before[1].clone()]);
    assert_eq!(try_rotate(&activate).await, none, "{prepared} was withdrawn");
}

/// An Application Load Balancer forwards nothing if there are more than ten keys. One of them is that of KMS.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_ten_keys_are_published() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let keys = async || published(&node(&fixture, "envelope")).await;
    for _ in 0..8 {
        rotate(&fixture.stack, &json!({})).await;
    }
    let full = keys().await;
    assert_eq!(full.len(), 10);
    for stage in [json!({}), json!({"stage": "prepare"})] {
        let action = with(&json!({"action": "rotateSigningKey"}), &stage);
        let refused = fixture.stack.try_provision(&action).await.unwrap_err();
        assert_eq!(refused["errorType"], "InvalidRequest");
        assert!(refused["errorMessage"].as_str().unwrap().starts_with("force must be true: 10 keys "), "{refused}");
    }
    assert_eq!(keys().await, full);
    // The oldest key of the table goes.
    rotate(&fixture.stack, &json!({"force": true})).await;
    let (forced, oldest) = (keys().await, &full[8]);
    assert_eq!((forced.len(), forced.contains(oldest)), (10, false));
    rotate(&fixture.stack, &json!({"withdrawPrevious": true})).await;
    assert_eq!(keys().await.len(), 2);
}

/// A key that a process does not know yet may be newer than its copy of the keys. It is not taken for a withdrawn one.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_an_older_copy_of_the_keys_loses_no_token() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let (old, new) = (node(&fixture, "envelope"), node(&fixture, "envelope"));
    let registration = fixture.registration(3).await;
    let request = fixture.create_token(&registration);
    let first = old.send(&request).await;
    rotate(&fixture.stack, &json!({})).await;
    let keyed = request.clone().with_idempotency_key("once");
    let token = new.send(&keyed).await;
    let bearer = token.body["token"]["accessToken"].as_str().unwrap().to_owned();
    assert_ne!(kid(&bearer), kid(first.body["token"]["accessToken"].as_str().unwrap()));

    let third = old.send(&request).await;
    assert_eq!((third.status, &third.body["activeTokens"]), (201, &json!(3)));
    assert_eq!(old.send(&request).await.status, 400, "the quota is full");
    let again = old.send(&keyed).await;
    assert_eq!(again.body["token"]["id"], token.body["token"]["id"]);
    for node in [&old, &new] {
        assert!(is_trusted(&fixture, node, &bearer).await);
    }
}

/// A list asks which keys are trusted, beside its other reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_waits_for_no_key() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let node = node(&fixture, "envelope");
    let request = fixture.subject(CaseName::ListTokens).await.request;
    assert_eq!(node.send(&request).await.status, 200);
    for seconds in [30, 61] {
        fixture.stack.clock.advance(seconds);
        node.calls.reset();
        node.calls.answer_together("GetItem", 3);
        assert_eq!(node.send(&request).await.status, 200);
        assert_eq!(node.calls.count(), calls(&[("GetItem", 3)]), "{seconds}");
    }
}
