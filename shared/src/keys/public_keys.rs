//! The public keys that verify our tokens, wherever the private ones are: of KMS, fetched once per process, and those of
//! envelope signing, which rotate without a new deployment.

use std::sync::Arc;

use aws_sdk_kms::{error::ProvideErrorMetadata as _, primitives::Blob};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::try_join_all;
use tokio::sync::Mutex;

use crate::{
    clock::Clock, error::InternalError, id::KmsKey, keys::SigningMode, keys::key_set::KeySetCache,
    keys::verification_key::VerificationKey, runtime::telemetry::warn_and_count,
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
    key_set: Arc<KeySetCache>,
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

impl PublicKeys {
    pub(super) fn new(
        mode: SigningMode,
        (signing_key, previous): (KmsKey, Vec<KmsKey>),
        kms: aws_sdk_kms::Client,
        clock: Arc<dyn Clock>,
        key_set: Arc<KeySetCache>,
    ) -> Self {
        let key = |key, signs| KmsPublicKey { key, signs, fetched: Mutex::default() };
        let current = key(signing_key, mode != SigningMode::Envelope);
        let previous = previous.into_iter().map(|previous| key(previous, false));
        Self { mode, kms, clock, keys: [current].into_iter().chain(previous).collect(), key_set }
    }

    /// All keys, the one that signs first.
    ///
    /// # Errors
    /// When the table does not answer, or KMS does not where it has to be asked. A previous key that KMS does not give is
    /// left out.
    pub async fn all(&self) -> Result<Vec<Arc<VerificationKey>>, InternalError> {
        let kms = async {
            let keys = try_join_all(self.keys.iter().map(|key| self.fetched(key))).await?;
            Ok(keys.into_iter().flatten().collect::<Vec<_>>())
        };
        // Read each time: a verifier asks because it met a new key, and keeps the answer for long.
        let ring = async { self.key_set.read().await?.public_keys().map(<[_]>::to_vec) };
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
                let _ = self.key_set.refresh().await;
            }
        };
        let _ = tokio::join!(kms, ring);
    }

    /// The key that a token says it was signed with, if it is one of ours.
    pub(crate) async fn find(&self, kid: &str) -> Result<Option<Arc<VerificationKey>>, InternalError> {
        match self.keys.iter().find(|key| key.key.id().as_str() == kid) {
            Some(key) => self.fetched(key).await,
            None if self.mode == SigningMode::Kms => Ok(None),
            None => self.key_set.find(kid).await,
        }
    }

    /// The key, fetched when it is first needed; `None` if KMS does not give it.
    async fn fetched(&self, key: &KmsPublicKey) -> Result<Option<Arc<VerificationKey>>, InternalError> {
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
        const CONTEXT: &str = "fetch a public key";
        let call = self.kms.get_public_key().key_id(key.reference());
        let answer = Box::pin(call.send()).await.map_err(|error| match error.code() {
            Some(code) if NOT_GIVEN.contains(&code) => FetchError::NotGiven(InternalError::new(CONTEXT, error)),
            _ => FetchError::Failed(InternalError::new(CONTEXT, error)),
        })?;
        let spki = answer.public_key.map(Blob::into_inner).unwrap_or_default();
        // Another kind of key never signed a token.
        VerificationKey::new(key.id().clone(), spki, CONTEXT).map_err(FetchError::NotGiven)
    }
}

/// Why there is no public key.
#[derive(Debug)]
enum FetchError {
    /// KMS does not give it, or gives one that is not of RSA.
    NotGiven(InternalError),
    /// KMS did not answer.
    Failed(InternalError),
}
