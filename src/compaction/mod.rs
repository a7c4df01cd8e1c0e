//! Compaction: gives back the space of what is dead (P8), without ever giving back what was deleted (P4).

mod picker;
mod rewriter;

pub(crate) use picker::{output_bytes, pick, Choice, Measure};
pub(crate) use rewriter::{Rewriter, Trouble};

use crate::error::{Error, Result};
use crate::log::{Extent, Request, Segment, Sighting, FIRST_RECORD_AT};
use crate::store::Store;
use crate::testing::{Fault, Point};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records are looked at in portions of this, between which other threads get the processor.
const PORTION_BYTES: u64 = 64 << 10;

/// The one compactor (I9). Runs in the maintenance thread.
#[derive(Default)]
pub(crate) struct Compactor {
    /// Outputs that hold what the index refers to but could not be listed: on a full disk, say.
    unlisted: Vec<Arc<Segment>>,
    /// Number of the dictionary that was the newest when everything was rewritten last.
    rewritten_with: u16,
}

/// What the maintenance thread does between two portions, so that a long compaction does not delay expiry.
pub(crate) type Between<'a> = &'a mut dyn FnMut();

/// How hurriedly a compaction runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Half of the time, so that it stays off the foreground's tail latency.
    Background,
    /// Somebody waits for it, or the log grows faster.
    Hurried,
}

impl Compactor {
    /// Compacts what the picker chooses once. Returns whether there was anything to do; new places of records that need
    /// a second look go to `sightings`.
    pub(crate) fn step(
        &mut self,
        store: &Store,
        pace: Pace,
        sightings: &mut Vec<Sighting>,
        between: Between<'_>,
    ) -> Result<bool> {
        let extents = store.log.ask(Request::Listing)?;
        let measure = Measure::of(&extents, store);
        let Some(choice) = pick(&measure, &extents) else { return Ok(false) };
        // Writers that never pause would outrun it.
        let pace = if measure.is_far_over() { Pace::Hurried } else { pace };
        match self.compact(store, extents, choice, pace, sightings, between) {
            Err(error) if error.is_disk_full() => {
                // One that surely goes, with what is held back, makes room for the next (P7).
                let extents = store.log.ask(Request::Listing)?;
                let choice = picker::last_resort(&extents, store).ok_or(error)?;
                self.compact(store, extents, choice, pace, sightings, between)
            }
            result => result,
        }
    }

    /// Rewrites every sealed segment that holds anything dead.
    pub(crate) fn compact_all(
        &mut self,
        store: &Store,
        sightings: &mut Vec<Sighting>,
        between: Between<'_>,
    ) -> Result<()> {
        let extents = store.log.ask(Request::Listing)?;
        let mut victims: Vec<Arc<Segment>> = picker::candidates(&extents).cloned().collect();
        victims.sort_by_key(|segment| segment.header().born);
        let newest = store.dictionaries.newest().map_or(0, |dictionary| dictionary.number());
        let is_packed = std::mem::replace(&mut self.rewritten_with, newest) == newest;
        if is_packed && victims.iter().all(|segment| segment.account.dead_bytes() == 0) && victims.len() < 2 {
            return Ok(());
        }
        let choice = Choice { victims, uses_reserve: false };
        self.compact(store, extents, choice, Pace::Hurried, sightings, between).map(drop)
    }

