//! One request of each kind, and what the table holds of it afterwards.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::{Value, json};
use shared::{
    credential::{AppBearer, Credential, CredentialKind, GrantCredential},
    keys::SigningMode,
};

use super::{
    ApiRequest, CREATE_TOKEN, CaseName, Outcome, Secrets, Tenant, TestStack, app_tokens, authorizer_event,
    exchange_token::{self, CLIENT, code_body, refresh_body},
    items, oauth2,
    tenant::REVOKE_APP_TOKEN,
    unverified_claims, with,
};

const LIST_APP_TOKENS: &str = "GET /v1/organizations/{organizationId}/apps/{applicationId}/tokens";

/// A request, and where the table holds what it makes.
pub(crate) struct Subject {
    pub(crate) request: ApiRequest,
    pub(crate) held: Held,
}

impl Subject {
    fn holding_nothing(self) -> Self {
        Self { held: Held::Nothing, ..self }
    }
}

pub(crate) enum Held {
    /// In the registration with this id.
    Tokens(String),
    /// As items that have this value in this attribute.
    Items(&'static str, String),
    /// In the grant with this key.
    Live(String),
    /// In the registration there is still the one token, and no longer the other.
    Revoked {
        registration: String,
        kept: String,
        revoked: String,
    },
    /// The registration remembers that this machine token was revoked.
    RevokedMachineToken {
        registration: String,
        id: String,
    },
    /// As the hash of the secret of the client with this key.
    Secret(String),
    /// The grant with this key is ended.
    Ended(String),
    /// As the revocation mark in the item with this key.
    Mark(String),
    /// As what is left of the item with this key, and nothing lists it.
    Deleted(String),
    /// As the name in the item with this key.
    Name {
        key: String,
        name: String,
    },
    /// As API keys with this description, besides the first one.
    NewKeys(String),
    /// As the number of times that the owner with this key has ended what it issued.
    Generations(String),
    /// All of these items are suspended, or none is.
    Suspension {
        keys: Vec<String>,
        suspended: bool,
    },
    Nothing,
}

fn keys(route: &str, path: &Value) -> Subject {
    let request = ApiRequest::new("publish-keys", path, "", &json!({})).with_route(route, "");
    Subject { request, held: Held::Nothing }
}

pub(crate) struct Fixture {
    pub(crate) stack: TestStack,
    tenant: Tenant,
    access_token: String,
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
        let access_token = tenant.create_token(&stack).await.access_token();
        exchange_token::client(&stack, &json!({"refreshReuseSeconds": refresh_reuse_seconds})).await;
        Self { stack, tenant, access_token, subjects: AtomicUsize::new(0) }
    }
    pub(crate) async fn registration(&self, max_allowed: usize) -> String {
        self.stack.registration(&self.tenant.organization, &json!({"maxAllowed": max_allowed})).await
    }

    pub(crate) fn create_token(&self, registration: &str) -> ApiRequest {
        let body = json!({"registrationId": registration, "email": "user@example.com"});
        ApiRequest::new("create-token", &json!({}), &self.tenant.key, &body)
    }

