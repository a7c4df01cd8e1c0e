//! One segment: a run of records that many threads append to at once.
//!
//! An append is one `fetch_add` on the tail, a copy and one Release store. The tail never comes back below
//! the end once an append did not fit, so a segment that is full stays full for small records too; the one
//! append that crosses the end writes a pad, so the records up to the end are a chain without a gap.

use super::header::{SegmentHeader, FIRST_RECORD_AT};
use crate::io::Map;
use crate::record::{
    fill_body, flags, record_bytes, Draft, Kind, Seed, State, Word, EXPIRE_AT, HEADER_BYTES, KEY_LEN_AT,
    LSN_AT, VALUE_LEN_AT, WORD_BYTES,
};
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a record stands in its segment, and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) offset: u64,
    pub(crate) lsn: u64,
}

/// A mapped segment.
pub(crate) struct Segment {
    header: SegmentHeader,
    seed: Seed,
    map: Map,
    /// Offset of the next free byte; beyond the capacity when the segment is closed.
    tail: CachePadded<AtomicU64>,
}

/// A record in mapped memory whose word was found written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'m> {
    pub(crate) word: Word,
    pub(crate) lsn: u64,
    pub(crate) expire_at_ms: u64,
    pub(crate) key: &'m [u8],
    pub(crate) value: &'m [u8],
}

impl Segment {
    /// Takes a map whose bytes behind the header page are zero.
    pub(crate) fn new(header: SegmentHeader, map: Map) -> Segment {
        let tail = CachePadded::new(AtomicU64::new(FIRST_RECORD_AT));
        Segment { seed: Seed::from_salt(header.salt), header, map, tail }
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Offset behind the last record that may have been reserved.
    pub(crate) fn end(&self) -> u64 {
        // Acquire: pairs with the AcqRel of a reservation; what was reserved before this is below the result.
        self.tail.load(Ordering::Acquire).min(self.map.bytes() as u64)
    }

    /// Appends a record in state `state`, or closes the segment for good and returns `None` when it does not
    /// fit. The draft's LSN is set here: base + offset.
    ///
    /// The caller holds a guard that it took before this call (I9).
    pub(crate) fn append(&self, draft: &Draft<'_>, state: State) -> Option<Appended> {
        let bytes = record_bytes(draft.key.len(), draft.value.len());
        // AcqRel: pairs with itself and with `end`; reservations are ordered as their offsets are.
        let offset = self.tail.fetch_add(bytes, Ordering::AcqRel);
        let capacity = self.map.bytes() as u64;
        if offset.saturating_add(bytes) > capacity {
            self.pad(offset, capacity);
            return None;
        }
        let lsn = self.header.base_lsn + offset;
        self.fill(offset, bytes, &Draft { lsn, ..*draft }, state)?;
        Some(Appended { offset, lsn })
    }

    /// Fills the rest behind `offset` when this reservation is the one that crosses the end.
    fn pad(&self, offset: u64, capacity: u64) {
        if offset >= capacity || capacity - offset < HEADER_BYTES as u64 {
            return;
        }
        let lsn = self.header.base_lsn + offset;
        let pad = Draft { kind: Kind::Pad, flags: 0, codec: 0, lsn, expire_at_ms: 0, key: &[], value: &[] };
        self.fill(offset, HEADER_BYTES as u64, &pad, State::Committed);
    }

    fn fill(&self, offset: u64, bytes: u64, draft: &Draft<'_>, state: State) -> Option<()> {
        let (at, len) = (usize::try_from(offset).ok()?, usize::try_from(bytes).ok()?);
        // SAFETY: M1: `fetch_add` gave this range to this call alone, and its word is stored below.
        let body = unsafe { self.map.reserved(at + WORD_BYTES, len - WORD_BYTES)? };
        let word = fill_body(body, draft, self.seed, state)?;
        // Release: publishes the record's bytes; pairs with the Acquire in `view` and `word`.
        self.map.word(at)?.store(word.0, Ordering::Release);
        Some(())
    }

    /// The word of the record at `offset`; zero where none was written yet.
    pub(crate) fn word(&self, offset: u64) -> Option<Word> {
        let word = self.map.word(usize::try_from(offset).ok()?)?;
        // Acquire: pairs with the Release in `fill` and `resolve`.
        Some(Word(word.load(Ordering::Acquire)))
    }

    /// Turns a pending record into `to`, unless somebody else decided it first; returns the state it is in
    /// afterwards (I4: a reader, the writer and the compactor may all try to commit).
    pub(crate) fn resolve(&self, offset: u64, to: State) -> Option<State> {
        let cell = self.map.word(usize::try_from(offset).ok()?)?;
        let seen = Word(cell.load(Ordering::Acquire));
        if seen.state()? != State::Pending {
            return seen.state();
        }
        // AcqRel: the decision is ordered after the record's bytes and before what the decider does next;
        // pairs with the Acquire in `word` and `view`.
        match cell.compare_exchange(seen.0, seen.with_state(to).0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Some(to),
            Err(now) => Word(now).state(),
        }
    }

    /// The record at `offset`, without verifying its checksum: for offsets that this process wrote or
    /// verified. `None` where nothing was written.
    pub(crate) fn view(&self, offset: u64) -> Option<View<'_>> {
        let word = self.word(offset)?;
        if word.0 == 0 {
            return None;
        }
        let at = usize::try_from(offset).ok()?;
        // The word itself stays out of the slice: others still change its state (M1).
        // SAFETY: M2: the word was loaded with Acquire above and is not zero.
        let head = unsafe { self.map.slice(at + WORD_BYTES, HEADER_BYTES - WORD_BYTES)? };
        let key_len = usize::from(u16::from_le_bytes(*head.get(KEY_LEN_AT - WORD_BYTES..)?.first_chunk()?));
        let value_len = u32::from_le_bytes(*head.get(VALUE_LEN_AT - WORD_BYTES..)?.first_chunk()?) as usize;
        // SAFETY: M2, as above; `slice` checks the bounds.
        let data = unsafe { self.map.slice(at + HEADER_BYTES, key_len.checked_add(value_len)?)? };
        let (key, value) = data.split_at_checked(key_len)?;
        Some(View {
            word,
            lsn: u64::from_le_bytes(*head.get(LSN_AT - WORD_BYTES..)?.first_chunk()?),
            expire_at_ms: u64::from_le_bytes(*head.get(EXPIRE_AT - WORD_BYTES..)?.first_chunk()?),
            key,
            value,
        })
    }

