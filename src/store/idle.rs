//! Entries that nobody has used for a while, where the options say how long that may be. When each was used last stands in memory
//! alone (`log/marks.rs`), so the time begins anew with each open. An entry that is found idle becomes a mask as one that has
//! expired does (I5): whoever finds it so tags its index word before answering "absent". Its record has no deadline that would say
//! so after a reopen; so the mask leaves the index only once a tombstone took its place.

use super::{Found, New, Step, Store};
use crate::clock::millis;
use crate::error::Result;
use crate::index::Address;
use crate::log::{Notes, Segment, View};
use crate::options::{OpenMode, Options};
use crate::record::flags;
use std::time::Duration;

/// Milliseconds of a tick, as a power of two: 17 years of them fit in 32 bits.
const TICK_BITS: u32 = 7;

/// How long an entry may be idle, and since when ticks count.
#[derive(Clone, Copy)]
pub(crate) struct Idle {
    opened_ms: u64,
    ticks: u32,
}

impl Idle {
    pub(super) fn new(time: Duration, now_ms: u64) -> Idle {
        let ticks = millis(time).div_ceil(1 << TICK_BITS);
        Idle { opened_ms: now_ms, ticks: u32::try_from(ticks).unwrap_or(u32::MAX) }
    }

    fn tick(&self, now_ms: u64) -> u32 {
        let ticks = now_ms.saturating_sub(self.opened_ms) >> TICK_BITS;
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// When what was used at a tick has been idle for too long: never early, since it was used within the tick.
    pub(crate) fn ends_ms(&self, used: u32) -> u64 {
        let ticks = u64::from(used) + u64::from(self.ticks) + 1;
        self.opened_ms.saturating_add(ticks << TICK_BITS)
    }
}

/// What a store that is opened like this notes of its records.
pub(crate) fn notes_for(options: &Options) -> Notes {
    if options.mode == OpenMode::ReadOnly {
        return Notes::default();
    }
    let uses = options.time_to_idle.is_some();
    Notes { hits: uses || options.limits.are_set(), uses, weights: options.limits.weigher.is_some() }
}

impl Store {
    /// Notes that what stands at an offset is used now.
    #[inline]
    pub(super) fn note_use(&self, segment: &Segment, offset: u64) {
        if let (Some(idle), Some(marks)) = (&self.idle, segment.marks()) {
            marks.set_used(offset, idle.tick(self.clock.now_ms()));
        }
    }

    /// When an entry that nobody uses meanwhile goes; `None` in a store where it does not, and of what the tier was not told of yet.
    pub(crate) fn idle_until_ms(&self, segment: &Segment, offset: u64, view: &View<'_>) -> Option<u64> {
        let (idle, marks) = (self.idle.as_ref()?, segment.marks()?);
        (!self.is_unsent_change(view)).then(|| idle.ends_ms(marks.used(offset)))
    }

    /// Whether nobody has used an entry for too long.
    #[inline]
    pub(crate) fn is_idle(&self, offset: u64, record: Found<'_>) -> bool {
        let (segment, view) = record;
        self.idle.is_some()
            && self.idle_until_ms(segment, offset, &view).is_some_and(|ms| self.clock.now_ms() >= ms)
    }

    /// Puts a tombstone in the place of an entry of this LSN that was tagged as idle.
    pub(crate) fn forget_idle(&self, key: &[u8], lsn: u64) -> Result<()> {
        let gone = || New { flags: flags::EXPIRED | flags::FROM_TIER, ..New::tombstone() };
        self.write(key, |seen| {
            let is_tagged = seen.lsn == lsn && seen.live.is_none();
            Ok(if is_tagged { Step::Write(gone(), ()) } else { Step::Leave(()) })
        })
        .map(drop)
    }

    /// Lets a read count for what it found.
    #[inline]
    pub(crate) fn note_hit(&self, address: Address, record: Found<'_>) {
        let (segment, _) = record;
        if let Some(marks) = segment.marks() {
            let offset = address.offset_bytes();
            if let Some(hits) = crate::capacity::one_more(marks.hits(offset)) {
                marks.set_hits(offset, hits);
            }
            self.note_use(segment, offset);
        }
    }
}
