//! The mutex and the condition variable of libpthread.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::LockResult;
use std::time::Duration;

/// As the standard library's, but never poisoned.
#[derive(Debug)]
pub struct Mutex<T> {
    // Where it stays: a mutex must not move while it is held.
    raw: Box<UnsafeCell<libc::pthread_mutex_t>>,
    value: UnsafeCell<T>,
}

#[derive(Debug)]
pub struct MutexGuard<'a, T>(&'a Mutex<T>);

// SAFETY: whoever reaches the value holds the lock.
unsafe impl<T: Send> Sync for Mutex<T> {}
// SAFETY: it is moved only while nobody borrows it.
unsafe impl<T: Send> Send for Mutex<T> {}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Mutex<T> {
        Mutex {
            raw: Box::new(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER)),
            value: UnsafeCell::new(value),
        }
    }

    #[allow(clippy::missing_errors_doc)] // None.
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        // SAFETY: initialised above, and where it was then.
        assert_eq!(unsafe { libc::pthread_mutex_lock(self.raw.get()) }, 0);
        Ok(MutexGuard(self))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this guard's lock.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.0.raw.get()) }, 0);
    }
}

/// As the standard library's.
#[derive(Debug)]
pub struct Condvar(Box<UnsafeCell<libc::pthread_cond_t>>);

// SAFETY: libpthread's own calls are made for threads.
unsafe impl Sync for Condvar {}
// SAFETY: as above.
unsafe impl Send for Condvar {}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar(Box::new(UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER)))
    }
}

impl Condvar {
    #[allow(clippy::missing_errors_doc)] // None.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        // SAFETY: both were initialised, and the guard holds the mutex.
        assert_eq!(unsafe { libc::pthread_cond_wait(self.0.get(), guard.0.raw.get()) }, 0);
        Ok(guard)
    }

    /// Ends at once: no model waits with a limit.
    #[allow(clippy::missing_errors_doc)] // None.
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _limit: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        Ok((guard, true))
    }

    pub fn notify_one(&self) {
        // SAFETY: it was initialised.
        assert_eq!(unsafe { libc::pthread_cond_signal(self.0.get()) }, 0);
    }

    pub fn notify_all(&self) {
        // SAFETY: it was initialised.
        assert_eq!(unsafe { libc::pthread_cond_broadcast(self.0.get()) }, 0);
    }
}
