//! The active-token quota of a registration: never more than `maxAllowed` at once, under any concurrency, nothing
//! swept.

use chrono::{DateTime, Utc};

use crate::{
    error::InternalError,
    id::TokenSlot,
    random::Random,
    store::{Registration, TokenWritePlan},
};

/// How many expired tokens one write removes. Each takes 60 bytes of the 4 KB that DynamoDB allows an expression.
const MAX_REMOVED: usize = 50;

/// What it takes to record one more token.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Plan {
    /// Record it.
    Record(TokenWritePlan),
    /// Remove these expired tokens first: there are more of them than the write that records the token removes. This
    /// happens after the quota was lowered.
    MakeRoom(Vec<TokenSlot>),
    /// As many tokens as are allowed are active.
    Full,
}

/// Plans to record a token in this slot. If more tokens have expired than one write removes, writers at the same time
/// begin at different ones, by `start`, so that they do not conflict.
pub(super) fn plan(registration: &Registration, slot: TokenSlot, now: DateTime<Utc>, start: usize) -> Plan {
    let expired = registration.tokens.iter().filter(|(other, token)| **other != slot && !token.is_active(now));
    let mut expired: Vec<TokenSlot> = expired.map(|(slot, _)| *slot).collect();
    let start = start.checked_rem(expired.len()).unwrap_or(0);
    expired.rotate_left(start);
    expired.truncate(MAX_REMOVED);
    let plan = TokenWritePlan { slot, expired };
    if registration.tokens.len() < plan.limit(registration) {
        Plan::Record(plan)
    } else if registration.active_tokens(now) < registration.max_allowed.try_into().unwrap_or(usize::MAX) {
        Plan::MakeRoom(plan.expired)
    } else {
        Plan::Full
    }
}

/// How many seconds it takes until a full registration has a place for another token, at least 1.
pub(super) fn seconds_until_free(registration: &Registration, now: DateTime<Utc>) -> u32 {
    let mut active: Vec<_> = registration.tokens.values().filter(|token| token.is_active(now)).collect();
    active.sort_unstable_by_key(|token| token.expires_at);
    // After a lower quota was set, more than one must expire.
    let above = active.len().saturating_sub(registration.max_allowed.try_into().unwrap_or(usize::MAX));
    // Tokens expire at whole seconds.
    let wait = active.get(above).map_or(1, |token| token.expires_at.timestamp() - now.timestamp());
    u32::try_from(wait.max(1)).unwrap_or(u32::MAX)
}

/// A random `start` for [`plan`].
pub(super) fn random_start(random: &dyn Random) -> Result<usize, InternalError> {
    random.bytes().map(|bytes| usize::from(u16::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{id::TokenId, input::Scopes, random::SystemRandom, store::RegistrationToken};

    const NOW: i64 = 1_800_000_000;

    fn registration(max_allowed: u32, expiries: &[i64]) -> Registration {
        let tokens = expiries
            .iter()
            .map(|exp| DateTime::from_timestamp(*exp, 0).unwrap())
            .map(|expires_at| RegistrationToken { expires_at, email: None, idempotency: None })
            .map(|token| (TokenId::random(&SystemRandom).unwrap().into(), token));
        Registration {
            organization_id: "0".repeat(24).parse().unwrap(),
            name: String::new(),
            max_allowed,
            token_ttl_seconds: 1,
            scopes: Scopes::default(),
            scopes_revision: 0,
            earlier_scopes: vec![],
            tokens: tokens.collect::<BTreeMap<_, _>>(),
            revoked: BTreeMap::new(),
            revoked_emptied_by: None,
            settings_version: None,
        }
    }

    fn slot() -> TokenSlot {
        TokenSlot::derived(b"new")
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(NOW, 999_999_999).unwrap()
    }

    fn recorded(registration: &Registration, slot: TokenSlot) -> TokenWritePlan {
        match plan(registration, slot, now(), 0) {
            Plan::Record(planned) => planned,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_frees_its_place_at_the_instant_it_expires() {
        assert_eq!(plan(&registration(1, &[NOW + 1]), slot(), now(), 0), Plan::Full);
        assert_eq!(recorded(&registration(1, &[NOW]), slot()).expired.len(), 1);
        assert!(recorded(&registration(1, &[]), slot()).expired.is_empty());
    }

    #[test]
    fn a_full_registration_says_when_a_place_is_free() {
        assert_eq!(seconds_until_free(&registration(2, &[NOW + 30, NOW + 9]), now()), 9);
        assert_eq!(seconds_until_free(&registration(1, &[NOW + 30, NOW + 9, NOW, NOW + 20]), now()), 30);
        assert_eq!(seconds_until_free(&registration(1, &[NOW + 1]), now()), 1);
    }

    #[test]
    fn an_expired_token_in_the_same_slot_is_replaced() {
        let mut full = registration(2, &[NOW, NOW + 1]);
        let expired = *full.tokens.iter().find(|(_, token)| !token.is_active(now())).unwrap().0;
        let planned = recorded(&full, expired);
        assert!(planned.expired.is_empty());
        assert_eq!(planned.limit(&full), 3);
        full.max_allowed = 1;
        assert_eq!(plan(&full, expired, now(), 0), Plan::Full, "the other one is active");
    }

    #[test]
    fn a_lowered_quota_is_met_in_several_writes() {
        let mut registration = registration(10, &[NOW; 170]);
        for removed in [50, 50, 50] {
            let Plan::MakeRoom(expired) = plan(&registration, slot(), now(), 7) else { panic!("{registration:?}") };
            assert_eq!(expired.iter().collect::<BTreeSet<_>>().len(), removed);
            assert!(expired.iter().all(|slot| registration.tokens.remove(slot).is_some()));
        }
        assert_eq!(recorded(&registration, slot()).expired.len(), 20);
    }

    proptest! {
        #[test]
        fn after_the_write_no_more_are_active_than_allowed(expiries in vec(NOW - 100..NOW + 100, 0..200), start: usize) {
            let registration = registration(200, &expiries);
            let planned = plan(&registration, slot(), now(), start);
            let active = registration.active_tokens(now());
            match planned {
                Plan::Full => prop_assert_eq!(active, 200),
                Plan::MakeRoom(_) => prop_assert!(false, "the quota was not lowered"),
                Plan::Record(planned) => {
                    let removed: BTreeSet<_> = planned.expired.iter().collect();
                    prop_assert_eq!(removed.len(), planned.expired.len());
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
            prop_assert_eq!(plan(&registration(max, &expiries), slot(), now(), 0) == Plan::Full, active == max_len);
        }
    }
}
