//! `POST /oauth2/introspect`.

use serde_json::{Value, json};
use shared::auth::Permission;

use super::{
    INSUFFICIENT_SCOPE, INVALID_CLIENT_IN_BASIC, INVALID_REQUEST, INVALID_TOKEN, MISSING, MISSING_TOKEN, api_key_id,
    assert_refused, client_credentials, introspect, is_active, refusal, revoke, start,
};
use crate::harness::{
    ISSUER, START, Tenant, TestStack, calls,
    exchange_token::{self, CLIENT},
    oauth2::{INTROSPECT, User, user},
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
