//! A hierarchical timing wheel (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987).
//!
//! Level 0 has a bucket for each tick, each level above one for all the buckets of the level below. A hint goes
//! into the lowest level that reaches its deadline, and moves down when its bucket's time comes: at most once a
//! level. So inserting costs a push, and firing costs what fires, whatever the number stored.

/// A record worth a look at its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Hint {
    pub(crate) deadline_ms: u64,
    pub(crate) place: Spot,
}

/// Where a record was last known to lie. It may have moved since: whoever comes back to it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) segment_id: u64,
    pub(crate) offset_bytes: u32,
    /// Number in the segment table, good while that segment has this id.
    pub(crate) segment: u16,
}

/// Milliseconds of a level-0 bucket, as a power of two: a hint fires less than two buckets after its deadline.
const TICK_BITS: u32 = 7;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Enough for every deadline of 64 bits.
const LEVELS: usize = (u64::BITS - TICK_BITS).div_ceil(SLOT_BITS) as usize;

struct Level {
    buckets: [Vec<Hint>; SLOTS],
    /// Bit n: bucket n holds a hint.
    occupied: u64,
}

/// Hints by deadline. Owned by one thread.
pub(crate) struct Wheel {
    levels: Vec<Level>,
    /// Every hint of an earlier tick has fired.
    tick: u64,
    hints: usize,
}

fn tick_of(ms: u64) -> u64 {
    ms >> TICK_BITS
}

/// First tick that is wholly past a deadline: a hint never fires early.
fn due_tick(deadline_ms: u64) -> u64 {
    tick_of(deadline_ms.saturating_add((1 << TICK_BITS) - 1))
}

impl Wheel {
    pub(crate) fn new(now_ms: u64) -> Wheel {
        let level = || Level { buckets: std::array::from_fn(|_| Vec::new()), occupied: 0 };
        Wheel { levels: (0..LEVELS).map(|_| level()).collect(), tick: tick_of(now_ms), hints: 0 }
    }

    pub(crate) fn hints(&self) -> usize {
        self.hints
    }

    /// Adds a hint; one whose deadline has passed fires at the next tick.
    pub(crate) fn insert(&mut self, hint: Hint) {
        self.hints += 1;
        self.place(hint);
    }

    /// Level and slot of the bucket for a tick that lies ahead.
    fn bucket(&self, due: u64) -> (usize, usize) {
        // The highest group of bits in which due and current tick differ is the level.
        let level = ((due ^ self.tick).ilog2() / SLOT_BITS) as usize;
        (level, (due >> (SLOT_BITS * level as u32)) as usize % SLOTS)
    }

    fn place(&mut self, hint: Hint) {
        let (level, slot) = self.bucket(due_tick(hint.deadline_ms).max(self.tick.saturating_add(1)));
        if let Some(level) = self.levels.get_mut(level) {
            level.occupied |= 1 << slot;
            if let Some(bucket) = level.buckets.get_mut(slot) {
                bucket.push(hint);
            }
        }
    }

    /// Takes a bucket's hints, and its memory with them: after a peak, none is held back.
    fn take(&mut self, level: usize, slot: usize) -> Vec<Hint> {
        let Some(level) = self.levels.get_mut(level) else { return Vec::new() };
        level.occupied &= !(1 << slot);
        level.buckets.get_mut(slot).map(std::mem::take).unwrap_or_default()
    }

    /// Next tick at which some bucket must be looked at; `None` in an empty wheel.
    fn next_tick(&self) -> Option<u64> {
        self.levels.iter().enumerate().find_map(|(number, level)| {
            let shift = SLOT_BITS * number as u32;
            let current = (self.tick >> shift) as usize % SLOTS;
            // Buckets behind the current one in this round; those before it are held by a level above.
            let ahead = level.occupied & (!1u64).checked_shl(current as u32).unwrap_or(0);
            if ahead == 0 {
                return None;
            }
            let slot = u64::from(ahead.trailing_zeros());
            let round = self.tick.checked_shr(shift + SLOT_BITS).unwrap_or(0);
            Some(((round << SLOT_BITS) | slot) << shift)
        })
    }

    /// When `advance` has something to do again, in Unix milliseconds; `None` in an empty wheel.
    pub(crate) fn next_wake_ms(&self) -> Option<u64> {
        self.next_tick().map(|tick| tick.saturating_mul(1 << TICK_BITS))
    }

