//! Claims that somebody gives this service to pass on.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::error::{Constraint, ValidationError};

/// The most levels of objects and arrays; the claims themselves are the first.
const MAX_LEVELS: usize = 16;

/// Names of claims that nobody may give a value: those that tokens set themselves, and others with a meaning for
/// whoever verifies them (RFC 7519, 4.1; RFC 7800; RFC 8693, 4.1).
const RESERVED: [&str; 22] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "azp",
    "scope",
    "sid",
    "auth_time",
    "nonce",
    "at_hash",
    "cnf",
    "act",
    "organization",
    "gen",
    "token_use",
    "acr",
    "amr",
    "lng",
];
/// Those of them that say how a user has logged in (OpenID Connect Core 1.0, 2).
const OF_LOGIN: [&str; 2] = ["acr", "amr"];

/// A JSON object that has each member once, at every level, and no lone surrogate. The values are kept as JSON texts,
/// so whoever reads a token reads the same numbers.
#[derive(Clone, Default)]
pub struct Claims(Vec<(String, Box<RawValue>)>);

impl Claims {
    /// Reads claims of at most `max_bytes` in UTF-8, not counting white space and needless escapes. A text that is
    /// longer with these is kept without them, any other one as it is. `field` is the name of the claims in messages.
    pub fn parse(field: &'static str, json: &str, max_bytes: usize) -> Result<Self, ValidationError> {
        let Members(members) =
            serde_json::from_str(json).map_err(|_| ValidationError::new(field, "must be an object"))?;
        let mut names = HashSet::new();
        let mut bytes = "{".len();
        let mut compacted = Vec::with_capacity(members.len());
        for (name, value) in &members {
            let once = Constraint::require(names.insert(name), "must be given once");
            let value = once.and_then(|()| compact(value)).map_err(|broken| {
                let name: String = name.chars().take(64).collect();
                broken.of(format!("{field}.{name}"))
            })?;
            bytes += quoted(name).len() + ":,".len() + value.get().len();
            compacted.push((name.clone(), value));
        }
        if bytes > max_bytes {
            return Err(ValidationError::new(field, format!("must be at most {max_bytes} bytes long")));
        }
        Ok(if json.len() <= max_bytes { Self::from(Members(members)) } else { Self(compacted) })
    }

    /// The claims of a token's payload that were given for it: those of the registration or login, with `email`, `acr`
    /// and `amr`.
    #[must_use]
    pub fn of_payload(payload: &[u8]) -> Self {
        let all =
            serde_json::from_slice(payload).map_or_else(|_| Self::default(), |members: Members<'_>| members.into());
        all.filtered(|name| !RESERVED.contains(&name) || OF_LOGIN.contains(&name))
    }

    /// Refuses reserved names. `field` is the name of these in messages.
    pub fn require_unreserved(&self, field: &'static str) -> Result<(), ValidationError> {
        match RESERVED.iter().find(|reserved| self.iter().any(|(name, _)| name == **reserved)) {
            None => Ok(()),
            Some(name) => {
                Err(ValidationError::new(format!("{field}.{name}"), "must not be given: the name is reserved"))
            }
        }
    }

    /// The name and the JSON text of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.get()))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those whose name `keep` accepts.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(name, _)| keep(name)).cloned().collect())
    }

    /// Those that are not `null`.
    #[must_use]
    pub fn without_nulls(mut self) -> Self {
        self.0.retain(|(_, value)| value.get() != "null");
        self
    }

    /// These, and those of the others that have another name.
    #[must_use]
    pub fn or(mut self, others: &Self) -> Self {
        let others = others.filtered(|name| self.iter().all(|(own, _)| own != name));
        self.0.extend(others.0);
        self
    }
}

/// Personal data is not shown.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claims(…)")
    }
}

/// As an object with the values that were given. Of the serializers, only that of `serde_json` can write it.
impl Serialize for Claims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Eq for Claims {}

