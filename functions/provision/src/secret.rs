//! The secrets of confidential clients: random ones, and those that operators bring along.

use std::{collections::HashSet, str::FromStr};

use shared::{
    credential::{Credential, CredentialHash, CredentialKind},
    error::{Constraint, InternalError},
    random::Random,
};

/// Where a new secret comes from.
#[derive(Debug)]
pub(crate) enum NewSecret {
    /// It is random, and shown in the answer.
    Random,
    /// The operator has it already, for example from another service, so the answer does not show it.
    BroughtAlong(ChosenSecret),
}

impl NewSecret {
    pub(crate) fn new(chosen: Option<ChosenSecret>) -> Self {
        chosen.map_or(Self::Random, Self::BroughtAlong)
    }

    /// The hash of the secret, and the secret if it is to be shown. Each call makes another random one.
    pub(crate) fn make(&self, random: &dyn Random) -> Result<(CredentialHash, Option<Credential>), InternalError> {
        match self {
            Self::Random => {
                let secret = Credential::generate(CredentialKind::ClientSecret, random)?;
                Ok((secret.hash(), Some(secret)))
            }
            Self::BroughtAlong(ChosenSecret(hash)) => Ok((hash.clone(), None)),
        }
    }
}

/// The hash of a secret that an operator chose. The form does not make it random, but refuses what is plainly not.
#[derive(Debug)]
pub(crate) struct ChosenSecret(CredentialHash);

impl ChosenSecret {
    const MIN_DISTINCT: usize = 16;
}

impl FromStr for ChosenSecret {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str =
            "must be 32 to 128 printable ASCII characters without spaces, of which at least 16 are different";
        Constraint::check(text, 32..=128, |c| c.is_ascii_graphic(), RULE)?;
        Constraint::require(text.bytes().collect::<HashSet<_>>().len() >= Self::MIN_DISTINCT, RULE)?;
        Ok(Self(CredentialHash::of(text)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_chosen_secret_has_the_form(text in "[a-p]{0,40}|[!-~]{30,130}|[ -~é]{30,34}|[a-o]{32,40}") {
            let distinct = text.chars().collect::<HashSet<_>>().len();
            let form = (32..=128).contains(&text.len()) && text.chars().all(|c| matches!(c, '!'..='~'));
            prop_assert_eq!(text.parse::<ChosenSecret>().is_ok(), form && distinct >= 16);
        }
    }
}