    /// A request that has never been made.
    pub(crate) async fn subject(&self, name: CaseName) -> Subject {
        let once = |request: ApiRequest| request.with_idempotency_key("once");
        let same = |request: ApiRequest| request;
        match name {
            CaseName::CreateToken => self.token(same).await,
            CaseName::CreateTokenOnce => self.token(once).await,
            CaseName::CreateTokenAsToken => self.token(|request| request.with_bearer(&self.access_token)).await,
            CaseName::CreateAppToken => self.app_token(same).await,
            CaseName::CreateAppTokenOnce => self.app_token(once).await,
            CaseName::ExchangeCode => self.code().await,
            CaseName::Refresh => self.refresh().await,
            CaseName::IssueCode => self.issue_code(),
            CaseName::CreateRegistration => self.create_registration(),
            CaseName::CreateApiKey => self.create_api_key(),
            CaseName::UpdateRegistration => self.update_registration().await,
            CaseName::UpdateApplication => self.update_application().await,
            CaseName::RevokeApiKey => self.revoke_api_key().await,
            CaseName::RotateApiKey => self.rotate_api_key().await,
            CaseName::RotateSecret => self.rotate_secret().await,
            CaseName::RotateSecretOfRegistration => self.rotate_secret_of_registration().await,
            CaseName::RevokeTokensOfApplication => self.revoke_tokens_of_application().await,
            CaseName::RevokeTokensOfClient => self.revoke_tokens_of_client().await,
            CaseName::SuspendOrganization => self.suspension(true).await,
            CaseName::ResumeOrganization => self.suspension(false).await,
            CaseName::DeleteRegistration => self.registration_action("delete").await,
            CaseName::GetRegistration => self.registration_action("get").await.holding_nothing(),
            CaseName::ListApplications => self.list_applications(),
            CaseName::ListSessions => self.session("listSessions").await.holding_nothing(),
            CaseName::EndSessions => self.session("endSessions").await,
            CaseName::ListTokens => self.two_tokens("POST /api/v1/list-tokens").await.holding_nothing(),
            CaseName::RevokeToken => self.two_tokens("POST /api/v1/revoke-token").await,
            CaseName::RevokeTokens => self.revoke_tokens().await,
            // The second page: the first is counted before.
            CaseName::ListAppTokens => self.one_app_token(LIST_APP_TOKENS, "page=2&limit=1").await.holding_nothing(),
            CaseName::RevokeAppToken => self.one_app_token(REVOKE_APP_TOKEN, "").await,
            CaseName::Introspect => self.introspect(),
            CaseName::ClientCredentials => self.client_credentials(&self.tenant.registration),
            CaseName::RevokeMachineToken => self.revoke_machine_token().await,
            CaseName::StandardCode => self.standard_code().await,
            CaseName::StandardRefresh => self.standard_refresh().await,
            CaseName::RevokeGrant => self.revoke_grant().await,
            CaseName::Userinfo => self.userinfo().await,
            CaseName::Authorize => self.authorize(),
            CaseName::KeySet => keys("GET /.well-known/jwks.json", &json!({})),
            CaseName::AppKeys => keys("GET /api/v1/apps/{clientId}/keys", &json!({"clientId": CLIENT})),
        }
    }

    async fn token(&self, change: impl Fn(ApiRequest) -> ApiRequest) -> Subject {
        let registration = self.registration(10).await;
        Subject { request: change(self.create_token(&registration)), held: Held::Tokens(registration) }
    }

    async fn app_token(&self, change: impl Fn(ApiRequest) -> ApiRequest) -> Subject {
        let slug = self.unique();
        let application = self.stack.application(&self.tenant.organization, &slug).await;
        let path = json!({"organizationId": "acme", "applicationId": slug});
        let body = json!({"description": "CI", "scopes": ["sdk"]});
        let request = ApiRequest::new("create-app-token", &path, &self.tenant.key, &body);
        Subject { request: change(request), held: Held::Items("applicationId", application) }
    }

    async fn code(&self) -> Subject {
        let code = exchange_token::issue(&self.stack, &json!({})).await;
        Subject { request: exchange_token::request(&code_body(&code)), held: Held::Live(items::grant_key(&code)) }
    }

    async fn refresh(&self) -> Subject {
        let code = exchange_token::issue(&self.stack, &json!({})).await;
        let token = exchange_token::exchange(&self.stack, &code).await.refresh_token();
        Subject { request: exchange_token::request(&refresh_body(&token)), held: Held::Live(items::grant_key(&code)) }
    }

    fn issue_code(&self) -> Subject {
        let subject = self.unique();
        let event = with(&exchange_token::login(), &json!({"subject": subject}));
        Subject { request: ApiRequest { function: "issue-code", event }, held: Held::Items("subject", subject) }
    }

