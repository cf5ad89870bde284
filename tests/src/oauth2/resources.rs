//! The audiences of access tokens: `resource` (RFC 8707) and `audience`.

use serde_json::{Value, json};

use super::{
    INVALID_GRANT, INVALID_TOKEN, Refusal, client_credentials, introspect, is_active, refresh, refusal, revoke, start,
    userinfo,
};
use crate::harness::{
    Answer, CREATE_TOKEN, ISSUER, Tenant, TestStack, authorizer_event,
    exchange_token::{self, CLIENT, REDIRECT_URI},
    oauth2::{TOKEN, code, code_form, refresh_form, user},
    unverified_claims, verified, with,
};

const INVALID_TARGET: Refusal = refusal(400, "invalid_target", None);
const ORDERS: &str = "https://orders.example.com";
const BILLING: &str = "https://billing.example.com/";
const NAME: &str = "billing-api";

/// A stack whose client and whose tenant's registration have audiences.
async fn start_with_audiences() -> (TestStack, Tenant, String) {
    let (stack, tenant) = start().await;
    let audiences = json!({"audiences": [ORDERS, BILLING, NAME]});
    let registration = stack.registration(&tenant.organization, &audiences).await;
    let update = json!({"action": "updateClient", "clientId": CLIENT});
    stack.provision(&with(&update, &audiences)).await;
    (stack, tenant, registration)
}

