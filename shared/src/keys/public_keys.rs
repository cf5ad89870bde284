//! The public keys that verify our tokens: those of KMS, each fetched once per process, and those of envelope signing,
//! which change without a new deployment.

use std::sync::{Arc, PoisonError};

use aws_sdk_kms::{error::ProvideErrorMetadata as _, primitives::Blob};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::try_join_all;
use tokio::sync::Mutex;

use crate::{
    clock::{Clock, age},
    error::InternalError,
    id::{KeyFingerprint, KmsKey, TrustedKeys},
    keys::MAX_PUBLISHED_KEYS,
    keys::signing_keys_cache::SigningKeysCache,
    keys::verification_key::VerificationKey,
    runtime::telemetry::{Metric, warn_and_count},
};

/// KMS is asked again for a key that it refused after this time.
const RETRY_AFTER: TimeDelta = TimeDelta::seconds(60);
/// While KMS does not answer, unverified bearers make it be asked for a key at most this often.
const FAILURE_INTERVAL: TimeDelta = TimeDelta::seconds(1);
/// The errors of KMS that last until somebody changes something. All other errors are temporary, and no key is left out
/// because of them.
const PERMANENT_ERRORS: [&str; 7] = [
    "AccessDeniedException",
    "DisabledException",
    "InvalidArnException",
    "InvalidKeyUsageException",
    "KMSInvalidStateException",
    "NotFoundException",
    "UnsupportedOperationException",
];

/// Where the keys are, by `SIGNING_MODE`.
#[derive(Clone, Debug)]
pub(super) enum KeySource {
    Kms,
    /// KMS signs; the keys of the table are trusted too.
    Transition(Arc<SigningKeysCache>),
    /// A key of the table signs; those of KMS are trusted too.
    Envelope(Arc<SigningKeysCache>),
}

/// The public keys of all keys that may have signed a valid token.
#[derive(Debug)]
pub struct PublicKeys {
    source: KeySource,
    kms: aws_sdk_kms::Client,
    clock: Arc<dyn Clock>,
    /// The key of `SIGNING_KEY_ID` first.
    keys: Vec<KmsPublicKey>,
}

/// The public key of a KMS key.
#[derive(Debug)]
struct KmsPublicKey {
    key: KmsKey,
    /// Whether the key signs now. Such a key is required. A previous key is left out if KMS refuses it, so that a
    /// deleted key does not make the others unavailable.
    signs: bool,
    cached: Mutex<Cached>,
    /// When a bearer last asked for it in vain, because KMS did not answer.
    failed_at: std::sync::Mutex<Option<DateTime<Utc>>>,
}

#[derive(Debug, Default)]
enum Cached {
    #[default]
    Nothing,
    Key(Arc<VerificationKey>),
    Refused {
        at: DateTime<Utc>,
    },
}

impl PublicKeys {
    pub(super) fn new(
        source: KeySource,
        (signing_key, previous): (KmsKey, Vec<KmsKey>),
        kms: aws_sdk_kms::Client,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let key =
            |key, signs| KmsPublicKey { key, signs, cached: Mutex::default(), failed_at: std::sync::Mutex::default() };
        let current = key(signing_key, !matches!(source, KeySource::Envelope(_)));
        let previous = previous.into_iter().map(|previous| key(previous, false));
        Self { source, kms, clock, keys: [current].into_iter().chain(previous).collect() }
    }

    /// The keys to publish, the one that signs first: at most [`MAX_PUBLISHED_KEYS`]. Only `PREVIOUS_SIGNING_KEY_IDS`
    /// can make them more; the last ones are then left out.
    pub async fn published(&self) -> Result<Vec<Arc<VerificationKey>>, InternalError> {
        let mut keys = self.all().await?;
        for left_out in keys.drain(keys.len().min(MAX_PUBLISHED_KEYS)..) {
            const MESSAGE: &str = "left out a signing key";
            let cause = InternalError::new("publish the key", "more than 10 would be published");
            warn_and_count(Metric::SigningKeysLeftOut, MESSAGE, left_out.id.as_str(), &cause);
        }
        Ok(keys)
    }

    async fn all(&self) -> Result<Vec<Arc<VerificationKey>>, InternalError> {
        let of_kms = async {
            let keys = try_join_all(self.keys.iter().map(|key| self.get_or_fetch(key))).await?;
            Ok(keys.into_iter().flatten().collect::<Vec<_>>())
        };
        // Loaded each time: a verifier asks because it met a new key, and then caches the answer for a long time.
        let of_table = async |cache: &SigningKeysCache| cache.load().await?.public_keys().map(<[_]>::to_vec);
        match &self.source {
            KeySource::Kms => of_kms.await,
            KeySource::Transition(cache) => {
                tokio::try_join!(of_kms, of_table(cache)).map(|(of_kms, of_table)| [of_kms, of_table].concat())
            }
            KeySource::Envelope(cache) => {
                tokio::try_join!(of_table(cache), of_kms).map(|(of_table, of_kms)| [of_table, of_kms].concat())
            }
        }
    }

    /// Fetches the keys that the first access token would otherwise wait for. A failure is harmless.
    pub(crate) async fn warm(&self) {
        let of_kms = try_join_all(self.keys.iter().map(|key| self.get_or_fetch(key)));
        let _ = tokio::join!(of_kms, self.refresh_if_due());
    }

