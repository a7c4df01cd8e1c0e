//! The index: from key to the address of its newest record. It knows no files and follows no address: what stands at one,
//! it asks of the `Records` it is given.
//!
//! A table is a power of two of cache lines, *buckets*, each with a header word, six slots and a link to further lines. A
//! slot is one atomic word: 16 bits of the key's hash and a record's address; the key itself stands in the record only. A
//! lookup costs two cache misses, the bucket's and the record's.
//!
//! ```text
//! slot     VIRGIN ──claim──▶ word ──compare-exchange──▶ word' ──▶ … ──seal──▶ DEAD ──release──▶ FREE ──claim──▶ …
//! header     └─ does not count ─┘└─ commit: counts ───────────────────────┘└─ does not count ─┘
//! ```
//!
//! *Insert*: claim a slot that is free, then let it count by compare-exchange on the header from the one under which the
//! bucket was searched. *Update*: compare-exchange on the slot. *Remove*: seal the slot, take it out of the header, release
//! it. *Resize*: a new table hangs on the old one's `next`; whoever writes moves a few units with each write (a unit: the
//! buckets whose entries meet in one bucket of the smaller table), and first of all the one it needs; then the root goes on
//! to the new table.
//!
//! Every caller holds a guard that it took before it reserved or read any record that it passes in. Then:
//!
//! - **X1** A record that a counting slot leads to is there, and keeps its key, as long as a guard is held that was taken
//!   before the slot was read: what leaves the index leaves memory a grace period later (I8). The same holds for a slot of
//!   an old table whose bucket was not yet moved when it was read: the address left the index afterwards.
//! - **X2** An address is published once: by the writer that filled the record, or the compactor that copied it. It is used
//!   again only a grace period after it left the index (T1), so while a writer's guard is held the word that it read can
//!   stand in no slot but that of the same key. A compare-exchange of that word never hits a slot that was reused for another.
//! - **X3** A slot's word counts only if the header says so before and after it was read, unchanged: versions grow with
//!   each change, so a slot that was given up and claimed again between the two is noticed. (A thread would have to sleep
//!   through a multiple of 2³⁵ changes of one bucket.) "Absent" needs no second look: a key that is not under the header that
//!   was loaded was absent then, and one whose slot changed hands since was absent in between.
//! - **X4** Who seals a slot takes it out of the header, and only then releases it; nobody else touches a sealed slot. Who
//!   claimed a slot and failed to commit it releases it.
//! - **X5** A slot that was used is never virgin again.
//! - **X6** A move freezes the headers of a unit (no commit, no removal succeeds any more), then every slot that counts (no
//!   update succeeds), so all helpers read the same words and fill the same places of the new table, each virgin until then
//!   by X5; a helper that comes late finds none of them virgin. Buckets are marked as moved after that, and nobody enters a
//!   bucket of the new table but through one that was moved, or from the root. So an entry is never lost, never doubled,
//!   and never updated in the old place after it was copied.
//! - **X7** Slots behind the 27 that a header speaks for are filled by moves only (many buckets merged into one) and never
//!   claimed, so they need no bit: what stands there counts until it is sealed.
//! - **X8** (memory of tables) stands in `raw`.
//! - **X9** Only the root begins a move, and it became the root when everything had been moved to it. So no more than two
//!   tables are in use, and every bucket of a table that is being moved was filled.

mod bucket;
mod cursor;
// Where loom compiles this: models that reach inside.
#[cfg(loom)]
#[path = "../../tests/loom/src/index_models.rs"]
pub(crate) mod models;
mod publish;
mod raw;
mod resize;
mod slot;
mod table;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

pub(crate) use cursor::Cursor;
pub(crate) use slot::Address;

use crate::counters::Striped;
use crate::reclaim::Protected;
use bucket::Found;
use raw::{Root, HEAD_SLOTS};
use slot::Word;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use table::Table;

/// A record as it was read.
pub(crate) trait Record<'g>: Copy {
    fn key(&self) -> &'g [u8];
    fn lsn(&self) -> u64;
}

