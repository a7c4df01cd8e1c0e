//! Entries that are locked, edited and committed, and keys that the store makes up.

#[path = "support/gate.rs"]
#[allow(dead_code)] // The tests that hold threads use the rest.
mod gate;

use gate::until;
use kv::testing::sessions_under_way;
use kv::{Compression, CreateOptions, Db, Error, Expiry, KeyOptions, ManualClock, Metadata, Options, Wait};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const START_MS: u64 = 1_700_000_000_000;

fn is_locked<T>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::KeyLocked))
}

#[test]
fn a_session_has_its_key_to_itself_and_no_edit_of_others_is_lost() {
    const THREADS: u64 = 4;
    const EDITS: u64 = 500;
    let db = Db::in_memory().unwrap();
    let inside = [const { AtomicU64::new(0) }; 2];
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (db, inside) = (&db, &inside);
            scope.spawn(move || {
                for n in 0..EDITS {
                    let which = ((thread + n) % 2) as usize;
                    let options = CreateOptions::new().allow_existing(true).initial(0u64.to_le_bytes());
                    let key = [which as u8];
                    let mut session = db.create_and_lock(&key, Wait::Forever, options).unwrap().unwrap();
                    assert_eq!(inside[which].fetch_add(1, Ordering::SeqCst), 0, "two have the key");
                    let count = u64::from_le_bytes(session.value().try_into().unwrap());
                    *session.value_mut() = (count + 1).to_le_bytes().to_vec();
                    inside[which].fetch_sub(1, Ordering::SeqCst);
                    session.commit().unwrap();
                }
            });
        }
    });
    let counts = [0u8, 1].map(|key| u64::from_le_bytes(db.get(&[key]).unwrap().unwrap().try_into().unwrap()));
    assert_eq!(counts.iter().sum::<u64>(), THREADS * EDITS);
    assert_eq!(sessions_under_way(&db), (0, 0));
}

#[test]
fn sessions_get_a_key_in_the_order_in_which_they_asked() {
    let db = Db::in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    let first = db.get_and_lock(b"k", Wait::No).unwrap().unwrap();
    let order = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for n in 0..5 {
            let (db, order) = (&db, &order);
            scope.spawn(move || {
                let session = db.get_and_lock(b"k", Wait::Forever).unwrap().unwrap();
                order.lock().unwrap().push(n);
                drop(session);
            });
            until("it waits behind those before", || sessions_under_way(db) == (1, n + 1));
        }
        assert!(is_locked(db.get_and_lock(b"k", Wait::No)), "a try does not wait");
        drop(first);
    });
    assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn who_waits_too_long_leaves_the_line_and_the_next_goes_on() {
    let db = Db::in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    let first = db.get_and_lock(b"k", Wait::No).unwrap().unwrap();
    assert!(is_locked(db.get_and_lock(b"k", Wait::AtMost(Duration::ZERO))));
    assert!(is_locked(db.get_and_lock(b"k", Wait::AtMost(Duration::from_millis(1)))));
    assert_eq!(sessions_under_way(&db), (1, 0), "nobody stays in the line");
    std::thread::scope(|scope| {
        let late = scope.spawn(|| is_locked(db.get_and_lock(b"k", Wait::AtMost(Duration::from_millis(50)))));
        until("it waits", || sessions_under_way(&db).1 == 1 || late.is_finished());
        // Longer than a clock can tell.
        let patient = scope.spawn(|| db.get_and_lock(b"k", Wait::AtMost(Duration::MAX)).unwrap().is_some());
        assert!(late.join().unwrap());
        until("the patient one waits alone", || sessions_under_way(&db) == (1, 1));
        drop(first);
        assert!(patient.join().unwrap());
    });
    assert_eq!(sessions_under_way(&db), (0, 0));
}

#[test]
fn absence_and_presence_are_no_errors() {
    let db = Db::in_memory().unwrap();
    assert!(db.get_and_lock(b"k", Wait::No).unwrap().is_none());
    let session = db.create_and_lock(b"k", Wait::No, CreateOptions::new().initial("first")).unwrap().unwrap();
    assert_eq!((session.version(), session.value(), session.key()), (0, &b"first"[..], &b"k"[..]));
    let version = session.commit().unwrap();
    assert_eq!(db.version(b"k").unwrap(), Some(version));
    assert!(db.create_and_lock(b"k", Wait::No, CreateOptions::new()).unwrap().is_none());
    let again = CreateOptions::new().initial("second").allow_existing(true);
    assert_eq!(db.create_and_lock(b"k", Wait::No, again).unwrap().unwrap().value(), b"first");
    assert_eq!(sessions_under_way(&db), (0, 0), "what is not given is not locked");
}

