//! The C ABI: every function converts its arguments, calls the crate's public API, and translates the outcome.
//!
//! `include/kv.h` is made from these files by cbindgen (`make header`), so what a doc comment says here is what a C
//! programmer reads. What the code relies on:
//!
//! - **A1** A pointer and length that a caller gives describe memory that may be read (or, for outputs, written) during the
//!   call, as the function's doc says. NULL, misaligned pointers, lengths beyond the limits and overlapping outputs are
//!   refused before anything is touched.
//! - **A2** A handle came from this library and its `_free` or `_release` was not called. It begins with a magic word, so a
//!   handle of another kind is told apart and refused.
//! - **A3** Outputs are written only when the call succeeds; `error` only when it fails.
//! - **A4** A callback and its `userdata` may be used from any thread until the store is closed, or the
//!   userdata was released.
//!
//! No panic leaves: every export runs inside [`call!`].

// The names are those of the C header.
#![allow(non_camel_case_types)]
// Each function's doc states its contract as parameters, ownership and threads, in the words of C.
#![allow(clippy::missing_safety_doc)]

/// Runs the body of an export: catches panics, stores the failure in `error`, and returns the status.
macro_rules! call {
    ($error:expr, $body:block) => {
        // SAFETY: A1 and A2, which the function's doc asks of the caller, hold for the arguments that the body uses.
        $crate::ffi::error::guarded($error, || unsafe { $body })
    };
}

mod args;
mod handle;

// The header has them in this order; blank lines keep the formatter from sorting them.
pub mod status;

pub mod error;

pub mod types;

pub mod options;

pub mod callbacks;

pub mod sink;

pub mod db;

pub mod read;

pub mod pin;

pub mod write;

pub mod expiry;

pub mod batch;

pub mod generate;

pub mod session;

pub mod typed;

pub mod host;

pub mod load;

pub mod load_with;

pub mod encoder;

pub mod scan;

pub mod watch;

pub mod maintain;

pub mod stats;

pub mod tier;

pub mod shared;

pub mod preload;

pub mod transfer;

pub mod verify;
