//! Walking over many entries.

use super::read::whole_of;
use super::Db;
use crate::error::Result;
use crate::index::{Cursor, PREFETCHED_KEYS};
use crate::options::check_key;
use crate::ordered::{KeyRange, Sorted};
use crate::reclaim;
use crate::record::Metadata;
use crate::snapshot::{Snapshot, Spot};
use crate::store::Store;
use crate::tag::Tag;

/// Keys that are taken from the list of a store at once, at most; at first fewer, for who wants few.
const PORTION_KEYS_MAX: usize = 16 * PREFETCHED_KEYS;

/// Which entries a scan gives, and in which order.
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    prefix: Vec<u8>,
    start: Vec<u8>,
    end: Vec<u8>,
    limit: Option<usize>,
    ordered: bool,
    reverse: bool,
    snapshot: bool,
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

    /// Only this key and those behind it, in bytewise order, which is then the scan's.
    pub fn start(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.start = key.into();
        self
    }

    /// Only keys before this one, in bytewise order, which is then the scan's. An empty one counts as none; one that is not behind
    /// the start leaves nothing.
    pub fn end(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.end = key.into();
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

    /// Bytewise by key, the last first.
    pub fn reverse(mut self, reverse: bool) -> Self {
        self.reverse = reverse;
        self
    }

    /// All entries as of one moment, which lies between the call and its return. What it gives is what the log held up to there:
    /// every write that was acknowledged before the call, and none that began after it.
    ///
    /// Takes a walk before it begins, and eight bytes an entry; the entries' segments, whose space compaction cannot give back,
    /// stay as long as the scan. Waits for writes that are under way, not for pins.
    pub fn snapshot(mut self, snapshot: bool) -> Self {
        self.snapshot = snapshot;
        self
    }

    fn is_ordered(&self) -> bool {
        self.ordered || self.reverse || !self.start.is_empty() || !self.end.is_empty()
    }
}

/// An entry, with all that stands beside its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<V = Vec<u8>> {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: V,
    /// Its version.
    pub version: u64,
    /// When it expires, in Unix milliseconds; `None`: never.
    pub expires_at_ms: Option<u64>,
    /// What a session has written beside the value.
    pub metadata: Metadata,
    /// Which codec wrote the value.
    pub codec: Tag,
}

/// Iterator over entries. Holds no guard: other threads, and calls between two items, are free.
pub struct Scan {
    db: Db,
    source: Source,
    is_reverse: bool,
    left: usize,
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("left", &self.left).finish_non_exhaustive()
    }
}

/// Where a scan has its entries from.
enum Source {
    /// The index, as the scan goes on.
    Walk(Walk),
    /// Keys that were collected, and are put into order as the scan goes on.
    Collected(Sorted<Box<[u8]>>),
    /// The list that is kept in order.
    Listed(Listed),
    Snapshot(Snapshot, std::vec::IntoIter<Spot>),
    InOrder(Snapshot, Sorted<Spot>),
}

