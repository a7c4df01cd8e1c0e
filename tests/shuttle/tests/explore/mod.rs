//! Runs a test under many schedules.

use scheduled_std::real::hash::{BuildHasher, RandomState};
use scheduled_std::real::thread;
use shuttle::rand::Rng;
use shuttle::scheduler::{
    PctScheduler, RandomScheduler, Scheduler, UncontrolledNondeterminismCheckScheduler as Twice,
};
use shuttle::{Config, FailurePersistence, Runner};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Schedules of a block, half of them of each kind.
const BLOCK: usize = 10;
/// Blocks of a test, unless `KV_SHUTTLE_ITERATIONS` says otherwise.
const BLOCKS: u64 = 50;
/// Within so many blocks a seeded bug has to be found: many times what any needs on average, so that luck does not decide.
const BLOCKS_TO_FIND: u64 = 4000;
/// How often the schedulers of a block with priorities change them.
const CHANGES_MAX: u64 = 8;
/// The engine's frames are larger than shuttle takes them to be.
const STACK_BYTES: usize = 1 << 20;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

/// A number that the schedule's seed determines.
pub fn below(limit: u64) -> u64 {
    shuttle::rand::thread_rng().gen_range(0..limit)
}

fn first_seed() -> u64 {
    let seed = number("KV_SHUTTLE_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) >> 16);
    println!("KV_SHUTTLE_SEED={seed}");
    // The index hashes with keys that the seed determines; a second test of this process finds that done.
    let _ = ahash::random_state::set_random_source(Keys);
    seed
}

struct Keys;

impl ahash::random_state::RandomSource for Keys {
    fn gen_hasher_seed(&self) -> usize {
        shuttle::rand::thread_rng().gen()
    }
}

fn run(scheduler: impl Scheduler + 'static, test: impl Fn() + Send + Sync + Clone + 'static) {
    let mut config = Config::default();
    config.stack_size = STACK_BYTES;
    // A schedule is far longer than the seed that gives it again.
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(test);
}

/// Runs the schedules of one seed: `Err` is what the first that failed said.
fn run_block(seed: u64, test: &(impl Fn() + Send + Sync + Clone + 'static)) -> Result<(), String> {
    let test = test.clone();
    // A thread for each: what a schedule that failed leaves behind goes with it.
    let block = thread::spawn(move || {
        catch_unwind(AssertUnwindSafe(|| {
            run(RandomScheduler::new_from_seed(seed, BLOCK / 2), test.clone());
            // The first only measures how long the others are.
            let changes = 1 + (seed % CHANGES_MAX) as usize;
            run(PctScheduler::new_from_seed(seed, changes, BLOCK / 2 + 1), test);
        }))
    });
    block.join().expect("it catches what it meets").map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_default()
    })
}

/// Fails if a schedule does.
pub fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    let first = first_seed();
    let blocks = number("KV_SHUTTLE_ITERATIONS").map_or(BLOCKS, |n| n.div_ceil(BLOCK as u64));
    for seed in first..first.saturating_add(blocks) {
        if let Err(words) = run_block(seed, &test) {
            panic!("KV_SHUTTLE_SEED={seed}: {words}");
        }
    }
    println!("{} schedules keep the promise", blocks * BLOCK as u64);
}

/// Fails if a schedule does not do the same again.
pub fn repeats(test: impl Fn() + Send + Sync + Clone + 'static) {
    run(Twice::new(RandomScheduler::new_from_seed(first_seed(), BLOCK)), test);
}

/// Fails unless a schedule fails with these words.
pub fn finds(words: &str, test: impl Fn() + Send + Sync + Clone + 'static) {
    let first = first_seed();
    for seed in first..first + BLOCKS_TO_FIND {
        if let Err(said) = run_block(seed, &test) {
            assert!(said.contains(words), "KV_SHUTTLE_SEED={seed}: something else: {said}");
            println!("found within {} schedules", (seed - first + 1) * BLOCK as u64);
            return;
        }
    }
    panic!("KV_SHUTTLE_SEED={first}: nobody notices");
}
