//! The demo of the local stack: one entity of each kind. Their ids and credentials are the same on every machine, so
//! that the README's examples and the sample events work as they are.
//!
//! `provision` and the endpoints create all of it. They make secrets at random, so what a constant secret belongs to is
//! a copy of what they made, under that secret.

use chrono::{DateTime, Utc};
use lambda_http::lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use shared::{
    auth::Permission,
    clock::expiry,
    credential::{AppBearer, Credential, CredentialKind, GrantCredential},
    error::InternalError,
    id::{ObjectId, RegistrationId, TokenId},
    keys::SigningMode,
    runtime::Environment,
    store::{
        ApiKey, AppToken, CreationWrite, Entity, Grant, GrantDetails, GrantSettings, GrantStatus, Organization,
        ReadOrganization, RegistrationToken, Store, TokenWritePlan,
    },
};

use crate::lambda::Functions;

/// A public constant that works on the local stack only.
pub(crate) const API_KEY: &str = "tmk_PublicDemoKeyOfTheLocalStackNotASecret000002v2C12";
/// The code and the refresh token of the sample events. Each works once after the first start. The printed curl line
/// has a code of its own.
const CODE: &str = "tmc_DemoGrantOfTheEventsA0PublicDemoCodeOfTheLocalStackNotASecret000015a1DW";
const REFRESH_TOKEN: &str = "tmr_DemoGrantOfTheEventsB0PublicDemoRefreshTokenNotASecret000000000002UaOlM";
/// The same for the events of `/oauth2`. The verifier of the code's challenge is the one of RFC 7636, appendix B.
const CODE_WITH_PKCE: &str = "tmc_DemoGrantOfTheEventsC0PublicDemoCodeWithPkceNotASecret000000000013eeLjJ";
const CODE_CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const OAUTH2_REFRESH_TOKEN: &str = "tmr_DemoGrantOfTheEventsD0PublicDemoRefreshTokenNotASecret000000000020TE8ac";
/// The registration and the application with the tokens that the sample events revoke, and the organization that they
/// suspend and resume.
pub(crate) const EVENTS: &str = "demo-events";
const TEN_YEARS_SECONDS: u32 = 315_360_000;
const EVENTS_TOKEN: &str = "d3300000-0000-4000-8000-000000000001";
const APP_BEARERS: [&str; 3] = [
    "tma_18VRuHboehV6198aEPublicDemoAppTokenOfTheEventsNotASecret00014IyN6L",
    "tma_18VRuHboehV6198aEPublicDemoBearerOfTheAuthorizerNotASecret01112T9a",
    "tma_18VRuHboehV6198aEPublicDemoBearerToRevokeNotASecret0000000010gseBI",
];
pub(crate) const ORGANIZATION: &str = "demo";
pub(crate) const REGISTRATION: &str = "demo";
pub(crate) const APPLICATION: &str = "demo-app";
pub(crate) const CLIENT: &str = "11111111-1111-1111-1111-111111111111";
/// The client whose secret the sample events rotate.
const CONFIDENTIAL_CLIENT: &str = "22222222-2222-2222-2222-222222222222";
pub(crate) const REDIRECT_URI: &str = "https://app.example.com/callback";
pub(crate) const SCOPES: [&str; 3] = ["openid", "profile", "email"];
const DESCRIPTION: &str = "The local demo";

/// The user of the demo.
pub(crate) const SUBJECT: &str = "demo-user";
pub(crate) const NAME: &str = "Demo User";
pub(crate) const EMAIL: &str = "user@example.com";

/// What the login service knows of the user.
pub(crate) fn claims() -> Value {
    json!({"name": NAME, "email": EMAIL, "email_verified": true})
}

/// The credentials of this start, for the lines that are printed.
pub(crate) struct Issued {
    pub(crate) code: String,
    /// The id of an OAuth access token that may be revoked.
    pub(crate) token: String,
    /// The id of an app token that may be revoked.
    pub(crate) app_token: String,
}

