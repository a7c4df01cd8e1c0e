//! Pauses between attempts.

use crate::io::random_u64;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(20);

/// Grows with each failure, with jitter so that many processes do not come back as one.
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn new(max: Duration) -> Backoff {
        Backoff { next: FIRST.min(max), max }
    }

    /// The pause after one more failure: between half of the bound and the bound, which doubles each time.
    pub(super) fn pause(&mut self) -> Duration {
        let bound = self.next;
        self.next = bound.saturating_mul(2).min(self.max);
        bound / 2 + (bound / 2).mul_f64((random_u64() >> 32) as f64 / 4_294_967_296.0)
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST.min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_are_never_the_same_for_all() {
        let mut backoff = Backoff::new(Duration::from_millis(100));
        let mut bound = FIRST;
        for _ in 0..8 {
            let pause = backoff.pause();
            assert!(bound / 2 <= pause && pause <= bound, "{pause:?} of {bound:?}");
            bound = (bound * 2).min(Duration::from_millis(100));
        }
        let pauses: std::collections::HashSet<_> = (0..16).map(|_| backoff.pause()).collect();
        assert!(pauses.len() > 8);
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