    fn create_registration(&self) -> Subject {
        let name = self.unique();
        let action = json!({"action": "createRegistration", "organizationId": self.tenant.organization, "name": name});
        Subject { request: ApiRequest::provision(action), held: Held::Items("name", name) }
    }

    async fn update_registration(&self) -> Subject {
        let (registration, name) = (self.registration(10).await, self.unique());
        let action = json!({
            "action": "updateRegistration", "registrationId": registration, "name": name, "scopes": ["read:things"],
        });
        Subject { request: ApiRequest::provision(action), held: Held::Items("name", name) }
    }

    fn create_api_key(&self) -> Subject {
        let description = self.unique();
        let organization = &self.tenant.organization;
        let action = json!({"action": "createApiKey", "organizationId": organization, "description": description});
        Subject { request: ApiRequest::provision(action), held: Held::Items("description", description) }
    }

    async fn rotate_api_key(&self) -> Subject {
        let description = self.unique();
        let organization = &self.tenant.organization;
        let create = json!({"action": "createApiKey", "organizationId": organization, "description": description});
        let made = self.stack.provision(&create).await;
        Secrets::add_credential(made["apiKey"].as_str().unwrap());
        let action = json!({"action": "rotateApiKey", "apiKeyId": made["apiKeyId"]});
        Subject { request: ApiRequest::provision(action), held: Held::NewKeys(description) }
    }

    async fn update_application(&self) -> Subject {
        let name = self.unique();
        let id = self.stack.application(&self.tenant.organization, &name).await;
        let action = json!({"action": "updateApplication", "applicationId": id, "name": name, "enabled": false});
        let key = items::application_key(&id);
        Subject { request: ApiRequest::provision(action), held: Held::Name { key, name } }
    }

    async fn revoke_tokens_of_application(&self) -> Subject {
        let id = self.stack.application(&self.tenant.organization, &self.unique()).await;
        let action = json!({"action": "revokeTokens", "applicationId": id});
        Subject { request: ApiRequest::provision(action), held: Held::Generations(items::application_key(&id)) }
    }

    async fn revoke_tokens_of_client(&self) -> Subject {
        let create = json!({"action": "createClient", "redirectUris": ["https://a.example/"], "scopes": ["openid"]});
        let made = self.stack.provision(&create).await;
        let id = made["clientId"].as_str().unwrap();
        let action = json!({"action": "revokeTokens", "clientId": id});
        Subject { request: ApiRequest::provision(action), held: Held::Generations(items::client_key(id)) }
    }

    async fn revoke_tokens(&self) -> Subject {
        let registration = self.registration(10).await;
        let body = json!({"registrationId": registration});
        assert_eq!(self.stack.post(CREATE_TOKEN, &self.tenant.key, &body).await.status, 201);
        let request = ApiRequest::new("manage-tokens", &json!({}), &self.tenant.key, &body);
        let request = request.with_route("POST /api/v1/revoke-tokens", "");
        Subject { request, held: Held::Generations(items::registration_key(&registration)) }
    }

    /// An organization of its own, which has an API key and a registration.
    async fn suspension(&self, suspended: bool) -> Subject {
        let stack = &self.stack;
        let organization = stack.organization(&self.unique()).await;
        let create = json!({"action": "createApiKey", "organizationId": organization});
        let made = stack.provision(&create).await;
        Secrets::add_credential(made["apiKey"].as_str().unwrap());
        let registration = stack.registration(&organization, &json!({})).await;
        let keys = vec![
            items::organization_key(&organization),
            items::api_key_key(made["apiKeyId"].as_str().unwrap()),
            items::registration_key(&registration),
        ];
        let suspend = json!({"action": "suspendOrganization", "organizationId": organization});
        let resume = json!({"action": "resumeOrganization", "organizationId": organization});
        if !suspended {
            stack.provision(&suspend).await;
        }
        let request = ApiRequest::provision(if suspended { suspend } else { resume });
        Subject { request, held: Held::Suspension { keys, suspended } }
    }

