//! A dictionary's file: written once, under another name, and renamed when it is whole on disk. A segment names dictionaries by
//! number, so a file stands beside the segments and goes only when no record names it (I18).
//!
//! ```text
//!  0 u8[8] magic   8 u32 version   12 u32 number   16 u8[16] store uuid   32 u32 length
//! 36 the dictionary, then u32 CRC-32 of all before
//! ```

use super::bytes::{Reader, Writer};
use super::files::Directory;
use crate::error::{Error, Result};
use crate::io::{Access, Disk};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"libkvdic";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 8 + 4 + 4 + 16 + 4;
const CRC_BYTES: usize = 4;
const PREFIX: &str = "DICT-";
/// What is added to a name while the file is not whole.
const DRAFT: &str = "new";
/// Longer ones are not this library's.
const DICTIONARY_BYTES_MAX: usize = 1 << 20;

/// The file of dictionary `number`.
pub(crate) fn dictionary_path(dir: &Path, number: u16) -> PathBuf {
    dir.join(format!("{PREFIX}{number}"))
}

/// The number in a dictionary file's name.
pub(crate) fn dictionary_in_name(name: &Path) -> Option<u16> {
    let digits = name.to_str()?.strip_prefix(PREFIX)?;
    let number = digits.parse().ok().filter(|number| *number > 0)?;
    // Not `+7` or `007`.
    (digits == u16::to_string(&number)).then_some(number)
}

/// Whether a file of this name is a dictionary that was never finished.
pub(crate) fn is_dictionary_draft(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == DRAFT)
        && dictionary_in_name(&name.with_extension("")).is_some()
}

/// Writes a dictionary, which is durable when this returns.
pub(crate) fn store_dictionary(
    directory: &Directory,
    store_uuid: [u8; 16],
    number: u16,
    dictionary: &[u8],
) -> Result<()> {
    let path = dictionary_path(&directory.path, number);
    let draft = path.with_extension(DRAFT);
    let mut page = Writer(Vec::with_capacity(HEAD_BYTES + dictionary.len() + CRC_BYTES));
    page.bytes(&MAGIC);
    page.u32(VERSION);
    page.u32(u32::from(number));
    page.bytes(&store_uuid);
    page.u32(u32::try_from(dictionary.len()).unwrap_or(u32::MAX));
    page.bytes(dictionary);
    let bytes = page.finish();
    let disk = &directory.disk;
    // An attempt before this one may have left it.
    let _ = disk.remove(&draft);
    let file = disk.create(&draft, bytes.len() as u64).map_err(|e| Error::io("create", &draft, e))?;
    let written = (|| {
        file.write_at(0, &bytes).map_err(|e| Error::io("write", &draft, e))?;
        file.sync().map_err(|e| Error::io("sync", &draft, e))?;
        disk.rename(&draft, &path).map_err(|e| Error::io("rename", &draft, e))
    })();
    if written.is_err() {
        let _ = disk.remove(&draft);
    }
    written?;
    directory.sync()
}

/// Reads the dictionary of this store and number.
///
/// # Errors
/// [`Error::Corrupt`] for a file that is not what was written there; [`Error::Io`].
pub(crate) fn load_dictionary(
    disk: &dyn Disk,
    path: &Path,
    store_uuid: [u8; 16],
    number: u16,
) -> Result<Vec<u8>> {
    let file = disk.open(path, Access::Read).map_err(|e| Error::io("open", path, e))?;
    let held = file.bytes().map_err(|e| Error::io("stat", path, e))?;
    let max = (HEAD_BYTES + DICTIONARY_BYTES_MAX + CRC_BYTES) as u64;
    if held > max {
        return Err(Error::corrupt(path, max, format!("{held} bytes are too many for a dictionary")));
    }
    let mut bytes = vec![0; held as usize];
    file.read_at(0, &mut bytes).map_err(|e| Error::io("read", path, e))?;
    decode(&bytes, path, store_uuid, number)
}

fn decode(bytes: &[u8], path: &Path, store_uuid: [u8; 16], number: u16) -> Result<Vec<u8>> {
    let corrupt = |offset: usize, reason: &str| Error::corrupt(path, offset as u64, reason);
    let short = || corrupt(bytes.len(), "the dictionary ends too early");
    let mut page = Reader::new(bytes);
    if page.array().ok_or_else(short)? != MAGIC {
        return Err(corrupt(0, "not a dictionary of libkv"));
    }
    let version = page.u32().ok_or_else(short)?;
    if version != VERSION {
        return Err(corrupt(8, &format!("a dictionary of version {version}")));
    }
    let (found, uuid) = (page.u32().ok_or_else(short)?, page.array().ok_or_else(short)?);
    let len = page.u32().ok_or_else(short)? as usize;
    let dictionary = bytes.get(HEAD_BYTES..).and_then(|rest| rest.get(..len)).ok_or_else(short)?;
    page.skip(len);
    if !page.checksum_is_good().ok_or_else(short)? {
        return Err(corrupt(0, "checksum mismatch in the dictionary"));
    }
    if (found, uuid) != (u32::from(number), store_uuid) {
        return Err(corrupt(12, "the dictionary is another one, or of another store"));
    }
    Ok(dictionary.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::OsDisk;
    use std::sync::Arc;

    const UUID: [u8; 16] = [9; 16];

    fn stored(dir: &Path) -> Vec<u8> {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        store_dictionary(&Directory::open(&disk, dir).unwrap(), UUID, 3, b"some text").unwrap();
        std::fs::read(dictionary_path(dir, 3)).unwrap()
    }

    #[test]
    fn a_dictionary_comes_back_and_only_under_its_number_and_store() {
        let dir = tempfile::tempdir().unwrap();
        stored(dir.path());
        let path = dictionary_path(dir.path(), 3);
        assert_eq!(load_dictionary(&OsDisk, &path, UUID, 3).unwrap(), b"some text");
        assert!(load_dictionary(&OsDisk, &path, UUID, 4).is_err());
        assert!(load_dictionary(&OsDisk, &path, [8; 16], 3).is_err());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let good = stored(dir.path());
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes, Path::new("d"), UUID, 3).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(decode(&good[..len], Path::new("d"), UUID, 3).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn names_are_told_apart() {
        for (name, number) in [("DICT-1", Some(1)), ("DICT-65535", Some(65_535)), ("DICT-0", None)] {
            assert_eq!(dictionary_in_name(Path::new(name)), number, "{name}");
        }
        for name in ["DICT-", "DICT-01", "DICT-+1", "DICT-65536", "dict-1", "DICT-1.new"] {
            assert_eq!(dictionary_in_name(Path::new(name)), None, "{name}");
        }
        assert!(is_dictionary_draft(Path::new("DICT-12.new")));
        assert!(!is_dictionary_draft(Path::new("DICT-12")) && !is_dictionary_draft(Path::new("DICT-x.new")));
    }
}
