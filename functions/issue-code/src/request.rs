//! The request: what the login service says about the user and the authorization request.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use shared::{
    error::{Constraint, ValidationError},
    input::{JsonObject, required},
    tokens::codes::CodeRequest,
};

/// How far the clock of the login service may be ahead, in seconds.
const CLOCK_SKEW_SECONDS: i64 = 300;
/// So that clients can handle the ID token.
const MAX_CLAIMS_BYTES: usize = 8 * 1024;

pub(crate) fn parse(event: &str, now: DateTime<Utc>) -> Result<CodeRequest, ValidationError> {
    let mut event = JsonObject::with_claims(event.as_bytes(), &["claims"])?;
    let claims = event.claims("claims", MAX_CLAIMS_BYTES)?.unwrap_or_default();
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
        claims,
    };
    event.refuse_others()?;
    Ok(request)
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
        Constraint::require((1..=1024).contains(&text.chars().count()), "must be 1 to 1024 characters")?;
        Ok(Self(text.to_owned()))
    }
}
