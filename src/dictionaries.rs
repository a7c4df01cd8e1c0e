//! The dictionaries of a store: which are there, and which one new values are compressed with.
//!
//! - **I18** A record that names dictionary *n* is written only after the file of *n* is durable, and that file goes only at an open
//!   whose replay has met no record that names *n*. A number is given once: the file with the highest one never goes.

use crate::error::{Error, Result};
use crate::log::{
    dictionary_in_name, dictionary_path, is_dictionary_draft, load_dictionary, store_dictionary, Directory,
};
use crate::record::Dictionary;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::OnceLock;

/// Dictionaries that a store keeps. Once there are so many no other is trained until an open has removed some.
const DICTIONARIES_MAX: usize = 64;

/// None goes while the store is open, so who reads one holds no share of it.
pub(crate) struct Dictionaries {
    slots: Box<[OnceLock<Dictionary>]>,
    /// Slots that are filled, the newest dictionary in the last.
    used: AtomicUsize,
    /// Files that are there and cannot be used, and why.
    unusable: Vec<(u16, Error)>,
    /// The highest number that was ever met.
    last_number: AtomicU16,
    /// Level that new values are compressed at; `None`: with no dictionary.
    level: Option<i32>,
}

impl Dictionaries {
    pub(crate) fn new(level: Option<i32>) -> Dictionaries {
        Dictionaries {
            slots: std::iter::repeat_with(OnceLock::new).take(DICTIONARIES_MAX).collect(),
            used: AtomicUsize::new(0),
            unusable: Vec::new(),
            last_number: AtomicU16::new(0),
            level,
        }
    }

    /// Takes up those that lie in a directory with these names. One that cannot be used stands in nobody's way but of the records
    /// that name it.
    pub(crate) fn load(&mut self, directory: &Directory, store_uuid: [u8; 16], names: &[PathBuf]) {
        let mut numbers: Vec<u16> = names.iter().filter_map(|name| dictionary_in_name(name)).collect();
        numbers.sort_unstable();
        self.meet(numbers.last().copied());
        let path = |number| dictionary_path(&directory.path, number);
        let load = |number| {
            let bytes = load_dictionary(directory.disk.as_ref(), &path(number), store_uuid, number);
            (number, bytes)
        };
        let loaded: Vec<_> = numbers.into_iter().map(load).collect();
        let newest = loaded.iter().rev().find(|(_, bytes)| bytes.is_ok()).map(|(number, _)| *number);
        for (number, bytes) in loaded {
            // Values are compressed with the newest only.
            let level = self.level.filter(|_| Some(number) == newest);
            let corrupt = |offset, reason: &str| Error::corrupt(&path(number), offset, reason);
            let placed = bytes
                .and_then(|bytes| {
                    let dictionary = Dictionary::new(number, bytes, level);
                    dictionary.ok_or_else(|| corrupt(36, "zstd cannot read the dictionary"))
                })
                .and_then(|dictionary| {
                    self.put(dictionary)
                        .map_err(|_| corrupt(0, "a store keeps fewer dictionaries than there are"))
                });
            if let Err(error) = placed {
                self.unusable.push((number, error));
            }
        }
    }

    /// Fails where there is no room.
    fn put(&self, dictionary: Dictionary) -> std::result::Result<(), ()> {
        // Relaxed: only the one thread that opens the store, and then the one that trains, gets here.
        let at = self.used.load(Ordering::Relaxed);
        self.slots.get(at).ok_or(())?.set(dictionary).map_err(drop)?;
        // Release: who finds the slot counted finds it filled; pairs with the Acquire in `all`.
        self.used.store(at + 1, Ordering::Release);
        Ok(())
    }