/// What knows the records.
pub(crate) trait Records {
    type Record<'g>: Record<'g>
    where
        Self: 'g;

    /// The record at an address that the index gave under this guard.
    fn read<'g>(&'g self, address: Address, protected: Protected<'g>) -> Option<Self::Record<'g>>;

    /// The record at an address, if it is of this key and a look tells that it counts and how; `None` says nothing.
    fn read_at_once<'g>(
        &'g self,
        address: Address,
        key: &[u8],
        protected: Protected<'g>,
    ) -> Option<Self::Record<'g>> {
        self.read_of(address, key, protected)
    }

    /// The record at an address, if it is of this key. The caller will read its value too.
    fn read_of<'g>(
        &'g self,
        address: Address,
        key: &[u8],
        protected: Protected<'g>,
    ) -> Option<Self::Record<'g>> {
        self.read(address, protected).filter(|record| record.key() == key)
    }

    /// Has the beginning of a record fetched that will be read soon.
    fn prefetch(&self, address: Address, protected: Protected<'_>);
}

/// Keys whose cache misses overlap: more than a core has in flight brings nothing.
pub(crate) const PREFETCHED_KEYS: usize = 16;

/// Keys' hashes with their records' addresses.
pub(crate) struct Index {
    root: Root,
    hasher: ahash::RandomState,
    entries: Striped,
    on_move: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// The index for one operation, under its guard.
pub(crate) struct Pinned<'g, R> {
    index: &'g Index,
    records: &'g R,
    protected: Protected<'g>,
}

/// A key's slot, and the record that it leads to, as they were read.
pub(crate) struct Entry<'g, R: Records + 'g> {
    table: &'g Table,
    number: usize,
    found: Found<'g>,
    address: Address,
    record: R::Record<'g>,
}

// Not derived: that would ask the same of `R`.
impl<R: Records> Clone for Entry<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Records> Copy for Entry<'_, R> {}

impl<'g, R: Records> Entry<'g, R> {
    pub(crate) fn address(&self) -> Address {
        self.address
    }

    pub(crate) fn record(&self) -> R::Record<'g> {
        self.record
    }
}

impl Index {
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn with_capacity(entries: usize) -> std::io::Result<Index> {
        let bits = Table::bits_for(entries);
        Ok(Index {
            root: Root::new(Table::new(bits, bits)?),
            hasher: ahash::RandomState::new(),
            entries: Striped::default(),
            on_move: OnceLock::new(),
        })
    }

    /// Frees what moves have left behind, if nobody can be there any more; true if some of it has to wait for a grace period.
    pub(crate) fn free_left(&self) -> bool {
        self.root.free_left()
    }

    /// Calls `tell` whenever a move begins or ends: somebody may want to finish it in the background, with `tidy`, and then to
    /// free what it left.
    pub(crate) fn on_move(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_move.set(Box::new(tell));
    }

    fn tell_of_move(&self) {
        if let Some(tell) = self.on_move.get() {
            tell();
        }
    }

    pub(crate) fn pin<'g, R: Records>(
        &'g self,
        records: &'g R,
        protected: impl Into<Protected<'g>>,
    ) -> Pinned<'g, R> {
        Pinned { index: self, records, protected: protected.into() }
    }

    /// Entries, masks that have not left yet included.
    pub(crate) fn entries(&self) -> usize {
        usize::try_from(self.entries.sum()).unwrap_or(usize::MAX)
    }

    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        hash(&self.hasher, key)
    }
}

