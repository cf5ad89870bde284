//! The kinds of requests, and what each must do whatever happens to its AWS calls.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::{Value, json};
use shared::{
    credential::{Credential, CredentialKind, GrantCredential},
    keys::SigningMode,
};

use super::{
    ApiRequest, Outcome, Secrets, Tenant, TestStack, authorizer_event,
    exchange_token::{self, CLIENT, code_body, refresh_body},
    items, oauth2, with,
};

/// A kind of request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Case {
    CreateToken,
    CreateTokenOnce,
    CreateTokenAsToken,
    CreateAppToken,
    CreateAppTokenOnce,
    ExchangeCode,
    Refresh,
    IssueCode,
    CreateRegistration,
    UpdateRegistration,
    RevokeApiKey,
    UpdateClient,
    ListApplications,
    ListSessions,
    EndSessions,
    ListTokens,
    RevokeToken,
    ListAppTokens,
    RevokeAppToken,
    Introspect,
    ClientCredentials,
    ClientCredentialsOnce,
    StandardCode,
    StandardRefresh,
    RevokeGrant,
    Userinfo,
    Authorize,
    KeySet,
    AppKeys,
}

impl Case {
    pub(crate) const ALL: [Self; 29] = [
        Self::CreateToken,
        Self::CreateTokenOnce,
        Self::CreateTokenAsToken,
        Self::CreateAppToken,
        Self::CreateAppTokenOnce,
        Self::ExchangeCode,
        Self::Refresh,
        Self::IssueCode,
        Self::CreateRegistration,
        Self::UpdateRegistration,
        Self::RevokeApiKey,
        Self::UpdateClient,
        Self::ListApplications,
        Self::ListSessions,
        Self::EndSessions,
        Self::ListTokens,
        Self::RevokeToken,
        Self::ListAppTokens,
        Self::RevokeAppToken,
        Self::Introspect,
        Self::ClientCredentials,
        Self::ClientCredentialsOnce,
        Self::StandardCode,
        Self::StandardRefresh,
        Self::RevokeGrant,
        Self::Userinfo,
        Self::Authorize,
        Self::KeySet,
        Self::AppKeys,
    ];

    /// The name of the function that answers it.
    pub(crate) fn function(self) -> &'static str {
        match self {
            Self::CreateToken | Self::CreateTokenOnce | Self::CreateTokenAsToken => "create-token",
            Self::CreateAppToken | Self::CreateAppTokenOnce => "create-app-token",
            Self::ExchangeCode | Self::Refresh => "exchange-token",
            Self::IssueCode => "issue-code",
            Self::CreateRegistration
            | Self::UpdateRegistration
            | Self::RevokeApiKey
            | Self::UpdateClient
            | Self::ListApplications
            | Self::ListSessions
            | Self::EndSessions => "provision",
            Self::ListTokens | Self::RevokeToken | Self::ListAppTokens | Self::RevokeAppToken => "manage-tokens",
            Self::Introspect
            | Self::ClientCredentials
            | Self::ClientCredentialsOnce
            | Self::StandardCode
            | Self::StandardRefresh
            | Self::RevokeGrant
            | Self::Userinfo => "oauth2",
            Self::Authorize => "authorize",
            Self::KeySet | Self::AppKeys => "publish-keys",
        }
    }

    /// The cases of one function.
    pub(crate) fn of(function: &str) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |case| case.function() == function)
    }

    /// The documented status of the success, and the documented body of a 500.
    pub(crate) fn api_v1(self) -> (u64, Value) {
        match self {
            Self::CreateToken | Self::CreateTokenOnce | Self::CreateTokenAsToken => {
                (201, json!({"message": "Internal server error"}))
            }
            Self::CreateAppToken | Self::CreateAppTokenOnce | Self::ListAppTokens | Self::RevokeAppToken => {
                (200, json!({"status": false, "error": {"code": 1001, "message": "Internal server error"}}))
            }
            Self::ExchangeCode | Self::Refresh => {
                let error = json!({"validation": "error", "code": "[E0000]", "message": "Internal Server Error"});
                (201, json!({"errors": [error]}))
            }
            Self::Authorize
            | Self::IssueCode
            | Self::CreateRegistration
            | Self::UpdateRegistration
            | Self::RevokeApiKey
            | Self::UpdateClient
            | Self::ListApplications
            | Self::ListSessions
            | Self::EndSessions => {
                (200, json!({"errorType": "InternalError", "errorMessage": "Internal server error"}))
            }
            Self::Introspect
            | Self::ClientCredentials
            | Self::ClientCredentialsOnce
            | Self::StandardCode
            | Self::StandardRefresh
            | Self::RevokeGrant
            | Self::Userinfo => (200, json!({"error": "server_error", "error_description": "internal server error"})),
            Self::ListTokens | Self::RevokeToken | Self::KeySet | Self::AppKeys => {
                (200, json!({"message": "Internal server error"}))
            }
        }
    }

    /// Whether this answer says that an earlier attempt, whose answer was lost, has done the work.
    pub(crate) fn is_done_already(self, answer: &Outcome) -> bool {
        match self {
            Self::RevokeApiKey => answer.body["errorType"] == "NotFound",
            Self::RevokeToken | Self::RevokeAppToken => answer.status == 404,
            _ => false,
        }
    }

    /// Whether a repeat of the request is recognized as one.
    pub(crate) fn is_recognised(self) -> bool {
        !matches!(
            self,
            Self::CreateToken
                | Self::CreateTokenAsToken
                | Self::CreateAppToken
                | Self::IssueCode
                | Self::CreateRegistration
                | Self::ClientCredentials
        )
    }
}

