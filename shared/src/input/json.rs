//! Strict parsing of JSON objects: every error names the field and the rule, and never repeats a value.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde::{
    Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{claims::Claims, value::PlainValue};
use crate::error::{Constraint, ValidationError};

/// Ten years with their leap days.
const MAX_EXPIRY_DAYS: i64 = 3653;

/// The fields of a JSON object. A request takes each field that it knows. HTTP endpoints ignore the others; the invoked
/// functions reject them with [`JsonObject::refuse_others`].
#[derive(Debug, Default)]
pub struct JsonObject {
    values: Vec<(String, Value)>,
    texts: Vec<(String, Box<RawValue>)>,
}

impl JsonObject {
    /// Parses a JSON text (RFC 8259) in UTF-8, nested at most 127 levels.
    pub fn from_json(json: &[u8]) -> Result<Self, ValidationError> {
        Self::with_claims(json, &[])
    }

    /// As [`Self::from_json`], for an object in which the fields with these names are [`Claims`].
    pub fn with_claims(json: &[u8], names: &[&str]) -> Result<Self, ValidationError> {
        let text = std::str::from_utf8(json).map_err(|_| ValidationError::new("body", "is not valid UTF-8"))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let object = json.deserialize_map(Fields(names)).and_then(|object| json.end().map(|()| object));
        object.map_err(|error| {
            if error.is_data() {
                return ValidationError::new("body", "must be a JSON object");
            }
            // Only the text of the error tells it from a syntax error.
            if error.to_string().starts_with("recursion limit exceeded") {
                return ValidationError::new("body", "is nested too deeply (at most 127 levels)");
            }
            let (line, column) = (error.line(), error.column());
            ValidationError::new("body", format!("is not valid JSON (line {line}, column {column})"))
        })
    }

    /// Takes a field. `None` if it is absent or `null`.
    fn take(&mut self, name: &'static str) -> Result<Option<Value>, ValidationError> {
        Ok(take_once(&mut self.values, name)?.filter(|value| !value.is_null()))
    }

    /// Claims of at most `max_bytes`. The object must have been parsed [`Self::with_claims`] of this name.
    pub fn claims(&mut self, name: &'static str, max_bytes: usize) -> Result<Option<Claims>, ValidationError> {
        let text = take_once(&mut self.texts, name)?.filter(|text| text.get() != "null");
        text.map(|text| Claims::parse(name, text.get(), max_bytes)).transpose()
    }

