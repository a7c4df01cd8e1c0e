//! Parts of the log that somebody is reading: segments that begin there are not compacted away meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// LSNs from which on the log is held.
#[derive(Default)]
pub(crate) struct Holds(Mutex<Held>);

#[derive(Default)]
struct Held {
    from_lsns: Vec<u64>,
    /// Somebody was told of a segment that it is held, and shall ask again.
    has_refused: bool,
}

/// Holds the log from an LSN on until it is dropped.
pub(crate) struct Hold<'h> {
    holds: &'h Holds,
    from_lsn: u64,
}

impl Holds {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hold(&self, from_lsn: u64) -> Hold<'_> {
        self.held().from_lsns.push(from_lsn);
        Hold { holds: self, from_lsn }
    }

    /// Whether a segment with this base LSN is held.
    pub(crate) fn cover(&self, base_lsn: u64) -> bool {
        let mut held = self.held();
        let covers = held.from_lsns.iter().any(|from_lsn| base_lsn >= *from_lsn);
        held.has_refused |= covers;
        covers
    }

    /// Whether a segment was held since this was asked last.
    pub(crate) fn have_refused(&self) -> bool {
        std::mem::take(&mut self.held().has_refused)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let from_lsns = &mut self.holds.held().from_lsns;
        if let Some(at) = from_lsns.iter().position(|from_lsn| *from_lsn == self.from_lsn) {
            from_lsns.swap_remove(at);
        }
    }
}