    /// Moves the time ahead and hands over every hint that is due. A time before the last one does nothing.
    pub(crate) fn advance(&mut self, now_ms: u64, mut fire: impl FnMut(Hint)) {
        let now = tick_of(now_ms);
        while let Some(next) = self.next_tick().filter(|next| *next <= now) {
            self.tick = next;
            // A tick that ends a round of several levels opens a bucket of each: from above, so that what
            // moves down is found by the level below.
            for level in (0..LEVELS).rev() {
                let shift = SLOT_BITS * level as u32;
                if next & ((1u64 << shift) - 1) != 0 {
                    continue;
                }
                let slot = (next >> shift) as usize % SLOTS;
                for hint in self.take(level, slot) {
                    if due_tick(hint.deadline_ms) <= next {
                        self.hints -= 1;
                        fire(hint);
                    } else {
                        self.place(hint);
                    }
                }
            }
        }
        self.tick = self.tick.max(now);
    }

    /// As `advance`, with the hints of the current tick whose deadline has passed.
    pub(crate) fn advance_to_the_millisecond(&mut self, now_ms: u64, mut fire: impl FnMut(Hint)) {
        self.advance(now_ms, &mut fire);
        // A deadline in the current tick, or before it, fires when that tick is over: they share one bucket.
        let (level, slot) = self.bucket(self.tick.saturating_add(1));
        for hint in self.take(level, slot) {
            if hint.deadline_ms <= now_ms {
                self.hints -= 1;
                fire(hint);
            } else {
                self.place(hint);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TICK_MS: u64 = 1 << TICK_BITS;

    fn hint(deadline_ms: u64, n: u64) -> Hint {
        Hint { deadline_ms, place: Spot { segment_id: n, offset_bytes: 0, segment: 0 } }
    }

    fn fired(wheel: &mut Wheel, now_ms: u64) -> Vec<Hint> {
        let mut out = Vec::new();
        wheel.advance(now_ms, |hint| out.push(hint));
        out.sort();
        out
    }

    #[test]
    fn an_idle_wheel_has_no_reason_to_wake() {
        let mut wheel = Wheel::new(1_700_000_000_000);
        assert_eq!(wheel.next_wake_ms(), None);
        wheel.insert(hint(1_700_000_001_000, 1));
        assert!(wheel.next_wake_ms().unwrap() >= 1_700_000_001_000);
        assert_eq!(fired(&mut wheel, 1_700_000_001_000 + TICK_MS).len(), 1);
        assert_eq!((wheel.next_wake_ms(), wheel.hints()), (None, 0));
    }

    #[test]
    fn a_deadline_at_the_end_of_time_is_kept() {
        let mut wheel = Wheel::new(0);
        wheel.insert(hint(u64::MAX, 1));
        assert_eq!(fired(&mut wheel, 1 << 60), []);
        assert_eq!(wheel.hints(), 1);
    }

    proptest! {
        #[test]
        fn each_hint_fires_once_never_early_and_at_most_a_tick_late_or_not_late_if_asked_so(
            start in prop_oneof![Just(0u64), Just(1_700_000_000_000), any::<u32>().prop_map(u64::from)],
            steps in prop::collection::vec(
                (
                    prop_oneof![0u64..300, 0u64..100_000, 0u64..1 << 45],
                    prop_oneof![0u64..200, 0u64..1 << 22, 0u64..1 << 44],
                    any::<bool>(),
                ),
                1..60,
            ),
        ) {
            let (mut wheel, mut model, mut now) = (Wheel::new(start), Vec::<Hint>::new(), start);
            for (n, (ttl_ms, step_ms, is_exact)) in steps.into_iter().enumerate() {
                let hint = hint(now + ttl_ms, n as u64);
                wheel.insert(hint);
                model.push(hint);
                if let Some(wake_ms) = wheel.next_wake_ms() {
                    let first = model.iter().map(|hint| hint.deadline_ms).min().unwrap();
                    prop_assert!(wake_ms <= first.max(now) + 2 * TICK_MS, "sleeps past a deadline");
                }
                now += step_ms;
                let mut due = Vec::new();
                if is_exact {
                    wheel.advance_to_the_millisecond(now, |hint| due.push(hint));
                } else {
                    wheel.advance(now, |hint| due.push(hint));
                }
                for hint in due {
                    prop_assert!(hint.deadline_ms <= now, "early");
                    let at = model.iter().position(|other| *other == hint);
                    prop_assert!(at.is_some(), "fired twice");
                    model.swap_remove(at.unwrap());
                }
                for late in &model {
                    let late_ms_max = if is_exact { 0 } else { 2 * TICK_MS };
                    prop_assert!(late.deadline_ms + late_ms_max > now, "{late:?} did not fire by {now}");
                }
                prop_assert_eq!(wheel.hints(), model.len());
            }
        }
    }
}
