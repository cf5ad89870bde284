//! The secrets of a confidential client or registration (RFC 6749, 2.1).

use chrono::{DateTime, TimeDelta, Utc, serde::ts_milliseconds};
use serde::{Deserialize, Serialize};

use crate::credential::CredentialHash;

/// The hashes of the secrets. A public client has none.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecrets {
    #[serde(rename = "secretHash", skip_serializing_if = "Option::is_none")]
    pub current: Option<CredentialHash>,
    /// The secret before it, which is good for some time after the rotation.
    #[serde(rename = "previousSecret", skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousSecret>,
}

/// A secret that was rotated away.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviousSecret {
    pub hash: CredentialHash,
    /// The end of the overlap.
    #[serde(with = "ts_milliseconds")]
    pub ends_at: DateTime<Utc>,
}

impl ClientSecrets {
    /// Whether this is the hash of the secret, or of the one before it during the overlap.
    #[must_use]
    pub fn accepts(&self, hash: &CredentialHash, now: DateTime<Utc>) -> bool {
        let is_previous = |previous: &PreviousSecret| now < previous.ends_at && previous.hash == *hash;
        self.current.as_ref() == Some(hash) || self.previous.as_ref().is_some_and(is_previous)
    }

    /// The secrets after `to` took the place of `from`, which stays good for the overlap. The one before `from` ends.
    #[must_use]
    pub fn rotated(from: CredentialHash, to: CredentialHash, overlap_seconds: u32, now: DateTime<Utc>) -> Self {
        let overlap = TimeDelta::seconds(overlap_seconds.into());
        let ends_at = now.checked_add_signed(overlap).unwrap_or(DateTime::<Utc>::MAX_UTC);
        Self { current: Some(to), previous: Some(PreviousSecret { hash: from, ends_at }) }
    }
}
