//! P1: recorded histories of concurrent calls are linearizable, while the log rolls, the compactor runs and the map
//! grows; and the checker notices when I2 is built the wrong way.
//!
//! `KV_HISTORIES` changes their number; `KV_SEED` gives the same plans again, though not the same races.

#[path = "support/history.rs"]
mod history;
#[path = "support/journal.rs"]
#[allow(dead_code)] // Cutting calls off is for histories that processes die in.
mod journal;
#[path = "support/register.rs"]
mod register;
#[path = "support/wgl.rs"]
mod wgl;
#[path = "support/words.rs"]
#[allow(dead_code)] // Words in files are, too.
mod words;

use history::{record, with_traffic, yield_at, Mix, Plan, Random};
use kv::testing::{Fault, Faults, Hooks};
use kv::{Db, ManualClock, Options};
use register::{Ask, Did, Key, Op};
use std::sync::Arc;
use wgl::{is_linearizable, overlaps, Call};

const HISTORIES: u64 = 2000;
/// Histories for one store: then the map is small again, and has to grow.
const HISTORIES_A_STORE: u64 = 50;
const SEGMENT_BYTES: u64 = 64 << 10;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

fn seed() -> u64 {
    let seed = number("KV_SEED").unwrap_or_else(|| {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(0)
    });
    println!("KV_SEED={seed}");
    seed
}

/// A store in memory or, for every second number, in a directory, which lives as long as the second part.
fn store(number: u64, clock: &Arc<ManualClock>, faults: Faults) -> (Db, Option<tempfile::TempDir>) {
    let options = Options::new()
        .segment_bytes(SEGMENT_BYTES)
        .clock(clock.clone())
        .faults(faults)
        .hooks(Hooks::new(yield_at));
    if number % 2 == 0 {
        return (options.in_memory().unwrap(), None);
    }
    let dir = tempfile::tempdir().unwrap();
    (options.open(dir.path()).unwrap(), Some(dir))
}

fn describe(calls: &[Call<Op>]) -> String {
    let mut calls = calls.to_vec();
    calls.sort_by_key(|call| call.begin);
    calls.iter().map(|c| format!("{:>5}..{:<5} {:?}\n", c.begin, c.end, c.op)).collect()
}

#[test]
fn single_key_operations_are_linearizable_while_the_log_rolls_and_compacts_and_the_map_grows() {
    let seed = seed();
    let histories = number("KV_HISTORIES").unwrap_or(HISTORIES);
    let mut random = Random(seed);
    let (mut pairs, mut calls_all, mut compactions, mut relocated, mut aborted, mut rolls, mut expired) =
        (0, 0, 0, 0, 0, 0, 0);
    let (stores, mut grown) = (histories.div_ceil(HISTORIES_A_STORE), 0);
    for number in 0..stores {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let (db, _dir) = store(number, &clock, Faults::default());
        with_traffic(
            &db,
            |by| clock.advance(by),
            || {
                for at in 0..HISTORIES_A_STORE {
                    let plan = Plan::random(&mut random, Mix::Everything);
                    let keys = record(&db, &clock, &plan, &format!("history-{at}-key-"), random.next());
                    for calls in &keys {
                        assert!(is_linearizable::<Key>(calls), "KV_SEED={seed}\n{}", describe(calls));
                        pairs += overlaps(calls);
                        calls_all += calls.len();
                    }
                }
            },
        );
        let stats = db.stats().unwrap();
        grown += u64::from(stats.index_entries > 1000);
        compactions += stats.compactions;
        relocated += stats.relocated_bytes;
        aborted += stats.aborted_writes;
        expired += stats.expired;
        db.set(b"last", b"").unwrap();
        rolls += db.version(b"last").unwrap().unwrap() / SEGMENT_BYTES;
    }
    println!(
        "{histories} histories, {calls_all} calls, {pairs} pairs at the same time, {aborted} races lost, \
         {expired} expired, {rolls} rolls, {compactions} compactions that moved {relocated} bytes, the map grew in {grown} of {stores} stores"
    );
    assert!(pairs as u64 > 20 * histories && aborted > histories / 4, "no contention");
    // Far less than is usual: a busy machine must not fail this.
    assert!(grown > stores / 4, "the map had no reason to grow");
    assert!(
        rolls > histories / 4 && compactions > histories / 20 && relocated > 0 && expired > histories / 4
    );
}

