//! What the compactor would do at once, done by the open itself: a store that is only ever opened for moments has no
//! compaction that comes to its end, and its segments would pile up.

use crate::compaction::{freed_lsn, output_bytes, pick, rewrite_all, Measure, Pace, Rewriter};
use crate::error::Result;
use crate::limits::SEGMENT_BYTES_FIRST;
use crate::log::{Extent, Seal, Segment, Sighting, FIRST_RECORD_AT};
use crate::store::Store;
use std::sync::Arc;

/// Victims that an open rewrites, in bytes: a few milliseconds.
const BYTES_MAX: u64 = 4 * SEGMENT_BYTES_FIRST;
/// The same where compactions were cut off again and again: what a second open would find again.
const BYTES_MAX_FAR_OVER: u64 = 64 * SEGMENT_BYTES_FIRST;

/// Victims among the sealed segments; most often none.
pub(super) fn choose(store: &Store, sealed: &[Arc<Segment>]) -> Vec<Arc<Segment>> {
    let extent = |segment: &Arc<Segment>| Extent {
        segment: Arc::clone(segment),
        used_bytes: segment.end(),
        is_sealed: true,
        seal: Seal::default(),
    };
    let extents: Vec<Extent> = sealed.iter().map(extent).collect();
    let measure = Measure::of(&extents, store);
    let Some(mut choice) = pick(&measure, &extents) else { return Vec::new() };
    let bytes_max = if measure.is_far_over() { BYTES_MAX_FAR_OVER } else { BYTES_MAX };
    let mut bytes = 0;
    choice.victims.retain(|victim| {
        bytes += victim.end();
        // One that is damaged stays, and what was copied of it by then would be copied at each open.
        bytes <= bytes_max && is_sound(victim)
    });
    // What costs least to copy first, as the compactor does.
    choice.victims.sort_by_cached_key(|victim| victim.end().saturating_sub(victim.account.dead_bytes()));
    choice.victims
}

fn is_sound(victim: &Segment) -> bool {
    // What the open has read was checked.
    let mut is_sound = true;
    if !victim.is_unread() {
        return is_sound;
    }
    victim.check_records(FIRST_RECORD_AT, u64::MAX, |_| is_sound = false);
    is_sound
}

/// What rewriting the victims gave.
#[derive(Default)]
pub(super) struct Tidied {
    pub(super) outputs: Vec<Arc<Segment>>,
    /// The victims that may go.
    pub(super) spent: Vec<Arc<Segment>>,
    /// Masks up to this went with them (I6).
    pub(super) freed_lsn: u64,
    pub(super) sightings: Vec<Sighting>,
}

/// Copies what the victims still hold into outputs that are born at `born`. Without room for that beside what is held back for
/// a full disk the victims stay: it is no reason not to open.
pub(super) fn rewrite(
    store: &Store,
    sealed: &[Arc<Segment>],
    victims: &[Arc<Segment>],
    born: u64,
    born_of_others: u64,
    made: &mut Vec<Arc<Segment>>,
) -> Result<Tidied> {
    let largest = sealed.iter().map(|segment| segment.end()).max().unwrap_or(0);
    if !store.log.files.hold_back(largest.min(store.options.segment_bytes)) {
        return Ok(Tidied::default());
    }
    let mut rewriter = Rewriter::new(store, born, born_of_others, output_bytes(victims, store), false);
    let (spent, failed) =
        rewrite_all(&mut rewriter, victims, born_of_others, store, Pace::Hurried, &mut || {});
    if let Some(error) = failed {
        store.say(&format!("open: {error}"));
    }
    made.extend(rewriter.outputs().iter().cloned());
    store.counters.relocated_bytes.add(rewriter.copied_bytes as i64);
    let (outputs, sightings) = rewriter.finish()?;
    let freed_lsn = freed_lsn(&spent);
    let spent = spent.into_iter().map(|(victim, _)| victim).collect();
    Ok(Tidied { outputs, spent, freed_lsn, sightings })
}
