//! The endpoints under `/oauth2`, and the metadata by which clients find them.

mod client_authentication;
mod client_credentials;
mod code;
mod discovery;
mod form;
mod introspect;
mod refresh;
mod revoke;
mod userinfo;

use serde_json::{Value, json};
use shared::credential::{Credential, CredentialKind};

use crate::harness::{
    Answer, Secrets, Tenant, TestStack,
    exchange_token::{self, CLIENT, REDIRECT_URI},
    oauth2::{INTROSPECT, REVOKE, TOKEN, USERINFO},
};

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
