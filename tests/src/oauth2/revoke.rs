//! `POST /oauth2/revoke`.

use serde_json::json;
use shared::credential::{Credential, CredentialKind, GrantCredential};

use super::{
    INVALID_CLIENT, INVALID_CLIENT_IN_BASIC, INVALID_REQUEST, api_key_id, confidential, confidential_code_form,
    is_active, refresh, revoke, start,
};
use crate::harness::{
    calls,
    exchange_token::{self, CLIENT},
    oauth2::{REVOKE, TOKEN, code, exchange, user},
};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_a_credential_may_end_it() {
    let (stack, tenant) = start().await;
    let app_token = tenant.create_app_token(&stack, &json!({})).await.json()["data"]["bearer"].clone();
    let app_token = app_token.as_str().unwrap().to_owned();
    let key = stack.api_key_that_may(&tenant.organization, &[]).await;
    let token = tenant.create_token(&stack).await.access_token();
    let other = tenant.create_token(&stack).await.access_token();
    for (ended, kept) in [(&app_token, &key), (&key, &token), (&token, &other), (&other, &tenant.key)] {
        stack.calls.reset();
        // The hint may be wrong, and so may the client be another one.
        let form = [("token", ended.as_str()), ("token_type_hint", "refresh_token"), ("client_id", CLIENT)];
        assert_eq!(stack.post_form(REVOKE, &form[..2]).await.status, 200);
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 1), ("UpdateItem", 1)]));
        assert_eq!(stack.calls.rounds(), 2);
        assert!(!is_active(&stack, &tenant.key, ended).await && is_active(&stack, &tenant.key, kept).await);
        assert_eq!(stack.post_form(REVOKE, &form).await.status, 200, "again");
    }
    let listed = stack.post("/api/v1/list-tokens", &tenant.key, &json!({"registrationId": tenant.registration})).await;
    assert_eq!(listed.json()["activeTokens"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_revoked_beside_a_key_that_was_good_and_after_other_client_credentials() {
    let (stack, tenant) = start().await;
    let (client, secret) = confidential(&stack, &tenant.organization).await;
    let unknown = Credential::generate(CredentialKind::ApiKey, &shared::random::SystemRandom).unwrap();
    let token = async || tenant.create_token(&stack).await.json()["token"]["accessToken"].as_str().unwrap().to_owned();
    let send = async |id: &str, secret: &str, token: &str| {
        stack.calls.reset();
        stack.send(stack.form(REVOKE, &[("token", token)]).basic_auth(id, Some(secret))).await.status
    };
    let one_read = calls(&[("GetItem", 1)]);
    let revoked = token().await;
    // The function has the public key, and has not seen the API key.
    revoke(&stack, &token().await).await;
    for (id, wrong) in [
        (tenant.registration.as_str(), unknown.expose()),
        (&client, &unknown.expose().replace("tmk", "tms")),
        ("22222222-2222-2222-2222-222222222222", &secret),
    ] {
        assert_eq!((send(id, wrong, &revoked).await, stack.calls.count()), (401, one_read.clone()), "{id}");
    }
    for (id, secret, reads, rounds) in
        [(&tenant.registration, &tenant.key, 3, 3), (&tenant.registration, &tenant.key, 3, 2), (&client, &secret, 2, 3)]
    {
        let revoked = token().await;
        assert_eq!(send(id, secret, &revoked).await, 200);
        assert_eq!(stack.calls.count(), calls(&[("GetItem", reads), ("UpdateItem", 1)]));
        assert_eq!(stack.calls.rounds(), rounds);
    }
    // A key that is no longer good is not taken for one either.
    stack.provision(&json!({"action": "revokeApiKey", "apiKeyId": api_key_id(&tenant.key)})).await;
    for reads in [3, 1] {
        assert_eq!(send(&tenant.registration, &tenant.key, &revoked).await, 401);
        assert_eq!(stack.calls.count(), calls(&[("GetItem", reads)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_and_every_token_of_a_user_ends_the_grant() {
    let (stack, tenant) = start().await;
    for credential in ["code", "unused code", "current", "just rotated", "access token", "documented"] {
        let first = user(&stack).await;
        let answer = exchange_token::refresh(&stack, &first.refresh_token).await;
        let current = answer.refresh_token();
        let documented = answer.json()["items"][0]["accessToken"].as_str().unwrap().to_owned();
        let unused = code(&stack, &json!({})).await;
        let ended = match credential {
            "code" => &first.code,
            "unused code" => &unused,
            "current" => &current,
            "just rotated" => &first.refresh_token,
            "access token" => &first.access_token,
            _ => &documented,
        };
        stack.calls.reset();
        revoke(&stack, ended).await;
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 1), ("UpdateItem", 1)]), "{credential}");
        assert_eq!(stack.calls.rounds(), 2);
        let unused_ended = credential == "unused code";
        assert_eq!(is_active(&stack, &tenant.key, &current).await, unused_ended, "{credential}");
        assert_eq!(is_active(&stack, &tenant.key, &first.access_token).await, unused_ended, "{credential}");
        assert_eq!(exchange(&stack, &unused).await.status, if unused_ended { 400 } else { 200 }, "{credential}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unknown_or_over_ends_nothing() {
    let (stack, tenant) = start().await;
    let first = user(&stack).await;
    let second = refresh(&stack, &first.refresh_token).await.user(first.code.clone());
    let third = refresh(&stack, &second.refresh_token).await.user(first.code.clone());
    let grant = GrantCredential::parse_code(&first.code).unwrap();
    let made_up = GrantCredential::generate_refresh_token(grant.grant(), &shared::random::SystemRandom).unwrap();
    let made_up_code = GrantCredential::generate_code(grant.grant(), &shared::random::SystemRandom).unwrap();
    for token in
        [&first.refresh_token, made_up.expose(), made_up_code.expose(), &first.id_token, "x", "tmr_", "oauth2_"]
    {
        stack.calls.reset();
        revoke(&stack, token).await;
        assert_eq!(stack.calls.count().get("UpdateItem"), None, "{token}");
        assert!(is_active(&stack, &tenant.key, &third.refresh_token).await, "{token}");
    }
    let form = [("token", third.refresh_token.as_str()), ("client_id", "22222222-2222-2222-2222-222222222222")];
    stack.post_form(REVOKE, &form).await.assert_error(INVALID_CLIENT);
    let wrong = stack.form(REVOKE, &form[..1]).basic_auth(&tenant.registration, Some("x"));
    stack.send(wrong).await.assert_error(INVALID_CLIENT_IN_BASIC);
    let missing = stack.post_form(REVOKE, &[("token", ""), ("client_id", CLIENT)]).await;
    missing.assert_error(INVALID_REQUEST);
    stack.clock.advance(3600);
    revoke(&stack, &third.access_token).await;
    assert!(is_active(&stack, &tenant.key, &third.refresh_token).await, "an expired access token ends nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_a_confidential_client_want_its_authentication() {
    let (stack, tenant) = start().await;
    let (id, secret) = confidential(&stack, &tenant.organization).await;
    let (other, other_secret) = confidential(&stack, &tenant.organization).await;
    let code = exchange_token::issue(&stack, &json!({"clientId": id})).await;
    let user = stack
        .send(stack.form(TOKEN, &confidential_code_form(&code)).basic_auth(&id, Some(&secret)))
        .await
        .user(code.clone());
    for token in [&user.code, &user.refresh_token, &user.access_token] {
        let request = || stack.form(REVOKE, &[("token", token)]);
        stack.send(request()).await.assert_error(INVALID_CLIENT);
        stack.send(request().basic_auth(&other, Some(&other_secret))).await.assert_error(INVALID_CLIENT_IN_BASIC);
        stack.send(request().basic_auth(&id, Some(&other_secret))).await.assert_error(INVALID_CLIENT_IN_BASIC);
        let of_registration = request().basic_auth(&tenant.registration, Some(&tenant.key));
        stack.send(of_registration).await.assert_error(INVALID_CLIENT_IN_BASIC);
        stack.post_form(REVOKE, &[("token", token), ("client_id", CLIENT)]).await.assert_error(INVALID_CLIENT);
    }
    assert!(is_active(&stack, &tenant.key, &user.refresh_token).await);
    // Once the grant has ended there is nothing to protect.
    stack.clock.advance(30 * 86400);
    revoke(&stack, &user.refresh_token).await;
    stack.clock.advance(-30 * 86400);
    assert!(is_active(&stack, &tenant.key, &user.refresh_token).await);
    let request = stack.form(REVOKE, &[("token", &user.access_token)]).basic_auth(&id, Some(&secret));
    assert_eq!(stack.send(request).await.status, 200);
    assert!(!is_active(&stack, &tenant.key, &user.refresh_token).await);
}
