//! `std::hash`, with keys that the seed determines.

pub use std::hash::*;

use shuttle::rand::RngCore;

/// As the real one.
#[derive(Clone)]
pub struct RandomState(u64);

impl RandomState {
    #[allow(clippy::new_without_default)] // As the engine uses it.
    pub fn new() -> RandomState {
        RandomState(shuttle::rand::thread_rng().next_u64())
    }
}

impl BuildHasher for RandomState {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
