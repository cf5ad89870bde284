//! The demo of the local stack: one entity of each kind. Their ids and credentials are the same on every machine, so the
//! README's examples and the sample events work as they are.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::{
    auth::Permission,
    clock::expiry,
    credential::{Credential, CredentialKind, GrantCredential},
    error::InternalError,
    id::{ClientId, RegistrationId, Slug, TokenId},
    input::{Claims, Scope, Scopes},
    random::Random,
    store::{
        ApiKey, AppToken, Application, Client, Grant, GrantDetails, GrantStatus, Organization, Registration,
        RegistrationToken, Store,
    },
    tokens::grants::GRANT_LIFETIME_SECONDS,
};

/// A public constant that works on the local stack only.
pub(crate) const API_KEY: &str = "tmk_PublicDemoKeyOfTheLocalStackNotASecret000002v2C12";
/// The code and the refresh token of the sample events. Each works once after the first start. The printed curl line has a
/// code of its own.
const CODE: &str = "tmc_DemoGrantOfTheEventsA0PublicDemoCodeOfTheLocalStackNotASecret000015a1DW";
const REFRESH_TOKEN: &str = "tmr_DemoGrantOfTheEventsB0PublicDemoRefreshTokenNotASecret000000000002UaOlM";
/// The same for the events of `/oauth2`. The verifier of the code's challenge is the one of RFC 7636, appendix B.
const CODE_WITH_PKCE: &str = "tmc_DemoGrantOfTheEventsC0PublicDemoCodeWithPkceNotASecret000000000013eeLjJ";
const CODE_CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const OAUTH2_REFRESH_TOKEN: &str = "tmr_DemoGrantOfTheEventsD0PublicDemoRefreshTokenNotASecret000000000020TE8ac";
/// The sample events' tokens to revoke, in a registration and an application of their own.
const EVENTS: &str = "demo-events";
const EVENTS_TOKEN: &str = "d3300000-0000-4000-8000-000000000001";
const EVENTS_APP_BEARER: &str = "tma_PublicDemoAppTokenOfTheEventsNotASecret00011PEKvZ";
const AUTHORIZED_APP_BEARER: &str = "tma_PublicDemoBearerOfTheAuthorizerNotASecret012e0uXa";
const OAUTH2_APP_BEARER: &str = "tma_PublicDemoBearerToRevokeNotASecret0000000012NqDG4";
pub(crate) const ORGANIZATION: &str = "demo";
pub(crate) const REGISTRATION: &str = "demo";
pub(crate) const APPLICATION: &str = "demo-app";
pub(crate) const CLIENT: &str = "11111111-1111-1111-1111-111111111111";
const REDIRECT_URI: &str = "https://app.example.com/callback";
pub(crate) const SCOPES: [&str; 3] = ["openid", "profile", "email"];
const SUBJECT: &str = "demo-user";

