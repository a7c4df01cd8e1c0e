//! Proactive removal of expired entries: hints of when to look at which record.
//!
//! A hint holds no pointer and promises nothing: when it fires, whoever handles it looks whether the record is
//! still there, still the newest of its key, and expired. So a hint that is late, doubled or stale does no harm.

mod wheel;

pub(crate) use wheel::{Hint, Wheel};
