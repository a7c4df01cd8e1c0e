//! The append log: segments of records, the manifest that lists them, and the thread that keeps both.

mod appender;
mod bytes;
mod cell;
mod chain;
mod dictionary_file;
mod files;
mod followers;
mod header;
mod history;
mod holds;
mod keeper;
mod listing;
mod looks;
mod manifest;
mod marks;
mod scan;
mod segment;
#[cfg(feature = "redis")]
mod sent;
mod signal;
#[cfg(test)]
mod signal_tests;
mod table;
mod tail;

pub use appender::Sync;
pub(crate) use appender::{Log, NoRoom, Place};
pub(crate) use dictionary_file::{
    dictionary_in_name, dictionary_path, is_dictionary_draft, load_dictionary, store_dictionary,
};
pub(crate) use files::{
    id_in_name, is_reserve, listed, random_uuid, segment_path, Directory, Files, Plan, Reserve,
};
pub(crate) use header::{SegmentHeader, SegmentKind, FIRST_RECORD_AT};
pub(crate) use keeper::{sealed_listing, Ending, Extent, Keeper, Request, Sighting, Start};
pub(crate) use listing::{parts_from, resolved_lsn, Part};
pub(crate) use manifest::{Listed, Manifest, Seal};
pub(crate) use marks::Notes;
pub(crate) use scan::{members, scan, Condition, Reads, Scanned};
pub(crate) use segment::{Segment, View};
#[cfg(feature = "redis")]
pub(crate) use sent::{Sent, SentFile, SENT};
pub(crate) use signal::Signal;
pub(crate) use table::Table;
