//! Forms and query strings (WHATWG URL, application/x-www-form-urlencoded).

use std::{collections::BTreeSet, fmt, str::FromStr};

use percent_encoding::percent_decode;

use crate::{
    error::{Constraint, ValidationError},
    input::json::required,
};

/// The parameters of a form that may be given several times (RFC 8707, 2; RFC 8693, 2.1).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

/// The parameters of a form or a query string. Unknown ones are ignored.
#[derive(Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Parses a form as OAuth 2.0 reads it (RFC 6749, appendix B). Each parameter is given at most once (3.2), except
    /// `resource` and `audience`, and an empty one counts as absent (3.1). Encoding that is not valid is an error and
    /// not repaired.
    pub fn from_form(body: &[u8]) -> Result<Self, ValidationError> {
        let malformed = |rule| Err(ValidationError::new("body", rule));
        if !has_valid_escapes(body) {
            return malformed("must have two hexadecimal digits after each percent sign");
        }
        if percent_decode(body).decode_utf8().is_err() {
            return malformed("is not valid UTF-8");
        }
        let mut parameters: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        let mut names = BTreeSet::new();
        let once = |name| REPEATABLE.contains(&name) || names.insert(name);
        if !parameters.iter().map(|(name, _)| name.as_str()).all(once) {
            return malformed("must not have a parameter twice");
        }
        parameters.retain(|(_, value)| !value.is_empty());
        Ok(Self(parameters))
    }

    /// Reads a query string, without its `?`. What cannot be decoded becomes a text that no type accepts.
    #[must_use]
    pub fn from_query(raw: &str) -> Self {
        Self(form_urlencoded::parse(raw.as_bytes()).into_owned().collect())
    }

    /// A parameter of a form.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The name and the value of each, in the order of the form.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A parameter that the form must have.
    pub fn required(&self, name: &'static str) -> Result<&str, ValidationError> {
        required(name, self.get(name))
    }

    /// A parameter that `T` accepts, given at most once.
    pub fn parsed<T: FromStr<Err = Constraint>>(&self, name: &'static str) -> Result<Option<T>, ValidationError> {
        if self.0.iter().filter(|(other, _)| other == name).count() > 1 {
            return Err(ValidationError::new(name, "must be given once"));
        }
        let parse = |text: &str| text.parse().map_err(|constraint: Constraint| constraint.of(name));
        self.get(name).map(parse).transpose()
    }
}

/// Does not show the values, because they contain credentials.
impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parameters(…)")
    }
}

/// The text that was form-encoded, such as the halves of `Basic` credentials (RFC 6749, 2.3.1). `None` if the encoding
/// is not valid.
#[must_use]
pub fn form_decoded(encoded: &str) -> Option<String> {
    let encoded = encoded.replace('+', " ");
    let valid = has_valid_escapes(encoded.as_bytes());
    percent_decode(encoded.as_bytes()).decode_utf8().ok().filter(|_| valid).map(Into::into)
}

