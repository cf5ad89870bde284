//! The published crates `openidconnect` and `oauth2`, unmodified. `.ci/clients` runs clients for Node.js and Python.

use std::{collections::HashSet, convert::Infallible, fmt::Debug, pin::Pin};

use chrono::{DateTime, Utc};
use oauth2_client::{
    AccessToken, AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IntrospectionUrl, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RequestTokenError, RevocationUrl, Scope, TokenIntrospectionResponse, TokenUrl,
    basic::{
        BasicClient, BasicErrorResponseType, BasicRequestTokenError, BasicTokenIntrospectionResponse, BasicTokenType,
    },
    http::StatusCode,
    url::Url,
};
use openidconnect::{
    AccessTokenHash, AdditionalProviderMetadata, ClaimsVerificationError, EmptyAdditionalClaims, IssuerUrl, Nonce,
    OAuth2TokenResponse, ProviderMetadata, SubjectIdentifier, TokenResponse, UserInfoError,
    core::{
        CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
        CoreGenderClaim, CoreGrantType, CoreIdTokenClaims, CoreIdTokenVerifier, CoreJsonWebKey,
        CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
        CoreSubjectIdentifierType, CoreTokenResponse, CoreUserInfoClaims,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::clock::Clock;

use crate::harness::{ISSUER, START, Secrets, TestStack};

const REDIRECT_URI: &str = "https://app.example.com/callback";
const SUBJECT: &str = "user-1";
const SCOPES: &str = "openid profile email";
const AUTH_TIME: i64 = START - 60;

/// The stack as a client sees it: at its issuer's `https:` URL. `oauth2` revokes at such a URL only.
struct Service(TestStack);

impl<'c> AsyncHttpClient<'c> for Service {
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>> + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let (request, body) = request.into_parts();
            let uri = request.uri.to_string();
            let path = uri.strip_prefix(ISSUER).unwrap_or_else(|| panic!("{uri} is not the issuer's"));
            let sent = self.0.http.request(request.method, self.0.url(path)).headers(request.headers).body(body);
            let answer = self.0.send(sent).await;
            let mut response = HttpResponse::new(answer.text.into_bytes());
            *response.status_mut() = StatusCode::from_u16(answer.status).unwrap();
            *response.headers_mut() = answer.headers;
            Ok(response)
        })
    }
}

/// What RFC 8414 adds to OpenID Connect Discovery.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Endpoints {
    revocation_endpoint: RevocationUrl,
    introspection_endpoint: IntrospectionUrl,
}

impl AdditionalProviderMetadata for Endpoints {}

type Discovered = ProviderMetadata<
    Endpoints,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type RelyingParty = CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointSet, EndpointSet, EndpointMaybeSet>;

/// A client of the tenant.
struct Registered {
    id: String,
    secret: Option<String>,
    auth_type: AuthType,
}

/// The way of a user to the login service and back.
struct Login {
    code: AuthorizationCode,
    verifier: String,
    nonce: Nonce,
}

/// A service with an organization, and what discovery says.
struct Tenant {
    service: Service,
    organization: String,
    discovered: Discovered,
}

impl Tenant {
    async fn new() -> Self {
        let service = Service(TestStack::start().await);
        let organization = service.0.organization("acme").await;
        let issuer = IssuerUrl::new(ISSUER.to_owned()).unwrap();
        let discovered = Discovered::discover_async(issuer, &service).await.unwrap();
        Self { service, organization, discovered }
    }

    async fn register(&self, auth_type: Option<AuthType>) -> Registered {
        let action = json!({
            "action": "createClient", "organizationId": self.organization, "redirectUris": [REDIRECT_URI],
            "services": ["email"], "scopes": SCOPES.split(' ').collect::<Vec<_>>(), "confidential": auth_type.is_some(),
        });
        let client = self.service.0.provision(&action).await;
        let secret = client["clientSecret"].as_str().map(str::to_owned);
        if let Some(secret) = &secret {
            Secrets::add_credential(secret);
        }
        Registered { id: text(&client["clientId"]), secret, auth_type: auth_type.unwrap_or(AuthType::BasicAuth) }
    }

