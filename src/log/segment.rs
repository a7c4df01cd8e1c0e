//! One segment: a run of records that many threads append to at once.
//!
//! An append is one `fetch_add` on the tail, a copy and one Release store. The tail never comes back below
//! the end once an append did not fit, so a segment that is full stays full for small records too; the one
//! append that crosses the end writes a pad, so the records up to the end are a chain without a gap.

use super::cell::Cell;
use super::chain::{Link, Next};
use super::header::{SegmentHeader, FIRST_RECORD_AT};
use super::marks::{Marks, Notes};
use super::tail::{Reserved, TailOffset};
use crate::error::{Error, Result};
use crate::io::{prefetch, File, Map};
use crate::record::{
    fill_body, flags, frame_body, heads_crc, record_bytes, Draft, Kind, LiveWord, Seed, State, Word,
    DICTIONARY_AT, EXPIRE_AT, HEADER_BYTES, KEY_LEN_AT, LSN_AT, VALUE_LEN_AT, WORD_BYTES,
};
use crossbeam_utils::CachePadded;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Where a record stands in its segment, and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) offset: u64,
    pub(crate) lsn: u64,
}

/// What is counted of a segment while it lives, so that the compactor can choose (docs/design.md, "Space").
#[derive(Default)]
pub(crate) struct Account {
    /// Bytes of records that nothing refers to any more; each record is charged once, and only after nothing
    /// can refer to it, so a segment whose every byte is charged holds nothing that lives.
    dead_bytes: AtomicU64,
    /// Of those, bytes of masks: compaction may have to copy them (I6).
    mask_bytes: AtomicU64,
    /// Highest LSN of a record that may hide an older one: tombstone, clear, or put with a deadline.
    highest_mask_lsn: AtomicU64,
}

impl Account {
    // Relaxed in most of these: they only steer the choice of victims.
    pub(crate) fn charge(&self, bytes: u64) {
        // Release: whoever finds every byte charged comes after what took the last pointer away; pairs with `dead_bytes`.
        self.dead_bytes.fetch_add(bytes, Ordering::Release);
    }

    pub(crate) fn charge_mask(&self, bytes: u64) {
        self.mask_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.charge(bytes);
    }

    pub(crate) fn saw_mask(&self, lsn: u64) {
        self.highest_mask_lsn.fetch_max(lsn, Ordering::Relaxed);
    }

    pub(crate) fn dead_bytes(&self) -> u64 {
        // Acquire: pairs with the Release in `charge`.
        self.dead_bytes.load(Ordering::Acquire)
    }

    pub(crate) fn mask_bytes(&self) -> u64 {
        self.mask_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn highest_mask_lsn(&self) -> u64 {
        self.highest_mask_lsn.load(Ordering::Relaxed)
    }
}

/// A mapped segment.
pub(crate) struct Segment {
    header: SegmentHeader,
    seed: Seed,
    map: Map,
    /// `None` in memory, and once it needs no descriptor any more: a store has more segments than a process may have files open.
    file: Mutex<Option<Arc<dyn File>>>,
    path: PathBuf,
    /// Its number in the segment table.
    number: u16,
    tail: CachePadded<TailOffset>,
    /// The segment that writers go on to, once the log thread has prepared it.
    next: Next<Segment>,
    pub(crate) account: CachePadded<Account>,
    /// Batches that have committed here and not yet published all members (I9).
    pub(crate) publishing: AtomicU32,
    /// End of the last record, once nothing will be appended any more.
    sealed_at: OnceLock<u64>,
    /// Made of the reserve on a full disk: takes tombstones only (P7).
    tombstones_only: bool,
    /// A damaged record was met here: the segment is kept as it is (I7).
    pub(crate) damaged: AtomicBool,
    /// `UNREAD`, `MARKED`: why a read has more to do here than to look.
    more: AtomicU8,
    marks: OnceLock<Marks>,
}

/// An open has not read the values in the segment: each is checked before it is given, until all have been found good.
const UNREAD: u8 = 1 << 0;
/// Reads are noted.
const MARKED: u8 = 1 << 1;

/// A record in mapped memory whose word was found written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'m> {
    pub(crate) word: Word,
    /// Of the value, where that is compressed; 0: none.
    pub(crate) dictionary: u16,
    pub(crate) lsn: u64,
    pub(crate) expire_at_ms: u64,
    pub(crate) key: &'m [u8],
    pub(crate) value: &'m [u8],
}

