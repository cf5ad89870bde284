//! Identifiers. None of them is a secret, and none shares a form with one.

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
    /// A new random id.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        Ok(Self(random.bytes()?))
    }

    /// The id that belongs to a name within a scope, always the same: the first 96 bits of a SHA-256. A slug is found
    /// without an index, and the uniqueness of the id *is* the uniqueness of the slug, in one conditional write.
    #[must_use]
    pub fn of_slug(scope: &str, slug: &str) -> Self {
        Self::of_bytes(format!("{scope}\0{slug}").as_bytes())
    }

    /// The first 96 bits of the SHA-256 of `bytes`.
    #[must_use]
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, bytes);
        let mut id = [0; 12];
        id.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        Self(id)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Two lower-case hexadecimal digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectId {
    type Err = Constraint;

    /// Either case is read; lower case is written.
    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: Constraint = Constraint("must be 24 hexadecimal digits");
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

/// A readable name of an organization, or of an application within its organization: `^[a-zA-Z0-9-]{3,64}$` and not
/// 24 hexadecimal digits, which would be an id.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Slug(String);

impl FromStr for Slug {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        let form = (3..=64).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        if form && text.parse::<ObjectId>().is_err() {
            Ok(Self(text.to_owned()))
        } else {
            Err(Constraint("must match ^[a-zA-Z0-9-]{3,64}$ and not be 24 hexadecimal digits"))
        }
    }
}

impl Slug {
    /// The slug as text.
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

/// How a path names an organization or an application: by id or by slug, of at most 128 characters. Where it may be
/// either it is an id, for no slug looks like one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reference {
    /// 24 hexadecimal digits.
    Id(ObjectId),
    /// A slug, or a text that is longer than any slug there is.
    Slug(String),
}

impl Reference {
    /// The id that is meant, where slugs belong to `scope`. It need not exist.
    #[must_use]
    pub fn id(&self, scope: &str) -> ObjectId {
        match self {
            Self::Id(id) => *id,
            Self::Slug(slug) => ObjectId::of_slug(scope, slug),
        }
    }
}

impl FromStr for Reference {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        let form = (3..=128).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) if form => Ok(Self::Slug(text.to_owned())),
            Err(_) => {
                Err(Constraint("must match ^(([a-fA-F0-9]{24})|([a-zA-Z0-9\\-]{3,}))$ and have at most 128 characters"))
            }
        }
    }
}

/// The id of an OAuth registration: `^[A-Za-z0-9_-]{1,64}$`. New ones are [`ObjectId`]s; the documented form is
/// wider.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct RegistrationId(String);

impl RegistrationId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegistrationId {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        let form = (1..=64).contains(&text.len());
        if form && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(Constraint("must match ^[A-Za-z0-9_-]{1,64}$"))
        }
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

/// The `jti` of a JWT (RFC 7519, 4.1.7): a random UUID (RFC 9562, 5.4), made at issue and never again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(Uuid);

impl TokenId {
    /// A new random id.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        random.uuid().map(Self)
    }
}

impl FromStr for TokenId {
    type Err = Constraint;

    /// Either case is read; lower case is written.
    fn from_str(text: &str) -> Result<Self, Constraint> {
        hyphenated_uuid(text).map(Self).ok_or(Constraint("must be a UUID"))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl TryFrom<String> for TokenId {
    type Error = uuid::Error;

    fn try_from(text: String) -> Result<Self, uuid::Error> {
        Uuid::try_parse(&text).map(Self)
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.to_string()
    }
}

/// Where a registration keeps a token: under the token's own id, or under a UUID derived from an idempotency key (RFC
/// 9562, 5.8), which names one token after another. A slot is therefore no identity; the `jti` is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenSlot(Uuid);

impl TokenSlot {
    /// The slot that belongs to a name, always the same: 122 bits of a SHA-256, in a UUID of version 8, which no random
    /// [`TokenId`] has.
    #[must_use]
    pub fn derived(name: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, name);
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl From<TokenId> for TokenSlot {
    fn from(TokenId(id): TokenId) -> Self {
        Self(id)
    }
}

impl From<TokenSlot> for TokenId {
    /// The id of the token that is kept under its own id.
    fn from(TokenSlot(slot): TokenSlot) -> Self {
        Self(slot)
    }
}

impl fmt::Display for TokenSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl TryFrom<String> for TokenSlot {
    type Error = uuid::Error;

    fn try_from(text: String) -> Result<Self, uuid::Error> {
        Uuid::try_parse(&text).map(Self)
    }
}

impl From<TokenSlot> for String {
    fn from(slot: TokenSlot) -> Self {
        slot.to_string()
    }
}

/// The id of a client (RFC 6749, 2.2): a UUID in its hyphenated form.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(Uuid);

impl ClientId {
    /// A new random id.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        random.uuid().map(Self)
    }
}

impl FromStr for ClientId {
    type Err = Constraint;

    /// Either case is read; lower case is written.
    fn from_str(text: &str) -> Result<Self, Constraint> {
        hyphenated_uuid(text).map(Self).ok_or(Constraint("must be a UUID"))
    }
}

impl TryFrom<String> for ClientId {
    type Error = Constraint;

    fn try_from(text: String) -> Result<Self, Constraint> {
        text.parse()
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.to_string()
    }
}

fn hyphenated_uuid(text: &str) -> Option<Uuid> {
    let hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
    Uuid::try_parse(text).ok().filter(|_| hyphenated)
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The id of a key: of one in KMS, or of one that KMS made for envelope signing. As the `kid` of our JWTs (RFC 7515,
/// 4.1.4) it names the key that signed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

impl KeyId {
    /// A new random id: a UUID, as KMS gives its own keys.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        Ok(Self(random.uuid()?.to_string()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        let form = (1..=64).contains(&text.len());
        if form && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(Constraint("must be the id of a key: 1 to 64 of A-Z a-z 0-9 -"))
        }
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

/// A key in KMS, by its id or ARN. An alias is refused, since it can come to mean another key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct KmsKey {
    /// The id or ARN as it was given. KMS finds a key of another account by its ARN only.
    reference: String,
    id: KeyId,
}

impl KmsKey {
    /// The id or ARN as it was given, which is what KMS is asked for.
    pub(crate) fn reference(&self) -> &str {
        &self.reference
    }

    /// The id alone: the `kid` of what it signed.
    pub(crate) fn id(&self) -> &KeyId {
        &self.id
    }
}

impl FromStr for KmsKey {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        // arn:<partition>:kms:<region>:<account>:key/<id>
        let id = match text.split(':').collect::<Vec<_>>()[..] {
            [id] => Some(id),
            ["arn", _, "kms", _, _, resource] => resource.strip_prefix("key/"),
            _ => None,
        };
        let form = text.len() <= 2048 && text.bytes().all(|c| c.is_ascii_graphic());
        let id = id.filter(|_| form).and_then(|id| id.parse().ok());
        let id = id.ok_or(Constraint("must be the id or ARN of a KMS key, not an alias"))?;
        Ok(Self { reference: text.to_owned(), id })
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
    fn a_slugs_id_depends_on_scope_and_slug() {
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