impl Iterator for Scan {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        while self.left > 0 {
            match self.step() {
                Ok(Step::Over) => self.left = 0,
                Ok(Step::Gone) => {}
                Ok(Step::Entry(entry)) => {
                    self.left -= 1;
                    return Some(Ok(entry));
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

enum Step {
    Entry(Entry),
    /// What was found first is not there any more.
    Gone,
    Over,
}

impl Scan {
    fn step(&mut self) -> Result<Step> {
        let store = self.db.open_store()?;
        let compare = |one: &[u8], other: &[u8]| match self.is_reverse {
            true => other.cmp(one),
            false => one.cmp(other),
        };
        let key = match &mut self.source {
            Source::Walk(walk) => walk.next(store),
            Source::Collected(keys) => keys.next(|one, other| compare(one, other)),
            Source::Listed(listed) => listed.next(store, self.is_reverse),
            Source::Snapshot(snapshot, spots) => return read(store, snapshot, spots.next()),
            Source::InOrder(snapshot, spots) => {
                let spot = spots.next(|one, other| compare(snapshot.key(*one), snapshot.key(*other)));
                return read(store, snapshot, spot);
            }
        };
        let Some(key) = key else { return Ok(Step::Over) };
        let Some(whole) = self.db.whole_unused(&key)? else { return Ok(Step::Gone) };
        store.counters.hits.count();
        Ok(Step::Entry(whole.into_entry(key.into_vec())))
    }
}

fn read(store: &Store, snapshot: &Snapshot, spot: Option<Spot>) -> Result<Step> {
    let Some(spot) = spot else { return Ok(Step::Over) };
    let Some(record) = snapshot.record(spot) else { return Ok(Step::Gone) };
    let (_, view) = record;
    Ok(Step::Entry(whole_of(store, spot.offset(), record)?.into_entry(view.key.to_vec())))
}

/// The index, read a few entries at a time.
struct Walk {
    cursor: Option<Cursor>,
    range: KeyRange,
    keys: Vec<Box<[u8]>>,
}

impl Walk {
    fn next(&mut self, store: &Store) -> Option<Box<[u8]>> {
        while self.keys.is_empty() {
            let Walk { cursor, range, keys } = self;
            let guard = crossbeam_epoch::pin();
            let goes_on = cursor.as_mut()?.step(&store.map(&guard), |address, (_, view)| {
                if range.contains(view.key) && !address.is_expired() {
                    keys.push(view.key.into());
                }
            });
            if !goes_on {
                self.cursor = None;
            }
        }
        self.keys.pop()
    }
}

/// The list of keys, read a few at a time.
struct Listed {
    rest: KeyRange,
    keys: Vec<Box<[u8]>>,
    given: usize,
}

impl Listed {
    fn next(&mut self, store: &Store, is_reverse: bool) -> Option<Box<[u8]>> {
        let list = store.keys.as_ref()?;
        if self.given == self.keys.len() {
            let count = (self.keys.len() * 2).clamp(PREFETCHED_KEYS, PORTION_KEYS_MAX);
            self.keys.clear();
            self.given = 0;
            list.read(&self.rest, is_reverse, count, &mut self.keys);
            let last = self.keys.last()?;
            match is_reverse {
                true => self.rest.end_before(last),
                false => self.rest.begin_after(last),
            }
        }
        if self.given % PREFETCHED_KEYS == 0 {
            // What takes the time of a lookup is waiting for memory: so many wait once.
            let guard = reclaim::read();
            let next = self.keys.iter().skip(self.given).take(PREFETCHED_KEYS);
            store.map(guard.protect()).prefetch(next.map(|key| &key[..]));
        }
        let key = self.keys.get_mut(self.given)?;
        self.given += 1;
        Some(std::mem::take(key))
    }
}

impl Db {
    /// Entries by prefix, or between two keys. One that is there and unchanged throughout appears exactly once; each value is as of
    /// the moment it is reached, or with [`ScanOptions::snapshot`] all are as of one.
    ///
    /// In no order it costs a walk over the index, as the scan goes on. In order it collects the keys that match before it begins,
    /// and sorts as many as are asked for; in a store with [`Options::ordered_index`](crate::Options::ordered_index) it begins at
    /// once, in order or by prefix, and costs what it gives.
    ///
    /// ```
    /// # let db = kv::Db::in_memory()?;
    /// for key in ["a", "b", "c", "d"] {
    ///     db.set(key.as_bytes(), b"")?;
    /// }
    /// let options = kv::ScanOptions::new().start("b").end("d").reverse(true).snapshot(true);
    /// let keys: Result<Vec<_>, _> = db.scan(options)?.map(|entry| entry.map(|entry| entry.key)).collect();
    /// assert_eq!(keys?, [b"c", b"b"]);
    /// # Ok::<(), kv::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::KeyTooLong`](crate::Error::KeyTooLong) for prefix, start and end; [`Error::Closed`](crate::Error::Closed),
    /// [`Error::Forked`](crate::Error::Forked); entries: [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn scan(&self, options: ScanOptions) -> Result<Scan> {
        [&options.prefix, &options.start, &options.end].into_iter().try_for_each(|key| check_key(key))?;
        let store = self.open_store()?;
        let range = KeyRange::new(&options.prefix, &options.start, &options.end);
        let source = if options.snapshot {
            let mut snapshot = Snapshot::take(store, &range)?;
            let spots = snapshot.spots();
            match options.is_ordered() {
                true => Source::InOrder(snapshot, Sorted::new(spots, options.limit)),
                false => Source::Snapshot(snapshot, spots.into_iter()),
            }
        } else if store.keys.is_some() && (options.is_ordered() || !options.prefix.is_empty()) {
            Source::Listed(Listed { rest: range, keys: Vec::new(), given: 0 })
        } else {
            let cursor = Some(store.index.cursor(&crossbeam_epoch::pin()));
            let mut walk = Walk { cursor, range, keys: Vec::new() };
            match options.is_ordered() {
                true => {
                    let keys = std::iter::from_fn(|| walk.next(store)).collect();
                    Source::Collected(Sorted::new(keys, options.limit))
                }
                false => Source::Walk(walk),
            }
        };
        let left = options.limit.unwrap_or(usize::MAX);
        Ok(Scan { db: self.clone(), source, is_reverse: options.reverse, left })
    }
}
