//! What OpenID Connect Core 1.0 says of the subject: its standard claims, and the scopes that ask for them.

use serde_json::{Map, Value};

use crate::field::{Invalid, Rule};

/// The type of a standard claim's value (5.1).
#[derive(Clone, Copy, Debug)]
enum ClaimType {
    Text,
    Truth,
    Number,
    Object,
}

/// The standard claims (5.1) with the scope that asks for each (5.4). `sub` is not among them: it is the token's own.
const STANDARD_CLAIMS: [(&str, &str, ClaimType); 19] = [
    ("name", "profile", ClaimType::Text),
    ("given_name", "profile", ClaimType::Text),
    ("family_name", "profile", ClaimType::Text),
    ("middle_name", "profile", ClaimType::Text),
    ("nickname", "profile", ClaimType::Text),
    ("preferred_username", "profile", ClaimType::Text),
    ("profile", "profile", ClaimType::Text),
    ("picture", "profile", ClaimType::Text),
    ("website", "profile", ClaimType::Text),
    ("gender", "profile", ClaimType::Text),
    ("birthdate", "profile", ClaimType::Text),
    ("zoneinfo", "profile", ClaimType::Text),
    ("locale", "profile", ClaimType::Text),
    ("updated_at", "profile", ClaimType::Number),
    ("email", "email", ClaimType::Text),
    ("email_verified", "email", ClaimType::Truth),
    ("phone_number", "phone", ClaimType::Text),
    ("phone_number_verified", "phone", ClaimType::Truth),
    ("address", "address", ClaimType::Object),
];

/// No more claims than this, in bytes of JSON, so that an ID token stays one that clients can handle.
const MAX_CLAIMS_BYTES: usize = 8 * 1024;

/// Checks that every claim is a standard one of the right type, so that none can stand for another meaning.
///
/// # Errors
/// Which claim is not.
pub fn check_claims(field: &'static str, claims: &Map<String, Value>) -> Result<(), Invalid> {
    for (name, value) in claims {
        let standard = STANDARD_CLAIMS.iter().find(|(standard, ..)| standard == name);
        let Some((standard, _, kind)) = standard else {
            return Err(Invalid::new(field, "must have standard claims of OpenID Connect only"));
        };
        let (right, rule) = match kind {
            ClaimType::Text => (value.is_string(), "must be a string"),
            ClaimType::Truth => (value.is_boolean(), "must be true or false"),
            ClaimType::Number => (value.is_number(), "must be a number"),
            ClaimType::Object => (value.is_object(), "must be an object"),
        };
        if !right {
            return Err(Invalid::new(format!("{field}.{standard}"), rule));
        }
    }
    if serde_json::to_vec(claims).is_ok_and(|json| json.len() > MAX_CLAIMS_BYTES) {
        return Err(Invalid::new(field, format!("must be at most {MAX_CLAIMS_BYTES} bytes long")));
    }
    Ok(())
}

/// Those of `claims` that `scopes` ask for.
#[must_use]
pub fn claims_of_scopes(claims: &Map<String, Value>, scopes: &[String]) -> Map<String, Value> {
    let asked = STANDARD_CLAIMS.iter().filter(|(_, scope, _)| scopes.iter().any(|asked| asked == scope));
    asked.filter_map(|(name, ..)| Some(((*name).to_owned(), claims.get(*name)?.clone()))).collect()
}

/// A language tag of well-formed subtags (BCP 47): `^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$`, at most 35 characters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Language(String);

impl Language {
    /// The tag as text.
    #[must_use]
    pub fn into_inner(self) -> String {
        self.0
    }
}

impl std::str::FromStr for Language {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        let mut subtags = text.split('-');
        let language = subtags.next().unwrap_or_default();
        let form = (2..=8).contains(&language.len())
            && language.bytes().all(|c| c.is_ascii_alphabetic())
            && subtags.all(|tag| (1..=8).contains(&tag.len()) && tag.bytes().all(|c| c.is_ascii_alphanumeric()));
        if form && text.len() <= 35 {
            Ok(Self(text.to_owned()))
        } else {
            Err(Rule("must be a language tag such as en or pt-BR"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_scope_allows_its_own_claims() {
        let claims = map(&json!({"name": "A", "email": "a@b.example", "email_verified": true, "phone_number": "1"}));
        let of = |scopes: &[&str]| {
            claims_of_scopes(&claims, &scopes.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["openid"]), Map::new());
        assert_eq!(of(&["profile"]), map(&json!({"name": "A"})));
        assert_eq!(of(&["email", "profile"]).len(), 3);
    }

    #[test]
    fn claims_are_standard_and_of_their_type() {
        let check = |claims: Value| check_claims("claims", &map(&claims)).map_err(|invalid| invalid.to_string());
        assert_eq!(check(json!({"name": "A", "updated_at": 1, "email_verified": false, "address": {}})), Ok(()));
        for name in ["sub", "iss", "exp", "nonce", "scope", "Name", "roles"] {
            assert_eq!(
                check(json!({name: "x"})),
                Err("claims must have standard claims of OpenID Connect only".to_owned())
            );
        }
        assert_eq!(
            check(json!({"email_verified": "true"})),
            Err("claims.email_verified must be true or false".to_owned())
        );
        assert_eq!(check(json!({"name": null})), Err("claims.name must be a string".to_owned()));
        assert!(check(json!({"name": "x".repeat(8200)})).is_err());
    }

    #[test]
    fn languages_are_well_formed() {
        for right in ["en", "pt-BR", "zh-Hans-CN", "de-1996"] {
            assert!(right.parse::<Language>().is_ok(), "{right}");
        }
        for wrong in ["", "e", "en_US", "en-", "-en", "en--US", "en-123456789", "é", &"en-a".repeat(10)] {
            assert!(wrong.parse::<Language>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn languages_are_subtags_within_the_length(tag in "[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,5}", text in "[a-z0-9_é-]{0,40}") {
            prop_assert_eq!(tag.parse::<Language>().is_ok(), tag.len() <= 35);
            if let Ok(language) = text.parse::<Language>() {
                let subtags = text.split('-').collect::<Vec<_>>();
                prop_assert!(text.len() <= 35 && subtags.iter().all(|tag| (1..=8).contains(&tag.len())));
                prop_assert!(subtags[0].len() > 1 && subtags[0].chars().all(|c| c.is_ascii_lowercase()));
                prop_assert_eq!(language.into_inner(), text);
            }
        }
    }
}
