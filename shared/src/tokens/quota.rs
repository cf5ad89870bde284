//! The active-token quota of a registration: never more than `maxAllowed` at once, under any concurrency, nothing
//! swept.

use chrono::{DateTime, Utc};

use crate::{
    error::InternalError,
    id::{TokenSlot, TrustedKeys},
    random::Random,
    store::{EndedToken, Registration, TokenWritePlan},
};

/// How many ended tokens one write removes. Each takes 60 bytes of the 4 KB that DynamoDB allows an expression.
const MAX_REMOVED: usize = 50;

/// What it takes to record one more token.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Plan {
    /// Record it.
    Record(TokenWritePlan),
    /// Remove these ended tokens first: there are more of them than the write that records the token removes. This
    /// happens after the quota was lowered.
    MakeRoom(Vec<EndedToken>),
    /// As many tokens as are allowed are active.
    Full,
}

/// Plans to record a token in this slot, which has no active one. If more tokens are over than one write removes,
/// writers at the same time begin at different ones, by `start`, so that they do not conflict.
pub(super) fn plan(
    registration: &Registration,
    slot: TokenSlot,
    now: DateTime<Utc>,
    keys: &TrustedKeys,
    start: usize,
) -> Plan {
    let others = registration.tokens.iter().filter(|(other, _)| **other != slot);
    let ended = others.filter_map(|(slot, token)| Some(EndedToken { slot: *slot, end: token.end(now, keys)? }));
    let mut removes: Vec<_> = ended.collect();
    let start = start.checked_rem(removes.len()).unwrap_or(0);
    removes.rotate_left(start);
    removes.truncate(MAX_REMOVED);
    let replaces = registration.tokens.get(&slot).and_then(|token| token.end(now, keys));
    let plan = TokenWritePlan { slot, replaces, removes };
    if registration.tokens.len() < plan.limit(registration) {
        Plan::Record(plan)
    } else if registration.active_tokens(now, keys) < registration.max_allowed.try_into().unwrap_or(usize::MAX) {
        Plan::MakeRoom(plan.removes)
    } else {
        Plan::Full
    }
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
    use crate::{
        id::{KeyFingerprint, KeyId, TokenId},
        input::{Claims, Scopes},
        random::SystemRandom,
        store::{Generation, OwnerState, RegistrationToken, Suspension, TokenEnd},
    };

    const NOW: i64 = 1_800_000_000;

    fn key(id: &str) -> KeyFingerprint {
        id.parse::<KeyId>().unwrap().fingerprint()
    }

    fn keys() -> TrustedKeys {
        TrustedKeys::default().with(key("one"))
    }

    fn registration(max_allowed: u32, expiries: &[i64]) -> Registration {
        let tokens = expiries
            .iter()
            .map(|exp| DateTime::from_timestamp(*exp, 0).unwrap())
            .map(|expires_at| RegistrationToken { expires_at, key: key("one"), email: None, idempotency: None })
            .map(|token| (TokenId::random(&SystemRandom).unwrap().into(), token));
        Registration {
            organization_id: "0".repeat(24).parse().unwrap(),
            name: String::new(),
            max_allowed,
            token_ttl_seconds: 1,
            scopes: Scopes::default(),
            claims: Claims::default(),
            contents_revision: 0,
            earlier_contents: vec![],
            audiences: vec![],
            confidential: false,
            client_credentials_ttl_seconds: 60,
            revoked_machine_tokens: BTreeMap::new(),
            machine_generation: Generation::default(),
            tokens: tokens.collect::<BTreeMap<_, _>>(),
            revoked: BTreeMap::new(),
            revoked_emptied_by: None,
            settings_version: None,
            state: OwnerState::new(Suspension::default()),
        }
    }

    fn slot() -> TokenSlot {
        TokenSlot::derived(b"new")
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(NOW, 999_999_999).unwrap()
    }

    fn recorded(registration: &Registration, slot: TokenSlot) -> TokenWritePlan {
        match plan(registration, slot, now(), &keys(), 0) {
            Plan::Record(planned) => planned,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_frees_its_place_at_the_instant_it_expires() {
        assert_eq!(plan(&registration(1, &[NOW + 1]), slot(), now(), &keys(), 0), Plan::Full);
        assert_eq!(recorded(&registration(1, &[NOW]), slot()).removes.len(), 1);
        assert!(recorded(&registration(1, &[]), slot()).removes.is_empty());
    }

    #[test]
    fn an_expired_token_in_the_same_slot_is_replaced() {
        let mut full = registration(2, &[NOW, NOW + 1]);
        let expired = *full.tokens.iter().find(|(_, token)| !token.is_active(now(), &keys())).unwrap().0;
        let planned = recorded(&full, expired);
        assert_eq!((planned.replaces.as_ref(), planned.removes.len()), (Some(&TokenEnd::Expired), 0));
        assert_eq!(planned.limit(&full), 3);
        full.max_allowed = 1;
        assert_eq!(plan(&full, expired, now(), &keys(), 0), Plan::Full, "the other one is active");
    }

    #[test]
    fn a_token_of_a_withdrawn_key_frees_its_place_and_is_removed() {
        let mut full = registration(2, &[NOW + 1, NOW + 1]);
        let slots: Vec<_> = full.tokens.keys().copied().collect();
        assert_eq!(plan(&full, slot(), now(), &keys(), 0), Plan::Full);
        full.tokens.get_mut(&slots[0]).unwrap().key = key("two");
        let end = TokenEnd::KeyWithdrawn(key("two"));
        assert_eq!(recorded(&full, slot()).removes, [EndedToken { slot: slots[0], end: end.clone() }]);
        assert_eq!(recorded(&full, slots[0]).replaces, Some(end));
        assert_eq!(full.active_tokens(now(), &keys()), 1);
        assert_eq!(full.active_tokens(now(), &keys().with(key("two"))), 2);
    }

    #[test]
    fn a_lowered_quota_is_met_in_several_writes() {
        let mut registration = registration(10, &[NOW; 170]);
        for removed in [50, 50, 50] {
            let Plan::MakeRoom(expired) = plan(&registration, slot(), now(), &keys(), 7) else {
                panic!("{registration:?}")
            };
            assert_eq!(expired.iter().map(|token| token.slot).collect::<BTreeSet<_>>().len(), removed);
            assert!(expired.iter().all(|token| registration.tokens.remove(&token.slot).is_some()));
        }
        assert_eq!(recorded(&registration, slot()).removes.len(), 20);
    }

    proptest! {
        #[test]
        fn after_the_write_no_more_are_active_than_allowed(expiries in vec(NOW - 100..NOW + 100, 0..200), start: usize) {
            let registration = registration(200, &expiries);
            let planned = plan(&registration, slot(), now(), &keys(), start);
            let active = registration.active_tokens(now(), &keys());
            match planned {
                Plan::Full => prop_assert_eq!(active, 200),
                Plan::MakeRoom(_) => prop_assert!(false, "the quota was not lowered"),
                Plan::Record(planned) => {
                    let removed: BTreeSet<_> = planned.removes.iter().map(|token| token.slot).collect();
                    prop_assert_eq!(removed.len(), planned.removes.len());
                    prop_assert!(removed.iter().all(|id| !registration.tokens[id].is_active(now(), &keys())));
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
            prop_assert_eq!(plan(&registration(max, &expiries), slot(), now(), &keys(), 0) == Plan::Full, active == max_len);
        }
    }
}
