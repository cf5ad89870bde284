//! Signs JWTs with RS256: in KMS, or in this process with a private key that KMS decrypted.

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
    id::{KeyFingerprint, KeyId, KmsKey},
    keys::WrappingKey,
    keys::data_key::PrivateKey,
    keys::jwt::{self, TokenType},
    keys::signing_keys_cache::SigningKeysCache,
    runtime::telemetry::{Phase, timed},
};

const CONTEXT: &str = "sign the token";

/// Signs with the current key. Clones share it.
#[derive(Clone, Debug)]
pub struct Signer(Arc<Backend>);

#[derive(Debug)]
enum Backend {
    Kms(KmsSigner),
    Envelope(EnvelopeSigner),
}

/// Lets KMS sign. The private key never leaves it.
#[derive(Debug)]
struct KmsSigner {
    kms: aws_sdk_kms::Client,
    key: KmsKey,
}

/// Signs with the current key of the table, which KMS decrypts once per process and rotation.
#[derive(Debug)]
struct EnvelopeSigner {
    wrapping_key: WrappingKey,
    keys: Arc<SigningKeysCache>,
    /// The key that signed last, decrypted.
    decrypted: Mutex<Option<Arc<PrivateKey>>>,
}

impl Signer {
    pub(super) fn kms(kms: aws_sdk_kms::Client, key: KmsKey) -> Self {
        Self(Arc::new(Backend::Kms(KmsSigner { kms, key })))
    }

    pub(super) fn envelope(wrapping_key: WrappingKey, keys: Arc<SigningKeysCache>) -> Self {
        Self(Arc::new(Backend::Envelope(EnvelopeSigner { wrapping_key, keys, decrypted: Mutex::default() })))
    }

    /// Opens two connections to KMS, because an exchange signs two tokens at the same time; or decrypts the key. A
    /// failure is harmless.
    pub async fn warm(&self) {
        match self.0.as_ref() {
            Backend::Kms(KmsSigner { kms, key }) => {
                let read = || Box::pin(kms.get_public_key().key_id(key.reference()).send());
                let _ = tokio::join!(read(), read());
            }
            Backend::Envelope(_) => self.warm_key().await,
        }
    }

    /// Like [`Self::warm`], but for a function that opens the connection to KMS anyway.
    pub async fn warm_key(&self) {
        if let Backend::Envelope(envelope) = self.0.as_ref() {
            let _ = envelope.private_key().await;
        }
    }

    /// Refreshes the signing keys if it is time. A request runs this beside its other reads, so that [`Self::sign`]
    /// need not wait; its time is part of theirs. It never calls KMS.
    pub async fn prepare(&self) -> Result<(), InternalError> {
        match self.0.as_ref() {
            Backend::Kms(_) => Ok(()),
            Backend::Envelope(envelope) => envelope.keys.refresh_if_due().await,
        }
    }

    /// A compact JWT with these claims. RS256 is deterministic (RFC 8017, 8.2.1): the same claims and key give the same
    /// token.
    pub async fn sign(&self, typ: TokenType, claims: &impl Serialize) -> Result<String, InternalError> {
        self.sign_and_name_key(typ, claims).await.map(|(jwt, _)| jwt)
    }

    /// As [`Self::sign`], with the key that signed.
    pub async fn sign_and_name_key(
        &self,
        typ: TokenType,
        claims: &impl Serialize,
    ) -> Result<(String, KeyFingerprint), InternalError> {
        let signed = async {
            match self.0.as_ref() {
                Backend::Kms(kms) => {
                    let (signing_input, digest) = signing_input(typ, kms.key.id(), claims)?;
                    Ok((jwt::compact(signing_input, &kms.sign(&digest).await?), kms.key.id().fingerprint()))
                }
                Backend::Envelope(envelope) => {
                    let key = envelope.private_key().await?;
                    let (signing_input, digest) = signing_input(typ, &key.kid, claims)?;
                    let signature = key.sign(&digest).map_err(|error| InternalError::new(CONTEXT, error))?;
                    Ok((jwt::compact(signing_input, &signature), key.kid.fingerprint()))
                }
            }
        };
        timed(Phase::Sign, signed).await
    }
}

fn signing_input(typ: TokenType, kid: &KeyId, claims: &impl Serialize) -> Result<(String, Digest), InternalError> {
    let text = jwt::signing_input(typ, kid, claims).map_err(|error| InternalError::new(CONTEXT, error))?;
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    Ok((text, digest))
}

impl KmsSigner {
    async fn sign(&self, digest: &Digest) -> Result<Vec<u8>, InternalError> {
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

impl EnvelopeSigner {
    /// The private key of the current key, as of a minute ago at most. It is decrypted when it is first needed.
    async fn private_key(&self) -> Result<Arc<PrivateKey>, InternalError> {
        const NONE: &str = "there is none yet: invoke provision with the action rotateSigningKey";
        // Locked first, so that all requests see the keys change in the same order and none decrypts an older key
        // again.
        let mut decrypted = self.decrypted.lock().await;
        let snapshot = self.keys.get().await?;
        let current = snapshot.current().ok_or_else(|| InternalError::new("load the signing key", NONE))?;
        if let Some(key) = decrypted.as_ref().filter(|key| key.kid == current.kid) {
            return Ok(Arc::clone(key));
        }
        // A key that cannot be decrypted may have been replaced by now.
        let key = self.wrapping_key.decrypt(current).await.inspect_err(|_| self.keys.forget())?;
        Ok(Arc::clone(decrypted.insert(Arc::new(key))))
    }
}
