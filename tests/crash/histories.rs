//! Durable linearizability: the calls of 4 to 8 threads go on over the deaths of the process that makes them, and one order
//! explains them all. A call that was cut off took place before the store was opened again, or never.
//!
//! `KV_CRASH_HISTORIES` sets how many histories. Segments are tiny; the log rolls and is compacted all the time.

use super::child::{self, number, setting};
use super::common::{count, seed};
use super::history::{read_all, run as run_history, with_traffic, yield_at, Mix, Plan, Random, Scene};
use super::journal::{Journal, WORDS};
use super::register::{Key, Op};
use super::wgl::{is_linearizable, overlaps, Call};
use super::words::Words;
use kv::testing::{stray_files, Fault, Faults, Hooks, Point};
use kv::{Clock, Options, Sync};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Histories in one store.
const HISTORIES_A_STORE: u64 = 50;
const SEGMENT_BYTES: u64 = 64 << 10;
const START_MS: u64 = 1_700_000_000_000;

/// What processes share beside the journal: a clock, and counts.
struct World(Words);

const CLOCK_AT: usize = 0;
const POINTS_AT: usize = 1;
const COMPACTIONS_AT: usize = 2;
const RELOCATIONS_AT: usize = 3;
const WORLD_WORDS: usize = 4;

impl World {
    fn add(&self, at: usize, by: u64) -> u64 {
        self.0.at(at).fetch_add(by, Ordering::SeqCst)
    }

    fn get(&self, at: usize) -> u64 {
        self.0.at(at).load(Ordering::SeqCst)
    }
}

impl Clock for World {
    fn unix_ms(&self) -> u64 {
        self.get(CLOCK_AT)
    }
}

/// Without one rule, to show that these histories notice.
fn faults(name: &str) -> Faults {
    let faults = Faults::default();
    match name {
        "acknowledged pending" => faults.with(Fault::AcknowledgedPending),
        "pending not committed" => faults.with(Fault::PendingNotCommitted),
        _ => faults,
    }
}

fn options(world: &Arc<World>) -> Options {
    Options::new().segment_bytes(SEGMENT_BYTES).clock(world.clone())
}

/// Calls until it dies, at a step of its threads or by its parent's hand.
pub fn child() {
    let journal = Journal::in_file(Path::new(&setting("KV_CRASH_JOURNAL")));
    let world = Arc::new(World(Words::in_file(Path::new(&setting("KV_CRASH_WORLD")))));
    let seed = number("KV_CRASH_CHILD_SEED");
    let dies_at = number("KV_CRASH_POINT");
    let counts = Arc::clone(&world);
    let hooks = Hooks::new(move |point| {
        match point {
            Point::Began => counts.add(COMPACTIONS_AT, 1),
            Point::Rewriting => counts.add(RELOCATIONS_AT, 1),
            _ => 0,
        };
        if counts.add(POINTS_AT, 1) + 1 == dies_at {
            child::die();
        }
        yield_at(point);
    });
    let sync = match seed % 4 {
        0 => Sync::Always,
        1 => Sync::Every(Duration::from_millis(1)),
        _ => Sync::Never,
    };
    let options = options(&world).sync(sync).hooks(hooks).faults(faults(&setting("KV_CRASH_FAULT")));
    let db = options.open(setting("KV_CRASH_DIR")).unwrap();
    let plan = Plan {
        threads: number("KV_CRASH_THREADS") as usize,
        keys: number("KV_CRASH_KEYS") as usize,
        mix: Mix::Everything,
    };
    let prefix = setting("KV_CRASH_PREFIX");
    let scene = Scene { db: &db, clock: &*world, journal: &journal, prefix: &prefix };
    let advance = |by: Duration| {
        world.add(CLOCK_AT, by.as_millis() as u64);
    };
    with_traffic(&db, advance, || {
        run_history(&scene, &plan, seed);
        child::die();
    });
}

#[derive(Default)]
struct Tally {
    lives: u64,
    calls: usize,
    pairs: usize,
    cut_off: usize,
    rolls: u64,
    compactions: u64,
    relocations: u64,
}

/// A store over which histories go, one after the other.
struct Stage {
    home: tempfile::TempDir,
    world: Arc<World>,
    fault: &'static str,
}

