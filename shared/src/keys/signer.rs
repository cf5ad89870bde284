//! RS256, and MACs: signed by KMS, whose private keys never leave it, or by this process with a key that KMS decrypted.

use std::sync::Arc;

use aws_lc_rs::digest::{self, Digest};
use aws_sdk_kms::{
    primitives::Blob,
    types::{MessageType, SigningAlgorithmSpec},
};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::{
    error::InternalError,
    id::KmsKey,
    keys::WrappingKey,
    keys::data_key::PrivateKey,
    keys::jwt::{self, TokenType},
    keys::key_set::KeySetCache,
    runtime::telemetry::{Phase, timed},
};

const CONTEXT: &str = "sign the token";

/// Signs with the current key.
#[derive(Debug)]
pub struct Signer {
    kms: aws_sdk_kms::Client,
    key: KmsKey,
    envelope: Option<Envelope>,
}

/// What signs without KMS.
#[derive(Debug)]
struct Envelope {
    wrapping_key: WrappingKey,
    key_set: Arc<KeySetCache>,
    /// The key that signed last, decrypted.
    decrypted: Mutex<Option<Arc<PrivateKey>>>,
}

impl Signer {
    pub(super) fn new(
        kms: aws_sdk_kms::Client,
        key: KmsKey,
        wrapping_key: Option<WrappingKey>,
        key_set: Arc<KeySetCache>,
    ) -> Self {
        let envelope = wrapping_key.map(|wrapping_key| Envelope { wrapping_key, key_set, decrypted: Mutex::default() });
        Self { kms, key, envelope }
    }

    /// Opens the connection that the first signature would otherwise wait for, or decrypts the key. Failing is harmless.
    pub async fn warm(&self) {
        if self.envelope.is_none() {
            let _ = Box::pin(self.kms.get_public_key().key_id(self.key.reference()).send()).await;
        }
        self.warm_key().await;
    }

    /// As [`Self::warm`], where something else opens the connection to KMS.
    pub async fn warm_key(&self) {
        if let Some(envelope) = &self.envelope {
            let _ = envelope.key().await;
        }
    }

    /// Finds out which key signs now, if it is time to look again. To be joined with a request's other reads, so that
    /// [`Self::sign`] does not have to wait for it; it calls no KMS.
    ///
    /// # Errors
    /// When the keys known are too old to go on with, and cannot be read.
    pub async fn prepare(&self) -> Result<(), InternalError> {
        match &self.envelope {
            None => Ok(()),
            Some(envelope) => envelope.key_set.refresh().await,
        }
    }

    /// A compact JWT with these claims. The signature is deterministic (RFC 8017, 8.2.1): the same claims and key give the
    /// same token.
    pub async fn sign(&self, typ: TokenType, claims: &impl Serialize) -> Result<String, InternalError> {
        let private_key = match &self.envelope {
            None => None,
            Some(envelope) => Some(envelope.key().await?),
        };
        let kid = private_key.as_ref().map_or(self.key.id(), |key| &key.kid);
        let signing_input = jwt::signing_input(typ, kid, claims).map_err(|error| InternalError::new(CONTEXT, error))?;
        let digest = digest::digest(&digest::SHA256, signing_input.as_bytes());
        let signature = timed(Phase::Sign, async {
            match &private_key {
                None => self.sign_with_kms(&digest).await,
                Some(key) => key.sign(&digest).map_err(|error| InternalError::new(CONTEXT, error)),
            }
        });
        Ok(jwt::compact(signing_input, &signature.await?))
    }

    async fn sign_with_kms(&self, digest: &Digest) -> Result<Vec<u8>, InternalError> {
        let call = self
            .kms
            .sign()
            .key_id(self.key.reference())
            .message(Blob::new(digest.as_ref()))
            .message_type(MessageType::Digest)
            .signing_algorithm(SigningAlgorithmSpec::RsassaPkcs1V15Sha256);
        let signed = Box::pin(call.send()).await.map_err(|error| InternalError::new(CONTEXT, error))?;
        let signature =
            signed.signature.ok_or_else(|| InternalError::new(CONTEXT, "KMS answered without a signature"))?;
        Ok(signature.into_inner())
    }
}

impl Envelope {
    /// The key that was the current one a minute ago at most, decrypted when it is first needed.
    async fn key(&self) -> Result<Arc<PrivateKey>, InternalError> {
        const NONE: &str = "there is none yet: invoke provision with the action rotateSigningKey";
        // Taken first, so that all see the keys change in the same order and none decrypts an older one again.
        let mut decrypted = self.decrypted.lock().await;
        let snapshot = self.key_set.recent().await?;
        let current = snapshot.current().ok_or_else(|| InternalError::new("load the signing key", NONE))?;
        if let Some(key) = decrypted.as_ref().filter(|key| key.kid == current.kid) {
            return Ok(Arc::clone(key));
        }
        // What cannot be decrypted may have been replaced by now.
        let key = self.wrapping_key.decrypt(current).await.inspect_err(|_| self.key_set.forget())?;
        Ok(Arc::clone(decrypted.insert(Arc::new(key))))
    }
}
