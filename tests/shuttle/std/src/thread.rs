//! `std::thread`, over the scheduler's threads.

pub use shuttle::thread::*;

use std::num::NonZeroUsize;
use std::time::Duration;

/// As many as make a difference.
///
/// # Errors
/// None.
pub fn available_parallelism() -> std::io::Result<NonZeroUsize> {
    Ok(NonZeroUsize::MIN.saturating_add(1))
}

/// Lets others run, and the time pass.
pub fn sleep(time: Duration) {
    crate::time::pass(time);
    // A yield, so that a scheduler with priorities does not wake the sleeper before all others.
    yield_now();
}
