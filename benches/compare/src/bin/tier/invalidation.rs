//! How soon a change is seen in another process that holds a copy.

use crate::results::{median, Target};
use crate::{directory, store, Redis, Report, Scale};
use kv::{Options, TierOptions, WhenDeaf};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

/// First argument of the process that listens.
pub const LISTENER: &str = "listen";
const KEY: &[u8] = b"watched";

/// The clock that all processes share, in nanoseconds.
fn now_ns() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it is written to a place of its own.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) }, 0);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Reads a key until it changes, and says when; for ever.
pub fn listen(url: &str) {
    let tier = TierOptions::new(url).fresh(WhenDeaf::Drop);
    let db = Options::new().tier(tier).in_memory().expect("a store");
    let mut last = None;
    loop {
        let found = db.get(KEY).expect("Redis answers");
        if found != last {
            println!("{}", now_ns());
            last = found;
        }
        // Else it would take a processor from those that it waits for.
        std::thread::sleep(Duration::from_micros(20));
    }
}

pub fn run(report: &mut Report, scale: &Scale) {
    let (redis, dir) = (Redis::start(), directory());
    let db = store(&dir, Some(TierOptions::new(redis.url())));
    db.set(KEY, b"first").expect("a set");
    db.flush(Duration::from_secs(10)).expect("Redis has it");
    let mut listener = Command::new(std::env::current_exe().expect("this program"))
        .args([LISTENER, &redis.url()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("another process");
    let mut said = BufReader::new(listener.stdout.take().expect("a pipe")).lines();
    let mut heard = || -> i64 {
        let line = said.next().expect("it goes on").expect("a line");
        line.parse().expect("a time")
    };
    heard();
    let mut ms = Vec::new();
    for n in 0..scale.messages {
        let began = now_ns();
        db.set(KEY, n.to_string().as_bytes()).expect("a set");
        ms.push((heard() - began) as f64 / 1e6);
    }
    listener.kill().and_then(|()| listener.wait()).expect("it ends");
    ms.sort_by(f64::total_cmp);
    let p99 = ms.get(ms.len() * 99 / 100).copied().unwrap_or_default();
    report.results.targets.push(Target {
        measure: "from a set until another process, which held a copy, reads it".into(),
        target: "≤ 5 ms, median".into(),
        reached: format!("{:.2} ms (p99 {p99:.2} ms)", median(&ms)),
        holds: median(&ms) <= 5.0,
    });
}
