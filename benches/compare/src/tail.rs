//! Tail latency: what single calls see while the compactor runs or the index grows.

use crate::keys::{key, order, Spread};
use crate::parts::{Scale, SMALL};
use crate::results::{median, Results};
use hdrhistogram::Histogram;
use kv::{Db, Options, Sync};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// p99.9 in nanoseconds of get and of set.
struct Tail {
    get: f64,
    set: f64,
}

fn filled(keys: u64) -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Options::new().sync(Sync::Never).background(false).open(dir.path()).expect("a store");
    for n in 0..keys {
        db.set(&key(n), &[0; SMALL]).expect("a set");
    }
    (dir, db)
}

/// Gets and sets of existing keys in turn, until `goes_on` says no; asked every 4096 calls.
fn measure(db: &Db, keys: u64, mut goes_on: impl FnMut(u64) -> bool) -> Tail {
    let histogram = || Histogram::<u64>::new(3).expect("a histogram");
    let (mut gets, mut sets) = (histogram(), histogram());
    let order = order(Spread::Uniform, keys, 3);
    let timed = |histogram: &mut Histogram<u64>, call: &dyn Fn()| {
        let began = Instant::now();
        call();
        histogram.record(began.elapsed().as_nanos() as u64).expect("a latency");
    };
    for (n, at) in (0u64..).zip(order.iter().cycle()) {
        if n % 4096 == 0 && !goes_on(n) {
            break;
        }
        let key = key(u64::from(*at));
        if n % 2 == 0 {
            timed(&mut gets, &|| {
                assert!(db.get_with(&key, |value| black_box(value[SMALL - 1])).expect("a get").is_some())
            });
        } else {
            timed(&mut sets, &|| db.set(&key, &[2; SMALL]).expect("a set"));
        }
    }
    Tail { get: gets.value_at_quantile(0.999) as f64, set: sets.value_at_quantile(0.999) as f64 }
}

pub fn targets(results: &mut Results, scale: &Scale) {
    eprintln!("tail latency");
    let rows = |results: &mut Results, while_what: &str, pairs: &[(Tail, Tail)]| {
        type Of = fn(&Tail) -> f64;
        for (call, of) in [("get", (|tail| tail.get) as Of), ("set", |tail| tail.set)] {
            let busy: Vec<f64> = pairs.iter().map(|(busy, _)| of(busy)).collect();
            let quiet: Vec<f64> = pairs.iter().map(|(_, quiet)| of(quiet)).collect();
            let said = format!("{:.0} ns against {:.0} ns", median(&busy), median(&quiet));
            results.at_most(
                &format!("p99.9 of {call} while {while_what}, against quiet"),
                2.0,
                &busy,
                &quiet,
                said,
            );
        }
    };
    let compaction: Vec<_> = (0..scale.stores).map(|_| while_it_compacts(scale.keys)).collect();
    rows(results, "the compactor runs", &compaction);
    let growth: Vec<_> = (0..scale.stores).map(|_| while_it_grows(scale.keys)).collect();
    rows(results, "the index grows (beside a thread that sets new keys; quiet: existing ones)", &growth);
}

fn while_it_compacts(keys: u64) -> (Tail, Tail) {
    let (_dir, db) = filled(keys);
    // At random, so that what lives lies among what does not.
    for n in order(Spread::Uniform, keys, 9).iter().cycle().take(2 * keys as usize) {
        db.set(&key(u64::from(*n)), &[1; SMALL]).expect("a set");
    }
    db.sync().expect("a sync");
    let quiet = measure(&db, keys, |n| n < 2 * keys);
    let before = db.stats().expect("figures").log_bytes;
    db.resume().expect("a resume");
    let deadline = Instant::now() + Duration::from_secs(30);
    // While there is something to give back.
    let busy = measure(&db, keys, |_| {
        db.stats().expect("figures").log_bytes * 2 > before && Instant::now() < deadline
    });
    (busy, quiet)
}

fn while_it_grows(keys: u64) -> (Tail, Tail) {
    let (_dir, db) = filled(keys);
    let beside = |sets: &(dyn Fn(u64) + std::marker::Sync)| {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..3 * keys).for_each(sets);
                done.store(true, Ordering::Relaxed);
            });
            measure(&db, keys, |_| !done.load(Ordering::Relaxed))
        })
    };
    let quiet = beside(&|n| db.set(&key(n % keys), &[3; SMALL]).expect("a set"));
    let busy = beside(&|n| db.set(&key(keys + n), &[3; SMALL]).expect("a set"));
    (busy, quiet)
}
