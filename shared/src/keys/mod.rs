//! JSON Web Tokens, and the keys that sign and verify them.

mod data_key;
pub mod jwt;
mod mac;
mod public_keys;
mod settings;
mod signer;
mod signing_keys_cache;
mod verification_key;

use std::sync::Arc;

pub use self::{
    data_key::WrappingKey,
    mac::MacKey,
    public_keys::PublicKeys,
    settings::{
        AcceptedAudiences, Issuer, Issuers, LoginUrl, MAX_PUBLISHED_KEYS, MaxTokenTtl, OidcIssuer, SigningMode,
        authorization_response_iss, count_kms_keys, key_publication,
    },
    signer::Signer,
    verification_key::VerificationKey,
};
use self::{
    public_keys::KeySource,
    settings::{previous_signing_keys, signing_key},
    signing_keys_cache::SigningKeysCache,
};
use crate::{
    clock::Clock,
    id::KmsKey,
    runtime::{Environment, SettingsError, aws},
    store::Store,
};

/// The keys of a deployment: what its signer and its public keys share, built once per process.
#[derive(Debug)]
pub struct Keys {
    mode: SigningMode,
    source: KeySource,
    signing_key: KmsKey,
    kms: aws_sdk_kms::Client,
    clock: Arc<dyn Clock>,
}

impl Keys {
    /// Reads `SIGNING_MODE` and `SIGNING_KEY_ID`.
    pub fn from_environment(environment: &Environment, store: &Store) -> Result<Self, SettingsError> {
        let clock = Arc::clone(&environment.clock);
        let cache = || Arc::new(SigningKeysCache::new(store.clone(), Arc::clone(&clock)));
        let mode = SigningMode::from_environment(environment)?;
        Ok(Self {
            mode,
            source: match mode {
                SigningMode::Kms => KeySource::Kms,
                SigningMode::Transition => KeySource::Transition(cache()),
                SigningMode::Envelope => KeySource::Envelope(cache()),
            },
            signing_key: signing_key(environment)?,
            kms: aws::kms(&environment.aws),
            clock,
        })
    }

    /// Signs with the KMS key of `SIGNING_KEY_ID` or, in `envelope` mode, with the current key of the table, which the
    /// KMS key of `WRAPPING_KEY_ID` decrypts.
    pub fn signer(&self, environment: &Environment) -> Result<Signer, SettingsError> {
        match (&self.source, WrappingKey::from_environment(environment, self.mode)?) {
            (KeySource::Envelope(cache), Some(wrapping_key)) => Ok(Signer::envelope(wrapping_key, Arc::clone(cache))),
            (KeySource::Envelope(_), None) => Err(SettingsError::not_set(WrappingKey::VARIABLE)),
            (KeySource::Kms | KeySource::Transition(_), _) => {
                Ok(Signer::kms(self.kms.clone(), self.signing_key.clone()))
            }
        }
    }

    /// The keys that verify: those of `SIGNING_KEY_ID` and `PREVIOUS_SIGNING_KEY_IDS` and, unless only KMS signs, those
    /// of the table.
    pub fn public_keys(&self, environment: &Environment) -> Result<PublicKeys, SettingsError> {
        let previous = previous_signing_keys(environment, &self.signing_key)?;
        let (kms, clock) = (self.kms.clone(), Arc::clone(&self.clock));
        Ok(PublicKeys::new(self.source.clone(), (self.signing_key.clone(), previous), kms, clock))
    }
}
