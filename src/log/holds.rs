//! Parts of the log that somebody is reading: segments that begin there are not compacted away meanwhile.

use std::sync::{Mutex, PoisonError};

/// LSNs from which on the log is held.
#[derive(Default)]
pub(crate) struct Holds(Mutex<Vec<u64>>);

/// Holds the log from an LSN on until it is dropped.
pub(crate) struct Hold<'h> {
    holds: &'h Holds,
    from_lsn: u64,
}

impl Holds {
    pub(crate) fn hold(&self, from_lsn: u64) -> Hold<'_> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(from_lsn);
        Hold { holds: self, from_lsn }
    }

    /// Whether a segment with this base LSN is held.
    pub(crate) fn cover(&self, base_lsn: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|from_lsn| base_lsn >= *from_lsn)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut held = self.holds.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = held.iter().position(|from_lsn| *from_lsn == self.from_lsn) {
            held.swap_remove(at);
        }
    }
}
