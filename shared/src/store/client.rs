//! Clients of the token endpoint (RFC 6749, 2).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{List, Store, Update, WriteId, item::Item, key::Key};
use crate::{
    credential::CredentialHash,
    error::InternalError,
    id::{ClientId, ObjectId},
    input::{RedirectUri, Scopes, Service},
};

/// The item `CLIENT#<id>`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// The organization that it belongs to, if it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<ObjectId>,
    /// The hash of its secret, if it is confidential (RFC 6749, 2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_hash: Option<CredentialHash>,
    /// The redirect URIs that its codes may be sent to.
    pub redirect_uris: Vec<RedirectUri>,
    /// The login services that it allows.
    pub services: Vec<Service>,
    /// The scopes that its tokens may have.
    pub scopes: Scopes,
    /// For how many seconds after its rotation a refresh token may be used again, unless its successor was used: 0 to
    /// 300.
    pub refresh_reuse_seconds: u32,
    /// The latest change of these settings. A write requires the version that it was decided on, so a late one changes
    /// nothing: no secret that was rotated away comes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings_version: Option<WriteId>,
}

impl Client {
    /// Whether it has a secret (RFC 6749, 2.1).
    #[must_use]
    pub fn is_confidential(&self) -> bool {
        self.secret_hash.is_some()
    }
}

/// The settings of [`Client`] that an update writes; it leaves those that are `None` as they are.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_uris: Option<Vec<RedirectUri>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<Service>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_reuse_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_hash: Option<CredentialHash>,
}

impl Store {
    /// Creates a client.
    pub async fn create_client(
        &self,
        id: ClientId,
        client: &Client,
        now: DateTime<Utc>,
    ) -> Result<Update<()>, InternalError> {
        let list = client.organization_id.map(List::Clients);
        let listing = list.map_or_else(Item::new, |list| list.entry(&id, now));
        self.create(Key::client(id), client, listing, "create the client").await
    }

    /// The client with this id.
    pub async fn load_client(&self, id: ClientId) -> Result<Option<Client>, InternalError> {
        self.get(Key::client(id), "load the client").await
    }

    /// Changes settings of a client, if they are still those that the change was decided on.
    pub async fn update_client(
        &self,
        id: ClientId,
        change: &ClientChange,
        decided_on: &Client,
    ) -> Result<Update<(), Client>, InternalError> {
        let version = |client: &Client| client.settings_version.clone();
        self.update_settings(Key::client(id), decided_on, change, version, "update the client").await
    }
}