#[test]
fn a_blind_write_that_calls_itself_overwritten_is_caught() {
    let seed = seed();
    let mut random = Random(seed);
    let faults = Faults::default().with(Fault::BlindWriteCallsItselfOverwritten);
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let (db, _) = store(0, &clock, faults);
    let (sound, _) = store(0, &clock, Faults::default());
    let mut is_sound = |db: &Db, at: u64| {
        let plan = Plan::random(&mut random, Mix::SetsAndIncrements);
        let keys = record(db, &clock, &plan, &format!("history-{at}-key-"), random.next());
        keys.iter().all(|calls| is_linearizable::<Key>(calls))
    };
    let caught = (1..=500).find(|at| !is_sound(&db, *at));
    println!("caught in history {caught:?}");
    assert!(caught.is_some(), "KV_SEED={seed}");
    // The same histories with the mechanism in place.
    assert!((0..50).all(|at| is_sound(&sound, at)), "KV_SEED={seed}");
}

/// A history by hand: begin, end, clock at begin and end, and the call.
fn history(calls: &[(u64, u64, u64, u64, Did)]) -> Vec<Call<Op>> {
    let call = |(begin, end, clock_begin_ms, clock_end_ms, did): &(u64, u64, u64, u64, Did)| Call {
        begin: *begin,
        end: *end,
        op: Op { did: did.clone(), clock_begin_ms: *clock_begin_ms, clock_end_ms: *clock_end_ms },
    };
    calls.iter().map(call).collect()
}

fn check(calls: &[(u64, u64, Did)]) -> bool {
    let calls: Vec<_> = calls.iter().map(|(begin, end, did)| (*begin, *end, 0, 0, did.clone())).collect();
    is_linearizable::<Key>(&history(&calls))
}

fn set(value: i64, version: u64) -> Did {
    Did::Set { value, deadline_ms: 0, version }
}

fn get(value: i64, version: u64) -> Did {
    Did::Get(Some((value, version, 0)))
}

#[test]
fn the_checker_accepts_what_one_order_explains() {
    assert!(check(&[]));
    assert!(check(&[(0, 1, Did::Get(None)), (2, 3, set(5, 8)), (4, 5, get(5, 8))]));
    // A read beside a write may see either.
    assert!(check(&[(0, 9, set(5, 8)), (1, 2, Did::Get(None)), (3, 4, get(5, 8))]));
    // The set took place first, though it ended last.
    assert!(check(&[(0, 9, set(100, 8)), (1, 2, Did::Increment { by: 1, sum: 101 })]));
    assert!(check(&[(0, 9, set(100, 8)), (1, 2, Did::Increment { by: 1, sum: 1 }), (10, 11, get(100, 8))]));
    assert!(check(&[
        (0, 1, set(1, 8)),
        (2, 9, Did::CompareAndSwap { expected: 8, value: 2, version: Some(16) }),
        (3, 8, Did::CompareAndSwap { expected: 8, value: 3, version: None }),
        (10, 11, Did::Take(Some(2))),
        (12, 13, Did::Delete { found: false }),
        (14, 15, Did::CompareAndSwap { expected: 0, value: 4, version: Some(24) }),
    ]));
}

#[test]
fn the_checker_refuses_what_no_order_explains() {
    // A stale read, a lost update, a value from nowhere.
    assert!(!check(&[(0, 1, set(5, 8)), (2, 3, Did::Get(None))]));
    assert!(!check(&[(0, 9, set(5, 8)), (1, 2, get(5, 8)), (3, 4, Did::Get(None))]));
    assert!(!check(&[(0, 1, get(5, 8))]));
    let one = Did::Increment { by: 1, sum: 1 };
    assert!(!check(&[(0, 3, one.clone()), (1, 2, one)]));
    // The example of I2: the set was acknowledged, and nothing of it is left.
    assert!(!check(&[
        (0, 1, set(5, 8)),
        (2, 9, set(100, 16)),
        (3, 4, Did::Increment { by: 1, sum: 6 }),
        (10, 11, get(6, 24)),
    ]));
    // Two took the same value; both added; both won with one version.
    assert!(!check(&[(0, 1, set(5, 8)), (2, 5, Did::Take(Some(5))), (3, 4, Did::Take(Some(5)))]));
    let add = |version| Did::Add { value: 1, deadline_ms: 0, version: Some(version) };
    assert!(!check(&[(0, 3, add(8)), (1, 2, add(16))]));
    let swap = |version| Did::CompareAndSwap { expected: 8, value: 2, version: Some(version) };
    assert!(!check(&[(0, 1, set(1, 8)), (2, 5, swap(16)), (3, 4, swap(24))]));
    // A version that does not grow, and one that changes without a write.
    assert!(!check(&[(0, 1, set(1, 16)), (2, 3, set(2, 8))]));
    assert!(!check(&[(0, 1, set(1, 8)), (2, 3, get(1, 16))]));
}

