//! Registrations: creation, and changes of their settings.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::{
    error::{InvocationError, ValidationError},
    id::{ObjectId, RegistrationId},
    store::{EarlierContents, Entity, MAX_EARLIER_CONTENTS, OwnerState, Registration, RegistrationChange, Update},
};

use crate::{
    provision::Provision,
    secret::{self, NewSecret},
};

/// How far the clock of a function that repeats a token may be behind.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

impl Provision {
    pub(crate) async fn create_registration(
        &self,
        id: Option<RegistrationId>,
        mut registration: Registration,
        secret: Option<&NewSecret>,
    ) -> Result<Value, InvocationError> {
        let random = self.random.as_ref();
        let id = id.map_or_else(|| ObjectId::random(random).map(RegistrationId::from), Ok)?;
        let (hash, shown) = secret.map(|secret| secret.make(random)).transpose()?.unzip();
        registration.confidential = hash.is_some();
        let item = |suspension| Registration { state: OwnerState::new(suspension), ..registration.clone() };
        let entity = Entity::registration(&id);
        self.create_in(registration.organization_id, &entity, "registrationId", item, hash.as_ref()).await?;
        Ok(secret::answer("registrationId", &id, shown.flatten().as_ref()))
    }

    /// Changes a registration. Its tokens keep what they were issued with, so earlier scopes and claims are stored for
    /// as long as a token that can be repeated has them.
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

/// Decides what to write. The current scopes and claims are always kept as earlier ones, because a token may be issued
/// with them until this is written. Those before them are kept if an active token refers to them.
pub(crate) fn decide(
    asked: &RegistrationChange,
    registration: &Registration,
    now: DateTime<Utc>,
) -> Result<RegistrationChange, ValidationError> {
    let scopes = asked.scopes.clone().filter(|scopes| *scopes != registration.scopes);
    let claims = asked.claims.clone().filter(|claims| *claims != registration.claims);
    let change = RegistrationChange { scopes, claims, ..asked.clone() };
    if change.scopes.is_none() && change.claims.is_none() {
        return Ok(change);
    }
    let referred_to = |revision| {
        // The function does not know which signing keys were withdrawn. A token of one can only keep them longer.
        let mut active = registration.tokens.values().filter(|token| now - CLOCK_SKEW < token.expires_at);
        active.any(|token| token.idempotency.as_ref().is_some_and(|record| record.contents_revision == revision))
    };
    let kept = registration.earlier_contents.iter().filter(|earlier| referred_to(earlier.revision));
    let Registration { contents_revision: revision, scopes, claims, .. } = registration;
    let replaced = EarlierContents { revision: *revision, scopes: scopes.clone(), claims: claims.clone() };
    let earlier: Vec<_> = kept.cloned().chain([replaced]).collect();
    if earlier.len() > MAX_EARLIER_CONTENTS {
        let field = if change.scopes.is_some() { "scopes" } else { "claims" };
        let rule = format!(
            "cannot be changed now: active tokens were issued with {MAX_EARLIER_CONTENTS} earlier lists of scopes or \
             claims; revoke them or wait until they expire"
        );
        return Err(ValidationError::new(field, rule));
    }
    Ok(RegistrationChange {
        contents_revision: Some(revision.saturating_add(1)),
        earlier_contents: Some(earlier),
        ..change
    })
}
