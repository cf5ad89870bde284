//! The request: what the login service says about the user and the authorization request.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use shared::{
    error::{Constraint, ValidationError},
    input::oidc::{Language, read_claims},
    input::{JsonObject, ScopeList, Subject, raw_member, required},
    tokens::codes::CodeRequest,
};

/// How far the clock of the login service may be ahead, in seconds.
const CLOCK_SKEW_SECONDS: i64 = 300;

pub(crate) fn parse(event: &str, now: DateTime<Utc>) -> Result<CodeRequest, ValidationError> {
    // From the text, because `JsonObject` loses digits and duplicate members.
    let claims = raw_member(event, "claims").map(|json| read_claims("claims", json)).transpose()?;
    let mut event = JsonObject::from_json(event.as_bytes())?;
    event.object("claims")?;
    let latest = now.timestamp().saturating_add(CLOCK_SKEW_SECONDS).try_into().unwrap_or(0_u64);
    let auth_time = event.integer("authTime", 0..=latest)?;
    let request = CodeRequest {
        client_id: required("clientId", event.parsed("clientId")?)?,
        service: required("service", event.string("service")?)?,
        redirect_uri: required("redirectUri", event.string("redirectUri")?)?,
        subject: required("subject", event.parsed("subject")?.map(Subject::into_inner))?,
        scopes: required("scope", event.parsed("scope")?.map(ScopeList::into_inner))?,
        state: event.parsed("state")?.map(|Opaque(state)| state),
        nonce: event.parsed("nonce")?.map(|Opaque(nonce)| nonce),
        code_challenge: event.parsed("codeChallenge")?.map(|CodeChallenge(challenge)| challenge),
        auth_time: auth_time.and_then(instant).unwrap_or(now),
        language: event.parsed("language")?.map(Language::into_inner),
        claims: claims.unwrap_or_default(),
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
        if (1..=1024).contains(&text.chars().count()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Constraint::new("must be 1 to 1024 characters"))
        }
    }
}

/// An S256 challenge (RFC 7636, 4.2): a SHA-256 in base64url.
struct CodeChallenge(String);

impl FromStr for CodeChallenge {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be 43 characters of base64url (S256)";
        Constraint::check(text, 43..=43, |c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_', RULE).map(Self)
    }
}
