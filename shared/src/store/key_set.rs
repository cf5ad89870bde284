//! The keys of envelope signing: the data key pair that signs, its private key wrapped by KMS, and of those that signed
//! before only what verifies their tokens.

use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Item, Registration, Store, Update, key::Key, put};
use crate::{
    error::InternalError,
    id::{KeyId, KmsKey},
};

/// How long a process may still sign with a key that was replaced, in seconds. It is a minute by its own clock; a day
/// allows for clocks that are wrong.
const OUTLIVED_SECONDS: i64 = 86_400;
/// The most keys there can be. The item then has 52 KB. Rotating every five weeks never reaches it.
pub const MAX_KEYS: usize = 100;

/// The keys, at `SIGNING_KEYS#`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeySet {
    /// The key that signs.
    #[serde(flatten)]
    pub current: DataKeyPair,
    /// The keys that signed before, the latest first.
    pub previous: Vec<PreviousKey>,
    /// The ids of the keys that were withdrawn last, at most [`MAX_KEYS`]: a rotation whose answer was lost recognises
    /// its key here, and does not bring it back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<KeyId>,
}

/// A key pair that KMS made.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DataKeyPair {
    pub kid: KeyId,
    /// SubjectPublicKeyInfo in DER (RFC 5280, 4.1), base64.
    pub public_key: String,
    /// The private key as KMS encrypted it, base64.
    pub wrapped_private_key: String,
    /// The KMS key that it is encrypted under, by its ARN; of older items it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapping_key: Option<KmsKey>,
}

/// A key that signs no more.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviousKey {
    pub kid: KeyId,
    /// SubjectPublicKeyInfo in DER, base64.
    pub public_key: String,
    /// When another took its place, in seconds since the epoch.
    pub replaced_at: i64,
}

/// Without the private key, wrapped as it is.
impl fmt::Debug for DataKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKeyPair").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl KeySet {
    /// The ring with a new current key. Of the one before, the private key is gone; its tokens, and those of the ones
    /// before it, can be verified for as long as they can live, unless `withdraw` ends that now.
    #[must_use]
    pub fn rotated(standing: Option<Self>, current: DataKeyPair, now: DateTime<Utc>, withdraw: bool) -> Self {
        let Some(standing) = standing else { return Self { current, previous: Vec::new(), withdrawn: Vec::new() } };
        if withdraw {
            let withdrawn = standing.public_keys().map(|(kid, _)| kid).chain(&standing.withdrawn);
            let withdrawn = withdrawn.take(MAX_KEYS).cloned().collect();
            return Self { current, previous: Vec::new(), withdrawn };
        }
        let DataKeyPair { kid, public_key, .. } = standing.current;
        let replaced = PreviousKey { kid, public_key, replaced_at: now.timestamp() };
        let kept = OUTLIVED_SECONDS + i64::from(Registration::MAX_TOKEN_TTL_SECONDS);
        let needed = |key: &PreviousKey| now.timestamp() < key.replaced_at.saturating_add(kept);
        let previous = [replaced].into_iter().chain(standing.previous.into_iter().filter(needed)).collect();
        Self { current, previous, withdrawn: standing.withdrawn }
    }

    /// How many keys there are.
    #[must_use]
    pub fn keys(&self) -> usize {
        1 + self.previous.len()
    }

    /// All keys with their public halves, the current one first.
    pub(crate) fn public_keys(&self) -> impl Iterator<Item = (&KeyId, &str)> {
        let current = (&self.current.kid, self.current.public_key.as_str());
        [current].into_iter().chain(self.previous.iter().map(|key| (&key.kid, key.public_key.as_str())))
    }

    /// Whether this key was ever written: it signs, signed before, or was withdrawn lately.
    fn has_had(&self, kid: &KeyId) -> bool {
        self.public_keys().any(|(other, _)| other == kid) || self.withdrawn.contains(kid)
    }
}

impl Store {
    /// The keys; `None` before the first one was made.
    pub async fn load_key_set(&self) -> Result<Option<KeySet>, InternalError> {
        self.get(Key::signing_keys(), "load the signing keys").await
    }

    /// Writes the keys in the place of those whose current key is `replaces`, or of none. A conflict means that another
    /// rotation was faster.
    pub async fn record_key_set(
        &self,
        key_set: &KeySet,
        replaces: Option<&KeyId>,
    ) -> Result<Update<(), KeySet>, InternalError> {
        const CONTEXT: &str = "record the signing key";
        let mut item: Item = serde_dynamo::to_item(key_set).map_err(|error| InternalError::new(CONTEXT, error))?;
        item.extend(Item::from(Key::signing_keys()));
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let call = match replaces {
            None => call.condition_expression("attribute_not_exists(pk)"),
            Some(kid) => call
                .condition_expression("#kid = :kid")
                .expression_attribute_names("#kid", "kid")
                .expression_attribute_values(":kid", AttributeValue::S(kid.as_str().to_owned())),
        };
        // The key's id is random, so only an earlier attempt of this write can have put it there. Other rotations may have
        // followed since.
        put(call, CONTEXT, |_, found: &KeySet| found.has_had(&key_set.current.kid)).await
    }
}
