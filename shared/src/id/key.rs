//! The ids of keys that sign, encrypt or derive.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    encoding::{base64url, sha256, truncated},
    error::{Constraint, InternalError},
    random::Random,
};

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

    #[must_use]
    pub fn fingerprint(&self) -> KeyFingerprint {
        KeyFingerprint(base64url(truncated::<6>(&sha256(&self.0))))
    }
}

/// What a registration keeps of the id of the key that signed a token: 48 bits of its SHA-256, so that the item with
/// the most tokens fits into 400 KB.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyFingerprint(String);

impl KeyFingerprint {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The keys whose tokens are accepted. A token of any other key is over, like a revoked one.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys(Vec<KeyFingerprint>);

impl TrustedKeys {
    #[must_use]
    pub fn contains(&self, key: &KeyFingerprint) -> bool {
        self.0.contains(key)
    }

    /// These keys and another one.
    #[must_use]
    pub fn with(mut self, key: KeyFingerprint) -> Self {
        self.0.push(key);
        self
    }
}

impl<'a> FromIterator<&'a KeyId> for TrustedKeys {
    fn from_iter<I: IntoIterator<Item = &'a KeyId>>(ids: I) -> Self {
        Self(ids.into_iter().map(KeyId::fingerprint).collect())
    }
}

impl FromStr for KeyId {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be the id of a key: 1 to 64 of A-Z a-z 0-9 -";
        Constraint::check(text, 1..=64, |c| c.is_ascii_alphanumeric() || c == b'-', RULE)?;
        Ok(Self(text.to_owned()))
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
        Constraint::check(text, 1..=2048, |c| c.is_ascii_graphic(), RULE)?;
        // arn:<partition>:kms:<region>:<account>:key/<id>
        let id = match text.split(':').collect::<Vec<_>>()[..] {
            [id] => Some(id),
            ["arn", _, "kms", _, _, resource] => resource.strip_prefix("key/"),
            _ => None,
        };
        let id = id.and_then(|id| id.parse().ok()).ok_or(Constraint::new(RULE))?;
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
