//! Memory of tables, and the index's only unsafe code. Cited by the SAFETY comments:
//!
//! - **X8** A table's buckets and lines live as long as the table. A table is freed no earlier than a grace period after the
//!   root moved on from it, or with the index: whoever reached it under a guard may use it for as long as the guard is held.
//!   A later table that an earlier one leads to is left later, so the same guard keeps it too.

use super::table::Table;
#[cfg(not(loom))]
use crate::io::{Map, HUGE_PAGE_BYTES};
use crate::reclaim::{Grace, Protected};
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::marker::PhantomData;
#[cfg(not(loom))]
use std::mem::size_of;
use std::ptr::{null_mut, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};

// In models as few as their keys need: each is a place where threads may meet.
pub(super) const HEAD_SLOTS: usize = if cfg!(loom) { 2 } else { 6 };
pub(super) const LINE_SLOTS: usize = if cfg!(loom) { 1 } else { 7 };

/// Lines that are allocated at once.
const CHUNK_LINES_MIN: usize = if cfg!(loom) { 1 } else { 16 };
const ALLOCATED_LINES_MAX: usize = 4096;
/// From a page on.
#[cfg(not(loom))]
const MAPPED_LINES_MIN: usize = 64;
/// A table that is about to grow has a line for two or three buckets, so that one map is enough: making one waits for whoever has
/// the process's memory populated. What is not used costs address space alone.
const BUCKETS_A_LINE: usize = 2;

/// The first cache line of a chain. All zero is an empty one.
#[repr(C, align(64))]
#[cfg_attr(loom, derive(Default))]
pub(super) struct Bucket {
    pub(super) header: AtomicU64,
    pub(super) slots: [AtomicU64; HEAD_SLOTS],
    pub(super) link: Link,
}

/// A further cache line of a chain.
#[repr(C, align(64))]
#[derive(Default)]
pub(super) struct Line {
    pub(super) slots: [AtomicU64; LINE_SLOTS],
    pub(super) link: Link,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Bucket>() == 64 && size_of::<Line>() == 64);

/// From one line of a chain to the next; set once.
#[derive(Default)]
pub(super) struct Link(AtomicPtr<Line>);

