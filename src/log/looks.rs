//! How often the log thread looks for what was appended.

use std::time::Duration;

/// How long appended records wait to be looked at when nothing else wakes the thread: bounds the lag of expiry hints.
const EVERY: Duration = Duration::from_millis(50);
/// The same, where each record is passed on once it is resolved,
const EVERY_FOLLOWED: Duration = Duration::from_millis(1);
/// until so many looks have found nothing new.
const IN_VAIN_MAX: u32 = 16;

#[derive(Default)]
pub(super) struct Looks {
    /// Looks since the tail has grown, and where it was.
    in_vain: u32,
    tail_lsn: u64,
}

impl Looks {
    pub(super) fn count(&mut self, tail_lsn: u64) {
        self.in_vain = if tail_lsn == self.tail_lsn { self.in_vain.saturating_add(1) } else { 0 };
        self.tail_lsn = tail_lsn;
    }

    /// Whether the next append should wake the thread. That costs who appends more than a look costs here, so it is asked for once
    /// appends have become rare. `is_followed`: somebody waits for records to be resolved.
    pub(super) fn wait_for_append(&self, is_followed: bool) -> bool {
        is_followed && self.in_vain >= IN_VAIN_MAX
    }

    pub(super) fn every(&self, is_followed: bool) -> Duration {
        if is_followed && self.in_vain < IN_VAIN_MAX {
            EVERY_FOLLOWED
        } else {
            EVERY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_frequent_while_records_that_somebody_waits_for_come() {
        let mut looks = Looks::default();
        for n in 0..IN_VAIN_MAX {
            looks.count(7);
            assert_eq!((looks.every(true), looks.wait_for_append(true)), (EVERY_FOLLOWED, false), "look {n}");
        }
        looks.count(7);
        assert_eq!((looks.every(true), looks.wait_for_append(true)), (EVERY, true));
        looks.count(8);
        assert_eq!((looks.every(true), looks.wait_for_append(true)), (EVERY_FOLLOWED, false));
    }

    #[test]
    fn looks_are_rare_where_nobody_waits() {
        let mut looks = Looks::default();
        looks.count(7);
        assert_eq!((looks.every(false), looks.wait_for_append(false)), (EVERY, false));
    }
}