    /// All of them, the newest last.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &Dictionary> {
        let used = self.used.load(Ordering::Acquire);
        self.slots.iter().take(used).filter_map(OnceLock::get)
    }

    /// Whether records may name dictionaries.
    pub(crate) fn is_used(&self) -> bool {
        self.level.is_some() || self.last_number.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn len(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// The dictionary of a record.
    pub(crate) fn get(&self, number: u16) -> Option<&Dictionary> {
        self.all().rev().find(|dictionary| dictionary.number() == number)
    }

    /// The one that new values are compressed with.
    pub(crate) fn newest(&self) -> Option<&Dictionary> {
        self.all().next_back().filter(|dictionary| dictionary.can_compress())
    }

    pub(crate) fn level(&self) -> Option<i32> {
        self.level
    }

    /// Whether one more could be kept.
    pub(crate) fn has_room(&self) -> bool {
        self.len() < DICTIONARIES_MAX && self.last_number.load(Ordering::Relaxed) < u16::MAX
    }

    /// Why there is no dictionary of this number in `directory`.
    pub(crate) fn lack_of(&self, number: u16, directory: &Path) -> Error {
        match self.unusable.iter().find(|(unusable, _)| *unusable == number) {
            Some((_, error)) => error.clone(),
            None => {
                let path = dictionary_path(directory, number);
                Error::corrupt(&path, 0, "records need this dictionary, and there is no such file")
            }
        }
    }

    /// Notes numbers that are taken.
    pub(crate) fn meet(&self, numbers: impl IntoIterator<Item = u16>) {
        for number in numbers {
            // Relaxed: only the thread that opens the store or trains asks.
            self.last_number.fetch_max(number, Ordering::Relaxed);
        }
    }

    /// Makes `bytes` the newest dictionary: durable first, in a store with a directory, and then what values are compressed with
    /// (I18). One thread at a time.
    ///
    /// # Errors
    /// [`Error::Io`]: then nothing has changed but that a number is used up.
    pub(crate) fn publish(
        &self,
        directory: Option<&Directory>,
        store_uuid: [u8; 16],
        bytes: Vec<u8>,
    ) -> Result<()> {
        let number = self.last_number.load(Ordering::Relaxed).saturating_add(1);
        let Some(dictionary) = Dictionary::new(number, bytes, self.level).filter(|_| self.has_room()) else {
            return Ok(());
        };
        self.meet([number]);
        if let Some(directory) = directory {
            store_dictionary(directory, store_uuid, number, dictionary.bytes())?;
        }
        let _ = self.put(dictionary);
        Ok(())
    }

    /// Removes the files of those that no record names, but for the newest, and of those that were never finished (I18). Nobody uses
    /// the store yet. Best effort: what stays is looked at again by the next open.
    pub(crate) fn remove_unnamed(
        &mut self,
        directory: &Directory,
        names: &[PathBuf],
        is_named: impl Fn(u16) -> bool,
    ) {
        for draft in names.iter().filter(|name| is_dictionary_draft(name)) {
            let _ = directory.disk.remove(&directory.path.join(draft));
        }
        let last_number = *self.last_number.get_mut();
        let slots = std::mem::replace(self, Dictionaries::new(self.level));
        self.unusable = slots.unusable;
        *self.last_number.get_mut() = last_number;
        for dictionary in slots.slots.into_vec().into_iter().filter_map(OnceLock::into_inner) {
            let number = dictionary.number();
            let path = dictionary_path(&directory.path, number);
            let goes = number != last_number && !is_named(number);
            if !goes || directory.disk.remove(&path).is_err() {
                // There is room: it came out of a slot.
                let _ = self.put(dictionary);
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "zstd")]
mod tests {
    use super::*;
    use crate::io::{Disk, OsDisk};
    use std::sync::Arc;

    fn directory(path: &Path) -> Directory {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        Directory::open(&disk, path).unwrap()
    }

    fn names(path: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into()).collect()
    }

    fn loaded(path: &Path) -> Dictionaries {
        let mut dictionaries = Dictionaries::new(Some(3));
        dictionaries.load(&directory(path), [1; 16], &names(path));
        dictionaries
    }

    fn numbers(dictionaries: &Dictionaries) -> Vec<u16> {
        dictionaries.all().map(Dictionary::number).collect()
    }

    #[test]
    fn those_that_nobody_names_go_but_for_the_newest_and_no_number_comes_twice() {
        let dir = tempfile::tempdir().unwrap();
        let dictionaries = Dictionaries::new(Some(3));
        for text in [b"first", b"later", b"newer"] {
            dictionaries.publish(Some(&directory(dir.path())), [1; 16], text.to_vec()).unwrap();
        }
        let mut dictionaries = loaded(dir.path());
        assert_eq!(numbers(&dictionaries), [1, 2, 3]);
        std::fs::write(dir.path().join("DICT-9.new"), b"cut").unwrap();
        dictionaries.remove_unnamed(&directory(dir.path()), &names(dir.path()), |number| number == 1);
        assert_eq!(numbers(&dictionaries), [1, 3]);
        let mut left = names(dir.path());
        left.sort();
        assert_eq!(left, [Path::new("DICT-1"), Path::new("DICT-3")]);
        dictionaries.remove_unnamed(&directory(dir.path()), &names(dir.path()), |_| false);
        assert_eq!(numbers(&dictionaries), [3]);
        let reopened = loaded(dir.path());
        reopened.publish(Some(&directory(dir.path())), [1; 16], b"again".to_vec()).unwrap();
        assert_eq!(numbers(&reopened), [3, 4]);
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let dictionaries = Dictionaries::new(Some(3));
        while dictionaries.has_room() {
            dictionaries.publish(None, [1; 16], b"text".to_vec()).unwrap();
        }
        assert_eq!(dictionaries.len(), DICTIONARIES_MAX);
        dictionaries.publish(None, [1; 16], b"text".to_vec()).unwrap();
        assert_eq!(dictionaries.len(), DICTIONARIES_MAX);
        assert!(dictionaries.get(64).is_some() && dictionaries.get(65).is_none());
    }

    #[test]
    fn a_damaged_file_is_named_and_the_others_serve() {
        let dir = tempfile::tempdir().unwrap();
        let dictionaries = Dictionaries::new(Some(3));
        for text in [b"first", b"later"] {
            dictionaries.publish(Some(&directory(dir.path())), [1; 16], text.to_vec()).unwrap();
        }
        std::fs::write(dir.path().join("DICT-1"), b"nonsense").unwrap();
        let dictionaries = loaded(dir.path());
        assert_eq!(numbers(&dictionaries), [2]);
        assert!(dictionaries.lack_of(1, dir.path()).to_string().contains("DICT-1, offset"));
        assert!(dictionaries.lack_of(5, dir.path()).to_string().contains("no such file"));
    }
}
