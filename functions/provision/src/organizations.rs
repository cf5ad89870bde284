//! Organizations: how they are created, suspended, resumed and deleted, and how something is created in one.

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    credential::CredentialHash,
    error::{InternalError, InvocationError, ValidationError},
    id::{ObjectId, Slug},
    store::{Creation, CreationWrite, Entity, Organization, OrganizationChange, ReadOrganization, Suspension, Update},
};

use crate::provision::{Provision, created};

/// How many entities are changed or looked up at once.
const BATCH: usize = 25;

impl Provision {
    pub(crate) async fn create_organization(&self, slug: Slug, name: Option<String>) -> Result<Value, InvocationError> {
        let id = Organization::id(&slug);
        created("slug", &self.store.create_organization(slug, name, self.clock.now()).await?)?;
        Ok(json!({"organizationId": id}))
    }

    pub(crate) async fn update_organization(
        &self,
        id: ObjectId,
        name: Option<String>,
    ) -> Result<Value, InvocationError> {
        let change = OrganizationChange { name, suspension: None };
        let mut organization = self.load_organization(id).await?;
        let mut retry = self.store.patient_retry("update the organization");
        loop {
            match self.store.update_organization(id, &change, &organization).await? {
                Update::Applied(()) => return Ok(json!({"organizationId": id})),
                Update::Conflict(current) => organization = current,
                Update::Missing => return Err(InvocationError::NotFound("organizationId")),
            }
            retry.pause().await?;
        }
    }

    /// Creates an entity of an organization that is neither suspended nor deleted. `item` makes it for the suspension
    /// of the organization.
    ///
    /// # Errors
    /// That the organization does not exist or is suspended, that the id or slug in `field` is taken, or a failure.
    pub(crate) async fn create_in<T: Serialize>(
        &self,
        organization_id: ObjectId,
        entity: &Entity,
        field: &'static str,
        item: impl Fn(Suspension) -> T,
        secret: Option<&CredentialHash>,
    ) -> Result<(), InvocationError> {
        let write = CreationWrite { id: self.store.write_id()?, at: self.clock.now() };
        let mut retry = self.store.patient_retry("create the entity");
        loop {
            let organization = self.load_usable_organization(organization_id).await?;
            let item = item(organization.suspension);
            let organization = ReadOrganization { id: organization_id, organization: &organization };
            match self.store.create_entity(organization, entity, &item, secret, &write).await? {
                Creation::Created => return Ok(()),
                Creation::Taken => return Err(InvocationError::Taken(field)),
                Creation::Contended => retry.pause().await?,
            }
        }
    }

    /// Suspends an organization, or resumes it: marks it first, so that nothing is created in it any more, and then
    /// brings everything that it has to the same state. Returns how many of them this call changed.
    pub(crate) async fn set_suspended(&self, id: ObjectId, suspended: bool) -> Result<usize, InvocationError> {
        let suspension = self.mark_suspended(id, suspended).await?;
        let now = self.clock.now();
        let members = self.store.load_members(id, Some(suspension)).await?;
        let (mut changed, mut failure) = (0, None);
        for batch in members.chunks(BATCH) {
            for done in
                join_all(batch.iter().map(|member| self.store.suspend_member(id, member, suspension, now))).await
            {
                match done {
                    Ok(is_changed) => changed += usize::from(is_changed),
                    Err(error) => failure = Some(error),
                }
            }
        }
        // Every one was tried. A repeat has only those to do that failed.
        failure.map_or(Ok(changed), |error| Err(error.into()))
    }

    async fn mark_suspended(&self, id: ObjectId, suspended: bool) -> Result<Suspension, InvocationError> {
        let mut organization = self.load_organization(id).await?;
        let mut retry = self.store.patient_retry("suspend or resume the organization");
        loop {
            if organization.suspension.is_suspended() == suspended {
                return Ok(organization.suspension);
            }
            let next = organization.suspension.next();
            let change = OrganizationChange { name: None, suspension: Some(next) };
            match self.store.update_organization(id, &change, &organization).await? {
                Update::Applied(()) => return Ok(next),
                Update::Conflict(current) => organization = current,
                Update::Missing => return Err(InvocationError::NotFound("organizationId")),
            }
            retry.pause().await?;
        }
    }

    /// Deletes an organization that has nothing any more.
    pub(crate) async fn delete_organization(&self, id: ObjectId) -> Result<(), InvocationError> {
        let now = self.clock.now();
        let mut retry = self.store.patient_retry("delete the organization");
        loop {
            let missing = InvocationError::NotFound("id");
            let Some(organization) = self.store.load_organization(id).await? else { return Err(missing) };
            let read = ReadOrganization { id, organization: &organization };
            if !matches!(self.store.settle_creations(read).await?, Update::Applied(())) {
                retry.pause().await?;
                continue;
            }
            if self.has_anything(id).await? {
                let rule = "must be an organization whose API keys are revoked or expired, and whose registrations, \
                            applications and clients are deleted";
                return Err(ValidationError::new("id", rule).into());
            }
            match self.store.delete_organization(read, now).await? {
                Update::Applied(()) => return Ok(()),
                // Something was created meanwhile.
                Update::Conflict(()) => {}
                Update::Missing => return Err(missing),
            }
            retry.pause().await?;
        }
    }

    /// Whether something of the organization is neither revoked, expired nor deleted. Deletes the members of what is,
    /// so that the next call has less to do.
    async fn has_anything(&self, id: ObjectId) -> Result<bool, InternalError> {
        let now = self.clock.now();
        for batch in self.store.load_members(id, None).await?.chunks(BATCH) {
            for is_over in join_all(batch.iter().map(|member| self.store.forget_if_over(id, member, now))).await {
                if !is_over? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    pub(crate) async fn load_organization(&self, id: ObjectId) -> Result<Organization, InvocationError> {
        self.store.load_organization(id).await?.ok_or(InvocationError::NotFound("organizationId"))
    }

    /// The organization, if something may be created in it.
    pub(crate) async fn load_usable_organization(&self, id: ObjectId) -> Result<Organization, InvocationError> {
        let organization = self.load_organization(id).await?;
        if organization.suspension.is_suspended() {
            return Err(ValidationError::new("organizationId", "must not be that of a suspended organization").into());
        }
        Ok(organization)
    }
}
