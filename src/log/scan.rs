//! Finds the records in a segment's bytes, which may be torn or hostile.

use super::header::{SegmentHeader, SegmentKind, FIRST_RECORD_AT};
use crate::record::{decode, flags, Fault, Kind, Record, Seed, State, ALIGN_BYTES, HEADER_BYTES, LSN_AT};

/// What is known about the bytes, and with it what a gap in them means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Sealed: records without a gap up to here; anything else is damage.
    Sealed { used_bytes: u64 },
    /// The process died: a gap is a record that was never filled; what follows it counts (I12).
    ProcessDied,
    /// Power was lost, or another process is writing: nothing from the first gap on counts (I12).
    Cut,
}

/// What a scan found beside the records it visited.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    pub(crate) records: u32,
    pub(crate) committed: u32,
    /// The chain reaches the segment's end: the log may go on in the next segment.
    pub(crate) is_complete: bool,
    /// Offset and reason of each place where bytes are not what was written.
    pub(crate) damage: Vec<(u64, String)>,
}

/// Walks over a segment's bytes, header page included, and calls `visit` with the offset of each record that counts as
/// written: committed and aborted ones, and pending ones where the process died.
pub(crate) fn scan<'b>(
    bytes: &'b [u8],
    header: &SegmentHeader,
    condition: Condition,
    synced_lsn: u64,
    mut visit: impl FnMut(u64, &Record<'b>),
) -> Scanned {
    let scanner = Scanner { bytes, header, seed: Seed::from_salt(header.salt) };
    let end = match condition {
        Condition::Sealed { used_bytes } => used_bytes.min(bytes.len() as u64),
        _ => bytes.len() as u64,
    };
    let mut found = Scanned::default();
    let mut at = FIRST_RECORD_AT;
    while at + HEADER_BYTES as u64 <= end {
        let fault = match scanner.record_at(at, end) {
            Ok(record) if record.kind == Kind::Pad => {
                found.is_complete = true;
                return found;
            }
            Ok(record) if condition != Condition::Cut || record.state != State::Pending => {
                found.records += 1;
                found.committed += u32::from(record.state == State::Committed);
                visit(at, &record);
                at += record.bytes;
                continue;
            }
            Ok(_) => "the record is pending".into(),
            Err(fault) => fault,
        };
        let is_synced = header.kind == SegmentKind::Tail && header.base_lsn + at < synced_lsn;
        let is_gap = scanner.word(at) == 0;
        if is_synced
            || matches!(condition, Condition::Sealed { .. })
            || (!is_gap && condition != Condition::Cut)
        {
            found.damage.push((at, fault));
        }
        if condition == Condition::Cut {
            return found;
        }
        match scanner.resync(at + ALIGN_BYTES as u64, end) {
            Some(next) => at = next,
            None => return found,
        }
    }
    found.is_complete = true;
    if let Condition::Sealed { used_bytes } = condition {
        if at != used_bytes {
            found.damage.push((at.min(end), format!("records end at {at}, the manifest says {used_bytes}")));
        }
    }
    found
}

/// Calls `visit` with the offset of each member of a frame.
pub(crate) fn members<'b>(
    header: &SegmentHeader,
    at: u64,
    frame: &Record<'b>,
    mut visit: impl FnMut(u64, &Record<'b>),
) -> Result<(), Fault> {
    let seed = Seed::from_salt(header.salt);
    let mut rest = frame.value;
    let mut member_at = at + HEADER_BYTES as u64;
    while !rest.is_empty() {
        let member = decode(rest, seed)?;
        let advance = usize::try_from(member.bytes).unwrap_or(usize::MAX);
        rest = rest.get(advance..).ok_or(Fault::ShortHeader)?;
        visit(member_at, &member);
        member_at += member.bytes;
    }
    Ok(())
}

struct Scanner<'b, 'h> {
    bytes: &'b [u8],
    header: &'h SegmentHeader,
    seed: Seed,
}

impl<'b> Scanner<'b, '_> {
    fn word(&self, at: u64) -> u64 {
        self.field(at).unwrap_or(0)
    }

    fn field(&self, at: u64) -> Option<u64> {
        let bytes = self.bytes.get(usize::try_from(at).ok()?..)?;
        bytes.first_chunk().map(|field| u64::from_le_bytes(*field))
    }

    fn record_at(&self, at: u64, end: u64) -> Result<Record<'b>, String> {
        let range = usize::try_from(at).ok().zip(usize::try_from(end).ok());
        let bytes = range.and_then(|(at, end)| self.bytes.get(at..end)).ok_or("outside of the file")?;
        let record = decode(bytes, self.seed).map_err(|fault| fault.to_string())?;
        let is_in_place = match self.header.kind {
            SegmentKind::Tail => record.lsn == self.header.base_lsn + at,
            SegmentKind::Output => record.lsn < self.header.born,
        };
        if !is_in_place {
            return Err(format!("LSN {} does not belong here", record.lsn));
        }
        if record.flags & flags::IN_BATCH != 0 {
            return Err("a batch member outside of its frame".into());
        }
        if record.kind == Kind::Batch {
            // A frame has no key: members of one that had would be looked for where the key lies.
            let mut is_whole = record.key.is_empty() && self.header.kind == SegmentKind::Tail;
            let members = members(self.header, at, &record, |member_at, member| {
                is_whole &= member.flags & flags::IN_BATCH != 0
                    && member.state == State::Committed
                    && matches!(member.kind, Kind::Put | Kind::Tombstone)
                    && member.lsn == self.header.base_lsn + member_at;
            });
            if members.is_err() || !is_whole {
                return Err("the batch holds something other than its members".into());
            }
        }
        Ok(record)
    }

    /// The next offset from `from` on where a whole record stands (I12).
    fn resync(&self, from: u64, end: u64) -> Option<u64> {
        let mut at = from;
        while at + HEADER_BYTES as u64 <= end {
            // The cheap tests first: most of what is skipped is zeros, or a value that was being written.
            let is_likely = self.word(at) != 0
                && (self.header.kind == SegmentKind::Output
                    || self.field(at + LSN_AT as u64) == Some(self.header.base_lsn + at));
            if is_likely && self.record_at(at, end).is_ok() {
                return Some(at);
            }
            at += ALIGN_BYTES as u64;
        }
        None
    }
}