    /// A string.
    pub fn string(&mut self, name: &'static str) -> Result<Option<String>, ValidationError> {
        match self.take(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ValidationError::new(name, "must be a string")),
        }
    }

    /// A string that `T` accepts.
    pub fn parsed<T: FromStr<Err = Constraint>>(&mut self, name: &'static str) -> Result<Option<T>, ValidationError> {
        let parse = |text: String| text.parse().map_err(|constraint: Constraint| constraint.of(name));
        self.string(name)?.map(parse).transpose()
    }

    /// An array of at most `max` different strings that `T` accepts.
    pub fn distinct<T: FromStr<Err = Constraint> + PartialEq>(
        &mut self,
        name: &'static str,
        max: usize,
    ) -> Result<Option<Vec<T>>, ValidationError> {
        let Some(entries) = self.array::<T>(name, max)? else { return Ok(None) };
        if entries.iter().enumerate().any(|(n, entry)| entries.iter().take(n).any(|earlier| earlier == entry)) {
            return Err(ValidationError::new(name, "must not contain the same entry twice"));
        }
        Ok(Some(entries))
    }

    /// An array of at most `max` strings that `T` accepts.
    pub fn array<T: FromStr<Err = Constraint>>(
        &mut self,
        name: &'static str,
        max: usize,
    ) -> Result<Option<Vec<T>>, ValidationError> {
        let values = match self.take(name)? {
            None => return Ok(None),
            Some(Value::Array(values)) => values,
            Some(_) => return Err(ValidationError::new(name, "must be an array of strings")),
        };
        if values.len() > max {
            return Err(ValidationError::new(name, format!("must have at most {max} entries")));
        }
        let entries = values.into_iter().map(|value| {
            let Value::String(text) = value else {
                return Err(ValidationError::new(name, "must be an array of strings"));
            };
            text.parse().map_err(|rule| ValidationError::new(name, format!("entries {rule}")))
        });
        entries.collect::<Result<_, _>>().map(Some)
    }

    /// A whole number in `range`.
    pub fn integer<N: TryFrom<u64> + PartialOrd + fmt::Display>(
        &mut self,
        name: &'static str,
        range: RangeInclusive<N>,
    ) -> Result<Option<N>, ValidationError> {
        let Some(value) = self.take(name)? else { return Ok(None) };
        let number = value.as_u64().and_then(|number| N::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(ValidationError::new(
                name,
                format!("must be a whole number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// An instant (RFC 3339) in the future, at most ten years from now. What is smaller than a millisecond is dropped.
    pub fn expiry(&mut self, name: &'static str, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, ValidationError> {
        let Some(at) = self.instant(name)? else { return Ok(None) };
        if at <= now || now + TimeDelta::days(MAX_EXPIRY_DAYS) < at {
            return Err(ValidationError::new(name, "must be in the future and at most ten years from now"));
        }
        Ok(Some(at))
    }

    /// An instant (RFC 3339). What is smaller than a millisecond is dropped.
    pub fn instant(&mut self, name: &'static str) -> Result<Option<DateTime<Utc>>, ValidationError> {
        let Some(text) = self.string(name)? else { return Ok(None) };
        let at = DateTime::parse_from_rfc3339(&text);
        let at = at.map_err(|_| ValidationError::new(name, "must be an instant such as 2027-04-02T12:00:00Z"))?;
        Ok(Some(at.with_timezone(&Utc).trunc_subsecs(3)))
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, ValidationError> {
        match self.take(name)? {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(ValidationError::new(name, "must be true or false")),
        }
    }

    /// Rejects fields that were not taken, so that a misspelled optional field is noticed.
    pub fn refuse_others(self) -> Result<(), ValidationError> {
        let values = self.values.into_iter().map(|(name, _)| name);
        match values.chain(self.texts.into_iter().map(|(name, _)| name)).next() {
            None => Ok(()),
            Some(name) => {
                Err(ValidationError::new(name.chars().take(64).collect::<String>(), "is not a field of this request"))
            }
        }
    }
}

fn take_once<V>(fields: &mut Vec<(String, V)>, name: &'static str) -> Result<Option<V>, ValidationError> {
    let mut values = fields.extract_if(.., |(field, _)| field == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(ValidationError::new(name, "must be given once")),
        (value, None) => Ok(value),
    }
}

/// The value of a field that the request must have.
pub fn required<T>(name: &'static str, value: Option<T>) -> Result<T, ValidationError> {
    value.ok_or_else(|| ValidationError::new(name, "is required"))
}

/// Reads the members of an object, and keeps duplicates, so that they can be refused. It has the names of those whose
/// text is kept.
struct Fields<'a>(&'a [&'a str]);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = JsonObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonObject, A::Error> {
        let mut object = JsonObject::default();
        while let Some(name) = map.next_key::<String>()? {
            if self.0.contains(&name.as_str()) {
                object.texts.push((name, map.next_value()?));
            } else {
                object.values.push((name, map.next_value::<PlainValue>()?.0));
            }
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::*;
    use crate::input::Scope;

    fn fields(json: &str) -> JsonObject {
        JsonObject::from_json(json.as_bytes()).unwrap()
    }

    fn error_text<T: fmt::Debug>(result: Result<T, ValidationError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_body_is_one_json_object() {
        for (wrong, message) in [
            (&b"\xff{}"[..], "body is not valid UTF-8"),
            (b"[]", "body must be a JSON object"),
            (b"\"secret\"", "body must be a JSON object"),
            (b"null", "body must be a JSON object"),
            (b"{}{}", "body is not valid JSON (line 1, column 3)"),
            (b"{\"a\":", "body is not valid JSON (line 1, column 5)"),
        ] {
            assert_eq!(error_text(JsonObject::from_json(wrong)), message);
        }
        let nested = |levels: usize| format!("{{\"unknown\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(JsonObject::from_json(nested(126).as_bytes()).is_ok());
        for levels in [127, 8000] {
            let refused = error_text(JsonObject::from_json(nested(levels).as_bytes()));
            assert_eq!(refused, "body is nested too deeply (at most 127 levels)");
        }
    }

    #[test]
    fn a_string_is_absent_null_or_a_string_once() {
        let mut body = fields(r#"{"a":null,"b":"","c":1,"d":"x","d":"x","other":1,"other":2}"#);
        assert_eq!(body.string("missing"), Ok(None));
        assert_eq!(body.string("a"), Ok(None));
        assert_eq!(body.string("b"), Ok(Some(String::new())));
        assert_eq!(error_text(body.string("c")), "c must be a string");
        assert_eq!(error_text(body.string("d")), "d must be given once");
        assert_eq!(error_text(body.refuse_others()), "other is not a field of this request");
        assert_eq!(error_text(required("a", None::<()>)), "a is required");
    }

    #[test]
    fn claims_are_kept_as_text() {
        let read = |json: &str| {
            let mut object = JsonObject::with_claims(json.as_bytes(), &["c"]).map_err(|invalid| invalid.to_string())?;
            let claims = object.claims("c", 100).map_err(|invalid| invalid.to_string())?;
            Ok::<_, String>(claims.map(|claims| serde_json::to_string(&claims).unwrap()))
        };
        assert_eq!(read(r#"{"c": {"x":1e400,"y":[ 1 ]} ,"d":1}"#), Ok(Some(r#"{"x":1e400,"y":[ 1 ]}"#.to_owned())));
        assert_eq!((read(r#"{"c":null}"#), read("{}")), (Ok(None), Ok(None)));
        for (wrong, message) in [
            (r#"{"c":{},"c":null}"#, "c must be given once"),
            (r#"{"c":1}"#, "c must be an object"),
            (r#"{"c":{}"#, "body is not valid JSON (line 1, column 7)"),
            (r#"{"c":{},"d":1e400}"#, "body is not valid JSON (line 1, column 17)"),
            ("[]", "body must be a JSON object"),
        ] {
            assert_eq!(read(wrong), Err(message.to_owned()), "{wrong}");
        }
    }

    #[test]
    fn a_null_and_a_value_are_given_twice() {
        assert_eq!(error_text(fields(r#"{"a":null,"a":"x"}"#).string("a")), "a must be given once");
        assert_eq!(error_text(fields(r#"{"a":"x","a":null}"#).string("a")), "a must be given once");
    }

    #[test]
    fn integers_are_whole_and_within_range() {
        for wrong in ["0", "11", "1.0", "-1", "\"1\"", "1e1", "4294967297", "true", "[]"] {
            let refused = error_text(fields(&format!("{{\"n\":{wrong}}}")).integer("n", 1..=10_u32));
            assert_eq!(refused, "n must be a whole number from 1 to 10", "{wrong}");
        }
        assert_eq!(fields(r#"{"n":10}"#).integer("n", 1..=10_u32), Ok(Some(10)));
        assert_eq!(fields("{}").integer("n", 1..=10_u32), Ok(None));
    }

    #[test]
    fn lists_are_distinct_and_bounded() {
        let list = |json: &str| fields(&format!("{{\"s\":{json}}}")).distinct::<Scope>("s", 2);
        assert_eq!(list("[]"), Ok(Some(vec![])));
        assert_eq!(list(r#"["a","b"]"#).unwrap().unwrap().len(), 2);
        assert_eq!(error_text(list(r#"["a","b","c"]"#)), "s must have at most 2 entries");
        assert_eq!(error_text(list(r#"["a","a"]"#)), "s must not contain the same entry twice");
        assert_eq!(error_text(list(r#"["a",1]"#)), "s must be an array of strings");
        assert_eq!(error_text(list(r#""a""#)), "s must be an array of strings");
        for wrong in ["", "a b", "a\\\\b", "a\\\"b", "é", "a\\n", &"x".repeat(257)] {
            assert!(error_text(list(&format!("[\"{wrong}\"]"))).starts_with("s entries must be 1 to 256"), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = JsonObject::from_json(text.as_bytes());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = JsonObject::from_json(&bytes);
        }

        #[test]
        fn an_error_never_repeats_a_value(value in "[a-z]{12}") {
            let json = format!(r#"{{"n":"{value}","s":["{value}","{value}"],"p":"{value} {value}"}}"#);
            let mut body = fields(&json);
            let errors = [error_text(body.integer("n", 1..=2_u32)), error_text(body.distinct::<Scope>("s", 5)), error_text(body.parsed::<Scope>("p"))];
            prop_assert!(errors.iter().all(|text| !text.contains(&value)));
        }
    }
}
