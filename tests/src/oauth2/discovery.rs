//! The issuers, and the metadata by which clients find the endpoints.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use super::{client_credentials, is_active, refusal, start};
use crate::harness::{
    ApiRequest, CREATE_TOKEN, ISSUER, Node, Tenant, TestStack,
    exchange_token::{self, CLIENT},
    oauth2::{INTROSPECT, REVOKE, TOKEN, USERINFO, user},
    unverified_claims, with_bearer,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_family_has_its_issuer_and_bearers_of_both_are_accepted() {
    const NAME: &str = "tokens-of-acme";
    let stack = TestStack::start_with(|options| {
        (options.issuer, options.oidc_issuer) = (Some(NAME.to_owned()), Some(ISSUER.to_owned()));
    });
    let stack = stack.await;
    let tenant = Tenant::new(&stack, "acme").await;
    exchange_token::client(&stack, &json!({"organizationId": tenant.organization})).await;
    let documented = tenant.create_token(&stack).await.access_token();
    let standard = client_credentials(&stack, &tenant.registration, &tenant.key, &[]).await.json();
    let standard = format!("oauth2_{}", standard["access_token"].as_str().unwrap());
    for (token, issuer) in [(documented, NAME), (standard, ISSUER)] {
        let claims = unverified_claims(&token);
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!(issuer), &json!(issuer)));
        assert_eq!(stack.post(CREATE_TOKEN, &token, &json!({"registrationId": "x"})).await.status, 404);
        assert!(is_active(&stack, &tenant.key, &token).await);
    }
    let user = user(&stack).await;
    assert!(is_active(&stack, &tenant.key, &user.access_token).await);
    let documented = exchange_token::refresh(&stack, &user.refresh_token).await.json();
    let token = documented["items"][0]["accessToken"].as_str().unwrap();
    assert!(is_active(&stack, &tenant.key, token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_says_where_the_endpoints_are() {
    let stack = TestStack::start_with(|options| options.issuer = None).await;
    let base = stack.local.base_url().to_owned();
    let answer = stack.get("/.well-known/openid-configuration").await;
    answer.assert_headers("public, max-age=300");
    let document = answer.json();
    assert_eq!(stack.get("/.well-known/oauth-authorization-server").await.json(), document);
    let url = |path: &str| format!("{base}{path}");
    let methods = ["client_secret_basic", "client_secret_post", "none"];
    for (name, expected) in [
        ("issuer", json!(base)),
        ("authorization_endpoint", json!(url("/authorize"))),
        ("token_endpoint", json!(url(TOKEN))),
        ("userinfo_endpoint", json!(url(USERINFO))),
        ("revocation_endpoint", json!(url(REVOKE))),
        ("introspection_endpoint", json!(url(INTROSPECT))),
        ("jwks_uri", json!(url("/.well-known/jwks.json"))),
        ("response_types_supported", json!(["code"])),
        ("grant_types_supported", json!(["authorization_code", "refresh_token", "client_credentials"])),
        ("subject_types_supported", json!(["public"])),
        ("id_token_signing_alg_values_supported", json!(["RS256"])),
        ("scopes_supported", json!(["openid", "offline_access", "profile", "email", "phone", "address"])),
        ("response_modes_supported", json!(["query", "fragment", "form_post"])),
        ("authorization_response_iss_parameter_supported", json!(true)),
        ("code_challenge_methods_supported", json!(["S256"])),
        ("token_endpoint_auth_methods_supported", json!(methods)),
        ("revocation_endpoint_auth_methods_supported", json!(methods)),
        (
            "introspection_endpoint_auth_methods_supported",
            json!(["client_secret_basic", "client_secret_post", "Bearer"]),
        ),
        ("request_parameter_supported", json!(false)),
        ("request_uri_parameter_supported", json!(false)),
        ("claims_parameter_supported", json!(false)),
    ] {
        assert_eq!(document[name], expected, "{name}");
    }
    let claims: BTreeSet<_> =
        document["claims_supported"].as_array().unwrap().iter().map(|claim| claim.as_str().unwrap()).collect();
    assert!(
        ["iss", "sub", "aud", "exp", "iat", "nonce", "at_hash", "acr", "amr", "email_verified"]
            .iter()
            .all(|claim| claims.contains(claim))
    );
    assert_eq!(document.get("end_session_endpoint"), None);
    assert!(stack.calls.count().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_service_and_the_operator_say_more() {
    let stack = TestStack::start_with(|options| {
        let settings = [
            ("SCOPES_SUPPORTED", "openid orders:read"),
            ("END_SESSION_ENDPOINT", "https://login.example.com/logout"),
            ("AUTHORIZATION_RESPONSE_ISS", "false"),
        ];
        options.settings.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
    });
    let document = stack.await.get("/.well-known/openid-configuration").await.json();
    assert_eq!(document["scopes_supported"], json!(["openid", "orders:read"]));
    assert_eq!(document["end_session_endpoint"], "https://login.example.com/logout");
    assert_eq!(document["authorization_response_iss_parameter_supported"], false);
}

/// RFC 9110, 9.3.2: as a GET, without its body.
#[tokio::test(flavor = "multi_thread")]
async fn head_answers_like_get_without_a_body() {
    let (stack, tenant) = start().await;
    let user = user(&stack).await;
    for (path, bearer) in [
        ("/.well-known/jwks.json".to_owned(), ""),
        ("/.well-known/openid-configuration".to_owned(), ""),
        ("/.well-known/oauth-authorization-server".to_owned(), ""),
        (format!("/api/v1/apps/{CLIENT}/keys"), ""),
        ("/api/v1/apps/unknown/keys".to_owned(), ""),
        (tenant.app_tokens(), &tenant.key),
        (USERINFO.to_owned(), &user.access_token),
        (USERINFO.to_owned(), "x"),
    ] {
        let request = |method| with_bearer(stack.http.request(method, stack.url(&path)), bearer);
        let get = stack.send(request(Method::GET)).await;
        let head = stack.send(request(Method::HEAD)).await;
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        for name in ["content-type", "cache-control", "x-content-type-options", "www-authenticate", "content-length"] {
            assert_eq!(head.header(name), get.header(name), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_login_service_there_are_no_users() {
    let stack = TestStack::start().await;
    let node = Node::start_with(&stack, chrono::TimeDelta::zero(), &[("AUTHORIZATION_ENDPOINT", "")]);
    let request = ApiRequest::new("publish-keys", &json!({}), "", &json!({}));
    let answer = node.send(&request.with_route("GET /.well-known/openid-configuration", "")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body.get("authorization_endpoint"), None);
    assert_eq!(answer.body["response_types_supported"], json!([]));
    assert_eq!(answer.body["grant_types_supported"], json!(["client_credentials"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_issuer_that_is_a_url_there_are_no_such_endpoints() {
    for issuer in ["tokens-of-acme", "https://tokens.example.com/path", "http://tokens.example.com"] {
        let stack = TestStack::start_with(|options| options.issuer = Some(issuer.to_owned())).await;
        for path in [TOKEN, REVOKE, INTROSPECT, USERINFO] {
            stack.post_form(path, &[("grant_type", "x")]).await.assert_error(refusal(404, "invalid_request", None));
        }
        for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
            let answer = stack.get(path).await;
            answer.assert_headers("public, max-age=300");
            assert_eq!(answer.status, 404);
        }
        assert_eq!(stack.get("/.well-known/jwks.json").await.status, 200);
    }
}

/// Its clients would look where no document is.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_with_nothing_but_a_slash_too_much_does_not_start() {
    let error = TestStack::refused(|options| options.issuer = Some("https://tokens.example.com/".to_owned())).await;
    assert_eq!(error, "environment variable ISSUER must not end with a slash, unless OIDC_ISSUER is set");
}
