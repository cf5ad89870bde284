//! How clients authenticate at `/oauth2/token`, and which grant types each kind of client has.

use serde_json::json;
use shared::credential::GrantCredential;

use super::{
    INVALID_CLIENT, INVALID_CLIENT_IN_BASIC, INVALID_GRANT, INVALID_REQUEST, INVALID_SCOPE, assert_refused,
    confidential, confidential_code_form, is_active, refusal, start,
};
use crate::harness::{
    exchange_token::{self, CLIENT, code_body},
    oauth2::{TOKEN, code, code_form, refresh_form},
    with,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_confidential_client_authenticates_by_either_method() {
    let (stack, tenant) = start().await;
    let (id, secret) = confidential(&stack, &tenant.organization).await;
    let (_, other_secret) = confidential(&stack, &tenant.organization).await;
    let code = exchange_token::issue(&stack, &json!({"clientId": id})).await;
    let form = confidential_code_form(&code);
    let request = |more: &[(&str, &str)]| stack.form(TOKEN, &[&form, more].concat());
    let wrong = format!("tms_{}", &tenant.key["tmk_".len()..]);

    // None of these uses the code up.
    let named = [("client_id", id.as_str())];
    let with_secret = |secret| request(&[named[0], ("client_secret", secret)]);
    let unknown = "22222222-2222-2222-2222-222222222222";
    let refused = [
        ("no client", request(&[]), INVALID_CLIENT),
        ("no secret", request(&named), INVALID_CLIENT),
        ("an empty secret", with_secret(""), INVALID_CLIENT),
        ("another's secret", with_secret(&other_secret), INVALID_CLIENT),
        ("an API key", with_secret(&tenant.key), INVALID_CLIENT),
        ("a secret and no id", request(&[("client_secret", &secret)]), INVALID_CLIENT),
        ("an unknown client", request(&[("client_id", unknown)]), INVALID_CLIENT),
        ("no id of anything", request(&[("client_id", "é")]), INVALID_CLIENT),
        ("Basic with an empty secret", request(&[]).basic_auth(&id, Some("")), INVALID_CLIENT_IN_BASIC),
        ("Basic with another's", request(&[]).basic_auth(&id, Some(&other_secret)), INVALID_CLIENT_IN_BASIC),
        ("Basic, malformed", request(&[]).basic_auth(&id, Some(&wrong)), INVALID_CLIENT_IN_BASIC),
        ("Basic, unreadable", request(&[]).header("authorization", "Basic !"), INVALID_CLIENT_IN_BASIC),
        ("Bearer", request(&named).bearer_auth(&secret), INVALID_CLIENT),
        ("two methods", request(&[("client_secret", &secret)]).basic_auth(&id, Some(&secret)), INVALID_REQUEST),
        ("two clients", request(&[("client_id", CLIENT)]).basic_auth(&id, Some(&secret)), INVALID_REQUEST),
        ("a public one", request(&[("client_id", CLIENT)]), INVALID_GRANT),
        ("a public one with a secret", request(&[("client_id", CLIENT), ("client_secret", &secret)]), INVALID_CLIENT),
    ];
    assert_refused(&stack, refused).await;
    let documented = with(&code_body(&code), &json!({"client_id": id}));
    exchange_token::post(&stack, &documented).await.assert(400, &exchange_token::bad_credential());
    assert_eq!(stack.send(request(&named).basic_auth(&id, Some(&secret))).await.status, 200);
}

/// Without the client's authentication nobody ends its grant by a replay; with it, a replay does.
#[tokio::test(flavor = "multi_thread")]
async fn a_confidential_client_authenticates_to_refresh() {
    let (stack, tenant) = start().await;
    let (id, secret) = confidential(&stack, &tenant.organization).await;
    let (other, other_secret) = confidential(&stack, &tenant.organization).await;
    let code = exchange_token::issue(&stack, &json!({"clientId": id})).await;
    let first = stack
        .send(stack.form(TOKEN, &confidential_code_form(&code)).basic_auth(&id, Some(&secret)))
        .await
        .user(code.clone());

    let refresh = |token: &str| stack.form(TOKEN, &refresh_form(token));
    let encoded = (id.replace('-', "%2D"), secret.replace('_', "%5F"));
    let second = refresh(&first.refresh_token).basic_auth(encoded.0, Some(encoded.1));
    let second = stack.send(second).await.user(code.clone());
    let in_body = [&refresh_form(&second.refresh_token)[..], &[("client_id", &id), ("client_secret", &secret)]];
    let third = stack.post_form(TOKEN, &in_body.concat()).await.user(code.clone());

    let replay = || refresh(&first.refresh_token);
    stack.send(replay()).await.assert_error(INVALID_CLIENT);
    let with_another_secret = replay().basic_auth(&id, Some(&other_secret));
    stack.send(with_another_secret).await.assert_error(INVALID_CLIENT_IN_BASIC);
    stack.send(replay().basic_auth(&other, Some(&other_secret))).await.assert_error(INVALID_GRANT);
    assert!(is_active(&stack, &tenant.key, &third.refresh_token).await);
    stack.send(replay().basic_auth(&id, Some(&secret))).await.assert_error(INVALID_GRANT);
    assert!(!is_active(&stack, &tenant.key, &third.refresh_token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_may_name_itself_in_basic_or_not_at_all() {
    let (stack, _) = start().await;
    let code = code(&stack, &json!({})).await;
    let form = code_form(&code);
    let without_id = [&form[..1], &form[2..]].concat();
    stack.post_form(TOKEN, &without_id).await.assert_error(INVALID_CLIENT);
    let first = stack.send(stack.form(TOKEN, &without_id).basic_auth(CLIENT, Some(""))).await.user(code.clone());
    let form = refresh_form(&first.refresh_token);
    let second = stack.send(stack.form(TOKEN, &form).basic_auth(CLIENT, Some(""))).await.user(code.clone());
    let form = refresh_form(&second.refresh_token);
    assert_eq!(stack.post_form(TOKEN, &form).await.status, 200);
    let unknown = GrantCredential::generate_refresh_token(
        GrantCredential::parse_code(&code).unwrap().grant(),
        &shared::random::SystemRandom,
    );
    let made_up = unknown.unwrap().expose().replace(&code[4..26], &"0".repeat(22));
    for token in ["x", made_up.as_str()] {
        stack.post_form(TOKEN, &refresh_form(token)).await.assert_error(INVALID_GRANT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_client_has_its_grant_types() {
    let (stack, tenant) = start().await;
    let (id, secret) = confidential(&stack, &tenant.organization).await;
    let confidential = |form: &[(&str, &str)]| stack.form(TOKEN, form).basic_auth(&id, Some(&secret));
    let registration =
        |form: &[(&str, &str)]| stack.form(TOKEN, form).basic_auth(&tenant.registration, Some(&tenant.key));
    let public = stack.form(TOKEN, &[("grant_type", "client_credentials"), ("client_id", CLIENT)]);
    for (request, error) in [
        (public, "unauthorized_client"),
        (confidential(&[("grant_type", "client_credentials")]), "unauthorized_client"),
        (registration(&[("grant_type", "authorization_code")]), "unauthorized_client"),
        (registration(&refresh_form("x")), "unauthorized_client"),
        (confidential(&[("grant_type", "password")]), "unsupported_grant_type"),
        (confidential(&[("grant_type", "")]), "invalid_request"),
        (confidential(&[("code", "x")]), "invalid_request"),
    ] {
        stack.send(request).await.assert_error(refusal(400, error, None));
    }
    for (form, key) in [
        (&[("grant_type", "client_credentials")][..], ""),
        (&[("grant_type", "authorization_code"), ("code", "x")], "tmk_x"),
        (&[("grant_type", "client_credentials")], &secret),
    ] {
        let answer = stack.send(stack.form(TOKEN, form).basic_auth(&tenant.registration, Some(key))).await;
        answer.assert_error(INVALID_CLIENT_IN_BASIC);
    }
}

/// Whatever else is wrong, a client that is not who it says it is learns only that; and `grant_type` comes before the
/// client.
#[tokio::test(flavor = "multi_thread")]
async fn the_checks_have_an_order() {
    let (stack, tenant) = start().await;
    let (id, secret) = confidential(&stack, &tenant.organization).await;
    for grant_type in ["authorization_code", "refresh_token"] {
        let request = || stack.form(TOKEN, &[("grant_type", grant_type), ("scope", "\u{7}")]);
        stack.send(request().basic_auth(&id, Some("wrong"))).await.assert_error(INVALID_CLIENT_IN_BASIC);
        let answer = stack.send(request().basic_auth(&id, Some(&secret))).await;
        answer.assert_error(INVALID_REQUEST);
        let description = if grant_type == "refresh_token" { "refresh_token is required" } else { "code is required" };
        assert_eq!(answer.json()["error_description"], description);
    }
    let form = [("grant_type", "x"), ("client_id", id.as_str())];
    stack.post_form(TOKEN, &form).await.assert_error(refusal(400, "unsupported_grant_type", None));
    let scope = [("grant_type", "client_credentials"), ("scope", "a  b")];
    stack
        .send(stack.form(TOKEN, &scope).basic_auth("unknown", Some(&tenant.key)))
        .await
        .assert_error(INVALID_CLIENT_IN_BASIC);
    let scoped = stack.send(stack.form(TOKEN, &scope).basic_auth(&tenant.registration, Some(&tenant.key))).await;
    scoped.assert_error(INVALID_SCOPE);
}