    /// A public client, and a confidential one for each way to authenticate.
    async fn register_all(&self) -> [Registered; 3] {
        [
            self.register(None).await,
            self.register(Some(AuthType::BasicAuth)).await,
            self.register(Some(AuthType::RequestBody)).await,
        ]
    }

    fn relying_party(&self, client: &Registered) -> RelyingParty {
        let (id, secret) = (ClientId::new(client.id.clone()), client.secret.clone().map(ClientSecret::new));
        CoreClient::from_provider_metadata(self.discovered.clone(), id, secret)
            .set_auth_type(client.auth_type.clone())
            .set_redirect_uri(RedirectUrl::new(REDIRECT_URI.to_owned()).unwrap())
            .set_token_uri(self.token_url())
            .set_revocation_url(self.discovered.additional_metadata().revocation_endpoint.clone())
    }

    fn token_url(&self) -> TokenUrl {
        self.discovered.token_endpoint().unwrap().clone()
    }

    /// An API key with one permission: its id and its secret.
    async fn api_key(&self, permission: &str) -> (String, String) {
        let action =
            json!({"action": "createApiKey", "organizationId": self.organization, "permissions": [permission]});
        let key = self.service.0.provision(&action).await;
        Secrets::add_credential(key["apiKey"].as_str().unwrap());
        (text(&key["apiKeyId"]), text(&key["apiKey"]))
    }

    async fn log_in(&self, party: &RelyingParty) -> Login {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let request = party
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scope(Scope::new("profile".to_owned()))
            .add_scope(Scope::new("email".to_owned()))
            .set_pkce_challenge(challenge);
        let (url, state, nonce) = request.url();
        let code = self.issue_code(&url, state.secret()).await;
        Login { code: AuthorizationCode::new(code), verifier: verifier.into_secret(), nonce }
    }

    /// Does what the login service does with an authorization request.
    async fn issue_code(&self, request: &Url, state: &str) -> String {
        let query = |name: &str| request.query_pairs().find(|(other, _)| other == name).unwrap().1.into_owned();
        assert_eq!((query("response_type"), query("code_challenge_method")), ("code".to_owned(), "S256".to_owned()));
        assert_eq!((query("state"), query("scope")), (state.to_owned(), SCOPES.to_owned()));
        let event = json!({
            "clientId": query("client_id"), "service": "email", "redirectUri": query("redirect_uri"),
            "subject": SUBJECT, "scope": query("scope"), "state": state, "nonce": query("nonce"),
            "codeChallenge": query("code_challenge"), "authTime": AUTH_TIME,
            "claims": {"name": "Zoë Example", "email": "zoe@example.com", "email_verified": true},
        });
        text(&self.service.0.local.invoke("issue-code", &event).await.unwrap()["code"])
    }

    async fn exchange(&self, party: &RelyingParty, login: &Login) -> TokenAnswer {
        let request = party.exchange_code(login.code.clone());
        request.set_pkce_verifier(PkceCodeVerifier::new(login.verifier.clone())).request_async(&self.service).await
    }

    async fn refresh(&self, party: &RelyingParty, token: &RefreshToken) -> TokenAnswer {
        party.exchange_refresh_token(token).request_async(&self.service).await
    }

    async fn user_info(
        &self,
        party: &RelyingParty,
        token: &AccessToken,
    ) -> Result<CoreUserInfoClaims, UserInfoError<Infallible>> {
        let subject = SubjectIdentifier::new(SUBJECT.to_owned());
        let request = party.user_info(token.clone(), Some(subject)).unwrap();
        request.request_async::<EmptyAdditionalClaims, _, CoreGenderClaim>(&self.service).await
    }

    async fn introspect(&self, token: &str) -> BasicTokenIntrospectionResponse {
        let (id, secret) = self.api_key("oauth.token.introspect").await;
        let client = BasicClient::new(ClientId::new(id))
            .set_client_secret(ClientSecret::new(secret))
            .set_introspection_url(self.discovered.additional_metadata().introspection_endpoint.clone());
        client.introspect(&AccessToken::new(token.to_owned())).request_async(&self.service).await.unwrap()
    }