pub(crate) struct Demo<'a> {
    functions: &'a Functions,
    store: Store,
    signing_mode: SigningMode,
    organization: ObjectId,
    now: DateTime<Utc>,
}

impl<'a> Demo<'a> {
    pub(crate) fn new(functions: &'a Functions, environment: &Environment) -> Result<Self, InternalError> {
        let unusable = |error| InternalError::new("read the settings", error);
        Ok(Self {
            functions,
            store: Store::from_environment(environment).map_err(unusable)?,
            signing_mode: SigningMode::from_environment(environment).map_err(unusable)?,
            organization: Organization::id(&require(ORGANIZATION.parse().ok())?),
            now: environment.clock.now(),
        })
    }

    /// Creates what does not exist yet and was not deleted, and a new code. What cannot be made because somebody has
    /// deleted, disabled or suspended its owner is left out.
    pub(crate) async fn provision(&self) -> Result<Issued, InternalError> {
        self.create_entities().await?;
        self.register_callbacks().await?;
        if self.signing_mode != SigningMode::Kms && self.store.load_signing_keys().await?.is_none() {
            self.call("provision", &json!({"action": "rotateSigningKey"})).await?;
        }
        self.create_api_key().await?;
        let had_tokens = self.had_tokens().await?;
        let [token, app_token] = self.create_revocable_tokens().await?;
        if !had_tokens {
            self.copy_token().await?;
        }
        self.copy_app_token(&app_token).await?;
        let code = string(&self.try_call("issue-code", &login()).await?["code"]);
        self.copy_grant(&code).await?;
        Ok(Issued { code, token, app_token })
    }

    async fn create_entities(&self) -> Result<(), InternalError> {
        let (organization, scopes) = (self.organization, Permission::ALL.map(Permission::as_str));
        for slug in [ORGANIZATION, EVENTS] {
            self.create(&json!({"action": "createOrganization", "slug": slug})).await?;
        }
        for id in [REGISTRATION, EVENTS] {
            self.create(&json!({
                "action": "createRegistration", "organizationId": organization, "registrationId": id,
                "name": DESCRIPTION, "scopes": scopes,
            }))
            .await?;
        }
        for slug in [APPLICATION, EVENTS] {
            self.create(&json!({
                "action": "createApplication", "organizationId": organization, "slug": slug, "name": DESCRIPTION,
            }))
            .await?;
        }
        self.create(&json!({
            "action": "createClient", "organizationId": organization, "clientId": CLIENT,
            "redirectUris": [REDIRECT_URI], "services": ["email"], "scopes": SCOPES,
        }))
        .await?;
        self.create(&json!({
            "action": "createClient", "organizationId": organization, "clientId": CONFIDENTIAL_CLIENT,
            "redirectUris": [REDIRECT_URI], "scopes": SCOPES, "confidential": true,
        }))
        .await?;
        self.create(&json!({
            "action": "createApplication", "organizationId": EVENTS, "slug": APPLICATION, "name": DESCRIPTION,
        }))
        .await
    }

    /// Lets the client return to the page, by each name of the loopback and at whatever port.
    async fn register_callbacks(&self) -> Result<(), InternalError> {
        let client = self.store.load_client(require(CLIENT.parse().ok())?).await?;
        let before = client.map(|client| client.redirect_uris).unwrap_or_default();
        let before: Vec<_> = before.iter().map(|uri| uri.as_str().to_owned()).collect();
        let after = redirect_uris(&before);
        if before != after {
            let update = json!({"action": "updateClient", "clientId": CLIENT, "redirectUris": after});
            self.try_call("provision", &update).await?;
        }
        Ok(())
    }

