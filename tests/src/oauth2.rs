//! The endpoints under `/oauth2`, and the metadata by which clients find them.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use futures_util::future::join_all;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use shared::{
    credential::{Credential, CredentialKind, GrantCredential},
    keys::SigningMode,
};

use crate::harness::{
    Answer, CREATE_TOKEN, ISSUER, START, Secrets, Tenant, TestStack, calls, current_kid,
    exchange_token::{self, CLIENT, REDIRECT_URI, code_body},
    oauth2::{TOKEN, VERIFIER, code, code_form, exchange, user},
    verified, with,
};

const REVOKE: &str = "/oauth2/revoke";
const INTROSPECT: &str = "/oauth2/introspect";
const USERINFO: &str = "/oauth2/userinfo";
const BASIC: &str = "Basic realm=\"tokenmint\"";

async fn refresh(stack: &TestStack, token: &str) -> Answer {
    stack.post_form(TOKEN, &[("grant_type", "refresh_token"), ("client_id", CLIENT), ("refresh_token", token)]).await
}

impl Answer {
    /// Asserts an error and its challenge, and the headers that every answer has.
    #[track_caller]
    fn assert_error(&self, status: u16, error: &str, challenge: Option<&str>) {
        let body = self.json();
        assert_eq!((self.status, body["error"].as_str()), (status, Some(error)), "{self:?}");
        assert_eq!(body.as_object().unwrap().len(), 2, "{self:?}");
        assert_eq!(self.header("www-authenticate"), challenge, "{self:?}");
        self.assert_oauth_headers();
    }

    #[track_caller]
    fn assert_oauth_headers(&self) {
        self.assert_headers("no-store");
        assert_eq!(self.header("pragma"), Some("no-cache"));
    }
}

/// A confidential client with this secret.
async fn confidential(stack: &TestStack, organization: &str) -> (String, String) {
    let action = json!({
        "action": "createClient", "organizationId": organization, "redirectUris": [REDIRECT_URI], "services": ["email"],
        "scopes": ["openid", "profile", "email"], "confidential": true,
    });
    let made = stack.provision(&action).await;
    let secret = made["clientSecret"].as_str().unwrap().to_owned();
    Secrets::add_credential(&secret);
    (made["clientId"].as_str().unwrap().to_owned(), secret)
}

async fn start() -> (TestStack, Tenant) {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    exchange_token::client(&stack, &json!({"organizationId": tenant.organization})).await;
    (stack, tenant)
}

fn basic(request: RequestBuilder, id: &str, secret: &str) -> RequestBuilder {
    request.header("authorization", format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))))
}

async fn client_credentials(stack: &TestStack, registration: &str, key: &str, more: &[(&str, &str)]) -> Answer {
    let form = [&[("grant_type", "client_credentials")], more].concat();
    stack.send(basic(stack.form(TOKEN, &form), registration, key)).await
}

fn api_key_id(key: &str) -> String {
    Credential::parse(CredentialKind::ApiKey, key).unwrap().id().to_string()
}