impl PartialEq for Claims {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// Claims as a JSON text, which an item can hold: for `#[serde(with)]`.
pub mod json_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};

    use super::{Claims, Members};

    pub fn serialize<S: Serializer>(claims: &Claims, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(claims).map_err(S::Error::custom)?)
    }

    /// Of claims that may be absent.
    pub fn serialize_option<S: Serializer>(claims: &Option<Claims>, serializer: S) -> Result<S::Ok, S::Error> {
        match claims {
            Some(claims) => serialize(claims, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Claims, D::Error> {
        // What is in an item was checked when it was given.
        serde_json::from_str(&String::deserialize(deserializer)?)
            .map(|members: Members<'_>| members.into())
            .map_err(D::Error::custom)
    }
}

/// The members of an object in their JSON text. It keeps duplicates, so that they can be refused.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl From<Members<'_>> for Claims {
    fn from(Members(members): Members<'_>) -> Self {
        Self(members.into_iter().map(|(name, value)| (name, value.to_owned())).collect())
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// The text of a value without white space and needless escapes. Refuses what readers of JSON disagree about: duplicate
/// members, lone surrogates and deep nesting (RFC 8259, 4, 8.2, 9).
fn compact(value: &RawValue) -> Result<Box<RawValue>, Constraint> {
    let mut text = String::new();
    write_compact(value, 2, &mut text)?;
    RawValue::from_string(text).map_err(unreadable)
}

/// `level` is the depth of the value.
fn write_compact(value: &RawValue, level: usize, text: &mut String) -> Result<(), Constraint> {
    let json = value.get();
    let deep = level > MAX_LEVELS && json.starts_with(['{', '[']);
    Constraint::require(!deep, "is nested too deeply (at most 16 levels)")?;
    match json.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(json).map_err(unreadable)?;
            let mut names = HashSet::new();
            text.push('{');
            for (n, (name, value)) in members.into_iter().enumerate() {
                text.push_str(if n == 0 { "" } else { "," });
                text.push_str(&quoted(&name));
                text.push(':');
                Constraint::require(names.insert(name), "must not have the same member twice")?;
                write_compact(value, level + 1, text)?;
            }
            text.push('}');
        }
        Some(b'[') => {
            let entries: Vec<&RawValue> = serde_json::from_str(json).map_err(unreadable)?;
            text.push('[');
            for (n, entry) in entries.into_iter().enumerate() {
                text.push_str(if n == 0 { "" } else { "," });
                write_compact(entry, level + 1, text)?;
            }
            text.push(']');
        }
        Some(b'"') => text.push_str(&quoted(&serde_json::from_str::<String>(json).map_err(unreadable)?)),
        _ => text.push_str(json),
    }
    Ok(())
}

fn unreadable(_: serde_json::Error) -> Constraint {
    Constraint::new("must be valid Unicode")
}

/// A string as JSON.
fn quoted(text: &str) -> String {
    // Serialization never fails: only a map with keys that are not strings would.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(json: &str) -> Result<Claims, String> {
        Claims::parse("claims", json, 8192).map_err(|invalid| invalid.to_string())
    }

    /// What becomes of claims that are written to an item and read from it.
    fn kept(json: &str) -> Result<String, String> {
        #[derive(Deserialize, Serialize)]
        struct Item(#[serde(with = "json_text")] Claims);

        let item = serde_dynamo::to_attribute_value::<_, aws_sdk_dynamodb::types::AttributeValue>(Item(parsed(json)?))
            .unwrap();
        assert!(item.is_s());
        let Item(claims) = serde_dynamo::from_attribute_value(item).unwrap();
        Ok(serde_json::to_string(&claims).unwrap())
    }

    fn error_text(json: &str) -> String {
        parsed(json).map(|_| ()).unwrap_err()
    }

    #[test]
    fn values_are_kept_to_the_letter() {
        for json in [
            "{}",
            r#"{"a":"\u00e9é\/\n","":{"":[ 1 , 2 ], "$serde_json::private::RawValue":"{}"}}"#,
            r#"{"a":[-0,-0.0e-999999999999999999999,1E5,1.50,12345678901234567890123,9007199254740993.0]}"#,
            r#"{"a":1e400,"b":-1e-400,"c":1e99999999999999999999,"d":0.1000000000000000055}"#,
            r#"{"a":null,"b":true,"c":[],"d":{}}"#,
        ] {
            assert_eq!(kept(json).as_deref(), Ok(json));
        }
    }

    #[test]
    fn claims_are_a_bounded_object() {
        for wrong in ["[]", "null", "1", "\"{}\""] {
            assert_eq!(error_text(wrong), "claims must be an object");
        }
        let long = |length: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(length - 8));
        assert_eq!(kept(&long(8192)), Ok(long(8192)));
        assert_eq!(error_text(&long(8193)), "claims must be at most 8192 bytes long");
        // White space and escapes do not count: a sender may write all of Unicode as escapes.
        let spelled = |letters: usize| format!("{{ \"a\" : [ \"{}\" ,\n 1 ] }}", "\\u0416".repeat(letters));
        assert!(parsed(&spelled(4000)).is_ok() && parsed(&spelled(4100)).is_err());
    }

    #[test]
    fn each_member_is_given_once_in_valid_unicode() {
        for (wrong, message) in [
            (r#"{"name":"A","name":"A"}"#, "claims.name must be given once"),
            (r#"{"name":"A","n\u0061me":"B"}"#, "claims.name must be given once"),
            (r#"{"a":{"a":1,"b":2,"a":1}}"#, "claims.a must not have the same member twice"),
            (r#"{"a":{"a":[{"b":1,"\u0062":1}]}}"#, "claims.a must not have the same member twice"),
            (r#"{"a":"\ud800"}"#, "claims.a must be valid Unicode"),
            (r#"{"a":[{"a":"\udc00\ud800"}]}"#, "claims.a must be valid Unicode"),
            (r#"{"a":{"\ud800":1}}"#, "claims.a must be valid Unicode"),
        ] {
            assert_eq!(error_text(wrong), message);
        }
        let long = "x".repeat(100);
        assert_eq!(
            error_text(&format!(r#"{{"{long}":1,"{long}":1}}"#)),
            format!("claims.{} must be given once", "x".repeat(64))
        );
    }

    #[test]
    fn claims_have_at_most_16_levels() {
        let nested = |open: &str, close: &str, levels: usize| {
            format!("{{\"a\":{{\"a\":{}1{}}}}}", open.repeat(levels - 2), close.repeat(levels - 2))
        };
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            assert!(parsed(&nested(open, close, 16)).is_ok());
            for levels in [17, 127, 128, 1000] {
                assert_eq!(
                    error_text(&nested(open, close, levels)),
                    "claims.a is nested too deeply (at most 16 levels)"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}", json in r#"[\[\]{}",:0-9eE+.a\-\\u]{0,40}"#) {
            let _ = parsed(&text);
            let _ = parsed(&format!(r#"{{"a":{json}}}"#));
        }
    }
}
