//! Every limit of the engine, by name and unit.

/// Longest key, in bytes; a record stores the length in 16 bits.
pub const KEY_BYTES_MAX: usize = 65_535;
/// Default upper bound of a value, in bytes (`Options::value_bytes_max` changes it).
pub const VALUE_BYTES_MAX_DEFAULT: u32 = 1 << 30;
/// Largest upper bound of a value that can be configured, in bytes: offsets inside a segment,
/// counted in units of 8 bytes, must fit 32 bits beside the record's header and key.
pub const VALUE_BYTES_MAX_LIMIT: u32 = (1 << 31) - (1 << 20);
/// Smallest value that `Options::segment_bytes` accepts, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Size of a new store's segments, in bytes, unless `Options::segment_bytes` is less.
pub const SEGMENT_BYTES_FIRST: u64 = 1 << 20;
/// Default size that segments grow to, in bytes.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// Largest size that `Options::segment_bytes` accepts, in bytes.
pub const SEGMENT_BYTES_LIMIT: u64 = 1 << 30;
/// Most members of one atomic batch frame, in bytes of their records together.
pub const BATCH_BYTES_MAX: u64 = 1 << 30;
/// Segments that a store can have mapped at one time.
pub const SEGMENTS_MAX: usize = 1 << 16;
/// Most shards that `TierOptions::shards` accepts.
pub const TIER_SHARDS_MAX: usize = 64;
/// How far ahead of the wall clock a stored time is believed at open, in milliseconds (I15).
pub const CLOCK_AHEAD_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// What one deadline may differ by here and in Redis, in milliseconds.
#[cfg(feature = "redis")]
pub(crate) const CLOCKS_DIFFER_MS: u64 = 1000;
