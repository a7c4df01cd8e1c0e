//! Reading on in the log: what changed behind an LSN, in the order of LSNs. The log is the queue: nothing is kept for who reads.
//!
//! - **W1** A listing names every record that is committed below its resolved point and is still in the log; compaction and an open
//!   may have taken those that it calls superseded (W2) or freed (W3). A copy keeps its LSN, so a record is told from others by
//!   that alone, wherever it lies and however often.
//! - **W2** Compaction leaves out a record that is no mask, or whose key has a newer one: then the newest of the key is a mask, or in
//!   the log. So who is told of all masks is told of the newest change of each key.
//! - **W3** A mask of LSN *m* whose key has no newer record is left out only if every segment that stays was born behind *m* (I6). Then
//!   *m* counts into `history_lsn`, in the manifest that drops the victim and, before the listing does, in memory. So who has read
//!   up to an LSN of at least that is told of every removal. An open frees no mask of the segments that it rewrites, only those of
//!   victims that it compacts besides; one that may have lost a part of the log, after a loss of power or damage, calls all
//!   that is past freed; so does a backup, of which the original goes on.
//! - **W4** Who begins at 0 has nothing that a mask which was left out before could hide: I6 says that nothing of the kind was in the
//!   log any more. Only what is freed from then on counts.
//! - **W5** What is given was published: a record is committed after it was, and a batch's members once the writers of the time at
//!   which its frame was found committed have dropped their guards.

use crate::error::{Error, Result};
use crate::log::{
    parts_from, resolved_lsn, Extent, Part, Request, Segment, SegmentKind, View, FIRST_RECORD_AT,
};
use crate::record::{Kind, State};
use crate::store::{Found, Store};
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

/// Records that are found at once, at most: what catching up takes in memory. Behind them the log is read again.
const SPOTS_MAX: usize = 256 << 10;

/// A reader's place in the log.
pub(crate) struct Feed {
    prefix: Box<[u8]>,
    /// Everything up to this LSN was given, or is not asked for.
    position: u64,
    /// What was freed when the reader began with nothing, or with all that (W4).
    freed_lsn: u64,
    /// It begins behind masks that are not in the log any more.
    has_lost: bool,
    /// What to give next, the last first, and the position once all of it was.
    spots: Vec<Spot>,
    end_lsn: u64,
    tail: Option<Tail>,
}

/// Where a record lies. Compaction may take it: then the log is listed again.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    lsn: u64,
    segment_id: u64,
    offset: u64,
    segment: u16,
}

/// The segment in which the log goes on, and where.
#[derive(Clone, Copy)]
struct Tail {
    segment_id: u64,
    offset: u64,
}

