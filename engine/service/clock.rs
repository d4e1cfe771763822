//! The one place that reads a clock. Invariant: everything else is told the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where time comes from.
pub trait Clock {
    /// Monotonic time.
    fn now(&self) -> Instant;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// Monotonic time, for code that lives outside of the shards.
pub fn now() -> Instant {
    SystemClock.now()
}

/// Seconds since 1970, for certificates, logs and reports.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Milliseconds since 1970, for events and for what is kept on disk.
pub fn unix_millis() -> u64 {
    let since = system_time().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock, for judging certificates.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn system_time() -> SystemTime {
    SystemTime::now()
}
