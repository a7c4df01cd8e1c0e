//! What a failing Redis costs those who call the store.

use crate::{directory, store, Redis, Report, Scale};
use hdrhistogram::Histogram;
use kv::{Db, TierOptions};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KEYS: u64 = 10_000;
const ROUNDS: usize = 7;

fn key(n: u64) -> [u8; 8] {
    n.to_le_bytes()
}

/// Nanoseconds that 99 of 100 calls stay below.
fn p99(calls: u64, mut call: impl FnMut(u64)) -> f64 {
    let mut histogram = Histogram::<u64>::new(3).expect("three digits");
    for n in 0..calls {
        let began = Instant::now();
        call(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32);
        histogram.saturating_record(began.elapsed().as_nanos() as u64);
    }
    histogram.value_at_quantile(0.99) as f64
}

fn gets(db: &Db, calls: u64) -> f64 {
    p99(calls, |n| {
        std::hint::black_box(db.get_with(&key(n % KEYS), <[u8]>::len).expect("it is here"));
    })
}

fn sets(db: &Db, calls: u64) -> f64 {
    p99(calls, |n| db.set(&key(n % KEYS), &[7; 100]).expect("a set"))
}

fn compare(report: &mut Report, scale: &Scale, state: &str, tiered: &Db, plain: &Db) {
    eprintln!("  Redis {state}");
    for (name, run) in [("get", gets as fn(&Db, u64) -> f64), ("set", sets)] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // Whoever comes first finds the other's work still under way.
            if round % 2 == 0 {
                theirs.push(run(plain, scale.calls));
            }
            ours.push(run(tiered, scale.calls));
            if round % 2 == 1 {
                theirs.push(run(plain, scale.calls));
            }
        }
        let said = format!(
            "{:.0} ns against {:.0} ns",
            crate::results::median(&ours),
            crate::results::median(&theirs)
        );
        let measure = format!("p99 of {name} where Redis {state}, against a store without a tier");
        report.results.at_most(&measure, 1.2, &ours, &theirs, said);
    }
}

pub fn run(report: &mut Report, scale: &Scale) {
    let mut redis = Redis::start();
    let (with, without) = (directory(), directory());
    let (tiered, plain) = (store(&with, Some(TierOptions::new(redis.url()))), store(&without, None));
    for db in [&tiered, &plain] {
        (0..KEYS).for_each(|n| db.set(&key(n), &[7; 100]).expect("a set"));
    }
    compare(report, scale, "answers", &tiered, &plain);
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = redis.client();
            while !ends.load(Ordering::Relaxed) {
                let paused = redis::cmd("CLIENT").arg(&["PAUSE", "100", "ALL"]).query::<()>(&mut client);
                paused.expect("a pause");
                std::thread::sleep(Duration::from_millis(110));
            }
        });
        compare(report, scale, "takes a tenth of a second to answer", &tiered, &plain);
        ends.store(true, Ordering::Relaxed);
    });
    redis.hang();
    compare(report, scale, "hangs", &tiered, &plain);
    redis.kill();
    compare(report, scale, "is down", &tiered, &plain);
}