    /// False if none of the victims can go for now.
    fn compact(
        &mut self,
        store: &Store,
        extents: Vec<Extent>,
        choice: Choice,
        pace: Pace,
        sightings: &mut Vec<Sighting>,
        between: Between<'_>,
    ) -> Result<bool> {
        // Outputs that an earlier compaction could not make durable hold what left these victims (P7).
        store.log.check_writable()?;
        let born = {
            let guard = crossbeam_epoch::pin();
            store.log.tail_lsn(&guard)
        };
        store.options.hooks.at(Point::Began);
        // I9: afterwards every writer below `born` has published.
        if !store.options.faults.has(Fault::VictimsWithoutGrace) && !store.wait_grace() {
            return Err(Error::Closed);
        }
        // Acquire: a batch that is counted out has published all members; pairs with the publisher's Release.
        let mut victims = choice.victims;
        victims.retain(|victim| victim.publishing.load(Ordering::Acquire) == 0);
        // A scan still has to read what came since it began.
        victims.retain(|victim| !store.log.holds.cover(victim.header().base_lsn));
        if victims.is_empty() && self.unlisted.is_empty() {
            return Ok(false);
        }
        // What costs least to copy first: on a full disk that makes room for the rest. Whichever are left when this ends
        // early, `without_early` keeps those whose masks they need (I6). Cached: writers change it meanwhile, and a sort
        // whose order changes panics.
        victims.sort_by_cached_key(|victim| victim.end().saturating_sub(victim.account.dead_bytes()));
        let is_victim = |segment: &Segment| victims.iter().any(|v| v.header().id == segment.header().id);
        let born_of_others = extents
            .iter()
            .filter(|extent| !is_victim(&extent.segment))
            .map(|extent| extent.segment.header().born)
            .chain(self.unlisted.iter().map(|segment| segment.header().born))
            .chain([born])
            .min()
            .unwrap_or(0);
        let output_bytes = picker::output_bytes(&victims, store);
        let rewriter = Rewriter::new(store, born, born_of_others, output_bytes, choice.uses_reserve);
        let mut rewriter = rewriter.repacking();
        let (spent, failed) = rewrite_all(&mut rewriter, &victims, born_of_others, store, pace, between);
        let freed_lsn = freed_lsn(&spent);
        let spent: Vec<_> = spent.into_iter().map(|(victim, _)| victim).collect();
        store.counters.relocated_bytes.add(rewriter.copied_bytes as i64);
        // A failed sync leaves unknown what is on disk; the victims are still listed, so nothing is lost (P7).
        let (mut outputs, mut seen) = rewriter.finish().inspect_err(|error| store.log.break_down(error))?;
        sightings.append(&mut seen);
        if outputs.is_empty() {
            keep_time(store, &extents)?;
        }
        outputs.append(&mut self.unlisted);
        let result = self.replace(store, outputs, &spent, freed_lsn);
        // The last that holds the victims' files open: their space comes back here.
        drop((extents, victims, spent));
        give_back(store);
        match (result, failed) {
            (Ok(()), None) => {
                store.counters.compactions.add(1);
                Ok(true)
            }
            (Err(error), _) | (Ok(()), Some(error)) => Err(error),
        }
    }

    /// Removes the files of outputs that no manifest lists, when the store ends: their victims still stand.
    pub(crate) fn end(&mut self, store: &Store) {
        // A manifest whose sync failed may list them all the same (P7).
        if !store.log.is_broken() {
            self.unlisted.drain(..).for_each(|output| drop(store.log.files.remove(&output)));
        }
    }

    /// Lets outputs take the victims' place (I8).
    fn replace(
        &mut self,
        store: &Store,
        outputs: Vec<Arc<Segment>>,
        spent: &[Arc<Segment>],
        freed_lsn: u64,
    ) -> Result<()> {
        let hurried = store.options.faults.has(Fault::UnlinkBeforeSync);
        if hurried {
            spent.iter().for_each(|victim| drop(store.log.files.remove(victim)));
        }
        // What outdates the victims' records lies below this, and must be on disk before they go.
        let tail_lsn = {
            let guard = crossbeam_epoch::pin();
            store.log.tail_lsn(&guard)
        };
        let remove: Vec<u64> = spent.iter().map(|victim| victim.header().id).collect();
        store.options.hooks.at(Point::Waiting);
        let replaced =
            if hurried { Ok(()) } else { store.log.wait_synced_while_open(tail_lsn.saturating_sub(1)) };
        let replaced = replaced.and_then(|()| {
            let add = outputs.clone();
            store.log.ask(|reply| Request::Replace { add, remove, freed_lsn, reply })?
        });
        if let Err(error) = replaced {
            // The index refers to them: they stay, and are listed with the next compaction.
            self.unlisted = outputs;
            return Err(error);
        }
        let mut reclaimed = 0;
        for victim in spent {
            reclaimed += victim.end();
            if !hurried {
                if let Err(error) = store.log.files.remove(victim) {
                    // A leftover: the next open removes it.
                    store.say(&format!("compaction: {error}"));
                }
            }
        }
        store.counters.reclaimed_bytes.add(reclaimed as i64);
        spent.iter().for_each(|victim| store.log.table.leave(victim.number()));
        // A closing store unmaps everything soon enough.
        if store.options.faults.has(Fault::NoGraceBeforeUnmap) || store.wait_grace() {
            for victim in spent {
                // T1: the last pointer left the index before the grace period began.
                drop(store.log.table.remove(victim.number()));
                store.log.table.release(victim.number());
            }
        }
        Ok(())
    }
}

