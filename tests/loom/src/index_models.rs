//! Every interleaving of the index's protocols, within loom's bounds. A module of the engine's `index`, when this crate
//! compiles it.
//!
//! Tables have two buckets and all keys share one, so that a move is never complete and no table is ever freed: the guard
//! can then be one that protects nothing, since epochs are not what is checked here.

use super::bucket::release;
use super::slot::Word;
use super::table::Table;
use super::{hash, Address, Index, Pinned, Record, Records, Root};
use crate::check;
use crate::counters::Striped;
use crate::reclaim::Protected;
use crate::sync::Ordering;
use crossbeam_epoch::Guard;
use std::sync::OnceLock;

const KEYS: usize = 4;

/// Records that are nothing but an address: a key's number and a version.
struct Keyring {
    keys: [[u8; 2]; KEYS],
}

static KEYRING: OnceLock<Keyring> = OnceLock::new();

fn at(n: usize, version: u16) -> Address {
    Address::new(version, n as u64 * 8).unwrap()
}

impl<'g> Record<'g> for (&'g [u8; 2], Address) {
    fn key(&self) -> &'g [u8] {
        &self.0[..]
    }

    fn lsn(&self) -> u64 {
        0
    }
}

impl Records for Keyring {
    type Record<'g> = (&'g [u8; 2], Address);

    fn read<'g>(&'g self, address: Address, _protected: Protected<'g>) -> Option<Self::Record<'g>> {
        Some((self.keys.get(address.offset_bytes() as usize / 8)?, address))
    }

    fn prefetch(&self, _address: Address, _protected: Protected<'_>) {}
}

fn hasher() -> ahash::RandomState {
    // Fixed: a model's runs must be alike.
    ahash::RandomState::with_seeds(1, 2, 3, 4)
}

/// Keys of the first bucket of a table of two; in one of four, every other stands in the third.
fn keyring() -> &'static Keyring {
    KEYRING.get_or_init(|| {
        // With the index's own function: with another one the keys are no neighbours, and the models hold of themselves.
        let bucket = |key: &[u8; 2]| hash(&hasher(), key) & 3;
        let mut candidates = (0..u16::MAX).map(u16::to_le_bytes);
        Keyring {
            keys: std::array::from_fn(|n| candidates.find(|key| bucket(key) == n as u64 % 2 * 2).unwrap()),
        }
    })
}

fn index_of(bits: u32) -> Index {
    Index {
        root: Root::new(Table::new(bits, bits).unwrap()),
        hasher: hasher(),
        entries: Striped::default(),
        on_move: OnceLock::new(),
    }
}

/// An index of two buckets, for models of what stands around it.
pub(crate) fn small_index() -> Index {
    index_of(1)
}

/// X4 taken out: a slot is given up that was not sealed.
pub(crate) fn remove_unsealed<R: Records>(map: &Pinned<'_, R>, key: &[u8], mask: Address) {
    while let Some(entry) = map.find(key).filter(|entry| entry.address == mask) {
        let bucket = entry.table.bucket(entry.number);
        if bucket.toggle(bucket.load(), entry.found.position) {
            return release(entry.found.slot);
        }
    }
}

pub(crate) fn guard() -> &'static Guard {
    // SAFETY: the module's head: nothing is freed while a model runs.
    unsafe { crossbeam_epoch::unprotected() }
}

fn pin(index: &Index) -> Pinned<'_, Keyring> {
    index.pin(keyring(), guard())
}

fn key(n: usize) -> &'static [u8] {
    &keyring().keys[n]
}

/// As a read does it.
fn find(index: &Index, n: usize) -> Option<Address> {
    let map = pin(index);
    match map.get_at_once(key(n)) {
        Some((_, address)) => Some(address),
        None => map.get(key(n)).map(|(address, _)| address),
    }
}

fn insert(index: &Index, n: usize, version: u16) -> bool {
    pin(index).insert(key(n), at(n, version)).is_none()
}

/// Changes the key's address until it succeeds.
fn update(index: &Index, n: usize, from: u16, to: u16) {
    loop {
        let entry = pin(index).find(key(n)).expect("nobody removes it");
        assert_eq!(entry.address(), at(n, from), "nobody else changes it");
        if pin(index).replace(&entry, at(n, to)) {
            return;
        }
    }
}

fn walk(index: &Index) -> Vec<Address> {
    let mut met = Vec::new();
    let mut cursor = index.cursor(guard());
    while cursor.step(&pin(index), |address, _| met.push(address)) {}
    met
}

