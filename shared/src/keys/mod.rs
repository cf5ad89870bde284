//! JSON Web Tokens, and the keys that sign and verify them.

mod data_key;
pub mod jwt;
mod key_set;
mod mac;
mod public_keys;
mod settings;
mod signer;
mod verification_key;

use std::sync::Arc;

pub use self::{
    data_key::WrappingKey,
    mac::MacKey,
    public_keys::PublicKeys,
    settings::{Audience, Issuer, SigningMode},
    signer::Signer,
    verification_key::VerificationKey,
};
use self::{
    key_set::KeySetCache,
    settings::{previous_signing_keys, signing_key},
};
use crate::{
    clock::Clock,
    id::KmsKey,
    runtime::{Environment, SettingsError, aws},
    store::Store,
};

/// The keys of a deployment: what its signer and its public keys have in common, built once per process.
#[derive(Debug)]
pub struct Keys {
    mode: SigningMode,
    signing_key: KmsKey,
    kms: aws_sdk_kms::Client,
    clock: Arc<dyn Clock>,
    key_set: Arc<KeySetCache>,
}

impl Keys {
    /// Reads `SIGNING_MODE` and `SIGNING_KEY_ID`.
    pub fn from_environment(environment: &Environment, store: &Store) -> Result<Self, SettingsError> {
        Ok(Self {
            mode: SigningMode::from_environment(environment)?,
            signing_key: signing_key(environment)?,
            kms: aws::kms(&environment.aws),
            clock: Arc::clone(&environment.clock),
            key_set: Arc::new(KeySetCache::new(store.clone(), Arc::clone(&environment.clock))),
        })
    }

    /// The signer that `SIGNING_MODE` names: KMS with the key of `SIGNING_KEY_ID`, or this process with the current key of
    /// the table, which `WRAPPING_KEY_ID` decrypts.
    pub fn signer(&self, environment: &Environment) -> Result<Signer, SettingsError> {
        let wrapping_key = WrappingKey::from_environment(environment, self.mode)?;
        let wrapping_key = wrapping_key.filter(|_| self.mode == SigningMode::Envelope);
        Ok(Signer::new(self.kms.clone(), self.signing_key.clone(), wrapping_key, Arc::clone(&self.key_set)))
    }

    /// The keys that verify: those of `SIGNING_KEY_ID` and `PREVIOUS_SIGNING_KEY_IDS`, and with envelope signing those of the
    /// table.
    pub fn public_keys(&self, environment: &Environment) -> Result<PublicKeys, SettingsError> {
        let previous = previous_signing_keys(environment, &self.signing_key)?;
        let (kms, clock, key_set) = (self.kms.clone(), Arc::clone(&self.clock), Arc::clone(&self.key_set));
        Ok(PublicKeys::new(self.mode, (self.signing_key.clone(), previous), kms, clock, key_set))
    }
}
