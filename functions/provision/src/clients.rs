//! Clients: their settings and their secrets.

use serde_json::{Value, json};
use shared::{
    credential::Credential,
    error::{InvocationError, ValidationError},
    id::ClientId,
    input::Scopes,
    store::{Client, ClientChange, Entity, OwnerState, Update},
};

use crate::{
    provision::{Provision, created},
    secret::NewSecret,
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
        client.secret_hash = hash;
        match client.organization_id {
            None => created("clientId", &self.store.create_client(id, &client, self.clock.now()).await?)?,
            Some(organization) => {
                let item = |suspension| Client { state: OwnerState::new(suspension), ..client.clone() };
                self.create_in(organization, &Entity::client(id), "clientId", item).await?;
            }
        }
        Ok(answer(id, shown.flatten().as_ref()))
    }

    /// Changes a client. Its grants keep their scopes and what they were exchanged with, but can be used only for
    /// services and redirect URIs that the client still has.
    pub(crate) async fn update_client(&self, id: ClientId, change: ClientChange) -> Result<Value, InvocationError> {
        let mut client = self.store.load_client(id).await?.ok_or(MISSING)?;
        let mut retry = self.store.patient_retry("update the client");
        loop {
            check_change(&change, &client)?;
            match self.store.update_client(id, &change, &client).await? {
                Update::Applied(()) => return Ok(answer(id, None)),
                Update::Conflict(current) => client = current,
                Update::Missing => return Err(MISSING),
            }
            retry.pause().await?;
        }
    }

    /// Gives a confidential client a new secret. The one before stays good for the overlap, an older one ends at once.
    pub(crate) async fn rotate_secret(
        &self,
        id: ClientId,
        secret: &NewSecret,
        overlap_seconds: u32,
    ) -> Result<Value, InvocationError> {
        let now = self.clock.now();
        let mut client = self.store.load_client(id).await?.ok_or(MISSING)?;
        let mut retry = self.store.patient_retry("rotate the secret");
        loop {
            if client.state.suspension.is_suspended() {
                let rule = "must not be that of a client of a suspended organization";
                return Err(ValidationError::new("clientId", rule).into());
            }
            let public = || ValidationError::new("clientId", "must be that of a confidential client");
            let current = client.secret_hash.clone().ok_or_else(public)?;
            // A new one each time. An earlier attempt may have recorded its own, and others may have rotated that away
            // since: it must not come back.
            let (hash, shown) = secret.make(self.random.as_ref())?;
            // The repeat of a call whose answer was lost. Another rotation would end the secret before this one.
            if current == hash {
                return Ok(answer(id, None));
            }
            if client.previous_secret.as_ref().is_some_and(|previous| previous.hash == hash) {
                return Err(ValidationError::new("clientSecret", "must not be the one that was replaced last").into());
            }
            let change = ClientChange::rotate_secret(current, hash, overlap_seconds, now);
            match self.store.update_client(id, &change, &client).await? {
                Update::Applied(()) => return Ok(answer(id, shown.as_ref())),
                Update::Conflict(other) => client = other,
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

/// A random secret is shown only in this answer.
fn answer(id: ClientId, secret: Option<&Credential>) -> Value {
    match secret {
        None => json!({"clientId": id}),
        Some(secret) => json!({"clientId": id, "clientSecret": secret.expose()}),
    }
}
