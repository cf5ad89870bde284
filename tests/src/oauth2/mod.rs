//! The endpoints under `/oauth2`, and the metadata by which clients find them.

mod client_authentication;
mod client_credentials;
mod code;
mod discovery;
mod form;
mod introspect;
mod refresh;
mod resources;
mod revoke;
mod userinfo;

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use shared::credential::{Credential, CredentialKind};

use crate::harness::{
    Answer, Secrets, Tenant, TestStack,
    exchange_token::{self, CLIENT, REDIRECT_URI},
    oauth2::{INTROSPECT, REVOKE, TOKEN, USERINFO},
};
#[derive(Clone, Copy)]
struct Refusal {
    status: u16,
    error: &'static str,
    challenge: Option<&'static str>,
}

const MISSING: Option<&str> = Some("Bearer realm=\"tokenmint\"");
const INVALID_REQUEST: Refusal = refusal(400, "invalid_request", None);
const INVALID_GRANT: Refusal = refusal(400, "invalid_grant", None);
const INVALID_SCOPE: Refusal = refusal(400, "invalid_scope", None);
const INVALID_CLIENT: Refusal = refusal(401, "invalid_client", None);
const INVALID_CLIENT_IN_BASIC: Refusal = refusal(401, "invalid_client", Some("Basic realm=\"tokenmint\""));
const MISSING_TOKEN: Refusal = refusal(401, "invalid_token", MISSING);
const INVALID_TOKEN: Refusal =
    refusal(401, "invalid_token", Some("Bearer realm=\"tokenmint\", error=\"invalid_token\""));
const INSUFFICIENT_SCOPE: Refusal =
    refusal(403, "insufficient_scope", Some("Bearer realm=\"tokenmint\", error=\"insufficient_scope\""));

const fn refusal(status: u16, error: &'static str, challenge: Option<&'static str>) -> Refusal {
    Refusal { status, error, challenge }
}

/// Sends each request. What is wrong with it is printed, so that a failure names it.
async fn assert_refused<const N: usize>(stack: &TestStack, requests: [(&str, RequestBuilder, Refusal); N]) {
    for (what, request, refusal) in requests {
        println!("{what}");
        stack.send(request).await.assert_error(refusal);
    }
}

async fn refresh(stack: &TestStack, token: &str) -> Answer {
    stack.post_form(TOKEN, &[("grant_type", "refresh_token"), ("client_id", CLIENT), ("refresh_token", token)]).await
}

impl Answer {
    /// Asserts a refusal, and the headers that every answer has.
    #[track_caller]
    fn assert_error(&self, refusal: Refusal) {
        let body = self.json();
        assert_eq!((self.status, body["error"].as_str()), (refusal.status, Some(refusal.error)), "{self:?}");
        assert_eq!(body.as_object().unwrap().len(), 2, "{self:?}");
        assert_eq!(self.header("www-authenticate"), refusal.challenge, "{self:?}");
        self.assert_oauth_headers();
    }

    #[track_caller]
    fn assert_oauth_headers(&self) {
        self.assert_headers("no-store");
        assert_eq!(self.header("pragma"), Some("no-cache"));
    }
}

/// The id and the secret of a confidential client.
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

/// The exchange of a confidential client, which authenticates beside it.
fn confidential_code_form(code: &str) -> [(&str, &str); 3] {
    [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT_URI)]
}

async fn start() -> (TestStack, Tenant) {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    exchange_token::client(&stack, &json!({"organizationId": tenant.organization})).await;
    (stack, tenant)
}

async fn client_credentials(stack: &TestStack, registration: &str, key: &str, more: &[(&str, &str)]) -> Answer {
    let form = [&[("grant_type", "client_credentials")], more].concat();
    stack.send(stack.form(TOKEN, &form).basic_auth(registration, Some(key))).await
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
