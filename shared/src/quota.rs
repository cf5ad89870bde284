//! The active-token quota of a registration: never more than `maxAllowed` at once, under any concurrency, nothing
//! swept.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{
    fault::Fault,
    id::{RegistrationId, TokenId},
    random::Random,
    store::{ActiveToken, Registration, Store, TokenWrite},
};

/// How many expired tokens one write removes. Each takes 50 bytes of the 4 KB that DynamoDB allows an expression.
const MAX_REMOVED: usize = 50;
/// How often a write that lost a race is tried again. A race is lost to a write that removed expired tokens, so every
/// round makes the reason for another rarer.
const MAX_ROUNDS: u32 = 10;

/// A place for one more token, as found in a registration at some moment. [`Store::add_token`] takes it under the
/// condition that it is still there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The expired tokens that the write removes.
    pub(crate) expired: Vec<TokenId>,
    /// Whether it is that of an expired token of the same id.
    pub(crate) replaces: bool,
    /// The quota that it was found under.
    pub(crate) max_allowed: u32,
    /// When it was found.
    pub(crate) now: DateTime<Utc>,
}

impl Place {
    /// How many tokens the map must have less than, before the expired ones are removed and the one is replaced.
    pub(crate) fn limit(&self) -> usize {
        let leaving = self.expired.len() + usize::from(self.replaces);
        leaving.saturating_add(self.max_allowed.try_into().unwrap_or(usize::MAX))
    }
}

/// The quota has no place.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("active token quota exceeded")]
pub struct QuotaExceeded;

/// Why a token was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The last place went to another.
    #[error(transparent)]
    QuotaExceeded(#[from] QuotaExceeded),
    /// The registration does not exist any more.
    #[error("the registration is gone")]
    Gone,
    /// The table failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What came of recording a token.
#[derive(Debug)]
pub enum Taken {
    /// It is recorded, and this many are active with it.
    New(usize),
    /// Another active token has its id; it, and how many are active.
    Standing(ActiveToken, usize),
}

/// Finds a place for a token of this id. Where more tokens have expired than one write removes, writers at the same
/// time begin at different ones, by `start`, so as not to be in each other's way.
///
/// # Errors
/// When as many tokens as are allowed are active.
pub fn find_place(
    registration: &Registration,
    id: TokenId,
    now: DateTime<Utc>,
    start: usize,
) -> Result<Place, QuotaExceeded> {
    let expired = registration.tokens.iter().filter(|(other, token)| **other != id && !token.is_active(now));
    let expired: Vec<TokenId> = expired.map(|(id, _)| *id).collect();
    let start = start.checked_rem(expired.len()).unwrap_or(0);
    let expired = expired.iter().cycle().skip(start).take(expired.len().min(MAX_REMOVED)).copied().collect();
    let replaces = registration.tokens.contains_key(&id);
    let place = Place { expired, replaces, max_allowed: registration.max_allowed, now };
    if registration.tokens.len() < place.limit() { Ok(place) } else { Err(QuotaExceeded) }
}

/// A random `start` for [`find_place`].
///
/// # Errors
/// When the random source fails.
pub fn random_start(random: &dyn Random) -> Result<usize, Fault> {
    random.bytes().map(|bytes| usize::from(u16::from_be_bytes(bytes)))
}

/// Records a token, in `place` or, where others were faster, in what the registration has left. The loser of a race
/// gets the current registration with its refusal, so a round is one write and nothing else.
///
/// # Errors
/// When there is no place left, no registration, or no answer.
pub async fn take(
    store: &Store,
    registration: &RegistrationId,
    mut place: Place,
    (id, token): (TokenId, &ActiveToken),
    now: DateTime<Utc>,
    random: &dyn Random,
) -> Result<Taken, TakeError> {
    for round in 1..=MAX_ROUNDS {
        let current = match store.add_token(registration, id, token, &place).await? {
            TokenWrite::Added(registration) => return Ok(Taken::New(registration.active_tokens(now))),
            TokenWrite::Moved(registration) => registration,
            TokenWrite::Gone => return Err(TakeError::Gone),
        };
        if let Some(standing) = current.tokens.get(&id).filter(|token| token.is_active(now)) {
            return Ok(Taken::Standing(standing.clone(), current.active_tokens(now)));
        }
        place = find_place(&current, id, now, random_start(random)?)?;
        let [jitter] = random.bytes()?;
        tokio::time::sleep(Duration::from_micros(u64::from(jitter) * 10 * u64::from(round))).await;
    }
    Err(Fault::new("record the token", "too many writers removed expired tokens at the same time").into())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::random::SystemRandom;

    const NOW: i64 = 1_800_000_000;

    fn registration(max_allowed: u32, expiries: &[i64]) -> Registration {
        let tokens = expiries
            .iter()
            .map(|exp| (TokenId::random(&SystemRandom).unwrap(), ActiveToken { exp: *exp, email: None, repeat: None }));
        Registration {
            organization_id: "0".repeat(24).parse().unwrap(),
            name: String::new(),
            max_allowed,
            token_ttl_seconds: 1,
            scopes: vec![],
            tokens: tokens.collect::<BTreeMap<_, _>>(),
        }
    }

    fn id() -> TokenId {
        TokenId::derived(b"new")
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(NOW, 999_999_999).unwrap()
    }

    #[test]
    fn a_token_frees_its_place_at_the_instant_it_expires() {
        assert_eq!(find_place(&registration(1, &[NOW + 1]), id(), now(), 0), Err(QuotaExceeded));
        assert_eq!(find_place(&registration(1, &[NOW]), id(), now(), 0).unwrap().expired.len(), 1);
        assert!(find_place(&registration(1, &[]), id(), now(), 0).unwrap().expired.is_empty());
    }

    #[test]
    fn an_expired_token_of_the_same_id_is_replaced() {
        let mut full = registration(2, &[NOW, NOW + 1]);
        let expired = *full.tokens.iter().find(|(_, token)| !token.is_active(now())).unwrap().0;
        let place = find_place(&full, expired, now(), 0).unwrap();
        assert!(place.replaces && place.expired.is_empty());
        assert_eq!(place.limit(), 3);
        full.max_allowed = 1;
        assert_eq!(find_place(&full, expired, now(), 0), Err(QuotaExceeded), "the other one is active");
    }

    proptest! {
        #[test]
        fn after_the_write_no_more_are_active_than_allowed(expiries in vec(NOW - 100..NOW + 100, 0..200), start: usize) {
            let registration = registration(200, &expiries);
            let place = find_place(&registration, id(), now(), start);
            let active = registration.active_tokens(now());
            match place {
                Err(QuotaExceeded) => prop_assert_eq!(active, 200),
                Ok(place) => {
                    let removed: BTreeSet<_> = place.expired.iter().collect();
                    prop_assert_eq!(removed.len(), place.expired.len());
                    prop_assert!(removed.iter().all(|id| !registration.tokens[id].is_active(now())));
                    prop_assert_eq!(removed.len(), (expiries.len() - active).min(MAX_REMOVED));
                    prop_assert!(registration.tokens.len() - removed.len() < 200);
                }
            }
        }

        #[test]
        fn full_means_that_many_active(max in 1..20_u32, expired in 0..20_usize, missing in 0..3_usize) {
            let max_len = usize::try_from(max).unwrap();
            let active = max_len.saturating_sub(missing);
            let mut expiries = vec![NOW + 1; active];
            expiries.resize(active + expired.min(max_len - active), NOW);
            prop_assert_eq!(find_place(&registration(max, &expiries), id(), now(), 0).is_err(), active == max_len);
        }
    }
}
