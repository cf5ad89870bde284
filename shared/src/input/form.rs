//! Forms (WHATWG URL, application/x-www-form-urlencoded), as OAuth 2.0 reads them (RFC 6749, appendix B).

use std::{collections::BTreeSet, fmt, str::FromStr};

use percent_encoding::percent_decode;

use crate::{
    error::{Constraint, ValidationError},
    input::json::required,
};

/// The parameters of a form. Each is given at most once (RFC 6749, 3.2), an empty one counts as absent (3.1), and unknown ones
/// are ignored.
#[derive(Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Parses a form. Encoding that is not valid is an error and not repaired.
    pub fn parse(body: &[u8]) -> Result<Self, ValidationError> {
        let malformed = |rule| Err(ValidationError::new("body", rule));
        if !has_valid_escapes(body) {
            return malformed("must have two hexadecimal digits after each percent sign");
        }
        if percent_decode(body).decode_utf8().is_err() {
            return malformed("is not valid UTF-8");
        }
        let parameters: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        let mut names = BTreeSet::new();
        if parameters.iter().all(|(name, _)| names.insert(name)) {
            Ok(Self(parameters))
        } else {
            malformed("must not have a parameter twice")
        }
    }

    /// A parameter. `None` if it is absent or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(other, _)| other == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// A parameter that the request must have.
    pub fn required(&self, name: &'static str) -> Result<&str, ValidationError> {
        required(name, self.get(name))
    }

    /// A parameter that `T` accepts.
    pub fn parsed<T: FromStr<Err = Constraint>>(&self, name: &'static str) -> Result<Option<T>, ValidationError> {
        let parse = |text: &str| text.parse().map_err(|constraint: Constraint| constraint.of(name));
        self.get(name).map(parse).transpose()
    }
}

/// Does not show the values, because they contain credentials.
impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Form(…)")
    }
}

/// The text that was form-encoded, such as the halves of `Basic` credentials (RFC 6749, 2.3.1). `None` if the encoding is not
/// valid.
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

    fn error_text(body: &[u8]) -> String {
        Form::parse(body).unwrap_err().to_string()
    }

    #[test]
    fn a_parameter_is_decoded() {
        let form = Form::parse(b"a=x+y%3Az&%62=%c3%a9&c=&d&=e&f=%25").unwrap();
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
        for twice in ["a=x&a=x", "a=x&b=y&%61=z", "a=&a=x", "a&a", "secret=1&secret=1", "=x&=y"] {
            assert_eq!(error_text(twice.as_bytes()), "body must not have a parameter twice");
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
            match Form::parse(body.as_bytes()) {
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
            let _ = (Form::parse(&bytes), Form::parse(text.as_bytes()), form_decoded(&text));
        }

        #[test]
        fn an_error_never_repeats_a_value(value in "[a-z]{12}") {
            for body in [format!("{value}=1&{value}=2"), format!("a={value}%"), format!("a={value}%ff")] {
                prop_assert!(!error_text(body.as_bytes()).contains(&value));
            }
        }
    }
}
