//! The list of keys in order, kept beside the index (`ordered/list.rs`).

use super::Store;
use crate::index::PREFETCHED_KEYS;
use crate::ordered::{KeyList, KeyRange};
use crate::record::{Draft, Kind};

/// Keys that are looked at under one guard.
const PORTION_KEYS: usize = 16 * PREFETCHED_KEYS;

impl Store {
    /// Makes sure that the key of a put that is about to be published is in the list, unless `stands` finds it in the index (O1).
    /// True if it had to.
    #[inline]
    pub(super) fn note_key(&self, draft: &Draft<'_>, lsn: u64, stands: impl FnOnce() -> bool) -> bool {
        let Some(keys) = self.keys.as_ref().filter(|_| draft.kind == Kind::Put && !stands()) else {
            return false;
        };
        keys.note(draft.key, lsn);
        true
    }

    /// Notes that a key may be in the list for nothing.
    pub(super) fn stray_key(&self, key: &[u8]) {
        if let Some(keys) = &self.keys {
            keys.stray(key);
        }
    }

    /// Forgets a key whose mask of this LSN has left the index, a grace period after it became one (O2).
    pub(crate) fn forget_key(&self, key: &[u8], mask_lsn: u64) {
        if let Some(keys) = self.keys.as_ref().filter(|keys| !keys.forget(key, mask_lsn)) {
            keys.stray(key);
        }
    }

    /// Keys that may be in the list for nothing, and the LSN for `forget_strays`.
    pub(crate) fn take_strays(&self) -> (Vec<Box<[u8]>>, u64) {
        let strays = self.keys.as_ref().map(KeyList::take_strays).unwrap_or_default();
        (strays, self.log.tail_lsn(&crossbeam_epoch::pin()))
    }

    /// Forgets those of the keys that are not in the index, a grace period after `tail_lsn` was read (O2).
    pub(crate) fn forget_strays(&self, strays: &[Box<[u8]>], tail_lsn: u64) {
        for portion in strays.chunks(PORTION_KEYS) {
            let guard = crossbeam_epoch::pin();
            let map = self.map(&guard);
            for key in portion.iter().filter(|key| map.find(key).is_none()) {
                self.forget_key(key, tail_lsn.saturating_sub(1));
            }
        }
    }

    /// Forgets every key of the list that is not in the index, after a clear has emptied that. Waits for a grace period; `false` if
    /// the store closes.
    pub(crate) fn tidy_keys(&self) -> bool {
        let Some(keys) = &self.keys else { return true };
        let tail_lsn = self.log.tail_lsn(&crossbeam_epoch::pin());
        if !self.wait_grace() {
            return false;
        }
        let mut range = KeyRange::new(b"", b"", b"");
        let mut portion = Vec::new();
        loop {
            keys.read(&range, false, PORTION_KEYS, &mut portion);
            let Some(last) = portion.last() else { return true };
            range.begin_after(last);
            self.forget_strays(&portion, tail_lsn);
            portion.clear();
        }
    }

    /// Lists the keys that the index holds, before there are writers.
    pub(crate) fn list_keys(&mut self) {
        let mut found: Vec<Box<[u8]>> = Vec::new();
        self.walk(|_, address, (_, view)| {
            if view.word.is_of(Kind::Put) && !address.is_expired() {
                found.push(view.key.into());
            }
        });
        let keys = KeyList::default();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for share in found.chunks(found.len().div_ceil(threads).max(1)) {
                let keys = &keys;
                scope.spawn(move || share.iter().for_each(|key| keys.note(key, 0)));
            }
        });
        self.keys = Some(keys);
    }
}
