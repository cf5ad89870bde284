//! The settings of the rotation of signing keys.

use chrono::TimeDelta;
use shared::{
    keys::{MAX_PUBLISHED_KEYS, MaxTokenTtl, SigningMode, WrappingKey, count_kms_keys, key_publication},
    runtime::{Environment, SettingsError},
};

/// What a rotation needs of the settings.
#[derive(Debug)]
pub(crate) struct KeyRotationSettings {
    pub(crate) wrapping_key: WrappingKey,
    pub(crate) limits: KeyLimits,
}

/// How many keys there may be, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyLimits {
    /// How many keys may be in the table: all that are published, without those of KMS.
    pub(crate) max_keys: usize,
    /// How long a key is published before it may sign.
    pub(crate) publication: TimeDelta,
    pub(crate) max_token_ttl: MaxTokenTtl,
}

impl KeyRotationSettings {
    /// `None` if only KMS signs.
    pub(crate) fn from_environment(environment: &Environment) -> Result<Option<Self>, SettingsError> {
        let limits = KeyLimits {
            max_keys: MAX_PUBLISHED_KEYS.saturating_sub(count_kms_keys(environment)?),
            publication: key_publication(environment)?,
            max_token_ttl: MaxTokenTtl::from_environment(environment)?,
        };
        let wrapping_key = WrappingKey::from_environment(environment, SigningMode::from_environment(environment)?)?;
        Ok(wrapping_key.map(|wrapping_key| Self { wrapping_key, limits }))
    }
}
