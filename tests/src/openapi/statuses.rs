//! Every status that the document has occurs.

use std::{cell::RefCell, collections::BTreeSet};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::{
    Answer, CREATE_TOKEN, InjectedFault, TestStack, api,
    exchange_token::{self, CLIENT},
    oauth2::{self, INTROSPECT, REVOKE, TOKEN, USERINFO},
    with, with_bearer,
};

const APP_TOKENS: &str = "/v1/organizations/demo/apps/demo-app/tokens";

/// The demo, and the statuses that its operations have given.
struct Demo {
    stack: TestStack,
    key: String,
    /// An API key of another organization that has no permission.
    weak: String,
    seen: RefCell<BTreeSet<(String, String)>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_status_occurs() {
    let (stack, key) = TestStack::with_demo().await;
    let organization = stack.organization("acme").await;
    let weak = stack.api_key_that_may(&organization, &[]).await;
    let demo = Demo { stack, key, weak, seen: RefCell::default() };
    demo.keys().await;
    demo.creates().await;
    demo.lists_and_revocations().await;
    demo.lists_and_revocations_of_app_tokens().await;
    demo.exchanges().await;
    demo.standard_tokens().await;
    demo.user_information().await;
    demo.introspections_and_revocations().await;
    demo.metadata().await;

    let mut documented = BTreeSet::new();
    for (_, operation) in api().operations() {
        for status in operation["responses"].as_object().unwrap().keys() {
            documented.insert((operation["operationId"].as_str().unwrap().to_owned(), status.clone()));
        }
    }
    assert_eq!(demo.seen.into_inner(), documented);
}

impl Demo {
    fn gives(&self, id: &str, answer: &Answer) {
        self.seen.borrow_mut().insert((id.to_owned(), answer.status.to_string()));
    }

    async fn send(&self, id: &str, request: RequestBuilder) {
        let answer = self.stack.send(request).await;
        self.gives(id, &answer);
    }

    /// Sends a request whose reads all fail.
    async fn fails(&self, id: &str, request: RequestBuilder) {
        self.stack.calls.fail("GetItem", &[InjectedFault::NotSent; 9]);
        self.send(id, request).await;
        self.stack.calls.heal();
    }

    async fn get(&self, id: &str, path: &str) {
        self.send(id, self.stack.http.get(self.stack.url(path))).await;
    }

    async fn post(&self, id: &str, path: &str, bearer: &str, body: &Value) {
        self.send(id, with_bearer(self.stack.json(path, body), bearer)).await;
    }

    async fn keys(&self) {
        self.stack.calls.fail("GetPublicKey", &[InjectedFault::NotSent; 3]);
        for _ in 0..2 {
            self.get("getKeySet", "/.well-known/jwks.json").await;
        }
        for client in [CLIENT, "unknown"] {
            self.get("getAppKeys", &format!("/api/v1/apps/{client}/keys")).await;
        }
        self.fails("getAppKeys", self.stack.http.get(self.stack.url(&format!("/api/v1/apps/{CLIENT}/keys")))).await;
    }

    /// Each operation ignores the fields of the other one.
    async fn creates(&self) {
        let body = json!({"registrationId": "demo"});
        let others = json!({"email": "other@example.com", "description": "other"});
        for (id, path) in [("createToken", CREATE_TOKEN), ("createAppToken", APP_TOKENS)] {
            self.post(id, path, "", &body).await;
            self.post(id, path, &self.key, &json!({"registrationId": 1, "scopes": 1})).await;
            self.post(id, path, &self.weak, &body).await;
            let unknown = json!({"registrationId": "unknown"});
            self.post(id, &path.replace("demo-app", "unknown"), &self.key, &unknown).await;
            for body in [&body, &with(&body, &others)] {
                let request = self.stack.json(path, body).bearer_auth(&self.key);
                self.send(id, request.header("idempotency-key", "one")).await;
            }
            self.fails(id, self.stack.json(path, &body).bearer_auth(&self.key)).await;
        }
    }

    async fn lists_and_revocations(&self) {
        let (key, weak) = (&self.key, &self.weak);
        let revocable = json!({"registrationId": "demo-events", "tokenId": "d3300000-0000-4000-8000-000000000001"});
        let unknown = with(&revocable, &json!({"registrationId": "unknown"}));
        for (id, path) in [
            ("listTokens", "/api/v1/list-tokens"),
            ("revokeToken", "/api/v1/revoke-token"),
            ("revokeTokens", "/api/v1/revoke-tokens"),
        ] {
            self.post(id, path, "", &revocable).await;
            self.post(id, path, key, &json!({})).await;
            self.post(id, path, weak, &revocable).await;
            self.post(id, path, key, &unknown).await;
            self.post(id, path, key, &revocable).await;
            self.fails(id, self.stack.json(path, &revocable).bearer_auth(key)).await;
        }
    }

