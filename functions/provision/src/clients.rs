//! Clients: their secret, and changes of their settings.

use serde_json::{Value, json};
use shared::{
    credential::{Credential, CredentialKind},
    error::{InvocationError, ValidationError},
    id::ClientId,
    store::{Client, ClientChange, Update},
};

use crate::provision::{Provision, created};

impl Provision {
    pub(crate) async fn create_client(
        &self,
        id: Option<ClientId>,
        mut client: Client,
        confidential: bool,
    ) -> Result<Value, InvocationError> {
        let (now, random) = (self.clock.now(), self.random.as_ref());
        if let Some(organization) = client.organization_id {
            self.require_organization(organization).await?;
        }
        let id = id.map_or_else(|| ClientId::random(random), Ok)?;
        let secret = confidential.then(|| Credential::generate(CredentialKind::ClientSecret, random)).transpose()?;
        client.secret_hash = secret.as_ref().map(Credential::hash);
        created("clientId", &self.store.create_client(id, &client, now).await?)?;
        Ok(answer(id, secret.as_ref()))
    }

    /// Changes a client. Its grants keep their scopes, but can be used only for services and redirect URIs that the
    /// client still has.
    pub(crate) async fn update_client(
        &self,
        id: ClientId,
        mut change: ClientChange,
        rotate_secret: bool,
    ) -> Result<Value, InvocationError> {
        let random = self.random.as_ref();
        let missing = InvocationError::NotFound("clientId");
        let Some(mut client) = self.store.load_client(id).await? else { return Err(missing) };
        let secret = rotate_secret.then(|| Credential::generate(CredentialKind::ClientSecret, random)).transpose()?;
        change.secret_hash = secret.as_ref().map(Credential::hash);
        let mut retry = self.store.patient_retry("update the client");
        loop {
            if secret.is_some() && client.secret_hash.is_none() {
                return Err(ValidationError::new("rotateSecret", "must be false: the client is public").into());
            }
            match self.store.update_client(id, &change, &client).await? {
                Update::Applied(()) => return Ok(answer(id, secret.as_ref())),
                Update::Conflict(current) => client = current,
                Update::Missing => return Err(missing),
            }
            retry.pause().await?;
        }
    }
}

/// The secret is shown only in this answer.
fn answer(id: ClientId, secret: Option<&Credential>) -> Value {
    match secret {
        None => json!({"clientId": id}),
        Some(secret) => json!({"clientId": id, "clientSecret": secret.expose()}),
    }
}
