//! What the actions share.

use std::sync::Arc;

use shared::{
    clock::Clock,
    error::InvocationError,
    id::ObjectId,
    keys::WrappingKey,
    random::Random,
    store::{Store, Update},
};

#[derive(Debug)]
pub struct Provision {
    pub(crate) store: Store,
    /// `None` if only KMS signs.
    pub(crate) wrapping_key: Option<WrappingKey>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

impl Provision {
    /// Organizations are never deleted, so the organization still exists when the next write happens.
    pub(crate) async fn require_organization(&self, id: ObjectId) -> Result<(), InvocationError> {
        self.store.load_organization(id).await?.map(|_| ()).ok_or(InvocationError::NotFound("organizationId"))
    }
}

/// An error if the id or slug in `field` is already taken. For a random id that is all but impossible.
pub(crate) fn created(field: &'static str, created: &Update<()>) -> Result<(), InvocationError> {
    match created {
        Update::Applied(()) => Ok(()),
        Update::Conflict(()) | Update::Missing => Err(InvocationError::Taken(field)),
    }
}