async fn introspect(stack: &TestStack, key: &str, token: &str) -> Value {
    let answer = stack.send(stack.form(INTROSPECT, &[("token", token)]).bearer_auth(key)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.assert_oauth_headers();
    answer.json()
}

async fn is_active(stack: &TestStack, key: &str, token: &str) -> bool {
    let body = introspect(stack, key, token).await;
    let active = body["active"].as_bool().unwrap();
    assert!(active || body == json!({"active": false}), "{body}");
    active
}

async fn revoke(stack: &TestStack, token: &str) {
    let answer = stack.post_form(REVOKE, &[("token", token)]).await;
    assert_eq!((answer.status, answer.json()), (200, json!({})));
    answer.assert_oauth_headers();
}

async fn userinfo(stack: &TestStack, token: &str) -> Answer {
    stack.send(stack.http.get(stack.url(USERINFO)).bearer_auth(token)).await
}

// ------------------------------------------------------------------------------------------------ users

#[tokio::test(flavor = "multi_thread")]
async fn a_code_gives_the_tokens_of_the_standards() {
    let (stack, _) = start().await;
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
        "iss": ISSUER, "sub": "user-1", "iat": START, "exp": START + 3600, "auth_time": 1_735_689_600, "sid": user.session,
    });
    let own = json!({
        "aud": ISSUER, "client_id": CLIENT, "jti": claims["jti"], "scope": "openid profile email",
    });
    assert_eq!(claims, with(&common, &own));

    let (header, claims) = verified(&stack, &user.id_token, CLIENT).await;
    assert_eq!(header, format!(r#"{{"alg":"RS256","typ":"JWT","kid":"{kid}"}}"#));
    let hash = digest::digest(&digest::SHA256, user.access_token.as_bytes());
    let own = json!({
        "aud": CLIENT, "at_hash": URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]), "nonce": "n-1", "name": "Ada",
        "email": "ada@example.com", "email_verified": true,
    });
    assert_eq!(claims, with(&common, &own));
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
async fn a_refresh_may_be_narrowed_and_has_no_nonce() {
    let (stack, _) = start().await;
    let first = code(&stack, &json!({"nonce": "n-1", "claims": {"email": "a@b.example", "name": "A"}})).await;
    let first = exchange(&stack, &first).await.user(first);
    stack.clock.advance(10);
    let form = [("grant_type", "refresh_token"), ("refresh_token", &first.refresh_token), ("scope", "openid email")];
    let answer = stack.post_form(TOKEN, &form).await;
    assert_eq!(answer.json()["scope"], "openid email");
    let narrowed = answer.user(first.code.clone());
    assert_ne!(narrowed.refresh_token, first.refresh_token);
    let (_, claims) = verified(&stack, &narrowed.id_token, CLIENT).await;
    assert_eq!((claims.get("nonce"), claims.get("name"), &claims["email"]), (None, None, &json!("a@b.example")));
    assert_eq!((&claims["iat"], &claims["auth_time"]), (&json!(START + 10), &json!(START)));
    let (_, claims) = verified(&stack, &narrowed.access_token, ISSUER).await;
    assert_eq!(claims["scope"], "openid email");

    // The next one has the whole scope again, unless it asks for more.
    let wide = [("grant_type", "refresh_token"), ("refresh_token", &narrowed.refresh_token), ("scope", "openid phone")];
    stack.post_form(TOKEN, &wide).await.assert_error(400, "invalid_scope", None);
    let answer = refresh(&stack, &narrowed.refresh_token).await;
    assert_eq!(answer.json()["scope"], "openid profile email");
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
    refresh(&stack, &here.refresh_token).await.assert_error(400, "invalid_grant", None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_needs_pkce() {
    let (stack, _) = start().await;
    let plain = exchange_token::issue(&stack, &json!({})).await;
    let without_verifier = &code_form(&plain)[..4];
    for form in [without_verifier, &code_form(&plain)] {
        stack.post_form(TOKEN, form).await.assert_error(400, "invalid_grant", None);
    }
    let challenged = code(&stack, &json!({})).await;
    let mut wrong = code_form(&challenged);
    wrong[4].1 = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl";
    for form in [&code_form(&challenged)[..4], &wrong] {
        stack.post_form(TOKEN, form).await.assert_error(400, "invalid_grant", None);
    }
    wrong[4].1 = "short";
    stack.post_form(TOKEN, &wrong).await.assert_error(400, "invalid_grant", None);
    let mut wrong = code_form(&challenged);
    wrong[3].1 = "https://app.example.com/other";
    stack.post_form(TOKEN, &wrong).await.assert_error(400, "invalid_grant", None);
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
    stack.post_form(TOKEN, &again).await.assert_error(400, "invalid_grant", None);
    refresh(&stack, &user.refresh_token).await.assert_error(400, "invalid_grant", None);
    assert!(!is_active(&stack, &tenant.key, &user.access_token).await);
    userinfo(&stack, &user.access_token).await.assert_error(
        401,
        "invalid_token",
        Some("Bearer realm=\"tokenmint\", error=\"invalid_token\""),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_repeated_and_an_old_token_ends_the_grant() {
    let (stack, _) = start().await;
    let first = user(&stack).await;
    let second = refresh(&stack, &first.refresh_token).await.user(first.code.clone());
    stack.calls.reset();
    let again = refresh(&stack, &first.refresh_token).await.user(first.code.clone());
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Sign", 2)]));
    assert_eq!(again.refresh_token, second.refresh_token);
    let third = refresh(&stack, &second.refresh_token).await.user(first.code.clone());
    refresh(&stack, &first.refresh_token).await.assert_error(400, "invalid_grant", None);
    refresh(&stack, &third.refresh_token).await.assert_error(400, "invalid_grant", None);
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
    refresh(&stack, token).await.assert_error(400, "invalid_grant", None);
}

// ------------------------------------------------------------------------------------------------ client authentication

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
        ("Basic with an empty secret", basic(request(&[]), &id, ""), 401, "invalid_client", Some(BASIC)),
        ("Basic with another's", basic(request(&[]), &id, &other_secret), 401, "invalid_client", Some(BASIC)),
        ("Basic, malformed", basic(request(&[]), &id, &wrong), 401, "invalid_client", Some(BASIC)),
        ("Basic, unreadable", request(&[]).header("authorization", "Basic !"), 401, "invalid_client", Some(BASIC)),
        ("Bearer", request(&named).bearer_auth(&secret), 401, "invalid_client", None),
        ("two methods", basic(request(&[("client_secret", &secret)]), &id, &secret), 400, "invalid_request", None),
        ("two clients", basic(request(&[("client_id", CLIENT)]), &id, &secret), 400, "invalid_request", None),
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
    let user = stack.send(basic(request(&named), &id, &secret)).await.user(code.clone());

    let refresh = |token: &str| stack.form(TOKEN, &[("grant_type", "refresh_token"), ("refresh_token", token)]);
    let second = basic(refresh(&user.refresh_token), &id.replace('-', "%2D"), &secret.replace('_', "%5F"));
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
    stack.send(basic(refresh(&user.refresh_token), &id, &other_secret)).await.assert_error(
        401,
        "invalid_client",
        Some(BASIC),
    );
    let (other, other_secret) = confidential(&stack, &tenant.organization).await;
    stack.send(basic(refresh(&user.refresh_token), &other, &other_secret)).await.assert_error(
        400,
        "invalid_grant",
        None,
    );
    assert!(is_active(&stack, &tenant.key, &third.refresh_token).await);
    stack.send(basic(refresh(&user.refresh_token), &id, &secret)).await.assert_error(400, "invalid_grant", None);
    assert!(!is_active(&stack, &tenant.key, &third.refresh_token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_may_name_itself_in_basic_or_not_at_all() {
    let (stack, _) = start().await;
    let code = code(&stack, &json!({})).await;
    let form = code_form(&code);
    let without_id = [&form[..1], &form[2..]].concat();
    stack.post_form(TOKEN, &without_id).await.assert_error(401, "invalid_client", None);
    let first = stack.send(basic(stack.form(TOKEN, &without_id), CLIENT, "")).await.user(code.clone());
    let form = [("grant_type", "refresh_token"), ("refresh_token", first.refresh_token.as_str())];
    let second = stack.send(basic(stack.form(TOKEN, &form), CLIENT, "")).await.user(code.clone());
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
        (basic(stack.form(TOKEN, &[("grant_type", "client_credentials")]), &id, &secret), "unauthorized_client"),
        (
            basic(stack.form(TOKEN, &[("grant_type", "authorization_code")]), &tenant.registration, &tenant.key),
            "unauthorized_client",
        ),
        (
            basic(
                stack.form(TOKEN, &[("grant_type", "refresh_token"), ("refresh_token", "x")]),
                &tenant.registration,
                &tenant.key,
            ),
            "unauthorized_client",
        ),
        (basic(stack.form(TOKEN, &[("grant_type", "password")]), &id, &secret), "unsupported_grant_type"),
        (basic(stack.form(TOKEN, &[("grant_type", "")]), &id, &secret), "invalid_request"),
        (basic(stack.form(TOKEN, &[("code", "x")]), &id, &secret), "invalid_request"),
    ] {
        stack.send(request).await.assert_error(400, error, None);
    }
    for (form, key) in [
        (&[("grant_type", "client_credentials")][..], ""),
        (&[("grant_type", "authorization_code"), ("code", "x")], "tmk_x"),
        (&[("grant_type", "client_credentials")], &secret),
    ] {
        let answer = stack.send(basic(stack.form(TOKEN, form), &tenant.registration, key)).await;
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
        stack.send(basic(request(), &id, "wrong")).await.assert_error(401, "invalid_client", Some(BASIC));
        let answer = stack.send(basic(request(), &id, &secret)).await;
        answer.assert_error(400, "invalid_request", None);
        let description = if grant_type == "refresh_token" { "refresh_token is required" } else { "code is required" };
        assert_eq!(answer.json()["error_description"], description);
    }
    let form = [("grant_type", "x"), ("client_id", id.as_str())];
    stack.post_form(TOKEN, &form).await.assert_error(400, "unsupported_grant_type", None);
    let scope = [("grant_type", "client_credentials"), ("scope", "a  b")];
    stack.send(basic(stack.form(TOKEN, &scope), "unknown", &tenant.key)).await.assert_error(
        401,
        "invalid_client",
        Some(BASIC),
    );
    let scoped = stack.send(basic(stack.form(TOKEN, &scope), &tenant.registration, &tenant.key)).await;
    scoped.assert_error(400, "invalid_scope", None);
}

// ------------------------------------------------------------------------------------------------ client_credentials

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
    assert_eq!(
        body,
        json!({"access_token": token, "token_type": "Bearer", "expires_in": 500, "scope": "oauth.token.create read:things"})
    );
    let without_scopes = stack.registration(&tenant.organization, &json!({"scopes": []})).await;
    let empty = client_credentials(&stack, &without_scopes, &tenant.key, &[]).await.json();
    assert_eq!(empty.get("scope"), None);
    let (_, claims) = verified(&stack, empty["access_token"].as_str().unwrap(), ISSUER).await;
    assert_eq!(claims.get("scope"), None);
    let (_, claims) = verified(&stack, token, ISSUER).await;
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "sub": registration, "aud": ISSUER, "client_id": registration, "jti": claims["jti"], "iat": START,
            "exp": START + 500, "scope": "oauth.token.create read:things",
        })
    );
    let narrowed = client_credentials(&stack, &registration, &tenant.key, &[("scope", "read:things")]).await;
    assert_eq!(narrowed.json()["scope"], "read:things");
    for scope in ["write:things", "read:things write:things", "read:things  ", "é"] {
        let answer = client_credentials(&stack, &registration, &tenant.key, &[("scope", scope)]).await;
        answer.assert_error(400, "invalid_scope", None);
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
    invalid.assert_error(401, "invalid_client", Some(BASIC));
    client_credentials(&stack, "unknown", &tenant.key, &[]).await.assert_error(401, "invalid_client", Some(BASIC));
    let weak = stack.api_key_that_may(&tenant.organization, &["oauth.token.list"]).await;
    client_credentials(&stack, &tenant.registration, &weak, &[]).await.assert_error(400, "unauthorized_client", None);

    // A caller cannot pass on what it lacks, but a narrower scope without it.
    let scopes = json!({"scopes": ["oauth.token.revoke", "read:things"]});
    let registration = stack.registration(&tenant.organization, &scopes).await;
    let creator = stack.api_key_that_may(&tenant.organization, &["oauth.token.create"]).await;
    client_credentials(&stack, &registration, &creator, &[]).await.assert_error(400, "invalid_scope", None);
    let narrow = client_credentials(&stack, &registration, &creator, &[("scope", "read:things")]).await;
    assert_eq!(narrow.json()["scope"], "read:things");
    let action = json!({"action": "revokeApiKey", "apiKeyId": api_key_id(&creator)});
    stack.provision(&action).await;
    client_credentials(&stack, &registration, &creator, &[]).await.assert_error(401, "invalid_client", Some(BASIC));
}

/// A caller who is nobody costs one small read: the registration is read only after the key was found to be good.
#[tokio::test(flavor = "multi_thread")]
async fn a_made_up_key_costs_one_small_read() {
    let (stack, tenant) = start().await;
    let made_up = Credential::generate(CredentialKind::ApiKey, &shared::random::SystemRandom).unwrap();
    stack.calls.reset();
    let answer = client_credentials(&stack, &tenant.registration, made_up.expose(), &[]).await;
    answer.assert_error(401, "invalid_client", Some(BASIC));
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 1)]));
    stack.calls.reset();
    let request = stack.form(INTROSPECT, &[("token", &tenant.key)]).bearer_auth(made_up.expose());
    assert_eq!(stack.send(request).await.status, 401);
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 1)]));
    stack.calls.reset();
    for wrong in ["tmk_x", "wrong", &tenant.key.replace("tmk_", "tma_")] {
        client_credentials(&stack, &tenant.registration, wrong, &[]).await.assert_error(
            401,
            "invalid_client",
            Some(BASIC),
        );
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
    full.assert_error(429, "temporarily_unavailable", None);
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
        stack.send(basic(request, &registration, &tenant.key)).await
    };
    let first = send("one", "b a").await;
    assert_eq!((first.header("idempotency-replayed"), &first.json()["scope"]), (None, &json!("a b")));
    stack.clock.advance(7);
    let again = send("one", "a b").await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json(), with(&first.json(), &json!({"expires_in": 93})));
    for other in ["", "a", "a b c", "unknown"] {
        send("one", other).await.assert_error(422, "invalid_request", None);
    }
    // What was issued is repeated after the scopes were changed, too.
    stack
        .provision(&json!({"action": "updateRegistration", "registrationId": registration, "scopes": ["b", "d"]}))
        .await;
    assert_eq!(send("one", "a b").await.json(), again.json());
    send("two", "a b").await.assert_error(400, "invalid_scope", None);
    let whole = send("two", "").await.json();
    assert_eq!(whole["scope"], "b d");
    send("two", "b d").await.assert_error(422, "invalid_request", None);
    let token = first.json()["access_token"].as_str().unwrap().to_owned();
    revoke(&stack, &token).await;
    let next = send("one", "b").await.json();
    assert_ne!(next["access_token"], token.as_str());
    assert!(!is_active(&stack, &tenant.key, &token).await);
    let request = stack.form(TOKEN, &[("grant_type", "client_credentials")]).header("idempotency-key", "a,b");
    stack.send(basic(request, &registration, &tenant.key)).await.assert_error(400, "invalid_request", None);
}

