//! Histories: threads that call a store on few keys, and a record of what they were told.

use super::journal::{Answer, Journal, KEYS_MAX, THREADS_MAX};
use super::register::{Ask, Op};
use super::wgl::{Call, CALLS_MAX};
use kv::testing::Point;
use kv::{Clock, Condition, Db, Expiry, ManualClock, SetOptions};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Barrier;
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
pub fn yield_at(point: Point) {
    thread_local! {
        static RANDOM: Cell<u64> = const { Cell::new(0) };
    }
    static SEEDS: AtomicU64 = AtomicU64::new(1);
    let seed = RANDOM.with(Cell::get);
    let mut random = Random(if seed == 0 { SEEDS.fetch_add(1, Ordering::Relaxed) << 32 } else { seed });
    let number = random.next();
    RANDOM.with(|state| state.set(random.0));
    if point != Point::Waiting && number % 3 == 0 {
        std::thread::yield_now();
    }
}

/// What the threads do, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    Everything,
    /// What I2 is about: blind sets against increments.
    SetsAndIncrements,
}

pub struct Plan {
    pub threads: usize,
    pub keys: usize,
    pub mix: Mix,
}

impl Plan {
    pub fn random(random: &mut Random, mix: Mix) -> Plan {
        let keys = if mix == Mix::Everything { 1 + random.below(KEYS_MAX as u64) } else { 1 };
        Plan { threads: 4 + random.below(THREADS_MAX as u64 - 3) as usize, keys: keys as usize, mix }
    }

    /// The keys of the calls that a thread has still to make, when it has begun so many on each.
    fn left(&self, begun: [usize; KEYS_MAX]) -> Vec<usize> {
        // A history that can be checked, with room for the last read.
        let calls_a_key = (CALLS_MAX - 1) / self.threads;
        (0..self.keys).flat_map(|key| (begun[key]..calls_a_key).map(move |_| key)).collect()
    }
}

/// Who calls what.
pub struct Scene<'h> {
    pub db: &'h Db,
    pub clock: &'h dyn Clock,
    pub journal: &'h Journal,
    /// What keys begin with, which no history before had.
    pub prefix: &'h str,
}

struct Caller<'h> {
    scene: &'h Scene<'h>,
    mix: Mix,
    thread: usize,
    random: Random,
    /// Highest version that this thread was told, by key.
    versions: Vec<u64>,
}

/// Runs one history to its end and returns the calls on each key.
pub fn record(db: &Db, clock: &ManualClock, plan: &Plan, prefix: &str, seed: u64) -> Vec<Vec<Call<Op>>> {
    let journal = Journal::in_memory();
    let scene = Scene { db, clock, journal: &journal, prefix };
    run(&scene, plan, seed);
    read_all(&scene, plan);
    journal.calls()
}

/// Runs what the plan's threads have not yet begun.
pub fn run(scene: &Scene<'_>, plan: &Plan, seed: u64) {
    let barrier = Barrier::new(plan.threads);
    std::thread::scope(|scope| {
        for thread in 0..plan.threads {
            let barrier = &barrier;
            scope.spawn(move || {
                let random = Random(seed ^ (thread as u64 + 1) << 56);
                let versions = vec![0; plan.keys];
                let mut caller = Caller { scene, mix: plan.mix, thread, random, versions };
                let mut left = plan.left(scene.journal.begun_by_key(thread));
                barrier.wait();
                while !left.is_empty() {
                    let next = caller.random.below(left.len() as u64);
                    caller.call(left.swap_remove(next as usize));
                }
            });
        }
    });
}

/// Ends a history with a read of each key.
pub fn read_all(scene: &Scene<'_>, plan: &Plan) {
    for key in 0..plan.keys {
        scene.journal.read(key, || scene.clock.unix_ms(), || get(scene.db, &scene.key(key)));
    }
}

fn get(db: &Db, key: &[u8]) -> Answer {
    let pin = db.pin().unwrap();
    let value = pin.get(key).unwrap()?;
    Some([number_in(&value), value.version(), value.expires_at_ms().unwrap_or(0)])
}

fn number_in(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse::<i64>().unwrap() as u64
}

impl Scene<'_> {
    fn key(&self, key: usize) -> Vec<u8> {
        format!("{}{key}", self.prefix).into_bytes()
    }
}

