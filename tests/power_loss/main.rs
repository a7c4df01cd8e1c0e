//! P3 and P4 when power is lost: an image of the disk in which every sector, length and name that was not synced may be
//! old or new opens, holds everything that was acknowledged as synced, and is otherwise a prefix of what was written, in
//! the order of the log.
//!
//! Replay with `KV_POWER_SEED`; `KV_POWER_IMAGES` sets how many images are checked at least.

#[path = "../common/mod.rs"]
mod common;
mod history;
mod images;
mod mirror;
mod workload;

use common::{count, seed, Rng};
use images::Tally;
use kv::testing::{Call, Choice, Point};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, RecvTimeoutError};
use std::time::{Duration, Instant};
use workload::{Length, Start};

/// Rounds that follow each other on what a loss of power left, at most.
const GENERATIONS_MAX: u64 = 4;

/// Without an image in so long something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn what_is_found_after_power_was_lost_is_a_prefix_that_holds_everything_synced() {
    let first = seed("KV_POWER_SEED");
    let wanted = count("KV_POWER_IMAGES", 10_000);
    let (tally, chains) = (Tally::default(), AtomicU64::new(0));
    let began = Instant::now();
    let work = || {
        while tally.images() < wanted {
            let seed = first.wrapping_add(chains.fetch_add(1, Ordering::Relaxed));
            let mut rng = Rng::new(seed);
            let run = catch_unwind(AssertUnwindSafe(|| {
                let mut start = Start::empty();
                for _ in 0..1 + rng.below(GENERATIONS_MAX) {
                    let length = if rng.one_in(2) { Length::Whole } else { Length::Brief };
                    start = workload::round(start, length, &mut rng, &tally);
                }
            }));
            run.unwrap_or_else(|panic| {
                eprintln!("again with: KV_POWER_SEED={seed}");
                resume_unwind(panic)
            });
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let (ended, waiting) = sync_channel::<()>(0);
        let tally = &tally;
        scope.spawn(move || {
            let mut before = u64::MAX;
            while waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                if tally.images() == before {
                    // Nothing else ends a thread that hangs.
                    eprintln!("hangs: chains from KV_POWER_SEED={first} on");
                    std::process::abort();
                }
                before = tally.images();
            }
        });
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        drop(ended);
        results.into_iter().for_each(|result| result.unwrap_or_else(|panic| resume_unwind(panic)));
    });
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} images of {} chains of workloads in {seconds:.1} s, {:.0} a second\n{tally}",
        tally.images(),
        chains.load(Ordering::Relaxed),
        tally.images() as f64 / seconds
    );
    // What the campaign is for was met.
    for call in [Call::Sync, Call::SyncDir, Call::Remove, Call::Rename, Call::Create, Call::Truncate] {
        assert!(tally.at_call(call) > 0, "no image at {call:?}");
    }
    for point in [Point::Reserved, Point::Published, Point::Rewriting] {
        assert!(tally.at_point(point) > 0, "no image at {point:?}");
    }
    for choice in Choice::ALL {
        assert!(tally.of_choice(choice) > 0, "no image of {choice:?}");
    }
    let [with_dictionaries, trained, had, mirrors] = tally.trained();
    println!(
        "a dictionary was trained and used in {trained} of {with_dictionaries} histories with dictionaries"
    );
    // A short run has few of them.
    assert!(trained > 0 || with_dictionaries < 4, "no dictionary is trained");
    assert!(had > 0 || trained == 0, "no image had a dictionary");
    assert!(mirrors > 0, "no mirror was written");
    assert!(tally.gone() > 0, "nothing was evicted");
    assert!(tally.second_losses() * 20 > tally.images(), "too few losses inside a recovery");
    assert!(tally.after_death() * 10 > tally.images(), "too few images after the death of a process");
}
