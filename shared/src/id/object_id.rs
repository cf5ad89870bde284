//! The ids of most entities.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    encoding::{sha256, truncated},
    error::{Constraint, InternalError},
    random::Random,
};

/// 24 hexadecimal digits (96 bits): the id of an organization, application, API key, registration or app token.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectId([u8; 12]);

impl ObjectId {
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        Ok(Self(random.bytes()?))
    }

    /// The id of a slug within a namespace: the first 96 bits of a SHA-256. So a slug is found without an index, and
    /// one conditional write on the id makes the slug unique.
    #[must_use]
    pub fn of_slug(namespace: &str, slug: &str) -> Self {
        Self::of_sha256(format!("{namespace}\0{slug}").as_bytes())
    }

    pub(crate) fn bytes(self) -> [u8; 12] {
        self.0
    }

    /// The first 96 bits of the SHA-256 of `bytes`.
    #[must_use]
    pub(crate) fn of_sha256(bytes: &[u8]) -> Self {
        Self(truncated(&sha256(bytes)))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectId {
    type Err = Constraint;

    /// Reads both cases. Ids are written in lowercase.
    fn from_str(text: &str) -> Result<Self, Constraint> {
        let mut id = [0; 12];
        let read = hex::decode_to_slice(text, &mut id);
        read.map(|()| Self(id)).map_err(|_| Constraint::new("must be 24 hexadecimal digits"))
    }
}

impl TryFrom<String> for ObjectId {
    type Error = Constraint;

    fn try_from(text: String) -> Result<Self, Constraint> {
        text.parse()
    }
}

impl From<[u8; 12]> for ObjectId {
    fn from(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn object_ids_read_both_cases_and_write_lower() {
        let id: ObjectId = "00FFabCD0123456789abcdef".parse().unwrap();
        assert_eq!(id.to_string(), "00ffabcd0123456789abcdef");
        for wrong in [
            "",
            "00ffabcd0123456789abcde",
            "00ffabcd0123456789abcdef0",
            "0gffabcd0123456789abcdef",
            "+0ffabcd0123456789abcdef",
        ] {
            assert!(wrong.parse::<ObjectId>().is_err(), "{wrong}");
        }
        assert!("é".repeat(12).parse::<ObjectId>().is_err());
    }

    #[test]
    fn the_id_of_a_slug_depends_on_namespace_and_slug() {
        assert_eq!(ObjectId::of_slug("a", "acme"), ObjectId::of_slug("a", "acme"));
        assert_ne!(ObjectId::of_slug("a", "acme"), ObjectId::of_slug("b", "acme"));
        assert_ne!(ObjectId::of_slug("a", "acme"), ObjectId::of_slug("a", "Acme"));
    }

    proptest! {
        #[test]
        fn object_ids_survive_a_round_trip(bytes: [u8; 12]) {
            prop_assert_eq!(ObjectId(bytes).to_string().parse::<ObjectId>().unwrap(), ObjectId(bytes));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<ObjectId>();
        }
    }
}
