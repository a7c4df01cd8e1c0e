//! The linearizability checker of Wing and Gong, with Lowe's memory of what was tried: is there an order of the calls
//! that keeps their order in time and that a sequential object could have answered so?
//!
//! The search takes any call that no unordered call ended before, applies it to the state, and goes on; what was
//! reached before (the same calls, the same state) is not searched again. It always ends with an answer.

use std::collections::HashSet;
use std::hash::Hash;

/// A sequential object.
pub trait Object {
    type State: Clone + Eq + Hash + Default;
    type Op;

    /// The states in which the object may be after `op` with its recorded answer; none: it could not have answered so.
    fn step(state: &Self::State, op: &Self::Op) -> Vec<Self::State>;
}

/// A call with the moments it began and ended at; all moments of a history differ.
#[derive(Debug, Clone)]
pub struct Call<Op> {
    pub begin: u64,
    pub end: u64,
    pub op: Op,
}

/// Calls that a set can hold.
pub const CALLS_MAX: usize = 128;

/// Whether the history of one object, new at its begin, is linearizable.
pub fn is_linearizable<O: Object>(calls: &[Call<O::Op>]) -> bool {
    assert!(calls.len() <= CALLS_MAX, "{} calls in one history", calls.len());
    let all = if calls.len() == CALLS_MAX { u128::MAX } else { (1 << calls.len()) - 1 };
    let mut seen = HashSet::new();
    let mut open = vec![(0u128, O::State::default())];
    while let Some((done, state)) = open.pop() {
        if done == all {
            return true;
        }
        let left = || calls.iter().enumerate().filter(|(at, _)| done & (1 << at) == 0);
        let first_end = left().map(|(_, call)| call.end).min().unwrap_or(u64::MAX);
        for (at, call) in left().filter(|(_, call)| call.begin < first_end) {
            for next in O::step(&state, &call.op) {
                let reached = (done | 1 << at, next);
                if seen.insert(reached.clone()) {
                    open.push(reached);
                }
            }
        }
    }
    false
}

/// Pairs of calls that ran at the same time.
pub fn overlaps<Op>(calls: &[Call<Op>]) -> usize {
    let overlap = |a: &Call<Op>, b: &Call<Op>| a.begin < b.end && b.begin < a.end;
    let pairs = calls.iter().enumerate().flat_map(|(at, a)| calls[at + 1..].iter().map(move |b| (a, b)));
    pairs.filter(|(a, b)| overlap(a, b)).count()
}
