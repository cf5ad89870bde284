//! The rotation of the signing key that the table has.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::{
    clock::rfc3339,
    error::{InvocationError, ValidationError},
    id::KeyId,
    input::JsonObject,
    keys::{MAX_PUBLISHED_KEYS, MaxTokenTtl},
    store::{KeyChange, NextKey, SigningKeys, Update},
};

use crate::{provision::Provision, settings::KeyLimits};

shared::named! {
    pub(crate) enum Stage {
        Prepare = "prepare",
        Activate = "activate",
    }
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RotationRequest {
    /// `None`: a new key is published and signs at once.
    stage: Option<Stage>,
    withdraw_previous: bool,
    force: bool,
}

impl RotationRequest {
    pub(crate) fn parse(event: &mut JsonObject) -> Result<Self, ValidationError> {
        let rotation = Self {
            stage: event.parsed("stage")?,
            withdraw_previous: event.boolean("withdrawPrevious")?.unwrap_or(false),
            force: event.boolean("force")?.unwrap_or(false),
        };
        if rotation.withdraw_previous && rotation.stage == Some(Stage::Prepare) {
            return Err(ValidationError::new("withdrawPrevious", "must not be true if stage is prepare"));
        }
        Ok(rotation)
    }
}

impl Provision {
    /// Publishes the next key, lets it sign, or both at once. Within a minute every function signs with the new key.
    /// The public keys before it stay published for as long as their tokens may live, unless they are withdrawn.
    pub(crate) async fn rotate_signing_key(&self, rotation: RotationRequest) -> Result<Value, InvocationError> {
        let Some(key_rotation) = &self.key_rotation else {
            let rule = "rotateSigningKey needs SIGNING_MODE envelope or transition; \
                        in kms mode, replace the key in the template";
            return Err(ValidationError::new("action", rule).into());
        };
        let mut keys = self.store.load_signing_keys().await?;
        let mut generated = None;
        let mut retry = self.store.patient_retry("record the signing key");
        loop {
            let next = keys.as_ref().and_then(|keys| keys.next.as_ref());
            let change = match (rotation.stage, next) {
                // A repetition.
                (Some(Stage::Prepare), Some(next)) => return Ok(json!({"kid": next.pair.kid})),
                (Some(Stage::Activate), _) => KeyChange::Activate,
                (stage, _) => {
                    let pair = if let Some(pair) = &generated {
                        pair
                    } else {
                        let kid = KeyId::random(self.random.as_ref())?;
                        generated.insert(key_rotation.wrapping_key.generate(kid).await?)
                    };
                    let prepares = stage == Some(Stage::Prepare);
                    if prepares { KeyChange::Prepare(pair.clone()) } else { KeyChange::Replace(pair.clone()) }
                }
            };
            let limits = key_rotation.limits;
            let (changed, kid) = decide(keys.clone(), change, rotation, limits, self.clock.now())?;
            match self.store.record_signing_keys(changed, keys.as_ref()).await? {
                Update::Applied(()) => return Ok(json!({"kid": kid})),
                Update::Conflict(winner) => keys = Some(winner),
                Update::Missing => keys = None,
            }
            retry.pause().await?;
        }
    }
}

/// The keys after the change, and the id of the key that it is about.
fn decide(
    keys: Option<SigningKeys>,
    change: KeyChange,
    RotationRequest { withdraw_previous, force, .. }: RotationRequest,
    KeyLimits { max_keys, publication, max_token_ttl: MaxTokenTtl(max_token_ttl) }: KeyLimits,
    now: DateTime<Utc>,
) -> Result<(SigningKeys, KeyId), ValidationError> {
    let not_prepared = || ValidationError::new("stage", "must not be activate: no key is prepared");
    let kid = match (&change, &keys) {
        (KeyChange::Prepare(_), None) => {
            return Err(ValidationError::new("stage", "must not be given: there is no signing key yet"));
        }
        (KeyChange::Prepare(pair) | KeyChange::Replace(pair), _) => pair.kid.clone(),
        (KeyChange::Activate, keys) => {
            let next = keys.as_ref().and_then(|keys| keys.next.as_ref());
            let NextKey { pair, published_at } = next.ok_or_else(not_prepared)?;
            let from = *published_at + publication;
            if now < from && !force {
                let from = rfc3339(from);
                let rule =
                    format!("must not be activate before {from}, when verifiers know the key, unless force is true");
                return Err(ValidationError::new("stage", rule));
            }
            pair.kid.clone()
        }
    };
    let changed = SigningKeys::changed(keys, change, now, max_token_ttl, withdraw_previous);
    let mut changed = changed.ok_or_else(not_prepared)?;
    if force {
        changed.drop_oldest(max_keys);
    }
    if changed.count() > max_keys {
        let rule = format!(
            "must be true: {MAX_PUBLISHED_KEYS} keys are published, and none of them is old enough to be removed. It \
             drops the oldest one of the table, and its tokens end"
        );
        return Err(ValidationError::new("force", rule));
    }
    Ok((changed, kid))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::{collection::vec, prelude::*, sample::select};
    use shared::store::DataKeyPair;

    use super::*;

    /// A year. The others are as they are by default.
    const LIMITS: KeyLimits =
        KeyLimits { max_keys: 9, publication: TimeDelta::seconds(7200), max_token_ttl: MaxTokenTtl(31_536_000) };

    fn pair(n: usize) -> DataKeyPair {
        let kid = format!("key-{n}").parse().unwrap();
        DataKeyPair { kid, public_key: String::new(), wrapped_private_key: String::new(), wrapping_key: None }
    }

    fn ids(keys: &SigningKeys) -> Vec<String> {
        let next = keys.next.iter().map(|next| &next.pair.kid);
        let all = [&keys.current.kid].into_iter().chain(next).chain(keys.previous.iter().map(|key| &key.kid));
        all.map(|kid| kid.as_str().to_owned()).collect()
    }

    proptest! {
        /// Whatever operators do, there are never too many keys, the key that is named signs or is the next one, and no
        /// key goes that may have signed a token which is still valid, unless that is asked for.
        #[test]
        fn a_rotation_keeps_every_needed_key_and_never_exceeds_the_limit(
            steps in vec((select(vec![Some(Stage::Prepare), Some(Stage::Activate), None]), any::<bool>(), 0..10_u8, 0..40_i64), 1..60),
        ) {
            let mut now = DateTime::UNIX_EPOCH;
            let mut keys: Option<SigningKeys> = None;
            for (n, (stage, force, withdraw, days)) in steps.into_iter().enumerate() {
                now += TimeDelta::days(days);
                let withdraw_previous = withdraw == 0 && stage != Some(Stage::Prepare);
                let rotation = RotationRequest { stage, withdraw_previous, force };
                let change = match stage {
                    Some(Stage::Prepare) => KeyChange::Prepare(pair(n)),
                    Some(Stage::Activate) => KeyChange::Activate,
                    None => KeyChange::Replace(pair(n)),
                };
                let prepared_at = keys.as_ref().and_then(|keys| keys.next.as_ref()).map(|next| next.published_at);
                let before = keys.clone();
                let decided = decide(before.clone(), change, rotation, LIMITS, now);
                let Ok((after, kid)) = decided else {
                    prop_assert!(stage == Some(Stage::Activate) || before.is_none() || !force, "only these are refused");
                    continue;
                };
                prop_assert!(after.count() <= LIMITS.max_keys);
                let names = ids(&after);
                prop_assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
                let position = usize::from(stage == Some(Stage::Prepare));
                prop_assert_eq!(&names[position], kid.as_str());
                if stage == Some(Stage::Activate) && !force {
                    prop_assert!(prepared_at.unwrap() + LIMITS.publication <= now);
                }
                if let Some(before) = before.filter(|_| !force && !withdraw_previous) {
                    let MaxTokenTtl(longest) = LIMITS.max_token_ttl;
                    let needed = |replaced_at: i64| now.timestamp() < replaced_at + i64::from(longest) + 86_400;
                    let previous = before.previous.iter().filter(|key| needed(key.replaced_at)).map(|key| &key.kid);
                    for kid in [&before.current.kid].into_iter().chain(previous) {
                        prop_assert!(names.iter().any(|name| name == kid.as_str()));
                    }
                }
                keys = Some(after);
            }
        }
    }
}