fn begin_move(index: &Index, bits: u32) {
    let root = index.root.get(guard().into());
    assert!(root.next.set(Box::new(root.successor(bits).unwrap())));
}

fn move_first_unit(index: &Index) {
    let map = pin(index);
    let root = index.root.get(guard().into());
    map.move_unit_of(root, root.next.get(guard().into()).unwrap(), 0);
}

/// X4, X5: with nobody at work, what does not count is free.
fn assert_no_slot_is_lost(table: &Table) {
    for number in 0..table.buckets() {
        let bucket = table.bucket(number);
        let header = bucket.load();
        for (first, slots) in bucket.chain() {
            for (at, slot) in slots.iter().enumerate() {
                let word = Word(slot.load(Ordering::Relaxed));
                assert!(header.is_frozen() || header.counts(first + at) != word.is_free());
            }
        }
    }
}

/// An index and what its threads found.
struct Run {
    index: Index,
    answers: [OnceLock<bool>; 2],
}

fn run(bits: u32, prepare: impl Fn(&Index)) -> Run {
    let index = index_of(bits);
    prepare(&index);
    Run { index, answers: Default::default() }
}

impl Run {
    fn answer(&self, thread: usize, answer: bool) {
        self.answers[thread].set(answer).expect("each thread answers once");
    }

    fn answers(&self) -> [bool; 2] {
        [0, 1].map(|thread| *self.answers[thread].get().expect("each thread answers"))
    }

    /// One of two inserts made the entry, and that one shows.
    fn assert_one_inserted(&self, n: usize, versions: [u16; 2]) {
        let [first, second] = self.answers();
        assert!(first != second, "one of them was first");
        assert_eq!(find(&self.index, n), Some(at(n, versions[usize::from(second)])));
    }
}

#[test]
fn two_inserts_of_a_key_make_one_entry() {
    check(
        3,
        || run(1, |_| ()),
        vec![
            Box::new(|run: &Run| run.answer(0, insert(&run.index, 0, 1))),
            Box::new(|run| run.answer(1, insert(&run.index, 0, 2))),
        ],
        |run| {
            run.assert_one_inserted(0, [1, 2]);
            assert_eq!(walk(&run.index).len(), 1);
        },
    );
}

#[test]
fn a_slot_that_is_given_up_and_claimed_again_is_nobody_elses() {
    let give_up = |run: &Run| {
        let removed = pin(&run.index).remove(key(0), at(0, 1));
        assert!(insert(&run.index, 1, 1));
        run.answer(0, removed);
    };
    let update = |run: &Run| {
        let entry = pin(&run.index).find(key(0));
        // It may come too late, but never changes the other key's slot.
        let replaced = entry.is_some_and(|entry| pin(&run.index).replace(&entry, at(0, 2)));
        assert!(insert(&run.index, 0, 3) != replaced);
        run.answer(1, replaced);
    };
    check(
        3,
        || run(1, |index| assert!(insert(index, 0, 1))),
        vec![Box::new(give_up), Box::new(update)],
        |run| {
            let [removed, replaced] = run.answers();
            assert!(removed != replaced, "one of them found it");
            assert_eq!(find(&run.index, 1), Some(at(1, 1)));
            assert_eq!(find(&run.index, 0), Some(at(0, if replaced { 2 } else { 3 })));
            assert_eq!(walk(&run.index).len(), 2);
        },
    );
}

#[test]
fn what_a_reader_saw_inserted_stays() {
    // Two inserts of a key, one of which may claim the slot that the other key gives up.
    let remove_and_insert = |run: &Run| {
        assert!(pin(&run.index).remove(key(1), at(1, 1)));
        run.answer(0, insert(&run.index, 0, 1));
    };
    let read_and_insert = |run: &Run| {
        let seen = find(&run.index, 0);
        run.answer(1, insert(&run.index, 0, 2));
        assert!(seen.is_none() || seen == find(&run.index, 0));
    };
    check(
        3,
        || run(1, |index| assert!(insert(index, 1, 1))),
        vec![Box::new(remove_and_insert), Box::new(read_and_insert)],
        |run| {
            run.assert_one_inserted(0, [1, 2]);
            assert_eq!(walk(&run.index).len(), 1);
            assert_no_slot_is_lost(run.index.root.get(guard().into()));
        },
    );
}

