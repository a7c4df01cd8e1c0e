//! libkv: an embeddable key-value engine.
//!
//! A lock-free concurrent map with per-entry expiry whose records live in a memory-mapped
//! append log. The design and its numbered invariants (I1, I2, …), which comments cite, stand in
//! `docs/design.md`; the bytes on disk in `docs/format.md`.

// The layers are built from the bottom; until `db` stands on them, their items have no user outside tests.
#![allow(dead_code, unused_imports)]

#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!("libkv maps its files and needs a 64-bit little-endian target");

pub mod clock;
pub mod error;
mod expiry;
mod index;
mod io;
pub mod limits;
mod log;
mod record;

pub use error::{Error, Result};
