//! Eight writers and the compactor are killed at a random moment, again and again, over one store that is never cleaned.
//! `KV_CRASH_KILLS` sets how often.

use super::board::{Board, THREADS};
use super::calls::{one_call, verify, Tally};
use super::child::{self, number, setting};
use super::common::{count, seed, Rng};
use kv::testing::stray_files;
use kv::{Options, Sync};
use std::path::Path;
use std::process::Child;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Of 400 or so.
const CACHE_ENTRIES: u64 = 150;

pub fn options(sync: &str, segment_bytes: u64) -> Options {
    let sync = match sync {
        "always" => Sync::Always,
        "every" => Sync::Every(Duration::from_millis(5)),
        _ => Sync::Never,
    };
    Options::new().sync(sync).segment_bytes(segment_bytes)
}

/// The same, with a dictionary for new values, or without; what is there may be of either kind.
pub fn compressed(options: Options, compression: &str) -> Options {
    options.set("compression", compression).unwrap()
}

/// Of which a store is opened with any.
const OFF: &[&str] = &["off"];
#[cfg(feature = "zstd")]
const WITH_DICTIONARIES: &[&str] = &["off", "zstd-dictionary"];

/// Writes until it is killed.
pub fn child() {
    let board = Board::open(Path::new(&setting("KV_CRASH_BOARD")));
    let options = options(&setting("KV_CRASH_SYNC"), number("KV_CRASH_SEGMENT_BYTES"));
    let db = compressed(options, &setting("KV_CRASH_COMPRESSION"));
    let db = db.max_entries(board.entries_max()).open(setting("KV_CRASH_DIR")).unwrap();
    let seed = number("KV_CRASH_CHILD_SEED");
    board.set_ready();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (db, board) = (&db, &board);
            scope.spawn(move || {
                let mut rng = Rng::new(seed ^ (thread as u64 + 1) << 40);
                loop {
                    one_call(db, board, thread, &mut rng);
                }
            });
        }
        loop {
            db.compact().unwrap();
            board.compactions().fetch_add(1, Ordering::SeqCst);
        }
    });
}

/// Makes a store with a dictionary, of as many values as one is trained from.
fn train(dir: &Path, board: &Board, rng: &mut Rng) {
    let options = compressed(options("never", 1 << 20), "zstd-dictionary");
    let db = options.background(false).max_entries(board.entries_max()).open(dir).unwrap();
    (0..3000).for_each(|_| one_call(&db, board, 0, rng));
    db.compact().unwrap();
    db.close().unwrap();
}

/// Lets a child live for a random while and kills it.
fn live_and_die(mut child: Child, board: &Board, rng: &mut Rng, tally: &mut Tally) {
    let dies_young = rng.one_in(5);
    if !dies_young {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !board.is_ready() {
            assert!(child.try_wait().unwrap().is_none(), "the child could not open the store");
            assert!(Instant::now() < deadline, "the child does not open the store");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let life_us = if dies_young { 2000 + rng.below(8000) } else { rng.below(80_000) };
    std::thread::sleep(Duration::from_micros(life_us));
    child.kill().unwrap();
    child::wait_until_killed(child);
    tally.in_recovery += u64::from(!board.is_ready());
    board.clear_ready();
}

pub fn run() {
    campaign(count("KV_CRASH_KILLS", 200), None, OFF);
}

/// Of the values some are made smaller with a dictionary.
#[cfg(feature = "zstd")]
pub fn run_dictionaries() {
    campaign(count("KV_CRASH_KILLS", 200).div_ceil(3), None, WITH_DICTIONARIES);
}

/// The store is a cache: what is found is what was written last, or nothing, and what was found gone stays gone.
pub fn run_cache() {
    let evicted = campaign(count("KV_CRASH_KILLS", 200).div_ceil(3), Some(CACHE_ENTRIES), OFF);
    assert!(evicted > CACHE_ENTRIES, "{evicted} evictions were seen");
}

/// Returns how many entries a cache had let go before it was killed.
fn campaign(kills: u64, entries_max: Option<u64>, compressions: &[&str]) -> u64 {
    let mut rng = Rng::new(seed("KV_CRASH_SEED"));
    let temporary = tempfile::tempdir().unwrap();
    let (dir, board_path) = (temporary.path().join("store"), temporary.path().join("board"));
    let board = Board::create(&board_path);
    board.set_entries_max(entries_max.unwrap_or(0));
    let mut tally = Tally::default();
    let has_dictionary = compressions.contains(&"zstd-dictionary");
    if has_dictionary {
        train(&dir, &board, &mut rng);
    }
    // A compaction that trains a dictionary first seldom ends before the kill.
    let compactions_min = if has_dictionary { 0 } else { kills / 40 + 1 };
    let compactions = || board.compactions().load(Ordering::SeqCst);
    let (began, mut killed) = (Instant::now(), 0);
    // On a busy machine few compactions end before a kill: it takes more of them.
    while killed < kills || (compactions() < compactions_min && killed < 5 * kills) {
        killed += 1;
        let kill = killed;
        let sync = ["always", "every", "never"][rng.below(3) as usize];
        let segment_bytes = (64 << 10) << rng.below(3);
        let compression = compressions[rng.below(compressions.len() as u64) as usize];
        let settings = [
            ("KV_CRASH_DIR", dir.display().to_string()),
            ("KV_CRASH_BOARD", board_path.display().to_string()),
            ("KV_CRASH_SYNC", sync.to_string()),
            ("KV_CRASH_SEGMENT_BYTES", segment_bytes.to_string()),
            ("KV_CRASH_COMPRESSION", compression.to_string()),
            ("KV_CRASH_CHILD_SEED", rng.next().to_string()),
        ];
        let child = child::command("kills", &settings).spawn().unwrap();
        live_and_die(child, &board, &mut rng, &mut tally);
        let options = compressed(options(sync, segment_bytes), compression);
        let db = options.max_entries(entries_max).open(&dir);
        let db = db.unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        assert!(entries_max.is_none_or(|max| db.len() as u64 <= max), "kill {kill}: {} entries", db.len());
        verify(&db, &board, &mut tally);
        assert_eq!(db.stats().unwrap().dictionaries > 0, has_dictionary, "kill {kill}");
        match rng.below(4) {
            0 => {
                db.close().unwrap();
                let report = kv::verify(&dir).unwrap();
                assert!(report.is_sound(), "kill {kill}: {report:?}");
                let stray = stray_files(&dir).unwrap();
                assert!(stray.is_empty(), "kill {kill}: {stray:?} belong to nothing");
            }
            1 => {
                db.compact().unwrap();
                verify(&db, &board, &mut Tally::default());
            }
            _ => db.abandon(),
        }
    }
    let compactions = compactions();
    println!(
        "{killed} kills in {:.1} s: {} of them before the store was open; {} calls of the busiest thread, {compactions} \
         compactions; {} calls were cut off, {} of which had taken effect",
        began.elapsed().as_secs_f32(),
        tally.in_recovery,
        tally.calls,
        tally.in_flight,
        tally.took_effect
    );
    assert!(tally.calls > kills * 10 && compactions >= compactions_min, "the children did next to nothing");
    tally.evicted
}
