//! A reader follows an address while the compactor moves the record and unmaps the segment (I8, T1).

use crate::check;
use crate::epoch::Epoch;
use crate::index::models::{guard, small_index};
use crate::index::{Address, Index, Record, Records};
use crate::reclaim::Protected;
use loom::cell::UnsafeCell;

const KEY: &[u8] = b"k";
/// What the victim and the output hold.
const VALUE: u64 = 42;
const UNMAPPED: u64 = 0;

/// How the compactor gives a victim back, or what of it is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unmap {
    AsBuilt,
    WithoutGrace,
    /// The grace period is over before the last pointer has left the index.
    GraceTooEarly,
}

struct Store {
    index: Index,
    /// The record in the victim and its copy in the output, by segment number.
    segments: [UnsafeCell<u64>; 2],
    epoch: Epoch,
}

// SAFETY: the cells are reached as I8 allows, and loom checks every access.
unsafe impl Sync for Store {}
// SAFETY: as above.
unsafe impl Send for Store {}

fn at(segment: u16) -> Address {
    Address::new(segment, 4096).expect("a multiple of eight")
}

/// What stands in a segment.
#[derive(Clone, Copy)]
struct Value(u64);

impl Record<'_> for Value {
    fn key(&self) -> &'static [u8] {
        KEY
    }

    fn lsn(&self) -> u64 {
        0
    }
}

impl Records for Store {
    type Record<'g> = Value;

    fn read(&self, address: Address, _protected: Protected<'_>) -> Option<Value> {
        // SAFETY: I8: a guard of the model's epoch was taken before the address was loaded; loom checks that the segment is
        // there.
        Some(Value(self.segments[usize::from(address.segment())].with(|at| unsafe { *at })))
    }

    fn prefetch(&self, _address: Address, _protected: Protected<'_>) {}
}

impl Store {
    fn get(&self, thread: usize) -> u64 {
        let _guard = self.epoch.pin(thread);
        self.index.pin(self, guard()).find(KEY).expect("it was written").record().0
    }

    fn compact(&self, unmap: Unmap) {
        // SAFETY: M1: nothing leads to the output yet; loom checks that.
        self.segments[1].with_mut(|at| unsafe { *at = VALUE });
        if unmap == Unmap::GraceTooEarly {
            self.epoch.wait_grace();
        }
        assert!(self.index.pin(self, guard()).redirect(KEY, at(0), at(1)), "nobody else writes");
        if unmap == Unmap::AsBuilt {
            self.epoch.wait_grace();
        }
        // SAFETY: I8: a grace period has passed since the last pointer left the index; loom checks that.
        self.segments[0].with_mut(|at| unsafe { *at = UNMAPPED });
    }
}

fn read_against_unmap(unmap: Unmap) {
    let state = || {
        let segments = [UnsafeCell::new(VALUE), UnsafeCell::new(UNMAPPED)];
        let store = Store { index: small_index(), segments, epoch: Epoch::new(2) };
        assert!(store.index.pin(&store, guard()).publish_over_older(KEY, at(0), 0).is_ok());
        store
    };
    let threads: Vec<crate::Thread<Store>> = vec![
        Box::new(|store| assert_eq!(store.get(0), VALUE)),
        Box::new(|store| assert_eq!((store.get(1), store.get(1)), (VALUE, VALUE))),
        Box::new(move |store| store.compact(unmap)),
    ];
    check(2, state, threads, |_| ());
}

#[test]
fn a_reader_never_reaches_a_segment_that_is_unmapped() {
    read_against_unmap(Unmap::AsBuilt);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_victim_must_not_be_unmapped_without_a_grace_period() {
    read_against_unmap(Unmap::WithoutGrace);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_grace_period_must_begin_after_the_last_pointer_left_the_index() {
    read_against_unmap(Unmap::GraceTooEarly);
}