impl Segment {
    /// Takes a map whose bytes behind the header page are zero.
    pub(crate) fn new(header: SegmentHeader, map: Map, number: u16) -> Segment {
        Segment {
            seed: Seed::from_salt(header.salt),
            header,
            map,
            file: Mutex::new(None),
            path: PathBuf::from("memory"),
            number,
            tail: CachePadded::new(TailOffset::new(FIRST_RECORD_AT)),
            next: Next::none(),
            account: CachePadded::default(),
            publishing: AtomicU32::new(0),
            sealed_at: OnceLock::new(),
            tombstones_only: false,
            damaged: AtomicBool::new(false),
            more: AtomicU8::new(0),
            marks: OnceLock::new(),
        }
    }

    /// The same segment, in a file.
    pub(crate) fn in_file(self, file: Box<dyn File>, path: PathBuf) -> Segment {
        Segment { file: Mutex::new(Some(file.into())), path, ..self }
    }

    /// The same segment, as one that holds records up to `used_bytes` and takes no more.
    pub(crate) fn holding(self, used_bytes: u64) -> Segment {
        self.tail.set(used_bytes);
        let _ = self.sealed_at.set(used_bytes);
        self
    }

    pub(crate) fn seed(&self) -> Seed {
        self.seed
    }

    /// The same segment, for tombstones only.
    pub(crate) fn for_tombstones(self) -> Segment {
        Segment { tombstones_only: true, ..self }
    }

