//! Apart from `signal.rs`, which the models compile too.

use super::signal::Crowd;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn every_sleeper_of_a_crowd_wakes_when_its_time_has_come() {
    const SLEEPERS: u64 = 24;
    const ROUNDS: u64 = 300;
    let (crowd, time, asleep) = (Crowd::default(), AtomicU64::new(0), AtomicU64::new(SLEEPERS));
    std::thread::scope(|scope| {
        for n in 0..SLEEPERS {
            let (crowd, time, asleep) = (&crowd, &time, &asleep);
            scope.spawn(move || {
                // Each waits for moments of its own, so that some of a gate are woken too early.
                for round in 0..ROUNDS {
                    crowd.wait_until(|| time.load(Ordering::SeqCst) >= round * 3 + n % 3);
                }
                asleep.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while asleep.load(Ordering::SeqCst) > 0 {
            time.fetch_add(1, Ordering::SeqCst);
            crowd.wake_all();
            std::thread::yield_now();
            // Once the last moment has come nobody needs another call: it would hide one that was lost.
            if time.load(Ordering::SeqCst) > ROUNDS * 3 {
                break;
            }
        }
    });
}
