//! Message authentication codes (MACs) from KMS.

use aws_sdk_kms::{primitives::Blob, types::MacAlgorithmSpec};

use crate::{
    error::InternalError,
    id::KmsKey,
    runtime::telemetry::{Phase, timed},
    runtime::{Environment, SettingsError, aws},
};

/// Derives secrets with HMAC-SHA-256 (RFC 2104). The key never leaves KMS.
#[derive(Debug)]
pub struct MacKey {
    kms: aws_sdk_kms::Client,
    key: KmsKey,
}

impl MacKey {
    /// The key that `MAC_KEY_ID` names.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        Ok(Self { kms: aws::kms(&environment.aws), key: environment.required("MAC_KEY_ID")? })
    }

    /// The MAC of a message.
    pub async fn mac(&self, message: Vec<u8>) -> Result<[u8; 32], InternalError> {
        const CONTEXT: &str = "make a MAC";
        let call = self
            .kms
            .generate_mac()
            .key_id(self.key.reference())
            .mac_algorithm(MacAlgorithmSpec::HmacSha256)
            .message(Blob::new(message));
        let made =
            timed(Phase::Sign, Box::pin(call.send())).await.map_err(|error| InternalError::new(CONTEXT, error))?;
        let mac = made.mac.map(Blob::into_inner).unwrap_or_default();
        mac.try_into().map_err(|_| InternalError::new(CONTEXT, "the MAC that KMS returned does not have 32 bytes"))
    }
}