/// I15: puts a time that may stand in the victims' cells only into a segment that stays, on disk, before they go. Outputs have
/// it from their `finish`.
fn keep_time(store: &Store, extents: &[Extent]) -> Result<()> {
    let stored_ms = store.stored_time_ms.load(Ordering::Acquire);
    // Only this thread lets a segment go that holds records, so the tail of the listing stays.
    let Some(tail) = extents.iter().find(|extent| !extent.is_sealed).filter(|_| stored_ms > 0) else {
        return Ok(());
    };
    tail.segment.cell().raise_time(stored_ms);
    tail.segment.sync().inspect_err(|error| store.log.break_down(error))
}

/// Highest LSN of the masks that go with these victims and stand nowhere else.
pub(crate) fn freed_lsn(spent: &[Spent]) -> u64 {
    spent.iter().map(|(_, freed_lsn)| *freed_lsn).max().unwrap_or(0)
}

/// A victim that may go, and the highest LSN of the masks that were left out of its copies, for nothing older would stay; 0: none.
pub(crate) type Spent = (Arc<Segment>, u64);

/// Rewrites one victim after the other. Returns those that may go, and what ended it early.
pub(crate) fn rewrite_all(
    rewriter: &mut Rewriter<'_>,
    victims: &[Arc<Segment>],
    born_of_others: u64,
    store: &Store,
    pace: Pace,
    between: Between<'_>,
) -> (Vec<Spent>, Option<Error>) {
    let mut spent = Vec::new();
    let mut failed = None;
    for victim in victims {
        match rewrite(rewriter, victim, born_of_others, store, pace, between) {
            Ok(freed_lsn) => spent.push((Arc::clone(victim), freed_lsn)),
            Err(Trouble::Damage(error)) => {
                // Relaxed: a hint to the picker.
                victim.damaged.store(true, Ordering::Relaxed);
                store.say(&format!("compaction: {error}"));
            }
            Err(Trouble::Failed(error)) => {
                failed = Some(error);
                break;
            }
        }
    }
    (without_early(spent, victims), failed)
}

/// The rewritten victims that may go: a mask that was left out of one keeps it when another victim stays after all, for damage or
/// for want of space (I6).
fn without_early(mut spent: Vec<Spent>, victims: &[Arc<Segment>]) -> Vec<Spent> {
    loop {
        let goes = |victim: &Segment| spent.iter().any(|(s, _)| s.header().id == victim.header().id);
        let born = victims.iter().filter(|v| !goes(v)).map(|v| v.header().born).min().unwrap_or(u64::MAX);
        let before = spent.len();
        spent.retain(|(_, freed_lsn)| *freed_lsn < born);
        if spent.len() == before {
            return spent;
        }
    }
}

/// Fills the reserves first, so that the next compaction on a full disk can begin, and lets writers have the rest (P7).
fn give_back(store: &Store) {
    store.log.files.refill_reserves();
    store.log.space_freed();
}

/// Returns the highest LSN of the masks that were left out, 0 for none.
fn rewrite(
    rewriter: &mut Rewriter<'_>,
    victim: &Arc<Segment>,
    born_of_others: u64,
    store: &Store,
    pace: Pace,
    between: Between<'_>,
) -> Result<u64, Trouble> {
    let holds_bytes = victim.end().saturating_sub(FIRST_RECORD_AT);
    let account = &victim.account;
    // I6: nothing in it lives, and nothing that it hides can be anywhere else: it goes unread.
    if account.dead_bytes() >= holds_bytes && born_of_others > account.highest_mask_lsn() {
        return Ok(account.highest_mask_lsn());
    }
    rewriter.take_freed();
    let mut at = FIRST_RECORD_AT;
    let mut began = Instant::now();
    while at < victim.end() {
        if store.log.is_closing() {
            return Err(Trouble::Failed(Error::Closed));
        }
        at = rewriter.rewrite(victim, at, PORTION_BYTES)?;
        if pace == Pace::Background {
            std::thread::sleep(began.elapsed().clamp(Duration::from_micros(50), Duration::from_millis(5)));
        }
        between();
        began = Instant::now();
    }
    Ok(rewriter.take_freed())
}
