//! API keys. The id of a key is the first 96 bits of its SHA-256, so the key that a caller presents is found in one
//! read.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{List, Store, Suspension, Update, key::Key};
use crate::{clock::optional_rfc3339, credential::CredentialHash, error::InternalError, id::ObjectId, input::Scopes};

/// The item `API_KEY#<id>`. A revoked key is marked and never deleted, so that its id can never be used again.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// The SHA-256 of the key. It starts with the id.
    pub hash: CredentialHash,
    /// The organization that it acts for. `None` for a key that may introspect what any organization has, and nothing
    /// else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<ObjectId>,
    /// Its permissions, and names that grant nothing if the version that wrote it knew more of them.
    pub permissions: Scopes,
    /// A description for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it expires, if it does. That is for good: it is never made later.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_rfc3339")]
    pub expires_at: Option<DateTime<Utc>>,
    /// That of its organization.
    pub suspension: Suspension,
    /// When it was revoked, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
}

impl ApiKey {
    /// Whether it has expired or was revoked, which is for good.
    #[must_use]
    pub fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_some() || self.expires_at.is_some_and(|at| at <= now)
    }

    #[must_use]
    pub fn is_active(&self, now: DateTime<Utc>) -> bool {
        !self.is_over(now) && !self.suspension.is_suspended()
    }
}

impl Store {
    /// Creates an API key of no organization.
    pub async fn create_api_key(
        &self,
        id: ObjectId,
        api_key: &ApiKey,
        now: DateTime<Utc>,
    ) -> Result<Update<()>, InternalError> {
        let listing = List::ApiKeys(None).entry(&id, now);
        self.create(Key::api_key(id), api_key, listing, "create the API key").await
    }

    /// The API key with this id, revoked or not.
    pub async fn load_api_key(&self, id: ObjectId) -> Result<Option<ApiKey>, InternalError> {
        self.get(Key::api_key(id), "load the API key").await
    }

    /// Revokes an API key permanently. A conflict means that it was already revoked.
    pub async fn revoke_api_key(&self, id: ObjectId, now: DateTime<Utc>) -> Result<Update<()>, InternalError> {
        self.revoke(Key::api_key(id), now, "revoke the API key").await
    }
}
