//! Append and publish: writers, readers and the compactor on one key (I1 to I5, I7, X4).

use crate::check;
use crate::epoch::Epoch;
use crate::index::models::remove_unsealed;
use crate::record::Kind;
use crate::store::{Body, Fault, Store, DEADLINE, KEY};

/// A wall clock that stands before every deadline.
const BEFORE: u64 = 0;

fn store_with(value: u64, expires: bool, fault: Option<Fault>) -> Store {
    let store = Store::new(fault);
    store.write_blind(Kind::Put, value, expires);
    store
}

fn set(store: &Store, value: u64) {
    store.write_blind(Kind::Put, value, false);
}

fn increment(store: &Store) {
    assert!(store.write(BEFORE, |live| Some(live.map_or(0, |body| body.value) + 1)));
}

fn value(store: &Store) -> u64 {
    store.look(BEFORE).live.expect("nobody deletes").value
}

fn set_against_increment(fault: Option<Fault>) {
    let judge = |store: &Store| {
        let value = value(store);
        assert!(value == 100 || value == 101, "lost update: the counter is {value}");
        store.assert_shows_what_recovers();
    };
    check(
        3,
        move || store_with(5, false, fault),
        vec![Box::new(|s| set(s, 100)), Box::new(increment)],
        judge,
    );
}

#[test]
fn a_set_and_an_increment_leave_what_one_order_of_them_leaves() {
    set_against_increment(None);
}

#[test]
#[should_panic(expected = "lost update: the counter is 6")]
fn a_set_that_meets_a_newer_record_must_not_call_itself_overwritten() {
    set_against_increment(Some(Fault::LoserIsOverwritten));
}

#[test]
#[should_panic(expected = "the index and the log disagree")]
fn a_set_that_meets_a_newer_record_must_not_replace_it() {
    set_against_increment(Some(Fault::LoserReplaces));
}

#[test]
fn two_increments_both_count() {
    let judge = |store: &Store| {
        assert_eq!(value(store), 7);
        store.assert_shows_what_recovers();
    };
    check(3, || store_with(5, false, None), vec![Box::new(increment), Box::new(increment)], judge);
}

#[test]
fn a_reader_beside_a_set_and_an_increment_never_goes_back_and_reads_whole_records() {
    let read = |store: &Store| {
        let mut lsn = 0;
        for _ in 0..2 {
            let seen = store.look(BEFORE);
            assert!(seen.lsn >= lsn, "an older record after a newer one");
            assert!([5, 6, 100, 101].contains(&seen.live.expect("nobody deletes").value));
            lsn = seen.lsn;
        }
    };
    check(
        2,
        || store_with(5, false, None),
        vec![Box::new(|s| set(s, 100)), Box::new(increment), Box::new(read)],
        Store::assert_shows_what_recovers,
    );
}

/// A reader answers with a value whose writer may die at any moment.
fn read_then_crash(fault: Option<Fault>) {
    let read = |store: &Store| {
        let answered = store.look(BEFORE).live.expect("nobody deletes");
        // The process dies here: the log is what its memory holds now.
        let recovered = store.recovered().expect("the first record is committed").1;
        assert!(recovered.lsn >= answered.lsn, "what was answered is forgotten");
    };
    check(
        3,
        move || store_with(1, false, fault),
        vec![Box::new(|s| set(s, 2)), Box::new(read)],
        Store::assert_shows_what_recovers,
    );
}

#[test]
fn what_a_reader_answered_survives_a_crash() {
    read_then_crash(None);
}

#[test]
#[should_panic(expected = "what was answered is forgotten")]
fn a_reader_must_commit_what_it_meets_pending() {
    read_then_crash(Some(Fault::PendingIsLeft));
}

/// What the threads of a model found.
#[derive(Default)]
struct Outcomes {
    is_absent: std::sync::OnceLock<bool>,
    is_persisted: std::sync::OnceLock<bool>,
}

/// One thread whose clock has reached the deadline reads; another, whose clock has not, makes the entry stay.
fn expire_against_persist(fault: Option<Fault>) {
    type Shared = (Store, Outcomes);
    let read = |(store, outcomes): &Shared| {
        outcomes.is_absent.set(store.look(DEADLINE).live.is_none()).unwrap();
    };
    let persist = |(store, outcomes): &Shared| {
        let is_persisted = store.write(BEFORE, |live| live.map(|body: Body| body.value));
        outcomes.is_persisted.set(is_persisted).unwrap();
    };
    let judge = |(store, outcomes): &Shared| {
        assert_ne!(outcomes.is_absent, outcomes.is_persisted, "gone and kept, or neither");
        assert_eq!(Some(&store.look(DEADLINE).live.is_some()), outcomes.is_persisted.get());
    };
    let state = move || (store_with(5, true, fault), Outcomes::default());
    check(3, state, vec![Box::new(read), Box::new(persist)], judge);
}

#[test]
fn an_entry_that_was_seen_gone_is_not_brought_back() {
    expire_against_persist(None);
}

#[test]
#[should_panic(expected = "gone and kept, or neither")]
fn an_expired_entry_must_be_tagged_before_it_is_called_absent() {
    expire_against_persist(Some(Fault::ExpiredIsLeft));
}

#[test]
fn a_relocation_costs_no_increment_and_wins_over_no_write() {
    let judge = |store: &Store| {
        assert_eq!(value(store), 6);
        store.assert_shows_what_recovers();
    };
    let relocate = |store: &Store| store.relocate(Store::FIRST);
    check(3, || store_with(5, false, None), vec![Box::new(relocate), Box::new(increment)], judge);
}

/// How a mask leaves the index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removal {
    AsBuilt,
    /// I5 taken out.
    WithoutGrace,
    /// X4 taken out.
    WithoutSeal,
}

/// A key is deleted and its mask leaves the index, while a writer sets the key.
fn mask_leaves(removal: Removal) {
    type Shared = (Store, Epoch);
    let set_pinned = |(store, epoch): &Shared| {
        let _guard = epoch.pin(0);
        set(store, 7);
    };
    let delete = move |(store, epoch): &Shared| {
        let mask = store.write_blind(Kind::Tombstone, 0, false);
        if removal != Removal::WithoutGrace {
            epoch.wait_grace();
        }
        if removal == Removal::WithoutSeal {
            remove_unsealed(&store.map(), KEY, mask);
        } else {
            store.map().remove(KEY, mask);
        }
    };
    let state = || (Store::new(None), Epoch::new(1));
    check(3, state, vec![Box::new(set_pinned), Box::new(delete)], |(store, _)| {
        store.assert_shows_what_recovers()
    });
}

#[test]
fn no_write_is_lost_in_a_slot_that_is_given_up_and_none_comes_back_behind_it() {
    mask_leaves(Removal::AsBuilt);
}

#[test]
#[should_panic(expected = "the index and the log disagree")]
fn a_mask_must_not_leave_before_older_writers_have_published() {
    mask_leaves(Removal::WithoutGrace);
}

#[test]
#[should_panic(expected = "the index and the log disagree")]
fn a_slot_must_be_sealed_before_it_is_given_up() {
    mask_leaves(Removal::WithoutSeal);
}
