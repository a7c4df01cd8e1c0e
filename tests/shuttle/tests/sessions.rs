//! Sessions under a scheduler: who has a key, who comes next, who gives up, and a store that closes under all of them.

#[macro_use]
extern crate scheduled_std as std;

#[allow(dead_code)] // The other tests look for seeded bugs and for seeds that repeat.
mod explore;

use explore::{below, explore};
use kv::testing::{on, sessions_under_way, SimDisk};
use kv::{CreateOptions, Db, Error, Options, Wait};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const KEY: &[u8] = b"key";

fn store() -> Db {
    Options::new().segment_bytes(64 << 10).in_memory().unwrap()
}

fn pass_turns(turns_max: u64) {
    (0..below(turns_max)).for_each(|_| std::thread::yield_now());
}

fn counted(db: &Db) -> u64 {
    db.get(KEY).unwrap().map_or(0, |value| u64::from_le_bytes(value.try_into().unwrap()))
}

/// Counts one up in a session; what became of it, and how often the commit met a plain write.
fn edit(db: &Db, wait: Wait, inside: &AtomicU64) -> Result<u64, Error> {
    let options = CreateOptions::new().allow_existing(true).initial(0u64.to_le_bytes());
    let mut session = db.create_and_lock(KEY, wait, options)?.unwrap();
    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two have the key");
    let mut conflicts = 0;
    let outcome = loop {
        let count = u64::from_le_bytes(session.value().try_into().unwrap());
        *session.value_mut() = (count + 1).to_le_bytes().to_vec();
        match session.commit_and_keep() {
            Ok(_) => break Ok(conflicts),
            Err(Error::Conflict) => conflicts += 1,
            Err(error) => break Err(error),
        }
        session.reload().unwrap();
    };
    inside.fetch_sub(1, Ordering::SeqCst);
    outcome
}

#[test]
fn one_has_the_key_at_a_time_and_every_commit_counts_once() {
    explore(|| {
        let db = store();
        let inside = AtomicU64::new(0);
        let commits = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (db, inside, commits) = (&db, &inside, &commits);
                scope.spawn(move || {
                    for _ in 0..3 {
                        let wait = match thread {
                            0 => Wait::No,
                            1 => Wait::AtMost(Duration::from_micros(1 + below(20))),
                            _ => Wait::Forever,
                        };
                        match edit(db, wait, inside) {
                            Ok(conflicts) => {
                                assert_eq!(conflicts, 0, "nobody writes without a session");
                                commits.fetch_add(1, Ordering::SeqCst);
                            }
                            Err(error) => assert!(thread < 2 && matches!(error, Error::KeyLocked), "{error}"),
                        }
                    }
                });
            }
        });
        assert_eq!(counted(&db), commits.load(Ordering::SeqCst));
        assert_eq!(sessions_under_way(&db), (0, 0));
        db.close().unwrap();
    });
}

/// A plain write is never held up and never lost: a commit that it came before says so.
#[test]
fn plain_increments_beside_sessions_are_all_counted() {
    explore(|| {
        let db = store();
        let inside = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..3).for_each(|_| assert!(edit(&db, Wait::Forever, &inside).is_ok())));
            }
            scope.spawn(|| {
                for _ in 0..3 {
                    loop {
                        let version = db.version(KEY).unwrap().unwrap_or(0);
                        // Read after its version: an older one fails.
                        let next = (counted(&db) + 1).to_le_bytes();
                        if db.compare_and_swap(KEY, version, &next).unwrap().is_some() {
                            break;
                        }
                    }
                }
            });
        });
        assert_eq!(counted(&db), 9);
        db.close().unwrap();
    });
}

#[test]
fn a_close_ends_all_waiting_and_what_was_committed_stays_counted() {
    explore(|| {
        let disk = SimDisk::new();
        let open = || on(Options::new().segment_bytes(64 << 10), &disk).open(Path::new("/store")).unwrap();
        let db = open();
        let inside = AtomicU64::new(0);
        let commits = std::thread::scope(|scope| {
            let edits = [(); 3].map(|()| {
                scope.spawn(|| {
                    for n in 0..4 {
                        match edit(&db, Wait::Forever, &inside) {
                            Ok(_) => {}
                            Err(Error::Closed | Error::SyncFailed { .. }) => return n,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    4
                })
            });
            scope.spawn(|| {
                pass_turns(300);
                db.close().unwrap();
            });
            edits.map(|edits| edits.join().unwrap()).iter().sum::<u64>()
        });
        assert!(matches!(db.get_and_lock(KEY, Wait::Forever), Err(Error::Closed)));
        assert_eq!(sessions_under_way(&db), (0, 0));
        drop(db);
        let db = open();
        let found = counted(&db);
        // Of each thread the commit that the close cut off may have come first.
        assert!((commits..=commits + 3).contains(&found), "{found} after {commits}");
        db.close().unwrap();
    });
}
