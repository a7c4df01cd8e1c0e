//! How far the tier has the log: a file of its own beside the segments.
//!
//! Two slots are written in turn, each in a disk sector of its own, so that a write that is cut leaves the other. It is written
//! after each batch that Redis has acknowledged and not synced: what is lost of it is only sent once more. The manifest, which
//! is synced with each write, would be too slow for that, and a segment's cell goes with its segment.
//!
//! ```text
//! of shard N: slot 0 at N * 1024, slot 1 at N * 1024 + 512:
//!  0 u8[7] "libkvsn", u8 't' for a tier of one shard, else how many there are   8 u64 turn   16 u64 lsn   24 u64 marked lsn   32 u64 session   40 u32 crc
//! 44 {u64 session, u64 lsn}[24] opens before, newest first; session 0: none   428 u32 crc of all before
//! ```
//!
//! What stands from 44 on came later: a slot without it, or in which it is torn, is whole, and knows no earlier opens. Another number of
//! shards is another tier, which has nothing yet: before it is used the file is emptied, and that is synced, so that a later open
//! with the first number does not believe what was true before.

use super::bytes::{Reader, Writer};
use super::manifest::COUNT_MAX;
use crate::error::{Error, Result};
use crate::io::{Access, Disk, File};
use crate::limits::TIER_SHARDS_MAX;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) const SENT: &str = "SENT";
const MAGIC: [u8; 7] = *b"libkvsn";
/// Stands for a tier of one shard: more than there can be.
const ONE_SHARD: u8 = b't';
const SLOT_BYTES: u64 = 512;
const SHARD_BYTES: u64 = 2 * SLOT_BYTES;
/// Opens that are known again by what they said in Redis.
const OPENS_MAX: usize = 24;

/// What the tier has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sent {
    /// Everything below this stands in Redis, or never has to.
    pub(crate) lsn: u64,
    /// The same, as this store last said it in Redis itself; 0: never.
    pub(crate) marked_lsn: u64,
    /// Who said it: drawn anew by each open of the store.
    pub(crate) session: u64,
    /// Earlier ones, newest first.
    before: [Earlier; OPENS_MAX],
}

/// An earlier open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Earlier {
    /// 0: none.
    session: u64,
    /// Where the log that it left ended.
    end_lsn: u64,
}

impl Sent {
    /// The same, said from here on by an open with this session, which found the log up to `opened_lsn`.
    pub(crate) fn said_by(self, session: u64, opened_lsn: u64) -> Sent {
        let mut before = self.before;
        if let (true, [.., last]) = (self.session != 0, &mut before) {
            *last = Earlier { session: self.session, end_lsn: opened_lsn };
            before.rotate_right(1);
        }
        Sent { session, before, ..self }
    }

    /// Whether an earlier open of this log can have said that Redis has it up to `lsn`. A copy of a store knows the opens before it
    /// was made, and what the original does later lies beyond.
    pub(crate) fn was_said_before(&self, session: u64, lsn: u64) -> bool {
        self.before.iter().any(|open| session != 0 && open.session == session && lsn <= open.end_lsn)
    }
}

/// The part of the file that one shard has; nothing in memory.
pub(crate) struct SentFile {
    file: Option<Arc<dyn File>>,
    path: PathBuf,
    shard: usize,
    shards: u8,
    turn: u64,
}

