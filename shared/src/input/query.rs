//! Query strings (WHATWG URL, application/x-www-form-urlencoded).

use std::str::FromStr;

use crate::error::{Constraint, ValidationError};

/// The parameters of a query string. Unknown ones are ignored.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string, without its `?`. What cannot be decoded becomes a text that no form accepts.
    #[must_use]
    pub fn read(raw: &str) -> Self {
        Self(form_urlencoded::parse(raw.as_bytes()).into_owned().collect())
    }

    /// A parameter of the form that `T` defines.
    ///
    /// # Errors
    /// When it is given twice, or `T` refuses it.
    pub fn parsed<T: FromStr<Err = Constraint>>(&self, name: &'static str) -> Result<Option<T>, ValidationError> {
        let mut values = self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(ValidationError::new(name, "must be given once")),
            (None, None) => Ok(None),
            (Some(value), None) => value.parse().map(Some).map_err(|constraint: Constraint| constraint.of(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::Scope;

    fn parsed(raw: &str) -> Result<Option<String>, String> {
        let scope = Query::read(raw).parsed::<Scope>("a");
        scope.map(|scope| scope.map(|scope| scope.as_str().to_owned())).map_err(|error| error.to_string())
    }

    #[test]
    fn a_parameter_is_decoded_and_given_once() {
        for (raw, value) in
            [("", None), ("b=1&A=2", None), ("a=x", Some("x")), ("b&a=x%3Ay", Some("x:y")), ("%61=x&&=", Some("x"))]
        {
            assert_eq!(parsed(raw), Ok(value.map(str::to_owned)), "{raw}");
        }
        for twice in ["a=x&a=x", "a=x&b&%61=y", "a&a=x"] {
            assert_eq!(parsed(twice), Err("a must be given once".to_owned()), "{twice}");
        }
        for malformed in ["a", "a=", "a=x+y", "a=%ff", "a=%00"] {
            assert!(parsed(malformed).unwrap_err().starts_with("a must be 1 to 64"), "{malformed}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(raw in "[&=+%a-f0-9é]{0,40}", any: String) {
            let _ = (parsed(&raw), parsed(&any));
        }
    }
}
