//! API keys: creation, and rotation with an overlap.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::{
    credential::{Credential, CredentialKind},
    error::InvocationError,
    id::ObjectId,
    store::{ApiKey, Creation, CreationWrite, Entity, Organization, ReadOrganization, ReplacedKey, Suspension, Update},
};

use crate::{
    action::NewApiKey,
    provision::{Provision, created},
};

impl Provision {
    pub(crate) async fn create_api_key(&self, new: NewApiKey) -> Result<Value, InvocationError> {
        let NewApiKey { organization_id, permissions, description, expires_at } = new;
        let secret = Credential::generate(CredentialKind::ApiKey, self.random.as_ref())?;
        let item = |suspension| ApiKey {
            hash: secret.hash(),
            organization_id,
            permissions: permissions.clone(),
            description: description.clone(),
            expires_at,
            suspension,
            revoked_at: None,
        };
        if let Some(organization) = organization_id {
            self.create_in(organization, &Entity::api_key(secret.id()), "apiKey", item, None).await?;
        } else {
            let api_key = item(Suspension::default());
            created("apiKey", &self.store.create_api_key(secret.id(), &api_key, self.clock.now()).await?)?;
        }
        Ok(answer(&secret))
    }

    /// Makes a new key like this one, which expires after the overlap. Each call makes another.
    pub(crate) async fn rotate_api_key(&self, id: ObjectId, overlap_seconds: u32) -> Result<Value, InvocationError> {
        let now = self.clock.now();
        let end = (now + TimeDelta::seconds(overlap_seconds.into())).trunc_subsecs(3);
        let secret = Credential::generate(CredentialKind::ApiKey, self.random.as_ref())?;
        let write = CreationWrite { id: self.store.write_id()?, at: now };
        let mut retry = self.store.patient_retry("rotate the API key");
        loop {
            let (replaced, organization) = match self.load_replaced(id, now).await {
                // An earlier attempt whose answer was lost may have replaced it.
                Err(_) if self.store.load_api_key(secret.id()).await?.is_some() => return Ok(answer(&secret)),
                loaded => loaded?,
            };
            let api_key = ApiKey {
                hash: secret.hash(),
                organization_id: replaced.organization_id,
                permissions: replaced.permissions.clone(),
                description: replaced.description.clone(),
                expires_at: None,
                suspension: organization
                    .as_ref()
                    .map_or(replaced.suspension, |(_, organization)| organization.suspension),
                revoked_at: None,
            };
            let expires_at = replaced.expires_at.map_or(end, |at| at.min(end));
            let replaced = ReplacedKey { id, api_key: &replaced, expires_at };
            let organization = organization.as_ref();
            let organization = organization.map(|(id, organization)| ReadOrganization { id: *id, organization });
            match self.store.replace_api_key(organization, secret.id(), &api_key, replaced, &write).await? {
                Creation::Created => return Ok(answer(&secret)),
                Creation::Taken => return Err(InvocationError::Taken("apiKey")),
                Creation::Contended => retry.pause().await?,
            }
        }
    }

    pub(crate) async fn revoke_api_key(&self, id: ObjectId) -> Result<Value, InvocationError> {
        match self.store.revoke_api_key(id, self.clock.now()).await? {
            Update::Applied(()) => Ok(json!({"apiKeyId": id})),
            Update::Conflict(()) | Update::Missing => Err(InvocationError::NotFoundOrRevoked("apiKeyId")),
        }
    }

    /// A key that is not over, and its organization, if it has one and something may be created in it.
    async fn load_replaced(
        &self,
        id: ObjectId,
        now: DateTime<Utc>,
    ) -> Result<(ApiKey, Option<(ObjectId, Organization)>), InvocationError> {
        let api_key = self.store.load_api_key(id).await?.filter(|api_key| !api_key.is_over(now));
        let api_key = api_key.ok_or(InvocationError::NotFoundOrOver("apiKeyId"))?;
        let organization = match api_key.organization_id {
            Some(organization) => Some((organization, self.load_usable_organization(organization).await?)),
            None => None,
        };
        Ok((api_key, organization))
    }
}

/// The key is shown only in this answer.
fn answer(secret: &Credential) -> Value {
    json!({"apiKeyId": secret.id(), "apiKey": secret.expose()})
}
