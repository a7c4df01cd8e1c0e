//! The standard library, as far as the engine uses it, with threads, locks, atomics, time and randomness that shuttle's
//! scheduler owns. Whoever says `extern crate scheduled_std as std` runs one thread at a time, changes it at each of their
//! uses, and does the same again for the same seed. The rest is the real one.
//!
//! All accesses to atomics are as if SeqCst here; what weaker orderings allow is for `tests/loom`.

pub use std::*;

#[doc(hidden)]
pub use shuttle;
/// The one that nobody schedules.
pub extern crate std as real;

pub mod hash;
pub mod sync;
pub mod thread;
pub mod time;

/// As the real one, but for a thread of the scheduler.
#[macro_export]
macro_rules! thread_local {
    ($($declaration:tt)*) => { $crate::shuttle::thread_local! { $($declaration)* } };
}