fn has_valid_escapes(text: &[u8]) -> bool {
    let mut parts = text.split(|byte| *byte == b'%');
    parts.next();
    parts.all(|part| part.iter().take(2).filter(|byte| byte.is_ascii_hexdigit()).count() == 2)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::input::Scope;

    fn of_query(raw: &str) -> Result<Option<String>, String> {
        let scope = Parameters::from_query(raw).parsed::<Scope>("a");
        scope.map(|scope| scope.map(|scope| scope.as_str().to_owned())).map_err(|error| error.to_string())
    }

    fn error_text(body: &[u8]) -> String {
        Parameters::from_form(body).unwrap_err().to_string()
    }

    #[test]
    fn a_parameter_of_a_form_is_decoded() {
        let form = Parameters::from_form(b"a=x+y%3Az&%62=%c3%a9&c=&d&=e&f=%25").unwrap();
        for (name, value) in [
            ("a", Some("x y:z")),
            ("b", Some("\u{e9}")),
            ("c", None),
            ("d", None),
            ("", Some("e")),
            ("f", Some("%")),
            ("g", None),
        ] {
            assert_eq!(form.get(name), value, "{name}");
        }
    }

    #[test]
    fn targets_may_be_given_several_times() {
        let form = Parameters::from_form(b"resource=a&audience=b&resource=&x=1&%72esource=a").unwrap();
        let expected = [("resource", "a"), ("audience", "b"), ("x", "1"), ("resource", "a")];
        assert!(form.iter().eq(expected));
    }

    #[test]
    fn a_form_that_is_not_valid_is_refused() {
        for malformed in ["a=%", "a=%2", "a=%2g", "%zz=a", "a=%%20", "a=1&b=%e"] {
            assert_eq!(
                error_text(malformed.as_bytes()),
                "body must have two hexadecimal digits after each percent sign"
            );
        }
        for malformed in [&b"a=%ff"[..], b"a=%c3&b=%a9", b"a=%ed%a0%80", b"\xff=a", b"a=%c3+%a9"] {
            assert_eq!(error_text(malformed), "body is not valid UTF-8");
        }
        for twice in ["a=x&a=x", "a=x&b=y&%61=z", "a=&a=x", "a&a", "secret=1&secret=1", "=x&=y", "Resource&Resource"] {
            assert_eq!(error_text(twice.as_bytes()), "body must not have a parameter twice");
        }
    }

    #[test]
    fn a_parameter_of_a_query_is_decoded_and_given_once() {
        for (raw, value) in
            [("", None), ("b=1&A=2", None), ("a=x", Some("x")), ("b&a=x%3Ay", Some("x:y")), ("%61=x&&=", Some("x"))]
        {
            assert_eq!(of_query(raw), Ok(value.map(str::to_owned)), "{raw}");
        }
        for twice in ["a=x&a=x", "a=x&b&%61=y", "a&a=x"] {
            assert_eq!(of_query(twice), Err("a must be given once".to_owned()), "{twice}");
        }
        for malformed in ["a", "a=", "a=x+y", "a=%ff", "a=%00"] {
            assert!(of_query(malformed).unwrap_err().starts_with("a must be 1 to 256"), "{malformed}");
        }
    }

    #[test]
    fn a_half_of_basic_credentials_is_decoded_or_plain() {
        for (encoded, decoded) in [
            ("tmk_a-b", Some("tmk_a-b")),
            ("tmk%5Fa%2db", Some("tmk_a-b")),
            ("", Some("")),
            ("a+b", Some("a b")),
            ("%", None),
            ("%ff", None),
        ] {
            assert_eq!(form_decoded(encoded).as_deref(), decoded, "{encoded}");
        }
    }

    proptest! {
        #[test]
        fn every_form_is_read_back(parameters in vec((".{0,10}", ".{0,10}"), 0..10)) {
            let mut names = BTreeSet::new();
            let distinct = parameters.iter().all(|(name, _)| names.insert(name.clone()));
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&parameters).finish();
            match Parameters::from_form(body.as_bytes()) {
                Ok(form) => {
                    prop_assert!(distinct);
                    for (name, value) in &parameters {
                        prop_assert_eq!(form.get(name).unwrap_or_default(), value);
                    }
                }
                Err(_) => prop_assert!(!distinct),
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text in "[&=+%a-f0-9é]{0,40}") {
            let _ = (Parameters::from_form(&bytes), Parameters::from_form(text.as_bytes()));
            let _ = (form_decoded(&text), of_query(&text));
        }

        #[test]
        fn an_error_never_repeats_a_value(value in "[a-z]{12}") {
            for body in [format!("{value}=1&{value}=2"), format!("a={value}%"), format!("a={value}%ff")] {
                prop_assert!(!error_text(body.as_bytes()).contains(&value));
            }
        }
    }
}