#[inline]
fn hash(hasher: &ahash::RandomState, key: &[u8]) -> u64 {
    // Not `hash_one`, which adds the length that `write` adds too.
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

impl<'g, R: Records> Pinned<'g, R> {
    /// The key's record, if its bucket's own line and a look at it tell; `None` says nothing. Nearly every read ends here, and
    /// what bounds it is how far the processor sees beyond its cache misses: each instruction counts.
    #[inline(always)]
    pub(crate) fn get_at_once(&self, key: &[u8]) -> Option<R::Record<'g>> {
        let hash = self.index.hash(key);
        let table = self.index.root.get(self.protected);
        let bucket = table.bucket(table.number_of(hash));
        let header = bucket.load();
        if header.is_moved() {
            return None;
        }
        let address = bucket.first_with_tag(header, table.tag_of(hash))?.address()?;
        let found = self.records.read_at_once(address, key, self.protected)?;
        // X3.
        (bucket.load() == header).then_some(found)
    }

    /// What the key leads to, if it has an entry: `find` for who only reads.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<(Address, R::Record<'g>)> {
        self.seek(
            key,
            |_, address| Some((address, self.records.read_of(address, key, self.protected)?)),
            |_, _, found| Some(found),
        )
    }

    /// The key's entry, if it has one.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<Entry<'g, R>> {
        self.seek(
            key,
            |found, address| Some((found, self.read(key, address)?)),
            |table, number, (found, record)| entry(table, number, found, record),
        )
    }

    /// The hash by which a key is found.
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.index.hash(key)
    }

    /// What a key of this hash leads to, if one has an entry: keys of the same hash are as good as one another.
    pub(crate) fn find_hash(&self, hash: u64) -> Option<(Address, R::Record<'g>)> {
        let read = |_, address| {
            let record = self.records.read(address, self.protected)?;
            (self.index.hash(record.key()) == hash).then_some((address, record))
        };
        self.seek_hash(hash, read, |_, _, found| Some(found))
    }

    /// What `make` makes of the table, the bucket's number, and what `read` made of a slot and its address.
    #[inline]
    fn seek<F, T>(
        &self,
        key: &[u8],
        read: impl Fn(Found<'g>, Address) -> Option<F>,
        make: impl Fn(&'g Table, usize, F) -> Option<T>,
    ) -> Option<T> {
        self.seek_hash(self.index.hash(key), read, make)
    }

    #[inline]
    #[allow(clippy::redundant_closure)] // A reference to `read` would be called and not inlined: 25 instructions of a get.
    fn seek_hash<F, T>(
        &self,
        hash: u64,
        read: impl Fn(Found<'g>, Address) -> Option<F>,
        make: impl Fn(&'g Table, usize, F) -> Option<T>,
    ) -> Option<T> {
        let mut table = self.index.root.get(self.protected);
        loop {
            let number = table.number_of(hash);
            let bucket = table.bucket(number);
            let header = bucket.load();
            if header.is_moved() {
                // X6: a bucket that was moved has somewhere to be moved to.
                table = table.next.get(self.protected)?;
                continue;
            }
            let found = bucket.find(header, table.tag_of(hash), |found, address| read(found, address))?;
            if bucket.load() == header {
                return make(table, number, found);
            }
        }
    }

    /// Has all that `find` will read for the first so many keys fetched at once: their buckets, then their records.
    pub(crate) fn prefetch<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let table = self.index.root.get(self.protected);
        let mut hashes = [0; PREFETCHED_KEYS];
        let mut count = 0;
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.index.hash(key);
            crate::io::prefetch(table.bucket(table.number_of(*hash)));
            count += 1;
        }
        for hash in hashes.iter().take(count) {
            self.prefetch_record(table, *hash);
        }
    }

    /// Has the key's bucket fetched, for who has other work before it needs it. What is returned has its record fetched: to be
    /// called a while later, since it waits for the bucket.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, key: &[u8]) -> impl Fn() + use<'_, 'g, R> {
        let hash = self.index.hash(key);
        let table = self.index.root.get(self.protected);
        crate::io::prefetch(table.bucket(table.number_of(hash)));
        move || self.prefetch_record(table, hash)
    }

    /// Of the bucket's own line alone: whether there are others would be a branch that the processor guesses wrong, and then it
    /// does nothing else while it waits.
    #[inline(always)]
    fn prefetch_record(&self, table: &Table, hash: u64) {
        let bucket = table.bucket(table.number_of(hash));
        // The first with this tag is nearly always the one; it is a guess, so nothing is checked.
        let found = bucket.first_with_tag(bucket.load(), table.tag_of(hash));
        if let Some(address) = found.and_then(Word::address) {
            self.records.prefetch(address, self.protected);
        }
    }

    /// The key's entry; if it has none, one with this address is made, and there is nothing to return.
    pub(super) fn insert(&self, key: &[u8], address: Address) -> Option<Entry<'g, R>> {
        let hash = self.index.hash(key);
        self.help();
        let mut table = self.index.root.get(self.protected);
        loop {
            let number = table.number_of(hash);
            let bucket = table.bucket(number);
            let header = bucket.load();
            if header.is_frozen() {
                table = self.beyond(table, number);
                continue;
            }
            let tag = table.tag_of(hash);
            let read = |found, address| Some((found, self.read(key, address)?));
            if let Some((found, record)) = bucket.find(header, tag, read) {
                if bucket.load() == header {
                    return entry(table, number, found, record);
                }
                continue;
            }
            let Some((position, slot)) = bucket.claim(header, Word::new(tag, address), &table.lines) else {
                self.outgrow(table);
                table = self.beyond(table, number);
                continue;
            };
            if bucket.toggle(header, position) {
                self.index.entries.add(1);
                // Summing up costs more than the insert: few of those that find their bucket full do it.
                if position >= HEAD_SLOTS && hash >> 60 == 0 {
                    self.grow_if_crowded(table);
                }
                return None;
            }
            // X4.
            bucket::release(slot);
        }
    }

    /// Changes what the key's slot leads to, if it is still what was read. When it fails, `entry` is old: find it again.
    pub(super) fn replace(&self, entry: &Entry<'g, R>, to: Address) -> bool {
        let word = Word::new(entry.found.word.tag(), to);
        entry.found.replace(word) || self.give_way(entry)
    }

    /// Removes the key's entry if its address is still `mask`, the caller having found a mask there (I5).
    pub(crate) fn remove(&self, key: &[u8], mask: Address) -> bool {
        self.help();
        while let Some(entry) = self.find(key).filter(|entry| entry.address == mask) {
            if entry.found.replace(Word::DEAD) {
                self.index.entries.add(-1);
                entry.table.bucket(entry.number).take_out(&entry.found);
                return true;
            }
            self.give_way(&entry);
        }
        false
    }

    /// Goes on with moves that are under way, or should be; false when there is nothing to do. Each call does a bounded
    /// part, so that its guard is short.
    pub(crate) fn tidy(&self) -> bool {
        const PORTIONS: usize = 32;
        self.shrink_if_sparse();
        // What was finished may be followed by another.
        (0..PORTIONS).map(|_| self.help()).take_while(|helped| *helped).count() > 0
    }

    /// After a change that failed: makes sure that a frozen slot is found in the next table when it is looked for again.
    fn give_way(&self, entry: &Entry<'g, R>) -> bool {
        if entry.table.bucket(entry.number).load().is_frozen() {
            self.beyond(entry.table, entry.number);
        }
        false
    }

    /// The table where what stands in bucket `number` is found from now on; the caller knows that a move began.
    fn beyond(&self, table: &'g Table, number: usize) -> &'g Table {
        let Some(next) = table.next.get(self.protected) else { return table };
        self.move_unit_of(table, next, number);
        next
    }

    /// The record at an address, if it has the key.
    #[inline]
    fn read(&self, key: &[u8], address: Address) -> Option<R::Record<'g>> {
        // X1: the guard was taken before the slot was read.
        self.records.read(address, self.protected).filter(|record| record.key() == key)
    }
}

#[inline]
fn entry<'g, R: Records>(
    table: &'g Table,
    number: usize,
    found: Found<'g>,
    record: R::Record<'g>,
) -> Option<Entry<'g, R>> {
    Some(Entry { table, number, found, address: found.word.address()?, record })
}
