//! `std::sync`, over the scheduler's locks.

pub mod atomic;
mod lock;

pub use lock::{Condvar, Mutex, MutexGuard, WaitTimeoutResult};
pub use shuttle::sync::{mpsc, Barrier, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak};
/// Nothing that changes threads runs while they are set.
pub use std::sync::{Once, OnceLock};
