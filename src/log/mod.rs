//! The append log: segments of records, and the manifest that lists them.

mod bytes;
mod header;
mod manifest;

pub(crate) use header::{SegmentHeader, SegmentKind, FIRST_RECORD_AT};
pub(crate) use manifest::{Listed, Manifest, Seal};
