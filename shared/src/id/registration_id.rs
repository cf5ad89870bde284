//! The ids of registrations.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::ObjectId;
use crate::error::Constraint;

/// The id of an OAuth registration: `^[A-Za-z0-9_-]{1,64}$`. New ones are [`ObjectId`]s; the documented form is wider.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String")]
pub struct RegistrationId(String);

impl RegistrationId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegistrationId {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
        Constraint::check(text, 1..=64, allowed, "must match ^[A-Za-z0-9_-]{1,64}$")?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for RegistrationId {
    type Error = Constraint;

    fn try_from(text: String) -> Result<Self, Constraint> {
        text.parse()
    }
}

impl From<ObjectId> for RegistrationId {
    fn from(id: ObjectId) -> Self {
        Self(id.to_string())
    }
}

impl fmt::Display for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn registration_ids_have_the_documented_form() {
        for right in ["abc123def456", "_", "-", &"x".repeat(64)] {
            assert!(right.parse::<RegistrationId>().is_ok(), "{right}");
        }
        for wrong in ["", &"x".repeat(65), "a b", "a.b", "é"] {
            assert!(wrong.parse::<RegistrationId>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<RegistrationId>();
        }
    }
}
