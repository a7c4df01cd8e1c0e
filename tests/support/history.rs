//! Histories: threads that call a store on few keys, and a record of what they were told.

use super::register::{Did, Op};
use super::wgl::{Call, CALLS_MAX};
use kv::testing::{Hooks, Point};
use kv::{Clock, Condition, Db, Expiry, ManualClock, SetOptions};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, UNIX_EPOCH};

/// Numbers that a seed determines (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Gives the processor away between the steps of a call now and then, so that calls meet in each other's middle also
/// where there are few processors.
pub fn jitter() -> Hooks {
    thread_local! {
        static RANDOM: Cell<u64> = const { Cell::new(0) };
    }
    static SEEDS: AtomicU64 = AtomicU64::new(1);
    Hooks::new(|point| {
        let seed = RANDOM.with(Cell::get);
        let mut random = Random(if seed == 0 { SEEDS.fetch_add(1, Ordering::Relaxed) << 32 } else { seed });
        let number = random.next();
        RANDOM.with(|state| state.set(random.0));
        if point != Point::Waiting && number % 3 == 0 {
            std::thread::yield_now();
        }
    })
}

/// What the threads do, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    Everything,
    /// What I2 is about: blind sets against increments.
    SetsAndIncrements,
}

pub struct Plan {
    pub threads: u64,
    pub keys: u64,
    pub mix: Mix,
}

impl Plan {
    pub fn random(random: &mut Random, mix: Mix) -> Plan {
        let keys = if mix == Mix::Everything { 1 + random.below(8) } else { 1 };
        Plan { threads: 4 + random.below(5), keys, mix }
    }
}

struct Caller<'h> {
    db: &'h Db,
    clock: &'h ManualClock,
    moments: &'h AtomicU64,
    prefix: &'h str,
    random: Random,
    /// Highest version that this thread was told, by key.
    versions: Vec<u64>,
    /// Values that no other call writes.
    next_value: i64,
    mix: Mix,
    calls: Vec<Vec<Call<Op>>>,
}

/// Runs one history and returns the calls on each key. Keys begin with `prefix`, which no history before had.
pub fn record(db: &Db, clock: &ManualClock, plan: &Plan, prefix: &str, seed: u64) -> Vec<Vec<Call<Op>>> {
    let moments = AtomicU64::new(0);
    let barrier = Barrier::new(plan.threads as usize);
    // A history that can be checked, with room for the last read.
    let calls_a_key = (CALLS_MAX as u64 - 1) / plan.threads;
    let caller = |thread: u64| Caller {
        db,
        clock,
        moments: &moments,
        prefix,
        random: Random(seed ^ (thread + 1) << 56),
        versions: vec![0; plan.keys as usize],
        next_value: (thread as i64 + 1) << 32,
        mix: plan.mix,
        calls: vec![Vec::new(); plan.keys as usize],
    };
    let mut calls = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads)
            .map(|thread| {
                let (mut caller, barrier) = (caller(thread), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let mut left: Vec<usize> =
                        (0..plan.keys * calls_a_key).map(|n| (n % plan.keys) as usize).collect();
                    while !left.is_empty() {
                        let next = caller.random.below(left.len() as u64);
                        caller.call(left.swap_remove(next as usize));
                    }
                    caller.calls
                })
            })
            .collect();
        let mut calls = vec![Vec::new(); plan.keys as usize];
        for thread in threads {
            for (all, mut some) in calls.iter_mut().zip(thread.join().unwrap()) {
                all.append(&mut some);
            }
        }
        calls
    });
    let mut last = caller(plan.threads);
    for (key, calls) in calls.iter_mut().enumerate() {
        last.timed(key, Caller::get);
        calls.append(&mut last.calls[key]);
    }
    calls
}

