//! The signing keys of envelope signing as this process knows them: a copy of the table's item, so that most requests
//! sign and verify without reading it. A withdrawn key neither signs nor is trusted for more than a minute.
//!
//! 1. The first request that needs the keys loads them ([`SigningKeysCache::get`]). Concurrent requests wait for one
//!    read.
//! 2. A copy younger than 30 s is used as it is.
//! 3. Once it is older, a request loads the keys again beside its other reads ([`SigningKeysCache::refresh_if_due`]).
//!    The other requests go on with the old copy, and so does this one if the read fails.
//! 4. A copy older than 60 s is never used: the request waits for a read, and fails if it fails.
//! 5. An unknown `kid` may be that of a rotation a moment ago, so the keys are loaded again, but at most once per
//!    second ([`SigningKeysCache::find`]).
//! 6. If a private key cannot be decrypted, the copy is dropped ([`SigningKeysCache::forget`]), because the key may
//!    have been replaced.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    clock::{Clock, age},
    error::InternalError,
    id::KeyId,
    keys::verification_key::VerificationKey,
    store::{DataKeyPair, SigningKeys, Store},
};

/// The age from which a copy is refreshed.
const REFRESH_AFTER: TimeDelta = TimeDelta::seconds(30);
/// The age from which a copy is not used.
const MAX_AGE: TimeDelta = TimeDelta::seconds(60);
/// Unknown key ids cost at most one read in this time.
const MISS_INTERVAL: TimeDelta = TimeDelta::seconds(1);

#[derive(Debug)]
pub(crate) struct SigningKeysCache {
    store: Store,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held during a read, so that concurrent requests share it.
    loading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    latest: Option<Arc<Snapshot>>,
    /// When the keys were last loaded for an id that was not among them.
    missed_at: Option<DateTime<Utc>>,
}

/// The keys as they were in the table at one time.
#[derive(Debug)]
pub(crate) struct Snapshot {
    loaded_at: DateTime<Utc>,
    /// `None` before the first key was generated.
    keys: Option<SigningKeys>,
    public_keys: OnceLock<Vec<Arc<VerificationKey>>>,
}

/// What the copy says about a key id.
enum Lookup {
    Settled(Option<Arc<VerificationKey>>),
    AskTable,
}

impl SigningKeysCache {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, state: Mutex::default(), loading: tokio::sync::Mutex::default() }
    }

    /// Loads the keys as they are in the table now.
    pub(crate) async fn load(&self) -> Result<Arc<Snapshot>, InternalError> {
        let loaded_at = self.clock.now();
        let keys = self.store.load_signing_keys().await?;
        let snapshot = Arc::new(Snapshot { loaded_at, keys, public_keys: OnceLock::new() });
        self.state().latest = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// The copy if it is younger than 60 s; otherwise loads the keys.
    pub(crate) async fn get(&self) -> Result<Arc<Snapshot>, InternalError> {
        if let Some(snapshot) = self.latest(MAX_AGE) {
            return Ok(snapshot);
        }
        let _guard = self.loading.lock().await;
        match self.latest(MAX_AGE) {
            Some(snapshot) => Ok(snapshot),
            None => self.load().await,
        }
    }

    /// Loads the keys again if the copy is older than 30 s, so that [`Self::get`] need not.
    pub(crate) async fn refresh_if_due(&self) -> Result<(), InternalError> {
        if self.latest(REFRESH_AFTER).is_some() {
            return Ok(());
        }
        if self.latest(MAX_AGE).is_none() {
            return self.get().await.map(drop);
        }
        let Ok(_guard) = self.loading.try_lock() else { return Ok(()) };
        if let Err(error) = self.load().await {
            tracing::warn!(error = error.chain(), "could not refresh the signing keys; the old copy is still used");
        }
        Ok(())
    }

    /// Drops the copy, so that the next request loads the keys.
    pub(crate) fn forget(&self) {
        *self.state() = State::default();
    }

    /// The public key with this id.
    pub(crate) async fn find(&self, kid: &str) -> Result<Option<Arc<VerificationKey>>, InternalError> {
        if let Lookup::Settled(key) = self.lookup(kid)? {
            return Ok(key);
        }
        let _guard = self.loading.lock().await;
        if let Lookup::Settled(key) = self.lookup(kid)? {
            return Ok(key);
        }
        let snapshot = self.load().await?;
        let found = snapshot.find(kid)?;
        if found.is_none() {
            self.state().missed_at = Some(snapshot.loaded_at);
        }
        Ok(found)
    }

    fn lookup(&self, kid: &str) -> Result<Lookup, InternalError> {
        let found = match self.latest(MAX_AGE) {
            Some(snapshot) => snapshot.find(kid)?,
            None => None,
        };
        let missed_at = self.state().missed_at;
        let just_missed = missed_at.is_some_and(|at| age(at, self.clock.now()) < MISS_INTERVAL);
        Ok(if found.is_some() || just_missed { Lookup::Settled(found) } else { Lookup::AskTable })
    }

    /// The copy, if it is younger than this. A copy without keys is not kept, because the first key is used at once.
    fn latest(&self, max_age: TimeDelta) -> Option<Arc<Snapshot>> {
        let latest = self.state().latest.clone()?;
        (latest.keys.is_some() && age(latest.loaded_at, self.clock.now()) < max_age).then_some(latest)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// The ids of all keys.
    pub(crate) fn key_ids(&self) -> impl Iterator<Item = &KeyId> {
        self.keys.iter().flat_map(SigningKeys::public_keys).map(|(kid, _)| kid)
    }

    /// The key that signs.
    pub(crate) fn current(&self) -> Option<&DataKeyPair> {
        self.keys.as_ref().map(|keys| &keys.current)
    }

    /// All public keys, the current one first. They are parsed when they are first needed; a process that only signs
    /// never needs them.
    pub(crate) fn public_keys(&self) -> Result<&[Arc<VerificationKey>], InternalError> {
        const CONTEXT: &str = "parse a public key";
        if let Some(keys) = self.public_keys.get() {
            return Ok(keys);
        }
        let keys = self.keys.iter().flat_map(SigningKeys::public_keys).map(|(kid, public_key)| {
            let spki = STANDARD.decode(public_key).map_err(|error| InternalError::new(CONTEXT, error))?;
            VerificationKey::new(kid.clone(), spki, CONTEXT).map(Arc::new)
        });
        let keys = keys.collect::<Result<_, InternalError>>()?;
        Ok(self.public_keys.get_or_init(|| keys))
    }

    fn find(&self, kid: &str) -> Result<Option<Arc<VerificationKey>>, InternalError> {
        Ok(self.public_keys()?.iter().find(|key| key.id.as_str() == kid).map(Arc::clone))
    }
}
