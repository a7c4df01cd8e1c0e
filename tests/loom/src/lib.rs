//! Models of libkv's protocols: loom runs each through every interleaving and every value a load may give, up to a bound
//! on preemptions.
//!
//! What is checked is the engine's own code: `log`, `record` and `index` compile its source files over loom's atomics
//! (`sync`). What stands around it there, mapped memory and the epochs, is replaced by the least that keeps the same
//! promises. Each rule that a model rests on is also taken out once, to show that the model notices. The models of the
//! index alone, `index_models`, are compiled as a part of it, since they reach inside.
#![cfg(test)]

#[path = "../../../src/counters.rs"]
#[allow(dead_code)] // The engine's file, of which the index uses a part.
mod counters;
#[path = "../../../src/index/mod.rs"]
#[allow(dead_code)] // As above.
mod index;
mod log;
#[path = "../../../src/reclaim/mod.rs"]
#[allow(dead_code)] // As above.
mod reclaim;
mod record;
mod sync;

mod batch;
mod clear;
mod commit;
mod epoch;
mod publish;
mod readers;
mod roll;
mod signal;
mod store;
mod unmap;

use std::sync::Arc;

/// Of the engine's seam to the system.
mod io {
    #[allow(dead_code)] // As above.
    pub(crate) fn prefetch<T>(_place: *const T) {}
}

/// One thread of a model.
type Thread<S> = Box<dyn Fn(&S) + Send + Sync>;

/// Runs threads on a fresh state through their interleavings and judges what they leave. More preemptions than the models
/// ask for found nothing new and take minutes.
///
/// loom remembers the last access to an atomic only, and so misses that a thread which it ran first might have loaded later
/// than another loaded and stored. Hence it is given the threads in every order.
fn check<S: Send + Sync + 'static>(
    preemptions_max: usize,
    state: impl Fn() -> S + Send + Sync + 'static,
    threads: Vec<Thread<S>>,
    judge: impl Fn(&S) + Send + Sync + 'static,
) {
    let model = Arc::new((state, threads, judge));
    for order in orders(model.1.len()) {
        let model = Arc::clone(&model);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions_max);
        builder.max_branches = 5_000;
        builder.check(move || {
            let state = Arc::new(model.0());
            let start = |n: usize| {
                let (model, state) = (Arc::clone(&model), Arc::clone(&state));
                loom::thread::spawn(move || model.1[n](&state))
            };
            let started: Vec<_> = order.iter().copied().map(start).collect();
            started.into_iter().for_each(|thread| thread.join().unwrap());
            model.2(&state);
        });
    }
}

/// Every order of the numbers below `n`.
fn orders(n: usize) -> Vec<Vec<usize>> {
    let Some(last) = n.checked_sub(1) else { return vec![Vec::new()] };
    let insert =
        |order: Vec<usize>| (0..=order.len()).map(move |at| [&order[..at], &[last], &order[at..]].concat());
    orders(last).into_iter().flat_map(insert).collect()
}