    pub(crate) fn takes(&self, is_tombstone: bool) -> bool {
        is_tombstone || !self.tombstones_only
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file's bytes durable, with or without a descriptor; nothing to do in memory.
    pub(crate) fn sync(&self) -> Result<()> {
        let synced = match self.file() {
            Some(file) => file.sync(),
            None => self.map.sync(),
        };
        synced.map_err(|e| Error::io("sync", &self.path, e))
    }

    /// The file, until `close_file`; `None` in memory.
    pub(crate) fn file(&self) -> Option<Arc<dyn File>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the descriptor back, once the records are synced and the file has its length: the map is enough to read them, and
    /// to store a time in the cell and sync that.
    pub(crate) fn close_file(&self) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn cell(&self) -> Cell<'_> {
        Cell::of(&self.map, self.header.salt)
    }

    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.map.bytes() as u64
    }

    /// First LSN behind the segment's range.
    pub(crate) fn end_lsn(&self) -> u64 {
        self.header.base_lsn + self.header.capacity_bytes
    }

    /// Notes where a segment of an earlier run ends. Nobody else shares it yet.
    pub(crate) fn set_end(&self, end: u64) {
        self.tail.set(end);
    }

    /// Notes that nothing will be appended behind `used_bytes`.
    pub(crate) fn set_sealed(&self, used_bytes: u64) {
        let _ = self.sealed_at.set(used_bytes);
    }

    /// End of the last record, if the segment is sealed.
    pub(crate) fn sealed_at(&self) -> Option<u64> {
        self.sealed_at.get().copied()
    }

    /// Offset behind the last record that may have been reserved; of a sealed segment, behind the last that is
    /// there, since its file may be cut off behind that.
    pub(crate) fn end(&self) -> u64 {
        if let Some(sealed_at) = self.sealed_at() {
            return sealed_at;
        }
        self.tail.end(self.capacity_bytes())
    }

    /// Appends a record in state `state`, or closes the segment for good and returns `None` when it does not
    /// fit. The draft's LSN is set here: base + offset.
    ///
    /// The caller holds a guard that it took before this call (I9).
    pub(crate) fn append(
        &self,
        draft: &Draft<'_>,
        state: State,
        meanwhile: impl FnOnce(),
    ) -> Option<Appended> {
        let bytes = record_bytes(draft.key.len(), draft.value.len());
        let offset = self.reserve(bytes)?;
        meanwhile();
        let lsn = self.header.base_lsn + offset;
        self.fill(offset, bytes, &Draft { lsn, ..*draft }, state)?;
        Some(Appended { offset, lsn })
    }

    /// Appends a frame of `members`, pending as a whole; the members inside are committed with it (I13). Calls
    /// `member` with the place of each.
    pub(crate) fn append_batch(
        &self,
        members: &[Draft<'_>],
        mut member: impl FnMut(Appended),
    ) -> Option<Appended> {
        let value_bytes: u64 = members.iter().map(|m| record_bytes(m.key.len(), m.value.len())).sum();
        let bytes = HEADER_BYTES as u64 + value_bytes;
        let offset = self.reserve(bytes)?;
        let mut at = offset + HEADER_BYTES as u64;
        for draft in members {
            let bytes = record_bytes(draft.key.len(), draft.value.len());
            let done = Appended { offset: at, lsn: self.header.base_lsn + at };
            let flags = draft.flags | flags::IN_BATCH;
            self.fill(at, bytes, &Draft { lsn: done.lsn, flags, ..*draft }, State::Committed)?;
            member(done);
            at += bytes;
        }
        let lsn = self.header.base_lsn + offset;
        let (start, len) = (usize::try_from(offset).ok()?, usize::try_from(bytes).ok()?);
        // SAFETY: M1: this call reserved the range; nobody reads a member before the frame's word is stored.
        let body = unsafe { self.map.reserved(start + WORD_BYTES, len - WORD_BYTES)? };
        let frame = Draft {
            kind: Kind::Batch,
            flags: 0,
            codec: 0,
            dictionary: 0,
            lsn,
            expire_at_ms: 0,
            key: &[],
            value: &[],
        };
        let word = frame_body(body, &frame, self.seed, State::Pending)?;
        LiveWord(self.map.word(start)?).publish(word);
        Some(Appended { offset, lsn })
    }

    /// Reserves and never fills.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn leave_hole(&self, bytes: u64) {
        let _ = self.tail.reserve(bytes, self.capacity_bytes());
    }

    /// Reserves room for a copy, in the one thread that fills an output; `None` when it is full.
    pub(crate) fn reserve_copy(&self, bytes: u64) -> Option<u64> {
        let offset = self.tail.end(self.capacity_bytes());
        if offset.saturating_add(bytes) > self.capacity_bytes() {
            return None;
        }
        self.tail.set(offset + bytes);
        Some(offset)
    }

    /// Writes whole records at `offset`, where room was reserved for them: into a file with `write`, since pages that are
    /// dirty in a mapping cost every core that runs this process an interrupt each when they are synced.
    pub(crate) fn write_copies(&self, offset: u64, records: &[u8]) -> std::io::Result<()> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        if let Some(file) = self.file() {
            file.write_at(offset, records)?;
            self.map.populate_read(at & !4095, records.len() + (at & 4095));
            return Ok(());
        }
        // SAFETY: M1: the range was reserved by this thread, and no address leads into it yet.
        if let Some(to) = unsafe { self.map.reserved(at, records.len()) } {
            to.copy_from_slice(records);
        }
        Ok(())
    }

    /// Takes a range, or closes the segment: then the one whose reservation crossed the end writes the pad.
    #[inline]
    fn reserve(&self, bytes: u64) -> Option<u64> {
        match self.tail.reserve(bytes, self.capacity_bytes()) {
            Reserved::At(offset) => Some(offset),
            Reserved::Full { pad_at } => {
                pad_at.into_iter().for_each(|offset| self.pad(offset));
                None
            }
        }
    }

    fn pad(&self, offset: u64) {
        let lsn = self.header.base_lsn + offset;
        let pad = Draft {
            kind: Kind::Pad,
            flags: 0,
            codec: 0,
            dictionary: 0,
            lsn,
            expire_at_ms: 0,
            key: &[],
            value: &[],
        };
        self.fill(offset, HEADER_BYTES as u64, &pad, State::Committed);
    }

    fn fill(&self, offset: u64, bytes: u64, draft: &Draft<'_>, state: State) -> Option<()> {
        let (at, len) = (usize::try_from(offset).ok()?, usize::try_from(bytes).ok()?);
        // SAFETY: M1: `fetch_add` gave this range to this call alone, and its word is stored below.
        let body = unsafe { self.map.reserved(at + WORD_BYTES, len - WORD_BYTES)? };
        let word = fill_body(body, draft, self.seed, state)?;
        LiveWord(self.map.word(at)?).publish(word);
        Some(())
    }

    /// The word of the record at `offset`; zero where none was written yet.
    #[inline]
    pub(crate) fn word(&self, offset: u64) -> Option<Word> {
        Some(LiveWord(self.map.word(usize::try_from(offset).ok()?)?).load())
    }

    /// Turns a pending record into `to`, unless somebody else decided it first; returns the state it is in
    /// afterwards (I4: a reader, the writer and the compactor may all try to commit).
    pub(crate) fn resolve(&self, offset: u64, to: State) -> Option<State> {
        LiveWord(self.map.word(usize::try_from(offset).ok()?)?).resolve(to)
    }

    /// The record at `offset`, without verifying its checksum: for offsets that this process wrote or
    /// verified. `None` where nothing was written.
    #[inline(always)]
    pub(crate) fn view(&self, offset: u64) -> Option<View<'_>> {
        let at = usize::try_from(offset).ok()?;
        // Covers the checks of what is looked at below, but for the last.
        if at.checked_add(HEADER_BYTES)? > self.map.bytes() {
            return None;
        }
        let word = self.word(offset)?;
        if word.0 == 0 {
            return None;
        }
        // The word itself stays out of the slice: others still change its state (M1).
        // SAFETY: M2: the word was loaded with Acquire above and is not zero.
        let head = unsafe { self.map.slice(at + WORD_BYTES, HEADER_BYTES - WORD_BYTES)? };
        let head: &[u8; HEADER_BYTES - WORD_BYTES] = head.first_chunk()?;
        let key_len = usize::from(u16::from_le_bytes(*head.get(KEY_LEN_AT - WORD_BYTES..)?.first_chunk()?));
        let value_len = u32::from_le_bytes(*head.get(VALUE_LEN_AT - WORD_BYTES..)?.first_chunk()?) as usize;
        // SAFETY: M2, as above; `slice` checks the bounds.
        let data = unsafe { self.map.slice(at + HEADER_BYTES, key_len + value_len)? };
        let (key, value) = data.split_at_checked(key_len)?;
        Some(View {
            word,
            dictionary: u16::from_le_bytes(*head.get(DICTIONARY_AT - WORD_BYTES..)?.first_chunk()?),
            lsn: u64::from_le_bytes(*head.get(LSN_AT - WORD_BYTES..)?.first_chunk()?),
            expire_at_ms: u64::from_le_bytes(*head.get(EXPIRE_AT - WORD_BYTES..)?.first_chunk()?),
            key,
            value,
        })
    }

    /// Has the beginning of the record at `offset` fetched, which somebody will read soon.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u64) {
        const LINE_BYTES: usize = 64;
        let place = self.map.base().wrapping_add(offset as usize);
        // Of longer values the processor fetches the rest by itself.
        for line in 0..3 {
            prefetch(place.wrapping_add(line * LINE_BYTES));
        }
    }

    /// Whether the record's bytes are still those that were written.
    pub(crate) fn checksum_is_good(&self, offset: u64, view: &View<'_>) -> bool {
        let Ok(at) = usize::try_from(offset) else { return false };
        let is_pad = view.word.kind() == Some(Kind::Pad);
        let data_len = if is_pad { 0 } else { view.key.len() + view.value.len() };
        // SAFETY: M2: the view's word was found written.
        let body = unsafe { self.map.slice(at + WORD_BYTES, HEADER_BYTES - WORD_BYTES + data_len) };
        body.is_some_and(|body| self.seed.record_crc(view.word, body) == view.word.crc())
    }

    /// Adds the record at `offset`, without its value, to a checksum of such; of a frame also its members.
    pub(crate) fn heads_crc(&self, crc: u32, offset: u64, view: &View<'_>) -> u32 {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        // SAFETY: M2: the view's word was found written.
        let fixed = unsafe { self.map.slice(at.saturating_add(WORD_BYTES), HEADER_BYTES - WORD_BYTES) };
        let mut crc = heads_crc(crc, view.word, fixed.unwrap_or_default(), view.key);
        if view.word.kind() == Some(Kind::Batch) {
            self.members(offset, view, |at, member| crc = self.heads_crc(crc, at, member));
        }
        crc
    }

    /// An open has not read the values in it: each is checked before it is given, until all have been found good.
    pub(crate) fn set_unread(&self, unread: bool) {
        // Relaxed: says nothing about other memory; who finds it set does work that it need not.
        match unread {
            true => self.more.fetch_or(UNREAD, Ordering::Relaxed),
            false => self.more.fetch_and(!UNREAD, Ordering::Relaxed),
        };
    }

    #[inline]
    pub(crate) fn is_unread(&self) -> bool {
        self.more.load(Ordering::Relaxed) & UNREAD != 0
    }

    /// Whether a read has nothing to do here but to look.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.more.load(Ordering::Relaxed) == 0
    }

    /// Lets reads be noted. Without memory for that they are not: the policy does without, and nothing is idle.
    pub(super) fn keep_marks(&self, notes: Notes) {
        if let Some(marks) = Marks::new(self.map.bytes(), notes) {
            let _ = self.marks.set(marks);
            // Relaxed: the segment is not shared yet.
            self.more.fetch_or(MARKED, Ordering::Relaxed);
        }
    }

    /// What is noted of its records, if anything is.
    pub(crate) fn marks(&self) -> Option<&Marks> {
        self.marks.get()
    }

    /// Refuses a record whose value is not what was written, if nobody has looked since the store was opened.
    #[inline]
    pub(crate) fn check_unread(&self, offset: u64) -> Result<()> {
        if !self.is_unread() {
            return Ok(());
        }
        self.check(offset)
    }

    // The record is looked up again: who asks would have to have it in memory for this.
    #[cold]
    fn check(&self, offset: u64) -> Result<()> {
        let Some(view) = self.view(offset) else { return Ok(()) };
        if self.checksum_is_good(offset, &view) {
            return Ok(());
        }
        let reason = format!("checksum mismatch in the record of a key of {} bytes", view.key.len());
        Err(Error::corrupt(&self.path, offset, reason))
    }

    /// Checks records from `from` on, up to about `bytes` of them, and calls `bad` with the offset of each that is not what
    /// was written. Returns where it stopped: the segment's end, once all was looked at.
    pub(crate) fn check_records(&self, from: u64, bytes: u64, mut bad: impl FnMut(u64)) -> u64 {
        let (end, mut at) = (self.end(), from);
        while at < end && at - from < bytes {
            let Some(view) = self.view(at) else {
                bad(at);
                return end;
            };
            if view.word.kind() == Some(Kind::Pad) {
                return end;
            }
            if !self.checksum_is_good(at, &view) {
                bad(at);
            }
            at += view.bytes();
        }
        at.min(end)
    }

    /// Walks the chain from `from` up to the first record that is not resolved: reserved and not filled,
    /// pending, or never reserved (I10). Calls `visit` with each resolved one and returns where it stopped: the
    /// capacity when the segment is full and resolved to its end.
    pub(crate) fn walk(&self, from: u64, mut visit: impl FnMut(u64, &View<'_>)) -> u64 {
        let capacity = self.capacity_bytes();
        let mut at = from;
        while at < self.end() {
            let Some(view) = self.view(at) else { break };
            match (view.word.kind(), view.word.state()) {
                (Some(Kind::Pad), _) => return capacity,
                (Some(_), Some(State::Committed | State::Aborted)) => {}
                _ => break,
            }
            visit(at, &view);
            at += view.bytes();
        }
        // A gap too short for a pad ends the chain.
        if capacity.saturating_sub(at) < HEADER_BYTES as u64 {
            capacity
        } else {
            at
        }
    }

    /// Calls `visit` with each member of the frame at `offset`, which is committed.
    pub(crate) fn members<'m>(
        &'m self,
        offset: u64,
        frame: &View<'_>,
        mut visit: impl FnMut(u64, &View<'m>),
    ) {
        let end = offset + frame.bytes();
        let mut at = offset + HEADER_BYTES as u64;
        while at < end {
            let Some(view) = self.view(at) else { break };
            visit(at, &view);
            at += view.bytes();
        }
    }
}

