//! The Lambda authorizer, and the route of the local stack that it protects.

use chrono::TimeDelta;
use serde_json::{Value, json};
use shared::{
    auth::Permission,
    credential::{Credential, CredentialKind},
    keys::SigningMode,
};

use crate::harness::{
    Answer, ApiRequest, ISSUER, InjectedFault, Lambda, Node, START, Secrets, Tenant, TestStack,
    authorizer_event as event, authorizer_event_of, calls, command,
    exchange_token::{self, CLIENT},
    oauth2, unverified_claims, with, with_bearer,
};

async fn authorize(stack: &TestStack, event: &Value) -> Value {
    stack.local.invoke("authorize", event).await.unwrap()
}

fn denied() -> Value {
    json!({"isAuthorized": false})
}

/// One credential of each kind that is a bearer, with the context that it must give.
async fn credentials(stack: &TestStack, tenant: &Tenant) -> Vec<(String, Value)> {
    exchange_token::client(stack, &json!({"organizationId": tenant.organization})).await;
    let organization = tenant.organization.as_str();
    let all = Permission::ALL.map(Permission::as_str).join(" ");
    let key_id = Credential::parse(CredentialKind::ApiKey, &tenant.key).unwrap().id().to_string();
    let made = tenant.create_app_token(stack, &json!({"scopes": ["sdk", "x"]})).await.json()["data"].clone();
    let app_token = made["bearer"].as_str().unwrap().to_owned();
    let token = tenant.create_token(stack).await.access_token();
    let user = oauth2::user(stack).await;
    let documented = exchange_token::refresh(stack, &user.refresh_token).await.json()["items"][0].clone();
    let documented = documented["accessToken"].as_str().unwrap().to_owned();
    let jti = |token: &str| unverified_claims(token)["jti"].clone();
    let registration = tenant.registration.as_str();
    let of_token = json!({
        "kind": "accessToken", "tokenId": jti(&token), "organization": organization, "registration": registration,
        "clientId": registration, "sub": registration, "scope": "oauth.token.create", "aud": ISSUER,
        "exp": (START + 31_536_000).to_string(),
    });
    let of_user = json!({
        "kind": "userToken", "organization": organization, "clientId": CLIENT, "sub": "user-1",
        "scope": "openid profile email", "exp": (START + 3600).to_string(),
    });
    vec![
        (
            tenant.key.clone(),
            json!({"kind": "apiKey", "tokenId": key_id, "sub": key_id, "organization": organization, "scope": all}),
        ),
        (
            app_token,
            json!({
                "kind": "appToken", "tokenId": made["id"], "sub": made["id"], "organization": organization,
                "application": tenant.application, "scope": "sdk x",
            }),
        ),
        (token["oauth2_".len()..].to_owned(), of_token.clone()),
        (token, of_token),
        (user.access_token.clone(), with(&of_user, &json!({"tokenId": jti(&user.access_token), "aud": ISSUER}))),
        (documented.clone(), with(&of_user, &json!({"tokenId": jti(&documented), "aud": CLIENT}))),
    ]
}