    /// The verifier of ID tokens, with the time of the stack.
    fn verifier<'a>(&'a self, party: &'a RelyingParty) -> CoreIdTokenVerifier<'a> {
        let clock = self.service.0.clock.clone();
        party.id_token_verifier().set_time_fn(move || clock.now())
    }

    /// Verifies the signature and the claims of the ID token, and returns its claims.
    fn id_token(&self, party: &RelyingParty, tokens: &CoreTokenResponse, nonce: Option<&Nonce>) -> CoreIdTokenClaims {
        let verifier = self.verifier(party);
        let id_token = tokens.id_token().unwrap();
        let claims = id_token.claims(&verifier, |found: Option<&Nonce>| {
            (found.map(Nonce::secret) == nonce.map(Nonce::secret))
                .then_some(())
                .ok_or_else(|| format!("nonce is {found:?}"))
        });
        let claims = claims.unwrap();
        let (algorithm, key) = (id_token.signing_alg().unwrap(), id_token.signing_key(&verifier).unwrap());
        let hash = AccessTokenHash::from_token(tokens.access_token(), algorithm, key).unwrap();
        assert_eq!(claims.access_token_hash(), Some(&hash));
        claims.clone()
    }

    /// Asserts that nothing of a grant works any more.
    async fn assert_over(&self, party: &RelyingParty, tokens: &CoreTokenResponse) {
        let refresh_token = tokens.refresh_token().unwrap();
        assert_eq!(refused(self.refresh(party, refresh_token).await), BasicErrorResponseType::InvalidGrant);
        for token in [tokens.access_token().secret(), refresh_token.secret()] {
            let shown = serde_json::to_value(self.introspect(token).await).unwrap();
            assert_eq!(shown, json!({"active": false}));
        }
        let answer = self.user_info(party, tokens.access_token()).await;
        let Err(UserInfoError::Response(status, body, _)) = answer else { panic!("{answer:?}") };
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, body["error"].as_str()), (StatusCode::UNAUTHORIZED, Some("invalid_token")));
    }
}

type TokenAnswer<T = CoreTokenResponse> = Result<T, BasicRequestTokenError<Infallible>>;

