//! The append log: segments of records, and the manifest that lists them.

mod bytes;
mod cell;
mod header;
mod manifest;
mod segment;

pub(crate) use cell::Cell;
pub(crate) use header::{SegmentHeader, SegmentKind, FIRST_RECORD_AT};
pub(crate) use manifest::{Listed, Manifest, Seal};
pub(crate) use segment::{Appended, Segment, View};
