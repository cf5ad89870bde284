//! Clients of the token endpoint (RFC 6749, 2).

use serde::{Deserialize, Serialize};

use super::{Store, Update, key::Key};
use crate::{error::InternalError, id::ClientId, random::Random};

/// The item `CLIENT#<id>`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// The redirect URIs that its codes may be sent to.
    pub redirect_uris: Vec<String>,
    /// The login services that it allows.
    pub services: Vec<String>,
    /// The scopes that its tokens may have.
    pub scopes: Vec<String>,
    /// For how many seconds after its rotation a refresh token may be used again, unless its successor was used: 0 to
    /// 300.
    pub refresh_reuse_seconds: u32,
}

impl Store {
    /// Creates a client.
    pub async fn create_client(
        &self,
        id: ClientId,
        client: &Client,
        random: &dyn Random,
    ) -> Result<Update<()>, InternalError> {
        self.create(Key::client(id), client, random, "create the client").await
    }

    /// The client with this id.
    pub async fn load_client(&self, id: ClientId) -> Result<Option<Client>, InternalError> {
        self.get(Key::client(id), "load the client").await
    }
}
