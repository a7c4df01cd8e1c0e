//! An error at the N-th call of each file operation, for all N.

use crate::common::count;
use crate::in_time;
use crate::play::{options, Play, DIR};
use kv::testing::{stray_names, Call, Choice, SimDisk};
use kv::{Error, Sync};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    /// This one call, with this error.
    Once(i32),
    /// It and all that follow.
    FromThenOn(i32),
    /// It reads or writes half of what it was asked to.
    Short,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    sync: Sync,
    call: Call,
    /// Calls of this kind that go well before.
    skip: u64,
    fails: Fails,
}

const ERRORS: [(&str, i32); 6] = [
    ("EIO", libc::EIO),
    ("ENOSPC", libc::ENOSPC),
    ("EDQUOT", libc::EDQUOT),
    ("EMFILE", libc::EMFILE),
    ("EROFS", libc::EROFS),
    ("EINTR", libc::EINTR),
];

const SYNCS: [Sync; 2] = [Sync::Always, Sync::Never];

/// Each way to fail each call that the same play makes when nothing fails.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for sync in SYNCS {
        let mut play = Play::new(sync);
        play.run("nothing fails");
        assert!(play.failed.is_empty(), "{:?}", play.failed);
        for call in Call::ALL {
            for skip in 0..play.disk.calls(call) {
                let once = ERRORS.iter().map(|(_, errno)| Fails::Once(*errno));
                let lasting = [libc::EIO, libc::ENOSPC, libc::EMFILE].map(Fails::FromThenOn);
                let short = [Fails::Short].into_iter().filter(|_| matches!(call, Call::Read | Call::Write));
                let all = once.chain(lasting).chain(short);
                cases.extend(all.map(|fails| Case { sync, call, skip, fails }));
            }
        }
    }
    cases
}

/// What failed is named: the operation and the file, or the failure before that refuses this call.
fn check_named(call: &str, error: &Error, told: &str) {
    let text = error.to_string();
    let names_file = text.contains("above") || text.contains("backups");
    let is_named = match error {
        Error::Io { op, path, .. } => !op.is_empty() && names_file && !path.as_os_str().is_empty(),
        Error::SyncFailed { reason } | Error::ReadOnly { reason } => !reason.is_empty() && names_file,
        // A backup that failed half-way leaves its directory, which a second one refuses.
        Error::NotAStore { .. } => names_file,
        _ => false,
    };
    assert!(is_named, "{told}: {call}: {error:?}");
}

/// Whether the failure came about, and how many calls of the store failed with it.
fn run(case: Case) -> (bool, usize) {
    let told = format!("{case:?}");
    let mut play = Play::new(case.sync);
    let disk = play.disk.clone();
    match case.fails {
        Fails::Once(errno) => disk.fail(case.call, errno, case.skip, 1),
        Fails::FromThenOn(errno) => disk.fail(case.call, errno, case.skip, u64::MAX),
        Fails::Short => disk.cut_short(case.call, case.skip, 1),
    }
    play.run(&told);
    let came = disk.failed() > 0;
    disk.heal();
    play.failed.iter().for_each(|(call, error)| check_named(call, error, &told));
    let lacks_descriptors = matches!(case.fails, Fails::Once(libc::EMFILE) | Fails::FromThenOn(libc::EMFILE));
    if lacks_descriptors && matches!(case.call, Call::Create | Call::Open) {
        // Nothing reached the disk, so nothing is in doubt. A close that fails ends the store as a death does.
        let broke_down =
            |(call, error): &&(&str, Error)| *call != "close" && matches!(error, Error::SyncFailed { .. });
        assert!(!play.failed.iter().any(|failed| broke_down(&failed)), "{told}: {:?}", play.failed);
    }
    // A signal or a short count is no failure where bytes are read and written.
    if matches!(case.call, Call::Read | Call::Write) {
        let is_hidden = matches!(case.fails, Fails::Short | Fails::Once(libc::EINTR));
        assert!(!is_hidden || play.failed.is_empty(), "{told}: {:?}", play.failed);
    }
    let open = |disk: &Arc<SimDisk>| {
        options(disk, case.sync).open(DIR).unwrap_or_else(|error| panic!("{told}: {error}"))
    };
    if case.sync == Sync::Always {
        // Whatever the sync that failed left out, what was acknowledged is on disk.
        let after_power_loss = open(&disk.image(Choice::Nothing, 1));
        play.possible.judge(&after_power_loss, &format!("{told}, power lost"));
    }
    let db = open(&disk);
    assert!(db.damage().is_empty(), "{told}: {:?}", db.damage());
    play.possible.judge(&db, &format!("{told}, reopened, failed: {:?}", play.failed));
    // I17: what was found is on disk before anything is written, whatever a failed sync left out.
    let after_power_loss = open(&disk.image(Choice::Nothing, 2));
    let read_all = |db: &kv::Db| -> Vec<_> {
        let mut all: Vec<_> =
            db.scan(Default::default()).unwrap().map(|e| e.unwrap()).map(|e| (e.key, e.value)).collect();
        all.sort();
        all
    };
    assert!(read_all(&db) == read_all(&after_power_loss), "{told}: reopened, and not on disk");
    db.set(b"key-0", b"after").unwrap_or_else(|error| panic!("{told}: {error}"));
    db.close().unwrap_or_else(|error| panic!("{told}: {error}"));
    drop(db);
    let stray = stray_names(&disk, Path::new(DIR)).unwrap();
    assert!(stray.is_empty(), "{told}: {stray:?} belong to nothing");
    assert_eq!(open(&disk).get(b"key-0").unwrap().as_deref(), Some(&b"after"[..]), "{told}");
    (came, play.failed.len())
}

#[test]
fn p7_an_error_at_any_call_of_any_file_operation_is_named_and_costs_nothing_acknowledged() {
    let began = std::time::Instant::now();
    // Which call of a store meets the N-th of the system differs from round to round.
    let rounds = count("KV_FAULT_ROUNDS", 1);
    let cases: Vec<Case> = (0..rounds).flat_map(|_| cases()).collect();
    let next = AtomicUsize::new(0);
    // Cases, those in which the failure came about, failed calls.
    let tally: Mutex<BTreeMap<Call, (u64, u64, usize)>> = Mutex::default();
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
            let (came, failed) = in_time(&format!("{case:?}"), move || run(case));
            let mut tally = tally.lock().unwrap();
            let of = tally.entry(case.call).or_default();
            *of = (of.0 + 1, of.1 + u64::from(came), of.2 + failed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    println!("{} cases in {:.1} s", cases.len(), began.elapsed().as_secs_f32());
    println!("{:10} {:>8} {:>8} {:>14}", "operation", "cases", "came", "calls failed");
    for (call, (cases, came, failed)) in &*tally.lock().unwrap() {
        println!("{:10} {cases:8} {came:8} {failed:14}", format!("{call:?}"));
        // How often the log thread syncs depends on who comes when.
        assert!(came * 10 >= cases * 8, "{call:?}: {came} of {cases} failures came about");
    }
}