    /// Refreshes the keys of the table if it is time. A failure is harmless: whoever needs them reads them again.
    pub async fn refresh_if_due(&self) {
        if let Some(cache) = self.cache() {
            let _ = cache.refresh_if_due().await;
        }
    }

    /// The key with the `kid` of a token, if it is one of ours.
    pub(crate) async fn find(&self, kid: &str) -> Result<Option<Arc<VerificationKey>>, InternalError> {
        match (self.keys.iter().find(|key| key.key.id().as_str() == kid), self.cache()) {
            (Some(key), _) => self.get_or_fetch_for_bearer(key).await,
            (None, Some(cache)) => cache.find(kid).await,
            (None, None) => Ok(None),
        }
    }

    /// The keys whose tokens are accepted: those of the settings, whatever KMS says of them at the moment, and those of
    /// the table. The copy of the process is used if it has the keys of all these tokens. Otherwise the table is read
    /// again, because the missing one may be newer than the copy. Call it after the tokens were read.
    pub async fn load_trusted<'a>(
        &self,
        mut of_tokens: impl Iterator<Item = &'a KeyFingerprint>,
    ) -> Result<TrustedKeys, InternalError> {
        let of_kms = || self.keys.iter().map(|key| key.key.id());
        let Some(cache) = self.cache() else { return Ok(of_kms().collect()) };
        let copy = cache.get().await?;
        let known: TrustedKeys = of_kms().chain(copy.key_ids()).collect();
        if of_tokens.all(|key| known.contains(key)) {
            return Ok(known);
        }
        let current = cache.load().await?;
        Ok(of_kms().chain(current.key_ids()).collect())
    }

    fn cache(&self) -> Option<&SigningKeysCache> {
        match &self.source {
            KeySource::Kms => None,
            KeySource::Transition(cache) | KeySource::Envelope(cache) => Some(cache),
        }
    }

    /// As [`Self::get_or_fetch`], for a bearer that nobody has verified: while KMS does not answer, it is asked again a
    /// second after its last failure at the earliest, however many bearers name the key.
    async fn get_or_fetch_for_bearer(&self, key: &KmsPublicKey) -> Result<Option<Arc<VerificationKey>>, InternalError> {
        const CONTEXT: &str = "fetch a public key";
        let mut cached = key.cached.lock().await;
        let failed_at = || key.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if failed_at().is_some_and(|at| age(at, self.clock.now()) < FAILURE_INTERVAL) {
            return Err(InternalError::new(CONTEXT, "KMS did not answer a moment ago"));
        }
        let fetched = self.read_or_fetch(key, &mut cached).await;
        // Counted from the end, because KMS may have taken seconds not to answer.
        *failed_at() = fetched.is_err().then(|| self.clock.now());
        fetched
    }

    /// The key, fetched when it is first needed. `None` if KMS refuses it and it does not sign.
    async fn get_or_fetch(&self, key: &KmsPublicKey) -> Result<Option<Arc<VerificationKey>>, InternalError> {
        self.read_or_fetch(key, &mut *key.cached.lock().await).await
    }

    async fn read_or_fetch(
        &self,
        key: &KmsPublicKey,
        cached: &mut Cached,
    ) -> Result<Option<Arc<VerificationKey>>, InternalError> {
        let now = self.clock.now();
        match cached {
            Cached::Key(key) => return Ok(Some(Arc::clone(key))),
            Cached::Refused { at } if age(*at, now) < RETRY_AFTER => return Ok(None),
            Cached::Refused { .. } | Cached::Nothing => {}
        }
        match self.fetch(&key.key).await {
            Ok(public_key) => {
                let public_key = Arc::new(public_key);
                *cached = Cached::Key(Arc::clone(&public_key));
                Ok(Some(public_key))
            }
            Err(FetchError::Refused(error)) if !key.signs => {
                const MESSAGE: &str = "left out a previous signing key";
                warn_and_count(Metric::SigningKeysLeftOut, MESSAGE, key.key.reference(), &error);
                *cached = Cached::Refused { at: now };
                Ok(None)
            }
            Err(FetchError::Refused(error) | FetchError::Failed(error)) => Err(error),
        }
    }

    async fn fetch(&self, key: &KmsKey) -> Result<VerificationKey, FetchError> {
        const CONTEXT: &str = "fetch a public key";
        let call = self.kms.get_public_key().key_id(key.reference());
        let answer = Box::pin(call.send()).await.map_err(|error| match error.code() {
            Some(code) if PERMANENT_ERRORS.contains(&code) => FetchError::Refused(InternalError::new(CONTEXT, error)),
            _ => FetchError::Failed(InternalError::new(CONTEXT, error)),
        })?;
        let spki = answer.public_key.map(Blob::into_inner).unwrap_or_default();
        // A key that is not an RSA key never signed a token.
        VerificationKey::new(key.id().clone(), spki, CONTEXT).map_err(FetchError::Refused)
    }
}

/// Why there is no public key.
#[derive(Debug)]
enum FetchError {
    /// KMS refuses it, or it is not an RSA key.
    Refused(InternalError),
    /// KMS did not answer.
    Failed(InternalError),
}
