//! Walking over many entries.

use super::read::Whole;
use super::Db;
use crate::error::Result;
use crate::options::check_key;
use crate::record::Metadata;

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
    /// What a session has written beside the value.
    pub metadata: Metadata,
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
            match self.db.whole(&key) {
                Ok(None) => {}
                Ok(Some(Whole { value, metadata, version, expire_at_ms, .. })) => {
                    self.left -= 1;
                    self.db.shared.store.counters.hits.count();
                    let expires_at_ms = (expire_at_ms != 0).then_some(expire_at_ms);
                    let key = key.into_vec();
                    return Some(Ok(Entry { key, value, version, expires_at_ms, metadata }));
                }
                Err(error) => {
                    self.left = 0;
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