impl Link for Segment {
    fn next(&self) -> &Next<Segment> {
        &self.next
    }

    fn close(&self) {
        self.tail.close(self.capacity_bytes()).into_iter().for_each(|offset| self.pad(offset));
    }
}

impl View<'_> {
    /// Bytes from this record to the next.
    pub(crate) fn bytes(&self) -> u64 {
        record_bytes(self.key.len(), self.value.len())
    }

    /// Whether it hides older records of its key (or of all, a clear) once it is the newest: what compaction
    /// may not simply drop (I6). A put becomes a mask when it expires.
    pub(crate) fn may_mask(&self) -> bool {
        match self.word.kind() {
            Some(Kind::Tombstone | Kind::Clear) => true,
            Some(Kind::Put) => self.expire_at_ms != 0,
            _ => false,
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
        Segment::new(header, Map::anonymous(bytes).unwrap(), 0)
    }

    fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Draft<'a> {
        Draft { kind: Kind::Put, flags: 0, codec: 0, dictionary: 0, lsn: 0, expire_at_ms: 5, key, value }
    }

    #[test]
    fn an_appended_record_reads_back_with_its_position_as_lsn() {
        let segment = segment(8192);
        let done = segment.append(&put(b"key", b"value"), State::Pending, || {}).unwrap();
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
        let at = segment.append(&put(b"k", b"v"), State::Pending, || {}).unwrap().offset;
        assert_eq!(segment.walk(FIRST_RECORD_AT, |_, _| ()), FIRST_RECORD_AT);
        assert_eq!(segment.resolve(at, State::Committed), Some(State::Committed));
        assert_eq!(segment.resolve(at, State::Aborted), Some(State::Committed));
        assert_eq!(segment.walk(FIRST_RECORD_AT, |_, _| ()), segment.end());
    }

    #[test]
    fn a_batch_is_pending_as_a_whole_and_its_members_read_back_at_their_own_lsn() {
        let segment = segment(8192);
        let mut places = Vec::new();
        let members = [put(b"a", b"1"), put(b"bb", b"")];
        let frame = segment.append_batch(&members, |place| places.push(place)).unwrap();
        assert_eq!(segment.walk(FIRST_RECORD_AT, |_, _| ()), FIRST_RECORD_AT, "pending");
        segment.resolve(frame.offset, State::Committed);
        let mut seen = Vec::new();
        let view = segment.view(frame.offset).unwrap();
        segment.members(frame.offset, &view, |at, member| seen.push((at, member.lsn, member.key.to_vec())));
        let expected: Vec<_> =
            places.iter().zip([b"a".to_vec(), b"bb".to_vec()]).map(|(p, k)| (p.offset, p.lsn, k)).collect();
        assert_eq!(seen, expected);
        assert_eq!(segment.walk(FIRST_RECORD_AT, |_, _| ()), segment.end());
    }

    #[test]
    fn a_full_segment_stays_full_and_its_end_is_padded() {
        let segment = segment(4096 + 128);
        assert!(segment.append(&put(b"a", &[1; 31]), State::Committed, || {}).is_some());
        assert!(segment.append(&put(b"b", &[1; 99]), State::Committed, || {}).is_none());
        assert!(
            segment.append(&put(b"c", b""), State::Committed, || {}).is_none(),
            "it would have fitted before"
        );
        assert_eq!(segment.view(4096 + 64).unwrap().word.kind(), Some(Kind::Pad));
        assert_eq!(segment.walk(FIRST_RECORD_AT, |_, _| ()), 4096 + 128);
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
                        let Some(done) =
                            segment.append(&put(&n.to_le_bytes(), &value), State::Pending, || {})
                        else {
                            break;
                        };
                        segment.resolve(done.offset, State::Committed);
                    }
                });
            }
        });
        assert_eq!(
            segment.walk(FIRST_RECORD_AT, |_, _| ()),
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
