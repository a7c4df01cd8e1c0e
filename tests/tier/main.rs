//! The tier against a real `redis-server`, which each test starts for itself.

mod atomics;
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod encoders;
mod evictions;
mod faults;
mod fresh;
#[path = "../support/gate.rs"]
#[allow(dead_code)] // The tests that hold threads use the rest.
mod gate;
mod leases;
mod lines;
mod moments;
mod outbox;
mod preload;
mod proxy;
mod reads;
mod sentinel;
mod server;
mod sessions;
mod shards;
#[cfg(feature = "redis-tls")]
mod tls;
mod untold;

use kv::{Db, Options, TierOptions};
use server::Redis;
use std::time::Duration;

/// Longest wait for what should take moments.
const PATIENCE: Duration = Duration::from_secs(30);
/// Timeout of a tier whose Redis answers: no thread that stands still for a while makes a call fail. Where Redis hangs a test
/// says how long that is waited for.
const PATIENT: Duration = Duration::from_secs(10);

fn options(redis: &Redis) -> Options {
    with(TierOptions::new(redis.url()).timeout(PATIENT))
}

/// Short pauses, so that a test need not wait for Redis to be tried again.
fn with(tier: TierOptions) -> Options {
    Options::new().tier(tier.prefix("t:").backoff_max(Duration::from_millis(50)))
}

fn in_memory(redis: &Redis) -> Db {
    options(redis).in_memory().unwrap()
}

/// Waits until this is why nothing is sent.
fn until_failing(db: &Db, reason: &str) {
    let why = || db.tier_stats().unwrap().unwrap().failing;
    gate::until(reason, || why().is_some_and(|failing| failing.contains(reason)));
}

/// Whether changes by others are heard.
fn hears(db: &Db) -> bool {
    db.tier_stats().unwrap().unwrap().hears
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    Some(text.into())
}
