//! RS256 with AWS KMS: the private key never leaves it, the public keys are fetched once per process.

use aws_lc_rs::{digest, rsa::PublicKey};
use aws_sdk_kms::{
    primitives::Blob,
    types::{MacAlgorithmSpec, MessageType, SigningAlgorithmSpec},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::sync::OnceCell;

use crate::{
    aws,
    fault::Fault,
    jwt::{self, Type},
    settings::{Environment, KeyId, SettingsError, key_ids},
    telemetry::{Step, step},
};

/// Signs with the current key.
#[derive(Debug)]
pub struct Signer {
    kms: aws_sdk_kms::Client,
    key: KeyId,
}

impl Signer {
    /// A signer with the key that `SIGNING_KEY_ID` names.
    ///
    /// # Errors
    /// When the variable is missing or malformed.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        Ok(Self { kms: aws::kms(environment), key: environment.required(KeyId::VARIABLE)? })
    }

    /// Opens the connection that the first signature would otherwise wait for. Failing is harmless.
    pub async fn warm(&self) {
        let _ = Box::pin(self.kms.get_public_key().key_id(self.key.as_str()).send()).await;
    }

    /// A compact JWT with these claims. The signature is deterministic (RFC 8017, 8.2.1): the same claims give the
    /// same token.
    ///
    /// # Errors
    /// When KMS does not sign.
    pub async fn sign(&self, typ: Type, claims: &impl Serialize) -> Result<String, Fault> {
        const DOING: &str = "sign the token";
        let signing_input = jwt::signing_input(typ, &self.key, claims).map_err(|error| Fault::new(DOING, error))?;
        let digest = digest::digest(&digest::SHA256, signing_input.as_bytes());
        let call = self
            .kms
            .sign()
            .key_id(self.key.as_str())
            .message(Blob::new(digest.as_ref()))
            .message_type(MessageType::Digest)
            .signing_algorithm(SigningAlgorithmSpec::RsassaPkcs1V15Sha256);
        let signed = step(Step::Sign, Box::pin(call.send())).await.map_err(|error| Fault::new(DOING, error))?;
        let signature = signed.signature.ok_or_else(|| Fault::new(DOING, "KMS answered without a signature"))?;
        Ok(jwt::compact(signing_input, signature.as_ref()))
    }
}

/// Makes secrets that only the same input makes again: HMAC-SHA-256 (RFC 2104) with a key that never leaves KMS.
#[derive(Debug)]
pub struct MacKey {
    kms: aws_sdk_kms::Client,
    key: KeyId,
}

impl MacKey {
    /// The key that `MAC_KEY_ID` names.
    ///
    /// # Errors
    /// When the variable is missing or malformed.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        Ok(Self { kms: aws::kms(environment), key: environment.required("MAC_KEY_ID")? })
    }

    /// The MAC of a message.
    ///
    /// # Errors
    /// When KMS does not make it.
    pub async fn mac(&self, message: Vec<u8>) -> Result<[u8; 32], Fault> {
        const DOING: &str = "make a MAC";
        let call = self
            .kms
            .generate_mac()
            .key_id(self.key.as_str())
            .mac_algorithm(MacAlgorithmSpec::HmacSha256)
            .message(Blob::new(message));
        let made = step(Step::Sign, Box::pin(call.send())).await.map_err(|error| Fault::new(DOING, error))?;
        let mac = made.mac.map(Blob::into_inner).unwrap_or_default();
        mac.try_into().map_err(|_| Fault::new(DOING, "KMS answered with another length than 32 bytes"))
    }
}

/// The public keys that may have signed a live token, the current one first.
#[derive(Debug)]
pub struct PublicKeys {
    kms: aws_sdk_kms::Client,
    keys: Vec<(KeyId, OnceCell<VerificationKey>)>,
}

/// A public key as KMS publishes it.
#[derive(Debug)]
pub struct VerificationKey {
    /// SubjectPublicKeyInfo, DER (RFC 5280, 4.1).
    spki: Vec<u8>,
    rsa: PublicKey,
}

impl PublicKeys {
    /// The keys that `SIGNING_KEY_ID` and `PREVIOUS_SIGNING_KEY_IDS` name, fetched when they are first needed.
    ///
    /// # Errors
    /// When the first is missing, or one of them is malformed.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        let keys = key_ids(environment)?.into_iter().map(|id| (id, OnceCell::new())).collect();
        Ok(Self { kms: aws::kms(environment), keys })
    }

    /// All keys with their ids.
    ///
    /// # Errors
    /// When one is not known yet and KMS does not tell it.
    pub async fn all(&self) -> Result<Vec<(&KeyId, &VerificationKey)>, Fault> {
        try_join_all(self.keys.iter().map(async |(id, cell)| Ok((id, self.fetched(id, cell).await?)))).await
    }

    /// The key that a token says it was signed with, if it is one of ours.
    pub(crate) async fn find(&self, kid: &str) -> Result<Option<&VerificationKey>, Fault> {
        match self.keys.iter().find(|(id, _)| id.as_str() == kid) {
            None => Ok(None),
            Some((id, cell)) => self.fetched(id, cell).await.map(Some),
        }
    }

    async fn fetched<'a>(
        &'a self,
        id: &KeyId,
        cell: &'a OnceCell<VerificationKey>,
    ) -> Result<&'a VerificationKey, Fault> {
        const DOING: &str = "fetch a public key";
        cell.get_or_try_init(async || {
            let request = self.kms.get_public_key().key_id(id.as_str());
            let answer = Box::pin(request.send()).await.map_err(|error| Fault::new(DOING, error))?;
            let spki = answer.public_key.map(Blob::into_inner).unwrap_or_default();
            let rsa = PublicKey::from_der(&spki).map_err(|error| Fault::new(DOING, error))?;
            Ok(VerificationKey { spki, rsa })
        })
        .await
    }
}

impl VerificationKey {
    pub(crate) fn rsa(&self) -> &PublicKey {
        &self.rsa
    }

    /// The modulus, big-endian without leading zeros: `n` of a JWK (RFC 7518, 6.3.1.1).
    #[must_use]
    pub fn modulus(&self) -> &[u8] {
        self.rsa.modulus().big_endian_without_leading_zero()
    }

    /// The exponent, big-endian without leading zeros: `e` of a JWK (RFC 7518, 6.3.1.2).
    #[must_use]
    pub fn exponent(&self) -> &[u8] {
        self.rsa.exponent().big_endian_without_leading_zero()
    }

    /// The key in PEM (RFC 7468, 13).
    #[must_use]
    pub fn pem(&self) -> String {
        let base64 = STANDARD.encode(&self.spki);
        let lines = base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n").collect::<String>();
        format!("-----BEGIN PUBLIC KEY-----\n{lines}-----END PUBLIC KEY-----\n")
    }
}
