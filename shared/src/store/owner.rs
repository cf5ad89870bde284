//! What registrations, applications and clients have in common: they issue things, and end all of them by one write to
//! their own item, which is read beside whatever they issued.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

/// How often an owner has ended everything that it had issued. App tokens and grants carry the generation that they
/// were issued in. The tokens of a registration do not: they are removed from it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Generation(u64);

/// How often an organization was suspended or resumed: odd while it is suspended. Everything that it has follows it to
/// a higher number and never to a lower one, so a late write of an earlier call changes nothing.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Suspension(u64);

/// Whether an owner's credentials, and what it issued, are accepted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerState {
    /// `false` if an operator has disabled it.
    pub enabled: bool,
    /// That of its organization.
    pub suspension: Suspension,
    pub generation: Generation,
}

impl Suspension {
    #[must_use]
    pub const fn is_suspended(self) -> bool {
        self.0 % 2 == 1
    }

    /// That of the organization after it was suspended or resumed once more.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl From<Generation> for AttributeValue {
    fn from(Generation(number): Generation) -> Self {
        Self::N(number.to_string())
    }
}

impl From<Suspension> for AttributeValue {
    fn from(Suspension(number): Suspension) -> Self {
        Self::N(number.to_string())
    }
}

impl OwnerState {
    /// The state of a new owner in an organization that is at this suspension.
    #[must_use]
    pub fn new(suspension: Suspension) -> Self {
        Self { enabled: true, suspension, generation: Generation::default() }
    }

    /// Whether it is neither disabled nor suspended.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.enabled && !self.suspension.is_suspended()
    }

    /// Whether it has ended what it issued in this generation. A later generation than its own was issued after this
    /// state was read.
    #[must_use]
    pub fn has_ended(&self, generation: Generation) -> bool {
        generation < self.generation
    }

    /// Whether what it issued in this generation is accepted.
    #[must_use]
    pub fn accepts(&self, generation: Generation) -> bool {
        self.is_usable() && !self.has_ended(generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ended_stays_so_and_what_was_disabled_comes_back() {
        let mut owner = OwnerState::new(Suspension::default());
        let old = owner.generation;
        assert!(owner.accepts(old));
        owner.enabled = false;
        assert!(!owner.accepts(old) && !owner.has_ended(old));
        owner.enabled = true;
        owner.suspension = owner.suspension.next();
        assert!(!owner.accepts(old));
        owner.suspension = owner.suspension.next();
        assert!(owner.accepts(old));
        owner.generation = Generation(1);
        assert!(!owner.accepts(old) && owner.has_ended(old) && owner.accepts(Generation(1)));
        assert!(owner.accepts(Generation(2)), "issued after the owner was read");
    }
}
