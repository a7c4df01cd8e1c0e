//! Every interleaving of the index's protocols, within loom's bounds: compiled by `tests/loom_index` only.
//!
//! Tables have two buckets and all keys share one, so that a move is never complete and no table is ever freed: the guard
//! can then be one that protects nothing, since epochs are not what is checked here.

use super::slot::Word;
use super::table::Table;
use super::{Address, Entry, Index, Keys, Pinned, Root};
use crate::sync::Ordering;
use crossbeam_epoch::Guard;
use loom::sync::Arc;
use loom::thread;

const KEYS: usize = 4;

/// Records that are nothing but an address: a key's number and a version.
struct Records {
    keys: [[u8; 2]; KEYS],
}

static RECORDS: std::sync::OnceLock<Records> = std::sync::OnceLock::new();

fn at(n: usize, version: u16) -> Address {
    Address::new(version, n as u64 * 8).unwrap()
}

impl Keys for Records {
    fn key_at<'g>(&self, address: Address, _guard: &'g Guard) -> Option<&'g [u8]>
    where
        Self: 'g,
    {
        Some(&records().keys[address.offset_bytes() as usize / 8])
    }
}

fn hasher() -> ahash::RandomState {
    // Fixed: a model's runs must be alike.
    ahash::RandomState::with_seeds(1, 2, 3, 4)
}

/// Keys of the first bucket of a table of two; in one of four, every other stands in the third.
fn records() -> &'static Records {
    RECORDS.get_or_init(|| {
        let bucket = |key: &[u8; 2]| std::hash::BuildHasher::hash_one(&hasher(), &key[..]) & 3;
        let mut candidates = (0..u16::MAX).map(u16::to_le_bytes);
        Records {
            keys: std::array::from_fn(|n| candidates.find(|key| bucket(key) == n as u64 % 2 * 2).unwrap()),
        }
    })
}

fn index() -> Arc<Index> {
    index_of(1)
}

fn index_of(bits: u32) -> Arc<Index> {
    Arc::new(Index {
        root: Root::new(Table::new(bits, bits).unwrap()),
        hasher: hasher(),
        entries: Box::default(),
        on_move: std::sync::OnceLock::new(),
    })
}

fn guard() -> &'static Guard {
    // SAFETY: the module's head: nothing is freed while a model runs.
    unsafe { crossbeam_epoch::unprotected() }
}

fn pin(index: &Index) -> Pinned<'_, Records> {
    index.pin(records(), guard())
}

fn key(n: usize) -> &'static [u8] {
    &records().keys[n]
}