    async fn registration_action(&self, action: &str) -> Subject {
        let id = self.registration(10).await;
        let action = json!({"action": action, "kind": "registration", "id": id});
        Subject { request: ApiRequest::provision(action), held: Held::Deleted(items::registration_key(&id)) }
    }

    async fn revoke_api_key(&self) -> Subject {
        let create = json!({"action": "createApiKey", "organizationId": self.tenant.organization});
        let id = self.stack.provision(&create).await["apiKeyId"].as_str().unwrap().to_owned();
        let action = json!({"action": "revokeApiKey", "apiKeyId": id});
        Subject { request: ApiRequest::provision(action), held: Held::Mark(items::api_key_key(&id)) }
    }

    async fn rotate_secret(&self) -> Subject {
        let create = json!({
            "action": "createClient", "redirectUris": ["https://a.example/"], "services": ["email"],
            "scopes": ["openid"], "confidential": true,
        });
        let made = self.stack.provision(&create).await;
        Secrets::add_credential(made["clientSecret"].as_str().unwrap());
        let id = made["clientId"].as_str().unwrap();
        let action = json!({"action": "rotateSecret", "clientId": id});
        Subject { request: ApiRequest::provision(action), held: Held::Secret(items::client_key(id)) }
    }

    async fn rotate_secret_of_registration(&self) -> Subject {
        let create = json!({
            "action": "createRegistration", "organizationId": self.tenant.organization, "name": "test",
            "confidential": true,
        });
        let made = self.stack.provision(&create).await;
        Secrets::add_credential(made["clientSecret"].as_str().unwrap());
        let id = made["registrationId"].as_str().unwrap();
        let action = json!({"action": "rotateSecret", "registrationId": id});
        Subject { request: ApiRequest::provision(action), held: Held::Secret(items::registration_secrets_key(id)) }
    }

    fn list_applications(&self) -> Subject {
        let organization = &self.tenant.organization;
        let action = json!({"action": "list", "kind": "applications", "organizationId": organization});
        Subject { request: ApiRequest::provision(action), held: Held::Nothing }
    }

    async fn session(&self, action: &str) -> Subject {
        let subject = self.unique();
        let code = exchange_token::issue(&self.stack, &json!({"subject": subject})).await;
        exchange_token::exchange(&self.stack, &code).await.refresh_token();
        let action = json!({"action": action, "clientId": CLIENT, "subject": subject});
        Subject { request: ApiRequest::provision(action), held: Held::Ended(items::grant_key(&code)) }
    }

    /// Two tokens of one registration. The route names the second one.
    async fn two_tokens(&self, route: &str) -> Subject {
        let registration = self.registration(10).await;
        let mut ids = vec![];
        for _ in 0..2 {
            let body = json!({"registrationId": registration});
            let made = self.stack.post(CREATE_TOKEN, &self.tenant.key, &body).await;
            ids.push(made.json()["token"]["id"].as_str().unwrap().to_owned());
        }
        let (kept, revoked) = (ids.remove(0), ids.remove(0));
        let body = json!({"registrationId": registration, "tokenId": revoked});
        let request = ApiRequest::new("manage-tokens", &json!({}), &self.tenant.key, &body).with_route(route, "");
        Subject { request, held: Held::Revoked { registration, kept, revoked } }
    }

    /// A token of an application of its own. The route may name it.
    async fn one_app_token(&self, route: &str, query: &str) -> Subject {
        let slug = self.unique();
        self.stack.application(&self.tenant.organization, &slug).await;
        let made = self.stack.post(&app_tokens("acme", &slug), &self.tenant.key, &json!({})).await;
        let made = made.json()["data"].clone();
        Secrets::add_credential(made["bearer"].as_str().unwrap());
        let id = made["id"].as_str().unwrap();
        let path = json!({"organizationId": "acme", "applicationId": slug, "tokenId": id});
        let request = ApiRequest::new("manage-tokens", &path, &self.tenant.key, &json!({}));
        Subject { request: request.with_route(route, query), held: Held::Mark(items::app_token_key(id)) }
    }

