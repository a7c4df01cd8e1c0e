//! The process is killed at every system call of an open, a roll, a compaction, a training, a backup, a close and a recovery,
//! whichever thread makes it. Afterwards the store is sound, holds what was acknowledged and nothing else, and no file that belongs to
//! nothing. A store goes on from one death to the next.

use super::board::Board;
use super::calls::{one_call, text_of, verify, Tally};
use super::child::{self, number, setting};
use super::common::{seed, Rng};
use super::kills;
use super::tracer::{mark, run as run_traced, End};
use kv::testing::{leave_hole, leave_pending, stray_files};
use kv::{Db, Error, OpenMode, Options};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

const SEGMENT_BYTES: u64 = 64 << 10;
/// A run that ends before its n-th call may have had one less by chance; so many in a row have none.
const FINISHED_RUNS: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Open,
    Roll,
    Compaction,
    /// Also a compaction, before which a dictionary is trained.
    Training,
    Backup,
    Close,
    /// After the death of the process.
    Recovery,
    /// Of a copy, whose files are others: as after a loss of power.
    RecoveryOfCopy,
}

const STEPS: [(&str, Step); 9] = [
    ("create", Step::Create),
    ("open", Step::Open),
    ("roll", Step::Roll),
    ("compaction", Step::Compaction),
    ("training", Step::Training),
    ("backup", Step::Backup),
    ("close", Step::Close),
    ("recovery", Step::Recovery),
    ("recovery of a copy", Step::RecoveryOfCopy),
];

fn options() -> Options {
    kills::options("never", SEGMENT_BYTES).background(false)
}

/// Brings the store where the step begins, and takes the step between two marks.
pub fn child(name: &str) {
    let step = STEPS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no step: {name}")).1;
    let board = Board::open(Path::new(&setting("KV_CRASH_BOARD")));
    let dir = setting("KV_CRASH_DIR");
    let dir = Path::new(&dir);
    let mut rng = Rng::new(number("KV_CRASH_CHILD_SEED"));
    let mut call = |db: &Db, times: u32| (0..times).for_each(|_| one_call(db, &board, 0, &mut rng));
    let options = match step {
        Step::Training if cfg!(feature = "zstd") => kills::compressed(options(), "zstd-dictionary"),
        _ => options(),
    };
    let open = || options.clone().open(dir).unwrap();
    let between_marks = |step: &mut dyn FnMut()| {
        mark();
        step();
        mark();
    };
    if step == Step::Create {
        return between_marks(&mut || call(&open(), 3));
    }
    let db = open();
    call(&db, 200);
    if step == Step::Training {
        // As many as a dictionary is trained from.
        (0..1000).for_each(|n| db.set(b"training", &text_of("training", n)).unwrap());
        db.delete(b"training").unwrap();
    }
    match step {
        Step::Roll => {
            let segments = |db: &Db| db.stats().unwrap().segments;
            let before = segments(&db);
            between_marks(&mut || {
                while segments(&db) < before + 3 {
                    call(&db, 1);
                }
            });
        }
        Step::Compaction => between_marks(&mut || db.compact().unwrap()),
        Step::Training => between_marks(&mut || {
            db.compact().unwrap();
            assert!(
                db.stats().unwrap().dictionaries > 0 || cfg!(not(feature = "zstd")),
                "nothing was trained"
            );
        }),
        Step::Backup => between_marks(&mut || db.backup(backup_of(dir)).unwrap()),
        Step::Close => between_marks(&mut || db.close().unwrap()),
        Step::Open => {
            db.close().unwrap();
            between_marks(&mut || drop(open()));
        }
        Step::Recovery => {
            leave_hole(&db, 64);
            call(&db, 20);
            leave_pending(&db, b"never acknowledged", b"");
            call(&db, 20);
            db.abandon();
            drop(db);
            between_marks(&mut || call(&open(), 1));
        }
        Step::RecoveryOfCopy => {
            db.abandon();
            drop(db);
            copy_anew(dir);
            between_marks(&mut || call(&open(), 1));
        }
        Step::Create => unreachable!("taken above"),
    }
}

fn backup_of(dir: &Path) -> std::path::PathBuf {
    dir.with_extension("backup")
}

/// Puts a copy in the directory's place.
fn copy_anew(dir: &Path) {
    let old = dir.with_extension("old");
    std::fs::rename(dir, &old).unwrap();
    std::fs::create_dir(dir).unwrap();
    for entry in std::fs::read_dir(&old).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    std::fs::remove_dir_all(old).unwrap();
}

/// What must hold after a death.
fn check(step: Step, dir: &Path, board: &Board, told: &str) {
    let sound_or_no_store = |dir: &Path| match kv::verify(dir) {
        Ok(report) => assert!(report.is_sound(), "{told}: {report:?}"),
        Err(Error::NotAStore { .. }) if step == Step::Create => {}
        Err(error) => panic!("{told}: {error}"),
    };
    sound_or_no_store(dir);
    let db = options().open(dir).unwrap_or_else(|error| panic!("{told}: {error}"));
    verify(&db, board, &mut Tally::default());
    check_backup(&backup_of(dir), board, told);
    // So that the next step finds a store as large as this one did.
    db.compact().unwrap();
    db.close().unwrap();
    sound_or_no_store(dir);
    let stray = stray_files(dir).unwrap();
    assert!(stray.is_empty(), "{told}: {stray:?} belong to nothing");
}

/// A backup is whole, or it is no store; never a part of one.
fn check_backup(path: &Path, board: &Board, told: &str) {
    if !path.exists() {
        return;
    }
    match options().mode(OpenMode::MustExist).open(path) {
        Ok(db) => verify(&db, board, &mut Tally::default()),
        Err(Error::NotAStore { .. }) => {}
        Err(error) => panic!("{told}: the backup: {error}"),
    }
    std::fs::remove_dir_all(path).unwrap();
}

pub fn run() {
    let mut rng = Rng::new(seed("KV_CRASH_SEED"));
    for (name, step) in STEPS {
        let began = Instant::now();
        let temporary = child::scratch();
        let (dir, board_path) = (temporary.path().join("store"), temporary.path().join("board"));
        let mut board = Board::create(&board_path);
        let (mut kill_at, mut finished) = (1, 0);
        let (mut deaths, mut killed) = (0, BTreeSet::new());
        while finished < FINISHED_RUNS {
            if step == Step::Create {
                let _ = std::fs::remove_dir_all(&dir);
                board = Board::create(&board_path);
            }
            let settings = [
                ("KV_CRASH_DIR", dir.display().to_string()),
                ("KV_CRASH_BOARD", board_path.display().to_string()),
                ("KV_CRASH_CHILD_SEED", rng.next().to_string()),
            ];
            let end = run_traced(child::command(name, &settings), kill_at);
            check(step, &dir, &board, &format!("{name}, killed at call {kill_at}: {end:?}"));
            match end {
                End::Killed { call } => {
                    deaths += 1;
                    killed.insert(call);
                    finished = 0;
                }
                End::Finished => finished += 1,
            }
            kill_at += 1;
        }
        println!(
            "{name}: killed at each of {deaths} system calls, {} different ones, in {:.1} s",
            killed.len(),
            began.elapsed().as_secs_f32()
        );
        assert!(deaths > 10, "{name} makes more calls than that");
    }
}
