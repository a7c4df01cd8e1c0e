//! Which segments to compact.
//!
//! The log is too large when its sealed segments take more than `LIMIT` times what lives, plus half a segment (P8
//! allows more, for the tail and the reserves). Then go, in this order: segments in which everything is dead; those
//! that give back most for what has to be copied; and, when what is dead is masks that still hide something, the
//! oldest, since one rotation frees every mask older than its start (I6).

use crate::log::{Extent, Segment, FIRST_RECORD_AT};
use crate::store::Store;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Sealed bytes allowed for each live byte, in percent.
const LIMIT_PERCENT: u64 = 140;
/// A segment is worth rewriting for its garbage alone when at least this share of it is, in percent.
const GAIN_PERCENT_MIN: u64 = 15;
/// So many segments that are smaller than this share of a segment are merged: what opening and closing leaves. A store that
/// grows has older, smaller segments too, and they stay above it.
const SMALL_SEGMENTS_MAX: usize = 8;
const SMALL_SHARE: u64 = 16;
/// Segments rewritten at once for a rotation or a merge, in bytes, as a multiple of a segment.
const SEGMENTS_AT_ONCE: u64 = 4;

pub(crate) struct Choice {
    pub(crate) victims: Vec<Arc<Segment>>,
    /// Whether their copies may take what is held back for a full disk.
    pub(crate) uses_reserve: bool,
}

/// How large the log is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) sealed_bytes: u64,
    pub(crate) live_bytes: u64,
    pub(crate) segment_bytes: u64,
}

/// Segments that may be rewritten.
pub(super) fn candidates(extents: &[Extent]) -> impl Iterator<Item = &Arc<Segment>> {
    // Relaxed, Acquire: hints; what counts is read again after the grace period of I9.
    extents
        .iter()
        .filter(|extent| extent.is_sealed)
        .map(|extent| &extent.segment)
        .filter(|s| !s.damaged.load(Ordering::Relaxed) && s.publishing.load(Ordering::Acquire) == 0)
}

fn held_bytes(segment: &Segment) -> u64 {
    segment.end().saturating_sub(FIRST_RECORD_AT)
}

fn live_bytes(segment: &Segment) -> u64 {
    held_bytes(segment).saturating_sub(segment.account.dead_bytes())
}

/// Size of a segment in a store with so much alive.
pub(crate) fn segment_bytes(live_bytes: u64, store: &Store) -> u64 {
    (live_bytes / 16).max(store.log.files.reserve_bytes).min(store.options.segment_bytes)
}

/// Room for what lives in the victims, up to a segment.
pub(crate) fn output_bytes(victims: &[Arc<Segment>], store: &Store) -> u64 {
    let live: u64 = victims.iter().map(|v| live_bytes(v) + v.account.mask_bytes()).sum();
    // An output may be a victim on a full disk.
    let max = store.options.segment_bytes.min(store.log.files.copied_bytes_max());
    (FIRST_RECORD_AT + live).min(max).max(store.log.files.reserve_bytes.min(64 << 10))
}

impl Measure {
    pub(crate) fn of(extents: &[Extent], store: &Store) -> Measure {
        let sealed = extents.iter().filter(|extent| extent.is_sealed);
        let live: u64 = extents.iter().map(|extent| live_bytes(&extent.segment)).sum();
        Measure {
            sealed_bytes: sealed.map(|extent| extent.segment.end()).sum(),
            live_bytes: live,
            segment_bytes: segment_bytes(live, store),
        }
    }

    fn bytes_max(&self) -> u64 {
        self.live_bytes / 100 * LIMIT_PERCENT + self.segment_bytes / 2
    }

    fn is_over(&self) -> bool {
        self.sealed_bytes > self.bytes_max()
    }

    /// Twice too large: compactions were cut off again and again, or writers outrun them.
    pub(crate) fn is_far_over(&self) -> bool {
        self.sealed_bytes / 2 > self.bytes_max()
    }
}

/// On a full disk: the one victim whose copies take the least, if they fit into what is held back and are smaller than it.
/// One, so that it goes for sure: masks that hide something in others are copied, not left out (I6).
pub(super) fn last_resort(extents: &[Extent], store: &Store) -> Option<Choice> {
    let copied_bytes = |s: &Segment| {
        (FIRST_RECORD_AT + live_bytes(s) + s.account.mask_bytes()).next_multiple_of(FIRST_RECORD_AT)
    };
    let held_bytes = store.log.files.copied_bytes_max();
    let goes = |s: &&Arc<Segment>| copied_bytes(s) < s.end() && copied_bytes(s) <= held_bytes;
    let victim = candidates(extents).filter(goes).min_by_key(|s| copied_bytes(s))?;
    Some(Choice { victims: vec![Arc::clone(victim)], uses_reserve: true })
}

