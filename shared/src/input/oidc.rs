//! The standard claims of OpenID Connect Core 1.0, and the scopes that request them.

use super::{claims::Claims, scopes::Scopes};
use crate::error::ValidationError;

/// The scope that asks for an ID token (3.1.2.1).
pub const OPENID: &str = "openid";
/// The scope with which a client asks for a refresh token (11).
pub(crate) const OFFLINE_ACCESS: &str = "offline_access";

/// The type of a standard claim's value (5.1): the characters that its JSON text can begin with, and the rule.
type ClaimType = (&'static [char], &'static str);

const TEXT: ClaimType = (&['"'], "must be a string");
const BOOLEAN: ClaimType = (&['t', 'f'], "must be true or false");
const NUMBER: ClaimType = (&['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'], "must be a number");
const OBJECT: ClaimType = (&['{'], "must be an object");

/// The standard claims (5.1), each with the scope that requests it (5.4). `sub` is missing: the token itself sets it.
const STANDARD_CLAIMS: [(&str, &str, ClaimType); 19] = [
    ("name", "profile", TEXT),
    ("given_name", "profile", TEXT),
    ("family_name", "profile", TEXT),
    ("middle_name", "profile", TEXT),
    ("nickname", "profile", TEXT),
    ("preferred_username", "profile", TEXT),
    ("profile", "profile", TEXT),
    ("picture", "profile", TEXT),
    ("website", "profile", TEXT),
    ("gender", "profile", TEXT),
    ("birthdate", "profile", TEXT),
    ("zoneinfo", "profile", TEXT),
    ("locale", "profile", TEXT),
    ("updated_at", "profile", NUMBER),
    ("email", "email", TEXT),
    ("email_verified", "email", BOOLEAN),
    ("phone_number", "phone", TEXT),
    ("phone_number_verified", "phone", BOOLEAN),
    ("address", "address", OBJECT),
];

/// The scopes that OpenID Connect defines and this service knows (5.4, 11).
#[must_use]
pub fn scopes() -> Vec<&'static str> {
    let mut scopes = vec![OPENID, OFFLINE_ACCESS];
    for (_, scope, _) in STANDARD_CLAIMS {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    scopes
}

/// The claims that ID tokens may have (2, 5.1), as `IdClaims` of the token endpoint writes them.
#[must_use]
pub fn claims() -> Vec<&'static str> {
    let of_token = ["iss", "sub", "aud", "iat", "exp", "auth_time", "sid", "at_hash", "nonce", "acr", "amr"];
    of_token.into_iter().chain(STANDARD_CLAIMS.iter().map(|(name, ..)| *name)).collect()
}

impl Claims {
    /// Requires standard claims of the right type, so that no claim takes the place of one of the token's own. `field`
    /// is their name in messages.
    pub fn require_standard(&self, field: &'static str) -> Result<(), ValidationError> {
        for (name, json) in self.iter() {
            let Some((name, _, (beginnings, rule))) = STANDARD_CLAIMS.iter().find(|(standard, ..)| *standard == name)
            else {
                return Err(ValidationError::new(field, "must contain only standard claims of OpenID Connect"));
            };
            if !json.starts_with(*beginnings) {
                return Err(ValidationError::new(format!("{field}.{name}"), *rule));
            }
        }
        Ok(())
    }

    /// Those that `scopes` ask for.
    #[must_use]
    pub fn of_scopes(&self, scopes: &Scopes) -> Self {
        self.filtered(|name| {
            STANDARD_CLAIMS.iter().any(|(standard, scope, _)| *standard == name && scopes.contains(scope))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(json: &str) -> Claims {
        Claims::parse("claims", json, 8192).unwrap()
    }

    #[test]
    fn a_scope_allows_its_own_claims() {
        let claims =
            claims(r#"{"name":"A","email":"a@b.example","email_verified": true,"phone_number":"1","other":1}"#);
        let of = |scopes: &str| serde_json::to_string(&claims.of_scopes(&scopes.parse().unwrap())).unwrap();
        assert_eq!(of("openid"), "{}");
        assert_eq!(of("profile"), r#"{"name":"A"}"#);
        assert_eq!(of("email profile"), r#"{"name":"A","email":"a@b.example","email_verified":true}"#);
    }

    #[test]
    fn claims_are_standard_and_of_their_type() {
        let require = |json: &str| claims(json).require_standard("claims").map_err(|invalid| invalid.to_string());
        for updated_at in ["-1", "0", "1e400"] {
            let right = format!(r#"{{"name":"A","updated_at":{updated_at},"email_verified":false,"address":{{}}}}"#);
            assert_eq!(require(&right), Ok(()));
        }
        for name in ["sub", "iss", "exp", "nonce", "scope", "Name", "roles"] {
            assert_eq!(
                require(&json!({name: "x"}).to_string()),
                Err("claims must contain only standard claims of OpenID Connect".to_owned())
            );
        }
        for (wrong, message) in [
            (r#"{"email_verified":"true"}"#, "claims.email_verified must be true or false"),
            (r#"{"name":null}"#, "claims.name must be a string"),
            (r#"{"updated_at":"1"}"#, "claims.updated_at must be a number"),
            (r#"{"address":[]}"#, "claims.address must be an object"),
        ] {
            assert_eq!(require(wrong), Err(message.to_owned()));
        }
    }
}