/// A request, and where the table holds what it makes.
pub(crate) struct Subject {
    pub(crate) request: ApiRequest,
    pub(crate) held: Held,
}

pub(crate) enum Held {
    /// In the registration.
    Tokens(String),
    /// As items that have this value in this attribute.
    Items(&'static str, String),
    /// In the grant with this key.
    Live(String),
    /// In the registration there is still the one token, and no longer the other.
    Revoked { registration: String, kept: String, revoked: String },
    /// As the hash of the secret of this client.
    Secret(String),
    /// The grant with this key is ended.
    Ended(String),
    /// As the revocation mark in the item with this key.
    Mark(String),
    /// Nowhere.
    Nothing,
}

pub(crate) struct Fixture {
    pub(crate) stack: TestStack,
    tenant: Tenant,
    /// An OAuth access token.
    token: String,
    subjects: AtomicUsize,
}

impl Fixture {
    /// The stack has the system's time, which the processes use.
    pub(crate) async fn new(refresh_reuse_seconds: u32, mode: SigningMode) -> Self {
        let stack = TestStack::start_with(|options| options.signing_mode = mode).await;
        stack.clock.meet_the_systems();
        if mode == SigningMode::Envelope {
            stack.provision(&json!({"action": "rotateSigningKey"})).await;
        }
        let tenant = Tenant::new(&stack, "acme").await;
        let token = tenant.create_token(&stack).await.json()["token"]["accessToken"].as_str().unwrap().to_owned();
        exchange_token::client(&stack, &json!({"refreshReuseSeconds": refresh_reuse_seconds})).await;
        Self { stack, tenant, token, subjects: AtomicUsize::new(0) }
    }

    /// A registration with this quota.
    pub(crate) async fn registration(&self, max_allowed: usize) -> String {
        self.stack.registration(&self.tenant.organization, &json!({"maxAllowed": max_allowed})).await
    }

    pub(crate) fn create_token(&self, registration: &str) -> ApiRequest {
        let body = json!({"registrationId": registration, "email": "user@example.com"});
        ApiRequest::new("create-token", &json!({}), &self.tenant.key, &body)
    }

