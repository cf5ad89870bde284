//! Registrations: creation, and changes of their settings.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::{
    error::{InvocationError, ValidationError},
    id::{ObjectId, RegistrationId},
    store::{EarlierScopes, Entity, MAX_EARLIER_SCOPES, OwnerState, Registration, RegistrationChange, Update},
};

use crate::provision::Provision;

/// How far the clock of a function that repeats a token may be behind.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

impl Provision {
    pub(crate) async fn create_registration(
        &self,
        id: Option<RegistrationId>,
        registration: Registration,
    ) -> Result<Value, InvocationError> {
        let random = self.random.as_ref();
        let id = id.map_or_else(|| ObjectId::random(random).map(RegistrationId::from), Ok)?;
        let item = |suspension| Registration { state: OwnerState::new(suspension), ..registration.clone() };
        let entity = Entity::registration(&id);
        self.create_in(registration.organization_id, &entity, "registrationId", item).await?;
        Ok(json!({"registrationId": id}))
    }

    /// Changes a registration. Its tokens keep what they were issued with, so earlier scopes are stored for as long as
    /// a token that can be repeated has them.
    pub(crate) async fn update_registration(
        &self,
        id: &RegistrationId,
        asked: &RegistrationChange,
    ) -> Result<Value, InvocationError> {
        let now = self.clock.now();
        let missing = InvocationError::NotFound("registrationId");
        let Some(mut registration) = self.store.load_registration(id).await? else { return Err(missing) };
        let mut retry = self.store.patient_retry("update the registration");
        loop {
            let change = decide(asked, &registration, now)?;
            match self.store.update_registration(id, &change, &registration).await? {
                Update::Applied(()) => return Ok(json!({"registrationId": id})),
                Update::Conflict(current) => registration = current,
                Update::Missing => return Err(missing),
            }
            retry.pause().await?;
        }
    }
}

/// Decides what to write. The current scopes are always kept as earlier scopes, because a token may be issued with them
/// until this is written. Scopes before them are kept if an active token refers to them.
pub(crate) fn decide(
    asked: &RegistrationChange,
    registration: &Registration,
    now: DateTime<Utc>,
) -> Result<RegistrationChange, ValidationError> {
    if asked.scopes.as_ref().is_none_or(|scopes| *scopes == registration.scopes) {
        return Ok(RegistrationChange { scopes: None, ..asked.clone() });
    }
    let referred_to = |revision| {
        // The function does not know which signing keys were withdrawn. A token of one can only keep scopes longer.
        let mut active = registration.tokens.values().filter(|token| now - CLOCK_SKEW < token.expires_at);
        active.any(|token| token.idempotency.as_ref().is_some_and(|record| record.scopes_revision == revision))
    };
    let kept = registration.earlier_scopes.iter().filter(|earlier| referred_to(earlier.revision));
    let replaced = EarlierScopes { revision: registration.scopes_revision, scopes: registration.scopes.clone() };
    let earlier: Vec<_> = kept.cloned().chain([replaced]).collect();
    if earlier.len() > MAX_EARLIER_SCOPES {
        let rule = format!(
            "cannot be changed now: active tokens were issued with {MAX_EARLIER_SCOPES} earlier lists of scopes; \
             revoke them or wait until they expire"
        );
        return Err(ValidationError::new("scopes", rule));
    }
    Ok(RegistrationChange {
        scopes_revision: Some(registration.scopes_revision.saturating_add(1)),
        earlier_scopes: Some(earlier),
        ..asked.clone()
    })
}
