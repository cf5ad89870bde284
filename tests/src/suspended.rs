//! What a suspended organization, or a disabled registration, application or client, can still do is nothing: every
//! route, every function without one and every action of an operator, with every kind of credential. The same requests
//! work once that is taken back, and what was ended meanwhile stays ended.

use std::collections::BTreeMap;

use local::{Functions, Template};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use shared::auth::Permission;

use crate::harness::{
    Secrets, Tenant, TestStack, app_tokens, authorizer_event,
    exchange_token::{self, CLIENT, code_body, exchange, issue, refresh_body},
    oauth2::{self, INTROSPECT, REVOKE, TOKEN, USERINFO, User, code_form, refresh_form},
    with, with_bearer,
};

const CONFIDENTIAL: &str = "22222222-2222-2222-2222-222222222222";
/// What operators end in the tests, beside the customer's other things.
const DOOMED_CLIENT: &str = "33333333-3333-3333-3333-333333333333";

/// What can be switched off and on again.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Switch {
    Organization,
    Registration,
    Application,
    /// Both clients.
    Clients,
}

/// The status of an answer, and a part of its text.
type Expected = (u16, &'static str);

const UNAUTHORIZED: Expected = (401, r#""message":"Unauthorized""#);
const APP_UNAUTHORIZED: Expected = (401, r#""code":4004"#);
const NO_REGISTRATION: Expected = (404, "OAuth registration not found");
const NO_ENTITY: Expected = (404, r#""code":3001"#);
const BAD_CODE: Expected = (400, "[E4000]");
const INVALID_CLIENT: Expected = (401, r#""error":"invalid_client""#);
const INVALID_GRANT: Expected = (400, r#""error":"invalid_grant""#);
const INVALID_TOKEN: Expected = (401, r#""error":"invalid_token""#);
const INACTIVE: Expected = (200, r#"{"active":false}"#);
const ACTIVE: Expected = (200, r#""active":true"#);
const DENIED: Expected = (200, r#"{"isAuthorized":false}"#);
const ALLOWED: Expected = (200, r#""isAuthorized":true"#);
const SUSPENDED: Expected = (200, "suspended organization");

/// A request, and its answers.
struct Attempt {
    what: String,
    request: RequestBuilder,
    /// While everything is on.
    on: Expected,
    /// While this is off. What is not named does not matter to it.
    off: BTreeMap<Switch, Expected>,
}

impl Attempt {
    fn new(what: impl Into<String>, request: RequestBuilder, on: Expected) -> Self {
        Self { what: what.into(), request, on, off: BTreeMap::new() }
    }

    fn off(mut self, switch: Switch, expected: Expected) -> Self {
        self.off.insert(switch, expected);
        self
    }

    async fn assert(&self, stack: &TestStack, when: &str, (status, text): Expected) {
        let answer = stack.send(self.request.try_clone().unwrap()).await;
        let what = &self.what;
        assert!(answer.status == status && answer.text.contains(text), "{what}, {when}: {answer:?} is not {text}");
    }
}

/// A customer with everything that an organization can have, and each kind of credential.
struct Customer {
    stack: TestStack,
    tenant: Tenant,
    /// A token with all permissions.
    token: String,
    machine_token: String,
    app_token: String,
    user: User,
    /// An access token of the other format.
    documented: String,
    secret: String,
    confidential: User,
    api_key_id: String,
}

impl Customer {
    async fn new() -> Self {
        let stack = TestStack::start().await;
        let scopes = Permission::ALL.map(Permission::as_str);
        let settings = json!({"scopes": scopes, "maxAllowed": 100});
        let tenant = Tenant::with_registration(&stack, "acme", &settings).await;
        let of_tenant = json!({"organizationId": tenant.organization, "refreshReuseSeconds": 0});
        exchange_token::client(&stack, &of_tenant).await;
        exchange_token::client(&stack, &with(&of_tenant, &json!({"clientId": DOOMED_CLIENT}))).await;
        let confidential = json!({"clientId": CONFIDENTIAL, "confidential": true});
        let action = json!({
            "action": "createClient", "redirectUris": [exchange_token::REDIRECT_URI], "scopes": ["openid"],
            "services": ["email"],
        });
        let made = stack.provision(&with(&with(&action, &of_tenant), &confidential)).await;
        let secret = made["clientSecret"].as_str().unwrap().to_owned();
        Secrets::add_credential(&secret);

        let token = tenant.create_token(&stack).await.access_token();
        let machine =
            [("grant_type", "client_credentials"), ("client_id", &tenant.registration), ("client_secret", &tenant.key)];
        let machine = stack.post_form(TOKEN, &machine).await.json()["access_token"].as_str().unwrap().to_owned();
        Secrets::add_credential(&machine);
        let made = tenant.create_app_token(&stack, &json!({"scopes": ["sdk"]})).await.json()["data"].clone();
        let user = oauth2::user(&stack).await;
        let code = issue(&stack, &json!({"subject": "user-2"})).await;
        let item = exchange(&stack, &code).await.item();
        Secrets::add_credential(item["refreshToken"].as_str().unwrap());
        let keys = json!({"action": "list", "kind": "apiKeys", "organizationId": tenant.organization});
        let api_key_id = stack.provision(&keys).await["items"][0]["apiKeyId"].as_str().unwrap().to_owned();
        Self {
            token,
            machine_token: format!("oauth2_{machine}"),
            app_token: made["bearer"].as_str().unwrap().to_owned(),
            documented: item["accessToken"].as_str().unwrap().to_owned(),
            confidential: confidential_user(&stack, &secret).await,
            user,
            secret,
            api_key_id,
            tenant,
            stack,
        }
    }

    fn as_confidential(&self, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
        as_confidential(&self.stack, &self.secret, path, form)
    }

    async fn confidential_user(&self) -> User {
        confidential_user(&self.stack, &self.secret).await
    }

    /// Every kind of bearer, and which of the switches it depends on, beside the organization.
    fn bearers(&self) -> [(&'static str, &str, Option<Switch>); 8] {
        [
            ("API key", &self.tenant.key, None),
            ("token", &self.token, Some(Switch::Registration)),
            ("token without its prefix", &self.token["oauth2_".len()..], Some(Switch::Registration)),
            ("machine token", &self.machine_token, Some(Switch::Registration)),
            ("app token", &self.app_token, Some(Switch::Application)),
            ("user's token", &self.user.access_token, Some(Switch::Clients)),
            ("user's documented token", &self.documented, Some(Switch::Clients)),
            ("user's token at the confidential client", &self.confidential.access_token, Some(Switch::Clients)),
        ]
    }

    fn invoke(&self, function: &str, event: &Value) -> RequestBuilder {
        self.stack.json(&format!("/2015-03-31/functions/{function}/invocations"), event)
    }

    async fn perform(&self, switch: Switch, on: bool) {
        let tenant = &self.tenant;
        let actions = match (switch, on) {
            (Switch::Organization, false) => {
                vec![json!({"action": "suspendOrganization", "organizationId": tenant.organization})]
            }
            (Switch::Organization, true) => {
                vec![json!({"action": "resumeOrganization", "organizationId": tenant.organization})]
            }
            (Switch::Registration, _) => {
                vec![json!({"action": "updateRegistration", "registrationId": tenant.registration, "enabled": on})]
            }
            (Switch::Application, _) => {
                vec![json!({"action": "updateApplication", "applicationId": tenant.application, "enabled": on})]
            }
            (Switch::Clients, _) => [CLIENT, CONFIDENTIAL]
                .map(|client| json!({"action": "updateClient", "clientId": client, "enabled": on}))
                .to_vec(),
        };
        for action in actions {
            self.stack.provision(&action).await;
        }
    }

    /// The attempts of each kind of bearer at an endpoint that takes API keys and tokens with their prefix.
    /// `refused` is the answer to all others, `request` makes a request that has not been made yet.
    async fn by_bearer(
        &self,
        route: &str,
        (refused, on): (Expected, Expected),
        target: Option<(Switch, Expected)>,
        request: impl AsyncFn() -> RequestBuilder,
    ) -> Vec<Attempt> {
        let mut attempts = vec![];
        for (kind, bearer, depends) in self.bearers() {
            let what = format!("{route} with an {kind}");
            let request = with_bearer(request().await, bearer);
            if !bearer.starts_with("tmk_") && !bearer.starts_with("oauth2_") {
                // The other bearers are for other APIs.
                let switches = [Switch::Organization, Switch::Registration, Switch::Application, Switch::Clients];
                let attempt = Attempt::new(what, request, refused);
                attempts.push(switches.into_iter().fold(attempt, |attempt, switch| attempt.off(switch, refused)));
                continue;
            }
            let mut attempt = Attempt::new(what, request, on).off(Switch::Organization, refused);
            if let Some((switch, expected)) = target {
                attempt = attempt.off(switch, expected);
            }
            // Who is nobody does not learn whether the target is there.
            if let Some(switch) = depends {
                attempt = attempt.off(switch, refused);
            }
            attempts.push(attempt);
        }
        attempts
    }

    /// A new token's id.
    async fn new_token(&self) -> String {
        self.tenant.create_token(&self.stack).await.json()["token"]["id"].as_str().unwrap().to_owned()
    }

    /// The attempts at a route of the template.
    #[expect(clippy::too_many_lines, reason = "one arm for each route")]
    async fn attempts(&self, route: &str) -> Vec<Attempt> {
        let Self { stack, tenant, .. } = self;
        let registration = json!({"registrationId": tenant.registration});
        let app_path = app_tokens(&tenant.organization, &tenant.application);
        let of_registration = Some((Switch::Registration, NO_REGISTRATION));
        let of_application = Some((Switch::Application, NO_ENTITY));
        let off = |attempt: Attempt, expected: Expected| {
            attempt.off(Switch::Organization, expected).off(Switch::Clients, expected)
        };
        match route {
            "POST /api/v1/create-token" => {
                let request = async || stack.json("/api/v1/create-token", &registration);
                self.by_bearer(route, (UNAUTHORIZED, (201, "accessToken")), of_registration, request).await
            }
            "POST /api/v1/list-tokens" => {
                let request = async || stack.json("/api/v1/list-tokens", &registration);
                self.by_bearer(route, (UNAUTHORIZED, (200, "activeTokens")), of_registration, request).await
            }
            "POST /api/v1/revoke-token" => {
                let request = async || {
                    let body = with(&registration, &json!({"tokenId": self.new_token().await}));
                    stack.json("/api/v1/revoke-token", &body)
                };
                self.by_bearer(route, (UNAUTHORIZED, (200, "revoked")), of_registration, request).await
            }
            // Of a registration of its own, because the others are needed.
            "POST /api/v1/revoke-tokens" => {
                let other = stack.registration(&tenant.organization, &json!({})).await;
                let body = json!({"registrationId": other});
                let request = async || stack.json("/api/v1/revoke-tokens", &body);
                self.by_bearer(route, (UNAUTHORIZED, (200, "revoked")), None, request).await
            }
            "POST /v1/organizations/{organizationId}/apps/{applicationId}/tokens" => {
                let request = async || stack.json(&app_path, &json!({}));
                self.by_bearer(route, (APP_UNAUTHORIZED, (200, "bearer")), of_application, request).await
            }
            "GET /v1/organizations/{organizationId}/apps/{applicationId}/tokens" => {
                let request = async || stack.http.get(stack.url(&app_path));
                self.by_bearer(route, (APP_UNAUTHORIZED, (200, "items")), of_application, request).await
            }
            "DELETE /v1/organizations/{organizationId}/apps/{applicationId}/tokens/{tokenId}" => {
                let request = async || {
                    let made = tenant.create_app_token(stack, &json!({})).await.json();
                    stack.http.delete(stack.url(&format!("{app_path}/{}", made["data"]["id"].as_str().unwrap())))
                };
                self.by_bearer(route, (APP_UNAUTHORIZED, (200, "OK")), of_application, request).await
            }
            "POST /api/v1/tokens" => {
                let code = issue(stack, &json!({})).await;
                let other = issue(stack, &json!({})).await;
                let refresh_token = exchange(stack, &other).await.refresh_token();
                let attempt = |what, body| Attempt::new(what, stack.json(exchange_token::PATH, body), (201, "tokens"));
                vec![
                    off(attempt("a documented exchange", &code_body(&code)), BAD_CODE),
                    off(attempt("a documented refresh", &refresh_body(&refresh_token)), BAD_CODE),
                ]
            }
            "POST /oauth2/token" => {
                let issued = (200, r#""access_token":"#);
                let code = oauth2::code(stack, &json!({})).await;
                let (named, unnamed) = (oauth2::user(stack).await, oauth2::user(stack).await);
                let (confidential, confidential_code) =
                    (self.confidential_user().await, confidential_code(stack).await);
                let named = [&refresh_form(&named.refresh_token)[..], &[("client_id", CLIENT)]].concat();
                let machine = [
                    ("grant_type", "client_credentials"),
                    ("client_id", &tenant.registration),
                    ("client_secret", &tenant.key),
                ];
                let confidential = refresh_form(&confidential.refresh_token);
                let form = |form: &[(&str, &str)]| stack.form(TOKEN, form);
                let as_confidential = |form: &[(&str, &str)]| self.as_confidential(TOKEN, form);
                let code = Attempt::new("an exchange", form(&code_form(&code)), issued);
                let named = Attempt::new("a refresh with client_id", form(&named), issued);
                let unnamed = Attempt::new("a refresh", form(&refresh_form(&unnamed.refresh_token)), issued);
                let confidential_code = as_confidential(&code_form(&confidential_code));
                let confidential_code = Attempt::new("a confidential exchange", confidential_code, issued);
                let confidential = as_confidential(&confidential);
                let confidential = Attempt::new("a confidential refresh", confidential, issued);
                let machine = Attempt::new("client_credentials", form(&machine), issued);
                vec![
                    off(code, INVALID_CLIENT),
                    off(named, INVALID_CLIENT),
                    off(unnamed, INVALID_GRANT),
                    off(confidential_code, INVALID_CLIENT),
                    off(confidential, INVALID_CLIENT),
                    machine.off(Switch::Organization, INVALID_CLIENT).off(Switch::Registration, INVALID_CLIENT),
                ]
            }
            // What ends is in `what_was_ended_stays_ended`. Here its client cannot authenticate.
            "POST /oauth2/revoke" => {
                let confidential = self.confidential_user().await;
                let token = [("token", confidential.refresh_token.as_str())];
                let basic = Attempt::new("a revocation", self.as_confidential(REVOKE, &token), (200, "{}"));
                let machine = [("token", "x"), ("client_id", &tenant.registration), ("client_secret", &tenant.key)];
                let machine = Attempt::new("a machine's revocation", stack.form(REVOKE, &machine), (200, "{}"));
                vec![
                    off(basic, INVALID_CLIENT),
                    machine.off(Switch::Organization, INVALID_CLIENT).off(Switch::Registration, INVALID_CLIENT),
                ]
            }
            "POST /oauth2/introspect" => {
                let refresh_tokens = [&self.user.refresh_token, &self.confidential.refresh_token];
                let refresh_tokens =
                    refresh_tokens.map(|token| ("refresh token", token.as_str(), Some(Switch::Clients)));
                let mut attempts = vec![];
                for (kind, token, depends) in self.bearers().into_iter().chain(refresh_tokens) {
                    let request = with_bearer(stack.form(INTROSPECT, &[("token", token)]), &tenant.key);
                    let basic = stack.form(INTROSPECT, &[("token", token)]);
                    let basic = basic.basic_auth(&self.api_key_id, Some(&tenant.key));
                    for (request, refused) in [(request, INVALID_TOKEN), (basic, INVALID_CLIENT)] {
                        let attempt = Attempt::new(format!("introspection of a {kind}"), request, ACTIVE);
                        let attempt = attempt.off(Switch::Organization, refused);
                        attempts.push(match depends {
                            Some(switch) => attempt.off(switch, INACTIVE),
                            None => attempt,
                        });
                    }
                }
                attempts
            }
            "GET /oauth2/userinfo" | "POST /oauth2/userinfo" => {
                let request = if route.starts_with("GET") {
                    stack.http.get(stack.url(USERINFO))
                } else {
                    stack.http.post(stack.url(USERINFO))
                };
                [&self.user.access_token, &self.confidential.access_token]
                    .map(|token| {
                        let request = with_bearer(request.try_clone().unwrap(), token);
                        off(Attempt::new(route, request, (200, r#""sub":"user-1""#)), INVALID_TOKEN)
                    })
                    .into()
            }
            "GET /api/v1/apps/{clientId}/keys" => [CLIENT, CONFIDENTIAL]
                .map(|client| {
                    let request = stack.http.get(stack.url(&format!("/api/v1/apps/{client}/keys")));
                    off(Attempt::new(route, request, (200, "appKeys")), (404, "message"))
                })
                .into(),
            // They are about the service, and nobody's.
            "GET /.well-known/jwks.json"
            | "GET /.well-known/openid-configuration"
            | "GET /.well-known/oauth-authorization-server" => {
                let path = route.split(' ').nth(1).unwrap();
                vec![Attempt::new(route, stack.http.get(stack.url(path)), (200, "{"))]
            }
            _ => panic!("add what a suspended organization gets from {route}"),
        }
    }

    /// The attempts at a function that has no route, but `provision`.
    fn invocations(&self, function: &str) -> Vec<Attempt> {
        match function {
            "authorize" => {
                let decision = |(kind, bearer, depends): (&str, &str, Option<Switch>)| {
                    let request = self.invoke(function, &authorizer_event(bearer));
                    let attempt = Attempt::new(format!("authorize with an {kind}"), request, ALLOWED);
                    let attempt = attempt.off(Switch::Organization, DENIED);
                    match depends {
                        Some(switch) => attempt.off(switch, DENIED),
                        None => attempt,
                    }
                };
                self.bearers().map(decision).into()
            }
            "issue-code" => {
                let logins = [
                    exchange_token::login(),
                    with(&exchange_token::login(), &json!({"clientId": CONFIDENTIAL, "scope": "openid"})),
                ];
                let refused = (200, r#""errorType":"#);
                logins
                    .map(|login| {
                        let attempt = Attempt::new("a login", self.invoke(function, &login), (200, r#""code":"tmc_"#));
                        attempt.off(Switch::Organization, refused).off(Switch::Clients, refused)
                    })
                    .into()
            }
            _ => panic!("add what a suspended organization gets from {function}"),
        }
    }

    /// The attempts at an action of an operator.
    fn actions(&self, action: &str) -> Vec<Attempt> {
        let tenant = &self.tenant;
        let ids = json!({"action": action, "organizationId": tenant.organization});
        let done = |id: &'static str, more: Value| {
            let request = self.invoke("provision", &with(&ids, &more));
            vec![Attempt::new(action, request, (200, id))]
        };
        // Nothing of a suspended organization is made.
        let made = |id: &'static str, more: Value| {
            let mut attempts = done(id, more);
            attempts.remove(0).off(Switch::Organization, SUSPENDED)
        };
        let by_id = |mut more: Value| {
            more["organizationId"] = Value::Null;
            more
        };
        match action {
            "createApiKey" => vec![made("apiKeyId", json!({}))],
            "createRegistration" => vec![made("registrationId", json!({"name": "new", "registrationId": "new"}))],
            "createApplication" => vec![made("applicationId", json!({"slug": "new"}))],
            "createClient" => {
                let client = json!({"redirectUris": ["https://a.example/"], "scopes": ["openid"]});
                vec![
                    made("clientId", client.clone()),
                    made("clientSecret", with(&client, &json!({"confidential": true}))),
                ]
            }
            "rotateApiKey" => vec![made("apiKeyId", by_id(json!({"apiKeyId": self.api_key_id})))],
            "rotateSecret" => vec![made("clientSecret", by_id(json!({"clientId": CONFIDENTIAL})))],
            "createOrganization" => done("errorType\":\"Taken", by_id(json!({"slug": "acme"}))),
            "updateOrganization" => done("organizationId", json!({"name": "new"})),
            "updateRegistration" => {
                done("registrationId", by_id(json!({"registrationId": tenant.registration, "name": "new"})))
            }
            "updateApplication" => {
                done("applicationId", by_id(json!({"applicationId": tenant.application, "name": "new"})))
            }
            "updateClient" => done("clientId", by_id(json!({"clientId": CLIENT, "name": "new"}))),
            "get" => done("createdAt", by_id(json!({"kind": "organization", "id": "acme"}))),
            "list" => ["apiKeys", "registrations", "applications", "clients"]
                .into_iter()
                .flat_map(|kind| done("createdAt", json!({"kind": kind})))
                .collect(),
            "listSessions" => done("items", by_id(json!({"subject": "user-1"}))),
            // Not of an organization.
            "rotateSigningKey" => done("errorType\":\"InvalidRequest", by_id(json!({}))),
            // They end things, or are the switch: see `what_was_ended_stays_ended`.
            "revokeApiKey"
            | "revokeTokens"
            | "endSessions"
            | "delete"
            | "suspendOrganization"
            | "resumeOrganization" => {
                vec![]
            }
            _ => panic!("add what {action} does in a suspended organization"),
        }
    }

    /// Every attempt that there is.
    async fn all_attempts(&self) -> Vec<Attempt> {
        let mut attempts = vec![];
        let routes = Template::read().unwrap().routes;
        for route in &routes {
            attempts.extend(self.attempts(&format!("{} {}", route.method, route.path)).await);
        }
        let without_route =
            Functions::names().filter(|function| routes.iter().all(|route| route.function != *function));
        for function in without_route.filter(|function| *function != "provision") {
            attempts.extend(self.invocations(function));
        }
        // `provision` names its actions when it refuses one.
        let refused = self.stack.try_provision(&json!({"action": "x"})).await.unwrap_err();
        let names = refused["errorMessage"].as_str().unwrap_or_else(|| panic!("{refused}"));
        let names = names.strip_prefix("action must be ").unwrap().replace(" or ", ", ");
        let names: Vec<_> = names.split(", ").collect();
        assert!(names.len() > 20, "{names:?}");
        for action in names {
            attempts.extend(self.actions(action));
        }
        attempts
    }
}

/// A form of the confidential client, which authenticates. The client that `form` may name is left out.
fn as_confidential(stack: &TestStack, secret: &str, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
    let form: Vec<_> = form.iter().copied().filter(|(name, _)| *name != "client_id").collect();
    stack.form(path, &form).basic_auth(CONFIDENTIAL, Some(secret))
}

async fn confidential_code(stack: &TestStack) -> String {
    oauth2::code(stack, &json!({"clientId": CONFIDENTIAL, "scope": "openid"})).await
}

/// A user who has logged in at the confidential client.
async fn confidential_user(stack: &TestStack, secret: &str) -> User {
    let code = confidential_code(stack).await;
    stack.send(as_confidential(stack, secret, TOKEN, &code_form(&code))).await.user(code)
}

async fn nothing_works_while_off(switch: Switch) {
    let customer = Customer::new().await;
    let attempts = customer.all_attempts().await;
    let stack = &customer.stack;
    customer.perform(switch, false).await;
    let (mut refused, mut others) = (0, 0);
    for attempt in &attempts {
        match attempt.off.get(&switch) {
            Some(expected) => {
                attempt.assert(stack, &format!("{switch:?} is off"), *expected).await;
                refused += 1;
            }
            None => others += 1,
        }
    }
    println!("{switch:?}: {refused} are refused, {others} are not");
    // What does not depend on it works beside it. That may be done once only.
    for attempt in attempts.iter().filter(|attempt| !attempt.off.contains_key(&switch)) {
        attempt.assert(stack, &format!("{switch:?} does not matter"), attempt.on).await;
    }
    customer.perform(switch, true).await;
    for attempt in attempts.iter().filter(|attempt| attempt.off.contains_key(&switch)) {
        attempt.assert(stack, &format!("{switch:?} is on again"), attempt.on).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_organization_can_do_nothing_until_it_is_resumed() {
    nothing_works_while_off(Switch::Organization).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_registration_can_do_nothing_until_it_is_enabled() {
    nothing_works_while_off(Switch::Registration).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_application_can_do_nothing_until_it_is_enabled() {
    nothing_works_while_off(Switch::Application).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_client_can_do_nothing_until_it_is_enabled() {
    nothing_works_while_off(Switch::Clients).await;
}

/// While it is suspended, everything of an organization can be ended: by whoever holds it, and by operators.
#[expect(clippy::too_many_lines, reason = "everything that can be ended")]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_ended_stays_ended() {
    let customer = Customer::new().await;
    let (stack, tenant) = (&customer.stack, &customer.tenant);
    let ids = json!({"organizationId": tenant.organization});
    let key = async || {
        let made = stack.provision(&with(&ids, &json!({"action": "createApiKey"}))).await;
        Secrets::add_credential(made["apiKey"].as_str().unwrap());
        (made["apiKeyId"].as_str().unwrap().to_owned(), made["apiKey"].as_str().unwrap().to_owned())
    };
    let token_of = async |registration: &str| {
        let body = json!({"registrationId": registration});
        stack.post("/api/v1/create-token", &tenant.key, &body).await.access_token()
    };
    let app_token_of = async |application: &str| {
        let made = stack.post(&app_tokens(&tenant.organization, application), &tenant.key, &json!({})).await;
        let bearer = made.json()["data"]["bearer"].as_str().unwrap().to_owned();
        Secrets::add_credential(&bearer);
        bearer
    };
    let user_of = async |subject: &str| {
        let code = oauth2::code(stack, &json!({"subject": subject})).await;
        oauth2::exchange(stack, &code).await.user(code)
    };

    // Ended by their holders.
    let (_, revoked_key) = key().await;
    let by_token = user_of("a").await;
    let by_refresh_token = user_of("b").await;
    let unused_code = oauth2::code(stack, &json!({})).await;
    let held = [
        revoked_key.clone(),
        token_of(&tenant.registration).await,
        app_token_of(&tenant.application).await,
        by_token.access_token.clone(),
        by_refresh_token.refresh_token.clone(),
        unused_code.clone(),
    ];
    // Ended by operators, each by an action.
    let (revoked_key_id, operators_key) = key().await;
    let other = Tenant {
        registration: stack.registration(&tenant.organization, &json!({})).await,
        application: stack.application(&tenant.organization, "other-app").await,
        ..tenant.clone()
    };
    let deleted = Tenant {
        registration: stack.registration(&tenant.organization, &json!({})).await,
        application: stack.application(&tenant.organization, "deleted-app").await,
        ..tenant.clone()
    };
    let mut over = vec![revoked_key, operators_key, by_token.access_token, by_refresh_token.access_token];
    over.extend([held[1].clone(), held[2].clone()]);
    for owner in [&other, &deleted] {
        over.push(token_of(&owner.registration).await);
        over.push(app_token_of(&owner.application).await);
    }
    let ended_user = user_of("c").await;
    over.push(ended_user.access_token);
    let doomed_code = oauth2::code(stack, &json!({"clientId": DOOMED_CLIENT})).await;
    let of_doomed = |(name, value)| (name, if name == "client_id" { DOOMED_CLIENT } else { value });
    let form = code_form(&doomed_code).map(of_doomed);
    let doomed = stack.post_form(TOKEN, &form).await.user(doomed_code.clone());
    over.push(doomed.access_token);
    over.push(customer.confidential.access_token.clone());
    let is_allowed = async |bearer: &str| {
        stack.local.invoke("authorize", &authorizer_event(bearer)).await.unwrap()["isAuthorized"] == true
    };
    for bearer in &over {
        assert!(is_allowed(bearer).await);
    }

    customer.perform(Switch::Organization, false).await;
    for credential in &held {
        let answer = stack.post_form(REVOKE, &[("token", credential)]).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "{}"));
    }
    for action in [
        json!({"action": "revokeApiKey", "apiKeyId": revoked_key_id}),
        json!({"action": "revokeTokens", "registrationId": other.registration}),
        json!({"action": "revokeTokens", "applicationId": other.application}),
        json!({"action": "revokeTokens", "clientId": CONFIDENTIAL}),
        json!({"action": "delete", "kind": "registration", "id": deleted.registration}),
        json!({"action": "delete", "kind": "application", "id": deleted.application}),
        json!({"action": "delete", "kind": "client", "id": DOOMED_CLIENT}),
    ] {
        stack.provision(&action).await;
    }
    let end = json!({"action": "endSessions", "subject": "c"});
    assert_eq!(stack.provision(&end).await, json!({"ended": 1}));
    customer.perform(Switch::Organization, true).await;

    for (n, bearer) in over.iter().enumerate() {
        assert!(!is_allowed(bearer).await, "number {n}");
        let asked = with_bearer(stack.form(INTROSPECT, &[("token", bearer)]), &tenant.key);
        assert_eq!(stack.send(asked).await.text, INACTIVE.1, "number {n}");
    }
    let refreshes = [&by_token.refresh_token, &by_refresh_token.refresh_token, &ended_user.refresh_token];
    for token in refreshes.into_iter().chain([&doomed.refresh_token]) {
        let answer = stack.post_form(TOKEN, &refresh_form(token)).await;
        assert!(answer.status == 400 && answer.text.contains(INVALID_GRANT.1), "{answer:?}");
    }
    let token = &customer.confidential.refresh_token;
    let answer = stack.send(customer.as_confidential(TOKEN, &refresh_form(token))).await;
    assert!(answer.status == 400 && answer.text.contains(INVALID_GRANT.1), "{answer:?}");
    let answer = oauth2::exchange(stack, &unused_code).await;
    assert!(answer.status == 400 && answer.text.contains(INVALID_GRANT.1), "{answer:?}");
    // What was not ended is as good as before, and so is what ended all before.
    for (kind, bearer, _) in customer.bearers() {
        assert!(is_allowed(bearer).await != (bearer == customer.confidential.access_token), "{kind}");
    }
    let again = [token_of(&other.registration).await, app_token_of(&other.application).await];
    for bearer in again.iter().chain([&customer.confidential_user().await.access_token]) {
        assert!(is_allowed(bearer).await);
    }
}
