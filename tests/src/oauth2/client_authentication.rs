//! How clients authenticate at `/oauth2/token`, and which grant types each kind of client has.

use serde_json::json;
use shared::credential::GrantCredential;

use super::{BASIC, confidential, is_active, start};
use crate::harness::{
    exchange_token::{self, CLIENT, REDIRECT_URI, code_body},
    oauth2::{TOKEN, code, code_form},
    with,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_confidential_client_authenticates_by_either_method() {
    let (stack, tenant) = start().await;
    let (id, secret) = confidential(&stack, &tenant.organization).await;
    let (_, other_secret) = confidential(&stack, &tenant.organization).await;
    let code = exchange_token::issue(&stack, &json!({"clientId": id})).await;
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", REDIRECT_URI)];
    let request = |more: &[(&str, &str)]| stack.form(TOKEN, &[&form, more].concat());
    let wrong = format!("tms_{}", &tenant.key["tmk_".len()..]);

    // None of these uses the code up.
    let named = [("client_id", id.as_str())];
    for (what, request, status, error, challenge) in [
        ("no client", request(&[]), 401, "invalid_client", None),
        ("no secret", request(&named), 401, "invalid_client", None),
        ("an empty secret", request(&[named[0], ("client_secret", "")]), 401, "invalid_client", None),
        ("another's secret", request(&[named[0], ("client_secret", &other_secret)]), 401, "invalid_client", None),
        ("an API key", request(&[named[0], ("client_secret", &tenant.key)]), 401, "invalid_client", None),
        ("a secret and no id", request(&[("client_secret", &secret)]), 401, "invalid_client", None),
        (
            "an unknown client",
            request(&[("client_id", "22222222-2222-2222-2222-222222222222")]),
            401,
            "invalid_client",
            None,
        ),
        ("no id of anything", request(&[("client_id", "é")]), 401, "invalid_client", None),
        ("Basic with an empty secret", request(&[]).basic_auth(&id, Some("")), 401, "invalid_client", Some(BASIC)),
        ("Basic with another's", request(&[]).basic_auth(&id, Some(&other_secret)), 401, "invalid_client", Some(BASIC)),
        ("Basic, malformed", request(&[]).basic_auth(&id, Some(&wrong)), 401, "invalid_client", Some(BASIC)),
        ("Basic, unreadable", request(&[]).header("authorization", "Basic !"), 401, "invalid_client", Some(BASIC)),
        ("Bearer", request(&named).bearer_auth(&secret), 401, "invalid_client", None),
        (
            "two methods",
            request(&[("client_secret", &secret)]).basic_auth(&id, Some(&secret)),
            400,
            "invalid_request",
            None,
        ),
        ("two clients", request(&[("client_id", CLIENT)]).basic_auth(&id, Some(&secret)), 400, "invalid_request", None),
        ("a public one", request(&[("client_id", CLIENT)]), 400, "invalid_grant", None),
        (
            "a public one with a secret",
            request(&[("client_id", CLIENT), ("client_secret", &secret)]),
            401,
            "invalid_client",
            None,
        ),
    ] {
        println!("{what}");
        stack.send(request).await.assert_error(status, error, challenge);
    }
    exchange_token::post(&stack, &with(&code_body(&code), &json!({"client_id": id})))
        .await
        .assert(400, &exchange_token::bad_credential());
    let user = stack.send(request(&named).basic_auth(&id, Some(&secret))).await.user(code.clone());

    let refresh = |token: &str| stack.form(TOKEN, &[("grant_type", "refresh_token"), ("refresh_token", token)]);
    let second = refresh(&user.refresh_token).basic_auth(&id.replace('-', "%2D"), Some(&secret.replace('_', "%5F")));
    let second = stack.send(second).await.user(code.clone());
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", second.refresh_token.as_str()),
        ("client_id", &id),
        ("client_secret", &secret),
    ];
    let third = stack.post_form(TOKEN, &form).await.user(code.clone());

    // Without the client's authentication nobody ends its grant by a replay; with it, a replay does.
    stack.send(refresh(&user.refresh_token)).await.assert_error(401, "invalid_client", None);
    stack.send(refresh(&user.refresh_token).basic_auth(&id, Some(&other_secret))).await.assert_error(
        401,
        "invalid_client",
        Some(BASIC),
    );
    let (other, other_secret) = confidential(&stack, &tenant.organization).await;
    stack.send(refresh(&user.refresh_token).basic_auth(&other, Some(&other_secret))).await.assert_error(
        400,
        "invalid_grant",
        None,
    );
    assert!(is_active(&stack, &tenant.key, &third.refresh_token).await);
    stack.send(refresh(&user.refresh_token).basic_auth(&id, Some(&secret))).await.assert_error(
        400,
        "invalid_grant",
        None,
    );
    assert!(!is_active(&stack, &tenant.key, &third.refresh_token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_may_name_itself_in_basic_or_not_at_all() {
    let (stack, _) = start().await;
    let code = code(&stack, &json!({})).await;
    let form = code_form(&code);
    let without_id = [&form[..1], &form[2..]].concat();
    stack.post_form(TOKEN, &without_id).await.assert_error(401, "invalid_client", None);
    let first = stack.send(stack.form(TOKEN, &without_id).basic_auth(CLIENT, Some(""))).await.user(code.clone());
    let form = [("grant_type", "refresh_token"), ("refresh_token", first.refresh_token.as_str())];
    let second = stack.send(stack.form(TOKEN, &form).basic_auth(CLIENT, Some(""))).await.user(code.clone());
    let form = [("grant_type", "refresh_token"), ("refresh_token", second.refresh_token.as_str())];
    assert_eq!(stack.post_form(TOKEN, &form).await.status, 200);
    let unknown = GrantCredential::generate_refresh_token(
        GrantCredential::parse_code(&code).unwrap().grant(),
        &shared::random::SystemRandom,
    );
    let made_up = unknown.unwrap().expose().replace(&code[4..26], &"0".repeat(22));
    for token in ["x", made_up.as_str()] {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        stack.post_form(TOKEN, &form).await.assert_error(400, "invalid_grant", None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_client_has_its_grant_types() {
    let (stack, tenant) = start().await;
    let (id, secret) = confidential(&stack, &tenant.organization).await;
    for (request, error) in [
        (stack.form(TOKEN, &[("grant_type", "client_credentials"), ("client_id", CLIENT)]), "unauthorized_client"),
        (
            stack.form(TOKEN, &[("grant_type", "client_credentials")]).basic_auth(&id, Some(&secret)),
            "unauthorized_client",
        ),
        (
            stack
                .form(TOKEN, &[("grant_type", "authorization_code")])
                .basic_auth(&tenant.registration, Some(&tenant.key)),
            "unauthorized_client",
        ),
        (
            stack
                .form(TOKEN, &[("grant_type", "refresh_token"), ("refresh_token", "x")])
                .basic_auth(&tenant.registration, Some(&tenant.key)),
            "unauthorized_client",
        ),
        (stack.form(TOKEN, &[("grant_type", "password")]).basic_auth(&id, Some(&secret)), "unsupported_grant_type"),
        (stack.form(TOKEN, &[("grant_type", "")]).basic_auth(&id, Some(&secret)), "invalid_request"),
        (stack.form(TOKEN, &[("code", "x")]).basic_auth(&id, Some(&secret)), "invalid_request"),
    ] {
        stack.send(request).await.assert_error(400, error, None);
    }
    for (form, key) in [
        (&[("grant_type", "client_credentials")][..], ""),
        (&[("grant_type", "authorization_code"), ("code", "x")], "tmk_x"),
        (&[("grant_type", "client_credentials")], &secret),
    ] {
        let answer = stack.send(stack.form(TOKEN, form).basic_auth(&tenant.registration, Some(key))).await;
        answer.assert_error(401, "invalid_client", Some(BASIC));
    }
}

/// Whatever else is wrong, a client that is not who it says it is learns only that; and `grant_type` comes before the client.
#[tokio::test(flavor = "multi_thread")]
async fn the_checks_have_an_order() {
    let (stack, tenant) = start().await;
    let (id, secret) = confidential(&stack, &tenant.organization).await;
    for grant_type in ["authorization_code", "refresh_token"] {
        let request = || stack.form(TOKEN, &[("grant_type", grant_type), ("scope", "\u{7}")]);
        stack.send(request().basic_auth(&id, Some("wrong"))).await.assert_error(401, "invalid_client", Some(BASIC));
        let answer = stack.send(request().basic_auth(&id, Some(&secret))).await;
        answer.assert_error(400, "invalid_request", None);
        let description = if grant_type == "refresh_token" { "refresh_token is required" } else { "code is required" };
        assert_eq!(answer.json()["error_description"], description);
    }
    let form = [("grant_type", "x"), ("client_id", id.as_str())];
    stack.post_form(TOKEN, &form).await.assert_error(400, "unsupported_grant_type", None);
    let scope = [("grant_type", "client_credentials"), ("scope", "a  b")];
    stack.send(stack.form(TOKEN, &scope).basic_auth("unknown", Some(&tenant.key))).await.assert_error(
        401,
        "invalid_client",
        Some(BASIC),
    );
    let scoped = stack.send(stack.form(TOKEN, &scope).basic_auth(&tenant.registration, Some(&tenant.key))).await;
    scoped.assert_error(400, "invalid_scope", None);
}
