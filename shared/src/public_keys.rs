//! The public keys that verify our tokens, wherever the private ones are: of KMS, fetched once per process, and those of
//! envelope signing, which rotate without a new deployment.

use std::sync::Arc;

use aws_lc_rs::rsa::PublicKey;
use aws_sdk_kms::{error::ProvideErrorMetadata as _, primitives::Blob};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::try_join_all;
use tokio::sync::Mutex;

use crate::{
    aws,
    clock::Clock,
    fault::Fault,
    key_set::KeySetCache,
    settings::{Environment, KeyId, KmsKey, SettingsError, SigningMode, previous_signing_keys, signing_key},
    telemetry::warn_and_count,
};

/// KMS is asked for a key that it did not give at most this often.
const RETRY_AFTER: TimeDelta = TimeDelta::seconds(60);
/// The errors by which KMS says that it does not give us a key, and will not before somebody changes something. All
/// others pass, and a key must not go missing because of them.
const NOT_GIVEN: [&str; 7] = [
    "AccessDeniedException",
    "DisabledException",
    "InvalidArnException",
    "InvalidKeyUsageException",
    "KMSInvalidStateException",
    "NotFoundException",
    "UnsupportedOperationException",
];

/// The public keys that may have signed a live token.
#[derive(Debug)]
pub struct PublicKeys {
    mode: SigningMode,
    kms: aws_sdk_kms::Client,
    clock: Arc<dyn Clock>,
    /// The key of `SIGNING_KEY_ID` first.
    keys: Vec<KmsPublicKey>,
    ring: Arc<KeySetCache>,
}

/// The public key of a key in KMS.
#[derive(Debug)]
struct KmsPublicKey {
    key: KmsKey,
    /// Whether it signs. Without it nobody can verify new tokens; one that signed before is left out if KMS does not give
    /// it, so that a deleted key does not take the others down.
    signs: bool,
    fetched: Mutex<Fetched>,
}

#[derive(Debug, Default)]
enum Fetched {
    #[default]
    NotYet,
    Key(Arc<VerificationKey>),
    NotGiven {
        at: DateTime<Utc>,
    },
}

/// A public key.
#[derive(Debug)]
pub struct VerificationKey {
    /// The `kid` of the tokens that it verifies.
    pub id: KeyId,
    /// SubjectPublicKeyInfo, DER (RFC 5280, 4.1).
    spki: Vec<u8>,
    rsa: PublicKey,
}

impl PublicKeys {
    /// The keys that `SIGNING_KEY_ID` and `PREVIOUS_SIGNING_KEY_IDS` name, fetched when they are first needed, and with
    /// envelope signing those of the table.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        let mode = SigningMode::from_environment(environment)?;
        let key = |key, signs| KmsPublicKey { key, signs, fetched: Mutex::default() };
        let current = key(signing_key(environment)?, mode != SigningMode::Envelope);
        let previous = previous_signing_keys(environment)?.into_iter().map(|previous| key(previous, false));
        Ok(Self {
            mode,
            kms: aws::kms(environment),
            clock: Arc::clone(&environment.clock),
            keys: [current].into_iter().chain(previous).collect(),
            ring: Arc::new(KeySetCache::from_environment(environment)?),
        })
    }

    /// All keys, the one that signs first.
    ///
    /// # Errors
    /// When the table does not answer, or KMS does not where it has to be asked. A previous key that KMS does not give is
    /// left out.
    pub async fn all(&self) -> Result<Vec<Arc<VerificationKey>>, Fault> {
        let kms = async {
            let keys = try_join_all(self.keys.iter().map(|key| self.fetched(key))).await?;
            Ok(keys.into_iter().flatten().collect::<Vec<_>>())
        };
        // Read each time: a verifier asks because it met a new key, and keeps the answer for long.
        let ring = async { self.ring.read().await?.public_keys().map(<[_]>::to_vec) };
        match self.mode {
            SigningMode::Kms => kms.await,
            SigningMode::Transition => tokio::try_join!(kms, ring).map(|(kms, ring)| [kms, ring].concat()),
            SigningMode::Envelope => tokio::try_join!(ring, kms).map(|(ring, kms)| [ring, kms].concat()),
        }
    }

    /// Fetches the keys that the first bearer would otherwise wait for. Failing is harmless.
    pub(crate) async fn warm(&self) {
        let kms = try_join_all(self.keys.iter().map(|key| self.fetched(key)));
        let ring = async {
            if self.mode != SigningMode::Kms {
                let _ = self.ring.refresh().await;
            }
        };
        let _ = tokio::join!(kms, ring);
    }

    /// The table's keys, for a signer in the same function.
    pub(crate) fn key_set(&self) -> Arc<KeySetCache> {
        Arc::clone(&self.ring)
    }

    /// The key that a token says it was signed with, if it is one of ours.
    pub(crate) async fn find(&self, kid: &str) -> Result<Option<Arc<VerificationKey>>, Fault> {
        match self.keys.iter().find(|key| key.key.id().as_str() == kid) {
            Some(key) => self.fetched(key).await,
            None if self.mode == SigningMode::Kms => Ok(None),
            None => self.ring.find(kid).await,
        }
    }

    /// The key, fetched when it is first needed; `None` if KMS does not give it.
    async fn fetched(&self, key: &KmsPublicKey) -> Result<Option<Arc<VerificationKey>>, Fault> {
        let mut fetched = key.fetched.lock().await;
        let now = self.clock.now();
        match &*fetched {
            Fetched::Key(key) => return Ok(Some(Arc::clone(key))),
            Fetched::NotGiven { at } if (now - *at).abs() < RETRY_AFTER => return Ok(None),
            Fetched::NotGiven { .. } | Fetched::NotYet => {}
        }
        match self.fetch(&key.key).await {
            Ok(public_key) => {
                let public_key = Arc::new(public_key);
                *fetched = Fetched::Key(Arc::clone(&public_key));
                Ok(Some(public_key))
            }
            Err(FetchError::NotGiven(fault)) if !key.signs => {
                warn_and_count("SigningKeysLeftOut", "left out a previous signing key", key.key.reference(), &fault);
                *fetched = Fetched::NotGiven { at: now };
                Ok(None)
            }
            Err(FetchError::NotGiven(fault) | FetchError::Failed(fault)) => Err(fault),
        }
    }

    async fn fetch(&self, key: &KmsKey) -> Result<VerificationKey, FetchError> {
        const DOING: &str = "fetch a public key";
        let call = self.kms.get_public_key().key_id(key.reference());
        let answer = Box::pin(call.send()).await.map_err(|error| match error.code() {
            Some(code) if NOT_GIVEN.contains(&code) => FetchError::NotGiven(Fault::new(DOING, error)),
            _ => FetchError::Failed(Fault::new(DOING, error)),
        })?;
        let spki = answer.public_key.map(Blob::into_inner).unwrap_or_default();
        // Another kind of key never signed a token.
        VerificationKey::new(key.id().clone(), spki, DOING).map_err(FetchError::NotGiven)
    }
}

/// Why there is no public key.
#[derive(Debug)]
enum FetchError {
    /// KMS does not give it, or gives one that is not of RSA.
    NotGiven(Fault),
    /// KMS did not answer.
    Failed(Fault),
}

impl VerificationKey {
    pub(crate) fn new(id: KeyId, spki: Vec<u8>, doing: &'static str) -> Result<Self, Fault> {
        let rsa = PublicKey::from_der(&spki).map_err(|error| Fault::new(doing, error))?;
        Ok(Self { id, spki, rsa })
    }

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
