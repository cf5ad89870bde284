//! Public identifiers: none of them is a secret, and none looks like one. `credential::GrantId` is a secret and lives
//! there.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
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

    /// The id of a slug within a namespace: the first 96 bits of a SHA-256. So a slug is found without an index, and one
    /// conditional write on the id makes the slug unique.
    #[must_use]
    pub fn of_slug(namespace: &str, slug: &str) -> Self {
        Self::of_sha256(format!("{namespace}\0{slug}").as_bytes())
    }

    /// The first 96 bits of the SHA-256 of `bytes`.
    #[must_use]
    pub(crate) fn of_sha256(bytes: &[u8]) -> Self {
        Self(prefix(digest::digest(&digest::SHA256, bytes).as_ref()))
    }
}

/// The first `N` bytes of a digest, which must have that many.
pub(crate) fn prefix<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut prefix = [0; N];
    prefix.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    prefix
}

/// Two lowercase hexadecimal digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
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
        const RULE: Constraint = Constraint::new("must be 24 hexadecimal digits");
        if text.len() != 24 {
            return Err(RULE);
        }
        let mut id = [0; 12];
        for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = pair.iter().map(|digit| char::from(*digit).to_digit(16));
            let value = pair.reduce(|high, low| Some(high? * 16 + low?)).flatten();
            *byte = value.and_then(|value| u8::try_from(value).ok()).ok_or(RULE)?;
        }
        Ok(Self(id))
    }
}

impl TryFrom<String> for ObjectId {
    type Error = Constraint;

    fn try_from(text: String) -> Result<Self, Constraint> {
        text.parse()
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> Self {
        id.to_string()
    }
}

fn is_slug_character(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'-'
}

/// A readable name of an organization, or of an application within its organization: `^[a-zA-Z0-9-]{3,64}$`, but not
/// 24 hexadecimal digits, which would be an id.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Slug(String);

impl FromStr for Slug {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must match ^[a-zA-Z0-9-]{3,64}$ and not be 24 hexadecimal digits";
        if text.parse::<ObjectId>().is_ok() {
            return Err(Constraint::new(RULE));
        }
        Constraint::check(text, 3..=64, is_slug_character, RULE).map(Self)
    }
}

impl Slug {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a path names an organization or an application: by id or by slug. No slug looks like an id, so the two cannot be
/// confused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reference {
    /// 24 hexadecimal digits.
    Id(ObjectId),
    /// A slug. It may be longer than any slug that exists: up to 128 characters.
    Slug(String),
}

impl Reference {
    /// The id, if slugs belong to `namespace`. It need not exist.
    #[must_use]
    pub fn id(&self, namespace: &str) -> ObjectId {
        match self {
            Self::Id(id) => *id,
            Self::Slug(slug) => ObjectId::of_slug(namespace, slug),
        }
    }
}

impl FromStr for Reference {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must match ^(([a-fA-F0-9]{24})|([a-zA-Z0-9\\-]{3,}))$ and have at most 128 characters";
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => Constraint::check(text, 3..=128, is_slug_character, RULE).map(Self::Slug),
        }
    }
}

/// The id of an OAuth registration: `^[A-Za-z0-9_-]{1,64}$`. New ones are [`ObjectId`]s; the documented form is wider.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
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
        Constraint::check(text, 1..=64, allowed, "must match ^[A-Za-z0-9_-]{1,64}$").map(Self)
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

