//! Clear against a writer (I14).

use crate::check;
use crate::epoch::Epoch;
use crate::record::Kind;
use crate::store::Store;

/// A clear beside a thread that sets the key, and one that has been set before.
fn clear_against_set(waits_for_writers: bool) {
    type Shared = (Store, Epoch);
    let set = |(store, epoch): &Shared| {
        let _guard = epoch.pin(0);
        store.write_blind(Kind::Put, 7, false);
    };
    let clear = move |(store, epoch): &Shared| {
        let lsn = store.append_clear();
        if waits_for_writers {
            epoch.wait_grace();
        }
        store.forget_cleared(lsn);
    };
    let state = || {
        let store = Store::new(None);
        store.write_blind(Kind::Put, 5, false);
        (store, Epoch::new(1))
    };
    check(3, state, vec![Box::new(set), Box::new(clear)], |(store, _)| store.assert_shows_what_recovers());
}

#[test]
fn what_a_clear_leaves_is_what_recovers() {
    clear_against_set(true);
}

#[test]
#[should_panic(expected = "the index and the log disagree")]
fn a_clear_must_wait_for_writers_below_it() {
    clear_against_set(false);
}
