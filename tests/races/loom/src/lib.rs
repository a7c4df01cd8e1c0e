//! What the models of `tests/loom` ask of loom, done on real threads, again and again. ThreadSanitizer looks on, and so knows
//! of each access to a cell whether what the engine does orders it.
//!
//! It sees what is compiled with it and the calls of libpthread, so locks are libpthread's here: the standard library's wait
//! in code that was compiled without it, and what they order would be reported.

/// Atomics are the real ones.
pub mod sync {
    mod lock;

    pub use lock::{Condvar, Mutex, MutexGuard};
    pub use std::sync::atomic;
}

pub mod thread {
    pub use std::thread::{spawn, yield_now};
}

pub mod cell {
    /// As the standard library's, with the access in a closure.
    #[derive(Debug)]
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub fn new(value: T) -> UnsafeCell<T> {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }

        pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }
}

pub mod model {
    /// What loom bounds; nothing here.
    #[derive(Debug, Default)]
    pub struct Builder {
        pub preemption_bound: Option<usize>,
        pub max_branches: usize,
    }

    /// How often a model runs in each order of its threads, unless `KV_RACE_ROUNDS` says otherwise.
    const ROUNDS: u32 = 300;

    impl Builder {
        pub fn new() -> Builder {
            Builder::default()
        }

        pub fn check(&self, model: impl Fn()) {
            let rounds = std::env::var("KV_RACE_ROUNDS").ok().and_then(|text| text.parse().ok());
            (0..rounds.unwrap_or(ROUNDS)).for_each(|_| model());
        }
    }
}
