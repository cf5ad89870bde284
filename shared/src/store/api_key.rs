//! API keys, found by the SHA-256 of what the caller presents.

use serde::{Deserialize, Serialize};

use super::{Creation, Store, key::Key};
use crate::{credential::CredentialHash, fault::Fault, id::ObjectId, random::Random};

/// An API key, at `API_KEY#<hash>`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Its public id.
    pub api_key_id: ObjectId,
    /// The organization that it acts for.
    pub organization_id: ObjectId,
    /// What it may do.
    pub permissions: Vec<String>,
    /// What its owner calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Store {
    /// Creates an API key.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn create_api_key(
        &self,
        hash: &CredentialHash,
        api_key: &ApiKey,
        random: &dyn Random,
    ) -> Result<Creation, Fault> {
        self.create(Key::api_key(hash), api_key, random, "create the API key").await
    }

    /// The API key with this hash.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn api_key(&self, hash: &CredentialHash) -> Result<Option<ApiKey>, Fault> {
        self.get(Key::api_key(hash), "load the API key").await
    }
}