fn aud(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    unverified_claims(answer.json()["access_token"].as_str().unwrap())["aud"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_names_the_apis_that_its_token_is_for() {
    let (stack, tenant, registration) = start_with_audiences().await;
    let send = async |more: &[(&str, &str)]| client_credentials(&stack, &registration, &tenant.key, more).await;
    for (targets, expected) in [
        (&[][..], json!(ISSUER)),
        (&[("resource", "")], json!(ISSUER)),
        (&[("resource", ORDERS)], json!(ORDERS)),
        (&[("audience", NAME)], json!(NAME)),
        (&[("resource", ISSUER)], json!(ISSUER)),
        (&[("resource", ORDERS), ("resource", ORDERS), ("audience", ORDERS)], json!(ORDERS)),
        (&[("resource", BILLING), ("audience", ISSUER), ("resource", ORDERS)], json!([BILLING, ISSUER, ORDERS])),
    ] {
        assert_eq!(aud(&send(targets).await), expected, "{targets:?}");
    }
    for target in [
        ("resource", "https://other.example.com"),
        // Compared to the letter, and a resource is a URI.
        ("resource", "https://billing.example.com"),
        ("resource", "HTTPS://orders.example.com"),
        ("resource", NAME),
        ("resource", "https://orders.example.com#a"),
        ("audience", "other"),
        ("audience", "é"),
    ] {
        send(&[target]).await.assert_error(INVALID_TARGET);
        send(&[("resource", ORDERS), target]).await.assert_error(INVALID_TARGET);
    }
    let many: Vec<String> = (0..1000).map(|n| format!("a{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| ("audience", name.as_str())).collect();
    send(&many).await.assert_error(INVALID_TARGET);
    client_credentials(&stack, &tenant.registration, &tenant.key, &[("resource", ORDERS)])
        .await
        .assert_error(INVALID_TARGET);
}

/// Our own endpoints take only what is for the deployment. Introspection and revocation take all.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_another_api_is_not_for_ours() {
    let (stack, tenant, registration) = start_with_audiences().await;
    let body = json!({"registrationId": registration});
    for (targets, status) in [(&[ORDERS][..], 401), (&[ORDERS, ISSUER], 201)] {
        let targets: Vec<_> = targets.iter().map(|target| ("resource", *target)).collect();
        let answer = client_credentials(&stack, &registration, &tenant.key, &targets).await;
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(stack.post(CREATE_TOKEN, &format!("oauth2_{token}"), &body).await.status, status);
        assert_eq!(introspect(&stack, &tenant.key, &token).await["aud"], aud(&answer));
        verified(&stack, &token, ORDERS).await;
        revoke(&stack, &token).await;
        assert!(!is_active(&stack, &tenant.key, &token).await);
    }
    let user = |answer: &Answer| answer.json()["access_token"].as_str().unwrap().to_owned();
    let elsewhere = exchange(&stack, &json!({"resource": [ORDERS]}), &[]).await;
    userinfo(&stack, &user(&elsewhere)).await.assert_error(INVALID_TOKEN);
    assert!(is_active(&stack, &tenant.key, &user(&elsewhere)).await);
    let both = exchange(&stack, &json!({"resource": [ORDERS, ISSUER]}), &[]).await;
    assert_eq!(userinfo(&stack, &user(&both)).await.status, 200);
    revoke(&stack, &user(&both)).await;
    assert!(!is_active(&stack, &tenant.key, &user(&both)).await);
}

async fn exchange(stack: &TestStack, login: &Value, more: &[(&str, &str)]) -> Answer {
    let code = code(stack, login).await;
    stack.post_form(TOKEN, &[&code_form(&code)[..], more].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_for_the_apis_that_the_login_service_named() {
    let (stack, _, _) = start_with_audiences().await;
    let both = json!({"resource": [ORDERS, BILLING]});
    assert_eq!(aud(&exchange(&stack, &both, &[]).await), json!([ORDERS, BILLING]));
    assert_eq!(aud(&exchange(&stack, &json!({}), &[]).await), json!(ISSUER));
    assert_eq!(aud(&exchange(&stack, &json!({}), &[("resource", ISSUER)]).await), json!(ISSUER));
    // Narrowed for one answer only. A refused exchange leaves the code as it was.
    let code = code(&stack, &both).await;
    let send = async |resource: &str| {
        stack.post_form(TOKEN, &[&code_form(&code)[..], &[("resource", resource)]].concat()).await
    };
    for refused in [ISSUER, "x", NAME] {
        send(refused).await.assert_error(INVALID_TARGET);
    }
    let narrowed = send(BILLING).await;
    assert_eq!(aud(&narrowed), json!(BILLING));
    let token = narrowed.user(code.clone()).refresh_token;
    let refresh = async |token: &str, more: &[(&str, &str)]| {
        stack.post_form(TOKEN, &[&refresh_form(token)[..], more].concat()).await
    };
    refresh(&token, &[("resource", ISSUER)]).await.assert_error(INVALID_TARGET);
    let next = refresh(&token, &[("audience", BILLING), ("resource", ORDERS)]).await;
    assert_eq!(aud(&next), json!([BILLING, ORDERS]));
    let next = next.user(code.clone()).refresh_token;
    assert_eq!(aud(&refresh(&next, &[]).await), json!([ORDERS, BILLING]));
    // A login for none can be narrowed to none but the deployment's.
    let plain = exchange(&stack, &json!({}), &[]).await.user(code).refresh_token;
    refresh(&plain, &[("resource", ORDERS)]).await.assert_error(INVALID_TARGET);
    assert_eq!(aud(&refresh(&plain, &[("resource", ISSUER)]).await), json!(ISSUER));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_service_names_only_what_the_client_has() {
    let (stack, _, _) = start_with_audiences().await;
    let issue = async |resource: Value| {
        let login = with(&exchange_token::login(), &json!({"resource": resource}));
        stack.local.invoke("issue-code", &login).await.map_err(|error| error["errorMessage"].clone())
    };
    for right in [json!([]), json!([NAME]), json!([ISSUER, ORDERS, ISSUER]), Value::Null] {
        issue(right).await.unwrap();
    }
    for (wrong, message) in [
        (json!(["x"]), "resource is not registered for this client"),
        (json!(ORDERS), "resource must be an array of strings"),
        (json!(["a b"]), "resource entries must be 1 to 512 printable ASCII characters without spaces"),
    ] {
        assert_eq!(issue(wrong).await, Err(json!(message)));
    }
}

/// The tokens of the documented endpoint are for their client. A login for other APIs does not open ours by that way.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_for_another_api_is_not_for_ours_in_either_dialect() {
    let (stack, _, _) = start_with_audiences().await;
    for (resource, allowed) in [(json!([]), true), (json!([ORDERS]), false), (json!([ORDERS, ISSUER]), true)] {
        let code = exchange_token::issue(&stack, &json!({"resource": resource})).await;
        let documented = exchange_token::exchange(&stack, &code).await.item()["accessToken"].clone();
        let standard = exchange(&stack, &json!({"resource": resource}), &[]).await.json()["access_token"].clone();
        assert_eq!(unverified_claims(documented.as_str().unwrap())["aud"], CLIENT);
        for token in [&documented, &standard] {
            let decision = stack.local.invoke("authorize", &authorizer_event(token.as_str().unwrap())).await.unwrap();
            assert_eq!(decision["isAuthorized"], allowed, "{resource}: {token}");
        }
    }
}

/// It is an error, but of a second use the grant ends all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_hides_no_second_use() {
    let (stack, tenant, _) = start_with_audiences().await;
    for malformed in [("resource", "zz"), ("scope", "é")] {
        let user = user(&stack).await;
        let next = refresh(&stack, &user.refresh_token).await.json()["refresh_token"].clone();
        refresh(&stack, next.as_str().unwrap()).await;
        let again = [&refresh_form(&user.refresh_token)[..], &[malformed]].concat();
        stack.post_form(TOKEN, &again).await.assert_error(INVALID_GRANT);
        assert!(!is_active(&stack, &tenant.key, &user.access_token).await, "{malformed:?}");
    }
    let code = code(&stack, &json!({})).await;
    let user = stack.post_form(TOKEN, &code_form(&code)).await.user(code.clone());
    let again = [&code_form(&code)[..], &[("resource", "zz")]].concat();
    stack.post_form(TOKEN, &again).await.assert_error(INVALID_GRANT);
    assert!(!is_active(&stack, &tenant.key, &user.access_token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn audiences_are_distinct_bounded_and_listed() {
    let (stack, tenant, registration) = start_with_audiences().await;
    let shown = stack.provision(&json!({"action": "get", "kind": "registration", "id": registration})).await;
    assert_eq!(shown["audiences"], json!([ORDERS, BILLING, NAME]));
    let client = stack.provision(&json!({"action": "get", "kind": "client", "id": CLIENT})).await;
    assert_eq!(client["audiences"], json!([ORDERS, BILLING, NAME]));
    let update = |audiences: Value| json!({"action": "updateRegistration", "registrationId": registration, "audiences": audiences});
    let twenty: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    for right in [json!(twenty), json!(["x".repeat(512)]), json!([])] {
        stack.provision(&update(right)).await;
    }
    let many: Vec<String> = (0..21).map(|n| n.to_string()).collect();
    for wrong in [json!(many), json!(["x".repeat(513)]), json!(["a", "a"]), json!(["a b"]), json!([""]), json!("a")] {
        let refused = stack.try_provision(&update(wrong)).await.unwrap_err();
        assert!(refused["errorMessage"].as_str().unwrap().starts_with("audiences "), "{refused}");
    }
    client_credentials(&stack, &registration, &tenant.key, &[("resource", ORDERS)]).await.assert_error(INVALID_TARGET);
    let create = json!({
        "action": "createClient", "redirectUris": [REDIRECT_URI], "scopes": ["openid"], "audiences": [ORDERS],
    });
    stack.provision(&create).await;
}
