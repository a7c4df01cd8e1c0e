//! `std::thread`, over the scheduler's threads.

pub use shuttle::thread::*;

use std::num::NonZeroUsize;
use std::time::Duration;

/// The scheduler's, and `spawn_scoped`, which it lacks.
#[derive(Debug, Default)]
pub struct Builder(shuttle::thread::Builder);

impl Builder {
    /// One without a name.
    #[must_use]
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the thread.
    #[must_use]
    pub fn name(self, name: String) -> Builder {
        Builder(self.0.name(name))
    }

    /// Starts a thread.
    ///
    /// # Errors
    /// None.
    pub fn spawn<F, T>(self, run: F) -> std::io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn(run)
    }

    /// Starts a thread of a scope.
    ///
    /// # Errors
    /// None.
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        run: F,
    ) -> std::io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        Ok(scope.spawn(run))
    }
}

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