/// The error of a refusal.
fn refused<T: Debug>(answer: TokenAnswer<T>) -> BasicErrorResponseType {
    let Err(RequestTokenError::ServerResponse(error)) = answer else { panic!("{answer:?}") };
    assert!(error.error_description().is_some_and(|description| !description.is_empty()), "{error:?}");
    error.error().clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn scopes(scopes: &str) -> Vec<Scope> {
    scopes.split(' ').map(|scope| Scope::new(scope.to_owned())).collect()
}

/// Asserts what every answer with tokens for the user says.
fn assert_answer(tokens: &CoreTokenResponse) {
    assert_eq!(tokens.token_type(), &BasicTokenType::Bearer);
    assert_eq!(tokens.expires_in().unwrap().as_secs(), 3600);
    assert_eq!(tokens.scopes(), Some(&scopes(SCOPES)));
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_has_what_a_client_needs() {
    let discovered = Tenant::new().await.discovered;
    assert_eq!(discovered.jwks().keys().len(), 1);
    assert_eq!(discovered.token_endpoint().unwrap().as_str(), format!("{ISSUER}/oauth2/token"));
    assert_eq!(discovered.userinfo_endpoint().unwrap().as_str(), format!("{ISSUER}/oauth2/userinfo"));
    let grants = discovered.grant_types_supported().unwrap();
    for grant in [CoreGrantType::AuthorizationCode, CoreGrantType::RefreshToken, CoreGrantType::ClientCredentials] {
        assert!(grants.contains(&grant), "{grant:?}");
    }
    let methods = discovered.token_endpoint_auth_methods_supported().unwrap();
    let known = [CoreClientAuthMethod::ClientSecretBasic, CoreClientAuthMethod::ClientSecretPost];
    assert!(known.iter().all(|method| methods.contains(method)), "{methods:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_logs_in_refreshes_and_logs_out() {
    let tenant = Tenant::new().await;
    for client in tenant.register_all().await {
        let party = tenant.relying_party(&client);
        let login = tenant.log_in(&party).await;
        let first = tenant.exchange(&party, &login).await.unwrap();
        assert_answer(&first);
        let claims = tenant.id_token(&party, &first, Some(&login.nonce));
        assert_eq!(claims.issuer().as_str(), ISSUER);
        assert_eq!(claims.audiences().iter().map(|audience| audience.as_str()).collect::<Vec<_>>(), [&client.id]);
        assert_eq!(claims.subject().as_str(), SUBJECT);
        assert_eq!(claims.name().unwrap().get(None).unwrap().as_str(), "Zoë Example");
        assert_eq!(claims.email().unwrap().as_str(), "zoe@example.com");
        assert_eq!(claims.email_verified(), Some(true));
        assert_eq!(claims.auth_time(), Some(time(AUTH_TIME)));
        let now = tenant.service.0.clock.seconds();
        assert_eq!((claims.issue_time(), claims.expiration()), (time(now), time(now + 3600)));

        let user = tenant.user_info(&party, first.access_token()).await.unwrap();
        assert_eq!(user.subject().as_str(), SUBJECT);
        assert_eq!(user.name().unwrap().get(None).unwrap().as_str(), "Zoë Example");
        assert_eq!((user.email().unwrap().as_str(), user.email_verified()), ("zoe@example.com", Some(true)));

        // An hour later the access token and the ID token have expired, and the refresh token works.
        tenant.service.0.clock.advance(3601);
        assert!(!tenant.introspect(first.access_token().secret()).await.active());
        let late = first.id_token().unwrap().claims(&tenant.verifier(&party), &login.nonce);
        assert!(matches!(late, Err(ClaimsVerificationError::Expired(_))), "{late:?}");
        let refresh_token = first.refresh_token().unwrap();
        let second = tenant.refresh(&party, refresh_token).await.unwrap();
        assert_answer(&second);
        assert_ne!(second.refresh_token().unwrap().secret(), refresh_token.secret());
        assert_eq!(tenant.id_token(&party, &second, None).auth_time(), Some(time(AUTH_TIME)));

        let shown = tenant.introspect(second.access_token().secret()).await;
        assert!(shown.active());
        assert_eq!(shown.scopes(), Some(&scopes(SCOPES)));
        assert_eq!(shown.client_id().unwrap().as_str(), client.id);
        assert_eq!(shown.token_type(), Some(&BasicTokenType::Bearer));
        assert_eq!((shown.sub(), shown.iss()), (Some(SUBJECT), Some(ISSUER)));
        assert_eq!(shown.aud(), Some(&vec![ISSUER.to_owned()]));
        assert_eq!((shown.iat(), shown.exp()), (Some(time(now + 3601)), Some(time(now + 7201))));
        assert!(shown.jti().is_some());

        let token = second.refresh_token().unwrap();
        party.revoke_token(token.into()).unwrap().request_async(&tenant.service).await.unwrap();
        tenant.assert_over(&party, &second).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_code_and_a_revoked_access_token_end_the_grant() {
    let tenant = Tenant::new().await;
    for client in tenant.register_all().await {
        let party = tenant.relying_party(&client);
        let login = tenant.log_in(&party).await;
        let tokens = tenant.exchange(&party, &login).await.unwrap();
        assert_eq!(refused(tenant.exchange(&party, &login).await), BasicErrorResponseType::InvalidGrant);
        tenant.assert_over(&party, &tokens).await;

        let login = tenant.log_in(&party).await;
        let tokens = tenant.exchange(&party, &login).await.unwrap();
        let token = tokens.access_token();
        party.revoke_token(token.into()).unwrap().request_async(&tenant.service).await.unwrap();
        tenant.assert_over(&party, &tokens).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_exchange_leaves_the_code_as_it_was() {
    let tenant = Tenant::new().await;
    let client = tenant.register(Some(AuthType::RequestBody)).await;
    let party = tenant.relying_party(&client);
    let login = tenant.log_in(&party).await;
    let other = Login { verifier: "another".repeat(10), code: login.code.clone(), nonce: login.nonce.clone() };
    assert_eq!(refused(tenant.exchange(&party, &other).await), BasicErrorResponseType::InvalidGrant);
    for auth_type in [AuthType::BasicAuth, AuthType::RequestBody] {
        let mistaken = Registered { id: client.id.clone(), secret: Some("not-the-secret".to_owned()), auth_type };
        let answer = tenant.exchange(&tenant.relying_party(&mistaken), &login).await;
        assert_eq!(refused(answer), BasicErrorResponseType::InvalidClient);
    }
    assert_answer(&tenant.exchange(&party, &login).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn client_credentials() {
    let tenant = Tenant::new().await;
    let scope = "orders:read orders:write";
    let settings = json!({"scopes": scope.split(' ').collect::<Vec<_>>(), "clientCredentialsTtlSeconds": 600});
    let registration = tenant.service.0.registration(&tenant.organization, &settings).await;
    let (_, key) = tenant.api_key("oauth.token.create").await;
    let client = |auth_type, secret: &str| {
        BasicClient::new(ClientId::new(registration.clone()))
            .set_client_secret(ClientSecret::new(secret.to_owned()))
            .set_auth_type(auth_type)
            .set_token_uri(tenant.token_url())
            .set_revocation_url(tenant.discovered.additional_metadata().revocation_endpoint.clone())
    };
    for auth_type in [AuthType::BasicAuth, AuthType::RequestBody] {
        let api = client(auth_type, &key);
        let tokens = api.exchange_client_credentials().request_async(&tenant.service).await.unwrap();
        assert_eq!(tokens.token_type(), &BasicTokenType::Bearer);
        assert_eq!(tokens.expires_in().unwrap().as_secs(), 600);
        assert_eq!(tokens.scopes(), Some(&scopes(scope)));
        assert!(tokens.refresh_token().is_none());
        let shown = tenant.introspect(tokens.access_token().secret()).await;
        assert_eq!((shown.active(), shown.sub()), (true, Some(registration.as_str())));
        assert_eq!(shown.scopes(), Some(&scopes(scope)));
        assert_eq!(shown.exp(), Some(time(START + 600)));

        let narrow = api.exchange_client_credentials().add_scopes(scopes("orders:read"));
        let narrow = narrow.request_async(&tenant.service).await.unwrap();
        assert_eq!(narrow.scopes(), Some(&scopes("orders:read")));
        let wide = api.exchange_client_credentials().add_scopes(scopes("orders:read admin"));
        assert_eq!(refused(wide.request_async(&tenant.service).await), BasicErrorResponseType::InvalidScope);

        let token = tokens.access_token();
        api.revoke_token(token.into()).unwrap().request_async(&tenant.service).await.unwrap();
        assert!(!tenant.introspect(token.secret()).await.active());
    }
    let (_, inspector) = tenant.api_key("oauth.token.introspect").await;
    let answer =
        client(AuthType::BasicAuth, &inspector).exchange_client_credentials().request_async(&tenant.service).await;
    assert_eq!(refused(answer), BasicErrorResponseType::UnauthorizedClient);
    let answer =
        client(AuthType::BasicAuth, "unknown").exchange_client_credentials().request_async(&tenant.service).await;
    assert_eq!(refused(answer), BasicErrorResponseType::InvalidClient);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_gets_as_many_tokens_as_it_asks_for() {
    let tenant = Tenant::new().await;
    let action = json!({
        "action": "createRegistration", "organizationId": tenant.organization, "name": "a machine", "maxAllowed": 1,
        "confidential": true,
    });
    let registration = tenant.service.0.provision(&action).await;
    let secret = text(&registration["clientSecret"]);
    Secrets::add_credential(&secret);
    let machine = BasicClient::new(ClientId::new(text(&registration["registrationId"])))
        .set_client_secret(ClientSecret::new(secret))
        .set_token_uri(tenant.token_url());
    let get_token = || async {
        let tokens = machine.exchange_client_credentials().request_async(&tenant.service).await.unwrap();
        tokens.access_token().secret().clone()
    };
    let mut tokens = HashSet::new();
    for _ in 0..2000 {
        tokens.insert(get_token().await);
    }
    assert_eq!(tokens.len(), 2000);
    for token in tokens.iter().take(10) {
        assert!(tenant.introspect(token).await.active());
    }
}