impl Caller<'_> {
    fn timed(&mut self, key: usize, call: impl FnOnce(&mut Self, usize, &[u8]) -> Did) {
        let name = format!("{}{key}", self.prefix);
        let clock_begin_ms = self.clock.unix_ms();
        // SeqCst: the order of all moments is the order of time.
        let begin = self.moments.fetch_add(1, Ordering::SeqCst);
        let did = call(self, key, name.as_bytes());
        let end = self.moments.fetch_add(1, Ordering::SeqCst);
        let clock_end_ms = self.clock.unix_ms();
        self.calls[key].push(Call { begin, end, op: Op { did, clock_begin_ms, clock_end_ms } });
    }

    fn call(&mut self, key: usize) {
        match (self.mix, self.random.below(100)) {
            (Mix::SetsAndIncrements, 0..40) => self.timed(key, Caller::set),
            (Mix::SetsAndIncrements, 40..80) => self.timed(key, Caller::increment),
            (Mix::SetsAndIncrements, _) => self.timed(key, Caller::get),
            (Mix::Everything, 0..20) => self.timed(key, Caller::get),
            (Mix::Everything, 20..35) => self.timed(key, Caller::set),
            (Mix::Everything, 35..45) => self.timed(key, Caller::add),
            (Mix::Everything, 45..60) => self.timed(key, Caller::compare_and_swap),
            (Mix::Everything, 60..75) => self.timed(key, Caller::increment),
            (Mix::Everything, 75..81) => self.timed(key, Caller::delete),
            (Mix::Everything, 81..86) => self.timed(key, Caller::take),
            (Mix::Everything, 86..94) => self.timed(key, Caller::expire),
            (Mix::Everything, _) => self.timed(key, Caller::persist),
        }
    }

    fn value(&mut self) -> i64 {
        self.next_value += 1 << 16;
        self.next_value
    }

    /// Soon, or never.
    fn deadline_ms(&mut self) -> u64 {
        if self.mix == Mix::SetsAndIncrements || self.random.below(2) == 0 {
            return 0;
        }
        self.clock.unix_ms() + 1 + self.random.below(12)
    }

    fn learn(&mut self, key: usize, version: Option<u64>) -> Option<u64> {
        self.versions[key] = version.unwrap_or(0);
        version
    }

    fn set_when(&mut self, key: usize, name: &[u8], condition: Condition) -> (i64, u64, Option<u64>) {
        let (value, deadline_ms) = (self.value(), self.deadline_ms());
        let expiry = if deadline_ms == 0 { Expiry::Never } else { Expiry::At(at(deadline_ms)) };
        let options = SetOptions::new().condition(condition).expiry(expiry);
        let version = self.db.set_with(name, value.to_string().as_bytes(), options).unwrap();
        (value, deadline_ms, self.learn(key, version))
    }

    fn set(&mut self, key: usize, name: &[u8]) -> Did {
        let (value, deadline_ms, version) = self.set_when(key, name, Condition::Always);
        Did::Set { value, deadline_ms, version: version.expect("a set without a condition took place") }
    }

    fn add(&mut self, key: usize, name: &[u8]) -> Did {
        let (value, deadline_ms, version) = self.set_when(key, name, Condition::IfAbsent);
        Did::Add { value, deadline_ms, version }
    }

    fn get(&mut self, key: usize, name: &[u8]) -> Did {
        let pin = self.db.pin().unwrap();
        let found = pin.get(name).unwrap().map(|value| {
            let number = std::str::from_utf8(&value).unwrap().parse().unwrap();
            (number, value.version(), value.expires_at_ms().unwrap_or(0))
        });
        drop(pin);
        self.learn(key, found.map(|(_, version, _)| version));
        Did::Get(found)
    }

    fn compare_and_swap(&mut self, key: usize, name: &[u8]) -> Did {
        let (expected, value) = (self.versions[key], self.value());
        let version = self.db.compare_and_swap(name, expected, value.to_string().as_bytes()).unwrap();
        Did::CompareAndSwap { expected, value, version: self.learn(key, version) }
    }

    fn increment(&mut self, _: usize, name: &[u8]) -> Did {
        let by = 1 + self.random.below(9) as i64;
        Did::Increment { by, sum: self.db.increment(name, by).unwrap() }
    }

    fn delete(&mut self, _: usize, name: &[u8]) -> Did {
        Did::Delete { found: self.db.delete(name).unwrap() }
    }

    fn take(&mut self, _: usize, name: &[u8]) -> Did {
        let taken = self.db.take(name).unwrap();
        Did::Take(taken.map(|value| std::str::from_utf8(&value).unwrap().parse().unwrap()))
    }

    fn expire(&mut self, _: usize, name: &[u8]) -> Did {
        let deadline_ms = self.clock.unix_ms() + 1 + self.random.below(12);
        Did::ExpireAt { deadline_ms, found: self.db.expire_at(name, at(deadline_ms)).unwrap() }
    }

    fn persist(&mut self, _: usize, name: &[u8]) -> Did {
        Did::ExpireAt { deadline_ms: 0, found: self.db.persist(name).unwrap() }
    }
}

fn at(ms: u64) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

/// What goes on in a store beside the history: a clock that moves, compaction, and many other keys that come and go,
/// so that the log rolls and the map grows.
pub fn with_traffic<T>(db: &Db, clock: &Arc<ManualClock>, run: impl FnOnce() -> T) -> T {
    use std::sync::atomic::AtomicBool;
    let stop = AtomicBool::new(false);
    let go_on = || !stop.load(Ordering::Relaxed);
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while go_on() {
                clock.advance(Duration::from_millis(1));
                // Its pace, so that deadlines pass in the middle of histories and not before.
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        scope.spawn(|| {
            while go_on() {
                db.compact().unwrap();
                std::thread::yield_now();
            }
        });
        scope.spawn(|| {
            let padding = [b'p'; 1500];
            for n in 0u64.. {
                if !go_on() {
                    break;
                }
                // Small ones grow the map, large ones that replace each other fill the log.
                db.set(&n.to_le_bytes(), b"").unwrap();
                db.set(format!("padding-{}", n % 16).as_bytes(), &padding).unwrap();
                if n % 64 == 63 {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        });
        let _stop = Stop(&stop);
        run()
    })
}
