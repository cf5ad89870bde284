//! What a client can be given: its scopes, the lifetimes of its grants and tokens, and its redirect URIs.

use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join;
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use crate::harness::{
    ApiRequest, InjectedFault, Node, START, Tenant, TestStack,
    exchange_token::{self, CLIENT, bad_credential, client, code_body, exchange, issue, post, refresh, refresh_body},
    items,
    oauth2::{self, INTROSPECT},
    runner, unverified_claims, with,
};

fn invalid(message: &str) -> Value {
    json!({"errorType": "InvalidRequest", "errorMessage": message})
}

/// A client with an organization, so that it is listed and its tokens can be introspected.
async fn start(settings: &Value) -> (TestStack, Tenant) {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    let mut settings = settings.clone();
    settings["organizationId"] = tenant.organization.as_str().into();
    client(&stack, &settings).await;
    (stack, tenant)
}

async fn update(stack: &TestStack, changes: &Value) -> Result<Value, Value> {
    stack.try_provision(&with(&json!({"action": "updateClient", "clientId": CLIENT}), changes)).await
}

async fn listed(stack: &TestStack, tenant: &Tenant) -> Value {
    let list = json!({"action": "list", "kind": "clients", "organizationId": tenant.organization});
    stack.provision(&list).await["items"][0].clone()
}