// ------------------------------------------------------------------------------------------------ introspection

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
        ("Basic", basic(request(&[]), &id, key)),
        ("Basic, form-encoded", basic(request(&[]), &id, &encoded)),
        ("Basic and the same id", basic(request(&[("client_id", &id)]), &id, key)),
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
        ("a wrong Basic", basic(request(&[]), &id, "x"), 401, "invalid_client", Some(BASIC)),
        ("another's id", basic(request(&[]), &other, key), 401, "invalid_client", Some(BASIC)),
        ("a wrong body", request(&[("client_id", &id), ("client_secret", "x")]), 401, "invalid_client", Some(missing)),
        ("no secret", request(&[("client_id", &id)]), 401, "invalid_client", Some(missing)),
        ("two methods", request(&[("client_secret", key)]).bearer_auth(key), 400, "invalid_request", None),
        ("two methods", basic(request(&[("client_secret", key)]), &id, key), 400, "invalid_request", None),
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

// ------------------------------------------------------------------------------------------------ revocation

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_a_credential_may_end_it() {
    let (stack, tenant) = start().await;
    let made = stack.post(&tenant.app_tokens(), &tenant.key, &json!({})).await.json()["data"]["bearer"].clone();
    let app_token = made.as_str().unwrap().to_owned();
    Secrets::add_credential(&app_token);
    let key = stack.api_key_that_may(&tenant.organization, &[]).await;
    let token = tenant.create_token(&stack).await.json()["token"]["accessToken"].as_str().unwrap().to_owned();
    let other = tenant.create_token(&stack).await.json()["token"]["accessToken"].as_str().unwrap().to_owned();
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
    stack.post_form(REVOKE, &form).await.assert_error(401, "invalid_client", None);
    let wrong = basic(stack.form(REVOKE, &form[..1]), &tenant.registration, "x");
    stack.send(wrong).await.assert_error(401, "invalid_client", Some(BASIC));
    let missing = stack.post_form(REVOKE, &[("token", ""), ("client_id", CLIENT)]).await;
    missing.assert_error(400, "invalid_request", None);
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
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", REDIRECT_URI)];
    let user = stack.send(basic(stack.form(TOKEN, &form), &id, &secret)).await.user(code);
    for token in [&user.code, &user.refresh_token, &user.access_token] {
        let request = || stack.form(REVOKE, &[("token", token)]);
        stack.send(request()).await.assert_error(401, "invalid_client", None);
        stack.send(basic(request(), &other, &other_secret)).await.assert_error(401, "invalid_client", Some(BASIC));
        stack.send(basic(request(), &id, &other_secret)).await.assert_error(401, "invalid_client", Some(BASIC));
        stack.send(basic(request(), &tenant.registration, &tenant.key)).await.assert_error(
            401,
            "invalid_client",
            Some(BASIC),
        );
        stack.post_form(REVOKE, &[("token", token), ("client_id", CLIENT)]).await.assert_error(
            401,
            "invalid_client",
            None,
        );
    }
    assert!(is_active(&stack, &tenant.key, &user.refresh_token).await);
    // Once the grant has ended there is nothing to protect.
    stack.clock.advance(30 * 86400);
    revoke(&stack, &user.refresh_token).await;
    stack.clock.advance(-30 * 86400);
    assert!(is_active(&stack, &tenant.key, &user.refresh_token).await);
    let request = basic(stack.form(REVOKE, &[("token", &user.access_token)]), &id, &secret);
    assert_eq!(stack.send(request).await.status, 200);
    assert!(!is_active(&stack, &tenant.key, &user.refresh_token).await);
}