    /// A request that has never been made.
    pub(crate) async fn subject(&self, case: Case) -> Subject {
        let (stack, function) = (&self.stack, case.function());
        let unique = format!("subject-{}", self.subjects.fetch_add(1, Relaxed));
        match case {
            Case::CreateToken | Case::CreateTokenOnce | Case::CreateTokenAsToken => {
                let registration = self.registration(10).await;
                let request = self.create_token(&registration);
                let request = match case {
                    Case::CreateTokenOnce => request.with_idempotency_key("once"),
                    Case::CreateTokenAsToken => request.with_bearer(&self.token),
                    _ => request,
                };
                Subject { request, held: Held::Tokens(registration) }
            }
            Case::CreateAppToken | Case::CreateAppTokenOnce => {
                let application = stack.application(&self.tenant.organization, &unique).await;
                let path = json!({"organizationId": "acme", "applicationId": unique});
                let body = json!({"description": "CI", "scopes": ["sdk"]});
                let request = ApiRequest::new(function, &path, &self.tenant.key, &body);
                let once = case == Case::CreateAppTokenOnce;
                let request = if once { request.with_idempotency_key("once") } else { request };
                Subject { request, held: Held::Items("applicationId", application) }
            }
            Case::ExchangeCode => {
                let code = exchange_token::issue(stack, &json!({})).await;
                let request = ApiRequest::new(function, &json!({}), "", &code_body(&code));
                Subject { request, held: Held::Live(items::grant_key(&code)) }
            }
            Case::Refresh => {
                let code = exchange_token::issue(stack, &json!({})).await;
                let token = exchange_token::exchange(stack, &code).await.refresh_token();
                let request = ApiRequest::new(function, &json!({}), "", &refresh_body(&token));
                Subject { request, held: Held::Live(items::grant_key(&code)) }
            }
            Case::IssueCode => {
                let event = with(&exchange_token::login(), &json!({"subject": unique}));
                Subject { request: ApiRequest { function, event }, held: Held::Items("subject", unique) }
            }
            Case::CreateRegistration => {
                let event =
                    json!({"action": "createRegistration", "organizationId": self.tenant.organization, "name": unique});
                Subject { request: ApiRequest { function, event }, held: Held::Items("name", unique) }
            }
            Case::UpdateRegistration => {
                let registration = self.registration(10).await;
                let scopes = ["read:things"];
                let event = json!({
                    "action": "updateRegistration", "registrationId": registration, "name": unique, "scopes": scopes,
                });
                Subject { request: ApiRequest { function, event }, held: Held::Items("name", unique) }
            }
            Case::RevokeApiKey => {
                let action = json!({"action": "createApiKey", "organizationId": self.tenant.organization});
                let id = stack.provision(&action).await["apiKeyId"].as_str().unwrap().to_owned();
                let event = json!({"action": "revokeApiKey", "apiKeyId": id});
                let held = Held::Mark(items::api_key_key(&id));
                Subject { request: ApiRequest { function, event }, held }
            }
            Case::UpdateClient | Case::ListApplications | Case::ListSessions | Case::EndSessions => {
                self.provisioned(case, unique).await
            }
            Case::ListTokens | Case::RevokeToken | Case::ListAppTokens | Case::RevokeAppToken => {
                self.minted(case, unique).await
            }
            Case::Introspect
            | Case::ClientCredentials
            | Case::ClientCredentialsOnce
            | Case::StandardCode
            | Case::StandardRefresh
            | Case::RevokeGrant
            | Case::Userinfo => self.standard(case).await,
            Case::Authorize => {
                Subject { request: ApiRequest { function, event: authorizer_event(&self.token) }, held: Held::Nothing }
            }
            Case::KeySet | Case::AppKeys => {
                let (path, route) = if case == Case::KeySet {
                    (json!({}), "GET /.well-known/jwks.json")
                } else {
                    (json!({"clientId": CLIENT}), "GET /api/v1/apps/{clientId}/keys")
                };
                let request = ApiRequest::new(function, &path, "", &json!({})).with_route(route, "");
                Subject { request, held: Held::Nothing }
            }
        }
    }

    /// A client, an organization or a session of its own.
    async fn provisioned(&self, case: Case, unique: String) -> Subject {
        let (stack, function) = (&self.stack, case.function());
        match case {
            Case::UpdateClient => {
                let create = json!({
                    "action": "createClient", "redirectUris": ["https://a.example/"], "services": ["email"],
                    "scopes": ["openid"], "confidential": true,
                });
                let made = stack.provision(&create).await;
                Secrets::add_credential(made["clientSecret"].as_str().unwrap());
                let id = made["clientId"].as_str().unwrap();
                let event = json!({"action": "updateClient", "clientId": id, "rotateSecret": true, "scopes": ["a"]});
                Subject { request: ApiRequest { function, event }, held: Held::Secret(format!("CLIENT#{id}")) }
            }
            Case::ListApplications => {
                let event =
                    json!({"action": "list", "kind": "applications", "organizationId": self.tenant.organization});
                Subject { request: ApiRequest { function, event }, held: Held::Nothing }
            }
            Case::ListSessions | Case::EndSessions => {
                let code = exchange_token::issue(stack, &json!({"subject": unique})).await;
                let _ = exchange_token::exchange(stack, &code).await.refresh_token();
                let end = case == Case::EndSessions;
                let name = if end { "endSessions" } else { "listSessions" };
                let event = json!({"action": name, "clientId": CLIENT, "subject": unique});
                let held = if end { Held::Ended(items::grant_key(&code)) } else { Held::Nothing };
                Subject { request: ApiRequest { function, event }, held }
            }
            _ => unreachable!("{case:?}"),
        }
    }

