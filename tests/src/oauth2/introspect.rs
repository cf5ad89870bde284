//! `POST /oauth2/introspect`.

use serde_json::{Value, json};

use super::{BASIC, api_key_id, client_credentials, introspect, is_active, revoke, start};
use crate::harness::{
    ISSUER, START, Secrets, Tenant, calls,
    exchange_token::{self, CLIENT},
    oauth2::{INTROSPECT, user},
    verified, with,
};

#[tokio::test(flavor = "multi_thread")]
async fn introspection_knows_every_kind_of_credential() {
    let (stack, tenant) = start().await;
    let other = Tenant::new(&stack, "other").await;
    let organization = tenant.organization.as_str();
    let made =
        stack.post(&tenant.app_tokens(), &tenant.key, &json!({"scopes": ["sdk", "x"]})).await.json()["data"].clone();
    let app_token = made["bearer"].as_str().unwrap().to_owned();
    Secrets::add_credential(&app_token);
    let created = tenant.create_token(&stack).await.json();
    let prefixed = created["token"]["accessToken"].as_str().unwrap().to_owned();
    let bare = prefixed["oauth2_".len()..].to_owned();
    let of_registration = client_credentials(&stack, &tenant.registration, &tenant.key, &[]).await.json();
    let of_registration = of_registration["access_token"].as_str().unwrap().to_owned();
    let user = user(&stack).await;
    let documented = exchange_token::refresh(&stack, &user.refresh_token).await;
    let current = documented.refresh_token();
    let documented = documented.json()["items"][0].clone();
    let documented_token = documented["accessToken"].as_str().unwrap();
    let weak = stack.api_key_that_may(organization, &[]).await;

    // From now on the function knows the caller and has the public key.
    introspect(&stack, &tenant.key, &bare).await;
    let claims = async |token: &str, audience: &str| verified(&stack, token, audience).await.1;
    let jwt = |claims: &Value| {
        let named = ["client_id", "sub", "iss", "aud", "iat", "exp", "jti", "sid"].into_iter();
        let members = named.filter_map(|name| Some((name.to_owned(), claims.get(name)?.clone())));
        members.collect::<Value>()
    };
    let of_user = with(&jwt(&claims(&user.access_token, ISSUER).await), &json!({"scope": "openid profile email"}));
    let of_documented = claims(documented_token, CLIENT).await;
    let of_documented = with(&jwt(&of_documented), &json!({"scope": "openid profile email", "client_id": CLIENT}));
    let created_claims = claims(&bare, ISSUER).await;
    let common = json!({"active": true, "token_type": "Bearer", "organization": organization});
    for (token, expected) in [
        (
            tenant.key.clone(),
            json!({"sub": api_key_id(&tenant.key), "scope": shared::auth::Permission::ALL.map(shared::auth::Permission::as_str).join(" ")}),
        ),
        (weak.clone(), json!({"sub": api_key_id(&weak)})),
        (app_token.clone(), json!({"sub": made["id"], "scope": "sdk x", "application": tenant.application})),
        (prefixed.clone(), with(&jwt(&created_claims), &json!({"scope": created_claims["scope"]}))),
        (bare.clone(), with(&jwt(&created_claims), &json!({"scope": created_claims["scope"]}))),
        (
            of_registration.clone(),
            with(&jwt(&claims(&of_registration, ISSUER).await), &json!({"scope": created_claims["scope"]})),
        ),
        (user.access_token.clone(), of_user),
        (documented_token.to_owned(), of_documented),
        (
            current.clone(),
            json!({
                "token_type": null, "sub": "user-1", "client_id": CLIENT, "scope": "openid profile email",
                "exp": START + 30 * 86400, "sid": user.session,
            }),
        ),
    ] {
        stack.calls.reset();
        assert_eq!(introspect(&stack, &tenant.key, &token).await, with(&common, &expected));
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 2)]));
        assert_eq!(stack.calls.rounds(), 1);
        // Another organization learns nothing.
        assert!(!is_active(&stack, &other.key, &token).await);
    }
    let id_token = documented["idToken"].as_str().unwrap();
    let long = "x".repeat(9000);
    for token in [
        user.id_token.as_str(),
        id_token,
        &user.code,
        &user.refresh_token,
        "x",
        "tmk_x",
        &long,
        &format!("oauth2_{}", user.access_token),
        &format!("{bare}x"),
        &user.access_token[..user.access_token.len() - 2],
    ] {
        assert!(!is_active(&stack, &tenant.key, token).await, "{token}");
    }

    // Whatever is revoked or over is no longer active.
    let revoked = [&app_token, &prefixed, &of_registration, &weak];
    for token in revoked {
        revoke(&stack, token).await;
        assert!(!is_active(&stack, &tenant.key, token).await);
    }
    stack.clock.advance(3600);
    for token in [&user.access_token, documented_token] {
        assert!(!is_active(&stack, &tenant.key, token).await);
    }
    assert!(is_active(&stack, &tenant.key, &current).await);
    stack.clock.advance(30 * 86400);
    assert!(!is_active(&stack, &tenant.key, &current).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_introspects_by_any_method() {
    let (stack, tenant) = start().await;
    let (id, key) = (api_key_id(&tenant.key), tenant.key.as_str());
    let request = |more: &[(&str, &str)]| stack.form(INTROSPECT, &[&[("token", key)], more].concat());
    let encoded = key.replace('_', "%5F");
    for (what, request) in [
        ("Bearer", request(&[]).bearer_auth(key)),
        ("Basic", request(&[]).basic_auth(&id, Some(key))),
        ("Basic, form-encoded", request(&[]).basic_auth(&id, Some(&encoded))),
        ("Basic and the same id", request(&[("client_id", &id)]).basic_auth(&id, Some(key))),
        ("the body", request(&[("client_id", &id), ("client_secret", key)])),
    ] {
        assert_eq!(stack.send(request).await.json()["active"], true, "{what}");
    }
    let weak = stack.api_key_that_may(&tenant.organization, &["oauth.token.list"]).await;
    let (bearer, missing) = ("Bearer realm=\"tokenmint\", error=\"invalid_token\"", "Bearer realm=\"tokenmint\"");
    let scope = "Bearer realm=\"tokenmint\", error=\"insufficient_scope\"";
    let token = tenant.create_token(&stack).await.json()["token"]["accessToken"].as_str().unwrap().to_owned();
    let other = "0".repeat(24);
    for (what, request, status, error, challenge) in [
        ("nobody", request(&[]), 401, "invalid_token", Some(missing)),
        ("a wrong bearer", request(&[]).bearer_auth("x"), 401, "invalid_token", Some(bearer)),
        ("an access token", request(&[]).bearer_auth(&token), 401, "invalid_token", Some(bearer)),
        ("another scheme", request(&[]).header("authorization", "Digest x"), 401, "invalid_token", Some(bearer)),
        ("a wrong Basic", request(&[]).basic_auth(&id, Some("x")), 401, "invalid_client", Some(BASIC)),
        ("another's id", request(&[]).basic_auth(&other, Some(key)), 401, "invalid_client", Some(BASIC)),
        ("a wrong body", request(&[("client_id", &id), ("client_secret", "x")]), 401, "invalid_client", Some(missing)),
        ("no secret", request(&[("client_id", &id)]), 401, "invalid_client", Some(missing)),
        ("two methods", request(&[("client_secret", key)]).bearer_auth(key), 400, "invalid_request", None),
        ("two methods", request(&[("client_secret", key)]).basic_auth(&id, Some(key)), 400, "invalid_request", None),
        ("without the permission", request(&[]).bearer_auth(&weak), 403, "insufficient_scope", Some(scope)),
        ("without a token", stack.form(INTROSPECT, &[("x", "y")]).bearer_auth(key), 400, "invalid_request", None),
        ("an empty body", stack.form(INTROSPECT, &[]), 400, "invalid_request", None),
        ("a malformed body", request(&[("token", "twice")]), 400, "invalid_request", None),
        ("a malformed body", request(&[("token", "twice")]).bearer_auth(key), 400, "invalid_request", None),
        ("a malformed body", request(&[("token", "twice")]).bearer_auth("x"), 401, "invalid_token", Some(bearer)),
        ("a secret and no id", request(&[("client_secret", key)]), 401, "invalid_client", Some(missing)),
    ] {
        println!("{what}");
        stack.send(request).await.assert_error(status, error, challenge);
    }
}
