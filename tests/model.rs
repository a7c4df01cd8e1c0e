//! P1, P2 and P4 for one thread: random sequences of every operation, with reopens, crashes, compaction, sweeps and a
//! moving clock among them, against a plain map. P8 is checked wherever the log is idle.
//!
//! `KV_CASES` changes the number of sequences, `KV_SHRINKS` how often one that fails is made smaller. A failure prints the
//! `KV_SEED` and `KV_CASES` that replay it.

#[path = "support/checks.rs"]
mod checks;
#[path = "support/editor.rs"]
mod editor;
#[path = "support/mirrored.rs"]
mod mirrored;
#[path = "support/oracle.rs"]
mod oracle;
#[path = "support/player.rs"]
mod player;
#[path = "support/sequence.rs"]
mod sequence;

use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use std::sync::atomic::{AtomicU64, Ordering};

const CASES: u64 = 20_000;
/// Sequences under one seed.
const BLOCK: u64 = 100;
/// More than processors: a sequence often waits for a thread of its store.
const THREADS: usize = 6;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

#[test]
fn every_sequence_of_operations_does_what_a_map_with_a_clock_does() {
    let cases = number("KV_CASES").unwrap_or(CASES);
    let seed = number("KV_SEED").unwrap_or_else(|| {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(0) >> 16
    });
    println!("KV_SEED={seed} KV_CASES={cases}");
    let next = AtomicU64::new(0);
    let totals = sequence::Totals::default();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failure = None;
            while failure.is_none() {
                let block = next.fetch_add(1, Ordering::Relaxed);
                let Some(left) = cases.checked_sub(block * BLOCK).filter(|left| *left > 0) else { break };
                failure = run_block(seed.wrapping_add(block), left.min(BLOCK), &totals);
            }
            if failure.is_some() {
                next.store(u64::MAX / BLOCK / 2, Ordering::Relaxed);
            }
            failure
        };
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    println!("{totals:?}");
    totals.check(cases);
}

fn run_block(seed: u64, cases: u64, totals: &sequence::Totals) -> Option<String> {
    let config = Config {
        cases: cases as u32,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: number("KV_SHRINKS").unwrap_or(20_000) as u32,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&sequence::sequence(), |sequence| {
        player::run(&sequence, totals);
        Ok(())
    });
    match result {
        Ok(()) => None,
        Err(TestError::Fail(reason, sequence)) => {
            Some(format!("replay with KV_SEED={seed} KV_CASES={cases}: {reason}\n{sequence}"))
        }
        Err(TestError::Abort(reason)) => Some(format!("KV_SEED={seed}: aborted: {reason}")),
    }
}
