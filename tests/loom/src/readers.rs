//! Readers say that they read by plain stores while another thread takes something out of reach and frees it (G1, G2).
//!
//! What `membarrier` does, a fence in every thread that reads, stands at the place where the reader began: loom has no fence
//! that one thread runs in another, and explores each place that such a fence could come to.

use crate::check;
use crate::reclaim::Readers;
use crate::sync::{fence, AtomicU64, Ordering};
use loom::cell::UnsafeCell;

const VALUE: u64 = 42;
const FREED: u64 = 0;

/// What is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nobody runs the fence of a read.
    NoFence,
    /// The grace period is over before the thing is out of reach.
    GraceTooEarly,
    /// The thing is freed when it is out of reach.
    NoGrace,
    /// A read inside of another ends both.
    InnerEndsOuter,
}

struct State {
    readers: Readers,
    in_reach: AtomicU64,
    memory: UnsafeCell<u64>,
    fault: Option<Fault>,
}

// SAFETY: the cell is reached as G1 allows, and loom checks every access.
unsafe impl Sync for State {}
// SAFETY: as above.
unsafe impl Send for State {}

impl State {
    fn new(fault: Option<Fault>) -> State {
        State { readers: Readers::new(), in_reach: AtomicU64::new(1), memory: UnsafeCell::new(VALUE), fault }
    }

    fn look(&self) {
        // Acquire: pairs with the Release in `take_away`, which nobody needs here: what is read was there from the beginning.
        if self.in_reach.load(Ordering::Acquire) == 1 {
            // SAFETY: G1: the read began before the load; loom checks that it is there.
            assert_eq!(self.memory.with(|at| unsafe { *at }), VALUE);
        }
    }

    /// One read with another inside of it, in a thread that then ends.
    fn read(&self) {
        let reader = self.readers.take();
        reader.enter();
        if self.fault != Some(Fault::NoFence) {
            fence(Ordering::SeqCst);
        }
        reader.enter();
        reader.leave();
        if self.fault == Some(Fault::InnerEndsOuter) {
            reader.leave();
        }
        self.look();
        if self.fault != Some(Fault::InnerEndsOuter) {
            reader.leave();
        }
        reader.give_back();
    }

    fn wait_grace(&self) {
        let mut grace = self.readers.begin_grace(|| ());
        while !grace.is_over() {
            loom::thread::yield_now();
        }
    }

    fn take_away(&self) {
        if self.fault == Some(Fault::GraceTooEarly) {
            self.wait_grace();
        }
        self.in_reach.store(0, Ordering::Release);
        if !matches!(self.fault, Some(Fault::GraceTooEarly | Fault::NoGrace)) {
            self.wait_grace();
        }
        // SAFETY: G1: nobody who could reach it reads any more; loom checks that.
        self.memory.with_mut(|at| unsafe { *at = FREED });
    }
}

fn readers_against_free(fault: Option<Fault>) {
    let threads: Vec<crate::Thread<State>> =
        vec![Box::new(State::read), Box::new(State::read), Box::new(State::take_away)];
    check(2, move || State::new(fault), threads, |_| ());
}

#[test]
fn nothing_is_freed_that_a_reader_may_look_at() {
    readers_against_free(None);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_read_must_have_a_fence() {
    readers_against_free(Some(Fault::NoFence));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_grace_period_must_begin_after_the_thing_is_out_of_reach() {
    readers_against_free(Some(Fault::GraceTooEarly));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_thing_must_not_be_freed_without_a_grace_period() {
    readers_against_free(Some(Fault::NoGrace));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_read_inside_of_another_must_not_end_both() {
    readers_against_free(Some(Fault::InnerEndsOuter));
}