/// How many items a decision reads at the same time: an app token and its application, a user's grant and its client.
fn reads(context: &Value) -> usize {
    if ["appToken", "userToken"].contains(&context["kind"].as_str().unwrap()) { 2 } else { 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_credential_is_allowed_until_it_is_revoked() {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    let credentials = credentials(&stack, &tenant).await;
    // From now on it has the public key.
    authorize(&stack, &event(&credentials[2].0)).await;
    for (bearer, context) in &credentials {
        stack.calls.reset();
        // All reads are in one round: none is answered before the last one is sent.
        stack.calls.answer_together("GetItem", reads(context));
        let decision = authorize(&stack, &event(bearer)).await;
        assert_eq!(decision, json!({"isAuthorized": true, "context": context}));
        assert_eq!(stack.calls.count(), calls(&[("GetItem", reads(context))]));
        assert!(context.as_object().unwrap().values().all(Value::is_string));
    }
    stack.calls.answer_together("GetItem", 1);
    for (bearer, _) in credentials {
        assert_eq!(stack.post_form("/oauth2/revoke", &[("token", &bearer)]).await.status, 200);
        assert_eq!(authorize(&stack, &event(&bearer)).await, denied());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_not_a_good_bearer_is_denied() {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    let (bearer, _) = credentials(&stack, &tenant).await.remove(2);
    let user = oauth2::user(&stack).await;
    let code = oauth2::code(&stack, &json!({})).await;
    authorize(&stack, &event(&bearer)).await;
    stack.calls.reset();
    let mut changed = bearer.clone();
    changed.replace_range(
        bearer.len() - 5..bearer.len() - 4,
        if &bearer[bearer.len() - 5..][..1] == "A" { "B" } else { "A" },
    );
    for header in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        bearer.clone(),
        format!("Basic {bearer}"),
        format!("Bearer {bearer},Bearer {bearer}"),
        format!("Bearer {changed}"),
        format!("Bearer oauth2_{}", user.access_token),
        format!("Bearer {}x", tenant.key),
        format!("Bearer {}", "x".repeat(9000)),
        "Bearer é".to_owned(),
    ] {
        assert_eq!(authorize(&stack, &authorizer_event_of(&header)).await, denied(), "{header}");
    }
    for event in [
        json!({}),
        json!([]),
        json!("x"),
        json!({"headers": {"authorization": format!("Bearer {}", tenant.key)}}),
        with(&event(&tenant.key), &json!({"headers": {}})),
        with(&event(&tenant.key), &json!({"headers": 1})),
        // Decisions would be cached for something else than the credential.
        with(&event(&tenant.key), &json!({"identitySource": null})),
        with(&event(&tenant.key), &json!({"identitySource": []})),
        with(&event(&tenant.key), &json!({"identitySource": ["GET"]})),
        with(&event(&tenant.key), &json!({"identitySource": ["Bearer x"]})),
    ] {
        assert_eq!(authorize(&stack, &event).await, denied(), "{event}");
    }
    assert!(stack.calls.count().is_empty());
    // These need a read, or are no bearers.
    let unknown = Credential::generate(CredentialKind::ApiKey, &shared::random::SystemRandom).unwrap();
    for bearer in [unknown.expose(), &user.refresh_token, &user.id_token, &code, &user.code] {
        stack.calls.reset();
        assert_eq!(authorize(&stack, &event(bearer)).await, denied(), "{bearer}");
        assert!(stack.calls.count().values().sum::<usize>() <= 1);
    }
    stack.clock.advance(3600);
    assert_eq!(authorize(&stack, &event(&user.access_token)).await, denied());
    let sources = json!([format!("Bearer {}", tenant.key), "GET"]);
    let cached_by_more = with(&event(&tenant.key), &json!({"identitySource": sources}));
    assert_eq!(authorize(&stack, &cached_by_more).await["isAuthorized"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_restrict_whom_it_allows() {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    let credentials = credentials(&stack, &tenant).await;
    for (name, value, expected) in [
        ("REQUIRED_SCOPES", "sdk", "appToken"),
        ("REQUIRED_SCOPES", "openid email", "userToken userToken"),
        ("REQUIRED_SCOPES", "oauth.token.create", "apiKey accessToken accessToken"),
        ("REQUIRED_SCOPES", "sdk openid", ""),
        (
            "ORGANIZATION_ID",
            tenant.organization.as_str(),
            "apiKey appToken accessToken accessToken userToken userToken",
        ),
        ("ORGANIZATION_ID", "000000000000000000000000", ""),
        ("CREDENTIAL_KINDS", "apiKey,appToken", "apiKey appToken"),
        ("CLIENT_IDS", CLIENT, "apiKey appToken userToken userToken"),
        ("CLIENT_IDS", tenant.registration.as_str(), "apiKey appToken accessToken accessToken"),
    ] {
        let node = Node::start_with(&stack, TimeDelta::zero(), &[(name, value)]);
        let mut allowed = vec![];
        for (bearer, context) in &credentials {
            let request = ApiRequest { function: "authorize", event: event(bearer) };
            let decision = node.send(&request).await.body;
            if decision["isAuthorized"] == true {
                allowed.push(context["kind"].as_str().unwrap());
            } else {
                assert_eq!(decision, denied());
            }
        }
        assert_eq!(allowed.join(" "), expected, "{name} {value}");
    }
}

/// A failure is not a denial: the caller gets a 500 and not a 403.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_aws_is_a_function_error() {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    stack.calls.fail("GetItem", &[InjectedFault::NotSent; 3]);
    let error = stack.local.invoke("authorize", &event(&tenant.key)).await.unwrap_err();
    assert_eq!(error, json!({"errorType": "InternalError", "errorMessage": "Internal server error"}));
    assert_eq!(authorize(&stack, &event(&tenant.key)).await["isAuthorized"], true);
    stack.calls.fail("GetItem", &[InjectedFault::NotSent; 3]);
    let answer = whoami(&stack, &tenant.key).await;
    assert_eq!((answer.status, answer.json()), (500, json!({"message": "Internal Server Error"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_envelope_signing_it_takes_one_round_once_it_is_warm() {
    let stack = TestStack::start_with(|options| options.signing_mode = SigningMode::Envelope).await;
    stack.provision(&json!({"action": "rotateSigningKey"})).await;
    let tenant = Tenant::new(&stack, "acme").await;
    for (bearer, context) in credentials(&stack, &tenant).await {
        authorize(&stack, &event(&bearer)).await;
        stack.calls.reset();
        stack.calls.answer_together("GetItem", reads(&context));
        assert_eq!(authorize(&stack, &event(&bearer)).await, json!({"isAuthorized": true, "context": context}));
        assert_eq!(stack.calls.count(), calls(&[("GetItem", reads(&context))]));
        stack.calls.answer_together("GetItem", 1);
    }
}

/// With traffic a JWT never waits for the signing keys: they are read again beside its own item.
#[tokio::test(flavor = "multi_thread")]
async fn with_envelope_signing_the_keys_are_refreshed_beside_the_read() {
    let stack = TestStack::start_with(|options| options.signing_mode = SigningMode::Envelope).await;
    stack.provision(&json!({"action": "rotateSigningKey"})).await;
    let tenant = Tenant::new(&stack, "acme").await;
    let (bearer, _) = credentials(&stack, &tenant).await.remove(2);
    authorize(&stack, &event(&bearer)).await;
    for (after, reads) in [(29, 1), (2, 2), (29, 1), (2, 2), (61, 2)] {
        stack.clock.advance(after);
        stack.calls.reset();
        assert_eq!(authorize(&stack, &event(&bearer)).await["isAuthorized"], true);
        assert_eq!(stack.calls.count(), calls(&[("GetItem", reads)]), "{after}");
    }
    // If they cannot be read, the copy is used.
    stack.clock.advance(31);
    stack.calls.fail_nth("GetItem", 1, &[InjectedFault::NotSent; 3]);
    assert_eq!(authorize(&stack, &event(&bearer)).await["isAuthorized"], true);
}

/// The binary, whose log must not show the credential.
#[tokio::test(flavor = "multi_thread")]
async fn its_log_has_no_credential() {
    let stack = TestStack::start().await;
    stack.clock.meet_the_systems();
    let tenant = Tenant::new(&stack, "acme").await;
    let user = {
        exchange_token::client(&stack, &json!({})).await;
        oauth2::user(&stack).await
    };
    let log = tempfile::NamedTempFile::new().unwrap();
    let lambda = Lambda::start_logging_to(command(&stack, "authorize"), log.reopen().unwrap()).await;
    for bearer in [&tenant.key, &user.access_token, &user.refresh_token, "made-up-secret"] {
        lambda.invoke(event(bearer)).await.unwrap();
    }
    let text = std::fs::read_to_string(log.path()).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("\"authorize\"")).collect();
    assert_eq!(lines.len(), 4, "{text}");
    for line in lines {
        assert!(Secrets::found_in(line).is_none() && !line.contains("made-up-secret"), "{line}");
    }
}

const ORDERS: &str = "https://orders.example.com";
const BILLING: &str = "https://billing.example.com";

/// What the API learns of a caller's own claims, and which audiences it lets in.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_let_in_by_its_audience_and_brings_its_claims() {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    let settings = json!({
        "audiences": [ORDERS, BILLING], "claims": {"tier": "gold", "big": 12_345_678_901_u64, "role": ["a", null]},
    });
    let registration = stack.registration(&tenant.organization, &settings).await;
    exchange_token::client(&stack, &json!({"audiences": [ORDERS], "organizationId": tenant.organization})).await;
    let machine = async |targets: &[&str]| {
        let targets = targets.iter().map(|target| ("resource", *target));
        let form: Vec<_> = [("grant_type", "client_credentials")].into_iter().chain(targets).collect();
        let request = stack.form(oauth2::TOKEN, &form).basic_auth(&registration, Some(&tenant.key));
        let token = stack.send(request).await.json()["access_token"].as_str().unwrap().to_owned();
        Secrets::add_credential(&token);
        token
    };
    let login = json!({
        "resource": [ORDERS], "acr": "urn:example:high", "amr": ["pwd", "otp"],
        "accessTokenClaims": {"groups": ["admins"], "email": "ada@example.com"}, "idTokenClaims": {"other": 1},
    });
    let code = oauth2::code(&stack, &login).await;
    let user = oauth2::exchange(&stack, &code).await.user(code);
    let documented = exchange_token::refresh(&stack, &user.refresh_token).await.item()["accessToken"].clone();
    let body = json!({"registrationId": registration, "email": "robot@example.com"});
    let created = stack.post("/api/v1/create-token", &tenant.key, &body).await.access_token();
    let app_token = tenant.create_app_token(&stack, &json!({})).await.json()["data"]["bearer"].clone();
    let bearers = [
        ("machine", machine(&[]).await),
        ("machine for orders", machine(&[ORDERS]).await),
        ("machine for both", machine(&[BILLING, ISSUER]).await),
        ("user for orders", user.access_token),
        ("documented", documented.as_str().unwrap().to_owned()),
        ("created", created),
        ("app token", app_token.as_str().unwrap().to_owned()),
        ("API key", tenant.key.clone()),
    ];
    for (audiences, expected) in [
        // The documented token is of a login that was for another API only.
        ("", &["machine", "machine for both", "created", "app token", "API key"][..]),
        (ORDERS, &["machine for orders", "user for orders", "app token", "API key"]),
        (&format!("x  {BILLING} {CLIENT}"), &["machine for both", "documented", "app token", "API key"]),
    ] {
        let node = Node::start_with(&stack, TimeDelta::zero(), &[("AUDIENCES", audiences)]);
        let mut allowed = vec![];
        for (name, bearer) in &bearers {
            let request = ApiRequest { function: "authorize", event: event(bearer) };
            let decision = node.send(&request).await.body;
            let context = &decision["context"];
            let claims = context["claims"].as_str();
            match *name {
                _ if decision["isAuthorized"] == false => continue,
                "created" => {
                    assert_eq!(
                        claims,
                        Some(r#"{"email":"robot@example.com","tier":"gold","big":12345678901,"role":["a",null]}"#)
                    );
                }
                "machine for both" => assert_eq!(context["aud"], format!("{BILLING} {ISSUER}")),
                "user for orders" | "documented" => assert_eq!(
                    serde_json::from_str::<Value>(claims.unwrap()).unwrap(),
                    json!({
                        "acr": "urn:example:high", "amr": ["pwd", "otp"], "groups": ["admins"],
                        "email": "ada@example.com",
                    })
                ),
                "machine" => assert_eq!(claims, Some(r#"{"tier":"gold","big":12345678901,"role":["a",null]}"#)),
                "machine for orders" => assert!(claims.is_some()),
                _ => assert_eq!(claims, None, "{name}"),
            }
            allowed.push(*name);
        }
        assert_eq!(allowed, expected, "{audiences}");
    }
}

// ------------------------------------------------------------------------------------------------ the protected route

async fn whoami(stack: &TestStack, bearer: &str) -> Answer {
    stack.send(with_bearer(stack.http.get(stack.url("/demo/whoami")), bearer)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_route_sees_a_credential_until_it_is_revoked() {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    let (bearer, context) = credentials(&stack, &tenant).await.remove(1);
    let answer = whoami(&stack, &bearer).await;
    assert_eq!((answer.status, answer.json()), (200, context));
    assert!(stack.revoke_app_token(answer.json()["tokenId"].as_str().unwrap()).await);
    let answer = whoami(&stack, &bearer).await;
    assert_eq!((answer.status, answer.json()), (403, json!({"message": "Forbidden"})));
    let answer = whoami(&stack, "").await;
    assert_eq!((answer.status, answer.json()), (401, json!({"message": "Unauthorized"})));
    assert_eq!(stack.send(stack.http.post(stack.url("/demo/whoami"))).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_stack_takes_the_settings_of_the_authorizer() {
    let stack = TestStack::start_with(|options| {
        options.settings.insert("REQUIRED_SCOPES".to_owned(), "sdk".to_owned());
    });
    let stack = stack.await;
    let tenant = Tenant::new(&stack, "acme").await;
    let credentials = credentials(&stack, &tenant).await;
    assert_eq!(whoami(&stack, &credentials[0].0).await.status, 403);
    assert_eq!(whoami(&stack, &credentials[1].0).await.status, 200);
}
