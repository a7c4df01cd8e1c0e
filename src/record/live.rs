//! The word of a record that others may be looking at. Model: `tests/loom/src/publish.rs`.

use super::layout::{State, Word};
use crate::sync::{AtomicU64, Ordering};

/// A record's first eight bytes, in shared memory.
#[derive(Clone, Copy)]
pub(crate) struct LiveWord<'m>(pub(crate) &'m AtomicU64);

impl LiveWord<'_> {
    /// Makes a filled record readable.
    #[inline]
    pub(crate) fn publish(self, word: Word) {
        // Release: publishes the record's bytes; pairs with the Acquire in `load`.
        self.0.store(word.0, Ordering::Release);
    }

    /// The word; zero where none was written yet.
    #[inline]
    pub(crate) fn load(self) -> Word {
        // Acquire: pairs with the Release in `publish` and `resolve`.
        Word(self.0.load(Ordering::Acquire))
    }

    /// Turns a pending record into `to`, unless somebody else decided it first; returns the state it is in
    /// afterwards (I4: a reader, the writer and the compactor may all try to commit).
    #[inline]
    pub(crate) fn resolve(self, to: State) -> Option<State> {
        let seen = self.load();
        if seen.state()? != State::Pending {
            return seen.state();
        }
        // AcqRel: the decision is ordered after the record's bytes and before what the decider does next; pairs
        // with the Acquire in `load`.
        match self.0.compare_exchange(seen.0, seen.with_state(to).0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Some(to),
            Err(now) => Word(now).state(),
        }
    }
}
