//! Clients of the token endpoint (RFC 6749, 2).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Item, List, Store, Update, key::Key};
use crate::{
    credential::CredentialHash,
    error::InternalError,
    id::{ClientId, ObjectId},
    random::Random,
};

/// A client, at `CLIENT#<id>`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// The organization that it belongs to, if it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<ObjectId>,
    /// The hash of its secret, if it is confidential (RFC 6749, 2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_hash: Option<CredentialHash>,
    /// Where its codes may be sent.
    pub redirect_uris: Vec<String>,
    /// The login services that it allows.
    pub services: Vec<String>,
    /// What its tokens may do.
    pub scopes: Vec<String>,
    /// For how many seconds after its rotation a refresh token may be used again, as long as its successor was not: 0 to
    /// 300.
    pub refresh_reuse_seconds: u32,
}

impl Store {
    /// Creates a client.
    pub async fn create_client(
        &self,
        id: ClientId,
        client: &Client,
        now: DateTime<Utc>,
        random: &dyn Random,
    ) -> Result<Update<()>, InternalError> {
        let list = client.organization_id.map(List::Clients);
        let listing = list.map_or_else(Item::new, |list| list.entry(&id, now));
        self.create(Key::client(id), client, listing, random, "create the client").await
    }

    /// The client with this id.
    pub async fn load_client(&self, id: ClientId) -> Result<Option<Client>, InternalError> {
        self.get(Key::client(id), "load the client").await
    }
}
