//! Data key pairs for envelope signing. KMS generates a pair and returns the private key only in encrypted form. A
//! process that may decrypt it can then sign without KMS.

use std::{collections::HashMap, fmt, time::Duration};

use aws_config::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_lc_rs::{digest::Digest, error::Unspecified, rsa::KeyPair, signature::RSA_PKCS1_SHA256};
use aws_sdk_kms::{primitives::Blob, types::DataKeyPairSpec};
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::{
    error::InternalError,
    id::{KeyId, KmsKey},
    keys::SigningMode,
    runtime::{Environment, SettingsError, aws},
    store::{DataKeyPair, TableName},
};

/// The symmetric KMS key that encrypts the private keys.
#[derive(Debug)]
pub struct WrappingKey {
    kms: aws_sdk_kms::Client,
    key: KmsKey,
    table: String,
}

impl WrappingKey {
    pub(super) const VARIABLE: &'static str = "WRAPPING_KEY_ID";

    /// The KMS key that `WRAPPING_KEY_ID` names. `None` if only KMS signs; every other mode requires it.
    pub fn from_environment(environment: &Environment, mode: SigningMode) -> Result<Option<Self>, SettingsError> {
        let key = environment.optional(Self::VARIABLE)?;
        let TableName(table) = environment.required(TableName::VARIABLE)?;
        match (mode, key) {
            (SigningMode::Kms, _) => Ok(None),
            (_, Some(key)) => Ok(Some(Self { kms: aws::kms(&environment.aws), key, table })),
            (_, None) => Err(SettingsError::not_set(Self::VARIABLE)),
        }
    }

    /// Generates a pair with this id. Its private key leaves KMS only in encrypted form.
    pub async fn generate(&self, kid: KeyId) -> Result<DataKeyPair, InternalError> {
        const CONTEXT: &str = "generate a signing key";
        let call = self
            .kms
            .generate_data_key_pair_without_plaintext()
            .key_id(self.key.reference())
            .key_pair_spec(DataKeyPairSpec::Rsa2048)
            .set_encryption_context(Some(self.context(&kid)))
            .customize()
            .config_override(key_generation_config());
        let made = Box::pin(call.send()).await.map_err(|error| InternalError::new(CONTEXT, error))?;
        let encoded = |blob: Option<Blob>| {
            blob.map(|blob| STANDARD.encode(blob))
                .ok_or_else(|| InternalError::new(CONTEXT, "KMS answered without a key"))
        };
        let (public_key, wrapped_private_key) = (encoded(made.public_key)?, encoded(made.private_key_ciphertext_blob)?);
        let wrapping_key = made.key_id.and_then(|arn| arn.parse().ok());
        Ok(DataKeyPair { kid, public_key, wrapped_private_key, wrapping_key })
    }

    /// Decrypts the private key of a pair. Our copy of its encoding is zeroized, and aws-lc zeroizes the key when it is
    /// dropped.
    ///
    /// KMS decrypts the key only for the table and the id that it was generated for. A pair that another KMS key
    /// encrypted is an error, and that key is not used instead: IAM allows the functions only this one, and whoever can
    /// write to the table must not be able to choose the key.
    pub(crate) async fn decrypt(&self, pair: &DataKeyPair) -> Result<PrivateKey, InternalError> {
        const CONTEXT: &str = "decrypt the signing key";
        if let Some(other) = pair.wrapping_key.as_ref().filter(|other| other.id() != self.key.id()) {
            let (other, own) = (other.reference(), self.key.reference());
            let cause = format!(
                "it is encrypted under the KMS key {other}, but WRAPPING_KEY_ID is {own}: make a new signing key by \
                 invoking provision with the action rotateSigningKey"
            );
            return Err(InternalError::new(CONTEXT, cause));
        }
        let wrapped = STANDARD.decode(&pair.wrapped_private_key).map_err(|error| InternalError::new(CONTEXT, error))?;
        let call = self
            .kms
            .decrypt()
            .key_id(self.key.reference())
            .ciphertext_blob(Blob::new(wrapped))
            .set_encryption_context(Some(self.context(&pair.kid)));
        let decrypted = Box::pin(call.send()).await.map_err(|error| InternalError::new(CONTEXT, error))?;
        let pkcs8 = Zeroizing::new(decrypted.plaintext.map(Blob::into_inner).unwrap_or_default());
        let key = KeyPair::from_pkcs8(&pkcs8).map_err(|error| InternalError::new(CONTEXT, error))?;
        Ok(PrivateKey { kid: pair.kid.clone(), key })
    }

    /// The encryption context: KMS binds the ciphertext to it and logs it, so no part of it is secret.
    fn context(&self, kid: &KeyId) -> HashMap<String, String> {
        let context = [("purpose", "tokenmint signing key"), ("table", &self.table), ("kid", kid.as_str())];
        context.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

/// The timeouts and retries for generating an RSA pair, which takes KMS longer than anything else and is limited to one
/// per second by default. An operator waits for it, so it may take longer than a request of a user. It ends before the
/// function times out.
fn key_generation_config() -> aws_sdk_kms::config::Builder {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_secs(8))
        .operation_timeout(Duration::from_secs(16))
        .build();
    let retries = RetryConfig::standard().with_max_attempts(6).with_initial_backoff(Duration::from_millis(500));
    aws_sdk_kms::Config::builder().timeout_config(timeouts).retry_config(retries)
}

/// A private key in the memory of this process.
pub(crate) struct PrivateKey {
    pub(crate) kid: KeyId,
    key: KeyPair,
}

impl PrivateKey {
    /// The RSASSA-PKCS1-v1_5 signature over a SHA-256 digest (RFC 8017, 8.2.1).
    pub(crate) fn sign(&self, digest: &Digest) -> Result<Vec<u8>, Unspecified> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign_digest(&RSA_PKCS1_SHA256, digest, &mut signature)?;
        Ok(signature)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aws_config::{BehaviorVersion, SdkConfig};

    use super::*;
    use crate::{clock::SystemClock, random::SystemRandom};

    #[tokio::test]
    async fn a_key_under_another_wrapping_key_is_refused_with_what_to_do() {
        let variables = [("TABLE_NAME", "table"), ("WRAPPING_KEY_ID", "key-2")];
        let environment = Environment {
            variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            aws: SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        };
        let wrapping_key = WrappingKey::from_environment(&environment, SigningMode::Envelope).unwrap().unwrap();
        let pair = DataKeyPair {
            kid: "kid".parse().unwrap(),
            public_key: String::new(),
            wrapped_private_key: String::new(),
            wrapping_key: Some("arn:aws:kms:eu-west-1:111122223333:key/key-1".parse().unwrap()),
        };
        assert_eq!(
            wrapping_key.decrypt(&pair).await.unwrap_err().chain(),
            "could not decrypt the signing key: it is encrypted under the KMS key \
             arn:aws:kms:eu-west-1:111122223333:key/key-1, but WRAPPING_KEY_ID is key-2: make a new signing key by \
             invoking provision with the action rotateSigningKey"
        );
    }
}
