//! The store as of one moment, while others write: without a word of theirs, for the log knows what they did.
//!
//! A walk over the index meets each entry at a moment of its own. But whatever changed meanwhile stands in the log behind where
//! that stood when the walk began. So: note how far the log is resolved (*from*); walk; read the tail's LSN (*cut*) and the
//! clock; wait until everything below the cut is resolved; and let what the log holds between the two count over what was met.
//! What results is the newest committed record below the cut of each key, so what recovery would make of the log up to there.
//!
//! - **S1** Every record below *from* was published before the walk begins: a record is committed after it was published, and a
//!   batch that was committed before has published its members once the writers of that time have dropped their guards.
//! - **S2** The walk meets of each key a record at least as new as any that S1 names, unless that key's removal (a mask, or a
//!   clear) has left the index: then the removal lies below *from* and nothing counts, or behind it and the log tells.
//! - **S3** What was met lies below the cut, since it was published, so reserved, before the cut was read.
//! - **S4** Segments that the log tells from are held: those that were there, by shares, and those that came later are no
//!   victims of compaction (`log/holds.rs`). A victim that was chosen before that was resolved to its end, so lies below *from*.
//! - **S5** A clear that has left entries in the index which the walk meets stands in `cleared_lsn` before its record is resolved,
//!   or behind *from* in the log.

use crate::error::{Error, Result};
use crate::index::PREFETCHED_KEYS;
use crate::log::{Extent, Request, Segment, SegmentKind, View, FIRST_RECORD_AT};
use crate::ordered::KeyRange;
use crate::record::{Kind, State};
use crate::store::{Found, Store};
use crate::testing::Point;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Records that stand, in segments that are kept for them.
#[derive(Default)]
pub(crate) struct Snapshot {
    shares: Vec<Arc<Segment>>,
    spots: Vec<Spot>,
}

/// Where a record lies: eight bytes an entry.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spot {
    share: u32,
    offset_units: u32,
}

/// Records begin at multiples of this.
const UNIT_BYTES: u64 = 8;

impl Spot {
    pub(crate) fn offset(self) -> u64 {
        u64::from(self.offset_units) * UNIT_BYTES
    }
}

/// What the log tells of a key.
struct Change {
    lsn: u64,
    /// `None`: a tombstone.
    put: Option<Spot>,
}

/// Looks at clock and log together before they are taken one after the other.
const MOMENT_TRIES: usize = 100;

type Changes = HashMap<Box<[u8]>, Change>;