#[test]
fn the_checker_knows_that_a_call_without_an_answer_took_place_by_its_end_or_never() {
    let cut_off = |ask| Did::CutOff(ask);
    let set_100 = || cut_off(Ask::Set { value: 100, deadline_ms: 0 });
    for found in [get(5, 8), get(100, 16)] {
        assert!(check(&[(0, 1, set(5, 8)), (2, 9, set_100()), (10, 11, found.clone()), (12, 13, found)]));
    }
    // Seen and then gone; not seen and then there; there before it began.
    assert!(!check(&[(0, 1, set(5, 8)), (2, 9, set_100()), (3, 4, get(100, 16)), (10, 11, get(5, 8))]));
    assert!(!check(&[(0, 1, set(5, 8)), (2, 9, set_100()), (10, 11, get(5, 8)), (12, 13, get(100, 16))]));
    assert!(!check(&[(0, 1, set(5, 8)), (2, 3, get(100, 16)), (4, 9, set_100())]));
    // It took place once.
    let add_3 = || cut_off(Ask::Increment { by: 3 });
    assert!(check(&[(0, 1, set(5, 8)), (2, 9, add_3()), (10, 11, get(8, 16))]));
    assert!(!check(&[(0, 1, set(5, 8)), (2, 9, add_3()), (10, 11, get(11, 16))]));
    // Conditions hold for it as for any.
    let swap = |expected| cut_off(Ask::CompareAndSwap { expected, value: 7 });
    assert!(check(&[(0, 1, set(5, 8)), (2, 9, swap(8)), (10, 11, get(7, 16))]));
    assert!(!check(&[(0, 1, set(5, 8)), (2, 9, swap(4)), (10, 11, get(7, 16))]));
    assert!(!check(&[
        (0, 1, set(5, 8)),
        (2, 9, cut_off(Ask::Add { value: 7, deadline_ms: 0 })),
        (10, 11, get(7, 16))
    ]));
    for ask in [Ask::Delete, Ask::Take] {
        assert!(check(&[(0, 1, set(5, 8)), (2, 9, cut_off(ask)), (10, 11, Did::Get(None))]));
    }
    assert!(!check(&[(0, 1, set(5, 8)), (2, 9, cut_off(Ask::Get)), (10, 11, Did::Get(None))]));
}

#[test]
fn the_checker_knows_time() {
    let set = Did::Set { value: 5, deadline_ms: 100, version: 8 };
    let alive = Did::Get(Some((5, 8, 100)));
    let begin = (0, 1, 50, 50, set);
    let with = |rest: &[(u64, u64, u64, u64, Did)]| {
        let mut calls = vec![begin.clone()];
        calls.extend_from_slice(rest);
        is_linearizable::<Key>(&history(&calls))
    };
    assert!(with(&[(2, 3, 99, 99, alive.clone())]));
    assert!(!with(&[(2, 3, 100, 100, alive.clone())]));
    assert!(!with(&[(2, 3, 99, 99, Did::Get(None))]));
    // Time passes within the call: either.
    assert!(with(&[(2, 3, 99, 100, alive.clone())]));
    assert!(with(&[(2, 3, 99, 100, Did::Get(None))]));
    // What was seen gone stays gone, also for a call that began before.
    let persist = Did::ExpireAt { deadline_ms: 0, found: true };
    assert!(with(&[(2, 9, 99, 100, persist.clone()), (10, 11, 200, 200, Did::Get(Some((5, 16, 0))))]));
    assert!(!with(&[
        (2, 9, 99, 100, persist),
        (3, 4, 100, 100, Did::Get(None)),
        (10, 11, 200, 200, Did::Get(Some((5, 16, 0)))),
    ]));
}
