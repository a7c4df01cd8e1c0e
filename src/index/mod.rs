//! The index: from key to the address of its newest record. The only module that knows which map is beneath;
//! it knows no files and follows no address.
//!
//! A key's *slot* is one atomic word. Its life:
//!
//! ```text
//! EMPTY ──publish──▶ address ──compare-exchange──▶ address' ──tag──▶ address'|EXPIRED ──seal──▶ DEAD
//! ```
//!
//! - **X1** A slot that is DEAD never changes again; whoever meets it retires its entry and looks again, so no
//!   write is published into an entry that is leaving.
//! - **X2** An entry leaves the map only when its slot is DEAD, and only a mask is sealed (I5).
//! - **X3** papaya inserts and removes entries; it never sees an address and never replaces a slot.

mod key;
mod slot;

pub(crate) use slot::{Address, Content, Refused, Slot};

use key::Key;
use papaya::{HashMap, HashMapRef, LocalGuard};

/// Keys with their slots.
pub(crate) struct Index {
    map: HashMap<Key, Slot, ahash::RandomState>,
}

/// The index for one operation: what it hands out stays readable until it is dropped.
pub(crate) struct Pinned<'i> {
    map: HashMapRef<'i, Key, Slot, ahash::RandomState, LocalGuard<'i>>,
}

impl Index {
    pub(crate) fn with_capacity(entries: usize) -> Index {
        Index { map: HashMap::builder().capacity(entries).hasher(ahash::RandomState::new()).build() }
    }

    pub(crate) fn pin(&self) -> Pinned<'_> {
        Pinned { map: self.map.pin() }
    }

    /// Entries in the map, masks that have not left yet included.
    pub(crate) fn entries(&self) -> usize {
        self.map.len()
    }
}

impl Pinned<'_> {
    /// The key's slot, if it has one.
    pub(crate) fn find(&self, key: &[u8]) -> Option<&Slot> {
        self.map.get(key)
    }

    /// The key's slot, an empty one if it had none. A caller
    /// has appended its record before it claims, so that a claim is always followed by a publication.
    pub(crate) fn claim(&self, key: &[u8]) -> &Slot {
        match self.map.get(key) {
            Some(slot) => slot,
            // Not `get_or_insert_with`: papaya 0.2.5 places what its `compute` inserts so far along the probe sequence
            // that each later lookup is ten times as slow (measured at a million keys).
            None => self.map.get_or_insert(key.into(), Slot::empty()),
        }
    }

    /// Finishes the removal of an entry whose slot was found DEAD (X1).
    pub(crate) fn retire(&self, key: &[u8]) {
        // X2: the entry that holds the sealed slot, or nothing if somebody else was faster.
        let _ = self.map.remove_if(key, |_, slot| slot.load() == Content::Dead);
    }

    /// Removes `key` if its address is still `mask`, the caller having found a mask there (I5).
    pub(crate) fn remove(&self, key: &[u8], mask: Address) -> bool {
        let sealed = self.map.get(key).is_some_and(|slot| slot.seal(mask));
        if sealed {
            self.retire(key);
        }
        sealed
    }

    /// Calls `visit` with each key and its address, in no order: a key that is there throughout exactly once.
    pub(crate) fn walk(&self, mut visit: impl FnMut(&[u8], Address)) {
        for (key, slot) in self.map.iter() {
            if let Content::At(address) = slot.load() {
                visit(std::borrow::Borrow::borrow(key), address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u64) -> Address {
        Address::new(3, n * 8).unwrap()
    }

    fn find(index: &Index, key: &[u8]) -> Option<Address> {
        index.pin().find(key).and_then(|slot| slot.load().address())
    }

    /// As a writer does it: from an empty slot, past entries that are leaving.
    fn publish(index: &Index, key: &[u8], expected: Content, new: Address) -> Result<(), Content> {
        let map = index.pin();
        loop {
            match map.claim(key).compare_exchange(expected, new) {
                Err(Content::Dead) => map.retire(key),
                other => return other,
            }
        }
    }

    #[test]
    fn only_the_expected_record_is_replaced() {
        let index = Index::with_capacity(0);
        assert_eq!(find(&index, b"k"), None);
        assert_eq!(publish(&index, b"k", Content::Empty, at(1)), Ok(()));
        assert_eq!(publish(&index, b"k", Content::Empty, at(2)), Err(Content::At(at(1))));
        assert_eq!(publish(&index, b"k", Content::At(at(1)), at(2)), Ok(()));
        assert_eq!((find(&index, b"k"), index.entries()), (Some(at(2)), 1));
    }

    #[test]
    fn an_entry_that_changed_since_is_not_removed() {
        let index = Index::with_capacity(0);
        publish(&index, b"k", Content::Empty, at(1)).unwrap();
        publish(&index, b"k", Content::At(at(1)), at(2)).unwrap();
        assert!(!index.pin().remove(b"k", at(1)));
        assert!(index.pin().remove(b"k", at(2)) && !index.pin().remove(b"k", at(2)));
        assert_eq!((find(&index, b"k"), index.entries()), (None, 0));
    }

    #[test]
    fn a_record_tagged_expired_fails_whoever_read_it_alive() {
        let index = Index::with_capacity(0);
        publish(&index, b"k", Content::Empty, at(1)).unwrap();
        publish(&index, b"k", Content::At(at(1)), at(1).expired()).unwrap();
        let late = publish(&index, b"k", Content::At(at(1)), at(2));
        assert_eq!(late, Err(Content::At(at(1).expired())));
    }

    #[test]
    fn keys_of_every_length_around_the_inline_limit_are_told_apart() {
        let index = Index::with_capacity(0);
        for len in 0..60 {
            publish(&index, &vec![7; len], Content::Empty, at(len as u64)).unwrap();
        }
        for len in 0..60 {
            assert_eq!(find(&index, &vec![7; len]), Some(at(len as u64)));
        }
    }

    #[test]
    fn no_write_is_lost_in_an_entry_that_is_being_removed() {
        const ROUNDS: u64 = 20_000;
        let index = Index::with_capacity(0);
        // Two threads claim the key and give it up again; a publish that won must be seen by its own removal.
        std::thread::scope(|scope| {
            for thread in 0..2u64 {
                let index = &index;
                scope.spawn(move || {
                    for n in 1..ROUNDS {
                        let mine = at(n * 2 + thread);
                        if publish(index, b"k", Content::Empty, mine).is_ok() {
                            assert_eq!(find(index, b"k"), Some(mine));
                            assert!(index.pin().remove(b"k", mine));
                        }
                    }
                });
            }
        });
        assert_eq!(find(&index, b"k"), None);
    }
}