impl SentFile {
    /// Opens the file in a store's directory, or makes it, for a tier of so many shards, and says what it holds of each.
    pub(crate) fn open(disk: &dyn Disk, dir: &Path, shards: usize) -> Result<Vec<(SentFile, Sent)>> {
        let path = dir.join(SENT);
        let bytes = shards as u64 * SHARD_BYTES;
        let mut found = vec![(0, Sent::default()); shards];
        let file: Arc<dyn File> = match disk.open(&path, Access::ReadWrite) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let file = disk.create(&path, bytes).map_err(|e| Error::io("create", &path, e))?;
                disk.sync_dir(dir).map_err(|e| Error::io("sync directory", dir, e))?;
                file.into()
            }
            opened => {
                let file = opened.map_err(|e| Error::io("open", &path, e))?;
                let written = read(file.as_ref(), &path)?;
                if written.len() == shards {
                    found = written;
                } else {
                    let emptied =
                        file.truncate(0).and_then(|()| file.sync()).and_then(|()| file.truncate(bytes));
                    emptied.map_err(|e| Error::io("empty", &path, e))?;
                }
                file.into()
            }
        };
        let of_shard = |(shard, (turn, sent))| {
            let (file, path) = (Some(Arc::clone(&file)), path.clone());
            (SentFile { file, path, shard, shards: shards as u8, turn }, sent)
        };
        Ok(found.into_iter().enumerate().map(of_shard).collect())
    }

    /// What the file in a directory holds, of as many shards as the tier had that it was written for; of none without one.
    pub(crate) fn peek(disk: &dyn Disk, dir: &Path) -> Result<Vec<Sent>> {
        let path = dir.join(SENT);
        match disk.open(&path, Access::Read) {
            Ok(file) => Ok(read(file.as_ref(), &path)?.into_iter().map(|(_, sent)| sent).collect()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::io("open", &path, error)),
        }
    }

    pub(crate) fn in_memory() -> SentFile {
        SentFile { file: None, path: PathBuf::new(), shard: 0, shards: 1, turn: 0 }
    }

    pub(crate) fn store(&mut self, sent: &Sent) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let turn = self.turn + 1;
        let mut slot = Writer(Vec::new());
        slot.bytes(&MAGIC);
        slot.bytes(&[if self.shards == 1 { ONE_SHARD } else { self.shards }]);
        for field in [turn, sent.lsn, sent.marked_lsn, sent.session] {
            slot.u64(field);
        }
        let mut slot = Writer(slot.finish());
        for open in &sent.before {
            slot.u64(open.session);
            slot.u64(open.end_lsn);
        }
        file.write_at(self.shard as u64 * SHARD_BYTES + turn % 2 * SLOT_BYTES, &slot.finish())
            .map_err(|e| Error::io("write", &self.path, e))?;
        self.turn = turn;
        Ok(())
    }

    /// Makes what was stored durable.
    pub(crate) fn sync(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.sync().map_err(|e| Error::io("sync", &self.path, e))
    }
}

/// What a slot that is whole holds.
struct Written {
    shards: u8,
    turn: u64,
    sent: Sent,
}

/// What a slot holds.
enum Slot {
    Blank,
    Damaged,
    Whole(Box<Written>),
}