/// Creates the demo's entities that do not exist yet.
pub(crate) async fn provision(store: &Store, random: &dyn Random, now: DateTime<Utc>) -> Result<(), InternalError> {
    let all = || Permission::ALL.map(Scope::from).into_iter().collect::<Scopes>();
    let slug: Slug = constant(ORGANIZATION.parse().ok())?;
    let organization_id = Organization::id(&slug);
    let _ = store.create_organization(&slug).await?;

    let key = constant(Credential::parse(CredentialKind::ApiKey, API_KEY))?;
    let description = Some("The local demo".to_owned());
    let api_key = ApiKey { hash: key.hash(), organization_id, permissions: all(), description, revoked_at: None };
    let _ = store.create_api_key(key.id(), &api_key, now).await?;

    let id: RegistrationId = constant(REGISTRATION.parse().ok())?;
    let registration = |tokens| Registration {
        organization_id,
        name: "The local demo".to_owned(),
        max_allowed: 10,
        token_ttl_seconds: 31_536_000,
        scopes: all(),
        scopes_revision: 0,
        earlier_scopes: Vec::new(),
        tokens,
        revoked: BTreeMap::new(),
        revoked_emptied_by: None,
        settings_version: None,
    };
    let _ = store.create_registration(&id, &registration(BTreeMap::new()), now).await?;
    let token: TokenId = constant(EVENTS_TOKEN.parse().ok())?;
    let expires_at = expiry(now, Registration::MAX_TOKEN_TTL_SECONDS);
    let recorded = RegistrationToken { expires_at, email: None, idempotency: None };
    let tokens = BTreeMap::from([(token.into(), recorded)]);
    let _ = store.create_registration(&constant(EVENTS.parse().ok())?, &registration(tokens), now).await?;

    for slug in [APPLICATION, EVENTS] {
        let slug: Slug = constant(slug.parse().ok())?;
        let name = Some("The local demo".to_owned());
        let id = Application::id(organization_id, &slug);
        let application = Application { organization_id, slug, name };
        let _ = store.create_application(id, &application, now).await?;
    }
    for bearer in [AUTHORIZED_APP_BEARER, EVENTS_APP_BEARER, OAUTH2_APP_BEARER] {
        let bearer = constant(Credential::parse(CredentialKind::AppToken, bearer))?;
        let token = AppToken {
            app_token_id: bearer.id(),
            hash: bearer.hash(),
            organization_id,
            application_id: Application::id(organization_id, &constant(EVENTS.parse().ok())?),
            description: None,
            scopes: Scopes::default(),
            revoked_at: None,
        };
        let _ = store.create_app_token(&token, now).await?;
    }

    let id: ClientId = constant(CLIENT.parse().ok())?;
    let client = Client {
        organization_id: Some(organization_id),
        secret_hash: None,
        redirect_uris: vec![constant(REDIRECT_URI.parse().ok())?],
        services: vec![constant("email".parse().ok())?],
        scopes: constant(SCOPES.join(" ").parse().ok())?,
        refresh_reuse_seconds: 60,
        settings_version: None,
    };
    let _ = store.create_client(id, &client, now).await?;

    let expires_at = expiry(now, GRANT_LIFETIME_SECONDS);
    let code = |code| constant(GrantCredential::parse_code(code)).map(|code| (code, GrantStatus::Issued));
    let refresh_token = |token| {
        let token = constant(GrantCredential::parse_refresh_token(token))?;
        let status = GrantStatus::Active { current: token.hash(), rotation: None, expires_at };
        Ok((token, status))
    };
    for (credential, status) in
        [code(CODE)?, code(CODE_WITH_PKCE)?, refresh_token(REFRESH_TOKEN)?, refresh_token(OAUTH2_REFRESH_TOKEN)?]
    {
        let mut details = grant_details(&credential, now)?;
        if credential.expose() == CODE_WITH_PKCE {
            details.code_challenge = CODE_CHALLENGE.parse().ok();
        }
        let grant = Grant { status, ..Grant::issued(details, random)? };
        let session = credential.grant().session();
        store.record_session(grant.details.user(), &session, expiry(expires_at, 2 * 86400)).await?;
        let _ = store.create_grant(&session, &grant, now).await?;
    }
    Ok(())
}

fn grant_details(code: &GrantCredential, now: DateTime<Utc>) -> Result<GrantDetails, InternalError> {
    let claims = json!({"name": "Demo User", "email": "user@example.com", "email_verified": true}).to_string();
    Ok(GrantDetails {
        client_id: constant(CLIENT.parse().ok())?,
        organization_id: Some(Organization::id(&constant(ORGANIZATION.parse().ok())?)),
        confidential: false,
        service: constant("email".parse().ok())?,
        redirect_uri: constant(REDIRECT_URI.parse().ok())?,
        subject: constant(SUBJECT.parse().ok())?,
        scopes: constant(SCOPES.join(" ").parse().ok())?,
        state: None,
        nonce: None,
        code_challenge: None,
        auth_time: now,
        language: None,
        claims: constant(Claims::parse("claims", &claims, usize::MAX).ok())?,
        code: code.hash(),
        code_expires_at: expiry(now, 120),
    })
}

/// The event with which a login service would issue a code for the demo's user.
pub(crate) fn login() -> Value {
    json!({
        "clientId": CLIENT,
        "service": "email",
        "redirectUri": REDIRECT_URI,
        "subject": SUBJECT,
        "scope": SCOPES.join(" "),
        "claims": {"name": "Demo User", "email": "user@example.com", "email_verified": true},
    })
}

fn constant<T>(parsed: Option<T>) -> Result<T, InternalError> {
    parsed.ok_or_else(|| InternalError::new("read the demo's constants", "one of them is malformed"))
}

/// What a started stack has fresh, for the lines that are printed.
pub(crate) struct Fresh {
    /// A code.
    pub(crate) code: String,
    /// The id of an OAuth access token that may be revoked.
    pub(crate) token: String,
    /// The id of an app token that may be revoked.
    pub(crate) app_token: String,
}

