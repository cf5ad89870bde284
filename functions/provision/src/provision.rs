//! What the actions share.

use std::sync::Arc;

use shared::{
    clock::Clock,
    error::InvocationError,
    keys::MaxTokenTtl,
    random::Random,
    store::{Store, Update},
};

use crate::settings::KeyRotationSettings;

#[derive(Debug)]
pub struct Provision {
    pub(crate) store: Store,
    /// `None` if only KMS signs.
    pub(crate) key_rotation: Option<KeyRotationSettings>,
    pub(crate) max_token_ttl: MaxTokenTtl,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

/// An error if the id or slug in `field` is already taken. For a random id that is all but impossible.
pub(crate) fn created(field: &'static str, created: &Update<()>) -> Result<(), InvocationError> {
    match created {
        Update::Applied(()) => Ok(()),
        Update::Conflict(()) | Update::Missing => Err(InvocationError::Taken(field)),
    }
}
