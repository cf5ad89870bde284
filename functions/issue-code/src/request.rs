//! The request: what the login service says about the user and the authorization request.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use shared::{
    error::{Constraint, ValidationError},
    input::{Audience, Claims, JsonObject, required},
    store::MAX_AUDIENCES,
    tokens::codes::CodeRequest,
};

/// How far the clock of the login service may be ahead, in seconds.
const CLOCK_SKEW_SECONDS: i64 = 300;
/// So that clients can handle the ID token.
const MAX_CLAIMS_BYTES: usize = 8 * 1024;
/// Of the further claims of each token.
const MAX_TOKEN_CLAIMS_BYTES: usize = 2 * 1024;
const MAX_METHODS: usize = 10;

pub(crate) fn parse(event: &str, now: DateTime<Utc>) -> Result<CodeRequest, ValidationError> {
    let mut event = JsonObject::with_claims(event.as_bytes(), &["claims", "accessTokenClaims", "idTokenClaims"])?;
    let claims = event.claims("claims", MAX_CLAIMS_BYTES)?.unwrap_or_default().without_nulls();
    claims.require_standard("claims")?;
    let latest = now.timestamp().saturating_add(CLOCK_SKEW_SECONDS).try_into().unwrap_or(0_u64);
    let auth_time = event.integer("authTime", 0..=latest)?;
    let request = CodeRequest {
        client_id: required("clientId", event.parsed("clientId")?)?,
        service: required("service", event.string("service")?)?,
        redirect_uri: required("redirectUri", event.string("redirectUri")?)?,
        subject: required("subject", event.parsed("subject")?)?,
        scopes: event.parsed("scope")?,
        state: event.parsed("state")?.map(|Opaque(state)| state),
        nonce: event.parsed("nonce")?.map(|Opaque(nonce)| nonce),
        code_challenge: event.parsed("codeChallenge")?,
        auth_time: auth_time.and_then(instant).unwrap_or(now),
        language: event.parsed("language")?,
        resources: resources(&mut event)?,
        acr: event.parsed("acr")?,
        amr: event.array("amr", MAX_METHODS)?.unwrap_or_default(),
        claims,
        access_token_claims: token_claims(&mut event, "accessTokenClaims")?,
        id_token_claims: token_claims(&mut event, "idTokenClaims")?,
    };
    event.refuse_others()?;
    Ok(request)
}

/// One that is given twice counts once.
fn resources(event: &mut JsonObject) -> Result<Vec<Audience>, ValidationError> {
    let mut resources: Vec<Audience> = Vec::new();
    // A client's audiences, and the deployment's.
    for resource in event.array("resource", MAX_AUDIENCES + 1)?.unwrap_or_default() {
        if !resources.contains(&resource) {
            resources.push(resource);
        }
    }
    Ok(resources)
}

fn token_claims(event: &mut JsonObject, field: &'static str) -> Result<Claims, ValidationError> {
    let claims = event.claims(field, MAX_TOKEN_CLAIMS_BYTES)?.unwrap_or_default();
    claims.require_unreserved(field)?;
    Ok(claims)
}

fn instant(seconds: u64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds.try_into().ok()?, 0)
}

/// A value that the authorization request passes through. It is not empty, because an exchange cannot send an empty
/// value.
struct Opaque(String);

impl FromStr for Opaque {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        Constraint::require((1..=4096).contains(&text.chars().count()), "must be 1 to 4096 characters")?;
        Ok(Self(text.to_owned()))
    }
}
