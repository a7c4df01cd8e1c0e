//! `std::time`, where time passes only while a thread sleeps.

pub use std::time::*;

use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};

/// Never set back: an execution sees differences only.
static NOW_NS: AtomicU64 = AtomicU64::new(0);

/// A thread has slept.
pub(crate) fn pass(time: Duration) {
    NOW_NS.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(0), Ordering::Relaxed);
}

/// As the real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    pub fn now() -> Instant {
        Instant(Duration::from_nanos(NOW_NS.load(Ordering::Relaxed)))
    }

    pub fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(*self)
    }

    pub fn checked_add(&self, time: Duration) -> Option<Instant> {
        self.0.checked_add(time).map(Instant)
    }

    pub fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, time: Duration) -> Instant {
        Instant(self.0 + time)
    }
}
