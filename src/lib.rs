//! libkv: an embeddable key-value engine.
//!
//! A lock-free concurrent map with per-entry expiry whose records live in a memory-mapped
//! append log. The design and its numbered invariants (I1, I2, …), which comments cite, stand in
//! `docs/design.md`; the bytes on disk in `docs/format.md`.

// Library code reports; it does not panic.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!("libkv maps its files and needs a 64-bit little-endian target");

// `tests/shuttle` compiles the engine over a standard library whose threads, locks and atomics a scheduler owns.
#[cfg(kv_shuttle)]
#[macro_use]
extern crate scheduled_std as std;

/// The README's example compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// As is the page's of sessions.
#[cfg(doctest)]
#[doc = include_str!("../docs/sessions.md")]
struct Sessions;

/// As is the page's of typed stores.
#[cfg(doctest)]
#[doc = include_str!("../docs/typed.md")]
struct Typed;
/// And of watches.
#[cfg(doctest)]
#[doc = include_str!("../docs/watching.md")]
struct Watching;

/// As is the page's of caches.
#[cfg(doctest)]
#[doc = include_str!("../docs/cache.md")]
struct Cache;

/// And that of files.
#[cfg(doctest)]
#[doc = include_str!("../docs/files.md")]
struct Files;

/// And that of compression.
#[cfg(all(doctest, feature = "zstd"))]
#[doc = include_str!("../docs/compression.md")]
struct CompressionPage;

mod backup;
mod capacity;
pub mod clock;
mod compaction;
mod counters;
mod db;
mod dictionaries;
pub mod error;
mod events;
mod expiry;
#[cfg(feature = "ffi")]
pub mod ffi;
mod fork;
mod index;
mod io;
pub mod limits;
mod loads;
mod locks;
mod log;
mod maintenance;
mod options;
mod options_text;
mod ordered;
mod reclaim;
mod record;
mod recovery;
mod snapshot;
mod store;
mod sync;
mod tag;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
#[cfg(not(any(test, feature = "testing")))]
mod testing;
mod texts;
#[cfg(feature = "redis")]
mod tier;
#[cfg(feature = "redis")]
mod tier_options;
mod training;
mod transfer;
mod typed;
mod watch;

pub use clock::{Clock, ManualClock, SystemClock};
#[cfg(feature = "redis")]
pub use db::Preloaded;
pub use db::{
    salvage, verify, Batch, Change, Condition, CreateOptions, Db, Entry, Expiry, KeyOptions, LoadOptions,
    Pin, Report, Salvaged, Scan, ScanOptions, Session, SetOptions, Stats, Ttl, Uncommitted, Value, Waker,
    Watch, WatchOptions,
};
pub use error::{Error, Result};
pub use events::{Cause, Event};
pub use locks::Wait;
pub use log::Sync;
pub use options::{Compression, Listener, Logger, OpenMode, Options, Recover, WhenEdited};
pub use options_text::OPTIONS;
pub use record::Metadata;
pub use recovery::Damage;
pub use tag::{Tag, UnknownTag};
#[cfg(feature = "redis")]
pub use tier::TierStats;
#[cfg(feature = "redis")]
pub use tier_options::{encoders, Encoder, EncoderError, Hashes, Numbers, TierOptions, WhenDeaf, Writes};
pub use transfer::{Format, TransferOptions, Transferred};
#[cfg(feature = "msgpack")]
pub use typed::MessagePack;
#[cfg(feature = "postcard")]
pub use typed::Postcard;
#[cfg(feature = "prost")]
pub use typed::Protobuf;
pub use typed::{Codec, CodecError, Json, Store, Text, TypedSession};