/// Chooses victims; `None` when the log is as small as it has to be.
pub(crate) fn pick(measure: &Measure, extents: &[Extent]) -> Option<Choice> {
    let at_once = measure.segment_bytes * SEGMENTS_AT_ONCE;
    let all: Vec<&Arc<Segment>> = candidates(extents).collect();
    let small: Vec<_> = all
        .iter()
        .copied()
        .filter(|s| s.end() < measure.segment_bytes / SMALL_SHARE)
        .map(Arc::clone)
        .collect();
    if small.len() >= SMALL_SEGMENTS_MAX {
        return Some(Choice { victims: limit(small, at_once), uses_reserve: false });
    }
    if !measure.is_over() {
        return None;
    }
    let lowest_born_but = |id: u64| {
        extents
            .iter()
            .map(|e| e.segment.header())
            .filter(|h| h.id != id)
            .map(|h| h.born)
            .min()
            .unwrap_or(u64::MAX)
    };
    let gain = |segment: &Segment| {
        let account = &segment.account;
        let freed = lowest_born_but(segment.header().id) > account.highest_mask_lsn();
        account.dead_bytes().saturating_sub(if freed { 0 } else { account.mask_bytes() })
    };
    let worth = |segment: &Segment| gain(segment) * 100 / segment.end().max(1);
    let best: Vec<_> = highest_first(&all, |segment| worth(segment))
        .into_iter()
        .filter(|(worth, _)| *worth >= GAIN_PERCENT_MIN)
        .map(|(_, segment)| Arc::clone(segment))
        .collect();
    if !best.is_empty() {
        // As many as their live records fill one segment.
        let mut live = 0;
        let mut first = true;
        let victims = best
            .into_iter()
            .take_while(|segment| {
                live += live_bytes(segment);
                std::mem::take(&mut first) || live <= measure.segment_bytes
            })
            .collect();
        return Some(Choice { victims, uses_reserve: false });
    }
    rotation(all, at_once)
}

/// With each one's measure, which is taken once: it changes while others write, and an order that changes while it is sorted
/// by makes the sort panic.
fn highest_first<T: Copy>(all: &[T], measure: impl Fn(T) -> u64) -> Vec<(u64, T)> {
    let mut measured: Vec<_> = all.iter().map(|one| (measure(*one), *one)).collect();
    measured.sort_by_key(|(measure, _)| std::cmp::Reverse(*measure));
    measured
}

/// The oldest segments, while there is one that is older than some mask.
fn rotation(mut all: Vec<&Arc<Segment>>, at_once: u64) -> Option<Choice> {
    let youngest_mask =
        all.iter().filter(|s| s.account.mask_bytes() > 0).map(|s| s.account.highest_mask_lsn()).max()?;
    all.sort_by_key(|segment| segment.header().born);
    let oldest: Vec<_> =
        all.into_iter().filter(|segment| segment.header().born <= youngest_mask).map(Arc::clone).collect();
    if oldest.is_empty() {
        return None;
    }
    Some(Choice { victims: limit(oldest, at_once), uses_reserve: false })
}

/// The first of them up to so many bytes, and one in any case.
fn limit(segments: Vec<Arc<Segment>>, bytes_max: u64) -> Vec<Arc<Segment>> {
    let mut bytes = 0;
    let mut first = true;
    segments
        .into_iter()
        .take_while(|segment| {
            bytes += segment.end();
            std::mem::take(&mut first) || bytes <= bytes_max
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::highest_first;
    use std::cell::Cell;

    #[test]
    fn segments_are_ordered_while_what_they_are_ordered_by_changes() {
        let all: Vec<u64> = (0..200).collect();
        let drift = Cell::new(0);
        // A measure that is never the same twice.
        let ordered = highest_first(&all, |one| {
            drift.set(drift.get() + 7919);
            (one + drift.get()) % 211
        });
        assert!(ordered.windows(2).all(|pair| pair[0].0 >= pair[1].0));
        assert_eq!(drift.get() / 7919, all.len() as u64, "measured once each");
    }
}
