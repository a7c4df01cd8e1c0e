//! Finds the records in a segment's bytes, which may be torn or hostile.

use super::header::{SegmentHeader, SegmentKind, FIRST_RECORD_AT};
use crate::record::{
    decode, decode_head, flags, heads_crc, Fault, Kind, Record, Seed, State, Word, ALIGN_BYTES, HEADER_BYTES,
    LSN_AT, WORD_BYTES,
};

/// What is known about the bytes, and with it what a gap in them means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Sealed: records without a gap up to here; anything else is damage.
    Sealed { used_bytes: u64 },
    /// The same, but values are not read: that the rest is what was written shows in `heads_crc` alone, once all was visited.
    Heads { used_bytes: u64 },
    /// The process died: a gap is a record that was never filled; what follows it counts (I12).
    ProcessDied,
    /// Power was lost, or another process is writing: nothing from the first gap on counts (I12).
    Cut,
}

impl Condition {
    pub(crate) fn reads(self, header: &SegmentHeader) -> Reads {
        match self {
            Condition::Heads { .. } => Reads::Heads,
            _ => Reads::All(Seed::from_salt(header.salt)),
        }
    }
}

/// What a scan found beside the records it visited.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    pub(crate) records: u32,
    pub(crate) committed: u32,
    /// Of sealed records without their values (`record::heads_crc`).
    pub(crate) heads_crc: u32,
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
    let reads = condition.reads(header);
    let scanner = Scanner { bytes, header, reads };
    let sealed_at = match condition {
        Condition::Sealed { used_bytes } | Condition::Heads { used_bytes } => Some(used_bytes),
        Condition::ProcessDied | Condition::Cut => None,
    };
    let end = sealed_at.unwrap_or(u64::MAX).min(bytes.len() as u64);
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
                if sealed_at.is_some() {
                    found.heads_crc = scanner.heads_crc(found.heads_crc, at, &record);
                }
                visit(at, &record);
                at += record.bytes;
                continue;
            }
            Ok(_) => "the record is pending".into(),
            Err(fault) => fault,
        };
        let is_synced = header.kind == SegmentKind::Tail && header.base_lsn + at < synced_lsn;
        let is_gap = scanner.word(at) == 0;
        if is_synced || sealed_at.is_some() || (!is_gap && condition != Condition::Cut) {
            found.damage.push((at, fault));
        }
        // Without checksums anything looks like a record.
        if condition == Condition::Cut || reads == Reads::Heads {
            return found;
        }
        match scanner.resync(at + ALIGN_BYTES as u64, end) {
            Some(next) => at = next,
            None => return found,
        }
    }
    found.is_complete = true;
    if let Some(used_bytes) = sealed_at {
        if at != used_bytes {
            found.damage.push((at.min(end), format!("records end at {at}, the manifest says {used_bytes}")));
        }
    }
    found
}

/// What of a record is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// All, against its checksum.
    All(Seed),
    /// Not its value, and so not its checksum.
    Heads,
}

impl Reads {
    fn decode(self, bytes: &[u8]) -> Result<Record<'_>, Fault> {
        match self {
            Reads::All(seed) => decode(bytes, seed),
            Reads::Heads => decode_head(bytes).map(|(record, _)| record),
        }
    }
}

/// Calls `visit` with the offset of each member of a frame, which a scan has checked.
pub(crate) fn members<'b>(
    at: u64,
    frame: &Record<'b>,
    reads: Reads,
    mut visit: impl FnMut(u64, &Record<'b>),
) -> Result<(), Fault> {
    let mut rest = frame.value;
    let mut member_at = at + HEADER_BYTES as u64;
    while !rest.is_empty() {
        let member = reads.decode(rest)?;
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
    reads: Reads,
}

impl<'b> Scanner<'b, '_> {
    /// Adds the record at `at`, and a frame's members, to a checksum of heads.
    fn heads_crc(&self, crc: u32, at: u64, record: &Record<'b>) -> u32 {
        let fixed =
            usize::try_from(at).ok().and_then(|at| self.bytes.get(at + WORD_BYTES..at + HEADER_BYTES));
        let mut crc = heads_crc(crc, Word(self.word(at)), fixed.unwrap_or_default(), record.key);
        if record.kind == Kind::Batch {
            // What is no member was found before.
            let _ = members(at, record, Reads::Heads, |at, member| crc = self.heads_crc(crc, at, member));
        }
        crc
    }

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
        let record = self.reads.decode(bytes).map_err(|fault| fault.to_string())?;
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
            let members = members(at, &record, self.reads, |member_at, member| {
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