    /// A token to list or to revoke, in a registration or an application of its own.
    async fn minted(&self, case: Case, unique: String) -> Subject {
        let (stack, function) = (&self.stack, case.function());
        match case {
            Case::ListTokens | Case::RevokeToken => {
                let registration = self.registration(10).await;
                let mut ids = vec![];
                for _ in 0..2 {
                    let body = json!({"registrationId": registration});
                    let made = stack.post("/api/v1/create-token", &self.tenant.key, &body).await;
                    ids.push(made.json()["token"]["id"].as_str().unwrap().to_owned());
                }
                let (kept, revoked) = (ids.remove(0), ids.remove(0));
                let body = json!({"registrationId": registration, "tokenId": revoked});
                let request = ApiRequest::new(function, &json!({}), &self.tenant.key, &body);
                if case == Case::ListTokens {
                    return Subject {
                        request: request.with_route("POST /api/v1/list-tokens", ""),
                        held: Held::Nothing,
                    };
                }
                let request = request.with_route("POST /api/v1/revoke-token", "");
                Subject { request, held: Held::Revoked { registration, kept, revoked } }
            }
            Case::ListAppTokens | Case::RevokeAppToken => {
                stack.application(&self.tenant.organization, &unique).await;
                let path = format!("/v1/organizations/acme/apps/{unique}/tokens");
                let made = stack.post(&path, &self.tenant.key, &json!({})).await.json()["data"].clone();
                Secrets::add_credential(made["bearer"].as_str().unwrap());
                let id = made["id"].as_str().unwrap();
                let path = json!({"organizationId": "acme", "applicationId": unique, "tokenId": id});
                let request = ApiRequest::new(function, &path, &self.tenant.key, &json!({}));
                let route = "/v1/organizations/{organizationId}/apps/{applicationId}/tokens";
                if case == Case::ListAppTokens {
                    // The second page: the first is counted before.
                    let request = request.with_route(&format!("GET {route}"), "page=2&limit=1");
                    return Subject { request, held: Held::Nothing };
                }
                let request = request.with_route(&format!("DELETE {route}/{{tokenId}}"), "");
                Subject { request, held: Held::Mark(format!("APP_TOKEN#{id}")) }
            }
            _ => unreachable!("{case:?}"),
        }
    }

    /// A request of a standard client.
    async fn standard(&self, case: Case) -> Subject {
        let (stack, function) = (&self.stack, case.function());
        let token = |form: &[(&str, &str)]| ApiRequest::form(function, "POST /oauth2/token", form);
        match case {
            Case::ClientCredentials | Case::ClientCredentialsOnce => {
                let registration = self.registration(10).await;
                let request = token(&[
                    ("grant_type", "client_credentials"),
                    ("client_id", &registration),
                    ("client_secret", &self.tenant.key),
                ]);
                let once = case == Case::ClientCredentialsOnce;
                let request = if once { request.with_idempotency_key("once") } else { request };
                Subject { request, held: Held::Tokens(registration) }
            }
            Case::StandardCode => {
                let code = oauth2::code(stack, &json!({})).await;
                Subject { request: token(&oauth2::code_form(&code)), held: Held::Live(items::grant_key(&code)) }
            }
            Case::StandardRefresh => {
                let user = oauth2::user(stack).await;
                let request = token(&[("grant_type", "refresh_token"), ("refresh_token", &user.refresh_token)]);
                Subject { request, held: Held::Live(items::grant_key(&user.code)) }
            }
            Case::RevokeGrant => {
                let user = oauth2::user(stack).await;
                let request = ApiRequest::form(function, "POST /oauth2/revoke", &[("token", &user.refresh_token)]);
                Subject { request, held: Held::Ended(items::grant_key(&user.code)) }
            }
            Case::Introspect => {
                let form = [("token", self.token.as_str())];
                let request = ApiRequest::form(function, "POST /oauth2/introspect", &form);
                Subject { request: request.with_bearer(&self.tenant.key), held: Held::Nothing }
            }
            Case::Userinfo => {
                let token = oauth2::user(stack).await.access_token;
                let request = ApiRequest::new(function, &json!({}), &token, &json!({}));
                Subject { request: request.with_route("GET /oauth2/userinfo", ""), held: Held::Nothing }
            }
            _ => unreachable!("{case:?}"),
        }
    }