    /// Walks the chain from `from` and returns the first offset that is not resolved: reserved and not filled,
    /// pending, or never reserved (I10).
    pub(crate) fn resolved_from(&self, from: u64) -> u64 {
        let mut at = from;
        while at < self.end() {
            let Some(view) = self.view(at) else { break };
            match (view.word.kind(), view.word.state()) {
                (Some(Kind::Pad), _) => return self.map.bytes() as u64,
                (Some(_), Some(State::Committed | State::Aborted)) => {}
                _ => break,
            }
            at += record_bytes(view.key.len(), view.value.len());
        }
        // A gap too short for a pad ends the chain.
        let rest = (self.map.bytes() as u64).saturating_sub(at);
        if rest < HEADER_BYTES as u64 {
            self.map.bytes() as u64
        } else {
            at
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::SegmentKind;
    use super::*;
    use crate::io::Identity;
    use std::collections::HashSet;

    fn segment(bytes: usize) -> Segment {
        let header = SegmentHeader {
            kind: SegmentKind::Tail,
            store_uuid: [0; 16],
            id: 0,
            base_lsn: 1 << 20,
            born: 1 << 20,
            capacity_bytes: bytes as u64,
            salt: 11,
            boot_id: [0; 16],
            file: Identity { device: 0, inode: 0 },
        };
        Segment::new(header, Map::anonymous(bytes).unwrap())
    }

    fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Draft<'a> {
        Draft { kind: Kind::Put, flags: 0, codec: 0, lsn: 0, expire_at_ms: 5, key, value }
    }

    #[test]
    fn an_appended_record_reads_back_with_its_position_as_lsn() {
        let segment = segment(8192);
        let done = segment.append(&put(b"key", b"value"), State::Pending).unwrap();
        assert_eq!((done.offset, done.lsn), (4096, (1 << 20) + 4096));
        let view = segment.view(done.offset).unwrap();
        assert_eq!(
            (view.key, view.value, view.lsn, view.expire_at_ms),
            (&b"key"[..], &b"value"[..], done.lsn, 5)
        );
    }

    #[test]
    fn a_record_is_decided_once() {
        let segment = segment(8192);
        let at = segment.append(&put(b"k", b"v"), State::Pending).unwrap().offset;
        assert_eq!(segment.resolved_from(FIRST_RECORD_AT), FIRST_RECORD_AT);
        assert_eq!(segment.resolve(at, State::Committed), Some(State::Committed));
        assert_eq!(segment.resolve(at, State::Aborted), Some(State::Committed));
        assert_eq!(segment.resolved_from(FIRST_RECORD_AT), segment.end());
    }

    #[test]
    fn a_full_segment_stays_full_and_its_end_is_padded() {
        let segment = segment(4096 + 128);
        assert!(segment.append(&put(b"a", &[1; 31]), State::Committed).is_some());
        assert!(segment.append(&put(b"b", &[1; 99]), State::Committed).is_none());
        assert!(segment.append(&put(b"c", b""), State::Committed).is_none(), "it would have fitted before");
        assert_eq!(segment.view(4096 + 64).unwrap().word.kind(), Some(Kind::Pad));
        assert_eq!(segment.resolved_from(FIRST_RECORD_AT), 4096 + 128);
    }

    #[test]
    fn threads_that_append_at_once_get_records_of_their_own_without_a_gap() {
        let segment = segment(1 << 20);
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let segment = &segment;
                scope.spawn(move || {
                    for n in 0u32.. {
                        let value = vec![thread; (n % 90) as usize];
                        let Some(done) = segment.append(&put(&n.to_le_bytes(), &value), State::Pending)
                        else {
                            break;
                        };
                        segment.resolve(done.offset, State::Committed);
                    }
                });
            }
        });
        assert_eq!(
            segment.resolved_from(FIRST_RECORD_AT),
            1 << 20,
            "every byte belongs to a resolved record"
        );
        let (mut at, mut seen) = (FIRST_RECORD_AT, HashSet::new());
        while let Some(view) = segment.view(at).filter(|view| view.word.kind() == Some(Kind::Put)) {
            let thread = view.value.first().copied().unwrap_or(9);
            assert!(view.value.iter().all(|byte| *byte == thread));
            assert!(thread == 9 || seen.insert((thread, view.key.to_vec())), "written twice");
            at += record_bytes(view.key.len(), view.value.len());
        }
        assert!(seen.len() > 1000, "{} records", seen.len());
    }
}