fn an_update_survives_a_move(from_bits: u32, to_bits: u32) {
    let change = |run: &Run| {
        update(&run.index, 0, 1, 2);
        update(&run.index, 1, 1, 2);
        update(&run.index, 0, 2, 3);
        assert_eq!(walk(&run.index).len(), 2);
    };
    let prepare = move |index: &Index| {
        assert!(insert(index, 0, 1) && insert(index, 1, 1));
        begin_move(index, to_bits);
    };
    check(
        2,
        move || run(from_bits, prepare),
        vec![Box::new(change), Box::new(|run| move_first_unit(&run.index))],
        |run| {
            assert_eq!((find(&run.index, 0), find(&run.index, 1)), (Some(at(0, 3)), Some(at(1, 2))));
            assert_eq!(walk(&run.index).len(), 2);
        },
    );
}

#[test]
fn an_update_survives_growth() {
    an_update_survives_a_move(1, 2);
}

#[test]
fn an_update_survives_a_merge_of_buckets() {
    an_update_survives_a_move(2, 1);
}

#[test]
fn two_helpers_of_a_merge_bring_nothing_back() {
    let move_and_insert = |run: &Run| {
        move_first_unit(&run.index);
        assert!(insert(&run.index, 2, 1));
    };
    check(
        2,
        || {
            run(2, |index| {
                assert!(insert(index, 0, 1) && insert(index, 1, 1));
                begin_move(index, 1);
            })
        },
        vec![
            Box::new(move_and_insert),
            Box::new(|run: &Run| assert!(pin(&run.index).remove(key(0), at(0, 1)))),
        ],
        |run| {
            assert_eq!((find(&run.index, 0), find(&run.index, 1)), (None, Some(at(1, 1))));
            assert_eq!(find(&run.index, 2), Some(at(2, 1)));
            assert_eq!(walk(&run.index).len(), 2);
        },
    );
}

#[test]
fn an_insert_and_a_removal_survive_growth() {
    let change = |run: &Run| {
        assert!(insert(&run.index, 1, 1));
        assert_eq!(find(&run.index, 1), Some(at(1, 1)));
        assert!(pin(&run.index).remove(key(0), at(0, 1)));
        assert_eq!(find(&run.index, 0), None);
    };
    check(
        3,
        || {
            run(1, |index| {
                assert!(insert(index, 0, 1));
                begin_move(index, 2);
            })
        },
        vec![Box::new(change), Box::new(|run| move_first_unit(&run.index))],
        |run| assert_eq!(walk(&run.index), [at(1, 1)]),
    );
}

#[test]
fn a_helper_that_comes_late_brings_nothing_back() {
    let move_and_change = |run: &Run| {
        move_first_unit(&run.index);
        assert!(pin(&run.index).remove(key(0), at(0, 1)));
        update(&run.index, 1, 1, 2);
    };
    check(
        3,
        || {
            run(1, |index| {
                assert!(insert(index, 0, 1) && insert(index, 1, 1));
                begin_move(index, 2);
            })
        },
        vec![Box::new(move_and_change), Box::new(|run| move_first_unit(&run.index))],
        |run| {
            assert_eq!((find(&run.index, 0), find(&run.index, 1)), (None, Some(at(1, 2))));
            assert_eq!(walk(&run.index), [at(1, 2)]);
            assert_no_slot_is_lost(run.index.root.get(guard().into()).next.get(guard().into()).unwrap());
        },
    );
}

#[test]
fn two_inserts_of_a_key_make_one_entry_during_growth() {
    let move_and_insert = |run: &Run| {
        move_first_unit(&run.index);
        run.answer(1, insert(&run.index, 0, 2));
    };
    check(
        3,
        || {
            run(1, |index| {
                assert!(insert(index, 1, 1));
                begin_move(index, 2);
            })
        },
        vec![Box::new(|run: &Run| run.answer(0, insert(&run.index, 0, 1))), Box::new(move_and_insert)],
        |run| {
            run.assert_one_inserted(0, [1, 2]);
            assert_eq!(walk(&run.index).len(), 2);
        },
    );
}

#[test]
fn a_reader_finds_what_is_being_moved() {
    let move_and_change = |run: &Run| {
        move_first_unit(&run.index);
        update(&run.index, 0, 1, 2);
    };
    let read = |run: &Run| {
        let first = find(&run.index, 0).expect("it is there throughout");
        let second = find(&run.index, 0).expect("it is there throughout");
        assert!(first == second || first == at(0, 1), "time does not run backwards");
        assert_eq!(walk(&run.index).len(), 1);
    };
    check(
        3,
        || {
            run(1, |index| {
                assert!(insert(index, 0, 1));
                begin_move(index, 2);
            })
        },
        vec![Box::new(move_and_change), Box::new(read)],
        |run| assert_eq!(find(&run.index, 0), Some(at(0, 2))),
    );
}
