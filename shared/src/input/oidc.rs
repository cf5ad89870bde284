//! The standard claims of OpenID Connect Core 1.0, and the scopes that request them.

use serde_json::{Map, Number, Value, value::RawValue};

use crate::{
    error::{Constraint, ValidationError},
    input::json::Members,
};

/// The scope that asks for an ID token (3.1.2.1).
pub const OPENID: &str = "openid";

/// The type of a standard claim's value (5.1).
#[derive(Clone, Copy, Debug)]
enum ClaimType {
    Text,
    Boolean,
    Number,
    Object,
}

/// The standard claims (5.1), each with the scope that requests it (5.4). `sub` is missing: the token itself sets it.
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
    ("email_verified", "email", ClaimType::Boolean),
    ("phone_number", "phone", ClaimType::Text),
    ("phone_number_verified", "phone", ClaimType::Boolean),
    ("address", "address", ClaimType::Object),
];

/// The most claims, in bytes of JSON, so that clients can handle the ID token.
const MAX_CLAIMS_BYTES: usize = 8 * 1024;

/// The most levels of objects and arrays; `claims` itself is the first. DynamoDB allows 32.
const MAX_CLAIMS_LEVELS: usize = 16;

/// Parses claims from their JSON text. Only standard claims of the right type are accepted, so that no claim can override
/// one of the token's own. Values are kept exactly, so that the ID token says what the login service said.
pub fn read_claims(field: &'static str, json: &str) -> Result<Map<String, Value>, ValidationError> {
    let Members(members) = serde_json::from_str::<Members<&RawValue>>(json)
        .map_err(|_| ValidationError::new(field, "must be an object"))?;
    let mut claims = Map::new();
    for (name, json) in members {
        let standard = STANDARD_CLAIMS.iter().find(|(standard, ..)| *standard == name);
        let Some((standard, _, kind)) = standard else {
            return Err(ValidationError::new(field, "must contain only standard claims of OpenID Connect"));
        };
        let invalid = |rule| ValidationError::new(format!("{field}.{standard}"), rule);
        let value = exact(json.get(), 2).map_err(|constraint| constraint.of(format!("{field}.{standard}")))?;
        let (right, rule) = match kind {
            ClaimType::Text => (value.is_string(), "must be a string"),
            ClaimType::Boolean => (value.is_boolean(), "must be true or false"),
            ClaimType::Number => (value.is_number(), "must be a number"),
            ClaimType::Object => (value.is_object(), "must be an object"),
        };
        if !right {
            return Err(invalid(rule));
        }
        if claims.insert(name, value).is_some() {
            return Err(invalid("must be given once"));
        }
    }
    if serde_json::to_vec(&claims).is_ok_and(|json| json.len() > MAX_CLAIMS_BYTES) {
        return Err(ValidationError::new(field, format!("must be at most {MAX_CLAIMS_BYTES} bytes long")));
    }
    Ok(claims)
}

/// The value of a JSON text, if DynamoDB and an ID token can hold exactly this value. `level` is the level of the value
/// if it is an object or array.
fn exact(json: &str, level: usize) -> Result<Value, Constraint> {
    let nested = matches!(json.as_bytes().first(), Some(b'{' | b'['));
    if nested && level > MAX_CLAIMS_LEVELS {
        return Err(Constraint::new("is nested too deeply (at most 16 levels)"));
    }
    let unreadable = |_| Constraint::new("must be valid Unicode");
    match json.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str::<Members<&RawValue>>(json).map_err(unreadable)?;
            let mut object = Map::new();
            for (name, json) in members {
                // DynamoDB allows no empty names, and `serde_json` reads its own private names back as something else.
                if name.is_empty() || name.starts_with("$serde_json::private::") {
                    return Err(Constraint::new("must not have members with empty or reserved names"));
                }
                if object.insert(name, exact(json.get(), level + 1)?).is_some() {
                    return Err(Constraint::new("must not have the same member twice"));
                }
            }
            Ok(object.into())
        }
        Some(b'[') => {
            let entries = serde_json::from_str::<Vec<&RawValue>>(json).map_err(unreadable)?;
            entries.into_iter().map(|entry| exact(entry.get(), level + 1)).collect()
        }
        Some(b'-' | b'0'..=b'9') => number(json).map(Value::Number).ok_or(Constraint::new(
            "must contain only 64-bit integers and exact double-precision numbers from 1e-130 to 9.9e125",
        )),
        _ => serde_json::from_str(json).map_err(unreadable),
    }
}