/// Of each shard the newer of its slots that are whole, and its turn; of none if nothing was written. What no single number of shards
/// was written for tells nothing.
fn read(file: &dyn File, path: &Path) -> Result<Vec<(u64, Sent)>> {
    let mut slots = Vec::new();
    for at in (0..TIER_SHARDS_MAX as u64 * SHARD_BYTES).step_by(SLOT_BYTES as usize) {
        let mut slot = [0; SLOT_BYTES as usize];
        match file.read_at(at, &mut slot) {
            // Made by an open that died before it had its length.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            read => read.map_err(|e| Error::io("read", path, e))?,
        }
        slots.push(decode(&slot));
    }
    let mut counts = slots.iter().filter_map(|slot| match slot {
        Slot::Whole(written) => Some(written.shards),
        _ => None,
    });
    let damaged = |at| Error::corrupt(path, at, "checksum mismatch: how far the tier has the log is unknown");
    let Some(shards) = counts.next() else {
        let first = slots.iter().position(|slot| matches!(slot, Slot::Damaged));
        return first.map_or(Ok(Vec::new()), |slot| Err(damaged(slot as u64 * SLOT_BYTES)));
    };
    if counts.any(|count| count != shards) {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for shard in 0..usize::from(shards) {
        let (mut found, mut is_blank) = (None, true);
        for slot in slots.iter().skip(2 * shard).take(2) {
            is_blank &= matches!(slot, Slot::Blank);
            if let Slot::Whole(written) = slot {
                let Written { turn, sent, .. } = written.as_ref();
                let is_newer = found.is_none_or(|found: (u64, Sent)| found.0 < *turn);
                found = if is_newer { Some((*turn, *sent)) } else { found };
            }
        }
        match found {
            Some(found) => all.push(found),
            None if is_blank => all.push((0, Sent::default())),
            None => return Err(damaged(shard as u64 * SHARD_BYTES)),
        }
    }
    Ok(all)
}

fn decode(slot: &[u8]) -> Slot {
    if slot.iter().all(|byte| *byte == 0) {
        return Slot::Blank;
    }
    match decode_written(slot) {
        Some(written) if written.turn < COUNT_MAX && written.sent.lsn < COUNT_MAX => {
            Slot::Whole(Box::new(written))
        }
        _ => Slot::Damaged,
    }
}

fn decode_written(slot: &[u8]) -> Option<Written> {
    let mut slot = Reader::new(slot);
    let magic: [u8; 7] = slot.array()?;
    let [shards] = slot.array()?;
    let shards = match shards {
        ONE_SHARD => 1,
        2.. if usize::from(shards) <= TIER_SHARDS_MAX => shards,
        _ => return None,
    };
    let mut next = || slot.array().map(u64::from_le_bytes);
    let (turn, lsn, marked_lsn, session) = (next()?, next()?, next()?, next()?);
    if magic != MAGIC || !slot.checksum_is_good()? {
        return None;
    }
    let before = decode_before(&mut slot).unwrap_or_default();
    Some(Written { shards, turn, sent: Sent { lsn, marked_lsn, session, before } })
}

fn decode_before(slot: &mut Reader<'_>) -> Option<[Earlier; OPENS_MAX]> {
    let mut before = [Earlier::default(); OPENS_MAX];
    for open in &mut before {
        let mut next = || slot.array().map(u64::from_le_bytes);
        *open = Earlier { session: next()?, end_lsn: next()? };
    }
    slot.checksum_is_good()?.then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::OsDisk;

    fn sent(lsn: u64) -> Sent {
        Sent { lsn, marked_lsn: lsn / 2, session: 7, ..Sent::default() }.said_by(8, 1).said_by(9, 2)
    }

    #[test]
    fn what_was_stored_last_is_found_and_a_torn_write_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(SentFile::peek(&OsDisk, dir.path()).unwrap(), []);
        let (mut file, found) = SentFile::open(&OsDisk, dir.path(), 1).unwrap().remove(0);
        assert_eq!(found, Sent::default());
        for lsn in [10, 20, 30] {
            file.store(&sent(lsn)).unwrap();
            assert_eq!(SentFile::peek(&OsDisk, dir.path()).unwrap(), [sent(lsn)]);
        }
        let path = dir.path().join(SENT);
        let whole = std::fs::read(&path).unwrap();
        // The third write went to the second slot.
        for at in 512..512 + 44 {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(SentFile::peek(&OsDisk, dir.path()).unwrap(), [sent(20)], "byte {at}");
        }
        // Nor does what stands behind it, which older versions have not written.
        for at in 512 + 44..512 + 432 {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            std::fs::write(&path, &torn).unwrap();
            let found = SentFile::peek(&OsDisk, dir.path()).unwrap();
            assert_eq!(found, [Sent { before: Default::default(), ..sent(30) }], "byte {at}");
        }
    }

    #[test]
    fn what_many_opens_said_is_known_as_theirs_up_to_where_their_log_ended() {
        let mut sent = Sent::default();
        for session in 1..=100 {
            sent = sent.said_by(session, 10 * session);
        }
        let known: Vec<u64> = (0..200).filter(|session| sent.was_said_before(*session, 0)).collect();
        assert_eq!(known, (100 - OPENS_MAX as u64..100).collect::<Vec<_>>());
        // The next one found the log up to there.
        assert!(sent.was_said_before(99, 1000) && !sent.was_said_before(99, 1001));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_one_that_was_never_written_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SENT);
        for blank in [0, 100, 1024] {
            std::fs::write(&path, vec![0; blank]).unwrap();
            assert_eq!(SentFile::peek(&OsDisk, dir.path()).unwrap(), []);
        }
        std::fs::write(&path, [9; 1024]).unwrap();
        assert!(matches!(SentFile::peek(&OsDisk, dir.path()), Err(Error::Corrupt { .. })));
    }
    #[test]
    fn each_shard_has_its_own_and_another_number_of_them_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let open = |shards| SentFile::open(&OsDisk, dir.path(), shards).unwrap();
        let peek = || SentFile::peek(&OsDisk, dir.path()).unwrap();
        let mut four = open(4);
        four[1].0.store(&sent(10)).unwrap();
        four[3].0.store(&sent(30)).unwrap();
        four[3].0.store(&sent(31)).unwrap();
        let found = [Sent::default(), sent(10), Sent::default(), sent(31)];
        assert_eq!(peek(), found);
        assert!(open(4).into_iter().map(|(_, sent)| sent).eq(found));
        // A damaged shard is not taken for one that has nothing.
        let path = dir.path().join(SENT);
        let whole = std::fs::read(&path).unwrap();
        let mut torn = whole.clone();
        torn[1024 + 512 + 20] ^= 1;
        std::fs::write(&path, &torn).unwrap();
        assert!(matches!(SentFile::peek(&OsDisk, dir.path()), Err(Error::Corrupt { offset: 1024, .. })));
        std::fs::write(&path, &whole).unwrap();
        for (before, after) in [(4, 1), (1, 64), (64, 2), (2, 4)] {
            let mut files = open(before);
            files.iter_mut().for_each(|(file, _)| file.store(&sent(50)).unwrap());
            let files = open(after);
            assert!(files.len() == after && files.iter().all(|(_, found)| *found == Sent::default()));
            assert_eq!(peek(), [], "{before} -> {after}");
            assert!(open(before).iter().all(|(_, found)| *found == Sent::default()));
        }
    }
}
