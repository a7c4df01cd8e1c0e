//! Proactive removal of expired entries, and of every mask once no writer can need it any more (I5).
//!
//! A hint holds no pointer and promises nothing: when it fires, whoever handles it looks whether the record is
//! still there, still the newest of its key, and expired. So a hint that is late, doubled or stale does no harm.

mod sweeper;
mod wheel;

pub(crate) use sweeper::Sweeper;
pub(crate) use wheel::{Hint, Spot, Wheel};