impl Snapshot {
    /// Takes the entries of a range as of one moment between the call and its return.
    pub(crate) fn take(store: &Store, range: &KeyRange) -> Result<Snapshot> {
        if store.read_only.is_some() {
            return Ok(Snapshot::still(store, range));
        }
        let mut found = Finding::default();
        let tail_lsn = || store.log.tail_lsn(&crossbeam_epoch::pin());
        let _hold = store.log.holds.hold(tail_lsn());
        let before = store.log.ask(Request::Listing)?;
        // S5. Acquire: pairs with the Release in `Maintenance::append_clear`.
        let mut cleared_lsn = store.cleared_lsn.load(Ordering::Acquire);
        // S1. Acquire: pairs with the Release of who has published a batch.
        let is_publishing = |extent: &Extent| extent.segment.publishing.load(Ordering::Acquire) > 0;
        if before.iter().any(is_publishing) && !store.wait_for_writers() {
            return Err(Error::Closed);
        }
        found.walk(store, range);
        store.options.hooks.at(Point::Walked);
        // Of one moment: what ends between the two would be gone without what was written after that.
        let moment = || {
            let (before_ms, cut_lsn, now_ms) = (store.clock.now_ms(), tail_lsn(), store.clock.now_ms());
            (before_ms == now_ms).then_some((cut_lsn, now_ms))
        };
        // A clock of the user's may go on with each look at it.
        let moment = (0..MOMENT_TRIES).find_map(|_| moment());
        let (cut_lsn, now_ms) = moment.unwrap_or_else(|| (tail_lsn(), store.clock.now_ms()));
        let after = resolved(store, cut_lsn)?;
        // A batch below the cut may be committed and not published yet: a read after this call must not be older than it.
        if after.iter().any(is_publishing) && !store.wait_for_writers() {
            return Err(Error::Closed);
        }
        let mut changes = Changes::new();
        for (segment, from) in between(&before, &after) {
            let number = found.number_of(segment);
            let mut tell = |at: u64, view: &View<'_>| {
                if view.lsn >= cut_lsn {
                    return;
                }
                match view.word.kind() {
                    Some(Kind::Clear) => cleared_lsn = cleared_lsn.max(view.lsn),
                    Some(Kind::Put | Kind::Tombstone) if range.contains(view.key) => {
                        let put = view.word.is_of(Kind::Put).then(|| spot(number, at)).flatten();
                        note(&mut changes, view, put);
                    }
                    _ => {}
                }
            };
            segment.walk(from, |at, view| {
                if view.word.state() == Some(State::Committed) {
                    match view.word.kind() {
                        Some(Kind::Batch) => segment.members(at, view, &mut tell),
                        _ => tell(at, view),
                    }
                }
            });
        }
        found.change(changes);
        Ok(found.finish(store, now_ms, cleared_lsn))
    }

    /// The entries of a range in a store that nobody writes any more.
    pub(crate) fn still(store: &Store, range: &KeyRange) -> Snapshot {
        let mut found = Finding::default();
        found.walk(store, range);
        // A clear that the end of the store cut short has left entries in the index. Acquire: as in `take`.
        found.finish(store, store.clock.now_ms(), store.cleared_lsn.load(Ordering::Acquire))
    }

    pub(crate) fn spots(&mut self) -> Vec<Spot> {
        std::mem::take(&mut self.spots)
    }

    pub(crate) fn key(&self, spot: Spot) -> &[u8] {
        self.record(spot).map_or(&[], |(_, view)| view.key)
    }

    /// The record there.
    pub(crate) fn record(&self, spot: Spot) -> Option<Found<'_>> {
        let segment = self.shares.get(spot.share as usize)?;
        Some((segment, segment.view(spot.offset())?))
    }
}

fn spot(share: u32, offset: u64) -> Option<Spot> {
    Some(Spot { share, offset_units: u32::try_from(offset / UNIT_BYTES).ok()? })
}

/// Lets the newer of two changes of a key count.
fn note(changes: &mut Changes, view: &View<'_>, put: Option<Spot>) {
    match changes.get_mut(view.key) {
        Some(change) if change.lsn > view.lsn => {}
        Some(change) => *change = Change { lsn: view.lsn, put },
        None => drop(changes.insert(view.key.into(), Change { lsn: view.lsn, put })),
    }
}

/// The log's segments once everything below `lsn` is resolved.
fn resolved(store: &Store, lsn: u64) -> Result<Vec<Extent>> {
    let mut listing = Ok(Vec::new());
    let is_resolved = || {
        // The log thread looks before it answers.
        listing = store.log.ask(Request::Listing);
        listing.is_err() || store.log.is_resolved(lsn)
    };
    if !store.wait_until(is_resolved, || store.log.is_closing()) {
        return Err(Error::Closed);
    }
    listing
}

/// What was appended between two listings: segments of the tail, and where in each to begin (S4). Outputs hold nothing that was not
/// appended elsewhere.
fn between<'e>(before: &'e [Extent], after: &'e [Extent]) -> impl Iterator<Item = (&'e Arc<Segment>, u64)> {
    let old: HashSet<u64> = before.iter().map(|extent| extent.segment.header().id).collect();
    let is_old = move |extent: &&Extent| old.contains(&extent.segment.header().id);
    let is_tail = |extent: &&Extent| extent.segment.header().kind == SegmentKind::Tail;
    let grown = before.iter().filter(|extent| !extent.is_sealed);
    let fresh = after.iter().filter(is_tail).filter(move |extent| !is_old(extent));
    grown
        .map(|extent| (&extent.segment, extent.used_bytes.max(FIRST_RECORD_AT)))
        .chain(fresh.map(|extent| (&extent.segment, FIRST_RECORD_AT)))
}

/// A snapshot that is being taken.
#[derive(Default)]
struct Finding {
    snapshot: Snapshot,
    /// The share of a segment's number, one too high; 0: none yet. Numbers are used again.
    by_number: Vec<u32>,
}