impl Link {
    pub(super) fn get(&self) -> Option<&Line> {
        // Acquire: the line is zeroed; pairs with the AcqRel in `get_or_add`.
        // SAFETY: X8: links lead to lines of the same table, which live as long as the bucket that is borrowed.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// The next line, a new one if there was none.
    pub(super) fn get_or_add<'t>(&'t self, lines: &'t Lines) -> &'t Line {
        if let Some(line) = self.get() {
            return line;
        }
        let new = lines.take();
        // AcqRel: publishes the line; pairs with the Acquire in `get`. Who loses leaves its line unused until the table
        // goes: 64 bytes a race.
        let added = self.0.compare_exchange(
            null_mut(),
            std::ptr::from_ref(new).cast_mut(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        match added {
            Ok(_) => new,
            // SAFETY: X8: as in `get`; not null, since the exchange from null failed.
            Err(found) => unsafe { &*found },
        }
    }
}

/// Buckets or lines side by side in zeroed memory that costs nothing until it is used, on huge pages where the system has them.
/// The system has all of it back when the table goes; an allocator would keep what a table leaves that was outgrown.
#[cfg(not(loom))]
struct Mapped<T> {
    map: Map,
    start: usize,
    len: usize,
    of: PhantomData<T>,
}

/// All of whose bytes may be zero, and all of whose fields are atomic.
///
/// # Safety
/// Just that.
#[cfg(not(loom))]
unsafe trait Zeroable {}

// SAFETY: atomic words and a link, which is an atomic pointer.
#[cfg(not(loom))]
unsafe impl Zeroable for Bucket {}
// SAFETY: as above.
#[cfg(not(loom))]
unsafe impl Zeroable for Line {}

#[cfg(not(loom))]
impl<T: Zeroable> Mapped<T> {
    fn new(len: usize) -> std::io::Result<Mapped<T>> {
        let bytes = len * size_of::<T>();
        if bytes < HUGE_PAGE_BYTES {
            return Ok(Mapped { map: Map::anonymous(bytes)?, start: 0, len, of: PhantomData });
        }
        let map = Map::anonymous(bytes + HUGE_PAGE_BYTES)?;
        map.prefer_huge_pages();
        let base = map.base() as usize;
        let start = base.next_multiple_of(HUGE_PAGE_BYTES) - base;
        Ok(Mapped { map, start, len, of: PhantomData })
    }

    /// # Safety
    /// `number` is less than the length that `new` was given.
    unsafe fn get(&self, number: usize) -> &T {
        // SAFETY: inside of the map that `new` made for so many, by the caller; a map begins on a page and `start` is a multiple
        // of one, so it is aligned; zeros are a `T`.
        unsafe { &*self.map.base().add(self.start + number * size_of::<T>()).cast::<T>() }
    }
}

/// A power of two of them.
#[cfg(not(loom))]
pub(super) struct Buckets {
    buckets: Mapped<Bucket>,
    mask: usize,
}

#[cfg(not(loom))]
impl Buckets {
    pub(super) fn new(bits: u32) -> std::io::Result<Buckets> {
        Ok(Buckets { buckets: Mapped::new(1 << bits)?, mask: (1 << bits) - 1 })
    }

    /// The bucket with this number, modulo their count.
    pub(super) fn get(&self, number: usize) -> &Bucket {
        // SAFETY: the mask keeps it below their count.
        unsafe { self.buckets.get(number & self.mask) }
    }

    pub(super) fn len(&self) -> usize {
        self.mask + 1
    }
}

/// For models: loom's atomics are no plain words, so zeros would not be buckets.
#[cfg(loom)]
pub(super) struct Buckets(Box<[Bucket]>);

#[cfg(loom)]
impl Buckets {
    pub(super) fn new(bits: u32) -> std::io::Result<Buckets> {
        Ok(Buckets((0..1 << bits).map(|_| Bucket::default()).collect()))
    }

    pub(super) fn get(&self, number: usize) -> &Bucket {
        &self.0[number & (self.0.len() - 1)]
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Lines for chains that outgrow their bucket; they are given out and never taken back.
pub(super) struct Lines {
    newest: AtomicPtr<Chunk>,
    chunk_lines: usize,
}

struct Chunk {
    used: AtomicUsize,
    older: *mut Chunk,
    lines: Run,
}

/// Lines side by side.
enum Run {
    #[cfg(not(loom))]
    Mapped(Mapped<Line>),
    /// Where the system gives no map, or few lines are asked for.
    Allocated(Box<[Line]>),
}

impl Run {
    fn new(lines: usize) -> Run {
        #[cfg(not(loom))]
        if lines >= MAPPED_LINES_MIN {
            if let Ok(lines) = Mapped::new(lines) {
                return Run::Mapped(lines);
            }
        }
        Run::Allocated(std::iter::repeat_with(Line::default).take(lines.min(ALLOCATED_LINES_MAX)).collect())
    }

    fn get(&self, number: usize) -> Option<&Line> {
        match self {
            #[cfg(not(loom))]
            // SAFETY: just checked.
            Run::Mapped(lines) => (number < lines.len).then(|| unsafe { lines.get(number) }),
            Run::Allocated(lines) => lines.get(number),
        }
    }
}

impl Lines {
    pub(super) fn new(buckets: usize) -> Lines {
        let chunk_lines = (buckets / BUCKETS_A_LINE).max(CHUNK_LINES_MIN);
        Lines { newest: AtomicPtr::default(), chunk_lines }
    }

    fn take(&self) -> &Line {
        loop {
            // Acquire: the chunk is filled; pairs with the AcqRel below.
            let newest = self.newest.load(Ordering::Acquire);
            // SAFETY: X8: chunks are freed with the table only.
            if let Some(chunk) = unsafe { newest.as_ref() } {
                // Relaxed: only hands out numbers.
                let number = chunk.used.fetch_add(1, Ordering::Relaxed);
                if let Some(line) = chunk.lines.get(number) {
                    // Nobody has touched it, so it comes from memory: now, not when it is asked for.
                    #[cfg(not(loom))]
                    if let Some(next) = chunk.lines.get(number + 1) {
                        crate::io::prefetch(next);
                    }
                    return line;
                }
            }
            let lines = Run::new(self.chunk_lines);
            let new = Box::into_raw(Box::new(Chunk { used: AtomicUsize::new(0), older: newest, lines }));
            // AcqRel: publishes the chunk; pairs with the Acquire above.
            if self.newest.compare_exchange(newest, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: `new` came from `Box::into_raw` above, and the failed exchange shared it with nobody.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }
}

// SAFETY: a chunk's `older` is written before the chunk is shared and read only by `drop`, which has it to itself; all
// else is atomic.
unsafe impl Send for Lines {}
// SAFETY: as above.
unsafe impl Sync for Lines {}

impl Drop for Lines {
    fn drop(&mut self) {
        // Acquire: nobody else is left.
        let mut chunk = self.newest.load(Ordering::Acquire);
        while !chunk.is_null() {
            // SAFETY: each chunk came from `Box::into_raw` and hangs on this list exactly once.
            chunk = unsafe { Box::from_raw(chunk) }.older;
        }
    }
}

/// The table that a table is moved to; set once. Owned by the root's chain, not by the table that leads to it.
#[derive(Default)]
pub(super) struct Next(AtomicPtr<Table>);

impl Next {
    #[inline]
    pub(super) fn get<'g>(&'g self, _protected: Protected<'g>) -> Option<&'g Table> {
        // Acquire: the table is made; pairs with the AcqRel in `set`.
        // SAFETY: X8: the caller reached the table that this stands in under the guard.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// False if it was set before.
    pub(super) fn set(&self, table: Box<Table>) -> bool {
        let new = Box::into_raw(table);
        // AcqRel: publishes the table; pairs with the Acquire in `get`.
        if self.0.compare_exchange(null_mut(), new, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return true;
        }
        // SAFETY: `new` came from `Box::into_raw` above, and the failed exchange shared it with nobody.
        drop(unsafe { Box::from_raw(new) });
        false
    }
}

/// The oldest table that is in use; owns it, those that it leads to, and those that were left and not freed yet.
pub(super) struct Root {
    table: AtomicPtr<Table>,
    left: Mutex<Vec<Left>>,
    owns: PhantomData<Box<Table>>,
}

/// A table that the root moved on from.
struct Left {
    table: NonNull<Table>,
    /// Over when every guard under which somebody may be in it has been dropped.
    grace: Grace,
}

// SAFETY: it is the table's owner, and tables may be sent.
unsafe impl Send for Left {}

impl Root {
    pub(super) fn new(table: Table) -> Root {
        let table = AtomicPtr::new(Box::into_raw(Box::new(table)));
        Root { table, left: Mutex::default(), owns: PhantomData }
    }

    #[inline]
    pub(super) fn get<'g>(&'g self, _protected: Protected<'g>) -> &'g Table {
        // Acquire: pairs with the AcqRel in `advance`.
        // SAFETY: X8: never null, and the guard was taken before this load.
        unsafe { &*self.table.load(Ordering::Acquire) }
    }

    /// Lets the root lead to what `from`, of which everything was moved, leads to. False if somebody else did.
    pub(super) fn advance<'g>(&'g self, from: &'g Table, protected: Protected<'g>) -> bool {
        let from = NonNull::from(from);
        // SAFETY: X8: it is the borrow that was passed in.
        let Some(to) = (unsafe { from.as_ref() }).next.get(protected) else { return false };
        let to = std::ptr::from_ref(to).cast_mut();
        // AcqRel: who sees the new root sees every bucket moved; pairs with the Acquire in `get`.
        if self.table.compare_exchange(from.as_ptr(), to, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return false;
        }
        // Not under the lock: others' callbacks may run in it, which may get here again.
        let grace = Grace::begin();
        self.left().push(Left { table: from, grace });
        true
    }

    /// Frees the tables that were left and that nobody can be in any more; true if others have to wait for a grace period.
    pub(super) fn free_left(&self) -> bool {
        // Not judged under the lock, as in `advance`.
        let left = std::mem::take(&mut *self.left());
        let (mut empty, mut waiting) = (Vec::new(), Vec::new());
        for mut table in left {
            let to = if table.grace.is_over() { &mut empty } else { &mut waiting };
            to.push(table);
        }
        let goes_on = !waiting.is_empty();
        self.left().append(&mut waiting);
        for Left { table, .. } in empty {
            // SAFETY: X8: the pointer came from `Box::into_raw`, `advance` took it off the root exactly once, and a grace
            // period has passed since.
            drop(unsafe { Box::from_raw(table.as_ptr()) });
        }
        goes_on
    }

    fn left(&self) -> MutexGuard<'_, Vec<Left>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // Acquire: nobody else is left.
        let mut table = self.table.load(Ordering::Acquire);
        while !table.is_null() {
            // SAFETY: X8: `&mut self` says that no guard's borrow of the index is left; tables on the root's chain were not
            // left, and each is on it once.
            let owned = unsafe { Box::from_raw(table) };
            table = owned.next.0.load(Ordering::Acquire);
        }
        for Left { table, .. } in self.left().drain(..) {
            // SAFETY: X8: as above, and no table stands both on the chain and here.
            drop(unsafe { Box::from_raw(table.as_ptr()) });
        }
    }
}
