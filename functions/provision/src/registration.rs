//! Updates of registrations.

use chrono::{DateTime, TimeDelta, Utc};
use shared::{
    error::ValidationError,
    store::{EarlierScopes, MAX_EARLIER_SCOPES, Registration, RegistrationChange},
};

/// How far the clock of a function that repeats a token may be behind.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

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
        let mut active = registration.tokens.values().filter(|token| token.is_active(now - CLOCK_SKEW));
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
