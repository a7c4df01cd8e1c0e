//! Walking over many entries.

use super::Db;
use crate::error::Result;
use crate::options::check_key;

/// Which entries a scan gives, and in which order.
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    prefix: Vec<u8>,
    limit: Option<usize>,
    ordered: bool,
}

impl ScanOptions {
    /// All entries, in no order.
    pub fn new() -> Self {
        ScanOptions::default()
    }

    /// Only keys that begin with this.
    pub fn prefix(mut self, prefix: impl Into<Vec<u8>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// At most so many entries.
    pub fn limit(mut self, entries: usize) -> Self {
        self.limit = Some(entries);
        self
    }

    /// Bytewise by key.
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }
}

/// An entry that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// Its version.
    pub version: u64,
    /// When it expires, in Unix milliseconds; `None`: never.
    pub expires_at_ms: Option<u64>,
}

/// Iterator over entries. Holds no guard: other threads, and calls between two items, are free.
#[derive(Debug)]
pub struct Scan {
    db: Db,
    keys: std::vec::IntoIter<Box<[u8]>>,
    left: usize,
}

impl Iterator for Scan {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        while self.left > 0 {
            let key = self.keys.next()?;
            let found = self.db.pin().and_then(|pin| {
                Ok(pin.get(&key)?.map(|value| (value.version(), value.expires_at_ms(), value.into_vec())))
            });
            match found {
                Ok(None) => {}
                Ok(Some((version, expires_at_ms, value))) => {
                    self.left -= 1;
                    return Some(Ok(Entry { key: key.into_vec(), value, version, expires_at_ms }));
                }
                Err(error) => {
                    // One value that is damaged does not end it.
                    let goes_on = matches!(error, crate::Error::Corrupt { .. });
                    self.left = if goes_on { self.left - 1 } else { 0 };
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl Db {
    /// Entries by prefix. A key that is there and unchanged throughout appears exactly once; no snapshot: each value is as
    /// of the moment it is reached. Costs a walk over the index, and memory for the keys that match.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`](crate::Error::KeyTooLong) for the prefix, [`Error::Closed`](crate::Error::Closed),
    /// [`Error::Forked`](crate::Error::Forked).
    pub fn scan(&self, options: ScanOptions) -> Result<Scan> {
        check_key(&options.prefix)?;
        let store = self.open_store()?;
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        store.walk(|_, address, (_, view)| {
            if view.key.starts_with(&options.prefix) && !address.is_expired() {
                keys.push(view.key.into());
            }
        });
        if options.ordered {
            keys.sort_unstable();
        }
        Ok(Scan { db: self.clone(), keys: keys.into_iter(), left: options.limit.unwrap_or(usize::MAX) })
    }
}
