//! The keys of envelope signing as this process knows them. A copy of the table's is kept and read again often enough that
//! a withdrawn key soon neither signs nor is trusted.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    clock::Clock,
    error::InternalError,
    keys::verification_key::VerificationKey,
    store::{DataKeyPair, KeySet, Store},
};

/// A request that finds the copy older than this reads it again, beside its other reads. The copy still serves if that
/// fails, so one failed read fails no request.
const REFRESH_AFTER: TimeDelta = TimeDelta::seconds(30);
/// A copy older than this is not used. A withdrawn key signs and is trusted for at most this long, whatever fails.
const MAX_AGE: TimeDelta = TimeDelta::seconds(60);
/// Unknown key ids cost at most one read in this time.
const MISS_INTERVAL: TimeDelta = TimeDelta::seconds(1);

/// The latest copy of the keys.
#[derive(Debug)]
pub(crate) struct KeySetCache {
    store: Store,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held while the keys are read, so that one reads for all who wait.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    latest: Option<Arc<Snapshot>>,
    /// When the keys were last read for an id that was not among them.
    missed_at: Option<DateTime<Utc>>,
}

/// The keys as the table had them at one time.
#[derive(Debug)]
pub(crate) struct Snapshot {
    read_at: DateTime<Utc>,
    /// `None` before the first key was made.
    ring: Option<KeySet>,
    public_keys: OnceLock<Vec<Arc<VerificationKey>>>,
}

/// What the copy says about a key id.
enum Lookup {
    Settled(Option<Arc<VerificationKey>>),
    AskTable,
}

impl KeySetCache {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, state: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    /// The keys as the table has them now.
    pub(crate) async fn read(&self) -> Result<Arc<Snapshot>, InternalError> {
        let read_at = self.clock.now();
        let ring = self.store.load_key_set().await?;
        let snapshot = Arc::new(Snapshot { read_at, ring, public_keys: OnceLock::new() });
        self.state().latest = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// A copy that may be used, read if there is none.
    pub(crate) async fn recent(&self) -> Result<Arc<Snapshot>, InternalError> {
        if let Some(snapshot) = self.latest(MAX_AGE) {
            return Ok(snapshot);
        }
        let _turn = self.reading.lock().await;
        match self.latest(MAX_AGE) {
            Some(snapshot) => Ok(snapshot),
            None => self.read().await,
        }
    }

    /// Reads the keys again if it is time, so that [`Self::recent`] has no need to.
    pub(crate) async fn refresh(&self) -> Result<(), InternalError> {
        if self.latest(REFRESH_AFTER).is_some() {
            return Ok(());
        }
        if self.latest(MAX_AGE).is_none() {
            return self.recent().await.map(drop);
        }
        // Whoever comes while another reads goes on with the copy.
        let Ok(_turn) = self.reading.try_lock() else { return Ok(()) };
        if let Err(fault) = self.read().await {
            tracing::warn!(
                error = fault.chain(),
                "the signing keys were not read again; those read before still serve"
            );
        }
        Ok(())
    }

    /// Drops the copy and what was not in it, so that the next request reads the keys again.
    pub(crate) fn forget(&self) {
        *self.state() = State::default();
    }

    /// The key with this id. The table is asked about a new one, which may be that of a rotation a moment ago.
    pub(crate) async fn find(&self, kid: &str) -> Result<Option<Arc<VerificationKey>>, InternalError> {
        if let Lookup::Settled(key) = self.lookup(kid)? {
            return Ok(key);
        }
        let _turn = self.reading.lock().await;
        if let Lookup::Settled(key) = self.lookup(kid)? {
            return Ok(key);
        }
        let snapshot = self.read().await?;
        let found = snapshot.find(kid)?;
        if found.is_none() {
            self.state().missed_at = Some(snapshot.read_at);
        }
        Ok(found)
    }

    fn lookup(&self, kid: &str) -> Result<Lookup, InternalError> {
        let found = match self.latest(MAX_AGE) {
            Some(snapshot) => snapshot.find(kid)?,
            None => None,
        };
        let missed_at = self.state().missed_at;
        let just_missed = missed_at.is_some_and(|at| self.age(at) < MISS_INTERVAL);
        Ok(if found.is_some() || just_missed { Lookup::Settled(found) } else { Lookup::AskTable })
    }

    /// The copy, if it is younger than this. An empty one never is: the first key is to be used at once.
    fn latest(&self, max_age: TimeDelta) -> Option<Arc<Snapshot>> {
        let latest = self.state().latest.clone()?;
        (latest.ring.is_some() && self.age(latest.read_at) < max_age).then_some(latest)
    }

    /// How long ago this was. A clock that was set back makes it old, not new.
    fn age(&self, at: DateTime<Utc>) -> TimeDelta {
        let age = self.clock.now() - at;
        if age < TimeDelta::zero() { TimeDelta::MAX } else { age }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// The key that signs.
    pub(crate) fn current(&self) -> Option<&DataKeyPair> {
        self.ring.as_ref().map(|ring| &ring.current)
    }

    /// All public keys, that of the current one first. Parsed when they are first needed: who only signs never does.
    pub(crate) fn public_keys(&self) -> Result<&[Arc<VerificationKey>], InternalError> {
        const CONTEXT: &str = "read a public key";
        if let Some(keys) = self.public_keys.get() {
            return Ok(keys);
        }
        let keys = self.ring.iter().flat_map(KeySet::public_keys).map(|(kid, public_key)| {
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