/// Reads and writes an id that is a UUID in its hyphenated form. It reads both cases and writes lowercase.
macro_rules! uuid_text {
    ($id:ident) => {
        impl FromStr for $id {
            type Err = Constraint;

            fn from_str(text: &str) -> Result<Self, Constraint> {
                let hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
                let id = Uuid::try_parse(text).ok().filter(|_| hyphenated);
                id.map(Self).ok_or(Constraint::new("must be a UUID"))
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

uuid_text!(TokenId);
uuid_text!(TokenSlot);
uuid_text!(ClientId);

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

/// The key of a token in its registration's map: the token's own id, or a UUID derived from an idempotency key (RFC 9562,
/// 5.8). A derived slot holds one token after another, so a slot does not identify a token; the `jti` does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenSlot(Uuid);

impl TokenSlot {
    /// The slot of a name: 122 bits of its SHA-256 as a UUID of version 8. A random [`TokenId`] has version 4.
    #[must_use]
    pub fn derived(name: &[u8]) -> Self {
        let bytes = prefix(digest::digest(&digest::SHA256, name).as_ref());
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
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(Uuid);

impl ClientId {
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        random.uuid().map(Self)
    }
}

/// The id of a signing key: of a KMS key, or of a data key pair for envelope signing. It is the `kid` of our JWTs (RFC
/// 7515, 4.1.4).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

impl KeyId {
    /// A random UUID, like the ids of KMS keys.
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        Ok(Self(random.uuid()?.to_string()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be the id of a key: 1 to 64 of A-Z a-z 0-9 -";
        Constraint::check(text, 1..=64, |c| c.is_ascii_alphanumeric() || c == b'-', RULE).map(Self)
    }
}

impl TryFrom<String> for KeyId {
    type Error = Constraint;

    fn try_from(text: String) -> Result<Self, Constraint> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.0
    }
}

/// A key in KMS, by its id or ARN. Aliases are rejected, because an alias can be pointed at another key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct KmsKey {
    reference: String,
    id: KeyId,
}

impl KmsKey {
    /// The id or ARN as it was given, for calls to KMS: it finds a key of another account only by its ARN.
    pub(crate) fn reference(&self) -> &str {
        &self.reference
    }

    /// The id alone: the `kid` of the tokens that the key signs.
    pub(crate) fn id(&self) -> &KeyId {
        &self.id
    }
}

impl FromStr for KmsKey {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be the id or ARN of a KMS key, not an alias";
        let reference = Constraint::check(text, 1..=2048, |c| c.is_ascii_graphic(), RULE)?;
        // arn:<partition>:kms:<region>:<account>:key/<id>
        let id = match text.split(':').collect::<Vec<_>>()[..] {
            [id] => Some(id),
            ["arn", _, "kms", _, _, resource] => resource.strip_prefix("key/"),
            _ => None,
        };
        let id = id.and_then(|id| id.parse().ok()).ok_or(Constraint::new(RULE))?;
        Ok(Self { reference, id })
    }
}

impl TryFrom<String> for KmsKey {
    type Error = Constraint;

    fn try_from(text: String) -> Result<Self, Constraint> {
        text.parse()
    }
}

impl From<KmsKey> for String {
    fn from(key: KmsKey) -> Self {
        key.reference
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
    fn a_slug_is_never_an_id() {
        for right in ["abc", "A-1", "-a-", &"x".repeat(64), &"f".repeat(23), &"f".repeat(25)] {
            assert!(right.parse::<Slug>().is_ok(), "{right}");
        }
        for wrong in ["", "ab", &"x".repeat(65), "a_b", "a b", "äbc", &"f".repeat(24), &"F".repeat(24)] {
            assert!(wrong.parse::<Slug>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_id_of_a_slug_depends_on_namespace_and_slug() {
        assert_eq!(ObjectId::of_slug("a", "acme"), ObjectId::of_slug("a", "acme"));
        assert_ne!(ObjectId::of_slug("a", "acme"), ObjectId::of_slug("b", "acme"));
        assert_ne!(ObjectId::of_slug("a", "acme"), ObjectId::of_slug("a", "Acme"));
    }

    #[test]
    fn a_reference_is_an_id_or_a_slug() {
        let id: ObjectId = "f".repeat(24).parse().unwrap();
        assert_eq!("F".repeat(24).parse(), Ok(Reference::Id(id)));
        for slug in ["abc", "---", &"f".repeat(25), &"x".repeat(128)] {
            assert_eq!(slug.parse(), Ok(Reference::Slug(slug.to_owned())));
        }
        for wrong in ["", "ab", "a_b", "a b", "äöü", &"x".repeat(129)] {
            assert!(wrong.parse::<Reference>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn registration_ids_have_the_documented_form() {
        for right in ["abc123def456", "_", "-", &"x".repeat(64)] {
            assert!(right.parse::<RegistrationId>().is_ok(), "{right}");
        }
        for wrong in ["", &"x".repeat(65), "a b", "a.b", "é"] {
            assert!(wrong.parse::<RegistrationId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn client_ids_are_hyphenated_uuids() {
        let id: ClientId = "AAAAAAAA-1111-1111-1111-111111111111".parse().unwrap();
        assert_eq!(id.to_string(), "aaaaaaaa-1111-1111-1111-111111111111");
        for wrong in [
            "",
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
        fn object_ids_survive_a_round_trip(bytes: [u8; 12]) {
            prop_assert_eq!(ObjectId(bytes).to_string().parse::<ObjectId>().unwrap(), ObjectId(bytes));
        }

        #[test]
        fn a_reference_has_the_documented_form(text in "[0-9a-fA-F]{22,26}|[0-9a-zA-Z-]{0,130}|[0-9a-f_/.é-]{0,30}") {
            let form = text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='z' | 'A'..='Z' | '-'));
            let hex = text.len() == 24 && text.chars().all(|c| c.is_ascii_hexdigit());
            match text.parse::<Reference>() {
                Ok(Reference::Id(id)) => prop_assert!(hex && id.to_string() == text.to_lowercase()),
                Ok(Reference::Slug(slug)) => prop_assert!(!hex && form && (3..=128).contains(&text.len()) && slug == text),
                Err(_) => prop_assert!(!form || !(3..=128).contains(&text.len())),
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<Reference>();
            let _ = text.parse::<ObjectId>();
            let _ = text.parse::<Slug>();
            let _ = text.parse::<RegistrationId>();
            let _ = text.parse::<ClientId>();
        }
    }
}
