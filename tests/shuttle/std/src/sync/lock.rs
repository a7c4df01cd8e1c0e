//! The scheduler's mutex and condition variable, with waits that end by themselves.

use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError};
use std::time::Duration;

/// As the real one.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized>(shuttle::sync::Mutex<T>);

/// As the real one; knows its mutex, so that a wait can lock it again.
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized> {
    held: shuttle::sync::MutexGuard<'a, T>,
    of: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Mutex<T> {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    pub fn into_inner(self) -> LockResult<T> {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.guarded(self.0.lock())
    }

    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.0.get_mut()
    }

    fn guarded<'a>(
        &'a self,
        held: LockResult<shuttle::sync::MutexGuard<'a, T>>,
    ) -> LockResult<MutexGuard<'a, T>> {
        match held {
            Ok(held) => Ok(MutexGuard { held, of: self }),
            Err(poisoned) => Err(PoisonError::new(MutexGuard { held: poisoned.into_inner(), of: self })),
        }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.held
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.held
    }
}

/// As the real one.
#[derive(Debug, Default)]
pub struct Condvar(shuttle::sync::Condvar);

/// As the real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitTimeoutResult(());

impl WaitTimeoutResult {
    pub fn timed_out(&self) -> bool {
        true
    }
}

impl Condvar {
    pub const fn new() -> Condvar {
        Condvar(shuttle::sync::Condvar::new())
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let MutexGuard { held, of } = guard;
        of.guarded(self.0.wait(held))
    }

    /// Ends by itself, at a moment of the scheduler's choice. A wake-up that comes earlier makes no difference: who waits
    /// with a limit has to look again either way.
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let of = guard.of;
        drop(guard);
        crate::thread::sleep(limit);
        match of.lock() {
            Ok(guard) => Ok((guard, WaitTimeoutResult(()))),
            Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), WaitTimeoutResult(())))),
        }
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
