//! The log thread: syncs, seals, manifests (`src/log/keeper.rs`, `src/log/manifest.rs`); and what it hands to the sweeper
//! (`src/expiry/sweeper.rs`).

use crate::model::{say, Model, Step};
use crate::rules::Break;
use crate::state::*;

impl Model<'_> {
    /// Whether a sync would release anybody.
    pub fn is_sync_wanted(&self, s: &State) -> bool {
        let waits = s.threads.iter().any(|t| t.pc == Pc::Wait && s.synced <= t.lsn);
        waits || s.compaction.work == Work::Synced && s.synced < s.compaction.tail
    }

    /// Where a sync reaches that begins now (I10).
    fn sync_point(&self, s: &State) -> u8 {
        if self.lacks(Break::SyncPastUnresolved) {
            return s.tail_lsn();
        }
        if self.lacks(Break::PadNotWaitedFor) {
            let mut without_pads = *s;
            without_pads
                .records
                .iter_mut()
                .filter(|r| r.kind == Kind::Pad)
                .for_each(|r| r.stage = Stage::Committed);
            return without_pads.resolved();
        }
        s.resolved()
    }

    pub fn can_sync(&self, s: &State) -> bool {
        s.syncing != 0 || self.is_sync_wanted(s) && self.sync_point(s) > s.synced
    }

    /// `Keeper::sync_tail`: fixes the point, syncs, and says so. In two steps where the scenario asks for it.
    pub fn sync(&mut self, s: &mut State) {
        if s.syncing == 0 {
            s.syncing = self.sync_point(s);
            say!(self, "a sync begins that covers what is below LSN {}", s.syncing);
            if self.scenario.fine_sync {
                return;
            }
        }
        let point = s.syncing;
        s.syncing = 0;
        self.to_disk(s, |r| r.lsn < point);
        let told = if self.lacks(Break::ReleasedByOlderSync) { self.sync_point(s) } else { point };
        s.synced = s.synced.max(told);
        say!(self, "on disk below LSN {told}");
    }

    fn to_disk(&self, s: &mut State, which: impl Fn(&Record) -> bool) {
        let len = usize::from(s.records_len);
        s.records[..len].iter_mut().filter(|r| which(r)).for_each(|r| r.disk = r.stage);
    }

    /// Full, decided to its end, the oldest of the tail, and left by the writers (L1).
    pub fn can_seal(&self, s: &State, n: usize) -> bool {
        let g = &s.segments[n];
        let is_tail = g.is_mapped && !g.is_output && g.sealed == 0 && s.is_listed(n) && g.waits == 0;
        let is_full =
            g.is_closed || g.used == g.capacity || self.lacks(Break::RollLeavesOpen) && s.active != n as u8;
        if !is_tail || !is_full || s.is_listing() {
            return false;
        }
        let own_end = g.base + g.capacity;
        let in_it = |r: &&Record| usize::from(r.segment) == n && r.frame == 0;
        let is_decided = s.all().iter().filter(in_it).all(|r| r.stage.is_decided());
        let older = (0..SEGMENTS).any(|o| {
            let other = &s.segments[o];
            other.is_mapped && !other.is_output && other.sealed == 0 && s.is_listed(o) && other.base < g.base
        });
        is_decided && (self.lacks(Break::SealedOutOfOrder) || !older && s.resolved() >= own_end)
    }

    /// `Keeper::seal_complete`.
    pub fn seal(&mut self, s: &mut State, n: usize) -> Step {
        say!(self, "segment {n} is synced and sealed");
        if usize::from(s.active) == n && !self.lacks(Break::SealedWhileActive) {
            // L1: first the writers leave it.
            s.segments[n].is_closed = true;
            self.install(s, n as u8)?;
        }
        if !self.lacks(Break::SealedBeforeSynced) {
            self.to_disk(s, |r| usize::from(r.segment) == n);
            if !self.lacks(Break::SealedOutOfOrder) {
                s.synced = s.synced.max(s.segments[n].base + s.segments[n].capacity);
            }
        }
        s.segments[n].sealed = s.segments[n].used + 1;
        let now = s.manifest();
        self.store(s, Generation { sealed: now.sealed | 1 << n, ..now });
        Ok(())
    }

    /// Writes the next generation over the older file; it counts for the system, and not yet for the disk.
    pub fn store(&mut self, s: &mut State, next: Generation) {
        let number = s.manifest().number + 1;
        let file = if self.lacks(Break::ManifestInPlace) { 0 } else { usize::from(number % 2) };
        s.manifests[file].now = Generation { number, ..next };
        s.manifests[file].is_torn = true;
        say!(self, "and manifest {number} written;");
        if !self.scenario.fine_sync && s.phase == Phase::Up {
            self.sync_manifest(s);
        }
    }

    /// Only which generation is newer counts, and which file that is in: numbers stay small.
    pub fn sync_manifest(&mut self, s: &mut State) {
        let newest = s.newest_manifest();
        let number = 2 + s.manifests[newest].now.number % 2;
        s.manifests[newest].now.number = number;
        s.manifests[newest].disk = s.manifests[newest].now;
        s.manifests[newest].is_torn = false;
        for old in [&mut s.manifests[1 - newest].now, &mut s.manifests[1 - newest].disk] {
            old.number = old.number.min(number - 1);
        }
        say!(self, "the manifest is on disk");
    }

    /// A segment that took records before it was listed.
    pub fn list(&mut self, s: &mut State, n: usize) {
        say!(self, "lists segment {n}");
        let now = s.manifest();
        self.store(s, Generation { listed: now.listed | 1 << n, ..now });
    }

    pub fn can_list(&self, s: &State, n: usize) -> bool {
        let g = &s.segments[n];
        self.lacks(Break::RecordsBeforeListing)
            && !s.is_listing()
            && g.is_mapped
            && g.is_file
            && !g.is_output
            && !s.is_listed(n)
            && g.sealed == 0
    }

    // ---- the sweeper

    pub fn can_forget(&self, s: &State, key: usize) -> bool {
        s.masks[key].1 == 0
    }

    /// `forget_one`.
    pub fn forget(&mut self, s: &mut State, key: usize) {
        let mask = s.masks[key].0;
        say!(self, "the mask of LSN {} leaves the index", s.lsn_of(mask));
        s.masks[key] = (Word::NONE, NOBODY);
        if s.index[key] == mask || self.lacks(Break::MaskRemovedUnseen) {
            s.index[key] = Word::NONE;
        }
    }

    pub fn can_sweep(&self, s: &State, key: usize) -> bool {
        let word = s.index[key];
        let is_decided = !word.is_none() && s.records[word.record()].stage == Stage::Committed;
        is_decided && s.value_at(word).is_some_and(|v| at_time(v, s.clock) == 0)
    }

    /// `expire_one`.
    pub fn sweep(&mut self, s: &mut State, key: usize) {
        say!(self, "the sweeper tags LSN {}", s.lsn_of(s.index[key]));
        self.tag(s, key, s.index[key]);
    }

    pub fn can_unmap(&self, s: &State, n: usize) -> bool {
        let g = &s.segments[n];
        g.is_mapped && !g.is_file && g.waits == 0
    }

    pub fn unmap(&mut self, s: &mut State, n: usize) {
        s.segments[n] = Segment::default();
        for generation in s.manifests.iter_mut().flat_map(|m| [&mut m.now, &mut m.disk]) {
            if generation.listed >> n & 1 == 1 {
                generation.listed = generation.listed & !(1 << n) | GONE;
                generation.sealed &= !(1 << n);
            }
        }
        s.records.iter_mut().filter(|r| usize::from(r.segment) == n).for_each(|r| r.segment = NOBODY);
    }
}