    fn introspect(&self) -> Subject {
        let request = ApiRequest::form("POST /oauth2/introspect", &[("token", &self.access_token)]);
        Subject { request: request.with_bearer(&self.tenant.key), held: Held::Nothing }
    }

    fn client_credentials(&self, registration: &str) -> Subject {
        let form =
            [("grant_type", "client_credentials"), ("client_id", registration), ("client_secret", &self.tenant.key)];
        Subject { request: ApiRequest::form("POST /oauth2/token", &form), held: Held::Nothing }
    }

    async fn revoke_machine_token(&self) -> Subject {
        let registration = self.registration(10).await;
        let form = [("grant_type", "client_credentials")];
        let request = self.stack.form(oauth2::TOKEN, &form).basic_auth(&registration, Some(&self.tenant.key));
        let token = self.stack.send(request).await.json()["access_token"].as_str().unwrap().to_owned();
        Secrets::add_credential(&token);
        let id = unverified_claims(&token)["jti"].as_str().unwrap().to_owned();
        let request = ApiRequest::form("POST /oauth2/revoke", &[("token", &token)]);
        Subject { request, held: Held::RevokedMachineToken { registration, id } }
    }

    async fn standard_code(&self) -> Subject {
        let code = oauth2::code(&self.stack, &json!({})).await;
        let request = ApiRequest::form("POST /oauth2/token", &oauth2::code_form(&code));
        Subject { request, held: Held::Live(items::grant_key(&code)) }
    }

    async fn standard_refresh(&self) -> Subject {
        let user = oauth2::user(&self.stack).await;
        let request = ApiRequest::form("POST /oauth2/token", &oauth2::refresh_form(&user.refresh_token));
        Subject { request, held: Held::Live(items::grant_key(&user.code)) }
    }

    async fn revoke_grant(&self) -> Subject {
        let user = oauth2::user(&self.stack).await;
        let request = ApiRequest::form("POST /oauth2/revoke", &[("token", &user.refresh_token)]);
        Subject { request, held: Held::Ended(items::grant_key(&user.code)) }
    }

    async fn userinfo(&self) -> Subject {
        let token = oauth2::user(&self.stack).await.access_token;
        let request = ApiRequest::new("oauth2", &json!({}), &token, &json!({}));
        Subject { request: request.with_route("GET /oauth2/userinfo", ""), held: Held::Nothing }
    }

    fn authorize(&self) -> Subject {
        let event = authorizer_event(&self.access_token);
        Subject { request: ApiRequest { function: "authorize", event }, held: Held::Nothing }
    }

    /// A value that no other subject has.
    fn unique(&self) -> String {
        format!("subject-{}", self.subjects.fetch_add(1, Relaxed))
    }

