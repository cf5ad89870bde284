//! `exchange-token` as tests use it: the client of the documented bodies, its codes and its tokens.

use serde_json::{Value, json};
use shared::{credential::GrantCredential, random::SystemRandom};

use super::{Answer, ApiRequest, Outcome, Secrets, TestStack, with};

pub(crate) const PATH: &str = "/api/v1/tokens";
pub(crate) const CLIENT: &str = "11111111-1111-1111-1111-111111111111";
pub(crate) const REDIRECT_URI: &str = "https://app.example.com/callback";
pub(crate) const DAY: i64 = 86400;

pub(crate) async fn client(stack: &TestStack, changes: &Value) -> String {
    let action = json!({
        "action": "createClient", "clientId": CLIENT, "redirectUris": [REDIRECT_URI, "https://app.example.com/other"],
        "services": ["email", "sms"], "scopes": ["openid", "profile", "email"],
    });
    stack.provision(&with(&action, changes)).await["clientId"].as_str().unwrap().to_owned()
}

/// A stack with the client of the documented bodies.
pub(crate) async fn start() -> TestStack {
    let stack = TestStack::start().await;
    client(&stack, &json!({})).await;
    stack
}

/// The event with which the login service issues a code.
pub(crate) fn login() -> Value {
    json!({
        "clientId": CLIENT, "service": "email", "redirectUri": REDIRECT_URI, "subject": "user-1",
        "scope": "openid profile email",
    })
}

pub(crate) async fn issue(stack: &TestStack, changes: &Value) -> String {
    let issued = stack.local.invoke("issue-code", &with(&login(), changes)).await.unwrap();
    let code = issued["code"].as_str().unwrap().to_owned();
    Secrets::add_credential(&code);
    code
}

/// The documented body of a code exchange.
pub(crate) fn code_body(code: &str) -> Value {
    json!({
        "client_id": CLIENT, "service": "email", "grant_type": "authorization_code", "redirect_uri": REDIRECT_URI,
        "code": code, "state": "state-from-authorize-step", "nonce": "nonce-value", "auth_time": "1735689600",
        "scope": "openid profile email",
    })
}

/// The documented body of a refresh.
pub(crate) fn refresh_body(token: &str) -> Value {
    json!({
        "client_id": CLIENT, "service": "email", "grant_type": "refresh_token", "redirect_uri": REDIRECT_URI,
        "code": "unused-code-field", "state": "unused-state-field", "nonce": "unused-nonce-field",
        "auth_time": "1735689600", "scope": "openid profile email", "prompt": "none", "refresh_token": token,
    })
}

pub(crate) async fn post(stack: &TestStack, body: &Value) -> Answer {
    stack.post(PATH, "", body).await
}

/// A request of either body, for a [`Node`](super::Node).
pub(crate) fn request(body: &Value) -> ApiRequest {
    ApiRequest::new("exchange-token", &json!({}), "", body)
}

pub(crate) async fn exchange(stack: &TestStack, code: &str) -> Answer {
    post(stack, &code_body(code)).await
}

pub(crate) async fn refresh(stack: &TestStack, token: &str) -> Answer {
    post(stack, &refresh_body(token)).await
}

impl Answer {
    pub(crate) fn item(&self) -> Value {
        assert_eq!(self.status, 201, "{self:?}");
        self.json()["items"][0].clone()
    }

    pub(crate) fn refresh_token(&self) -> String {
        refresh_token(&self.item())
    }
}

impl Outcome {
    pub(crate) fn refresh_token(&self) -> String {
        assert_eq!(self.status, 201, "{self:?}");
        refresh_token(&self.body["items"][0])
    }
}

fn refresh_token(item: &Value) -> String {
    let token = item["refreshToken"].as_str().unwrap().to_owned();
    Secrets::add_credential(&token);
    token
}

/// The public id of a code's grant.
pub(crate) fn session(code: &str) -> String {
    GrantCredential::parse_code(code).unwrap().grant().session().as_str().to_owned()
}

/// A refresh token of the same grant as a code or refresh token, with another secret and a right checksum.
pub(crate) fn forge(credential: &str) -> String {
    let of_grant =
        GrantCredential::parse_refresh_token(credential).or(GrantCredential::parse_code(credential)).unwrap();
    GrantCredential::generate_refresh_token(of_grant.grant(), &SystemRandom).unwrap().expose().to_owned()
}

/// The answer to every bad code or refresh token.
pub(crate) fn bad_credential() -> Value {
    error("code or refresh_token is not valid for this request")
}

pub(crate) fn error(what: &str) -> Value {
    let message = format!("Bad Request / validation error: {what}");
    json!({"errors": [{"validation": "error", "code": "[E4000]", "message": message}]})
}
