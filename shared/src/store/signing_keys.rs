//! The signing keys of envelope signing: the data key pair that signs, whose private key KMS encrypted, and the public
//! keys of those that signed before.

use std::fmt;

use chrono::{DateTime, Utc, serde::ts_milliseconds};
use serde::{Deserialize, Serialize};

use super::{GrantSettings, Registration, Store, Update, WriteId, item::Item, key::Key, write::put};
use crate::{
    error::InternalError,
    id::{KeyId, KmsKey},
};

/// How long a key stays after the last token that it may have signed is over, in seconds. By its own clock a process
/// signs with a key that was replaced for a minute at most; a day allows for clocks that are wrong.
const GRACE_SECONDS: i64 = 86_400;
/// How many of the latest writes are remembered, so that one whose answer was lost finds itself among them.
const MAX_WRITES: usize = 20;

/// The item `SIGNING_KEYS#`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeys {
    /// The key that signs.
    #[serde(flatten)]
    pub current: DataKeyPair,
    /// The key that is published so that verifiers know it before it signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextKey>,
    /// The keys that signed before, newest first.
    pub previous: Vec<PreviousKey>,
    /// The latest writes, newest first. A write requires the newest to be the one that it was decided on.
    writes: Vec<WriteId>,
}

/// A key that is published and does not sign yet.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NextKey {
    #[serde(flatten)]
    pub pair: DataKeyPair,
    /// Since when it is published.
    #[serde(with = "ts_milliseconds")]
    pub published_at: DateTime<Utc>,
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

/// A change of the signing keys.
#[derive(Clone, Debug)]
pub enum KeyChange {
    /// Publish this key.
    Prepare(DataKeyPair),
    /// Let the next key sign.
    Activate,
    /// Publish this key and let it sign at once.
    Replace(DataKeyPair),
}

impl SigningKeys {
    /// The keys after a change. A key that signed before is kept for as long as a token that it signed may live, of
    /// which those of `create-token` live for `max_token_ttl_seconds` at most. `withdraw` drops all that do not sign
    /// now. `None` if there is no key to activate.
    #[must_use]
    pub fn changed(
        existing: Option<Self>,
        change: KeyChange,
        now: DateTime<Utc>,
        max_token_ttl_seconds: u32,
        withdraw: bool,
    ) -> Option<Self> {
        let Some(mut keys) = existing else {
            let (KeyChange::Prepare(pair) | KeyChange::Replace(pair)) = change else { return None };
            return Some(Self { current: pair, next: None, previous: Vec::new(), writes: Vec::new() });
        };
        let current = match change {
            KeyChange::Prepare(pair) => {
                keys.next = Some(NextKey { pair, published_at: now });
                None
            }
            KeyChange::Activate => Some(keys.next.take()?.pair),
            KeyChange::Replace(pair) => Some(pair),
        };
        if let Some(current) = current {
            let DataKeyPair { kid, public_key, .. } = std::mem::replace(&mut keys.current, current);
            keys.previous.insert(0, PreviousKey { kid, public_key, replaced_at: now.timestamp() });
        }
        let longest = max_token_ttl_seconds
            .max(*Registration::CLIENT_CREDENTIALS_TTL_SECONDS.end())
            .max(*GrantSettings::ACCESS_TOKEN_TTL_SECONDS.end());
        let kept = GRACE_SECONDS + i64::from(longest);
        keys.previous.retain(|key| now.timestamp() < key.replaced_at.saturating_add(kept));
        if withdraw {
            keys.next = None;
            keys.previous.clear();
        }
        Some(keys)
    }

    /// Drops the keys that were replaced first until there are at most `max`, or none is left to drop. Their tokens are
    /// refused from then on.
    pub fn drop_oldest(&mut self, max: usize) {
        self.previous.truncate(max.saturating_sub(self.count() - self.previous.len()));
    }

    /// How many keys are published.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + usize::from(self.next.is_some()) + self.previous.len()
    }

    /// The ids and public keys: the current one first, then the next one.
    pub(crate) fn public_keys(&self) -> impl Iterator<Item = (&KeyId, &str)> {
        let pairs = [Some(&self.current), self.next.as_ref().map(|next| &next.pair)].into_iter().flatten();
        let pairs = pairs.map(|pair| (&pair.kid, pair.public_key.as_str()));
        pairs.chain(self.previous.iter().map(|key| (&key.kid, key.public_key.as_str())))
    }
}

impl Store {
    /// The signing keys. `None` before the first one was generated.
    pub async fn load_signing_keys(&self) -> Result<Option<SigningKeys>, InternalError> {
        self.get(Key::signing_keys(), "load the signing keys").await
    }

    /// Writes the signing keys, if the table still has those that they were decided on. A conflict means that another
    /// rotation won the race.
    pub async fn record_signing_keys(
        &self,
        keys: SigningKeys,
        decided_on: Option<&SigningKeys>,
    ) -> Result<Update<(), SigningKeys>, InternalError> {
        const CONTEXT: &str = "record the signing key";
        let write = self.write_id()?;
        let earlier = keys.writes.into_iter().take(MAX_WRITES - 1);
        let keys = SigningKeys { writes: [write.clone()].into_iter().chain(earlier).collect(), ..keys };
        let mut item: Item = serde_dynamo::to_item(keys).map_err(|error| InternalError::new(CONTEXT, error))?;
        item.extend(Item::from(Key::signing_keys()));
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let call = match decided_on.and_then(|keys| keys.writes.first()) {
            None => call.condition_expression("attribute_not_exists(pk)"),
            Some(write) => call
                .condition_expression("#writes[0] = :seen")
                .expression_attribute_names("#writes", "writes")
                .expression_attribute_values(":seen", write.into()),
        };
        // Other rotations may have followed an earlier attempt.
        put(call, CONTEXT, |_, found: &SigningKeys| found.writes.contains(&write)).await
    }
}
