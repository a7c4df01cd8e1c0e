//! The index's own source files, compiled with loom's atomics. The models stand beside them, in `src/index/models.rs`.
//! `cargo test --release --manifest-path tests/loom_index/Cargo.toml`.

// Of the index's interface the models use a part.
#![allow(dead_code)]

#[path = "../../../src/counters.rs"]
mod counters;
#[path = "../../../src/index/mod.rs"]
mod index;
#[path = "../../../src/sync.rs"]
mod sync;

mod io {
    pub(crate) fn prefetch<T>(_place: *const T) {}
}
