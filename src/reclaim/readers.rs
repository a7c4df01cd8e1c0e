//! Threads that read, and waiting until those that read now have stopped. Model: `tests/loom/src/readers.rs`.
//!
//! A reader says that it reads by a store to a word of its own before it loads the first pointer. Who took something out of
//! reach runs a fence in every thread and then looks at all words (G2): a thread whose word it finds still looks at what was
//! out of reach before it began. After the scheme of user-space RCU's "memb" flavor (Desnoyers, McKenney, Stern, Dagenais,
//! Walpole: *User-Level Implementations of Read-Copy Update*, IEEE TPDS 23(2), 2012).

use crate::sync::{fence, AtomicPtr, AtomicU64, Ordering};

/// Of a reader's word: how many reads of its thread are under way, one inside of another. More than a thread can begin, even if it
/// forgets to end them.
const DEPTH: u64 = (1 << 48) - 1;
/// Counts the times that the depth came back to zero. That it begins anew only makes a grace period longer.
const ROUND: u64 = DEPTH + 1;

/// What one thread says about itself. Never freed, but handed from a thread that ends to one that begins.
#[repr(align(128))] // Alone in its cache lines, and in the pair that a processor fetches at once.
pub(crate) struct Reader {
    word: AtomicU64,
    is_taken: AtomicU64,
    older: *const Reader,
}

// SAFETY: `older` is written before the reader is shared, and never again; all else is atomic.
unsafe impl Sync for Reader {}

impl Reader {
    /// Begins a read. A fence must follow, or G2 hold, before a pointer is loaded.
    #[inline]
    pub(crate) fn enter(&self) {
        // Relaxed: no other thread stores here (but in a forked child, before it has others).
        let word = self.word.load(Ordering::Relaxed);
        // Release: who finds a later read finds the earlier ones over; pairs with the Acquire in `is_over`.
        self.word.store(word + 1, Ordering::Release);
    }

    /// Ends a read; true if it was the outermost of its thread.
    #[inline]
    pub(crate) fn leave(&self) -> bool {
        // Relaxed: as above.
        let word = self.word.load(Ordering::Relaxed).wrapping_sub(1);
        let is_outermost = word & DEPTH == 0;
        let round = if is_outermost { ROUND } else { 0 };
        // Release: what was read was read before; pairs with the Acquire loads in `begin_grace` and `is_over`.
        self.word.store(word.wrapping_add(round), Ordering::Release);
        is_outermost
    }

    pub(crate) fn is_reading(&self) -> bool {
        self.word.load(Ordering::Relaxed) & DEPTH != 0
    }

    /// Leaves the place to another thread.
    pub(crate) fn give_back(&self) {
        // Release: the last read is over; pairs with the Acquire in `take`.
        self.is_taken.store(0, Ordering::Release);
    }
}

/// All readers there ever were at once.
pub(crate) struct Readers(AtomicPtr<Reader>);

impl Readers {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Readers {
        Readers(AtomicPtr::new(std::ptr::null_mut()))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Readers {
        Readers(AtomicPtr::new(std::ptr::null_mut()))
    }

    fn iter(&self) -> impl Iterator<Item = &'static Reader> {
        // Acquire: the reader is made; pairs with the AcqRel in `take`, which also handed on those behind it.
        let mut at: *const Reader = self.0.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: null, or what `take` leaked.
            let reader: &'static Reader = unsafe { at.as_ref() }?;
            at = reader.older;
            Some(reader)
        })
    }

    /// A place for a thread that begins to read: one that was given back, or another.
    pub(crate) fn take(&self) -> &'static Reader {
        // Acquire: pairs with the Release in `give_back`. Relaxed first: its reader is not to be disturbed.
        let is_mine = |reader: &&Reader| {
            reader.is_taken.load(Ordering::Relaxed) == 0
                && reader.is_taken.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        if let Some(reader) = self.iter().find(is_mine) {
            return reader;
        }
        let mut newest = self.0.load(Ordering::Acquire);
        let mut new =
            Box::new(Reader { word: AtomicU64::new(0), is_taken: AtomicU64::new(1), older: newest });
        loop {
            new.older = newest;
            let place = Box::into_raw(new);
            // AcqRel: publishes the reader and hands on the older ones; pairs with the Acquire in `iter`.
            match self.0.compare_exchange(newest, place, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // SeqCst: a grace period that does not find this reader began before it, and what was out of reach then it
                    // does not load; pairs with the fence in `begin_grace`.
                    fence(Ordering::SeqCst);
                    // SAFETY: it came from `Box::into_raw` and is freed by nobody from here on.
                    return unsafe { &*place };
                }
                Err(found) => {
                    newest = found;
                    // SAFETY: it came from `Box::into_raw`, and the failed exchange shared it with nobody.
                    new = unsafe { Box::from_raw(place) };
                }
            }
        }
    }

    /// Begins to wait for those who read now; what was taken out of reach before this call is what they may still look at.
    /// `fence_all` runs a fence in every thread that did not run one when it began to read.
    pub(crate) fn begin_grace(&self, fence_all: impl FnOnce()) -> ReadersGrace {
        // SeqCst: what the caller took out of reach comes before the looks below; pairs with readers' fences.
        fence(Ordering::SeqCst);
        fence_all();
        // Acquire: pairs with the Release in `leave`.
        let words = self.iter().map(|reader| (reader, reader.word.load(Ordering::Acquire)));
        ReadersGrace(words.filter(|(_, word)| word & DEPTH != 0).collect())
    }

    /// In a forked child: the other threads do not exist here.
    #[cfg(not(loom))]
    pub(crate) fn forget_others(&self, mine: Option<&Reader>) {
        for reader in self.iter().filter(|reader| mine.is_none_or(|mine| !std::ptr::eq(mine, *reader))) {
            // Relaxed: the child has one thread.
            reader.word.store(0, Ordering::Relaxed);
            reader.is_taken.store(0, Ordering::Relaxed);
        }
    }
}

/// Readers that were reading when it began, with their words then.
pub(crate) struct ReadersGrace(Vec<(&'static Reader, u64)>);

impl ReadersGrace {
    /// Whether all of them have stopped since.
    pub(crate) fn is_over(&mut self) -> bool {
        self.0.retain(|(reader, then)| {
            // Acquire: pairs with the Release in `leave`.
            let now = reader.word.load(Ordering::Acquire);
            now & DEPTH != 0 && now / ROUND == then / ROUND
        });
        self.0.is_empty()
    }
}
