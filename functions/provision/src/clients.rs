//! Clients: creation, and changes of their settings.

use serde_json::{Value, json};
use shared::{
    error::{InvocationError, ValidationError},
    id::ClientId,
    input::Scopes,
    store::{Client, ClientChange, Entity, OwnerState, Update},
};

use crate::{
    provision::{Provision, created},
    secret::{self, NewSecret},
};

const MISSING: InvocationError = InvocationError::NotFound("clientId");

impl Provision {
    /// Creates a client, which is confidential if it has a secret.
    pub(crate) async fn create_client(
        &self,
        id: Option<ClientId>,
        mut client: Client,
        secret: Option<&NewSecret>,
    ) -> Result<Value, InvocationError> {
        let random = self.random.as_ref();
        check_change(&ClientChange::default(), &client)?;
        let id = id.map_or_else(|| ClientId::random(random), Ok)?;
        let (hash, shown) = secret.map(|secret| secret.make(random)).transpose()?.unzip();
        client.secrets.current = hash;
        match client.organization_id {
            None => created("clientId", &self.store.create_client(id, &client, self.clock.now()).await?)?,
            Some(organization) => {
                let item = |suspension| Client { state: OwnerState::new(suspension), ..client.clone() };
                self.create_in(organization, &Entity::client(id), "clientId", item, None).await?;
            }
        }
        Ok(secret::answer("clientId", &id, shown.flatten().as_ref()))
    }

    /// Changes a client. Its grants keep their scopes and what they were exchanged with, but can be used only for
    /// services and redirect URIs that the client still has.
    pub(crate) async fn update_client(&self, id: ClientId, change: ClientChange) -> Result<Value, InvocationError> {
        let mut client = self.store.load_client(id).await?.ok_or(MISSING)?;
        let mut retry = self.store.patient_retry("update the client");
        loop {
            check_change(&change, &client)?;
            match self.store.update_client(id, &change, &client).await? {
                Update::Applied(()) => return Ok(json!({"clientId": id})),
                Update::Conflict(current) => client = current,
                Update::Missing => return Err(MISSING),
            }
            retry.pause().await?;
        }
    }
}

/// Checks the rules between settings, on the client as it would be after the change.
fn check_change(change: &ClientChange, client: &Client) -> Result<(), ValidationError> {
    let scopes = change.scopes.as_ref().unwrap_or(&client.scopes);
    let default_scopes = change.default_scopes.as_ref().or(client.default_scopes.as_ref());
    if !default_scopes.is_none_or(|default_scopes: &Scopes| default_scopes.is_subset(scopes)) {
        return Err(ValidationError::new("defaultScopes", "must be a part of the client's scopes"));
    }
    let grant_ttl = change.grant_ttl_seconds.unwrap_or(client.grants.grant_ttl_seconds);
    if change.idle_timeout_seconds.unwrap_or(client.grants.idle_timeout_seconds) > grant_ttl {
        return Err(ValidationError::new("idleTimeoutSeconds", "must be at most the client's grantTtlSeconds"));
    }
    Ok(())
}
