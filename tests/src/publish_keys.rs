//! `GET /.well-known/jwks.json` and `GET /api/v1/apps/{clientId}/keys`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use crate::harness::{Fault, World};

const CACHED: &str = "public, max-age=300";

#[tokio::test(flavor = "multi_thread")]
async fn the_key_set_has_the_signing_key() {
    let world = World::start().await;
    let answer = world.get("/.well-known/jwks.json").await;
    assert_eq!(answer.status, 200);
    answer.assert_headers(CACHED);
    let set = answer.json();
    let key = &set["keys"][0];
    let modulus = URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap();
    assert_eq!(modulus.len(), 256);
    let expected = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key["kid"], "n": key["n"], "e": "AQAB"});
    assert_eq!(set, json!({"keys": [expected]}));

    world.calls.reset();
    assert_eq!(world.get("/.well-known/jwks.json").await, answer);
    assert!(world.calls.count().is_empty(), "the key is fetched once per process");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apps_keys_are_the_same_in_pem() {
    let world = World::start().await;
    let client = "11111111-1111-1111-1111-AAAAAAAAAAAA";
    let create = json!({
        "action": "createClient", "clientId": client, "redirectUris": ["https://app.example.com/callback"],
        "services": ["email"], "scopes": ["openid"],
    });
    assert_eq!(world.provision(&create).await, json!({"clientId": client.to_lowercase()}));
    let error = world.stack.invoke("provision", &create).await.unwrap_err();
    assert_eq!(error, json!({"errorType": "Taken", "errorMessage": "clientId must not be taken already"}));

    let set = world.get("/.well-known/jwks.json").await.json();
    let answer = world.get(&format!("/api/v1/apps/{client}/keys")).await;
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
    let world = World::start().await;
    for client in ["11111111-1111-1111-1111-111111111111", "x", "a%2Fb", "%FF"] {
        let answer = world.get(&format!("/api/v1/apps/{client}/keys")).await;
        assert_eq!((answer.status, answer.json()), (404, json!({"message": "Client not found"})), "{client}");
        answer.assert_headers(CACHED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_answered_and_not_cached() {
    let world = World::start().await;
    world.calls.fail("GetPublicKey", &[Fault::NotSent; 3]);
    world.get("/.well-known/jwks.json").await.assert(500, &json!({"message": "Internal server error"}));
    assert!(world.calls.all_failed());
    assert_eq!(world.get("/.well-known/jwks.json").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_routes_are_not_found() {
    let world = World::start().await;
    for path in ["/", "/api/v1", "/.well-known/jwks.json/", "/api/v1/create-token", "/api/v1/apps//keys"] {
        let answer = world.get(path).await;
        assert_eq!((answer.status, answer.json()), (404, json!({"message": "Not Found"})), "{path}");
    }
}