    /// How many tokens, or what else the request makes, the table holds.
    pub(crate) async fn count(&self, held: &Held) -> usize {
        let stack = &self.stack;
        match held {
            Held::Tokens(registration) => {
                stack.registration_item(registration).await["tokens"]["M"].as_object().unwrap().len()
            }
            Held::Items(attribute, value) => {
                let filter = json!({
                    "FilterExpression": "#attribute = :value AND NOT begins_with(pk, :application)",
                    "ExpressionAttributeNames": {"#attribute": attribute},
                    "ExpressionAttributeValues": {":value": {"S": value}, ":application": {"S": items::APPLICATION}},
                });
                stack.dynamodb("Scan", filter).await["Items"].as_array().unwrap().len()
            }
            Held::Live(grant) => {
                let item = stack.item(grant).await;
                usize::from(item["revoked"].is_null() && !item["current"].is_null())
            }
            Held::Revoked { registration, kept, revoked } => {
                usize::from(stack.holds(registration, kept).await && !stack.holds(registration, revoked).await)
            }
            Held::RevokedMachineToken { registration, id } => {
                let item = stack.registration_item(registration).await;
                usize::from(item["revokedMachineTokens"]["M"].get(id).is_some())
            }
            Held::Secret(client) => usize::from(stack.item(client).await["secretHash"].is_object()),
            Held::Ended(grant) => usize::from(!stack.item(grant).await["revoked"].is_null()),
            Held::Mark(key) => usize::from(!stack.item(key).await["revokedAt"].is_null()),
            Held::Deleted(key) => {
                let item = stack.item(key).await;
                usize::from(!item["deletedAt"].is_null() && item["owner"].is_null())
            }
            Held::Name { key, name } => usize::from(stack.item(key).await["name"]["S"] == *name),
            Held::NewKeys(description) => {
                let filter = json!({
                    "FilterExpression": "description = :value",
                    "ExpressionAttributeValues": {":value": {"S": description}},
                });
                stack.dynamodb("Scan", filter).await["Items"].as_array().unwrap().len() - 1
            }
            Held::Generations(key) => stack.item(key).await["generation"]["N"].as_str().unwrap().parse().unwrap(),
            Held::Suspension { keys, suspended } => {
                let mut all = true;
                for key in keys {
                    let item = stack.item(key).await;
                    let suspension: u64 = item["suspension"]["N"].as_str().unwrap().parse().unwrap();
                    all &= (suspension % 2 == 1) == *suspended;
                }
                usize::from(all)
            }
            Held::Nothing => 1,
        }
    }

    /// Asserts that what the answer has is what the table holds.
    pub(crate) async fn assert_held(&self, held: &Held, answer: &Outcome) {
        let secret = |pointer: &str| {
            let secret = answer.body.pointer(pointer)?.as_str()?;
            Secrets::add_credential(secret);
            Some(secret.to_owned())
        };
        let required = |pointer: &str| secret(pointer).unwrap_or_else(|| panic!("{answer:?}"));
        match held {
            Held::Tokens(registration) => {
                assert!(self.stack.holds(registration, &required("/token/id")).await, "{answer:?}");
            }
            Held::Live(grant) => {
                let token = secret("/refresh_token").unwrap_or_else(|| required("/items/0/refreshToken"));
                let token = GrantCredential::parse_refresh_token(&token).unwrap();
                assert_eq!(self.stack.item(grant).await["current"]["S"], token.hash().as_str(), "{answer:?}");
            }
            Held::Items("applicationId", _) => {
                let bearer = AppBearer::parse(&required("/data/bearer")).unwrap();
                assert_eq!(bearer.id().to_string(), answer.body["data"]["id"]);
                let item = self.stack.item(&items::app_token_key(&bearer.id().to_string())).await;
                assert_eq!(item["hash"]["S"], bearer.hash().as_str());
            }
            Held::Items("subject", _) => {
                assert!(!self.stack.item(&items::grant_key(&required("/code"))).await.is_null());
            }
            Held::Items("description", _) | Held::NewKeys(_) => {
                let key = Credential::parse(CredentialKind::ApiKey, &required("/apiKey")).unwrap();
                let item = self.stack.item(&items::api_key_key(&key.id().to_string())).await;
                assert_eq!(item["hash"]["S"], key.hash().as_str());
            }
            Held::Items(..) => {
                assert!(!self.stack.registration_item(&required("/registrationId")).await.is_null());
            }
            Held::Secret(client) => {
                let secret = Credential::parse(CredentialKind::ClientSecret, &required("/clientSecret")).unwrap();
                assert_eq!(self.stack.item(client).await["secretHash"]["S"], secret.hash().as_str(), "{answer:?}");
            }
            Held::Revoked { .. }
            | Held::RevokedMachineToken { .. }
            | Held::Ended(_)
            | Held::Mark(_)
            | Held::Deleted(_)
            | Held::Name { .. }
            | Held::Generations(_)
            | Held::Suspension { .. }
            | Held::Nothing => {}
        }
    }
}