impl Feed {
    /// Reads what has an LSN above `after` and a key that begins with `prefix`.
    pub(crate) fn new(store: &Store, prefix: &[u8], after: u64) -> Feed {
        let freed_lsn = store.log.history.freed_lsn();
        let has_lost = after > 0 && after < store.log.history.lsn();
        Feed {
            prefix: prefix.into(),
            position: after,
            freed_lsn,
            has_lost,
            spots: Vec::new(),
            end_lsn: after,
            tail: None,
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// What `make` makes of the next record, if there is one: every one is found that was committed before the call.
    pub(crate) fn next<T>(
        &mut self,
        store: &Store,
        make: impl Fn(u64, Found<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        loop {
            if let Some(spot) = self.spots.pop() {
                let guard = crossbeam_epoch::pin();
                // T1: the number was kept without a guard.
                let segment = store.log.table.standing(spot.segment, &guard);
                let segment = segment.filter(|segment| segment.header().id == spot.segment_id);
                if let Some(found) = segment.and_then(|segment| Some((segment, segment.view(spot.offset)?))) {
                    // Also if it cannot be read: the next call goes on behind it.
                    self.position = spot.lsn;
                    return make(spot.offset, found).map(Some);
                }
                // Compaction took it, and has left it elsewhere if it counts.
                (self.end_lsn, self.tail) = (self.position, None);
                self.spots.clear();
            }
            self.position = self.position.max(self.end_lsn);
            if !self.find(store)? {
                return Ok(None);
            }
        }
    }

    /// Finds what comes behind the position; false if nothing does yet.
    fn find(&mut self, store: &Store) -> Result<bool> {
        if self.has_lost {
            return Err(self.lagged(store));
        }
        match self.find_in_tail(store)? {
            Some(is_found) => Ok(is_found),
            None => self.find_in_log(store),
        }
    }

    /// The same where the log still goes on in the segment that was read last; `None` if that is not known.
    fn find_in_tail(&mut self, store: &Store) -> Result<Option<bool>> {
        let mut finding = Finding::new(&self.prefix, self.position);
        let (end_lsn, is_publishing) = {
            let guard = crossbeam_epoch::pin();
            if store.log.tail_lsn(&guard) <= self.position + 1 {
                return Ok(Some(false));
            }
            let active = store.log.active(&guard);
            let Some(tail) = self.tail.as_mut().filter(|tail| tail.segment_id == active.header().id) else {
                return Ok(None);
            };
            tail.offset = finding.walk(active, tail.offset, u64::MAX);
            // Acquire: pairs with the Release of who has published a batch.
            (active.header().base_lsn + tail.offset, active.publishing.load(Ordering::Acquire) > 0)
        };
        let found = finding.found();
        self.take(store, found, end_lsn, is_publishing).map(Some)
    }

    fn find_in_log(&mut self, store: &Store) -> Result<bool> {
        let extents = store.log.ask(Request::Listing)?;
        // W3: after the listing, which may be without what was freed.
        let freed_lsn = store.log.history.freed_lsn();
        if freed_lsn > self.position.max(self.freed_lsn) {
            return Err(self.lagged(store));
        }
        let is_publishing = |extent: &Extent| extent.segment.publishing.load(Ordering::Acquire) > 0;
        let is_publishing = extents.iter().any(is_publishing);
        let mut finding = Finding::new(&self.prefix, self.position);
        let end_lsn = resolved_lsn(&extents);
        for Part { segment, at } in parts_from(&extents, self.position + 1, false) {
            finding.walk(&segment, at, end_lsn);
        }
        let tail = extents.iter().filter(|extent| !extent.is_sealed && extent.used_bytes > FIRST_RECORD_AT);
        let tail = tail.max_by_key(|extent| extent.segment.header().base_lsn);
        self.tail =
            tail.map(|extent| Tail { segment_id: extent.segment.header().id, offset: extent.used_bytes });
        drop(extents);
        let found = finding.found();
        self.take(store, found, end_lsn, is_publishing)
    }

    /// Takes over what was found below `end_lsn`; false if that is no more than was known.
    fn take(
        &mut self,
        store: &Store,
        found: (Vec<Spot>, bool),
        end_lsn: u64,
        is_publishing: bool,
    ) -> Result<bool> {
        // W5.
        if is_publishing && !store.wait_for_writers() {
            return Err(Error::Closed);
        }
        let (spots, is_cut) = found;
        self.spots = spots;
        self.end_lsn = end_lsn.saturating_sub(1);
        if let (true, Some(last)) = (is_cut, self.spots.first()) {
            (self.end_lsn, self.tail) = (last.lsn, None);
        }
        Ok(self.end_lsn > self.position)
    }

    /// The reader has missed something: what stands follows.
    fn lagged(&mut self, store: &Store) -> Error {
        let after = std::mem::take(&mut self.position);
        self.freed_lsn = store.log.history.freed_lsn();
        (self.has_lost, self.end_lsn, self.tail) = (false, 0, None);
        Error::Lagged { after }
    }
}

/// The lowest LSNs above a position.
struct Finding<'f> {
    prefix: &'f [u8],
    position: u64,
    spots: BinaryHeap<Spot>,
    /// There are more than these.
    is_cut: bool,
}

impl Finding<'_> {
    fn new(prefix: &[u8], position: u64) -> Finding<'_> {
        Finding { prefix, position, spots: BinaryHeap::new(), is_cut: false }
    }

    /// What was found, the last first, each once; and whether there is more behind it.
    fn found(self) -> (Vec<Spot>, bool) {
        let mut spots = self.spots.into_sorted_vec();
        spots.dedup_by_key(|spot| spot.lsn);
        spots.reverse();
        (spots, self.is_cut)
    }

    /// Takes what a segment holds from an offset on, and below `end_lsn`; returns where it stopped.
    fn walk(&mut self, segment: &Segment, from: u64, end_lsn: u64) -> u64 {
        if self.is_cut && self.spots.peek().is_some_and(|last| last.lsn < lowest_lsn(segment)) {
            return from;
        }
        segment.walk(from, |at, view| {
            let mut note = |offset: u64, view: &View<'_>| {
                let is_asked_for = match view.word.kind() {
                    Some(Kind::Put | Kind::Tombstone) => view.key.starts_with(self.prefix),
                    Some(Kind::Clear) => true,
                    _ => false,
                };
                if !is_asked_for || view.lsn <= self.position || view.lsn >= end_lsn {
                    return;
                }
                let (segment_id, segment) = (segment.header().id, segment.number());
                self.spots.push(Spot { lsn: view.lsn, segment_id, offset, segment });
                if self.spots.len() > SPOTS_MAX {
                    self.is_cut = self.spots.pop().is_some();
                }
            };
            if view.word.state() == Some(State::Committed) {
                match view.word.kind() {
                    Some(Kind::Batch) => segment.members(at, view, &mut note),
                    _ => note(at, view),
                }
            }
        })
    }
}

/// No record in it has a lower LSN.
fn lowest_lsn(segment: &Segment) -> u64 {
    let header = segment.header();
    match header.kind {
        SegmentKind::Tail => header.base_lsn,
        SegmentKind::Output => 0,
    }
}