    /// How many tokens, or what else the request makes, the table holds.
    pub(crate) async fn worth(&self, held: &Held) -> usize {
        match held {
            Held::Tokens(registration) => {
                self.stack.registration_item(registration).await["tokens"]["M"].as_object().unwrap().len()
            }
            Held::Items(attribute, value) => {
                let filter = json!({
                    "FilterExpression": "#attribute = :value AND NOT begins_with(pk, :application)",
                    "ExpressionAttributeNames": {"#attribute": attribute},
                    "ExpressionAttributeValues": {":value": {"S": value}, ":application": {"S": items::APPLICATION}},
                });
                self.stack.dynamodb("Scan", filter).await["Items"].as_array().unwrap().len()
            }
            Held::Live(grant) => {
                let item = self.stack.item(grant).await;
                usize::from(item["revoked"].is_null() && !item["current"].is_null())
            }
            Held::Revoked { registration, kept, revoked } => {
                let stack = &self.stack;
                usize::from(stack.holds(registration, kept).await && !stack.holds(registration, revoked).await)
            }
            Held::Secret(client) => usize::from(self.stack.item(client).await["secretHash"].is_object()),
            Held::Ended(grant) => usize::from(!self.stack.item(grant).await["revoked"].is_null()),
            Held::Mark(key) => usize::from(!self.stack.item(key).await["revokedAt"].is_null()),
            Held::Nothing => 1,
        }
    }

    /// Asserts that what the answer has is what the table holds.
    pub(crate) async fn assert_good(&self, case: Case, held: &Held, answer: &Outcome) {
        let text = |pointer: &str| {
            let text = answer.body.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{answer:?}"));
            Secrets::add_credential(text);
            text.to_owned()
        };
        match held {
            Held::Tokens(registration) if matches!(case, Case::ClientCredentials | Case::ClientCredentialsOnce) => {
                let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(text("/access_token")).unwrap().claims;
                assert!(self.stack.holds(registration, claims["jti"].as_str().unwrap()).await, "{answer:?}");
            }
            Held::Tokens(registration) => {
                assert!(self.stack.holds(registration, &text("/token/id")).await, "{answer:?}");
            }
            Held::Live(grant) => {
                let standard = matches!(case, Case::StandardCode | Case::StandardRefresh);
                let token = text(if standard { "/refresh_token" } else { "/items/0/refreshToken" });
                let token = GrantCredential::parse_refresh_token(&token).unwrap();
                assert_eq!(self.stack.item(grant).await["current"]["S"], token.hash().as_str(), "{answer:?}");
            }
            Held::Items("applicationId", _) => {
                let bearer = Credential::parse(CredentialKind::AppToken, &text("/data/bearer")).unwrap();
                assert_eq!(bearer.id().to_string(), answer.body["data"]["id"]);
                let item = self.stack.item(&items::app_token_key(&bearer.id().to_string())).await;
                assert_eq!(item["hash"]["S"], bearer.hash().as_str());
            }
            Held::Items(..) if case == Case::IssueCode => {
                let code = text("/code");
                assert!(!self.stack.item(&items::grant_key(&code)).await.is_null());
            }
            Held::Items(..) => {
                assert!(!self.stack.registration_item(&text("/registrationId")).await.is_null());
            }
            Held::Secret(client) => {
                let secret = Credential::parse(CredentialKind::ClientSecret, &text("/clientSecret")).unwrap();
                assert_eq!(self.stack.item(client).await["secretHash"]["S"], secret.hash().as_str(), "{answer:?}");
            }
            Held::Revoked { .. } | Held::Ended(_) | Held::Mark(_) | Held::Nothing => {}
        }
    }
}