/// The number of a JSON text. `None` if a double, which readers of JSON expect (RFC 8259, 6), or DynamoDB would change
/// its value.
fn number(json: &str) -> Option<Number> {
    let given = Decimal::parse(json)?;
    if given.digits.is_empty() {
        return Some(0.into());
    }
    let number = match (json.parse::<i64>(), json.parse::<u64>()) {
        (Ok(integer), _) => integer.into(),
        (_, Ok(integer)) => integer.into(),
        // `parse` rounds correctly, which `serde_json` does not promise.
        _ => Number::from_f64(json.parse().ok()?)?,
    };
    let held = (-130..=125).contains(&given.magnitude) && Decimal::parse(&number.to_string())? == given;
    held.then_some(number)
}

/// The value of a JSON number: `d.ddd × 10^magnitude`. Zero has no digits.
#[derive(Eq, PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    magnitude: i64,
}

impl Decimal {
    /// `None` if the exponent does not fit into 64 bits.
    fn parse(json: &str) -> Option<Self> {
        let (negative, json) = json.strip_prefix('-').map_or((false, json), |json| (true, json));
        let (mantissa, exponent) = json.split_once(['e', 'E']).unwrap_or((json, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_start_matches('0');
        if significant.is_empty() {
            return Some(Self { negative: false, digits: String::new(), magnitude: 0 });
        }
        let leading_zeros = digits.len() - significant.len();
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(leading_zeros).ok()? - 1;
        let magnitude = exponent.parse::<i64>().ok()?.checked_add(point)?;
        Some(Self { negative, digits: significant.trim_end_matches('0').to_owned(), magnitude })
    }
}

/// The scopes that OpenID Connect defines and this service knows (5.4).
#[must_use]
pub fn scopes() -> Vec<&'static str> {
    let mut scopes = vec![OPENID];
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
    let of_token = ["iss", "sub", "aud", "iat", "exp", "auth_time", "sid", "at_hash", "nonce"];
    of_token.into_iter().chain(STANDARD_CLAIMS.iter().map(|(name, ..)| *name)).collect()
}

/// The `claims` that `scopes` request.
#[must_use]
pub fn claims_of_scopes(claims: &Map<String, Value>, scopes: &[String]) -> Map<String, Value> {
    let asked = STANDARD_CLAIMS.iter().filter(|(_, scope, _)| scopes.iter().any(|asked| asked == scope));
    asked.filter_map(|(name, ..)| Some(((*name).to_owned(), claims.get(*name)?.clone()))).collect()
}

/// A language tag (BCP 47) with well-formed subtags: `^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$`, at most 35 characters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Language(String);

impl Language {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn into_inner(self) -> String {
        self.0
    }
}

impl std::str::FromStr for Language {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        let mut subtags = text.split('-');
        let language = subtags.next().unwrap_or_default();
        let form = (2..=8).contains(&language.len())
            && language.bytes().all(|c| c.is_ascii_alphabetic())
            && subtags.all(|tag| (1..=8).contains(&tag.len()) && tag.bytes().all(|c| c.is_ascii_alphanumeric()));
        if form && text.len() <= 35 {
            Ok(Self(text.to_owned()))
        } else {
            Err(Constraint::new("must be a language tag such as en or pt-BR"))
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

    fn read(claims: &str) -> Result<Value, String> {
        read_claims("claims", claims).map(Value::from).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn claims_are_standard_and_of_their_type() {
        let claims = json!({"name": "A", "updated_at": 1, "email_verified": false, "address": {}});
        assert_eq!(read(&claims.to_string()), Ok(claims));
        for name in ["sub", "iss", "exp", "nonce", "scope", "Name", "roles"] {
            assert_eq!(
                read(&json!({name: "x"}).to_string()),
                Err("claims must contain only standard claims of OpenID Connect".to_owned())
            );
        }
        for (wrong, message) in [
            ("[]", "claims must be an object"),
            (r#"{"email_verified":"true"}"#, "claims.email_verified must be true or false"),
            (r#"{"name":null}"#, "claims.name must be a string"),
            (r#"{"name":"\ud800"}"#, "claims.name must be valid Unicode"),
        ] {
            assert_eq!(read(wrong), Err(message.to_owned()));
        }
        assert_eq!(
            read(&json!({"name": "x".repeat(8200)}).to_string()),
            Err("claims must be at most 8192 bytes long".to_owned())
        );
    }

    #[test]
    fn each_member_is_given_once_under_a_name() {
        for (wrong, message) in [
            (r#"{"name":"A","name":"A"}"#, "claims.name must be given once"),
            (r#"{"name":"A","n\u0061me":"B"}"#, "claims.name must be given once"),
            (r#"{"address":{"a":1,"b":2,"a":1}}"#, "claims.address must not have the same member twice"),
            (r#"{"address":{"a":[{"b":1,"\u0062":1}]}}"#, "claims.address must not have the same member twice"),
            (r#"{"address":{"":1}}"#, "claims.address must not have members with empty or reserved names"),
            (
                r#"{"address":{"a":{"$serde_json::private::RawValue":"{}"}}}"#,
                "claims.address must not have members with empty or reserved names",
            ),
        ] {
            assert_eq!(read(wrong), Err(message.to_owned()));
        }
    }

    #[test]
    fn claims_have_at_most_16_levels() {
        let nested = |open: &str, close: &str, levels: usize| {
            format!("{{\"address\":{{\"a\":{}1{}}}}}", open.repeat(levels - 2), close.repeat(levels - 2))
        };
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            assert!(read(&nested(open, close, 16)).is_ok());
            for levels in [17, 127, 128, 100_000] {
                assert_eq!(
                    read(&nested(open, close, levels)),
                    Err("claims.address is nested too deeply (at most 16 levels)".to_owned())
                );
            }
        }
    }

    #[test]
    fn numbers_are_kept_exactly_or_refused() {
        for (given, kept) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0e-999999999999999999999", "0"),
            ("-1", "-1"),
            ("1E5", "100000.0"),
            ("1e+5", "100000.0"),
            ("1.50", "1.5"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("18446744073709551615", "18446744073709551615"),
            ("100000000000000000000", "1e+20"),
            ("1.1e30", "1.1e+30"),
            ("1e-130", "1e-130"),
            ("0.1e-129", "1e-130"),
            ("-9.9e125", "-9.9e+125"),
        ] {
            let claims = read(&format!(r#"{{"updated_at":{given}}}"#)).map(|claims| claims["updated_at"].to_string());
            assert_eq!(claims, Ok(kept.to_owned()), "{given}");
        }
        for refused in [
            "12345678901234567890123",
            "9007199254740993.0",
            "18446744073709551617",
            "0.1000000000000000055",
            "0.300000000000000044",
            "9.9e-131",
            "1e126",
            "1e400",
            "-1e400",
            "1e-400",
            "1e99999999999999999999",
            "1e-9223372036854775808",
        ] {
            let rule = "must contain only 64-bit integers and exact double-precision numbers from 1e-130 to 9.9e125";
            for (claim, json) in [("updated_at", refused.to_owned()), ("address", format!(r#"{{"a":[{refused}]}}"#))] {
                let claims = read(&format!(r#"{{"{claim}":{json}}}"#));
                assert_eq!(claims, Err(format!("claims.{claim} {rule}")), "{refused}");
            }
        }
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
        fn every_double_in_range_is_kept(double in any::<f64>().prop_filter("range", |double| (1e-130..1e126).contains(&double.abs()))) {
            // Not by `format!`: of two shortest texts that are equally close it takes another one than JSON writers do.
            let text = Number::from_f64(double).unwrap().to_string();
            for text in [text.to_uppercase(), text] {
                prop_assert_eq!(number(&text).and_then(|number| number.as_f64()), Some(double), "{}", text);
            }
        }

        #[test]
        fn every_number_of_15_digits_is_kept(digits in 100_000_000_000_000_u64..1_000_000_000_000_000, exponent in -144..=111) {
            let text = format!("{digits}e{exponent}");
            prop_assert_eq!(number(&text).and_then(|number| number.as_f64()), text.parse().ok());
        }

        #[test]
        fn every_64_bit_integer_is_kept(signed: i64, unsigned: u64) {
            prop_assert_eq!(number(&signed.to_string()), Some(signed.into()));
            prop_assert_eq!(number(&unsigned.to_string()), Some(unsigned.into()));
        }

        #[test]
        fn no_text_panics(text in ".{0,80}", json in r#"[\[\]{}",:0-9eE+.a\-]{0,40}"#) {
            let _ = read_claims("claims", &text);
            let _ = read_claims("claims", &format!(r#"{{"address":{json}}}"#));
        }

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
