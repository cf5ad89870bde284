//! Ids that are UUIDs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    encoding::{sha256, truncated},
    error::{Constraint, InternalError},
    random::Random,
};

/// Reads and writes an id that is a UUID in its hyphenated form. It writes lowercase, and reads what `$accepts`.
macro_rules! uuid_text {
    ($id:ident, $accepts:expr, $rule:literal) => {
        impl FromStr for $id {
            type Err = Constraint;

            fn from_str(text: &str) -> Result<Self, Constraint> {
                let accepts: fn(&str) -> bool = $accepts;
                let hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
                let id = Uuid::try_parse(text).ok().filter(|_| hyphenated && accepts(text));
                id.map(Self).ok_or(Constraint::new($rule))
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl TryFrom<String> for $id {
            type Error = Constraint;

            fn try_from(text: String) -> Result<Self, Constraint> {
                text.parse()
            }
        }

        impl From<$id> for String {
            fn from(id: $id) -> Self {
                id.to_string()
            }
        }
    };
}

uuid_text!(TokenId, |_| true, "must be a UUID");
uuid_text!(TokenSlot, |_| true, "must be a UUID");
// Clients compare their id to the letter, so only the form that tokens carry is accepted.
uuid_text!(ClientId, |text| !text.contains(|c: char| c.is_ascii_uppercase()), "must be a UUID in lower case");

/// The `jti` of a JWT (RFC 7519, 4.1.7): a random UUID (RFC 9562, 5.4) that is made when the token is issued and never
/// used again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(Uuid);

impl TokenId {
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        random.uuid().map(Self)
    }
}

/// The key of a token in its registration's map: the token's own id, or a UUID derived from an idempotency key (RFC
/// 9562, 5.8). A derived slot holds one token after another, so a slot does not identify a token; the `jti` does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenSlot(Uuid);

impl TokenSlot {
    /// The slot of a name: 122 bits of its SHA-256 as a UUID of version 8. A random [`TokenId`] has version 4.
    #[must_use]
    pub fn derived(name: &[u8]) -> Self {
        let bytes = truncated(&sha256(name));
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl From<TokenId> for TokenSlot {
    fn from(TokenId(id): TokenId) -> Self {
        Self(id)
    }
}

impl From<TokenSlot> for TokenId {
    /// The id of the token that is kept under its own id. Of a derived slot it is not the id of any token.
    fn from(TokenSlot(slot): TokenSlot) -> Self {
        Self(slot)
    }
}

/// The id of a client (RFC 6749, 2.2).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(Uuid);

impl ClientId {
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        random.uuid().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn client_ids_are_hyphenated_uuids_in_lower_case() {
        let id: ClientId = "aaaaaaaa-1111-1111-1111-111111111111".parse().unwrap();
        assert_eq!(id.to_string(), "aaaaaaaa-1111-1111-1111-111111111111");
        let id: TokenId = "AAAAAAAA-1111-1111-1111-111111111111".parse().unwrap();
        assert_eq!(id.to_string(), "aaaaaaaa-1111-1111-1111-111111111111");
        for wrong in [
            "",
            "Aaaaaaaa-1111-1111-1111-111111111111",
            "11111111111111111111111111111111",
            "{11111111-1111-1111-1111-111111111111}",
            "urn:uuid:11111111-1111-1111-1111-111111111111",
            "g1111111-1111-1111-1111-111111111111",
        ] {
            assert!(wrong.parse::<ClientId>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<ClientId>();
        }
    }
}