/// The `exp` of an active token; null if it is not active.
async fn active_until(stack: &TestStack, tenant: &Tenant, token: &str) -> Value {
    let answer = stack.send(stack.form(INTROSPECT, &[("token", token)]).bearer_auth(&tenant.key)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["exp"].clone()
}

/// When the session of the user ends; null if none is listed.
async fn session_ends(stack: &TestStack) -> Value {
    let list = json!({"action": "listSessions", "clientId": CLIENT, "subject": "user-1"});
    stack.provision(&list).await["items"][0]["expiresAt"].clone()
}

// ------------------------------------------------------------------------------------------------ settings

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_the_defaults_of_the_contract_and_lists_what_it_was_given() {
    let (stack, tenant) = start(&json!({"services": null})).await;
    let defaults = json!({
        "clientId": CLIENT, "organizationId": tenant.organization, "createdAt": "2027-01-15T08:00:00.250Z",
        "redirectUris": ["https://app.example.com/callback", "https://app.example.com/other"],
        "services": ["default"], "scopes": ["openid", "profile", "email"], "refreshReuseSeconds": 60,
        "accessTokenTtlSeconds": 3600, "grantTtlSeconds": 2_592_000, "idleTimeoutSeconds": 0,
        "refreshTokens": "always", "confidential": false, "enabled": true, "suspended": false,
    });
    assert_eq!(listed(&stack, &tenant).await, defaults);
    let given = json!({
        "name": "My app", "services": ["email"], "scopes": ["openid", "offline_access"], "defaultScopes": ["openid"],
        "accessTokenTtlSeconds": 60, "grantTtlSeconds": 600, "idleTimeoutSeconds": 600,
        "refreshTokens": "offlineAccess", "refreshReuseSeconds": 0,
    });
    assert_eq!(update(&stack, &given).await, Ok(json!({"clientId": CLIENT})));
    assert_eq!(listed(&stack, &tenant).await, with(&defaults, &given));
    // An update leaves what it is not given.
    update(&stack, &json!({"name": "Other"})).await.unwrap();
    assert_eq!(listed(&stack, &tenant).await, with(&defaults, &with(&given, &json!({"name": "Other"}))));

    let other = "22222222-2222-2222-2222-222222222222";
    stack.clock.advance(1);
    client(&stack, &with(&given, &json!({"clientId": other, "organizationId": tenant.organization}))).await;
    let list = json!({"action": "list", "kind": "clients", "organizationId": tenant.organization});
    let created = stack.provision(&list).await["items"][1].clone();
    let expected = with(&defaults, &with(&given, &json!({"clientId": other})));
    assert_eq!(created, with(&expected, &json!({"createdAt": "2027-01-15T08:00:01.250Z"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_setting_has_its_bounds() {
    let (stack, _) = start(&json!({})).await;
    let create = async |changes: &Value| {
        let client = json!({"action": "createClient", "redirectUris": ["https://a.example/"], "scopes": ["a", "b"]});
        stack.try_provision(&with(&client, changes)).await
    };
    for (field, lowest, highest) in [
        ("accessTokenTtlSeconds", 60, 86400),
        ("grantTtlSeconds", 300, 31_536_000),
        ("idleTimeoutSeconds", 0, 31_536_000),
        ("refreshReuseSeconds", 0, 300),
    ] {
        for value in [lowest, highest] {
            // The idle timeout may be as long as the grant.
            let setting = with(&json!({"grantTtlSeconds": 31_536_000}), &json!({field: value}));
            create(&setting).await.unwrap();
            update(&stack, &setting).await.unwrap();
            update(&stack, &json!({"idleTimeoutSeconds": 0})).await.unwrap();
        }
        let refused = invalid(&format!("{field} must be a whole number from {lowest} to {highest}"));
        for value in [lowest - 1, highest + 1] {
            assert_eq!(create(&json!({field: value})).await, Err(refused.clone()), "{value}");
            assert_eq!(update(&stack, &json!({field: value})).await, Err(refused.clone()), "{value}");
        }
    }
    update(&stack, &json!({"grantTtlSeconds": 300, "idleTimeoutSeconds": 200})).await.unwrap();
    for (setting, message) in [
        (json!({"name": ""}), "name must be 1 to 200 characters without control characters"),
        (json!({"refreshTokens": "sometimes"}), "refreshTokens must be always, offlineAccess or never"),
        (json!({"services": []}), "services must have at least one entry"),
        (json!({"defaultScopes": []}), "defaultScopes must have at least one entry"),
        (json!({"defaultScopes": ["a", "c"]}), "defaultScopes must be a part of the client's scopes"),
        (
            json!({"grantTtlSeconds": 300, "idleTimeoutSeconds": 301}),
            "idleTimeoutSeconds must be at most the client's grantTtlSeconds",
        ),
    ] {
        assert_eq!(create(&setting).await, Err(invalid(message)));
        assert_eq!(update(&stack, &setting).await, Err(invalid(message)));
    }
    // With what the client has already.
    let message = "idleTimeoutSeconds must be at most the client's grantTtlSeconds";
    assert_eq!(create(&json!({"idleTimeoutSeconds": 2_592_001})).await, Err(invalid(message)));
    assert_eq!(update(&stack, &json!({"idleTimeoutSeconds": 301})).await, Err(invalid(message)));
    update(&stack, &json!({"grantTtlSeconds": 400, "idleTimeoutSeconds": 350})).await.unwrap();
    assert_eq!(update(&stack, &json!({"grantTtlSeconds": 349})).await, Err(invalid(message)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_a_scope_has_the_default_scopes() {
    let (stack, _) = start(&json!({})).await;
    let scope = async || {
        let code = issue(&stack, &json!({"scope": null})).await;
        let item = post(&stack, &with(&code_body(&code), &json!({"scope": null}))).await.item();
        unverified_claims(item["accessToken"].as_str().unwrap())["scope"].clone()
    };
    assert_eq!(scope().await, json!(["openid", "profile", "email"]));
    update(&stack, &json!({"defaultScopes": ["email", "openid"]})).await.unwrap();
    assert_eq!(scope().await, json!(["email", "openid"]));
    // One that asks may have the others.
    let code = issue(&stack, &json!({"scope": "profile"})).await;
    post(&stack, &with(&code_body(&code), &json!({"scope": "profile"}))).await.item();

    let refused = Err(invalid("defaultScopes must be a part of the client's scopes"));
    assert_eq!(update(&stack, &json!({"scopes": ["openid", "phone"]})).await, refused);
    let both = json!({"scopes": ["openid", "phone"], "defaultScopes": ["phone"]});
    update(&stack, &both).await.unwrap();
    assert_eq!(update(&stack, &json!({"defaultScopes": ["email"]})).await, refused);
}

/// Neither update breaks the rule by itself, and each is decided before the other is written.
#[tokio::test(flavor = "multi_thread")]
async fn the_rules_between_settings_hold_at_the_write() {
    for (slow, fast, field) in [
        (json!({"scopes": ["openid"]}), json!({"defaultScopes": ["email"]}), "defaultScopes"),
        (json!({"grantTtlSeconds": 300}), json!({"idleTimeoutSeconds": 301}), "idleTimeoutSeconds"),
    ] {
        let (stack, tenant) = start(&json!({})).await;
        let node = Node::start(&stack, TimeDelta::zero());
        node.calls.fail("UpdateItem", &[InjectedFault::Stalled]);
        let slow = ApiRequest::provision(with(&json!({"action": "updateClient", "clientId": CLIENT}), &slow));
        let faster = async {
            while !node.calls.all_failed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            update(&stack, &fast).await.unwrap();
        };
        let (refused, ()) = join(node.send(&slow), faster).await;
        assert!(refused.body["errorMessage"].as_str().unwrap().starts_with(field), "{refused:?}");
        assert_eq!(listed(&stack, &tenant).await["scopes"], json!(["openid", "profile", "email"]));
    }
}

// ------------------------------------------------------------------------------------------------ lifetimes

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_grants_live_as_long_as_the_client_says() {
    let settings = json!({"accessTokenTtlSeconds": 60, "grantTtlSeconds": 300});
    let (stack, tenant) = start(&settings).await;
    let exp = |token: &str| unverified_claims(token)["exp"].clone();

    let user = oauth2::code(&stack, &json!({})).await;
    let answer = oauth2::exchange(&stack, &user).await;
    assert_eq!(answer.json()["expires_in"], 60);
    let user = answer.user(user);
    assert_eq!([exp(&user.access_token), exp(&user.id_token)], [START + 60, START + 60]);
    let item = exchange(&stack, &issue(&stack, &json!({"subject": "user-2"})).await).await.item();
    assert_eq!(item["expiresIn"], (START + 60).to_string());
    let tokens = ["accessToken", "idToken"].map(|name| exp(item[name].as_str().unwrap()));
    assert_eq!(tokens, [START + 60, START + 60]);
    stack.clock.advance(59);
    for token in [&user.access_token, item["accessToken"].as_str().unwrap()] {
        assert_eq!(active_until(&stack, &tenant, token).await, START + 60);
    }
    stack.clock.advance(1);
    for token in [&user.access_token, item["accessToken"].as_str().unwrap()] {
        assert_eq!(active_until(&stack, &tenant, token).await, json!(null));
    }

    // Of a grant that exists, a change reaches the next tokens, not its end.
    update(&stack, &json!({"accessTokenTtlSeconds": 120, "grantTtlSeconds": 3600})).await.unwrap();
    let here = oauth2::refresh_with(&stack, &user.refresh_token, "openid").await;
    assert_eq!(here.json()["expires_in"], 120);
    let here = here.user(user.code);
    assert_eq!([exp(&here.access_token), exp(&here.id_token)], [START + 180, START + 180]);
    let there = refresh(&stack, item["refreshToken"].as_str().unwrap()).await.item();
    assert_eq!(there["expiresIn"], (START + 180).to_string());
    assert_eq!(active_until(&stack, &tenant, &here.refresh_token).await, START + 300);
    assert_eq!(session_ends(&stack).await, "2027-01-15T08:05:00.000Z");
    stack.clock.advance(239);
    let last = refresh(&stack, &here.refresh_token).await.refresh_token();
    stack.clock.advance(1);
    for token in [&last, there["refreshToken"].as_str().unwrap()] {
        refresh(&stack, token).await.assert(400, &bad_credential());
    }
    assert_eq!(session_ends(&stack).await, json!(null));
}

/// Without the entry of its session nobody could end a grant.
#[tokio::test(flavor = "multi_thread")]
async fn the_entry_of_a_session_outlives_every_grant() {
    let (stack, _) = start(&json!({"grantTtlSeconds": 300})).await;
    let code = issue(&stack, &json!({})).await;
    // It may be raised before the exchange.
    update(&stack, &json!({"grantTtlSeconds": 31_536_000})).await.unwrap();
    stack.clock.advance(119);
    exchange(&stack, &code).await.refresh_token();
    let ends_at = stack.item(&items::grant_key(&code)).await["endsAt"]["N"].as_str().unwrap().parse::<i64>().unwrap();
    assert_eq!(ends_at, START + 119 + 31_536_000);
    let entries = json!({
        "FilterExpression": "sk = :sid",
        "ExpressionAttributeValues": {":sid": {"S": exchange_token::session(&code)}},
    });
    let entry = stack.dynamodb("Scan", entries).await["Items"][0].clone();
    assert!(entry["ttl"]["N"].as_str().unwrap().parse::<i64>().unwrap() >= ends_at + 86400, "{entry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_refresh_tokens_as_it_was_registered() {
    for (setting, scope, has_one) in [
        ("always", "openid", true),
        ("offlineAccess", "openid", false),
        ("offlineAccess", "openid offline_access", true),
        ("never", "openid offline_access", false),
    ] {
        let settings = json!({
            "refreshTokens": setting, "scopes": ["openid", "offline_access"], "accessTokenTtlSeconds": 600,
            "grantTtlSeconds": 300, "idleTimeoutSeconds": 100,
        });
        let (stack, tenant) = start(&settings).await;
        let code = oauth2::code(&stack, &json!({"scope": scope})).await;
        let answer = oauth2::exchange(&stack, &code).await;
        assert_eq!(answer.json().get("refresh_token").is_some(), has_one, "{setting} {scope}");
        let user = answer.user(code);
        let code = issue(&stack, &json!({"scope": scope, "subject": "user-2"})).await;
        // What is asked for here narrows this answer only.
        let item = post(&stack, &with(&code_body(&code), &json!({"scope": "openid"}))).await.item();
        assert_eq!(item.get("refreshToken").is_some(), has_one, "{setting} {scope}");

        // Without a refresh token the grant lives as long as its access token: no less, and no more.
        let ends = if has_one { "2027-01-15T08:01:40.000Z" } else { "2027-01-15T08:10:00.000Z" };
        assert_eq!(session_ends(&stack).await, ends, "{setting} {scope}");
        stack.clock.advance(599);
        let active = if has_one { json!(null) } else { json!(START + 600) };
        assert_eq!(active_until(&stack, &tenant, &user.access_token).await, active, "{setting} {scope}");
        let ended = json!({"action": "endSessions", "clientId": CLIENT, "subject": "user-1"});
        stack.clock.advance(1);
        assert_eq!(stack.provision(&ended).await["ended"], 0, "{setting} {scope}");
    }
}

/// What was issued stays good.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_outlives_a_change_of_its_client_to_none() {
    let (stack, _) = start(&json!({})).await;
    let first = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
    update(&stack, &json!({"refreshTokens": "never"})).await.unwrap();
    refresh(&stack, &refresh(&stack, &first).await.refresh_token()).await.refresh_token();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_not_used_expires() {
    let (stack, tenant) = start(&json!({"idleTimeoutSeconds": 100, "grantTtlSeconds": 1000})).await;
    let code = issue(&stack, &json!({})).await;
    let answer = exchange(&stack, &code).await;
    let (first, access_token) = (answer.refresh_token(), answer.item()["accessToken"].as_str().unwrap().to_owned());
    assert_eq!(session_ends(&stack).await, "2027-01-15T08:01:40.000Z");
    assert_eq!(active_until(&stack, &tenant, &first).await, START + 100);
    stack.clock.advance(99);
    let second = refresh(&stack, &first).await.refresh_token();
    assert_eq!(session_ends(&stack).await, "2027-01-15T08:03:19.000Z");
    // A repeat extends nothing, and neither does a longer timeout.
    stack.clock.advance(60);
    update(&stack, &json!({"idleTimeoutSeconds": 500})).await.unwrap();
    assert_eq!(refresh(&stack, &first).await.refresh_token(), second);
    assert_eq!(session_ends(&stack).await, "2027-01-15T08:03:19.000Z");
    stack.clock.advance(39);
    assert_eq!(active_until(&stack, &tenant, &second).await, START + 199);
    stack.clock.advance(1);
    assert_eq!(active_until(&stack, &tenant, &second).await, json!(null));
    assert_eq!(session_ends(&stack).await, json!(null));
    // Neither token is a replay now: the user's access token stays what it was.
    for token in [&second, &first] {
        refresh(&stack, token).await.assert(400, &bad_credential());
    }
    stack.clock.advance(800);
    assert_eq!(active_until(&stack, &tenant, &access_token).await, START + 3600);
    stack.clock.advance(1);
    assert_eq!(active_until(&stack, &tenant, &access_token).await, json!(null), "the grant is over");
}

/// A second use of the code is a replay also when the refresh token has expired: the access token has not.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_replayed_after_the_idle_timeout_too() {
    let (stack, tenant) = start(&json!({"idleTimeoutSeconds": 10})).await;
    let code = issue(&stack, &json!({})).await;
    let access_token = exchange(&stack, &code).await.item()["accessToken"].as_str().unwrap().to_owned();
    stack.clock.advance(10);
    assert_eq!(active_until(&stack, &tenant, &access_token).await, START + 3600);
    exchange(&stack, &code).await.assert(400, &bad_credential());
    assert_eq!(active_until(&stack, &tenant, &access_token).await, json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_timeout_does_not_lengthen_a_grant() {
    let (stack, tenant) = start(&json!({"idleTimeoutSeconds": 300, "grantTtlSeconds": 300})).await;
    let first = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
    stack.clock.advance(200);
    let second = refresh(&stack, &first).await.refresh_token();
    assert_eq!(active_until(&stack, &tenant, &second).await, START + 300);
    stack.clock.advance(100);
    refresh(&stack, &second).await.assert(400, &bad_credential());
}

// ------------------------------------------------------------------------------------------------ redirect URIs

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_uri_has_one_of_three_forms() {
    let (stack, _) = start(&json!({})).await;
    for uri in ["https://a.example:8443/x?y=1", "http://[::1]", "http://localhost:1/x", "com.example.app:/x"] {
        update(&stack, &json!({"redirectUris": [uri]})).await.unwrap();
    }
    let rule = "redirectUris entries must be an https URL, an http URL of 127.0.0.1, [::1] or localhost, or a URI of a \
                scheme with a dot, of at most 2048 characters and without user information, fragment and *";
    for uri in [
        "http://a.example/",
        "http://127.0.0.1.a.example/",
        "app:/x",
        "https://user@a.example/",
        "https://a.example/#x",
        "https://*.a.example/",
        "javascript:alert(1)",
    ] {
        assert_eq!(update(&stack, &json!({"redirectUris": [uri]})).await, Err(invalid(rule)), "{uri}");
    }
}

/// A native app receives the code at a port that the system gave it.
#[test]
fn a_loopback_redirect_uri_is_good_at_any_port_and_bound_to_that_of_its_code() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (stack, _) = runtime.block_on(start(&json!({})));
    let host = || select(&["127.0.0.1", "[::1]", "localhost"]);
    let port = || prop::option::of(1..=u16::MAX);
    let uris = (host(), host(), [port(), port(), port()], "(/[a-z]{0,3}(\\?[a-z])?)?", "/[a-z]{4}");
    let result = runner(25).run(&uris, |(host, other_host, [registered, asked, other], path, other_path)| {
        let uri = |host: &str, port: Option<u16>, path: &str| {
            format!("http://{host}{}{path}", port.map(|port| format!(":{port}")).unwrap_or_default())
        };
        let asked_uri = uri(host, asked, &path);
        runtime.block_on(async {
            update(&stack, &json!({"redirectUris": [uri(host, registered, &path)]})).await.unwrap();
            let login = |uri: &str| with(&exchange_token::login(), &json!({"redirectUri": uri}));
            for wrong in [uri(host, asked, &other_path), asked_uri.replace("http:", "https:"), format!("{asked_uri}.x")]
            {
                let refused = stack.local.invoke("issue-code", &login(&wrong)).await.unwrap_err();
                prop_assert_eq!(refused, invalid("redirectUri is not registered for this client"), "{}", wrong);
            }
            let of_other_host = stack.local.invoke("issue-code", &login(&uri(other_host, asked, &path))).await;
            prop_assert_eq!(of_other_host.is_ok(), host == other_host);

            let code = issue(&stack, &json!({"redirectUri": asked_uri})).await;
            let body = with(&code_body(&code), &json!({"redirect_uri": uri(host, other, &path)}));
            if other != asked {
                post(&stack, &body).await.assert(400, &bad_credential());
            }
            let item = post(&stack, &with(&body, &json!({"redirect_uri": asked_uri}))).await;
            prop_assert_eq!(&item.item()["redirectUri"], &asked_uri);
            // The grant goes on while a registered one matches.
            let refreshes = async |token: &str| {
                post(&stack, &with(&refresh_body(token), &json!({"redirect_uri": asked_uri}))).await
            };
            update(&stack, &json!({"redirectUris": [uri(host, other, &path)]})).await.unwrap();
            let token = refreshes(&item.refresh_token()).await.refresh_token();
            update(&stack, &json!({"redirectUris": [uri(host, registered, &other_path)]})).await.unwrap();
            refreshes(&token).await.assert(400, &bad_credential());
            update(&stack, &json!({"redirectUris": [uri(host, registered, &path)]})).await.unwrap();
            refreshes(&token).await.refresh_token();
            Ok(())
        })
    });
    result.unwrap();
}
