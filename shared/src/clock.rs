//! The time, as an injected dependency. A request reads it once, so that all its decisions agree.

use std::fmt::Debug;

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};

/// A source of the current time.
pub trait Clock: Debug + Send + Sync {
    /// The current instant.
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

/// The instant a lifetime ends that begins now, in whole seconds since a JWT knows no others (RFC 7519, 2:
/// `NumericDate`).
#[must_use]
pub fn expiry(now: DateTime<Utc>, lifetime_seconds: u32) -> DateTime<Utc> {
    let lifetime = TimeDelta::seconds(lifetime_seconds.into());
    now.trunc_subsecs(0).checked_add_signed(lifetime).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
