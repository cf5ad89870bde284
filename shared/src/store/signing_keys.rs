//! The signing keys of envelope signing: the data key pair that signs, whose private key KMS encrypted, and the public
//! keys of those that signed before.

use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Registration, Store, Update, item::Item, key::Key, write::put};
use crate::{
    error::InternalError,
    id::{KeyId, KmsKey},
};

/// How long a process may go on signing with a key after it was replaced, in seconds. By its own clock a process does
/// so for a minute at most; a day allows for clocks that are wrong.
const SIGNING_GRACE_SECONDS: i64 = 86_400;
/// The most keys. The item is then 52 KB large. Rotating every five weeks never reaches this number.
pub const MAX_KEYS: usize = 100;

/// The item `SIGNING_KEYS#`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeys {
    /// The key that signs.
    #[serde(flatten)]
    pub current: DataKeyPair,
    /// The keys that signed before, newest first.
    pub previous: Vec<PreviousKey>,
    /// The ids of the keys that were withdrawn last, at most [`MAX_KEYS`]. A rotation whose answer was lost finds its
    /// key here and does not bring it back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<KeyId>,
}

/// A key pair that KMS generated.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DataKeyPair {
    pub kid: KeyId,
    /// SubjectPublicKeyInfo in DER (RFC 5280, 4.1), base64.
    pub public_key: String,
    /// The private key, encrypted by KMS, base64.
    pub wrapped_private_key: String,
    /// The ARN of the KMS key that encrypted it. Older items do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapping_key: Option<KmsKey>,
}

/// A key that no longer signs.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviousKey {
    pub kid: KeyId,
    /// SubjectPublicKeyInfo in DER, base64.
    pub public_key: String,
    /// When another key replaced it, in seconds since the epoch.
    pub replaced_at: i64,
}

/// Does not show the private key, although it is encrypted.
impl fmt::Debug for DataKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKeyPair").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[expect(clippy::len_without_is_empty, reason = "there is always a current key")]
impl SigningKeys {
    /// The keys after `current` replaced the existing current key. The private key of that one is dropped. The public
    /// keys are kept for as long as tokens that they verify can live, unless `withdraw` drops them now.
    #[must_use]
    pub fn rotated(existing: Option<Self>, current: DataKeyPair, now: DateTime<Utc>, withdraw: bool) -> Self {
        let Some(existing) = existing else { return Self { current, previous: Vec::new(), withdrawn: Vec::new() } };
        if withdraw {
            let withdrawn = existing.public_keys().map(|(kid, _)| kid).chain(&existing.withdrawn);
            let withdrawn = withdrawn.take(MAX_KEYS).cloned().collect();
            return Self { current, previous: Vec::new(), withdrawn };
        }
        let DataKeyPair { kid, public_key, .. } = existing.current;
        let replaced = PreviousKey { kid, public_key, replaced_at: now.timestamp() };
        let kept = SIGNING_GRACE_SECONDS + i64::from(Registration::MAX_TOKEN_TTL_SECONDS);
        let needed = |key: &PreviousKey| now.timestamp() < key.replaced_at.saturating_add(kept);
        let previous = [replaced].into_iter().chain(existing.previous.into_iter().filter(needed)).collect();
        Self { current, previous, withdrawn: existing.withdrawn }
    }

    /// How many keys verify tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        1 + self.previous.len()
    }

    /// The ids and public keys, the current one first.
    pub(crate) fn public_keys(&self) -> impl Iterator<Item = (&KeyId, &str)> {
        let current = (&self.current.kid, self.current.public_key.as_str());
        [current].into_iter().chain(self.previous.iter().map(|key| (&key.kid, key.public_key.as_str())))
    }

    /// Whether this key was ever written: it signs, signed before, or was withdrawn lately.
    fn ever_contained(&self, kid: &KeyId) -> bool {
        self.public_keys().any(|(other, _)| other == kid) || self.withdrawn.contains(kid)
    }
}

impl Store {
    /// The signing keys. `None` before the first one was generated.
    pub async fn load_signing_keys(&self) -> Result<Option<SigningKeys>, InternalError> {
        self.get(Key::signing_keys(), "load the signing keys").await
    }

    /// Replaces the signing keys whose current key is `replaces`, or writes the first ones. A conflict means that
    /// another rotation won the race.
    pub async fn record_signing_keys(
        &self,
        keys: &SigningKeys,
        replaces: Option<&KeyId>,
    ) -> Result<Update<(), SigningKeys>, InternalError> {
        const CONTEXT: &str = "record the signing key";
        let mut item: Item = serde_dynamo::to_item(keys).map_err(|error| InternalError::new(CONTEXT, error))?;
        item.extend(Item::from(Key::signing_keys()));
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let call = match replaces {
            None => call.condition_expression("attribute_not_exists(pk)"),
            Some(kid) => call
                .condition_expression("#kid = :kid")
                .expression_attribute_names("#kid", "kid")
                .expression_attribute_values(":kid", AttributeValue::S(kid.as_str().to_owned())),
        };
        // The id of the key is random, so only an earlier attempt of this write can have written it. Other rotations
        // may have followed since.
        put(call, CONTEXT, |_, found: &SigningKeys| found.ever_contained(&keys.current.kid)).await
    }
}
