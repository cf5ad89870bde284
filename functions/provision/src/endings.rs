//! How what owns others ends: all that it issued, or itself.

use serde_json::{Value, json};
use shared::{
    error::{InternalError, InvocationError},
    store::{Entity, Generation, Update},
};

use crate::{
    provision::Provision,
    target::{Owner, Target},
};

impl Provision {
    /// Ends everything that an owner has issued, and what it is issuing on what was read before.
    pub(crate) async fn revoke_tokens(&self, owner: &Owner) -> Result<Value, InvocationError> {
        let missing = InvocationError::NotFound(owner.field());
        let Some(generation) = self.generation(owner).await? else { return Err(missing) };
        let ended = match owner {
            Owner::Registration(id) => self.store.revoke_tokens(id, generation).await?,
            Owner::Application(id) => self.store.end_generation(&Entity::application(*id), generation).await?,
            Owner::Client(id) => self.store.end_generation(&Entity::client(*id), generation).await?,
        };
        match ended {
            // Whoever was faster ended everything that this caller can know of.
            Update::Applied(()) | Update::Conflict(_) => Ok(json!({owner.field(): owner.id()})),
            Update::Missing => Err(missing),
        }
    }

    async fn generation(&self, owner: &Owner) -> Result<Option<Generation>, InternalError> {
        let state = match owner {
            Owner::Registration(id) => self.store.load_registration(id).await?.map(|registration| registration.state),
            Owner::Application(id) => self.store.load_application(*id).await?.map(|application| application.state),
            Owner::Client(id) => self.store.load_client(*id).await?.map(|client| client.state),
        };
        Ok(state.map(|state| state.generation))
    }

    pub(crate) async fn delete(&self, target: &Target) -> Result<Value, InvocationError> {
        let entity = match target {
            Target::Organization(id) => {
                self.delete_organization(*id).await?;
                return Ok(json!({"id": id}));
            }
            Target::ApiKey(id) => Entity::api_key(*id),
            Target::Registration(id) => Entity::registration(id),
            Target::Application(id) => Entity::application(*id),
            Target::Client(id) => Entity::client(*id),
        };
        match self.store.delete_entity(&entity, self.clock.now()).await? {
            Update::Applied(()) => Ok(json!({"id": target.id()})),
            Update::Conflict(()) | Update::Missing => Err(InvocationError::NotFound("id")),
        }
    }
}
