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

mod slot;

pub(crate) use slot::Address;
use slot::{Slot, DEAD, EMPTY};

use papaya::HashMap;

/// Keys with their slots.
pub(crate) struct Index {
    map: HashMap<Box<[u8]>, Slot, ahash::RandomState>,
}

impl Index {
    pub(crate) fn with_capacity(entries: usize) -> Index {
        Index { map: HashMap::builder().capacity(entries).hasher(ahash::RandomState::new()).build() }
    }

    /// The address published last for `key`.
    pub(crate) fn find(&self, key: &[u8]) -> Option<Address> {
        self.map.pin().get(key).and_then(|slot| slot.load().address())
    }

    /// Publishes `new` for `key`, if its address is still `expected` (`None`: the key has no record). On failure
    /// returns what stands there.
    pub(crate) fn publish(
        &self,
        key: &[u8],
        expected: Option<Address>,
        new: Address,
    ) -> Result<(), Option<Address>> {
        let map = self.map.pin();
        loop {
            let slot = match map.get(key) {
                Some(slot) => slot,
                None if expected.is_some() => return Err(None),
                None => map.get_or_insert_with(key.into(), Slot::empty),
            };
            let from = expected.map_or(EMPTY, Address::word);
            match slot.compare_exchange(from, new.word()) {
                Ok(()) => return Ok(()),
                Err(found) if found == DEAD => {
                    // X1: finish the removal that sealed it, then look again.
                    let _ = map.remove_if(key, |_, slot| slot.load() == DEAD);
                }
                Err(found) => return Err(found.address()),
            }
        }
    }

    /// Removes `key` if its address is still `mask`, the caller having found a mask there (I5).
    pub(crate) fn remove(&self, key: &[u8], mask: Address) -> bool {
        let map = self.map.pin();
        let sealed = map.get(key).is_some_and(|slot| slot.compare_exchange(mask.word(), DEAD).is_ok());
        if sealed {
            // X2: the entry that holds the sealed slot, or nothing if a writer was faster.
            let _ = map.remove_if(key, |_, slot| slot.load() == DEAD);
        }
        sealed
    }

    /// Entries in the map, masks that have not left yet included.
    pub(crate) fn entries(&self) -> usize {
        self.map.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u64) -> Address {
        Address::new(3, n * 8).unwrap()
    }

    #[test]
    fn only_the_expected_record_is_replaced() {
        let index = Index::with_capacity(0);
        assert_eq!(index.find(b"k"), None);
        assert_eq!(index.publish(b"k", None, at(1)), Ok(()));
        assert_eq!(index.publish(b"k", None, at(2)), Err(Some(at(1))));
        assert_eq!(index.publish(b"k", Some(at(1)), at(2)), Ok(()));
        assert_eq!(index.publish(b"other", Some(at(1)), at(2)), Err(None));
        assert_eq!((index.find(b"k"), index.entries()), (Some(at(2)), 1));
    }

    #[test]
    fn an_entry_that_changed_since_is_not_removed() {
        let index = Index::with_capacity(0);
        index.publish(b"k", None, at(1)).unwrap();
        index.publish(b"k", Some(at(1)), at(2)).unwrap();
        assert!(!index.remove(b"k", at(1)));
        assert!(index.remove(b"k", at(2)) && !index.remove(b"k", at(2)));
        assert_eq!((index.find(b"k"), index.entries()), (None, 0));
    }

    #[test]
    fn a_record_tagged_expired_fails_whoever_read_it_alive() {
        let index = Index::with_capacity(0);
        index.publish(b"k", None, at(1)).unwrap();
        index.publish(b"k", Some(at(1)), at(1).expired()).unwrap();
        assert_eq!(index.publish(b"k", Some(at(1)), at(2)), Err(Some(at(1).expired())));
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
                        if index.publish(b"k", None, mine).is_ok() {
                            assert_eq!(index.find(b"k"), Some(mine));
                            assert!(index.remove(b"k", mine));
                        }
                    }
                });
            }
        });
        assert_eq!(index.find(b"k"), None);
    }
}