// ------------------------------------------------------------------------------------------------ user information

#[tokio::test(flavor = "multi_thread")]
async fn user_information_is_for_users_with_openid() {
    let (stack, tenant) = start().await;
    let claims =
        json!({"name": "Ada", "email": "ada@example.com", "email_verified": false, "address": {"country": "x"}});
    let code = code(&stack, &json!({"claims": claims, "scope": "openid email"})).await;
    let user = exchange(&stack, &code).await.user(code);
    let expected = json!({"sub": "user-1", "email": "ada@example.com", "email_verified": false});
    // From now on the function has the public key.
    userinfo(&stack, &user.access_token).await;
    for request in [stack.http.get(stack.url(USERINFO)), stack.http.post(stack.url(USERINFO))] {
        stack.calls.reset();
        let answer = stack.send(request.bearer_auth(&user.access_token)).await;
        assert_eq!((answer.status, answer.json()), (200, expected.clone()));
        answer.assert_oauth_headers();
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 1)]));
    }
    let narrow = [("grant_type", "refresh_token"), ("refresh_token", user.refresh_token.as_str()), ("scope", "email")];
    let narrow = stack.post_form(TOKEN, &narrow).await.user(user.code.clone());
    let challenge = "Bearer realm=\"tokenmint\", error=\"insufficient_scope\"";
    userinfo(&stack, &narrow.access_token).await.assert_error(403, "insufficient_scope", Some(challenge));

    let body = with(&exchange_token::refresh_body(&narrow.refresh_token), &json!({"scope": null}));
    let documented = exchange_token::post(&stack, &body).await.json();
    let registration = client_credentials(&stack, &tenant.registration, &tenant.key, &[]).await.json();
    let invalid = Some("Bearer realm=\"tokenmint\", error=\"invalid_token\"");
    for token in [
        documented["items"][0]["accessToken"].as_str().unwrap(),
        registration["access_token"].as_str().unwrap(),
        &user.id_token,
        &user.refresh_token,
        &user.code,
        &tenant.key,
        "x",
    ] {
        userinfo(&stack, token).await.assert_error(401, "invalid_token", invalid);
    }
    stack.get(USERINFO).await.assert_error(401, "invalid_token", Some("Bearer realm=\"tokenmint\""));
    stack.clock.advance(3600);
    userinfo(&stack, &user.access_token).await.assert_error(401, "invalid_token", invalid);
}

