//! The first page of a segment file: written once, with its own checksum.

use super::bytes::{Reader, Writer};
use crate::error::{Error, Result};
use crate::io::Identity;
use std::path::Path;

/// Where the first record stands; the header page lies before it.
pub(crate) const FIRST_RECORD_AT: u64 = 4096;
/// Version of everything that this library writes to disk.
pub(super) const FORMAT_VERSION: u32 = 1;
pub(super) const SEGMENT_MAGIC: [u8; 8] = *b"libkvseg";
const HEADER_BYTES: usize = 8 + 4 + 4 + 16 + 8 * 5 + 16 + 8 * 2 + 4;
const _: () = assert!(HEADER_BYTES <= 128);

/// Who wrote a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum SegmentKind {
    /// Writers, in LSN order: a record's LSN is base + offset.
    Tail = 1,
    /// The compactor or recovery: copies that keep their LSN.
    Output = 2,
}

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) kind: SegmentKind,
    pub(crate) store_uuid: [u8; 16],
    pub(crate) id: u64,
    pub(crate) base_lsn: u64,
    /// I6: everything in the segment that is older than this was the index's newest at that point.
    pub(crate) born: u64,
    /// Length of the file when it was created, this page included.
    pub(crate) capacity_bytes: u64,
    pub(crate) salt: u64,
    pub(crate) boot_id: [u8; 16],
    pub(crate) file: Identity,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut page = Writer(Vec::with_capacity(HEADER_BYTES));
        page.bytes(&SEGMENT_MAGIC);
        page.u32(FORMAT_VERSION);
        page.u32(self.kind as u32);
        page.bytes(&self.store_uuid);
        for field in [self.id, self.base_lsn, self.born, self.capacity_bytes, self.salt] {
            page.u64(field);
        }
        page.bytes(&self.boot_id);
        page.u64(self.file.device);
        page.u64(self.file.inode);
        page.finish()
    }

    /// Reads the header of the file at `path` from its first bytes.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<SegmentHeader> {
        let mut page = Reader::new(bytes);
        let short = || Error::corrupt(path, bytes.len() as u64, "the file ends inside its header");
        let magic: [u8; 8] = page.array().ok_or_else(short)?;
        if magic != SEGMENT_MAGIC {
            return Err(Error::corrupt(path, 0, "not a libkv segment"));
        }
        let version = page.u32().ok_or_else(short)?;
        let kind = page.u32().ok_or_else(short)?;
        let store_uuid = page.array().ok_or_else(short)?;
        let mut next = || page.u64().ok_or_else(short);
        let (id, base_lsn, born, capacity_bytes, salt) = (next()?, next()?, next()?, next()?, next()?);
        let boot_id = page.array().ok_or_else(short)?;
        let mut next = || page.u64().ok_or_else(short);
        let file = Identity { device: next()?, inode: next()? };
        // The version goes first: another version may keep its checksum elsewhere.
        if version != FORMAT_VERSION {
            let path = path.to_path_buf();
            return Err(Error::UnsupportedVersion { path, found: version, supported: FORMAT_VERSION });
        }
        if !page.checksum_is_good().ok_or_else(short)? {
            return Err(Error::corrupt(path, 0, "checksum mismatch in the segment header"));
        }
        let kind = match kind {
            1 => SegmentKind::Tail,
            2 => SegmentKind::Output,
            other => return Err(Error::corrupt(path, 12, format!("unknown segment kind {other}"))),
        };
        if capacity_bytes <= FIRST_RECORD_AT || base_lsn.checked_add(capacity_bytes).is_none() {
            return Err(Error::corrupt(path, 56, format!("impossible capacity {capacity_bytes}")));
        }
        Ok(SegmentHeader { kind, store_uuid, id, base_lsn, born, capacity_bytes, salt, boot_id, file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            kind: SegmentKind::Output,
            store_uuid: [9; 16],
            id: 5,
            base_lsn: 1 << 20,
            born: 77,
            capacity_bytes: 1 << 20,
            salt: 0x1234_5678_9abc_def0,
            boot_id: [3; 16],
            file: Identity { device: 1, inode: 2 },
        }
    }

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(SegmentHeader::decode(&bytes, Path::new("s")).unwrap(), header());
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_of_a_header_is_an_error() {
        let good = header().encode();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bytes, Path::new("s")).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(SegmentHeader::decode(&good[..len], Path::new("s")).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn a_later_version_is_named_not_called_damaged() {
        let mut bytes = header().encode();
        bytes[8] = 2;
        let error = SegmentHeader::decode(&bytes, Path::new("s")).unwrap_err();
        assert!(matches!(error, Error::UnsupportedVersion { found: 2, supported: 1, .. }), "{error}");
    }
}