    async fn create_api_key(&self) -> Result<(), InternalError> {
        let secret = require(Credential::parse(CredentialKind::ApiKey, API_KEY))?;
        if self.store.load_api_key(secret.id()).await?.is_some() {
            return Ok(());
        }
        let action = json!({"action": "createApiKey", "organizationId": self.organization, "description": DESCRIPTION});
        let created = self.try_call("provision", &action).await?;
        let original = Credential::parse(CredentialKind::ApiKey, &string(&created["apiKey"]));
        let (Some(original), Some(organization)) = (original, self.store.load_organization(self.organization).await?)
        else {
            return Ok(());
        };
        if let Some(api_key) = self.store.load_api_key(original.id()).await? {
            let copy = ApiKey { hash: secret.hash(), ..api_key };
            let organization = ReadOrganization { id: self.organization, organization: &organization };
            let write = CreationWrite { id: self.store.write_id()?, at: self.now };
            let _ = self.store.create_entity(organization, &Entity::api_key(secret.id()), &copy, None, &write).await?;
        }
        self.call("provision", &json!({"action": "revokeApiKey", "apiKeyId": original.id()})).await?;
        Ok(())
    }

    /// Whether the registration of the sample events has ever had a token.
    async fn had_tokens(&self) -> Result<bool, InternalError> {
        let registration = self.store.load_registration(&require(EVENTS.parse().ok())?).await?;
        Ok(registration.is_none_or(|registration| !registration.tokens.is_empty() || !registration.revoked.is_empty()))
    }

    /// Records the sample events' token beside one that was created.
    async fn copy_token(&self) -> Result<(), InternalError> {
        let (id, token): (RegistrationId, TokenId) =
            (require(EVENTS.parse().ok())?, require(EVENTS_TOKEN.parse().ok())?);
        let registration = require(self.store.load_registration(&id).await?)?;
        let Some(original) = registration.tokens.values().next() else { return Ok(()) };
        let expires_at = expiry(self.now, TEN_YEARS_SECONDS);
        let copy = RegistrationToken { expires_at, idempotency: None, ..original.clone() };
        let plan = TokenWritePlan { slot: token.into(), replaces: None, removes: Vec::new() };
        let _ = self.store.record_token(&id, &copy, &plan, &registration, self.now).await?;
        Ok(())
    }

    /// The ids of an OAuth access token and an app token. Each start gets the same ones until they are revoked, and
    /// none if the API key is revoked.
    async fn create_revocable_tokens(&self) -> Result<[String; 2], InternalError> {
        let token = self.call("create-token", &request(&json!({}), &json!({"registrationId": EVENTS}))).await?;
        let path = json!({"organizationId": ORGANIZATION, "applicationId": EVENTS});
        let app_token = self.call("create-app-token", &request(&path, &json!({}))).await?;
        let body = |answer: &Value| serde_json::from_str::<Value>(&string(&answer["body"])).unwrap_or_default();
        Ok([string(&body(&token)["token"]["id"]), string(&body(&app_token)["data"]["id"])])
    }

    async fn copy_app_token(&self, id: &str) -> Result<(), InternalError> {
        let Ok(id) = id.parse() else { return Ok(()) };
        let original = require(self.store.load_app_token(id).await?)?;
        for bearer in APP_BEARERS {
            let bearer = require(AppBearer::parse(bearer))?;
            let copy = AppToken { app_token_id: bearer.id(), hash: bearer.hash(), ..original.clone() };
            let _ = self.store.create_app_token(&copy, self.now).await?;
        }
        Ok(())
    }