    async fn lists_and_revocations_of_app_tokens(&self) {
        let (key, weak) = (&self.key, &self.weak);
        let token = "/v1/organizations/demo/apps/demo-events/tokens/53c2d275ab1b84772aeb6ec5".to_owned();
        for (id, method, path, malformed) in [
            ("listAppTokens", Method::GET, APP_TOKENS.to_owned(), format!("{APP_TOKENS}?page=0")),
            ("revokeAppToken", Method::DELETE, token.clone(), format!("{token}0")),
        ] {
            let request = |path: &str, bearer: &str| {
                with_bearer(self.stack.http.request(method.clone(), self.stack.url(path)), bearer)
            };
            self.send(id, request(&path, "")).await;
            self.send(id, request(&malformed, key)).await;
            self.send(id, request(&path, weak)).await;
            self.send(id, request(&path.replace("/demo/", "/unknown/"), key)).await;
            self.send(id, request(&path, key)).await;
            self.fails(id, request(&path, key)).await;
        }
    }

    async fn exchanges(&self) {
        let operation = api().operation("exchangeToken");
        let body = &operation["requestBody"]["content"]["application/json"]["examples"]["code"]["value"];
        self.fails("exchangeToken", self.stack.json(exchange_token::PATH, body)).await;
        for body in [body, &json!({})] {
            self.post("exchangeToken", exchange_token::PATH, "", body).await;
        }
    }

    async fn standard_tokens(&self) {
        const ID: &str = "oauthToken";
        let form = |more: &[(&str, &str)]| {
            let form = [&[("grant_type", "client_credentials")], more].concat();
            self.stack.form(TOKEN, &form)
        };
        let demo = |more: &[(&str, &str)]| form(more).basic_auth("demo", Some(&self.key));
        self.send(ID, demo(&[])).await;
        self.send(ID, demo(&[("scope", "\u{7}")])).await;
        self.send(ID, form(&[])).await;
        self.fails(ID, demo(&[])).await;
    }

    async fn user_information(&self) {
        let user = oauth2::user(&self.stack).await;
        let narrow = oauth2::refresh_with(&self.stack, &user.refresh_token, "email").await.user(user.code);
        for (id, method) in [("getUserinfo", Method::GET), ("postUserinfo", Method::POST)] {
            let request =
                |token: &str| self.stack.http.request(method.clone(), self.stack.url(USERINFO)).bearer_auth(token);
            for token in [&user.access_token, "x", &narrow.access_token] {
                self.send(id, request(token)).await;
            }
            self.fails(id, request(&user.access_token)).await;
        }
        let both = self.stack.form(USERINFO, &[("access_token", &user.access_token)]).bearer_auth(&user.access_token);
        self.send("postUserinfo", both).await;
    }

    async fn introspections_and_revocations(&self) {
        let introspect = |form: &[(&str, &str)], bearer: &str| with_bearer(self.stack.form(INTROSPECT, form), bearer);
        let token = [("token", "x")];
        self.send("oauthIntrospect", introspect(&token, "")).await;
        self.send("oauthIntrospect", introspect(&token, &self.key)).await;
        self.send("oauthIntrospect", introspect(&[("x", "y")], &self.key)).await;
        self.send("oauthIntrospect", introspect(&token, &self.weak)).await;
        self.fails("oauthIntrospect", introspect(&token, &self.key)).await;

        let revoke = |form: &[(&str, &str)]| self.stack.form(REVOKE, form);
        self.send("oauthRevoke", revoke(&token)).await;
        self.send("oauthRevoke", revoke(&[("x", "y")])).await;
        self.send("oauthRevoke", revoke(&[("token", "x"), ("client_id", "unknown")])).await;
        let token = oauth2::user(&self.stack).await.refresh_token;
        self.fails("oauthRevoke", revoke(&[("token", &token)])).await;
    }

    /// Without an issuer that is a URL there are no endpoints under `/oauth2` and no metadata.
    async fn metadata(&self) {
        let without = TestStack::start_with(|options| options.issuer = Some("name".to_owned())).await;
        for stack in [&self.stack, &without] {
            self.gives("getOpenidConfiguration", &stack.get("/.well-known/openid-configuration").await);
            self.gives("getAuthorizationServerMetadata", &stack.get("/.well-known/oauth-authorization-server").await);
        }
        for (id, path) in [
            ("oauthToken", TOKEN),
            ("oauthRevoke", REVOKE),
            ("oauthIntrospect", INTROSPECT),
            ("postUserinfo", USERINFO),
        ] {
            self.gives(id, &without.post_form(path, &[("token", "x")]).await);
        }
        self.gives("getUserinfo", &without.get(USERINFO).await);
    }
}
