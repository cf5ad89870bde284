//! `oauth2` as tests use it: users who have logged in at its public client.

use serde_json::{Value, json};

use super::{
    Answer, Secrets, TestStack,
    exchange_token::{CLIENT, REDIRECT_URI, issue, session},
    with,
};

pub(crate) const TOKEN: &str = "/oauth2/token";
pub(crate) const REVOKE: &str = "/oauth2/revoke";
pub(crate) const INTROSPECT: &str = "/oauth2/introspect";
pub(crate) const USERINFO: &str = "/oauth2/userinfo";
/// RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// What a user's client holds.
pub(crate) struct User {
    pub(crate) code: String,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) id_token: String,
    pub(crate) session: String,
}

/// A user who has logged in at the public client of the tests, with PKCE.
pub(crate) async fn user(stack: &TestStack) -> User {
    let code = code(stack, &json!({})).await;
    let answer = exchange(stack, &code).await;
    answer.user(code)
}

pub(crate) async fn code(stack: &TestStack, changes: &Value) -> String {
    issue(stack, &with(&json!({"codeChallenge": CHALLENGE}), changes)).await
}

pub(crate) async fn exchange(stack: &TestStack, code: &str) -> Answer {
    stack.post_form(TOKEN, &code_form(code)).await
}

pub(crate) fn code_form(code: &str) -> [(&str, &str); 5] {
    [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("code", code),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", VERIFIER),
    ]
}

/// The form of a refresh by the public client, which need not name itself.
pub(crate) fn refresh_form(token: &str) -> [(&str, &str); 2] {
    [("grant_type", "refresh_token"), ("refresh_token", token)]
}

/// A refresh that asks for a scope.
pub(crate) async fn refresh_with(stack: &TestStack, token: &str, scope: &str) -> Answer {
    stack.post_form(TOKEN, &[&refresh_form(token)[..], &[("scope", scope)]].concat()).await
}

impl Answer {
    pub(crate) fn user(&self, code: String) -> User {
        assert_eq!(self.status, 200, "{self:?}");
        let body = self.json();
        let token = |name: &str| {
            let token = body[name].as_str();
            token.inspect(|token| Secrets::add_credential(token)).unwrap_or_default().to_owned()
        };
        User {
            access_token: token("access_token"),
            refresh_token: token("refresh_token"),
            id_token: token("id_token"),
            session: session(&code),
            code,
        }
    }
}