#[test]
fn readers_see_what_was_committed_last_and_wait_for_nothing() {
    let db = Db::in_memory().unwrap();
    db.set(b"k", b"old").unwrap();
    let mut session = db.get_and_lock(b"k", Wait::No).unwrap().unwrap();
    *session.value_mut() = b"new".to_vec();
    session.metadata_mut().insert("by".into(), b"me".to_vec());
    let sees = |value: &[u8]| {
        assert_eq!(db.get(b"k").unwrap().as_deref(), Some(value));
        assert_eq!(db.get_many(&[b"k"]).unwrap()[0].as_deref(), Some(value));
        assert_eq!(db.get_with(b"k", |v| v == value).unwrap(), Some(true));
        let entries: Vec<_> =
            db.scan(Default::default()).unwrap().map(|entry| entry.unwrap().value).collect();
        assert_eq!(entries, [value]);
    };
    sees(b"old");
    assert!(db.get_with_metadata(b"k").unwrap().unwrap().1.is_empty());
    session.commit_and_keep().unwrap();
    sees(b"new");
    *session.value_mut() = b"newer".to_vec();
    sees(b"new");
    assert!(is_locked(db.get_and_lock(b"k", Wait::No)), "the lock was kept");
    session.rollback();
    sees(b"new");
    assert!(db.get_and_lock(b"k", Wait::No).unwrap().is_some());
}

#[test]
fn a_plain_write_is_not_held_up_and_the_commit_says_that_it_came_between() {
    let db = Db::in_memory().unwrap();
    type Change = fn(&Db) -> kv::Result<()>;
    let changes: [(&str, Change); 6] = [
        ("set", |db| db.set(b"k", b"theirs")),
        ("delete", |db| db.delete(b"k").map(drop)),
        ("increment", |db| db.increment(b"k", 1).map(drop)),
        ("expire", |db| db.expire(b"k", Duration::from_secs(60)).map(drop)),
        ("batch", |db| db.set_many(&[(b"k", b"theirs"), (b"l", b"theirs")])),
        ("clear", Db::clear),
    ];
    for (name, change) in changes {
        db.set(b"k", b"1").unwrap();
        let mut session = db.get_and_lock(b"k", Wait::No).unwrap().unwrap();
        *session.value_mut() = b"mine".to_vec();
        change(&db).unwrap();
        let theirs = db.get(b"k").unwrap();
        let failed = session.commit_or_keep().unwrap_err();
        assert!(matches!(failed.error, Error::Conflict), "{name}: {failed}");
        assert_eq!(db.get(b"k").unwrap(), theirs, "{name}: a commit in conflict changes nothing");
        let mut session = failed.session;
        assert_eq!(session.value(), b"mine", "{name}: the edits stay");
        assert!(is_locked(db.create_and_lock(b"k", Wait::No, CreateOptions::new())), "{name}: and the lock");
        session.reload().unwrap();
        assert_eq!(session.value(), theirs.unwrap_or_default(), "{name}");
        *session.value_mut() = b"mine".to_vec();
        session.commit().unwrap();
        assert_eq!(db.get(b"k").unwrap().as_deref(), Some(&b"mine"[..]), "{name}");
    }
    // Without asking to keep it, a conflict ends the session.
    let session = db.get_and_lock(b"k", Wait::No).unwrap().unwrap();
    db.set(b"k", b"theirs").unwrap();
    assert!(matches!(session.commit(), Err(Error::Conflict)));
    assert_eq!(sessions_under_way(&db), (0, 0));
}

#[test]
fn two_that_make_a_key_without_a_lock_between_them_are_told() {
    let db = Db::in_memory().unwrap();
    let session = db.create_and_lock(b"k", Wait::No, CreateOptions::new()).unwrap().unwrap();
    assert!(db.add(b"k", b"theirs").unwrap());
    assert!(matches!(session.commit(), Err(Error::Conflict)));
    assert_eq!(db.get(b"k").unwrap().as_deref(), Some(&b"theirs"[..]));
}

