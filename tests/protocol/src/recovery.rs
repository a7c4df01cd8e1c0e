//! Crashes, and the state from which an open goes on: `src/recovery.rs`, `src/recovery/tidy.rs`.

use crate::compaction::{bits, entry, tail_of_copies, Fate};
use crate::model::{broken, say, tail, Model, Step};
use crate::replay::{shown_words, Replayed};
use crate::rules::Break;
use crate::spec::show;
use crate::state::*;

impl Model<'_> {
    /// Ends the process: memory is gone, the system has the files.
    pub fn die(&mut self, s: &mut State, is_clock_back: bool) {
        // What nobody has decided was no write, now that nobody will.
        s.records
            .iter_mut()
            .filter(|r| r.frame == 0 && !r.stage.is_decided())
            .for_each(|r| r.is_published = false);
        self.end_process(s, is_clock_back);
    }

    fn end_process(&mut self, s: &mut State, is_clock_back: bool) {
        say!(
            self,
            "the process dies{};",
            if is_clock_back { ", and the wall clock is set back" } else { "" }
        );
        for t in 0..THREADS {
            let ran = s.threads[t].pc != Pc::Idle;
            s.threads[t] = Thread { op: s.threads[t].op + u8::from(ran), ..Thread::default() };
        }
        s.index = [Word::NONE; KEYS];
        s.masks = [(Word::NONE, NOBODY); KEYS];
        (s.pins, s.syncing, s.cut, s.active) = (0, 0, 0, 0);
        s.compaction = Compaction::default();
        if is_clock_back {
            s.clock = s.stored_time;
        }
        for n in 0..SEGMENTS {
            let g = &s.segments[n];
            let is_listed = s.manifests.iter().any(|m| (m.now.listed | m.disk.listed) >> n & 1 == 1);
            let has_records = !g.is_output && s.all().iter().any(|r| usize::from(r.segment) == n);
            if g.is_file && (is_listed || has_records) {
                let g = &mut s.segments[n];
                (g.is_mapped, g.waits, g.publishing, g.freed) = (false, 0, 0, 0);
            } else {
                self.unmap(s, n);
            }
        }
        (s.phase, s.crashes_left) = (Phase::Down, s.crashes_left - 1);
    }

    pub fn lose_power(&mut self, s: &mut State, manifests: [Generation; 2], lost: u32) {
        let gone: Vec<u8> = (0..RECORDS).filter(|n| lost >> n & 1 == 1).map(|n| s.records[n].lsn).collect();
        say!(self, "power is lost, with LSNs {gone:?} and manifests {:?};", manifests.map(|m| m.number));
        self.end_process(s, false);
        for n in 0..usize::from(s.records_len) {
            let r = &mut s.records[n];
            if lost >> n & 1 == 1 {
                r.stage = r.disk;
            }
            r.disk = r.stage;
        }
        for (m, left) in s.manifests.iter_mut().zip(manifests) {
            *m = ManifestFile { now: left, disk: left, is_torn: false };
        }
        s.lost_power = true;
    }

    /// One step of an open (I17). Of `victims` it rewrites those in `done`; then there is no room.
    pub fn recover(&mut self, s: &mut State, victims: u16, done: u16) -> Step {
        if s.phase == Phase::Opening {
            self.sync_manifest(s);
            return self.open(s);
        }
        let image = self.after_death(s);
        let replayed = match self.replay(s, &image) {
            Ok(replayed) => replayed,
            Err(why) => return broken(format!("P2, P3: {why}")),
        };
        let now = s.manifest();
        if self.lacks(Break::OldTailReused) {
            return self.reuse_old_tail(s, &replayed);
        }
        if self.lacks(Break::SealedInPlace) && s.cut == 0 && replayed.cut != NOBODY {
            if let Some(n) = bits(now.listed & !now.sealed).find(|n| {
                let g = &s.segments[*n];
                g.base <= replayed.cut && replayed.cut < g.base + g.capacity
            }) {
                say!(self, "recovery seals segment {n} in place;");
                s.segments[n].sealed = replayed.cut - s.segments[n].base + 1;
                s.cut = replayed.cut;
                self.store(s, Generation { sealed: now.sealed | 1 << n, ..now });
                self.sync_manifest(s);
                return Ok(());
            }
        }
        say!(self, "recovery finds {};", shown_words(s, &replayed.index));
        s.index = replayed.index;
        let (kept, old) = (now.listed & now.sealed, now.listed & !now.sealed);
        let ends = bits(now.listed).map(|n| s.segments[n].base + s.segments[n].capacity);
        let mut base = ends.max().unwrap_or(1).max(1);
        if self.lacks(Break::LsnsUsedAgain) {
            base = bits(old).map(|n| s.segments[n].base).max().unwrap_or(base);
        }
        let fresh = self.add_segment(s, tail(base, self.scenario.capacity))?;
        s.active = fresh;
        if victims != 0 {
            // Nobody reads yet: no grace period (I5).
            for key in 0..KEYS {
                if !s.index[key].is_none() && s.value_at(s.index[key]).is_none() {
                    s.index[key] = Word::NONE;
                }
            }
        }
        let without = if self.lacks(Break::VictimsOfAnOpenCountAsGone) { victims } else { 0 };
        let mut outputs = self.rewrite(s, &replayed, kept & !without, base)?;
        let (tidied, spent) = self.tidy_up(s, kept, victims, done, base)?;
        outputs |= tidied;
        let kept = kept & !spent;
        let listed = kept | 1 << fresh | outputs;
        let whole = !self.lacks(Break::ManifestWrittenOver);
        s.phase = Phase::Opening;
        self.store(s, Generation { listed, sealed: kept | outputs, ..now });
        if whole {
            // It takes the file's name when it is whole on disk.
            let newest = s.newest_manifest();
            s.manifests[newest].is_torn = false;
        }
        if self.lacks(Break::OldSegmentsGoFirst) {
            bits(old | spent).for_each(|n| s.segments[n].is_file = false);
        }
        if self.lacks(Break::WritesBeforeListing) {
            return self.open(s);
        }
        Ok(())
    }

    /// Copies what survives of the unsealed segments.
    fn rewrite(&mut self, s: &mut State, replayed: &Replayed, kept: u16, base: u8) -> Step<u16> {
        let born_of_others = bits(kept).map(|n| s.segments[n].born).chain([base]).min().unwrap_or(0);
        let (mut copies, mut masks) = (0, 0);
        for record in (0..usize::from(s.records_len)).filter(|n| replayed.survivors >> n & 1 == 1) {
            let n = usize::from(s.records[record].segment);
            match self.fate(s, n, record, false, born_of_others, &mut 0) {
                Fate::Drop => {}
                Fate::Keep if s.records[record].kind == Kind::Clear => copies |= 1 << record,
                Fate::Move { is_mask: false } => copies |= 1 << record,
                Fate::Keep | Fate::Move { is_mask: true } => masks |= 1u32 << record,
            }
        }
        if self.lacks(Break::RecoveryDropsMasks) {
            masks = 0;
        }
        let old = self.rewritten(replayed.survivors, s);
        self.add_copies(s, copies, masks, base, old)
    }

    /// Segments that these records were appended to.
    fn rewritten(&self, records: u32, s: &State) -> u16 {
        let of = (0..RECORDS).filter(|n| records >> n & 1 == 1).map(|n| s.records[n].segment);
        of.filter(|n| *n != NOBODY).fold(0, |all, n| all | 1 << n)
    }

    /// An output with these copies, to which index entries lead that led into `old`.
    fn add_copies(&self, s: &mut State, copies: u32, masks: u32, base: u8, old: u16) -> Step<u16> {
        if copies | masks == 0 {
            return Ok(0);
        }
        let output = Segment {
            is_output: true,
            is_synced: !self.lacks(Break::SurvivorsNotSynced),
            sealed: 1,
            copies,
            masks,
            ..tail_of_copies(base)
        };
        let n = self.add_segment(s, output)?;
        for word in s.index.iter_mut().filter(|w| !w.is_none()) {
            let bit = 1u32 << word.record();
            if (copies | masks) & bit != 0 && old >> word.segment() & 1 == 1 {
                *word = Word::new(usize::from(n), word.record(), masks & bit != 0);
            }
        }
        Ok(1 << n)
    }

    /// `recovery/tidy.rs`: a compaction by the open itself. The output, and the victims that may go.
    fn tidy_up(&mut self, s: &mut State, kept: u16, victims: u16, done: u16, base: u8) -> Step<(u16, u16)> {
        let others = bits(kept & !victims).map(|n| s.segments[n].born);
        let born_of_others = others.chain([base]).min().unwrap_or(0);
        let (mut copies, mut masks, mut spent) = (0u32, 0u32, 0u16);
        for n in bits(done) {
            say!(self, "segment {n} is rewritten too;");
            let mut freed = 0;
            for at in (0..2 * RECORDS).filter(|at| entry(s, n, *at).is_some()).collect::<Vec<_>>() {
                let record = at % RECORDS;
                match self.fate(s, n, record, at >= RECORDS, born_of_others, &mut freed) {
                    Fate::Drop => {}
                    Fate::Keep if s.records[record].kind == Kind::Clear => copies |= 1 << record,
                    Fate::Move { is_mask: false } => copies |= 1 << record,
                    Fate::Keep | Fate::Move { is_mask: true } => masks |= 1 << record,
                }
            }
            spent |= 1 << n;
            s.segments[n].freed = freed;
        }
        let spent = self.without_early(s, victims, spent);
        let output = self.add_copies(s, copies, masks, base, victims)?;
        Ok((output, spent))
    }

    /// The store is open: what it holds is judged, and is what counts from now on.
    fn open(&mut self, s: &mut State) -> Step {
        let shown: [u8; KEYS] = std::array::from_fn(|key| s.shown(&s.index, key, s.clock));
        say!(self, "the store is open: {}", shown_words(s, &s.index));
        if s.lost_power {
            self.judge_prefix(s, &shown, s.floor, "power loss")?;
        }
        for (key, &shown) in shown.iter().enumerate() {
            let next = if s.lost_power {
                Some(self.monitors.still(key, shown, s.clock))
            } else {
                self.monitors.open(s.monitors[key], shown, s.clock)
            };
            let Some(next) = next else {
                let allowed = self.monitors.allowed(s.monitors[key]);
                return broken(format!(
                    "P2: key {key} is {} after the death of the process, and can be {allowed}",
                    show(shown)
                ));
            };
            s.monitors[key] = next;
        }
        let listed = s.manifest().listed;
        for n in 0..SEGMENTS {
            if listed >> n & 1 == 0 && !self.lacks(Break::WritesBeforeListing) {
                self.unmap(s, n);
            } else if !s.segments[n].is_free() {
                s.segments[n].is_mapped = listed >> n & 1 == 1;
            }
        }
        (s.phase, s.lost_power, s.cut) = (Phase::Up, false, 0);
        (s.found, s.floor, s.synced, s.start) = (shown, 0, s.tail_lsn(), s.tail_lsn());
        s.masks = [(Word::NONE, NOBODY); KEYS];
        for key in 0..KEYS {
            if !s.index[key].is_none() && s.value_at(s.index[key]).is_none() {
                s.masks[key] = (s.index[key], 0);
            }
        }
        let copied = bits(listed).fold(0, |all, n| all | s.segments[n].copies | s.segments[n].masks);
        for (n, r) in s.records.iter_mut().enumerate() {
            r.is_published = false;
            if copied >> n & 1 == 1 {
                (r.stage, r.disk, r.frame) = (Stage::Committed, Stage::Committed, 0);
            }
        }
        self.tidy(s);
        Ok(())
    }

    /// I17 taken out: goes on behind what was found.
    fn reuse_old_tail(&mut self, s: &mut State, replayed: &Replayed) -> Step {
        let now = s.manifest();
        s.index = replayed.index;
        let old = bits(now.listed & !now.sealed);
        let used = |n: &usize| s.segments[*n].used > 0;
        let Some(n) = old.clone().filter(used).max_by_key(|n| s.segments[*n].base).or(old.clone().next())
        else {
            return broken("no tail to reuse");
        };
        s.active = n as u8;
        self.open(s)
    }

    /// Records that no segment holds are forgotten, and those that are left numbered anew: two runs that left the same
    /// files are one from here on. Only the order of LSNs counts.
    fn tidy(&self, s: &mut State) {
        if !self.broken.is_sound() {
            return;
        }
        let held = |n: usize| {
            (0..SEGMENTS).any(|g| !s.segments[g].is_free() && (s.holds(g, n, false) || s.holds(g, n, true)))
        };
        let keep: Vec<usize> = (0..usize::from(s.records_len)).filter(|n| held(*n)).collect();
        let mut lsns: Vec<u8> = keep.iter().map(|n| s.records[*n].lsn).collect();
        for g in s.segments.iter().filter(|g| !g.is_free()) {
            lsns.extend([g.base, g.born, g.base + g.capacity, g.base + g.used]);
        }
        lsns.sort_unstable();
        lsns.dedup();
        let rank = |lsn: u8| lsns.iter().position(|l| *l == lsn).unwrap_or(0) as u8 + 1;
        let at = |n: usize| keep.iter().position(|k| *k == n);
        let mut next = *s;
        next.records = [Record::default(); RECORDS];
        for (i, n) in keep.iter().enumerate() {
            let r = s.records[*n];
            let frame = if r.frame > 0 { at(usize::from(r.frame - 1)).map_or(0, |f| f as u8 + 1) } else { 0 };
            next.records[i] = Record { lsn: rank(r.lsn), frame, ..r };
        }
        next.records_len = keep.len() as u8;
        let moved = |set: u32| {
            keep.iter()
                .enumerate()
                .filter(|(_, n)| set >> **n & 1 == 1)
                .fold(0u32, |all, (i, _)| all | 1 << i)
        };
        for (n, g) in next.segments.iter_mut().enumerate().filter(|(_, g)| !g.is_free()) {
            (g.copies, g.masks) = (moved(g.copies), moved(g.masks));
            g.born = rank(g.born);
            let base = rank(g.base);
            if g.sealed > 0 && !g.is_output {
                // What counts ends behind its last record.
                let end = rank(g.base + g.capacity).max(base + 1);
                (g.capacity, g.used, g.sealed) = (end - base, end - base, end - base + 1);
            } else if usize::from(s.active) != n {
                (g.used, g.capacity) = (0, 0);
            }
            g.base = base;
        }
        for key in 0..KEYS {
            let word = |w: Word| {
                if w.is_none() {
                    w
                } else {
                    Word::new(w.segment(), at(w.record()).unwrap_or(0), w.is_mask())
                }
            };
            next.index[key] = word(s.index[key]);
            next.masks[key].0 = word(s.masks[key].0);
        }
        (next.start, next.synced) = (next.tail_lsn(), next.tail_lsn());
        *s = next;
    }
}
