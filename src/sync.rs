//! Atomics and locks of the pieces whose every interleaving is checked: the standard library's here, loom's in
//! `tests/loom`, a crate of its own that compiles the same source files.

pub(crate) use std::sync::atomic::{fence, AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