    async fn copy_grant(&self, code: &str) -> Result<(), InternalError> {
        let parse_code = |code| require(GrantCredential::parse_code(code));
        let Some(issued) = GrantCredential::parse_code(code) else { return Ok(()) };
        let original = require(self.store.load_grant(&issued.grant().session()).await?)?;
        let ends_at = expiry(self.now, GrantSettings::default().grant_ttl_seconds);
        let code = |code| parse_code(code).map(|code| (code, GrantStatus::Issued));
        let refresh_token = |token| {
            let token = require(GrantCredential::parse_refresh_token(token))?;
            let status = GrantStatus::Active { current: token.hash(), rotation: None, expires_at: ends_at, ends_at };
            Ok((token, status))
        };
        for (credential, status) in
            [code(CODE)?, code(CODE_WITH_PKCE)?, refresh_token(REFRESH_TOKEN)?, refresh_token(OAUTH2_REFRESH_TOKEN)?]
        {
            let code_challenge = CODE_CHALLENGE.parse().ok().filter(|_| credential.expose() == CODE_WITH_PKCE);
            let details = GrantDetails { code: credential.hash(), code_challenge, ..original.details.clone() };
            let copy = Grant { status, details, ..original.clone() };
            let session = credential.grant().session();
            self.store.record_session(&copy.details, &session, self.now, expiry(ends_at, 2 * 86400)).await?;
            let _ = self.store.create_grant(&session, &copy, self.now).await?;
        }
        Ok(())
    }

    /// Performs an action of `provision` that creates an entity. One that is refused is skipped.
    async fn create(&self, action: &Value) -> Result<(), InternalError> {
        self.try_call("provision", action).await.map(|_| ())
    }

    /// The answer, or `null` if the function refuses the request.
    async fn try_call(&self, function: &str, event: &Value) -> Result<Value, InternalError> {
        match self.functions.call(function, event).await {
            Err(error) if ["Taken", "NotFound", "InvalidRequest"].contains(&error.error_type.as_str()) => {
                Ok(Value::Null)
            }
            answer => answer.map_err(|error| failed(&error)),
        }
    }

    async fn call(&self, function: &str, event: &Value) -> Result<Value, InternalError> {
        self.functions.call(function, event).await.map_err(|error| failed(&error))
    }
}

fn failed(error: &Diagnostic) -> InternalError {
    InternalError::new("create the demo", format!("{}: {}", error.error_type, error.error_message))
}

fn require<T>(value: Option<T>) -> Result<T, InternalError> {
    value.ok_or_else(|| InternalError::new("create the demo", "a constant is malformed, or its entity does not exist"))
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The event with which a login service has a code issued for the demo's user.
fn login() -> Value {
    json!({
        "clientId": CLIENT,
        "service": "email",
        "redirectUri": REDIRECT_URI,
        "subject": SUBJECT,
        "scope": SCOPES.join(" "),
        "claims": claims(),
    })
}

/// The event of a POST with an idempotency key.
fn request(path_parameters: &Value, body: &Value) -> Value {
    let headers = json!({
        "authorization": format!("Bearer {API_KEY}"), "content-type": "application/json", "idempotency-key": "demo",
    });
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "", "headers": headers,
        "requestContext": {"http": {"method": "POST", "path": "/"}}, "pathParameters": path_parameters,
        "body": body.to_string(), "isBase64Encoded": false,
    })
}

/// The path of the page that a login returns to. No other application has it, so those at earlier ports are recognized
/// by it.
const CALLBACK: &str = "/page/callback";

/// The client's redirect URIs with those of the page. Earlier versions registered the page with its port.
fn redirect_uris(before: &[String]) -> Vec<String> {
    let of_a_page = |uri: &String| uri.starts_with("http://") && uri.ends_with(CALLBACK);
    let others = before.iter().filter(|uri| !of_a_page(uri)).cloned();
    let pages = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("http://{host}{CALLBACK}"));
    others.chain(pages).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_returns_to_the_page_at_any_port() {
        let uris = |uris: &[&str]| uris.iter().map(|uri| (*uri).to_owned()).collect::<Vec<_>>();
        let app = "https://app.example.com/callback";
        let pages = ["http://127.0.0.1/page/callback", "http://localhost/page/callback", "http://[::1]/page/callback"];
        let expected = uris(&[&[app], &pages[..]].concat());
        assert_eq!(redirect_uris(&uris(&[app])), expected);
        assert_eq!(redirect_uris(&uris(&["http://127.0.0.1:3000/page/callback", app])), expected);
        assert_eq!(redirect_uris(&expected), expected);
    }
}
