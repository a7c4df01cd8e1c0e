//! What counts of what a crash leaves: `src/recovery/replay.rs`, `src/log/scan.rs`, and the manifests of `src/log/manifest.rs`.

use crate::compaction::{bits, records};
use crate::model::Model;
use crate::rules::Break;
use crate::spec::show;
use crate::state::*;

/// The bytes that an open finds.
#[derive(Clone, Copy)]
pub struct Image {
    pub manifest: Generation,
    /// Records of which no more is there than was surely on disk.
    pub lost: u32,
    pub lost_power: bool,
    /// LSN from which on nothing counts, by an earlier decision; 0 none.
    pub cut: u8,
}

/// What counts of an image.
pub struct Replayed {
    pub index: [Word; KEYS],
    /// Records of unsealed segments that count, frames as their members.
    pub survivors: u32,
    /// First LSN that does not count; `NOBODY` none.
    pub cut: u8,
}

impl Model<'_> {
    pub fn after_death(&self, s: &State) -> Image {
        Image { manifest: s.manifest(), lost: 0, lost_power: s.lost_power, cut: s.cut }
    }

    /// Manifests that power loss may leave: each file as it is on disk, as it was being written, or torn.
    pub fn manifests_after_power_loss(&self, s: &State) -> Vec<[Generation; 2]> {
        let ways = |m: &ManifestFile| {
            let mut all = vec![m.disk];
            if m.now != m.disk {
                all.push(m.now);
                all.extend(m.is_torn.then_some(Generation::default()));
            }
            all
        };
        let seconds = ways(&s.manifests[1]);
        ways(&s.manifests[0]).into_iter().flat_map(|a| seconds.iter().map(move |b| [a, *b])).collect()
    }

    /// Records that power loss may take: none, each on its own, all. Where the first hole ends the log no other choice
    /// leaves anything else.
    pub fn losses(&self, s: &State) -> Vec<u32> {
        let unsure = |n: &usize| {
            let r = &s.records[*n];
            r.disk != r.stage && r.frame == 0 && r.segment != NOBODY && r.stage != Stage::Hole
        };
        let singles: Vec<u32> = (0..usize::from(s.records_len)).filter(unsure).map(|n| 1 << n).collect();
        let all = singles.iter().fold(0, |all, one| all | one);
        let mut ways = vec![0];
        if singles.len() > 1 {
            ways.push(all);
        }
        ways.extend(singles);
        ways
    }

    /// I11, I12: the index that an image gives, or why the store does not open.
    pub fn replay(&self, s: &State, image: &Image) -> Result<Replayed, String> {
        let listed = image.manifest.listed;
        if image.manifest.number == 0 {
            return Err("the store does not open: neither manifest is good".into());
        }
        if image.manifest.listed & GONE != 0 {
            return Err("the store does not open: the manifest lists a file that is gone".into());
        }
        let stage = |n: usize| if image.lost >> n & 1 == 1 { s.records[n].disk } else { s.records[n].stage };
        let mut found = Replayed { index: [Word::NONE; KEYS], survivors: 0, cut: NOBODY };
        let mut clear = 0;
        for n in bits(listed) {
            let g = &s.segments[n];
            if !g.is_file {
                return Err(format!(
                    "the store does not open: segment {n} is listed, and there is no such file"
                ));
            }
            if g.is_output && !g.is_synced && image.lost_power {
                return Err(format!("the store does not open: the copies in segment {n} were not on disk"));
            }
            if image.manifest.sealed >> n & 1 == 0 {
                continue;
            }
            let held = records(s.originals(n) | g.copies)
                .map(|r| (r, false))
                .chain(records(g.masks).map(|r| (r, true)));
            for (record, is_mask) in held {
                let r = &s.records[record];
                let is_original = usize::from(r.segment) == n && !is_mask;
                if is_original && r.lsn >= g.base + g.sealed - 1 {
                    continue;
                }
                if is_original && r.frame == 0 && !stage(record).is_decided() {
                    return Err(format!(
                        "the store does not open: LSN {} of sealed segment {n} is damaged",
                        r.lsn
                    ));
                }
                if !is_original || self.counts(s, record, &stage) {
                    self.offer(s, &mut found.index, &mut clear, Word::new(n, record, is_mask));
                }
            }
        }
        let mut unsealed: Vec<usize> = bits(listed & !image.manifest.sealed).collect();
        unsealed.sort_by_key(|n| s.segments[*n].base);
        self.replay_unsealed(s, image, &unsealed, &stage, &mut found, &mut clear)?;
        if let Some(n) = newer(s, image) {
            return Err(format!(
                "the store does not open: segment {n} holds records, and the manifest does not list it"
            ));
        }
        if !self.lacks(Break::ClearNotReplayed) {
            found.index.iter_mut().filter(|w| s.lsn_of(**w) < clear).for_each(|w| *w = Word::NONE);
        }
        Ok(found)
    }

    /// Whether a record counts where it is read.
    fn counts(&self, s: &State, n: usize, stage: &dyn Fn(usize) -> Stage) -> bool {
        let r = &s.records[n];
        if matches!(r.kind, Kind::Frame | Kind::Pad | Kind::None) {
            return false;
        }
        let is_taken = |stage: Stage| match stage {
            Stage::Committed => true,
            Stage::Pending => self.lacks(Break::PendingReplayed),
            Stage::Aborted => self.lacks(Break::AbortedReplayed),
            Stage::Hole => false,
        };
        if r.frame == 0 {
            return is_taken(stage(n));
        }
        let frame = usize::from(r.frame - 1);
        is_taken(stage(frame)) && r.stage == Stage::Committed
            || stage(frame) == Stage::Hole
                && r.stage == Stage::Committed
                && self.lacks(Break::ResyncIntoBatch)
    }

    fn replay_unsealed(
        &self,
        s: &State,
        image: &Image,
        unsealed: &[usize],
        stage: &dyn Fn(usize) -> Stage,
        found: &mut Replayed,
        clear: &mut u8,
    ) -> Result<(), String> {
        let is_death =
            !image.lost_power && !self.lacks(Break::HolesEndTheLog) || self.lacks(Break::PowerLossAsDeath);
        for &n in unsealed {
            let g = &s.segments[n];
            let mut is_cut = false;
            let is_padded =
                records(s.originals(n)).any(|i| s.records[i].kind == Kind::Pad && stage(i).is_decided());
            for record in records(s.originals(n)) {
                let r = &s.records[record];
                if image.cut > 0 && r.lsn >= image.cut {
                    is_cut = true;
                    break;
                }
                let is_decided = r.frame > 0 || stage(record).is_decided();
                if !is_decided {
                    if r.lsn < s.synced && r.lsn >= s.start {
                        return Err(format!(
                            "the store does not open: LSN {} is gone, and the cell says that it is on disk",
                            r.lsn
                        ));
                    }
                    if !is_death {
                        found.cut = found.cut.min(r.lsn);
                        is_cut = true;
                        break;
                    }
                }
                if self.counts(s, record, stage) {
                    found.survivors |= 1 << record;
                    self.offer(s, &mut found.index, clear, Word::new(n, record, false));
                }
            }
            let (end, rest) = (g.base + g.used, g.capacity - g.used);
            let gap = if self.lacks(Break::GapIsAHole) { 1 } else { HEADER_UNITS };
            let is_end = is_padded || rest < gap || self.lacks(Break::RollLeavesOpen);
            if !is_death && (is_cut || !is_end) && !self.lacks(Break::CutInOneSegment) {
                found.cut = found.cut.min(end);
                return Ok(());
            }
        }
        Ok(())
    }

    fn offer(&self, s: &State, index: &mut [Word; KEYS], clear: &mut u8, word: Word) {
        let r = &s.records[word.record()];
        if r.kind == Kind::Clear {
            *clear = (*clear).max(r.lsn);
            return;
        }
        let best = &mut index[usize::from(r.key)];
        let is_put = s.value_at(word).is_some();
        // Of two copies the engine takes the one read last: here the one that could do harm.
        let wins = best.is_none() || r.lsn > s.lsn_of(*best) || r.lsn == s.lsn_of(*best) && is_put;
        if wins || self.lacks(Break::LastReadWins) {
            *best = word;
        }
    }
}

pub fn shown_words(s: &State, index: &[Word; KEYS]) -> String {
    let all: Vec<String> = (0..KEYS).map(|key| show(s.shown(index, key, s.clock))).collect();
    all.join(" and ")
}

/// A tail segment with records that lies behind all that is listed: the manifest is older than the files.
fn newer(s: &State, image: &Image) -> Option<usize> {
    let listed = image.manifest.listed;
    let end =
        bits(listed).filter(|n| !s.segments[*n].is_output).map(|n| s.segments[n].base).max().unwrap_or(0);
    let stage = |n: usize| if image.lost >> n & 1 == 1 { s.records[n].disk } else { s.records[n].stage };
    (0..SEGMENTS).find(|n| {
        let g = &s.segments[*n];
        let is_newer = g.is_file && !g.is_output && listed >> n & 1 == 0 && g.base > end;
        is_newer && records(s.originals(*n)).any(|r| stage(r) != Stage::Hole)
    })
}