impl Stage {
    fn new(fault: &'static str) -> Stage {
        let home = child::scratch();
        let path = home.path().join("world");
        std::fs::write(&path, vec![0; WORLD_WORDS * 8]).unwrap();
        let world = Arc::new(World(Words::in_file(&path)));
        world.add(CLOCK_AT, START_MS);
        Stage { home, world, fault }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// One process, from its start to its death.
    fn live(&self, plan: &Plan, prefix: &str, random: &mut Random) {
        // Half of them die between two steps of a write or a compaction; half when it happens, also while they open.
        let dies_at = if random.below(2) == 0 { 1 + random.below(1000) } else { 0 };
        self.world.0.at(POINTS_AT).store(0, Ordering::SeqCst);
        let settings = [
            ("KV_CRASH_DIR", self.path("store").display().to_string()),
            ("KV_CRASH_JOURNAL", self.path("journal").display().to_string()),
            ("KV_CRASH_WORLD", self.path("world").display().to_string()),
            ("KV_CRASH_CHILD_SEED", random.next().to_string()),
            ("KV_CRASH_POINT", dies_at.to_string()),
            ("KV_CRASH_FAULT", self.fault.to_string()),
            ("KV_CRASH_THREADS", plan.threads.to_string()),
            ("KV_CRASH_KEYS", plan.keys.to_string()),
            ("KV_CRASH_PREFIX", prefix.to_string()),
        ];
        let mut child = child::command("histories", &settings).spawn().unwrap();
        // One that does not get there, without a rule it needs say, dies then.
        let life_us = if dies_at == 0 { 2000 + random.below(12_000) } else { 200_000 };
        let killed_at = Instant::now() + Duration::from_micros(life_us);
        while Instant::now() < killed_at && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        let _ = child.kill();
        child::wait_until_killed(child);
    }

    /// One history; the calls on each key.
    fn history(&self, at: u64, random: &mut Random, tally: &mut Tally) -> Vec<Vec<Call<Op>>> {
        std::fs::write(self.path("journal"), vec![0; WORDS * 8]).unwrap();
        let journal = Journal::in_file(&self.path("journal"));
        let plan = Plan::random(random, Mix::Everything);
        let prefix = format!("history-{at}-key-");
        let lives = 1 + random.below(4);
        for _ in 0..lives {
            self.live(&plan, &prefix, random);
            tally.cut_off += journal.cut_off(self.world.unix_ms());
        }
        tally.lives += lives;
        let dir = self.path("store");
        let db = options(&self.world).open(&dir).unwrap();
        read_all(&Scene { db: &db, clock: &*self.world, journal: &journal, prefix: &prefix }, &plan);
        if random.below(2) == 0 {
            db.abandon();
        } else {
            db.close().unwrap();
            let (report, stray) = (kv::verify(&dir).unwrap(), stray_files(&dir).unwrap());
            assert!(report.is_sound() && stray.is_empty(), "{report:?}, {stray:?}");
        }
        journal.calls()
    }
}

fn describe(calls: &[Call<Op>]) -> String {
    let mut calls = calls.to_vec();
    calls.sort_by_key(|call| call.begin);
    calls.iter().map(|c| format!("{:>5}..{:<5} {:?}\n", c.begin, c.end, c.op)).collect()
}

pub fn run() {
    let seed = seed("KV_CRASH_SEED");
    let histories = count("KV_CRASH_HISTORIES", 200);
    let mut random = Random(seed);
    let mut tally = Tally::default();
    let began = Instant::now();
    for first in (0..histories).step_by(HISTORIES_A_STORE as usize) {
        let stage = Stage::new("");
        for at in first..histories.min(first + HISTORIES_A_STORE) {
            for calls in stage.history(at, &mut random, &mut tally) {
                assert!(is_linearizable::<Key>(&calls), "KV_CRASH_SEED={seed}\n{}", describe(&calls));
                tally.pairs += overlaps(&calls);
                tally.calls += calls.len();
            }
        }
        let db = options(&stage.world).open(stage.path("store")).unwrap();
        db.set(b"last", b"").unwrap();
        tally.rolls += db.version(b"last").unwrap().unwrap() / SEGMENT_BYTES;
        tally.compactions += stage.world.get(COMPACTIONS_AT);
        tally.relocations += stage.world.get(RELOCATIONS_AT);
    }
    println!(
        "{histories} histories over {} deaths in {:.1} s, none unknown: {} calls, {} pairs at the same time, {} cut off; {} \
         rolls, {} compactions that moved {} records",
        tally.lives,
        began.elapsed().as_secs_f32(),
        tally.calls,
        tally.pairs,
        tally.cut_off,
        tally.rolls,
        tally.compactions,
        tally.relocations
    );
    // Far less than is usual: a busy machine must not fail this.
    assert!(tally.cut_off as u64 > histories / 2 && tally.pairs as u64 > 10 * histories, "no contention");
    assert!(tally.rolls > histories && tally.compactions > histories / 10 && tally.relocations > 0);
}

pub fn run_without_rules() {
    for fault in ["acknowledged pending", "pending not committed"] {
        let seed = seed("KV_CRASH_SEED");
        let (mut random, mut tally) = (Random(seed), Tally::default());
        let stage = Stage::new(fault);
        let is_refused = |calls: &Vec<Call<Op>>| !is_linearizable::<Key>(calls);
        let caught = (1..=1000).find(|at| stage.history(*at, &mut random, &mut tally).iter().any(is_refused));
        println!("{fault}: refused in history {caught:?}");
        assert!(caught.is_some(), "KV_CRASH_SEED={seed}: nobody notices: {fault}");
    }
}