#[test]
fn an_entry_that_is_relocated_under_a_session_is_no_conflict_and_one_that_expires_is() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().clock(clock.clone()).segment_bytes(64 << 10).open(dir.path()).unwrap();
    db.set(b"k", b"v").unwrap();
    db.expire(b"k", Duration::from_secs(60)).unwrap();
    let mut session = db.get_and_lock(b"k", Wait::No).unwrap().unwrap();
    for n in 0..100u32 {
        db.set(&[n as u8 % 7], &[0; 9000]).unwrap();
    }
    db.compact().unwrap();
    assert!(db.stats().unwrap().relocated_bytes > 0);
    session.commit_and_keep().unwrap();
    let ttl = db.ttl(b"k").unwrap();
    assert_eq!(ttl, Some(kv::Ttl::Remaining(Duration::from_secs(60))), "a commit keeps the expiry");
    clock.advance(Duration::from_secs(61));
    assert!(matches!(session.commit_and_keep(), Err(Error::Conflict)));
    session.reload().unwrap();
    assert_eq!((session.version(), session.value()), (0, &b""[..]));
    session.set_expiry(Expiry::After(Duration::from_secs(5)));
    session.commit_and_keep().unwrap();
    assert_eq!(db.ttl(b"k").unwrap(), Some(kv::Ttl::Remaining(Duration::from_secs(5))));
    session.set_expiry(Expiry::Never);
    session.commit().unwrap();
    assert_eq!(db.ttl(b"k").unwrap(), Some(kv::Ttl::Never));
}

#[test]
fn a_commit_may_remove_the_entry_and_the_session_goes_on() {
    let db = Db::in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    let mut session = db.get_and_lock(b"k", Wait::No).unwrap().unwrap();
    session.metadata_mut().insert("n".into(), b"v".to_vec());
    session.delete_on_commit(true);
    assert_eq!(db.get(b"k").unwrap().as_deref(), Some(&b"v"[..]), "not before the commit");
    assert_eq!(session.commit_and_keep().unwrap(), 0);
    assert_eq!(db.get(b"k").unwrap(), None);
    assert!(session.value().is_empty() && session.metadata().is_empty());
    // Once more: nothing is there, so nothing is in the way.
    session.delete_on_commit(true);
    assert_eq!(session.commit_and_keep().unwrap(), 0);
    *session.value_mut() = b"again".to_vec();
    let version = session.commit().unwrap();
    assert_eq!(db.version(b"k").unwrap(), Some(version));
    let mut session = db.get_and_lock(b"k", Wait::No).unwrap().unwrap();
    session.delete_on_commit(true);
    db.set(b"k", b"theirs").unwrap();
    assert!(matches!(session.commit(), Err(Error::Conflict)));
    assert_eq!(db.get(b"k").unwrap().as_deref(), Some(&b"theirs"[..]));
}

#[test]
fn a_thread_that_dies_gives_up_its_keys() {
    let db = Db::in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    let (asks, waits) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let dying = scope.spawn(|| {
            let mut session = db.get_and_lock(b"k", Wait::No).unwrap().unwrap();
            *session.value_mut() = b"half done".to_vec();
            asks.send(()).unwrap();
            until("somebody waits", || sessions_under_way(&db).1 == 1);
            panic!("on purpose");
        });
        waits.recv().unwrap();
        let next = db.get_and_lock(b"k", Wait::AtMost(Duration::from_secs(60))).unwrap().unwrap();
        assert_eq!(next.value(), b"v");
        assert!(dying.join().is_err());
    });
    assert_eq!(sessions_under_way(&db), (0, 0));
}

#[test]
fn a_close_ends_waiting_and_a_session_of_a_closed_store_cannot_commit() {
    let db = Db::in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    let session = db.get_and_lock(b"k", Wait::No).unwrap().unwrap();
    std::thread::scope(|scope| {
        let waiting = [(); 3].map(|()| scope.spawn(|| db.get_and_lock(b"k", Wait::Forever).map(drop)));
        until("all wait", || sessions_under_way(&db) == (1, 3));
        db.close().unwrap();
        for waiting in waiting {
            assert!(matches!(waiting.join().unwrap(), Err(Error::Closed)));
        }
    });
    assert!(matches!(db.get_and_lock(b"k", Wait::No), Err(Error::Closed)));
    assert!(matches!(session.commit(), Err(Error::Closed)));
}

