//! Clients of the token endpoint (RFC 6749, 2).

use serde::{Deserialize, Serialize};

use super::{Store, Update, key::Key};
use crate::{error::InternalError, id::ClientId, random::Random};

/// A client, at `CLIENT#<id>`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
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
        random: &dyn Random,
    ) -> Result<Update<()>, InternalError> {
        self.create(Key::client(id), client, random, "create the client").await
    }

    /// The client with this id.
    pub async fn load_client(&self, id: ClientId) -> Result<Option<Client>, InternalError> {
        self.get(Key::client(id), "load the client").await
    }
}
