//! `grant_type=client_credentials`.

use serde_json::json;
use shared::credential::{Credential, CredentialKind};

use super::{
    INVALID_CLIENT_IN_BASIC, INVALID_REQUEST, INVALID_SCOPE, api_key_id, client_credentials, is_active, refusal,
    revoke, start,
};
use crate::harness::{
    CREATE_TOKEN, ISSUER, START, Tenant, calls,
    oauth2::{INTROSPECT, TOKEN},
    verified, with,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_gets_a_token_of_its_own() {
    let (stack, tenant) = start().await;
    let scopes = json!({"scopes": ["oauth.token.create", "read:things"], "tokenTtlSeconds": 500});
    let registration = stack.registration(&tenant.organization, &scopes).await;
    client_credentials(&stack, &registration, &tenant.key, &[]).await;
    stack.calls.reset();
    let answer = client_credentials(&stack, &registration, &tenant.key, &[]).await;
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Sign", 1), ("UpdateItem", 1)]));
    assert_eq!(stack.calls.rounds(), 3);
    answer.assert_oauth_headers();
    let body = answer.json();
    let token = body["access_token"].as_str().unwrap();
    let expected = json!({
        "access_token": token, "token_type": "Bearer", "expires_in": 500, "scope": "oauth.token.create read:things",
    });
    assert_eq!(body, expected);
    let without_scopes = stack.registration(&tenant.organization, &json!({"scopes": []})).await;
    let empty = client_credentials(&stack, &without_scopes, &tenant.key, &[]).await.json();
    assert_eq!(empty.get("scope"), None);
    let (_, claims) = verified(&stack, empty["access_token"].as_str().unwrap(), ISSUER).await;
    assert_eq!(claims.get("scope"), None);
    let (_, claims) = verified(&stack, token, ISSUER).await;
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "sub": registration, "aud": ISSUER, "client_id": registration, "jti": claims["jti"],
            "iat": START, "exp": START + 500, "scope": "oauth.token.create read:things",
        })
    );
    let narrowed = client_credentials(&stack, &registration, &tenant.key, &[("scope", "read:things")]).await;
    assert_eq!(narrowed.json()["scope"], "read:things");
    for scope in ["write:things", "read:things write:things", "read:things  ", "é"] {
        let answer = client_credentials(&stack, &registration, &tenant.key, &[("scope", scope)]).await;
        answer.assert_error(INVALID_SCOPE);
    }

    // With the prefix it is a bearer of the other endpoints, until it is revoked.
    let body = json!({"registrationId": registration});
    let bearer = format!("oauth2_{token}");
    assert_eq!(stack.post(CREATE_TOKEN, &bearer, &body).await.status, 201);
    assert_eq!(stack.post(CREATE_TOKEN, token, &body).await.status, 401);
    revoke(&stack, token).await;
    assert_eq!(stack.post(CREATE_TOKEN, &bearer, &body).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_registration_is_an_api_key_of_its_organization() {
    let (stack, tenant) = start().await;
    let other = Tenant::new(&stack, "other").await;
    let invalid = client_credentials(&stack, &tenant.registration, &other.key, &[]).await;
    invalid.assert_error(INVALID_CLIENT_IN_BASIC);
    client_credentials(&stack, "unknown", &tenant.key, &[]).await.assert_error(INVALID_CLIENT_IN_BASIC);
    let weak = stack.api_key_that_may(&tenant.organization, &["oauth.token.list"]).await;
    client_credentials(&stack, &tenant.registration, &weak, &[]).await.assert_error(refusal(
        400,
        "unauthorized_client",
        None,
    ));

    // A caller cannot pass on what it lacks, but a narrower scope without it.
    let scopes = json!({"scopes": ["oauth.token.revoke", "read:things"]});
    let registration = stack.registration(&tenant.organization, &scopes).await;
    let creator = stack.api_key_that_may(&tenant.organization, &["oauth.token.create"]).await;
    client_credentials(&stack, &registration, &creator, &[]).await.assert_error(INVALID_SCOPE);
    let narrow = client_credentials(&stack, &registration, &creator, &[("scope", "read:things")]).await;
    assert_eq!(narrow.json()["scope"], "read:things");
    let action = json!({"action": "revokeApiKey", "apiKeyId": api_key_id(&creator)});
    stack.provision(&action).await;
    client_credentials(&stack, &registration, &creator, &[]).await.assert_error(INVALID_CLIENT_IN_BASIC);
}

/// A caller who is nobody costs one small read: the registration is read only after the key was found to be good.
#[tokio::test(flavor = "multi_thread")]
async fn a_made_up_key_costs_one_small_read() {
    let (stack, tenant) = start().await;
    let made_up = Credential::generate(CredentialKind::ApiKey, &shared::random::SystemRandom).unwrap();
    stack.calls.reset();
    let answer = client_credentials(&stack, &tenant.registration, made_up.expose(), &[]).await;
    answer.assert_error(INVALID_CLIENT_IN_BASIC);
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 1)]));
    stack.calls.reset();
    let request = stack.form(INTROSPECT, &[("token", &tenant.key)]).bearer_auth(made_up.expose());
    assert_eq!(stack.send(request).await.status, 401);
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 1)]));
    stack.calls.reset();
    for wrong in ["tmk_x", "wrong", &tenant.key.replace("tmk_", "tma_")] {
        client_credentials(&stack, &tenant.registration, wrong, &[]).await.assert_error(INVALID_CLIENT_IN_BASIC);
    }
    assert!(stack.calls.count().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_quota_says_when_to_come_back() {
    let (stack, tenant) = start().await;
    let limits = json!({"maxAllowed": 1, "tokenTtlSeconds": 100});
    let registration = stack.registration(&tenant.organization, &limits).await;
    assert_eq!(client_credentials(&stack, &registration, &tenant.key, &[]).await.status, 200);
    stack.clock.advance(58);
    let full = client_credentials(&stack, &registration, &tenant.key, &[]).await;
    full.assert_error(refusal(429, "temporarily_unavailable", None));
    assert_eq!(full.header("retry-after"), Some("42"));
    stack.clock.advance(42);
    assert_eq!(client_credentials(&stack, &registration, &tenant.key, &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_repeats_the_token() {
    let (stack, tenant) = start().await;
    let limits = json!({"scopes": ["a", "b", "c"], "tokenTtlSeconds": 100, "maxAllowed": 3});
    let registration = stack.registration(&tenant.organization, &limits).await;
    let send = async |key: &str, scope: &str| {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let request = stack.form(TOKEN, &form).header("idempotency-key", key);
        stack.send(request.basic_auth(&registration, Some(&tenant.key))).await
    };
    let first = send("one", "b a").await;
    assert_eq!((first.header("idempotency-replayed"), &first.json()["scope"]), (None, &json!("a b")));
    stack.clock.advance(7);
    let again = send("one", "a b").await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json(), with(&first.json(), &json!({"expires_in": 93})));
    for other in ["", "a", "a b c", "unknown"] {
        send("one", other).await.assert_error(refusal(422, "invalid_request", None));
    }
    // What was issued is repeated after the scopes were changed, too.
    stack
        .provision(&json!({"action": "updateRegistration", "registrationId": registration, "scopes": ["b", "d"]}))
        .await;
    assert_eq!(send("one", "a b").await.json(), again.json());
    send("two", "a b").await.assert_error(INVALID_SCOPE);
    let whole = send("two", "").await.json();
    assert_eq!(whole["scope"], "b d");
    send("two", "b d").await.assert_error(refusal(422, "invalid_request", None));
    let token = first.json()["access_token"].as_str().unwrap().to_owned();
    revoke(&stack, &token).await;
    let next = send("one", "b").await.json();
    assert_ne!(next["access_token"], token.as_str());
    assert!(!is_active(&stack, &tenant.key, &token).await);
    let request = stack.form(TOKEN, &[("grant_type", "client_credentials")]).header("idempotency-key", "a,b");
    stack.send(request.basic_auth(&registration, Some(&tenant.key))).await.assert_error(INVALID_REQUEST);
}
