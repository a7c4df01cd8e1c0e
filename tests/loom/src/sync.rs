//! What the engine's `sync` module gives, from loom.

pub(crate) use loom::sync::atomic::{fence, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};

/// A flag whose every access is SeqCst, as that of `Signal`: one order that all threads agree on. loom's own lets a load
/// find what a swap wrote after a store that came after the swap, which no machine does, and so reports wake-ups lost that
/// are not.
#[derive(Default)]
pub(crate) struct AtomicBool(Mutex<bool>);

impl AtomicBool {
    fn access<T>(&self, order: Ordering, access: impl FnOnce(&mut bool) -> T) -> T {
        assert_eq!(order, Ordering::SeqCst, "a lock promises more than this asks for");
        access(&mut self.0.lock().expect("no thread of a model goes on after a panic"))
    }

    pub(crate) fn load(&self, order: Ordering) -> bool {
        self.access(order, |flag| *flag)
    }

    pub(crate) fn store(&self, value: bool, order: Ordering) {
        self.access(order, |flag| *flag = value);
    }

    pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
        self.access(order, |flag| std::mem::replace(flag, value))
    }
}
