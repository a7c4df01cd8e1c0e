//! Time as the store sees it: Unix milliseconds that never run backwards (I15).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Source of wall time; tests put their own in its place.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn unix_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Starts at the given Unix time in milliseconds.
    pub fn new(unix_ms: u64) -> Self {
        ManualClock(AtomicU64::new(unix_ms))
    }

    /// Sets the time, in Unix milliseconds; backwards too, as an operator might.
    pub fn set(&self, unix_ms: u64) {
        // Relaxed: carries no other data.
        self.0.store(unix_ms, Ordering::Relaxed);
    }

    /// Moves the time ahead.
    pub fn advance(&self, by: Duration) {
        // Relaxed: carries no other data.
        self.0.fetch_add(millis(by), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn unix_ms(&self) -> u64 {
        // Relaxed: carries no other data.
        self.0.load(Ordering::Relaxed)
    }
}

/// Whole milliseconds of a duration, saturating.
pub(crate) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// The shared ratchet of I15: `now` is the highest wall time seen so far.
pub(crate) struct Ratchet {
    source: std::sync::Arc<dyn Clock>,
    highest_ms: AtomicU64,
}

impl Ratchet {
    pub(crate) fn new(source: std::sync::Arc<dyn Clock>) -> Self {
        Ratchet { source, highest_ms: AtomicU64::new(0) }
    }

    /// The current time; at least every time that any thread was told before.
    pub(crate) fn now_ms(&self) -> u64 {
        let wall_ms = self.source.unix_ms();
        self.raise(wall_ms)
    }

    /// Raises the ratchet to `at_least_ms` and returns where it stands.
    pub(crate) fn raise(&self, at_least_ms: u64) -> u64 {
        // AcqRel: a thread that acts on this time and one that later reads it agree on
        // their order (I15); partner: the same operation in the other thread. The load
        // first keeps the line shared while many threads read within one millisecond.
        let seen_ms = self.highest_ms.load(Ordering::Acquire);
        if seen_ms >= at_least_ms {
            return seen_ms;
        }
        self.highest_ms.fetch_max(at_least_ms, Ordering::AcqRel).max(at_least_ms)
    }

    /// Wall time without the ratchet, to judge a stored time against (I15).
    pub(crate) fn wall_ms(&self) -> u64 {
        self.source.unix_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn time_never_runs_backwards_when_the_wall_clock_does() {
        let wall = Arc::new(ManualClock::new(1_000));
        let now = Ratchet::new(wall.clone());
        assert_eq!(now.now_ms(), 1_000);
        wall.set(10);
        assert_eq!(now.now_ms(), 1_000);
        assert_eq!(now.wall_ms(), 10);
        wall.advance(Duration::from_secs(5));
        assert_eq!(now.raise(2_000), 2_000);
        assert_eq!(now.now_ms(), 5_010);
    }
}