fn find(index: &Index, n: usize) -> Option<Address> {
    pin(index).find(key(n)).map(|entry: Entry<'_>| entry.address())
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
    while cursor.step(&pin(index), |_, address| met.push(address)) {}
    met
}

fn begin_move(index: &Index, bits: u32) {
    let root = index.root.get(guard());
    assert!(root.next.set(Box::new(root.successor(bits).unwrap())));
}

fn move_first_unit(index: &Index) {
    let map = pin(index);
    let root = index.root.get(guard());
    map.move_unit_of(root, root.next.get(guard()).unwrap(), 0);
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

fn model(run: impl Fn() + Sync + Send + 'static) {
    bounded(3, run);
}

fn bounded(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(run);
}

#[test]
fn two_inserts_of_a_key_make_one_entry() {
    model(|| {
        let index = index();
        let other = Arc::clone(&index);
        let thread = thread::spawn(move || insert(&other, 0, 1));
        let mine = insert(&index, 0, 2);
        let theirs = thread.join().unwrap();
        assert!(mine != theirs, "one of them was first");
        assert_eq!(walk(&index), [at(0, if mine { 2 } else { 1 })]);
    });
}

#[test]
fn a_slot_that_is_given_up_and_claimed_again_is_nobody_elses() {
    model(|| {
        let index = index();
        assert!(insert(&index, 0, 1));
        let other = Arc::clone(&index);
        let thread = thread::spawn(move || {
            let removed = pin(&other).remove(key(0), at(0, 1));
            assert!(insert(&other, 1, 1));
            removed
        });
        let entry = pin(&index).find(key(0));
        // It may come too late, but never changes the other key's slot.
        let replaced = entry.is_some_and(|entry| pin(&index).replace(&entry, at(0, 2)));
        let is_new = insert(&index, 0, 3);
        assert!(is_new != replaced);
        assert!(thread.join().unwrap() != replaced, "one of them found it");
        assert_eq!(find(&index, 1), Some(at(1, 1)));
        assert_eq!(find(&index, 0), Some(at(0, if replaced { 2 } else { 3 })));
        assert_eq!(walk(&index).len(), 2);
    });
}

#[test]
fn what_a_reader_saw_inserted_stays() {
    bounded(2, || {
        let index = index();
        assert!(insert(&index, 1, 1));
        // Two inserts of a key, one of which may claim the slot that the other key gives up.
        let other = Arc::clone(&index);
        let inserting = thread::spawn(move || insert(&other, 0, 1));
        let other = Arc::clone(&index);
        let reading = thread::spawn(move || (find(&other, 0), find(&other, 0)));
        assert!(pin(&index).remove(key(1), at(1, 1)));
        let mine = insert(&index, 0, 2);
        let (first, second) = reading.join().unwrap();
        assert!(first.is_none() || first == second);
        assert!(mine != inserting.join().unwrap());
        assert!(second.is_none() || second == find(&index, 0));
    });
}

#[test]
fn an_insert_notices_that_a_slot_changed_hands() {
    model(|| {
        let index = index();
        assert!(insert(&index, 1, 1));
        let other = Arc::clone(&index);
        let thread = thread::spawn(move || insert(&other, 0, 1));
        assert!(pin(&index).remove(key(1), at(1, 1)));
        let mine = insert(&index, 0, 2);
        assert!(mine != thread.join().unwrap());
        assert_eq!(walk(&index), [at(0, if mine { 2 } else { 1 })]);
    });
}

fn an_update_survives_a_move(from_bits: u32, to_bits: u32) {
    model(move || {
        let index = index_of(from_bits);
        assert!(insert(&index, 0, 1) && insert(&index, 1, 1));
        begin_move(&index, to_bits);
        let other = Arc::clone(&index);
        let thread = thread::spawn(move || move_first_unit(&other));
        update(&index, 0, 1, 2);
        update(&index, 1, 1, 2);
        update(&index, 0, 2, 3);
        assert_eq!(walk(&index).len(), 2);
        thread.join().unwrap();
        assert_eq!((find(&index, 0), find(&index, 1)), (Some(at(0, 3)), Some(at(1, 2))));
        assert_eq!(walk(&index).len(), 2);
    });
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
    bounded(2, || {
        let index = index_of(2);
        assert!(insert(&index, 0, 1) && insert(&index, 1, 1));
        begin_move(&index, 1);
        let other = Arc::clone(&index);
        let thread = thread::spawn(move || assert!(pin(&other).remove(key(0), at(0, 1))));
        move_first_unit(&index);
        assert!(insert(&index, 2, 1));
        thread.join().unwrap();
        assert_eq!((find(&index, 0), find(&index, 1)), (None, Some(at(1, 1))));
        assert_eq!(find(&index, 2), Some(at(2, 1)));
        assert_eq!(walk(&index).len(), 2);
    });
}

#[test]
fn an_insert_and_a_removal_survive_growth() {
    model(|| {
        let index = index();
        assert!(insert(&index, 0, 1));
        begin_move(&index, 2);
        let other = Arc::clone(&index);
        let thread = thread::spawn(move || move_first_unit(&other));
        assert!(insert(&index, 1, 1));
        assert_eq!(find(&index, 1), Some(at(1, 1)));
        assert!(pin(&index).remove(key(0), at(0, 1)));
        assert_eq!(find(&index, 0), None);
        thread.join().unwrap();
        assert_eq!(walk(&index), [at(1, 1)]);
    });
}

#[test]
fn a_helper_that_comes_late_brings_nothing_back() {
    model(|| {
        let index = index();
        assert!(insert(&index, 0, 1) && insert(&index, 1, 1));
        begin_move(&index, 2);
        let other = Arc::clone(&index);
        let thread = thread::spawn(move || move_first_unit(&other));
        move_first_unit(&index);
        assert!(pin(&index).remove(key(0), at(0, 1)));
        update(&index, 1, 1, 2);
        thread.join().unwrap();
        assert_eq!((find(&index, 0), find(&index, 1)), (None, Some(at(1, 2))));
        assert_eq!(walk(&index), [at(1, 2)]);
        assert_no_slot_is_lost(index.root.get(guard()).next.get(guard()).unwrap());
    });
}

#[test]
fn two_inserts_of_a_key_make_one_entry_during_growth() {
    bounded(2, || {
        let index = index();
        assert!(insert(&index, 1, 1));
        begin_move(&index, 2);
        let other = Arc::clone(&index);
        let thread = thread::spawn(move || insert(&other, 0, 1));
        let mover = Arc::clone(&index);
        let moving = thread::spawn(move || move_first_unit(&mover));
        let mine = insert(&index, 0, 2);
        let theirs = thread.join().unwrap();
        moving.join().unwrap();
        assert!(mine != theirs);
        assert_eq!(find(&index, 0), Some(at(0, if mine { 2 } else { 1 })));
        assert_eq!(walk(&index).len(), 2);
    });
}

#[test]
fn a_reader_finds_what_is_being_moved() {
    model(|| {
        let index = index();
        assert!(insert(&index, 0, 1));
        begin_move(&index, 2);
        let mover = Arc::clone(&index);
        let moving = thread::spawn(move || {
            move_first_unit(&mover);
            update(&mover, 0, 1, 2);
        });
        let first = find(&index, 0).expect("it is there throughout");
        let second = find(&index, 0).expect("it is there throughout");
        assert!(first == second || first == at(0, 1), "time does not run backwards");
        assert_eq!(walk(&index).len(), 1);
        moving.join().unwrap();
    });
}