#[test]
fn the_last_session_may_be_the_last_handle() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    let session = db.create_and_lock(b"k", Wait::No, CreateOptions::new().initial("v")).unwrap().unwrap();
    drop(db);
    session.commit().unwrap();
    assert_eq!(Db::open(dir.path()).unwrap().get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn nobody_waits_for_a_key_with_a_pin_in_hand() {
    let db = Db::in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    let pin = db.pin().unwrap();
    let session = db.get_and_lock(b"k", Wait::Forever).unwrap().unwrap();
    assert!(matches!(db.get_and_lock(b"k", Wait::Forever), Err(Error::Pinned { .. })));
    assert!(is_locked(db.get_and_lock(b"k", Wait::No)));
    drop((pin, session));
    // A session holds up no grace period.
    let _session = db.get_and_lock(b"k", Wait::Forever).unwrap().unwrap();
    db.clear().unwrap();
    db.compact().unwrap();
}

#[test]
fn metadata_lives_and_dies_with_the_value() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let dir = tempfile::tempdir().unwrap();
    let zstd = Compression::Zstd { level: 1, threshold_bytes: 100 };
    let options = || Options::new().clock(clock.clone()).segment_bytes(64 << 10);
    let metadata = Metadata::from([("empty".into(), vec![]), ("käse".into(), vec![0xff; 300])]);
    let values = [Vec::new(), b"42".to_vec(), vec![b'c'; 5000]];
    for compression in [Compression::Off, zstd] {
        let dir = dir.path().join(format!("{}", u8::from(compression == zstd)));
        let db = options().compression(compression).open(&dir).unwrap();
        let check = |db: &Db, when: &str| {
            for (n, value) in values.iter().enumerate() {
                let key = [n as u8];
                let whole = db.get_with_metadata(&key).unwrap();
                assert_eq!(whole, Some((value.clone(), metadata.clone())), "{when}");
                assert_eq!(db.get(&key).unwrap().as_ref(), Some(value), "{when}");
                assert_eq!(&*db.pin().unwrap().get(&key).unwrap().unwrap(), &value[..], "{when}");
            }
        };
        for (n, value) in values.iter().enumerate() {
            let options = CreateOptions::new().initial(value.clone());
            let mut session = db.create_and_lock(&[n as u8], Wait::No, options).unwrap().unwrap();
            session.metadata_mut().clone_from(&metadata);
            session.commit().unwrap();
        }
        check(&db, "committed");
        for n in 0..values.len() {
            db.expire(&[n as u8], Duration::from_secs(60)).unwrap();
            db.persist(&[n as u8]).unwrap();
        }
        check(&db, "with another expiry");
        (0..100u32).for_each(|n| db.set(&[200 + n as u8 % 7], &[0; 9000]).unwrap());
        db.compact().unwrap();
        check(&db, "relocated");
        let copy = dir.with_extension("backup");
        db.backup(&copy).unwrap();
        check(&options().open(&copy).unwrap(), "in a backup");
        db.abandon();
        drop(db);
        let db = options().open(&dir).unwrap();
        check(&db, "after a crash");
        db.close().unwrap();
        let salvaged = dir.with_extension("salvaged");
        kv::salvage(&dir, &salvaged).unwrap();
        check(&options().open(&salvaged).unwrap(), "salvaged");
        let db = options().open(&dir).unwrap();
        check(&db, "reopened");
        assert_eq!(db.increment(&[1], 1).unwrap(), 43);
        assert_eq!(
            db.get_with_metadata(&[1]).unwrap(),
            Some((b"43".to_vec(), Metadata::new())),
            "incremented"
        );
        db.set(&[2], b"plain").unwrap();
        assert_eq!(db.get_with_metadata(&[2]).unwrap(), Some((b"plain".to_vec(), Metadata::new())));
        assert_eq!(db.take(&[0]).unwrap(), Some(Vec::new()));
    }
}

#[test]
fn metadata_that_no_record_can_hold_is_refused_and_the_session_stays() {
    let db = Options::new().value_bytes_max(1000).in_memory().unwrap();
    let mut session = db.create_and_lock(b"k", Wait::No, CreateOptions::new()).unwrap().unwrap();
    session.metadata_mut().insert("n".repeat(70_000), Vec::new());
    let error = session.commit_and_keep().unwrap_err();
    assert_eq!(error.to_string(), "option metadata: a name of 70000 bytes: must be at most 65535");
    session.metadata_mut().clear();
    // Length, both lengths of the pair, its name.
    session.metadata_mut().insert("n".into(), vec![0; 1000 - 4 - 6 - 1]);
    session.value_mut().push(1);
    let error = session.commit_and_keep().unwrap_err();
    assert!(matches!(error, Error::ValueTooLong { len: 1001, max: 1000 }), "{error}");
    session.value_mut().clear();
    session.commit().unwrap();
}

