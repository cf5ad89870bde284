//! The time, as an injected dependency. A request reads it once, so that all its decisions agree.

use std::fmt::Debug;

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};

/// A source of the current time.
pub trait Clock: Debug + Send + Sync {
    fn now(&self) -> DateTime<Utc>;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    fn now(&self) -> DateTime<Utc> {
        std::time::SystemTime::now().into()
    }
}

/// An instant as answers and lists show it: RFC 3339 with milliseconds and `Z`.
#[must_use]
pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An optional instant in an item, as [`rfc3339`] writes it, so that a condition can compare the text.
pub mod optional_rfc3339 {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(super::rfc3339).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
        Option::deserialize(deserializer)
    }
}

/// When a lifetime that starts now ends. In whole seconds, because a JWT has no smaller unit (RFC 7519, 2:
/// `NumericDate`).
#[must_use]
pub fn expiry(now: DateTime<Utc>, lifetime_seconds: u32) -> DateTime<Utc> {
    let lifetime = TimeDelta::seconds(lifetime_seconds.into());
    now.trunc_subsecs(0).checked_add_signed(lifetime).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// How long ago `at` was. If the clock was set back since, `at` is in the future and counts as very old: what is cached
/// is then fetched again, not kept for too long.
#[must_use]
pub fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> TimeDelta {
    let age = now - at;
    if age < TimeDelta::zero() { TimeDelta::MAX } else { age }
}
