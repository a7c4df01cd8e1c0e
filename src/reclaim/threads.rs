//! The readers of this process: each thread's place among them, and the fence that all of them run (G2).

pub(super) use super::readers::ReadersGrace;
use super::readers::{Reader, Readers};
use super::Protected;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{compiler_fence, fence, AtomicU8, Ordering};
use std::time::Duration;

static READERS: Readers = Readers::new();

thread_local! {
    static MINE: Cell<Option<&'static Reader>> = const { Cell::new(None) };
    /// The thread is ending, and others of its destructors may still read: the place goes with the last guard.
    static IS_ENDING: Cell<bool> = const { Cell::new(false) };
    /// Gives the place back when the thread ends.
    static LEASE: Lease = const { Lease };
}

struct Lease;

impl Drop for Lease {
    fn drop(&mut self) {
        IS_ENDING.set(true);
        // A guard may be held in a variable of the thread that is dropped later. One that was forgotten keeps what it keeps.
        if !is_reading() {
            give_back();
        }
    }
}

fn give_back() {
    if let Some(reader) = MINE.take() {
        reader.give_back();
    }
}

/// Keeps what this thread reads where it is (G1). Belongs to the thread that took it; may be taken again while held.
pub(crate) struct ReadGuard {
    reader: &'static Reader,
    _here: PhantomData<*const ()>,
}

/// Takes a read guard: two plain stores until it is dropped, on x86-64 where the system has `membarrier`.
#[inline]
pub(crate) fn read() -> ReadGuard {
    let reader = MINE.get().unwrap_or_else(enlist);
    reader.enter();
    // Relaxed: decided before this thread got its place.
    if FENCES.load(Ordering::Relaxed) == BY_MEMBARRIER {
        // The store comes before the loads that follow in the program; G2 does the rest.
        compiler_fence(Ordering::SeqCst);
    } else {
        // SeqCst: pairs with the fence in `begin_grace`.
        fence(Ordering::SeqCst);
    }
    ReadGuard { reader, _here: PhantomData }
}

#[cold]
fn enlist() -> &'static Reader {
    decide();
    let reader = READERS.take();
    MINE.set(Some(reader));
    // It fails in a thread that is ending.
    let _ = LEASE.try_with(|_| ());
    reader
}

impl ReadGuard {
    #[inline]
    pub(crate) fn protect(&self) -> Protected<'_> {
        Protected(PhantomData)
    }
}

impl Drop for ReadGuard {
    #[inline]
    fn drop(&mut self) {
        if self.reader.leave() && IS_ENDING.get() {
            give_back();
        }
    }
}

/// Whether this thread holds a read guard.
pub(crate) fn is_reading() -> bool {
    MINE.get().is_some_and(Reader::is_reading)
}

pub(super) fn begin_grace() -> ReadersGrace {
    READERS.begin_grace(fence_all)
}

/// In a forked child, whose only thread this is.
pub(crate) fn note_fork() {
    READERS.forget_others(MINE.get());
}

/// Who runs the fence of a read: `UNDECIDED` until the first reader asks, then one of the others for good.
static FENCES: AtomicU8 = AtomicU8::new(UNDECIDED);
const UNDECIDED: u8 = 0;
/// Each reader.
const BY_READERS: u8 = 1;
/// Whoever begins a grace period, for all.
const BY_MEMBARRIER: u8 = 2;

fn decide() -> u8 {
    // Relaxed: whoever finds it undecided comes to the same decision, or to the one that was first.
    let now = FENCES.load(Ordering::Relaxed);
    if now != UNDECIDED {
        return now;
    }
    // Elsewhere the fence also keeps two reads of one thread, and a write and a read, in their order (P1): on x86-64 the
    // processor does, since all that publishes is a locked instruction.
    let is_ordered = cfg!(target_arch = "x86_64");
    let choice = if is_ordered && membarrier::register() { BY_MEMBARRIER } else { BY_READERS };
    FENCES
        .compare_exchange(UNDECIDED, choice, Ordering::Relaxed, Ordering::Relaxed)
        .map_or_else(|first| first, |_| choice)
}

/// Runs a fence in every thread of this process that runs now; those that do not run had one when they were stopped.
fn fence_all() {
    // A forked child is not registered.
    if decide() == BY_READERS || membarrier::run() || (membarrier::register() && membarrier::run()) {
        return;
    }
    // A filter of system calls that was installed since the registration forbids it. A store becomes visible to all within
    // microseconds, when the processor's buffer drains, and so does what it then loads.
    std::thread::sleep(Duration::from_millis(20));
}

#[cfg(target_os = "linux")]
mod membarrier {
    fn call(command: libc::c_int) -> bool {
        // SAFETY: a plain system call that touches no memory.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Since Linux 4.14.
    pub(super) fn register() -> bool {
        call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
    }

    pub(super) fn run() -> bool {
        call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }
}

#[cfg(not(target_os = "linux"))]
mod membarrier {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn run() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_grace_period_waits_for_the_outermost_read_guard_and_for_no_later_one() {
        let (to_reader, orders) = mpsc::channel::<()>();
        let (to_test, done) = mpsc::channel::<()>();
        let reader = std::thread::spawn(move || {
            let outer = read();
            drop(read());
            to_test.send(()).unwrap();
            orders.recv().unwrap();
            drop(outer);
            let _later = read();
            to_test.send(()).unwrap();
            orders.recv().unwrap();
        });
        done.recv().unwrap();
        let mut grace = begin_grace();
        assert!(!grace.is_over(), "the outer one is held");
        to_reader.send(()).unwrap();
        done.recv().unwrap();
        while !grace.is_over() {
            // Other tests read too.
            std::thread::yield_now();
        }
        to_reader.send(()).unwrap();
        reader.join().unwrap();
    }

    #[test]
    fn a_read_guard_can_be_taken_while_its_thread_ends() {
        struct AtExit;
        impl Drop for AtExit {
            fn drop(&mut self) {
                drop(read());
            }
        }
        thread_local!(static AT_EXIT: AtExit = const { AtExit });
        std::thread::spawn(|| {
            AT_EXIT.with(|_| ());
            drop(read());
            assert!(!is_reading());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_read_guard_that_outlives_its_threads_other_variables_keeps_its_place() {
        thread_local!(static HELD: std::cell::RefCell<Option<(ReadGuard, Check)>> = const { std::cell::RefCell::new(None) });
        /// Runs when the guard is dropped, which is after the thread's lease.
        struct Check;
        impl Drop for Check {
            fn drop(&mut self) {
                assert!(LEASE.try_with(|_| ()).is_err() && MINE.get().is_none(), "given back with the guard");
            }
        }
        let reader = std::thread::spawn(|| {
            // Variables of a thread are dropped in the reverse order of their first use.
            HELD.with(|held| *held.borrow_mut() = Some((read(), Check)));
            let reader = MINE.get().unwrap();
            assert!(is_reading());
            reader
        })
        .join()
        .unwrap();
        assert!(!reader.is_reading());
    }
}