// ------------------------------------------------------------------------------------------------ issuers and metadata

#[tokio::test(flavor = "multi_thread")]
async fn each_family_has_its_issuer_and_bearers_of_both_are_accepted() {
    const NAME: &str = "tokens-of-acme";
    let stack = TestStack::start_with(|options| {
        (options.issuer, options.oidc_issuer) = (Some(NAME.to_owned()), Some(ISSUER.to_owned()));
    });
    let stack = stack.await;
    let tenant = Tenant::new(&stack, "acme").await;
    exchange_token::client(&stack, &json!({"organizationId": tenant.organization})).await;
    let documented = tenant.create_token(&stack).await.json()["token"]["accessToken"].as_str().unwrap().to_owned();
    let standard = client_credentials(&stack, &tenant.registration, &tenant.key, &[]).await.json();
    let standard = format!("oauth2_{}", standard["access_token"].as_str().unwrap());
    for (token, issuer) in [(documented, NAME), (standard, ISSUER)] {
        let payload = token.split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
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
        ("scopes_supported", json!(["openid", "profile", "email", "phone", "address"])),
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
        ["iss", "sub", "aud", "exp", "iat", "nonce", "at_hash", "email_verified"]
            .iter()
            .all(|claim| claims.contains(claim))
    );
    assert!(stack.calls.count().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_login_service_there_are_no_users() {
    let stack = TestStack::start().await;
    let node = crate::harness::Node::start_with(&stack, chrono::TimeDelta::zero(), &[("AUTHORIZATION_ENDPOINT", "")]);
    let request = crate::harness::ApiRequest::new("publish-keys", &json!({}), "", &json!({}));
    let answer = node.send(&request.with_route("GET /.well-known/openid-configuration", "")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body.get("authorization_endpoint"), None);
    assert_eq!(answer.body["response_types_supported"], json!([]));
    assert_eq!(answer.body["grant_types_supported"], json!(["client_credentials"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_issuer_that_is_a_url_there_are_no_such_endpoints() {
    for issuer in [
        "tokens-of-acme",
        "https://tokens.example.com/",
        "https://tokens.example.com/path",
        "http://tokens.example.com",
    ] {
        let stack = TestStack::start_with(|options| options.issuer = Some(issuer.to_owned())).await;
        for path in [TOKEN, REVOKE, INTROSPECT, USERINFO] {
            stack.post_form(path, &[("grant_type", "x")]).await.assert_error(404, "invalid_request", None);
        }
        for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
            let answer = stack.get(path).await;
            answer.assert_headers("public, max-age=300");
            assert_eq!(answer.status, 404);
        }
        assert_eq!(stack.get("/.well-known/jwks.json").await.status, 200);
    }
}

// ------------------------------------------------------------------------------------------------ hostile forms

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_form_gets_a_documented_error_and_is_not_echoed() {
    const MARKER: &str = "hostileMarker";
    let (stack, tenant) = start().await;
    let many = |count: usize, value: &str| (0..count).map(|n| format!("p{n}={value}")).collect::<Vec<_>>().join("&");
    let form = "application/x-www-form-urlencoded";
    let credentials = format!("client_id={MARKER}&client_secret={MARKER}");
    for (what, content_type, body, status, error) in [
        ("JSON", "application/json", b"{}".to_vec(), 400, "invalid_request"),
        ("no content type", "", b"grant_type=refresh_token".to_vec(), 400, "invalid_request"),
        ("multipart", "multipart/form-data; boundary=x", b"--x".to_vec(), 400, "invalid_request"),
        ("an empty body", form, vec![], 400, "invalid_request"),
        (
            "a parameter twice",
            form,
            b"grant_type=refresh_token&grant_type=refresh_token".to_vec(),
            400,
            "invalid_request",
        ),
        (
            "an unknown one twice",
            form,
            format!("grant_type=refresh_token&{MARKER}=1&{MARKER}=2").into_bytes(),
            400,
            "invalid_request",
        ),
        ("twice, once encoded", form, b"grant_type=refresh_token&%67rant_type=x".to_vec(), 400, "invalid_request"),
        ("twice, once empty", form, b"grant_type=refresh_token&grant_type=".to_vec(), 400, "invalid_request"),
        ("bad percent encoding", form, format!("grant_type={MARKER}%").into_bytes(), 400, "invalid_request"),
        ("bad percent encoding", form, format!("{MARKER}=%4").into_bytes(), 400, "invalid_request"),
        ("invalid UTF-8", form, [b"grant_type=", MARKER.as_bytes(), b"\xff"].concat(), 400, "invalid_request"),
        ("encoded invalid UTF-8", form, format!("grant_type={MARKER}%c3%28").into_bytes(), 400, "invalid_request"),
        ("10,000 parameters", form, many(10_000, MARKER).into_bytes(), 400, "invalid_request"),
        ("2,000 parameters", form, many(2000, "").into_bytes(), 400, "invalid_request"),
        ("an unknown grant type", form, format!("grant_type={MARKER}").into_bytes(), 400, "unsupported_grant_type"),
        (
            "a NUL",
            form,
            format!("grant_type=refresh_token&refresh_token={MARKER}%00").into_bytes(),
            400,
            "invalid_grant",
        ),
        (
            "a long token",
            form,
            format!("grant_type=refresh_token&refresh_token={}", MARKER.repeat(1000)).into_bytes(),
            400,
            "invalid_grant",
        ),
        (
            "a wide scope",
            form,
            format!("grant_type=refresh_token&refresh_token=x&scope=%22{MARKER}").into_bytes(),
            400,
            "invalid_scope",
        ),
        (
            "unknown credentials",
            form,
            format!("grant_type=client_credentials&{credentials}").into_bytes(),
            401,
            "invalid_client",
        ),
        ("bare names", form, b"grant_type&code&&=&".to_vec(), 400, "invalid_request"),
    ] {
        let request = stack.http.post(stack.url(TOKEN)).body(body);
        let answer = stack
            .send(if content_type.is_empty() { request } else { request.header("content-type", content_type) })
            .await;
        println!("{what}: {}", answer.text);
        answer.assert_error(status, error, None);
        assert!(!answer.text.contains(MARKER), "{what}");
    }
    // The query string is not read.
    let path =
        format!("{TOKEN}?grant_type=client_credentials&client_id={}&client_secret={}", tenant.registration, tenant.key);
    stack.send(stack.form(&path, &[])).await.assert_error(400, "invalid_request", None);
    stack.send(stack.form(&path, &[("grant_type", "client_credentials")])).await.assert_error(
        401,
        "invalid_client",
        None,
    );
    let user = user(&stack).await;
    let answer = stack.get(&format!("{USERINFO}?access_token={}", user.access_token)).await;
    answer.assert_error(401, "invalid_token", Some("Bearer realm=\"tokenmint\""));
    // Parameters of the media type do no harm.
    let request =
        stack.http.post(stack.url(REVOKE)).header("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8");
    assert_eq!(stack.send(request.body("token=x")).await.status, 200);
}