#[test]
fn a_store_that_is_only_read_gives_no_new_keys_and_takes_no_commit() {
    let dir = tempfile::tempdir().unwrap();
    Db::open(dir.path()).unwrap().set(b"k", b"v").unwrap();
    let db = Options::new().mode(kv::OpenMode::ReadOnly).open(dir.path()).unwrap();
    let session = db.get_and_lock(b"k", Wait::No).unwrap().unwrap();
    assert!(matches!(session.commit(), Err(Error::ReadOnly { .. })));
    let created = db.create_and_lock(b"l", Wait::No, CreateOptions::new());
    assert!(matches!(created, Err(Error::ReadOnly { .. })));
    assert!(matches!(db.generate_key(&KeyOptions::new()), Err(Error::ReadOnly { .. })));
}

#[test]
fn generated_keys_grow_and_never_come_back_whatever_ends_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let options = KeyOptions::new().prefix("job:").base(62).width(9);
    let mut last = Vec::new();
    let take = |db: &Db, last: &[u8]| {
        let key = db.generate_key(&options).unwrap();
        assert!(key[..] > *last && key.len() == 13 && key.starts_with(b"job:"), "{key:?} after {last:?}");
        key
    };
    for round in 0..40u32 {
        let db = Options::new().segment_bytes(64 << 10).sync(kv::Sync::Never).open(dir.path()).unwrap();
        for n in 0..200 {
            last = take(&db, &last);
            if n % 50 == 0 && round % 3 == 0 {
                db.set(b"filler", &[0; 9000]).unwrap();
            }
        }
        match round % 4 {
            0 => {
                // Its copy as of now gives none of these either.
                let backup = tempfile::tempdir().unwrap();
                let path = backup.path().join("store");
                db.backup(&path).unwrap();
                take(&Db::open(&path).unwrap(), &last);
                db.close().unwrap();
            }
            1 => db.compact().unwrap(),
            // As the death of the process; without a record that counts, too.
            _ => db.abandon(),
        }
    }
}

#[test]
fn threads_never_get_the_same_generated_key_and_each_sees_its_own_grow() {
    let db = Options::new().segment_bytes(64 << 10).in_memory().unwrap();
    let keys = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let own: Vec<_> = (0..3000).map(|_| db.generate_key(&KeyOptions::new()).unwrap()).collect();
                assert!(own.is_sorted_by(|a, b| a < b));
                keys.lock().unwrap().extend(own);
            });
        }
    });
    let mut keys = keys.into_inner().unwrap();
    keys.sort_unstable();
    assert!(keys.is_sorted_by(|a, b| a < b), "a key was given twice");
}

#[test]
fn a_generated_key_that_somebody_has_is_passed_over() {
    let db = Db::in_memory().unwrap();
    let options = KeyOptions::new().width(12);
    let number = |key: &[u8]| std::str::from_utf8(key).unwrap().parse::<u64>().unwrap();
    let last = number(&db.generate_key(&options).unwrap());
    // All that are near.
    for ahead in 1..200 {
        db.set(format!("{:012}", last + ahead).as_bytes(), b"taken").unwrap();
    }
    let session = db.create_generated_and_lock(&options, "mine").unwrap();
    let key = session.key().to_vec();
    assert!(number(&key) >= last + 200 && session.value() == b"mine" && session.version() == 0);
    assert_eq!(db.get(&key).unwrap(), None);
    session.commit().unwrap();
    assert_eq!(db.get(&key).unwrap().as_deref(), Some(&b"mine"[..]));
}

#[test]
fn keys_that_cannot_be_are_refused_with_what_is_wrong() {
    let db = Db::in_memory().unwrap();
    let refusal = |options: KeyOptions| db.generate_key(&options).unwrap_err().to_string();
    let options = KeyOptions::new;
    for base in [0, 1, 63] {
        assert_eq!(refusal(options().base(base)), format!("option key_base: {base}: must be 2 to 62"));
    }
    assert_eq!(refusal(options().width(65)), "option key_width: 65 digits: must be at most 64");
    let narrow = refusal(options().width(2));
    assert_eq!(narrow, "option key_width: the next key needs 3 digits of base 10, and 2 are given");
    assert_eq!(refusal(options().prefix(vec![0; 65_500])), "key of 65564 bytes: the limit is 65535");
    assert!(db.create_generated_and_lock(&options().base(1), "").is_err());
}
