//! `POST /oauth2/introspect`.

use serde_json::{Value, json};
use shared::auth::Permission;

use super::{
    INSUFFICIENT_SCOPE, INVALID_CLIENT_IN_BASIC, INVALID_REQUEST, INVALID_TOKEN, MISSING, MISSING_TOKEN, api_key_id,
    assert_refused, client_credentials, confidential, confidential_code_form, introspect, is_active, refusal, revoke,
    start,
};
use crate::harness::{
    CREATE_TOKEN, ISSUER, START, Secrets, Tenant, TestStack, authorizer_event, calls,
    exchange_token::{self, CLIENT, REDIRECT_URI},
    oauth2::{INTROSPECT, REVOKE, TOKEN, User, code, code_form, user},
    verified, with,
};

/// One credential of each kind.
struct Credentials {
    /// An API key without permissions.
    weak: String,
    app_token: String,
    app_token_id: Value,
    /// An OAuth access token, with its prefix.
    created: String,
    /// One that `client_credentials` gave.
    of_registration: String,
    user: User,
    /// What `exchange-token` gave for the user's refresh token.
    documented_access_token: String,
    documented_id_token: String,
    documented_refresh_token: String,
}

impl Credentials {
    async fn new(stack: &TestStack, tenant: &Tenant) -> Self {
        let app_token = tenant.create_app_token(stack, &json!({"scopes": ["sdk", "x"]})).await.json()["data"].clone();
        let of_registration = client_credentials(stack, &tenant.registration, &tenant.key, &[]).await.json();
        let user = user(stack).await;
        let documented = exchange_token::refresh(stack, &user.refresh_token).await;
        let item = documented.json()["items"][0].clone();
        let string = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            weak: stack.api_key_that_may(&tenant.organization, &[]).await,
            app_token: string(&app_token["bearer"]),
            app_token_id: app_token["id"].clone(),
            created: tenant.create_token(stack).await.access_token(),
            of_registration: string(&of_registration["access_token"]),
            user,
            documented_access_token: string(&item["accessToken"]),
            documented_id_token: string(&item["idToken"]),
            documented_refresh_token: documented.refresh_token(),
        }
    }

    /// The access token of the registration, without its prefix.
    fn bare(&self) -> &str {
        &self.created["oauth2_".len()..]
    }

    /// Each credential, with what its introspection says beside what all say.
    async fn introspected<'a>(&'a self, stack: &TestStack, tenant: &'a Tenant) -> Vec<(&'a str, Value)> {
        let claims = async |token: &str, audience: &str| {
            let claims = verified(stack, token, audience).await.1;
            let shown = ["client_id", "sub", "iss", "aud", "iat", "exp", "jti", "sid"].into_iter();
            let shown = shown.filter_map(|name| Some((name.to_owned(), claims.get(name)?.clone())));
            (shown.collect::<Value>(), claims["scope"].clone())
        };
        let (created, scope) = claims(self.bare(), ISSUER).await;
        let created = with(&created, &json!({"scope": scope}));
        let of_registration = with(&claims(&self.of_registration, ISSUER).await.0, &json!({"scope": scope}));
        let users = json!({"scope": "openid profile email", "client_id": CLIENT});
        let of_user = with(&claims(&self.user.access_token, ISSUER).await.0, &users);
        let documented = with(&claims(&self.documented_access_token, CLIENT).await.0, &users);
        let all = Permission::ALL.map(Permission::as_str).join(" ");
        vec![
            (&tenant.key, json!({"sub": api_key_id(&tenant.key), "scope": all})),
            (&self.weak, json!({"sub": api_key_id(&self.weak)})),
            (&self.app_token, json!({"sub": self.app_token_id, "scope": "sdk x", "application": tenant.application})),
            (&self.created, created.clone()),
            (self.bare(), created),
            (&self.of_registration, of_registration),
            (&self.user.access_token, of_user),
            (&self.documented_access_token, documented),
            (
                &self.documented_refresh_token,
                json!({
                    "token_type": null, "sub": "user-1", "client_id": CLIENT, "scope": "openid profile email",
                    "exp": START + 30 * 86400, "sid": self.user.session,
                }),
            ),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_knows_every_kind_of_credential() {
    let (stack, tenant) = start().await;
    let other = Tenant::new(&stack, "other").await;
    let credentials = Credentials::new(&stack, &tenant).await;
    let common = json!({"active": true, "token_type": "Bearer", "organization": tenant.organization});
    // From now on the function knows the caller and has the public key.
    introspect(&stack, &tenant.key, credentials.bare()).await;
    for (token, expected) in credentials.introspected(&stack, &tenant).await {
        // The key and the credential, and what issued it if that is another item.
        let has_issuer = expected["application"].is_string() || expected["sid"].is_string();
        let reads = if has_issuer { 3 } else { 2 };
        stack.calls.reset();
        // All in one round, but for the client of a refresh token, which only its grant names.
        let in_one_round = if token.starts_with("tmr_") { 1 } else { reads };
        stack.calls.answer_together("GetItem", in_one_round);
        assert_eq!(introspect(&stack, &tenant.key, token).await, with(&common, &expected));
        assert_eq!(stack.calls.count(), calls(&[("GetItem", reads)]), "{expected}");
        stack.calls.answer_together("GetItem", 1);
        // Another organization learns nothing.
        assert!(!is_active(&stack, &other.key, token).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unknown_revoked_or_over_is_not_active() {
    let (stack, tenant) = start().await;
    let credentials = Credentials::new(&stack, &tenant).await;
    let user = &credentials.user;
    for token in [
        &user.id_token,
        &credentials.documented_id_token,
        &user.code,
        &user.refresh_token,
        "x",
        "tmk_x",
        &"x".repeat(9000),
        &format!("oauth2_{}", user.access_token),
        &format!("{}x", credentials.bare()),
        &user.access_token[..user.access_token.len() - 2],
    ] {
        assert!(!is_active(&stack, &tenant.key, token).await, "{token}");
    }

    for token in [&credentials.app_token, &credentials.created, &credentials.of_registration, &credentials.weak] {
        assert!(is_active(&stack, &tenant.key, token).await);
        revoke(&stack, token).await;
        assert!(!is_active(&stack, &tenant.key, token).await);
    }
    stack.clock.advance(3600);
    for token in [&user.access_token, &credentials.documented_access_token] {
        assert!(!is_active(&stack, &tenant.key, token).await);
    }
    let current = &credentials.documented_refresh_token;
    assert!(is_active(&stack, &tenant.key, current).await);
    stack.clock.advance(30 * 86400);
    assert!(!is_active(&stack, &tenant.key, current).await);
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
    let token = tenant.create_token(&stack).await.access_token();
    let other = "0".repeat(24);
    let malformed = || request(&[("token", "twice")]);
    let no_client = refusal(401, "invalid_client", MISSING);
    let refused = [
        ("nobody", request(&[]), MISSING_TOKEN),
        ("Basic without credentials", request(&[]).header("authorization", "Basic"), INVALID_CLIENT_IN_BASIC),
        ("Basic without an id", request(&[]).basic_auth("", Some("x")), INVALID_CLIENT_IN_BASIC),
        ("a wrong bearer", request(&[]).bearer_auth("x"), INVALID_TOKEN),
        ("an access token", request(&[]).bearer_auth(&token), INVALID_TOKEN),
        ("another scheme", request(&[]).header("authorization", "Digest x"), INVALID_TOKEN),
        ("a wrong Basic", request(&[]).basic_auth(&id, Some("x")), INVALID_CLIENT_IN_BASIC),
        ("another's id", request(&[]).basic_auth(&other, Some(key)), INVALID_CLIENT_IN_BASIC),
        ("a wrong body", request(&[("client_id", &id), ("client_secret", "x")]), no_client),
        ("no secret", request(&[("client_id", &id)]), no_client),
        ("two methods", request(&[("client_secret", key)]).bearer_auth(key), INVALID_REQUEST),
        ("two methods", request(&[("client_secret", key)]).basic_auth(&id, Some(key)), INVALID_REQUEST),
        ("without the permission", request(&[]).bearer_auth(&weak), INSUFFICIENT_SCOPE),
        ("without a token", stack.form(INTROSPECT, &[("x", "y")]).bearer_auth(key), INVALID_REQUEST),
        ("an empty body", stack.form(INTROSPECT, &[]), INVALID_REQUEST),
        ("a malformed body", malformed(), INVALID_REQUEST),
        ("a malformed body", malformed().bearer_auth(key), INVALID_REQUEST),
        ("a malformed body", malformed().bearer_auth("x"), INVALID_TOKEN),
        ("a secret and no id", request(&[("client_secret", key)]), no_client),
    ];
    assert_refused(&stack, refused).await;
}

/// For an API that serves many organizations, and users of clients that belong to none.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_no_organization_introspects_what_anybody_has_and_does_nothing_else() {
    let (stack, tenant) = start().await;
    let action = json!({"action": "createApiKey", "allOrganizations": true, "description": "gateway"});
    let made = stack.provision(&action).await;
    let (id, key) = (made["apiKeyId"].as_str().unwrap(), made["apiKey"].as_str().unwrap());
    Secrets::add_credential(key);
    let of_nobody = json!({
        "action": "createClient", "clientId": "22222222-2222-2222-2222-222222222222", "redirectUris": [REDIRECT_URI],
        "services": ["email"], "scopes": ["openid"],
    });
    let of_nobody = stack.provision(&of_nobody).await["clientId"].clone();
    let login = json!({"clientId": of_nobody, "scope": "openid"});
    let code = code(&stack, &login).await;
    let client = of_nobody.as_str().unwrap();
    let form = code_form(&code).map(|(name, value)| (name, if name == "client_id" { client } else { value }));
    let answer = stack.post_form(TOKEN, &form).await.json();
    let of_nobody = answer["access_token"].as_str().unwrap();
    assert!(!is_active(&stack, &tenant.key, of_nobody).await && is_active(&stack, key, of_nobody).await);
    let credentials = Credentials::new(&stack, &tenant).await;
    for (token, expected) in credentials.introspected(&stack, &tenant).await {
        let common = json!({"active": true, "token_type": "Bearer", "organization": tenant.organization});
        assert_eq!(introspect(&stack, key, token).await, with(&common, &expected));
    }
    assert_eq!(stack.send(stack.form(INTROSPECT, &[("token", of_nobody)]).basic_auth(id, Some(key))).await.status, 200);

    // Nothing else takes it.
    assert_eq!(tenant.create_token_as(&stack, key).await.status, 401);
    assert_eq!(stack.post(&tenant.app_tokens(), key, &json!({})).await.status, 401);
    client_credentials(&stack, &tenant.registration, key, &[]).await.assert_error(INVALID_CLIENT_IN_BASIC);
    let form = stack.form(INTROSPECT, &[("token", of_nobody)]).basic_auth(&tenant.registration, Some(key));
    stack.send(form).await.assert_error(INVALID_CLIENT_IN_BASIC);
    let decision = stack.local.invoke("authorize", &authorizer_event(key)).await.unwrap();
    assert_eq!(decision, json!({"isAuthorized": false}));

    // It is listed, rotated and revoked like any other.
    let list = json!({"action": "list", "kind": "apiKeys", "allOrganizations": true});
    let listed = stack.provision(&list).await["items"].clone();
    let expected = json!({
        "apiKeyId": id, "allOrganizations": true, "permissions": ["oauth.token.introspect"], "description": "gateway",
        "suspended": false, "createdAt": listed[0]["createdAt"],
    });
    assert_eq!(listed, json!([expected]));
    assert_eq!(stack.provision(&json!({"action": "get", "kind": "apiKey", "id": id})).await, expected);
    let rotated = stack.provision(&json!({"action": "rotateApiKey", "apiKeyId": id, "overlapSeconds": 0})).await;
    let next = rotated["apiKey"].as_str().unwrap();
    Secrets::add_credential(next);
    assert!(is_active(&stack, next, of_nobody).await);
    let old = stack.send(stack.form(INTROSPECT, &[("token", of_nobody)]).bearer_auth(key)).await;
    old.assert_error(INVALID_TOKEN);
    stack.provision(&json!({"action": "revokeApiKey", "apiKeyId": rotated["apiKeyId"]})).await;
    let form = stack.form(INTROSPECT, &[("token", of_nobody)]).bearer_auth(next);
    stack.send(form).await.assert_error(INVALID_TOKEN);
    for wrong in [
        json!({"allOrganizations": true, "organizationId": tenant.organization}),
        json!({"allOrganizations": true, "permissions": []}),
        json!({"allOrganizations": false}),
    ] {
        let action = with(&json!({"action": "createApiKey"}), &wrong);
        assert_eq!(stack.try_provision(&action).await.unwrap_err()["errorType"], "InvalidRequest");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confidential_client_or_registration_asks_about_its_own() {
    let (stack, tenant) = start().await;
    let (client, client_secret) = confidential(&stack, &tenant.organization).await;
    let code = exchange_token::issue(&stack, &json!({"clientId": client})).await;
    let form = stack.form(TOKEN, &confidential_code_form(&code)).basic_auth(&client, Some(&client_secret));
    let user_of_client = stack.send(form).await.user(code);
    let action = json!({
        "action": "createRegistration", "organizationId": tenant.organization, "name": "n", "confidential": true,
    });
    let made = stack.provision(&action).await;
    let (registration, secret) = (made["registrationId"].as_str().unwrap(), made["clientSecret"].as_str().unwrap());
    Secrets::add_credential(secret);
    let machines = client_credentials(&stack, registration, secret, &[]).await.json()["access_token"].clone();
    let machines = machines.as_str().unwrap();
    let created = stack.post(CREATE_TOKEN, &tenant.key, &json!({"registrationId": registration})).await.access_token();
    let credentials = Credentials::new(&stack, &tenant).await;

    let ask = async |id: &str, secret: &str, token: &str| {
        let basic = stack.send(stack.form(INTROSPECT, &[("token", token)]).basic_auth(id, Some(secret))).await;
        let form = [("token", token), ("client_id", id), ("client_secret", secret)];
        let in_body = stack.post_form(INTROSPECT, &form).await;
        assert_eq!((basic.status, in_body.status, &basic.json()), (200, 200, &in_body.json()));
        basic.json()["active"].as_bool().unwrap()
    };
    for own in [&user_of_client.access_token, &user_of_client.refresh_token] {
        assert!(ask(&client, &client_secret, own).await && !ask(registration, secret, own).await);
    }
    for own in [machines, &created] {
        assert!(ask(registration, secret, own).await && !ask(&client, &client_secret, own).await);
    }
    for (token, _) in credentials.introspected(&stack, &tenant).await {
        assert!(!ask(registration, secret, token).await && !ask(&client, &client_secret, token).await);
        // A registration with an API key of its organization asks as that key does.
        assert!(ask(&tenant.registration, &tenant.key, token).await);
    }
    let weak = stack.api_key_that_may(&tenant.organization, &["oauth.token.create"]).await;
    let request = |id: &str, secret: &str| stack.form(INTROSPECT, &[("token", machines)]).basic_auth(id, Some(secret));
    let no_client = refusal(401, "invalid_client", MISSING);
    let refused = [
        ("a key without the permission", request(registration, &weak), INSUFFICIENT_SCOPE),
        ("a wrong secret", request(registration, &client_secret), INVALID_CLIENT_IN_BASIC),
        ("a public client", request(CLIENT, &client_secret), INVALID_CLIENT_IN_BASIC),
        ("a public client", request(CLIENT, ""), INVALID_CLIENT_IN_BASIC),
        ("a public client", stack.form(INTROSPECT, &[("token", machines), ("client_id", CLIENT)]), no_client),
        ("an unknown one", request("unknown", &tenant.key), INVALID_CLIENT_IN_BASIC),
        ("no token", stack.form(INTROSPECT, &[("x", "y")]).basic_auth(registration, Some(secret)), INVALID_REQUEST),
        ("no token", stack.form(INTROSPECT, &[("token", " ")]).basic_auth(registration, Some(secret)), INVALID_REQUEST),
        (
            "no token",
            stack.form(INTROSPECT, &[("x", "y")]).basic_auth(registration, Some("x")),
            INVALID_CLIENT_IN_BASIC,
        ),
    ];
    assert_refused(&stack, refused).await;
}

/// What was copied from a header is what is meant.
#[tokio::test(flavor = "multi_thread")]
async fn white_space_and_bearer_around_a_token_are_ignored() {
    let (stack, tenant) = start().await;
    let token = tenant.create_token(&stack).await.access_token();
    for text in [format!(" {token}\n"), format!("Bearer {token}"), format!("\tbearer \t{token} ")] {
        assert!(is_active(&stack, &tenant.key, &text).await, "{text}");
    }
    assert!(!is_active(&stack, &tenant.key, &format!("Bearer{token}")).await);
    revoke(&stack, &format!(" Bearer {token}\r\n")).await;
    assert!(!is_active(&stack, &tenant.key, &token).await);
    for nothing in [" ", "\r\n\t"] {
        let form = stack.form(INTROSPECT, &[("token", nothing)]).bearer_auth(&tenant.key);
        stack.send(form).await.assert_error(INVALID_REQUEST);
        stack.post_form(REVOKE, &[("token", nothing)]).await.assert_error(INVALID_REQUEST);
    }
}