impl Caller<'_> {
    fn call(&mut self, key: usize) {
        let ask = self.choose(key);
        let Scene { clock, journal, .. } = self.scene;
        journal.begin(self.thread, key, ask, clock.unix_ms());
        let answer = carry_out(self.scene.db, &self.scene.key(key), ask);
        journal.end(self.thread, answer, clock.unix_ms());
        match (ask, answer) {
            (Ask::Get, Some([_, version, _])) => self.versions[key] = version,
            (Ask::Set { .. } | Ask::Add { .. } | Ask::CompareAndSwap { .. } | Ask::Get, _) => {
                self.versions[key] = answer.map_or(0, |[version, ..]| version);
            }
            _ => {}
        }
    }

    fn choose(&mut self, key: usize) -> Ask {
        match (self.mix, self.random.below(100)) {
            (Mix::SetsAndIncrements, 0..40) => Ask::Set { value: self.value(), deadline_ms: 0 },
            (Mix::SetsAndIncrements, 40..80) => self.increment(),
            (Mix::SetsAndIncrements, _) => Ask::Get,
            (Mix::Everything, 0..20) => Ask::Get,
            (Mix::Everything, 20..35) => {
                Ask::Set { value: self.value(), deadline_ms: self.deadline_or_never_ms() }
            }
            (Mix::Everything, 35..45) => {
                Ask::Add { value: self.value(), deadline_ms: self.deadline_or_never_ms() }
            }
            (Mix::Everything, 45..60) => {
                Ask::CompareAndSwap { expected: self.versions[key], value: self.value() }
            }
            (Mix::Everything, 60..75) => self.increment(),
            (Mix::Everything, 75..81) => Ask::Delete,
            (Mix::Everything, 81..86) => Ask::Take,
            (Mix::Everything, 86..94) => Ask::ExpireAt { deadline_ms: self.deadline_ms() },
            (Mix::Everything, _) => Ask::ExpireAt { deadline_ms: 0 },
        }
    }

    /// A value that no other call writes, with room for increments.
    fn value(&self) -> i64 {
        let call = self.scene.journal.begun(self.thread) as i64;
        (self.thread as i64 + 1) << 32 | (call + 1) << 16
    }

    fn increment(&mut self) -> Ask {
        Ask::Increment { by: 1 + self.random.below(9) as i64 }
    }

    /// Soon.
    fn deadline_ms(&mut self) -> u64 {
        self.scene.clock.unix_ms() + 1 + self.random.below(12)
    }

    fn deadline_or_never_ms(&mut self) -> u64 {
        if self.random.below(2) == 0 {
            0
        } else {
            self.deadline_ms()
        }
    }
}

fn carry_out(db: &Db, key: &[u8], ask: Ask) -> Answer {
    let number = |number| Some([number, 0, 0]);
    let set_when = |condition, value: i64, deadline_ms| {
        let expiry = if deadline_ms == 0 { Expiry::Never } else { Expiry::At(at(deadline_ms)) };
        let options = SetOptions::new().condition(condition).expiry(expiry);
        db.set_with(key, value.to_string().as_bytes(), options).unwrap().and_then(number)
    };
    let when = |found: bool| found.then_some([0; 3]);
    match ask {
        Ask::Get => get(db, key),
        Ask::Set { value, deadline_ms } => set_when(Condition::Always, value, deadline_ms),
        Ask::Add { value, deadline_ms } => set_when(Condition::IfAbsent, value, deadline_ms),
        Ask::CompareAndSwap { expected, value } => {
            db.compare_and_swap(key, expected, value.to_string().as_bytes()).unwrap().and_then(number)
        }
        Ask::Increment { by } => number(db.increment(key, by).unwrap() as u64),
        Ask::Delete => when(db.delete(key).unwrap()),
        Ask::Take => db.take(key).unwrap().and_then(|value| number(number_in(&value))),
        Ask::ExpireAt { deadline_ms: 0 } => when(db.persist(key).unwrap()),
        Ask::ExpireAt { deadline_ms } => when(db.expire_at(key, at(deadline_ms)).unwrap()),
    }
}

fn at(ms: u64) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

/// What goes on in a store beside the history: a clock that moves, compaction, and many other keys that come and go,
/// so that the log rolls and the map grows.
pub fn with_traffic<T>(db: &Db, advance: impl Fn(Duration) + Sync, run: impl FnOnce() -> T) -> T {
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
                advance(Duration::from_millis(1));
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