impl Finding {
    fn number_of(&mut self, segment: &Arc<Segment>) -> u32 {
        let known = self.known(segment);
        known.unwrap_or_else(|| self.keep(Arc::clone(segment)))
    }

    fn known(&self, segment: &Segment) -> Option<u32> {
        let share = self.by_number.get(usize::from(segment.number()))?.checked_sub(1)?;
        let kept = self.snapshot.shares.get(share as usize)?;
        std::ptr::eq(Arc::as_ptr(kept), segment).then_some(share)
    }

    fn keep(&mut self, segment: Arc<Segment>) -> u32 {
        let (share, number) = (self.snapshot.shares.len() as u32, usize::from(segment.number()));
        if self.by_number.len() <= number {
            self.by_number.resize(number + 1, 0);
        }
        if let Some(known) = self.by_number.get_mut(number) {
            *known = share + 1;
        }
        self.snapshot.shares.push(segment);
        share
    }

    /// Notes what stands for the keys of a range, each at a moment of its own.
    fn walk(&mut self, store: &Store, range: &KeyRange) {
        if let Some(keys) = &store.keys {
            let mut rest = range.clone();
            let mut portion = Vec::new();
            loop {
                keys.read(&rest, false, 16 * PREFETCHED_KEYS, &mut portion);
                let Some(last) = portion.last() else { return };
                rest.begin_after(last);
                let guard = crossbeam_epoch::pin();
                let map = store.map(&guard);
                for group in portion.chunks(PREFETCHED_KEYS) {
                    map.prefetch(group.iter().map(|key| &key[..]));
                    for (address, (segment, view)) in group.iter().filter_map(|key| map.get(key)) {
                        if !address.is_expired() {
                            self.meet(store, segment, address.offset_bytes(), &view, &guard);
                        }
                    }
                }
                portion.clear();
            }
        }
        store.walk(|_, address, (segment, view)| {
            if !address.is_expired() && range.contains(view.key) {
                self.meet(store, segment, address.offset_bytes(), &view, &crossbeam_epoch::pin());
            }
        });
    }

    fn meet(
        &mut self,
        store: &Store,
        segment: &Segment,
        offset: u64,
        view: &View<'_>,
        guard: &crossbeam_epoch::Guard,
    ) {
        if !view.word.is_of(Kind::Put) {
            return;
        }
        let known = self.known(segment).or_else(|| {
            // The guard under which the record was found keeps the number (T1).
            store.log.table.share(segment.number(), guard).map(|segment| self.keep(segment))
        });
        self.snapshot.spots.extend(known.and_then(|share| spot(share, offset)));
    }

    /// Lets what the log tells count over what was met.
    fn change(&mut self, mut changes: Changes) {
        let Snapshot { shares, spots } = &mut self.snapshot;
        let view = |spot: &Spot| shares.get(spot.share as usize)?.view(spot.offset());
        spots.retain(|spot| {
            let Some(view) = view(spot) else { return false };
            match changes.get_mut(view.key) {
                Some(change) if change.lsn >= view.lsn => false,
                Some(change) => {
                    change.put = None;
                    true
                }
                None => true,
            }
        });
        spots.extend(changes.into_values().filter_map(|change| change.put));
    }

    /// Leaves out what was cleared or is past its time, which is on record then (I15).
    fn finish(mut self, store: &Store, now_ms: u64, cleared_lsn: u64) -> Snapshot {
        let Snapshot { shares, spots } = &mut self.snapshot;
        let guard = crossbeam_epoch::pin();
        let mut latest_ms = 0;
        let is_idle = |shares: &[Arc<Segment>], spot: &Spot, view: View<'_>| {
            shares
                .get(spot.share as usize)
                .is_some_and(|segment| store.is_idle(spot.offset(), (segment, view)))
        };
        spots.retain(|spot| {
            let view = shares.get(spot.share as usize).and_then(|segment| segment.view(spot.offset()));
            let Some(view) = view.filter(|view| view.lsn > cleared_lsn) else { return false };
            let is_past = view.expire_at_ms != 0 && now_ms >= view.expire_at_ms;
            if is_past {
                latest_ms = latest_ms.max(view.expire_at_ms);
            }
            !is_past && !is_idle(shares, spot, view)
        });
        store.is_past(latest_ms, &guard);
        self.snapshot
    }
}
