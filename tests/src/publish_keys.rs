//! `GET /.well-known/jwks.json` and `GET /api/v1/apps/{clientId}/keys`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use serde_json::json;
use shared::keys::SigningMode;

use crate::harness::{ApiRequest, InjectedFault, Node, Secrets, TestStack, calls};

const CACHED: &str = "public, max-age=300";

#[tokio::test(flavor = "multi_thread")]
async fn the_key_set_has_the_signing_key() {
    let stack = TestStack::start().await;
    let answer = stack.get("/.well-known/jwks.json").await;
    assert_eq!(answer.status, 200);
    answer.assert_headers(CACHED);
    let set = answer.json();
    let key = &set["keys"][0];
    let modulus = URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap();
    assert_eq!(modulus.len(), 256);
    let expected = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key["kid"], "n": key["n"], "e": "AQAB"});
    assert_eq!(set, json!({"keys": [expected]}));

    stack.calls.reset();
    assert_eq!(stack.get("/.well-known/jwks.json").await, answer);
    assert!(stack.calls.count().is_empty(), "the key is fetched once per process");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apps_keys_are_the_same_in_pem() {
    let stack = TestStack::start().await;
    let client = "11111111-1111-1111-1111-aaaaaaaaaaaa";
    let create = json!({
        "action": "createClient", "clientId": client, "redirectUris": ["https://app.example.com/callback"],
        "services": ["email"], "scopes": ["openid"],
    });
    assert_eq!(stack.provision(&create).await, json!({"clientId": client}));

    let set = stack.get("/.well-known/jwks.json").await.json();
    let answer = stack.get(&format!("/api/v1/apps/{client}/keys")).await;
    assert_eq!(answer.status, 200);
    answer.assert_headers(CACHED);
    let keys = answer.json();
    let pem = keys["items"][0]["value"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n") && pem.ends_with("\n-----END PUBLIC KEY-----\n"));
    assert!(pem.lines().all(|line| line.len() <= 64));
    // Another library reads it and finds the key of the set in it.
    jsonwebtoken::DecodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    let spki: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let spki = base64::engine::general_purpose::STANDARD.decode(spki).unwrap();
    let modulus = URL_SAFE_NO_PAD.decode(set["keys"][0]["n"].as_str().unwrap()).unwrap();
    assert!(spki.windows(modulus.len()).any(|window| window == modulus));
    let item = json!({"uuid": set["keys"][0]["kid"], "type": {"name": "public"}, "value": pem});
    assert_eq!(keys, json!({"kind": "appKeys", "totalItems": 1, "itemsLength": 1, "items": [item]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_client_has_no_keys() {
    let stack = TestStack::start().await;
    for client in ["11111111-1111-1111-1111-111111111111", "x", "a%2Fb", "%FF"] {
        let answer = stack.get(&format!("/api/v1/apps/{client}/keys")).await;
        assert_eq!((answer.status, answer.json()), (404, json!({"message": "Client not found"})), "{client}");
        answer.assert_headers(CACHED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_500_and_not_cached() {
    let stack = TestStack::start().await;
    stack.calls.fail("GetPublicKey", &[InjectedFault::NotSent; 3]);
    stack.get("/.well-known/jwks.json").await.assert(500, &json!({"message": "Internal server error"}));
    assert!(stack.calls.all_failed());
    assert_eq!(stack.get("/.well-known/jwks.json").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_routes_are_not_found() {
    let stack = TestStack::start().await;
    for path in ["/api", "/api/v1", "/.well-known/jwks.json/", "/api/v1/create-token", "/api/v1/apps//keys"] {
        let answer = stack.get(path).await;
        assert_eq!((answer.status, answer.json()), (404, json!({"message": "Not Found"})), "{path}");
    }
}

// ------------------------------------------------------------------------------------------------ previous KMS keys

/// A key pair that KMS makes: its ARN and id.
async fn new_key(stack: &TestStack) -> (String, String) {
    let key = stack.kms("CreateKey", &json!({"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"})).await;
    let metadata = |field: &str| key["KeyMetadata"][field].as_str().unwrap().to_owned();
    (metadata("Arn"), metadata("KeyId"))
}

/// The ids of the published keys.
async fn published(node: &Node) -> Vec<String> {
    let answer = node.send(&ApiRequest::key_set()).await;
    let keys = answer.body["keys"].as_array().unwrap_or_else(|| panic!("{answer:?}")).iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn own_key(stack: &TestStack) -> String {
    stack.local.environment().variables["SIGNING_KEY_ID"].clone()
}

/// A bare key id names a key of the same account; only an ARN can name another account's.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_asked_for_by_its_arn() {
    let stack = TestStack::start().await;
    let (arn, id) = new_key(&stack).await;
    let foreign = arn.replace(":000000000000:", ":111122223333:");
    for (previous, expected) in [(&arn, vec![own_key(&stack), id.clone()]), (&foreign, vec![own_key(&stack)])] {
        let node = Node::start_with(&stack, TimeDelta::zero(), &[("PREVIOUS_SIGNING_KEY_IDS", previous)]);
        assert_eq!(published(&node).await, expected, "{previous}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_previous_key_that_kms_does_not_give_is_left_out_for_a_minute() {
    let stack = TestStack::start().await;
    let (arn, id) = new_key(&stack).await;
    let previous = format!("1234abcd-12ab-34cd-56ef-1234567890ab,{arn}");
    let node = Node::start_with(&stack, TimeDelta::zero(), &[("PREVIOUS_SIGNING_KEY_IDS", &previous)]);
    // The last of three calls is for the key that exists.
    node.calls.fail_nth("GetPublicKey", 2, &[InjectedFault::Error("KMSInvalidStateException")]);
    assert_eq!(published(&node).await, [own_key(&stack)]);
    assert!(node.calls.all_failed());
    for error in [
        "AccessDeniedException",
        "DisabledException",
        "InvalidArnException",
        "InvalidKeyUsageException",
        "KMSInvalidStateException",
        "NotFoundException",
        "UnsupportedOperationException",
    ] {
        stack.clock.advance(60);
        node.calls.reset();
        node.calls.fail("GetPublicKey", &[InjectedFault::Error(error); 2]);
        assert_eq!(published(&node).await, [own_key(&stack)], "{error}");
        stack.clock.advance(59);
        assert_eq!(published(&node).await, [own_key(&stack)], "{error}");
        assert_eq!(node.calls.count(), calls(&[("GetPublicKey", 2)]), "{error}");
        stack.clock.advance(1);
    }
    assert_eq!(published(&node).await, [own_key(&stack), id]);
}

/// Without the key in the set its tokens are refused, so an outage must not remove it.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_does_not_leave_a_previous_key_out() {
    let stack = TestStack::start().await;
    let (arn, id) = new_key(&stack).await;
    for fault in [
        InjectedFault::NotSent,
        InjectedFault::Stalled,
        InjectedFault::Truncated,
        InjectedFault::Error("DependencyTimeoutException"),
        InjectedFault::Error("KMSInternalException"),
        InjectedFault::Error("KeyUnavailableException"),
        InjectedFault::Error("LimitExceededException"),
        InjectedFault::Error("ThrottlingException"),
    ] {
        let node = Node::start_with(&stack, TimeDelta::zero(), &[("PREVIOUS_SIGNING_KEY_IDS", &arn)]);
        node.calls.fail_nth("GetPublicKey", 1, &[fault; 3]);
        assert_eq!(node.send(&ApiRequest::key_set()).await.status, 500, "{fault:?}");
        node.calls.heal();
        assert_eq!(published(&node).await, [own_key(&stack), id.clone()], "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_that_signs_there_is_no_set() {
    let stack = TestStack::start().await;
    let node = Node::start_with(&stack, TimeDelta::zero(), &[("SIGNING_KEY_ID", "1234abcd")]);
    assert_eq!(node.send(&ApiRequest::key_set()).await.status, 500);
    // With envelope signing it is one of the previous keys.
    let changes = [("SIGNING_KEY_ID", "1234abcd"), ("SIGNING_MODE", "envelope")];
    let node = Node::start_with(&stack, TimeDelta::zero(), &changes);
    let rotation = ApiRequest::provision(json!({"action": "rotateSigningKey"}));
    let kid = node.send(&rotation).await.body["kid"].as_str().unwrap().to_owned();
    assert_eq!(published(&node).await, [kid]);
}

/// A bearer signed by a key that was left out is refused, and causes no more calls than the key set does.
#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_of_a_key_that_was_left_out_is_refused() {
    let stack = TestStack::start().await;
    let organization = stack.organization("acme").await;
    let key = stack.api_key(&organization).await;
    let registration = stack.registration(&organization, &json!({})).await;
    let create =
        |bearer: &str| ApiRequest::new("create-token", &json!({}), bearer, &json!({"registrationId": registration}));
    let (arn, _) = new_key(&stack).await;
    let before = Node::start_with(&stack, TimeDelta::zero(), &[("SIGNING_KEY_ID", &arn)]);
    let token = before.send(&create(&key)).await.body["token"]["accessToken"].as_str().unwrap().to_owned();
    Secrets::add_credential(&token);

    let node = Node::start_with(&stack, TimeDelta::zero(), &[("PREVIOUS_SIGNING_KEY_IDS", &arn)]);
    node.calls.fail("GetPublicKey", &[InjectedFault::Error("KMSInvalidStateException")]);
    for _ in 0..3 {
        assert_eq!(node.send(&create(&token)).await.status, 401);
    }
    assert_eq!(node.calls.count(), calls(&[("GetPublicKey", 1)]));
    stack.clock.advance(60);
    assert_eq!(node.send(&create(&token)).await.status, 201);
}

/// The settings name nine more at most. Beside keys of the table that were too many, the last ones are left out.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_ten_keys_are_published_whatever_the_settings_are() {
    let stack = TestStack::start_with(|options| options.signing_mode = SigningMode::Envelope).await;
    for _ in 0..3 {
        stack.provision(&json!({"action": "rotateSigningKey"})).await;
    }
    let mut previous = Vec::new();
    for _ in 0..9 {
        let made = stack.kms("CreateKey", &json!({"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"})).await;
        previous.push(made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned());
    }
    let node = Node::start_with(&stack, TimeDelta::zero(), &[("PREVIOUS_SIGNING_KEY_IDS", &previous.join(","))]);
    let keys = node.send(&ApiRequest::key_set()).await.body["keys"].clone();
    let current = stack.get("/.well-known/jwks.json").await.json()["keys"][0].clone();
    assert_eq!((keys.as_array().unwrap().len(), &keys[0]), (10, &current));
    // No further key of the table fits, unless an older one goes.
    let rotation = ApiRequest::provision(json!({"action": "rotateSigningKey"}));
    let refused = node.send(&rotation).await;
    assert!(refused.body["errorMessage"].as_str().unwrap().starts_with("force must be true"), "{refused:?}");
}