/// The requests for tokens that may be revoked: each gives the same one until that is done.
pub(crate) fn revocable() -> [(&'static str, Value); 2] {
    let event = |path: &Value, body: &Value| {
        let headers = json!({
            "authorization": format!("Bearer {API_KEY}"), "content-type": "application/json", "idempotency-key": "demo",
        });
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "", "headers": headers,
            "requestContext": {"http": {"method": "POST", "path": "/"}}, "pathParameters": path,
            "body": body.to_string(), "isBase64Encoded": false,
        })
    };
    [
        ("create-token", event(&json!({}), &json!({"registrationId": EVENTS}))),
        ("create-app-token", event(&json!({"organizationId": ORGANIZATION, "applicationId": EVENTS}), &json!({}))),
    ]
}

/// The text to print: the stack's URL, and a curl line for each endpoint.
pub(crate) fn lines(base_url: &str, Fresh { code, token, app_token }: &Fresh) -> String {
    let json = "-H 'Content-Type: application/json'";
    format!(
        "tokenmint serves at {base_url}\n\n\
         curl -i {base_url}/api/v1/create-token -H 'Authorization: Bearer {API_KEY}' {json} \
         -d '{{\"registrationId\":\"{REGISTRATION}\",\"email\":\"user@example.com\"}}'\n\n\
         curl -i {base_url}/v1/organizations/{ORGANIZATION}/apps/{APPLICATION}/tokens -H 'Authorization: Bearer {API_KEY}' \
         {json} -d '{{\"description\":\"CI\",\"scopes\":[\"sdk\"]}}'\n\n\
         curl -i {base_url}/api/v1/list-tokens -H 'Authorization: Bearer {API_KEY}' {json} \
         -d '{{\"registrationId\":\"{REGISTRATION}\"}}'\n\n\
         curl -i '{base_url}/v1/organizations/{ORGANIZATION}/apps/{APPLICATION}/tokens?limit=10' \
         -H 'Authorization: Bearer {API_KEY}'\n\n\
         curl -i {base_url}/api/v1/revoke-token -H 'Authorization: Bearer {API_KEY}' {json} \
         -d '{{\"registrationId\":\"{EVENTS}\",\"tokenId\":\"{token}\"}}'\n\n\
         curl -i -X DELETE {base_url}/v1/organizations/{ORGANIZATION}/apps/{EVENTS}/tokens/{app_token} \
         -H 'Authorization: Bearer {API_KEY}'\n\n\
         curl -i {base_url}/api/v1/tokens {json} -d '{{\"client_id\":\"{CLIENT}\",\"service\":\"email\",\
         \"grant_type\":\"authorization_code\",\"redirect_uri\":\"{REDIRECT_URI}\",\"code\":\"{code}\"}}'\n\n\
         curl -i {base_url}/oauth2/token -u '{REGISTRATION}:{API_KEY}' -d grant_type=client_credentials\n\n\
         curl -i {base_url}/oauth2/introspect -H 'Authorization: Bearer {API_KEY}' -d 'token={API_KEY}'\n\n\
         curl -i {base_url}/oauth2/revoke -d 'token=made-up'\n\n\
         curl -i {base_url}/.well-known/openid-configuration\n\n\
         curl -i {base_url}/.well-known/jwks.json\n\n\
         curl -i {base_url}/api/v1/apps/{CLIENT}/keys\n\n\
         Ctrl-C ends it."
    )
}

/// The path of the page that a login returns to. No other application has it, so those at earlier ports are recognized by it.
const CALLBACK: &str = "/page/callback";

/// The client's redirect URIs with those of the page at this URL, and without those of a page at another port.
pub(crate) fn redirect_uris(base_url: &str, before: &[String]) -> Vec<String> {
    let of_a_page = |uri: &String| uri.starts_with("http://") && uri.ends_with(CALLBACK);
    let mut uris: Vec<_> = before.iter().filter(|uri| !of_a_page(uri)).cloned().collect();
    let port = base_url.rsplit(':').next().unwrap_or_default();
    let hosts = [base_url.to_owned(), format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")];
    for uri in hosts.map(|host| format!("{host}{CALLBACK}")) {
        if !uris.contains(&uri) {
            uris.push(uri);
        }
    }
    uris
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_returns_to_the_page_at_its_port() {
        let own = "https://app.example.com/callback".to_owned();
        let first = redirect_uris("http://127.0.0.1:3000", std::slice::from_ref(&own));
        assert_eq!(first, [&own, "http://127.0.0.1:3000/page/callback", "http://localhost:3000/page/callback"]);
        assert_eq!(redirect_uris("http://127.0.0.1:3000", &first), first);
        let moved = redirect_uris("http://127.0.0.1:4000", &first);
        assert_eq!(moved, [&own, "http://127.0.0.1:4000/page/callback", "http://localhost:4000/page/callback"]);
    }
}
