//! What of a listing lies behind an LSN.

use super::header::{SegmentKind, FIRST_RECORD_AT};
use super::keeper::Extent;
use super::segment::Segment;
use std::sync::Arc;

/// A stretch of a segment: from an offset to its end.
pub(crate) struct Part {
    pub(crate) segment: Arc<Segment>,
    pub(crate) at: u64,
}

impl Part {
    /// Whether its records stand in the order of their LSNs.
    #[cfg(feature = "redis")]
    pub(crate) fn is_ordered(&self) -> bool {
        self.segment.header().kind == SegmentKind::Tail
    }
}

/// The resolved point of a listing.
pub(crate) fn resolved_lsn(extents: &[Extent]) -> u64 {
    let tail = extents.iter().filter(|extent| !extent.is_sealed);
    let ends = tail.map(|extent| (extent.segment.header().base_lsn, extent.used_bytes));
    let lowest = ends.clone().min().map(|(base_lsn, used_bytes)| base_lsn + used_bytes);
    let begun =
        ends.filter(|(_, used)| *used > FIRST_RECORD_AT).map(|(base_lsn, used)| base_lsn + used).max();
    begun.max(lowest).unwrap_or(0)
}

/// Where records with an LSN of `from_lsn` or more may stand, by base LSN. `is_boundary`: a record begins or the log ends there;
/// a number that somebody else has given is not taken for that.
pub(crate) fn parts_from(extents: &[Extent], from_lsn: u64, is_boundary: bool) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for extent in extents {
        let header = extent.segment.header();
        let (end_lsn, at) = match header.kind {
            SegmentKind::Tail => {
                let begin_lsn = if is_boundary { from_lsn } else { 0 };
                let at = begin_lsn.saturating_sub(header.base_lsn).max(FIRST_RECORD_AT);
                (header.base_lsn + extent.used_bytes, at)
            }
            SegmentKind::Output => (extent.seal.highest_lsn + 1, FIRST_RECORD_AT),
        };
        if end_lsn > from_lsn && at < extent.used_bytes {
            parts.push(Part { segment: Arc::clone(&extent.segment), at });
        }
    }
    parts.sort_by_key(|part| part.segment.header().base_lsn);
    parts
}
