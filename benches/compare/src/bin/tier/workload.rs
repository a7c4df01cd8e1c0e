//! Sets, gets and both mixed by many callers: libkv with the tier behind it, and a client that does a round trip an operation.

use crate::results::{median, rate, ratio};
use crate::{directory, seconds, store, Redis, Report, Scale};
use kv::TierOptions;
use redis::Commands;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// What a caller does to a key.
trait Caller {
    fn set(&mut self, key: &str, value: &[u8]);
    fn get(&mut self, key: &str) -> usize;
}

impl Caller for &kv::Db {
    fn set(&mut self, key: &str, value: &[u8]) {
        kv::Db::set(self, key.as_bytes(), value).expect("a set");
    }

    fn get(&mut self, key: &str) -> usize {
        self.get_with(key.as_bytes(), <[u8]>::len).expect("a get").expect("it was set")
    }
}

impl Caller for redis::Connection {
    fn set(&mut self, key: &str, value: &[u8]) {
        Commands::set::<_, _, ()>(self, key, value).expect("a set");
    }

    fn get(&mut self, key: &str) -> usize {
        Commands::get::<_, Vec<u8>>(self, key).expect("a get").len()
    }
}

const PHASES: [&str; 3] = ["sets", "gets", "both, half and half"];

/// Records of about a kilobyte, as protobuf writes them: tag, length, text, and a number now and then.
fn records() -> Vec<Vec<u8>> {
    let text = b"the quick brown fox jumps over the lazy dog and runs on through the wood ";
    let record = |n: usize| {
        let mut record = Vec::with_capacity(1100);
        for field in 1u8.. {
            let len = 20 + (n * 31 + usize::from(field) * 17) % 50;
            record.extend([((field % 15) << 3) | 2, len as u8]);
            record.extend(text.iter().cycle().skip(n + usize::from(field)).take(len));
            record.extend([15 << 3, (n % 128) as u8]);
            if record.len() >= 1000 {
                return record;
            }
        }
        record
    };
    (0..509).map(record).collect()
}

/// Seconds of each phase.
fn play<C: Caller>(scale: &Scale, records: &[Vec<u8>], connect: impl Fn() -> C + Sync) -> [f64; 3] {
    let barrier = Barrier::new(scale.callers as usize + 1);
    let each = scale.keys / scale.callers;
    let work = |caller: u64| {
        let mut connection = connect();
        let key = |n: u64| format!("user:{n:016x}");
        let mut seed = caller + 1;
        let mut draw = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            seed >> 33
        };
        let record = |n: u64| &records[n as usize % records.len()][..];
        barrier.wait();
        for n in caller * each..(caller + 1) * each {
            connection.set(&key(n), record(n));
        }
        barrier.wait();
        barrier.wait();
        for _ in 0..each {
            std::hint::black_box(connection.get(&key(draw() % (each * scale.callers))));
        }
        barrier.wait();
        barrier.wait();
        for n in 0..each / 2 {
            let drawn = draw() % (each * scale.callers);
            if n % 2 == 0 {
                connection.set(&key(drawn), record(drawn + 1));
            } else {
                std::hint::black_box(connection.get(&key(drawn)));
            }
        }
        barrier.wait();
    };
    std::thread::scope(|scope| {
        for caller in 0..scale.callers {
            let work = &work;
            scope.spawn(move || work(caller));
        }
        std::array::from_fn(|_| {
            barrier.wait();
            let began = Instant::now();
            barrier.wait();
            began.elapsed().as_secs_f64()
        })
    })
}

fn of_libkv(scale: &Scale, records: &[Vec<u8>]) -> ([f64; 3], f64) {
    let (redis, dir) = (Redis::start(), directory());
    let db = store(&dir, Some(TierOptions::new(redis.url())));
    let began = Instant::now();
    let phases = play(scale, records, || &db);
    db.flush(Duration::from_secs(600)).expect("Redis has everything");
    let end_to_end = began.elapsed().as_secs_f64();
    let held: u64 = redis::cmd("DBSIZE").query(&mut redis.client()).expect("a size");
    assert!(held >= scale.keys / scale.callers * scale.callers, "Redis holds {held} keys");
    (phases, end_to_end)
}

/// The same store with no tier, and no Redis beside it.
fn of_store(scale: &Scale, records: &[Vec<u8>]) -> [f64; 3] {
    let dir = directory();
    let db = store(&dir, None);
    play(scale, records, || &db)
}

fn of_client(scale: &Scale, records: &[Vec<u8>]) -> [f64; 3] {
    let redis = Redis::start();
    play(scale, records, || redis.client())
}

pub fn run(report: &mut Report, scale: &Scale) {
    let records = records();
    let operations = [1.0, 1.0, 0.5].map(|share| share * scale.keys as f64);
    let (mut ours, mut theirs, mut end_to_end, mut alone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for repetition in 0..scale.repetitions {
        eprintln!("  repetition {repetition}");
        theirs.push(of_client(scale, &records));
        let (phases, whole) = of_libkv(scale, &records);
        ours.push(phases);
        end_to_end.push(whole);
        alone.push(of_store(scale, &records));
    }
    let total = |all: &[[f64; 3]]| all.iter().map(|phases| phases.iter().sum::<f64>()).collect::<Vec<_>>();
    let (our_total, their_total) = (total(&ours), total(&theirs));
    let said = format!("{} against {}", seconds(&our_total), seconds(&their_total));
    report.results.at_least("the workload, as its callers see it", 50.0, &their_total, &our_total, said);
    let said = format!("{} against {}", seconds(&end_to_end), seconds(&their_total));
    report.results.at_least("the workload, until Redis has everything", 5.0, &their_total, &end_to_end, said);
    let alone = total(&alone);
    let said = format!("{}; {}", ratio(&their_total, &alone), seconds(&alone));
    report.note("the workload, of a store without a tier and with no Redis beside it", said);
    for (at, name) in PHASES.iter().enumerate() {
        let [ours, theirs] =
            [&ours, &theirs].map(|all| all.iter().map(|phases| phases[at]).collect::<Vec<_>>());
        let [our_rate, their_rate] = [&ours, &theirs].map(|all| rate(operations[at] / median(all)));
        report.note(
            &format!("of it the {name}"),
            format!("{}; {our_rate} against {their_rate}", ratio(&theirs, &ours)),
        );
    }
}
