//! How far the tier has the log: a file of its own beside the segments.
//!
//! Two slots are written in turn, each in a disk sector of its own, so that a write that is cut leaves the other. It is written
//! after each batch that Redis has acknowledged and not synced: what is lost of it is only sent once more. The manifest, which
//! is synced with each write, would be too slow for that, and a segment's cell goes with its segment.
//!
//! ```text
//! slot 0 at 0, slot 1 at 512:
//!  0 u8[8] magic   8 u64 turn   16 u64 lsn   24 u64 marked lsn   32 u64 session   40 u32 crc
//! 44 {u64 session, u64 lsn}[24] opens before, newest first; session 0: none   428 u32 crc of all before
//! ```
//!
//! What stands from 44 on came later: a slot without it, or in which it is torn, is whole, and knows no earlier opens.

use super::bytes::{Reader, Writer};
use super::manifest::COUNT_MAX;
use crate::error::{Error, Result};
use crate::io::{Access, Disk, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub(crate) const SENT: &str = "SENT";
const MAGIC: [u8; 8] = *b"libkvsnt";
const SLOT_BYTES: u64 = 512;
const FILE_BYTES: u64 = 2 * SLOT_BYTES;
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

/// The file; nothing in memory.
pub(crate) struct SentFile {
    file: Option<Box<dyn File>>,
    path: PathBuf,
    turn: u64,
}

impl SentFile {
    /// Opens the file in a store's directory, or makes it, and says what it holds.
    pub(crate) fn open(disk: &dyn Disk, dir: &Path) -> Result<(SentFile, Sent)> {
        let path = dir.join(SENT);
        let file = match disk.open(&path, Access::ReadWrite) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let file = disk.create(&path, FILE_BYTES).map_err(|e| Error::io("create", &path, e))?;
                disk.sync_dir(dir).map_err(|e| Error::io("sync directory", dir, e))?;
                file
            }
            opened => opened.map_err(|e| Error::io("open", &path, e))?,
        };
        let (turn, sent) = newest(file.as_ref(), &path)?;
        Ok((SentFile { file: Some(file), path, turn }, sent))
    }

    /// What the file in a directory holds; the default without one.
    pub(crate) fn peek(disk: &dyn Disk, dir: &Path) -> Result<Sent> {
        let path = dir.join(SENT);
        match disk.open(&path, Access::Read) {
            Ok(file) => Ok(newest(file.as_ref(), &path)?.1),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Sent::default()),
            Err(error) => Err(Error::io("open", &path, error)),
        }
    }

    pub(crate) fn in_memory() -> SentFile {
        SentFile { file: None, path: PathBuf::new(), turn: 0 }
    }

    pub(crate) fn store(&mut self, sent: &Sent) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let turn = self.turn + 1;
        let mut slot = Writer(Vec::new());
        slot.bytes(&MAGIC);
        for field in [turn, sent.lsn, sent.marked_lsn, sent.session] {
            slot.u64(field);
        }
        let mut slot = Writer(slot.finish());
        for open in &sent.before {
            slot.u64(open.session);
            slot.u64(open.end_lsn);
        }
        file.write_at(turn % 2 * SLOT_BYTES, &slot.finish())
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

/// The newer of the slots that are whole.
fn newest(file: &dyn File, path: &Path) -> Result<(u64, Sent)> {
    let mut found = None;
    let mut is_blank = true;
    for at in [0, SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES as usize];
        match file.read_at(at, &mut slot) {
            // Made by an open that died before it had its length.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
            read => read.map_err(|e| Error::io("read", path, e))?,
        }
        is_blank &= slot.iter().all(|byte| *byte == 0);
        let slot = decode(&slot).filter(|(turn, sent)| *turn < COUNT_MAX && sent.lsn < COUNT_MAX);
        if slot.is_some_and(|slot| found.is_none_or(|found: (u64, Sent)| found.0 < slot.0)) {
            found = slot;
        }
    }
    match found {
        Some(found) => Ok(found),
        None if is_blank => Ok((0, Sent::default())),
        None => Err(Error::corrupt(path, 0, "checksum mismatch: how far the tier has the log is unknown")),
    }
}

fn decode(slot: &[u8]) -> Option<(u64, Sent)> {
    let mut slot = Reader::new(slot);
    let magic: [u8; 8] = slot.array()?;
    let mut next = || slot.array().map(u64::from_le_bytes);
    let (turn, lsn, marked_lsn, session) = (next()?, next()?, next()?, next()?);
    if magic != MAGIC || !slot.checksum_is_good()? {
        return None;
    }
    let before = decode_before(&mut slot).unwrap_or_default();
    Some((turn, Sent { lsn, marked_lsn, session, before }))
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
        assert_eq!(SentFile::peek(&OsDisk, dir.path()).unwrap(), Sent::default());
        let (mut file, found) = SentFile::open(&OsDisk, dir.path()).unwrap();
        assert_eq!(found, Sent::default());
        for lsn in [10, 20, 30] {
            file.store(&sent(lsn)).unwrap();
            assert_eq!(SentFile::peek(&OsDisk, dir.path()).unwrap(), sent(lsn));
        }
        let path = dir.path().join(SENT);
        let whole = std::fs::read(&path).unwrap();
        // The third write went to the second slot.
        for at in 512..512 + 44 {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(SentFile::peek(&OsDisk, dir.path()).unwrap(), sent(20), "byte {at}");
        }
        // Nor does what stands behind it, which older versions have not written.
        for at in 512 + 44..512 + 432 {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            std::fs::write(&path, &torn).unwrap();
            let found = SentFile::peek(&OsDisk, dir.path()).unwrap();
            assert_eq!(found, Sent { before: Default::default(), ..sent(30) }, "byte {at}");
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
            assert_eq!(SentFile::peek(&OsDisk, dir.path()).unwrap(), Sent::default());
        }
        std::fs::write(&path, [9; 1024]).unwrap();
        assert!(matches!(SentFile::peek(&OsDisk, dir.path()), Err(Error::Corrupt { .. })));
    }
}
