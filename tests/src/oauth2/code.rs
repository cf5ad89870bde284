//! `grant_type=authorization_code`.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::keys::SigningMode;

use super::{INVALID_GRANT, INVALID_REQUEST, INVALID_TOKEN, is_active, refresh, start, userinfo};
use crate::harness::{
    ISSUER, START, Secrets, TestStack, calls, current_kid,
    exchange_token::{self, CLIENT, REDIRECT_URI, code_body},
    oauth2::{TOKEN, VERIFIER, code, code_form, exchange, user},
    verified, with,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_code_gives_the_tokens_of_the_standards() {
    let (stack, tenant) = start().await;
    let claims = json!({"name": "Ada", "email": "ada@example.com", "email_verified": true, "phone_number": "1"});
    let login = json!({"nonce": "n-1", "state": "unused", "authTime": 1_735_689_600, "claims": claims});
    let code = code(&stack, &login).await;
    let kid = current_kid(&stack).await;
    stack.calls.reset();
    let answer = exchange(&stack, &code).await;
    // The ID token has the hash of the signed access token in it, so the two signatures are two rounds.
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Sign", 2), ("UpdateItem", 1)]));
    assert_eq!(stack.calls.rounds(), 4);
    answer.assert_oauth_headers();
    let body = answer.json();
    let expected = json!({
        "access_token": body["access_token"], "token_type": "Bearer", "expires_in": 3600,
        "scope": "openid profile email", "refresh_token": body["refresh_token"], "id_token": body["id_token"],
    });
    assert_eq!(body, expected);
    let user = answer.user(code);

    let (header, claims) = verified(&stack, &user.access_token, ISSUER).await;
    assert_eq!(header, format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"{kid}"}}"#));
    let common = json!({
        "iss": ISSUER, "sub": "user-1", "iat": START, "exp": START + 3600, "auth_time": 1_735_689_600,
        "sid": user.session,
    });
    let access = json!({
        "aud": ISSUER, "client_id": CLIENT, "jti": claims["jti"], "scope": "openid profile email",
        "organization": tenant.organization,
    });
    assert_eq!(claims, with(&common, &access));

    let (header, claims) = verified(&stack, &user.id_token, CLIENT).await;
    assert_eq!(header, format!(r#"{{"alg":"RS256","typ":"JWT","kid":"{kid}"}}"#));
    let hash = digest::digest(&digest::SHA256, user.access_token.as_bytes());
    let identity = json!({
        "aud": CLIENT, "at_hash": URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]), "nonce": "n-1", "name": "Ada",
        "email": "ada@example.com", "email_verified": true,
    });
    assert_eq!(claims, with(&common, &identity));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_openid_there_is_no_id_token_and_one_signature() {
    let (stack, _) = start().await;
    let code = code(&stack, &json!({"scope": "profile", "nonce": "n-1"})).await;
    stack.calls.reset();
    let answer = exchange(&stack, &code).await;
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Sign", 1), ("UpdateItem", 1)]));
    assert_eq!(stack.calls.rounds(), 3);
    assert_eq!((answer.json().get("id_token"), &answer.json()["scope"]), (None, &json!("profile")));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_envelope_signing_it_takes_two_rounds() {
    let stack = TestStack::start_with(|options| options.signing_mode = SigningMode::Envelope).await;
    stack.provision(&json!({"action": "rotateSigningKey"})).await;
    exchange_token::client(&stack, &json!({})).await;
    let first = user(&stack).await;
    for form in [
        code_form(&code(&stack, &json!({})).await).to_vec(),
        vec![("grant_type", "refresh_token"), ("client_id", CLIENT), ("refresh_token", first.refresh_token.as_str())],
    ] {
        stack.calls.reset();
        assert_eq!(stack.post_form(TOKEN, &form).await.status, 200);
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("UpdateItem", 1)]));
        assert_eq!(stack.calls.rounds(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_goes_on_at_the_other_endpoint() {
    let (stack, _) = start().await;
    let of_standard = user(&stack).await;
    let there = exchange_token::refresh(&stack, &of_standard.refresh_token).await;
    let here = refresh(&stack, &there.refresh_token()).await.user(of_standard.code.clone());
    let (_, claims) = verified(&stack, &here.access_token, ISSUER).await;
    assert_eq!(claims["sid"], of_standard.session.as_str());

    let code = exchange_token::issue(&stack, &json!({"nonce": "n-1"})).await;
    let there = exchange_token::exchange(&stack, &code).await;
    assert_eq!(there.status, 400, "another nonce");
    let body = with(&code_body(&code), &json!({"nonce": "n-1"}));
    let of_documented = exchange_token::post(&stack, &body).await.refresh_token();
    let here = refresh(&stack, &of_documented).await.user(code.clone());
    // A second use of the code ends it in both.
    exchange_token::post(&stack, &body).await.assert(400, &exchange_token::bad_credential());
    refresh(&stack, &here.refresh_token).await.assert_error(INVALID_GRANT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_needs_pkce() {
    let (stack, _) = start().await;
    let plain = exchange_token::issue(&stack, &json!({})).await;
    let without_verifier = &code_form(&plain)[..4];
    for form in [without_verifier, &code_form(&plain)] {
        stack.post_form(TOKEN, form).await.assert_error(INVALID_GRANT);
    }
    let challenged = code(&stack, &json!({})).await;
    let mut wrong = code_form(&challenged);
    wrong[4].1 = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl";
    for form in [&code_form(&challenged)[..4], &wrong] {
        stack.post_form(TOKEN, form).await.assert_error(INVALID_GRANT);
    }
    wrong[4].1 = "short";
    stack.post_form(TOKEN, &wrong).await.assert_error(INVALID_GRANT);
    let mut wrong = code_form(&challenged);
    wrong[3].1 = "https://app.example.com/other";
    stack.post_form(TOKEN, &wrong).await.assert_error(INVALID_GRANT);
    // No refusal has used it up.
    assert_eq!(exchange(&stack, &challenged).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_use_of_a_code_ends_the_grant() {
    let (stack, tenant) = start().await;
    let user = user(&stack).await;
    assert!(is_active(&stack, &tenant.key, &user.access_token).await);
    // Not even a malformed verifier hides it.
    let mut again = code_form(&user.code);
    again[4].1 = "x";
    stack.post_form(TOKEN, &again).await.assert_error(INVALID_GRANT);
    refresh(&stack, &user.refresh_token).await.assert_error(INVALID_GRANT);
    assert!(!is_active(&stack, &tenant.key, &user.access_token).await);
    userinfo(&stack, &user.access_token).await.assert_error(INVALID_TOKEN);
}

/// One code, 50 times at once, half of them at each endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn of_racing_exchanges_at_both_endpoints_one_succeeds_and_the_grant_is_ended() {
    let (stack, tenant) = start().await;
    let code = code(&stack, &json!({})).await;
    let body = with(&code_body(&code), &json!({"code_verifier": VERIFIER}));
    let answers = join_all((0..50).map(async |n| {
        if n % 2 == 0 { exchange(&stack, &code).await } else { exchange_token::post(&stack, &body).await }
    }));
    let answers = answers.await;
    let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status < 300);
    assert_eq!((good.len(), bad.len()), (1, 49));
    assert!(bad.iter().all(|answer| answer.status == 400), "{bad:?}");
    let body = good[0].json();
    let token = body["refresh_token"].as_str().or(body["items"][0]["refreshToken"].as_str()).unwrap();
    Secrets::add_credential(token);
    assert!(!is_active(&stack, &tenant.key, token).await);
    refresh(&stack, token).await.assert_error(INVALID_GRANT);
}

/// What the login service says of the login and the user, beside the standard claims: to the letter, in the token that
/// it is for, in both dialects, and again on a refresh.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_has_claims_of_its_own() {
    let (stack, tenant) = start().await;
    let login = json!({
        "acr": "urn:example:high", "amr": ["pwd", "otp"],
        "claims": {"name": "Ada", "email": null},
        "accessTokenClaims": {
            "groups": ["admins", "dev"], "https://example.com/n": {"a": [1, null, "é>?~"]}, "email": "x", "none": null,
        },
        "idTokenClaims": {"roles": ["owner"], "name": "Somebody else", "email": "ada@example.com"},
    });
    let code = code(&stack, &login).await;
    let user = exchange(&stack, &code).await.user(code);
    let documented = exchange_token::refresh(&stack, &user.refresh_token).await.item();
    let text = |name: &str| documented[name].as_str().unwrap().to_owned();
    for (access_token, id_token, audience) in
        [(user.access_token.clone(), user.id_token.clone(), ISSUER), (text("accessToken"), text("idToken"), CLIENT)]
    {
        let (_, access) = verified(&stack, &access_token, audience).await;
        let (_, id) = verified(&stack, &id_token, CLIENT).await;
        for claims in [&access, &id] {
            assert_eq!((&claims["acr"], &claims["amr"]), (&json!("urn:example:high"), &json!(["pwd", "otp"])));
        }
        assert_eq!(access["organization"], tenant.organization.as_str());
        let own = login["accessTokenClaims"].as_object().unwrap();
        assert!(own.iter().all(|(name, value)| access.get(name) == Some(value)), "{access}");
        assert_eq!((access.get("roles"), access.get("name")), (None, None));
        // What the token has already wins, and what the scopes do not ask for comes along.
        assert_eq!(
            (&id["roles"], &id["name"], &id["email"]),
            (&json!(["owner"]), &json!("Ada"), &json!("ada@example.com"))
        );
        assert_eq!((id.get("groups"), id.get("organization")), (None, None));
    }
    // The claims of the user are those that the scopes ask for.
    let info = userinfo(&stack, &user.access_token).await.json();
    assert_eq!(info, json!({"sub": "user-1", "name": "Ada"}));
}

/// OAuth 2.1: there is only one redirect URI that the code can have been issued for.
#[tokio::test(flavor = "multi_thread")]
async fn the_redirect_uri_may_be_left_out_if_there_is_only_one() {
    let (stack, _) = start().await;
    let without = |code: &str| {
        let form = code_form(code).into_iter().filter(|(name, _)| *name != "redirect_uri");
        form.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
    };
    let send = async |code: &str| {
        let form = without(code);
        let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        stack.post_form(TOKEN, &form).await
    };
    let set = async |uris: Value| {
        let update = json!({"action": "updateClient", "clientId": CLIENT, "redirectUris": uris});
        stack.provision(&update).await;
    };
    let issued = code(&stack, &json!({})).await;
    send(&issued).await.assert_error(INVALID_REQUEST);
    set(json!(["http://127.0.0.1/callback"])).await;
    let loopback = code(&stack, &json!({"redirectUri": "http://127.0.0.1:1234/callback"})).await;
    send(&loopback).await.assert_error(INVALID_REQUEST);
    set(json!(["https://app.example.com/other"])).await;
    send(&issued).await.assert_error(INVALID_GRANT);
    set(json!([REDIRECT_URI])).await;
    assert_eq!(send(&issued).await.status, 200);
}
