//! Copying what Redis holds, against asking for one key after the other.

use crate::{directory, seconds, store, Redis, Report, Scale};
use kv::TierOptions;
use redis::Commands;
use std::ops::ControlFlow;
use std::time::Instant;

pub fn run(report: &mut Report, scale: &Scale) {
    let redis = Redis::start();
    let mut client = redis.client();
    let key = |n: u64| format!("user:{n:016x}");
    for from in (0..scale.keys).step_by(1_000) {
        let mut pipe = redis::pipe();
        for n in from..(from + 1_000).min(scale.keys) {
            pipe.set(key(n), &[n as u8; 100][..]).ignore();
        }
        pipe.query::<()>(&mut client).expect("sets");
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for repetition in 0..scale.repetitions {
        eprintln!("  repetition {repetition}");
        let began = Instant::now();
        for n in 0..scale.keys {
            let value: Vec<u8> = client.get(key(n)).expect("a get");
            std::hint::black_box(value);
        }
        theirs.push(began.elapsed().as_secs_f64());
        let dir = directory();
        let db = store(&dir, Some(TierOptions::new(redis.url())));
        let began = Instant::now();
        let done = db.preload(b"*", 0, |_| ControlFlow::Continue(())).expect("Redis answers");
        ours.push(began.elapsed().as_secs_f64());
        assert_eq!((done.copied, db.len() as u64), (scale.keys, scale.keys));
    }
    let said = format!("{} against {}", seconds(&ours), seconds(&theirs));
    let measure = format!("preload of {} keys against a GET a key", scale.keys);
    report.results.at_least(&measure, 10.0, &theirs, &ours, said);
}
