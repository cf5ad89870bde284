//! What the local stack begins with: one of everything, under names that are the same on every machine, so that the
//! README's examples and the sample events work as they are.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::{
    auth::Permission,
    clock::expiry,
    credential::{Credential, CredentialKind, GrantCredential, GrantSalt},
    error::InternalError,
    id::{ClientId, RegistrationId, Slug},
    random::Random,
    store::{ApiKey, Application, Client, Grant, GrantState, GrantVersion, Organization, Registration, Store},
    tokens::grants::GRANT_LIFETIME_SECONDS,
};

/// Known to everyone who has read this, and good for nothing but the local stack.
const API_KEY: &str = "tmk_PublicDemoKeyOfTheLocalStackNotASecret000002v2C12";
/// The sample events' code and refresh token, good for one use after the first start; what is printed has a code of
/// its own.
const CODE: &str = "tmc_DemoGrantOfTheEventsA0PublicDemoCodeOfTheLocalStackNotASecret000015a1DW";
const REFRESH_TOKEN: &str = "tmr_DemoGrantOfTheEventsB0PublicDemoRefreshTokenNotASecret000000000002UaOlM";
const ORGANIZATION: &str = "demo";
const REGISTRATION: &str = "demo";
const APPLICATION: &str = "demo-app";
const CLIENT: &str = "11111111-1111-1111-1111-111111111111";
const REDIRECT_URI: &str = "https://app.example.com/callback";
const SCOPES: [&str; 3] = ["openid", "profile", "email"];
const SUBJECT: &str = "demo-user";

/// Makes the demo's entities where they do not stand already.
pub(crate) async fn provision(store: &Store, random: &dyn Random, now: DateTime<Utc>) -> Result<(), InternalError> {
    let all = || Permission::ALL.iter().map(|permission| permission.as_str().to_owned()).collect::<Vec<_>>();
    let slug: Slug = constant(ORGANIZATION.parse().ok())?;
    let organization_id = Organization::id(&slug);
    let _ = store.create_organization(&slug, random).await?;

    let key = constant(Credential::parse(CredentialKind::ApiKey, API_KEY))?;
    let description = Some("The local demo".to_owned());
    let api_key = ApiKey { hash: key.hash(), organization_id, permissions: all(), description, revoked_at: None };
    let _ = store.create_api_key(key.id(), &api_key, now, random).await?;

    let id: RegistrationId = constant(REGISTRATION.parse().ok())?;
    let registration = Registration {
        organization_id,
        name: "The local demo".to_owned(),
        max_allowed: 10,
        token_ttl_seconds: 31_536_000,
        scopes: all(),
        scopes_revision: 0,
        earlier_scopes: Vec::new(),
        tokens: BTreeMap::new(),
        last_revocation: None,
    };
    let _ = store.create_registration(&id, &registration, now, random).await?;

    let slug: Slug = constant(APPLICATION.parse().ok())?;
    let name = Some("The local demo".to_owned());
    let application = Application { organization_id, slug: slug.to_string(), name };
    let _ = store.create_application(Application::id(organization_id, &slug), &application, now, random).await?;

    let id: ClientId = constant(CLIENT.parse().ok())?;
    let client = Client {
        organization_id: Some(organization_id),
        secret_hash: None,
        redirect_uris: vec![REDIRECT_URI.to_owned()],
        services: vec!["email".to_owned()],
        scopes: SCOPES.map(str::to_owned).into(),
        refresh_reuse_seconds: 60,
    };
    let _ = store.create_client(id, &client, now, random).await?;

    let code = constant(GrantCredential::parse_code(CODE))?;
    let refresh_token = constant(GrantCredential::parse_refresh_token(REFRESH_TOKEN))?;
    let expires_at = expiry(now, GRANT_LIFETIME_SECONDS);
    let exchanged = GrantState::Active { current: refresh_token.hash(), rotation: None, expires_at };
    for (credential, progress) in [(code, GrantState::Issued), (refresh_token, exchanged)] {
        let grant = grant(&credential, progress, now, random)?;
        let _ = store.create_grant(&credential.grant().session(), &grant, now, random).await?;
    }
    Ok(())
}

fn grant(
    code: &GrantCredential,
    progress: GrantState,
    now: DateTime<Utc>,
    random: &dyn Random,
) -> Result<Grant, InternalError> {
    let claims = json!({"name": "Demo User", "email": "user@example.com", "email_verified": true});
    Ok(Grant {
        client_id: constant(CLIENT.parse().ok())?,
        service: "email".to_owned(),
        redirect_uri: REDIRECT_URI.to_owned(),
        subject: SUBJECT.to_owned(),
        scopes: SCOPES.map(str::to_owned).into(),
        state: None,
        nonce: None,
        code_challenge: None,
        auth_time: now,
        language: None,
        claims: claims.as_object().cloned().unwrap_or_default(),
        code: code.hash(),
        code_expires_at: expiry(now, 120),
        salt: GrantSalt::random(random)?,
        progress,
        version: GrantVersion::random(random)?,
    })
}

/// What the login service would say of the demo's user.
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

/// What is printed: where the service is, and a line for each endpoint.
pub(crate) fn lines(base_url: &str, code: &str) -> String {
    let json = "-H 'Content-Type: application/json'";
    format!(
        "tokenmint serves at {base_url}\n\n\
         curl -i {base_url}/api/v1/create-token -H 'Authorization: Bearer {API_KEY}' {json} \
         -d '{{\"registrationId\":\"{REGISTRATION}\",\"email\":\"user@example.com\"}}'\n\n\
         curl -i {base_url}/v1/organizations/{ORGANIZATION}/apps/{APPLICATION}/tokens -H 'Authorization: Bearer {API_KEY}' \
         {json} -d '{{\"description\":\"CI\",\"scopes\":[\"sdk\"]}}'\n\n\
         curl -i {base_url}/api/v1/tokens {json} -d '{{\"client_id\":\"{CLIENT}\",\"service\":\"email\",\
         \"grant_type\":\"authorization_code\",\"redirect_uri\":\"{REDIRECT_URI}\",\"code\":\"{code}\"}}'\n\n\
         curl -i {base_url}/.well-known/jwks.json\n\n\
         curl -i {base_url}/api/v1/apps/{CLIENT}/keys\n\n\
         Ctrl-C ends it."
    )
}
