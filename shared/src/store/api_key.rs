//! API keys, found by the first 96 bits of the SHA-256 of what the caller presents.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{List, Store, Update, key::Key};
use crate::{
    credential::{Credential, CredentialHash},
    error::InternalError,
    id::ObjectId,
    random::Random,
};

/// An API key, at `API_KEY#<its id>`. Revoking marks it: an item that is never deleted can never be made again.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// The hash of its secret, which starts with its id.
    pub hash: CredentialHash,
    /// The organization that it acts for.
    pub organization_id: ObjectId,
    /// What it may do.
    pub permissions: Vec<String>,
    /// What its owner calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// If it was revoked, when: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
}

impl Store {
    /// Creates an API key under the id of its secret.
    pub async fn create_api_key(
        &self,
        id: ObjectId,
        api_key: &ApiKey,
        now: DateTime<Utc>,
        random: &dyn Random,
    ) -> Result<Update<()>, InternalError> {
        let listing = List::ApiKeys(api_key.organization_id).entry(&id, now);
        self.create(Key::api_key(id), api_key, listing, random, "create the API key").await
    }

    /// The API key with this secret, unless it was revoked.
    pub async fn load_api_key(&self, secret: &Credential) -> Result<Option<ApiKey>, InternalError> {
        let api_key: Option<ApiKey> = self.get(Key::api_key(secret.id()), "load the API key").await?;
        Ok(api_key.filter(|api_key| api_key.revoked_at.is_none() && api_key.hash == secret.hash()))
    }

    /// Revokes an API key, for good. A conflict means that it was revoked before.
    pub async fn revoke_api_key(
        &self,
        id: ObjectId,
        now: DateTime<Utc>,
        random: &dyn Random,
    ) -> Result<Update<()>, InternalError> {
        self.revoke(Key::api_key(id), now, random, "revoke the API key").await
    }
}
