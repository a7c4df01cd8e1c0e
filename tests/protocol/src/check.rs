//! What must hold at every state: the promises of docs/design.md.

use crate::model::{broken, Model, Step};
use crate::replay::{shown_words, Image};
use crate::rules::Break;
use crate::spec::{show, Op};
use crate::state::*;

impl Model<'_> {
    pub fn judge(&mut self, s: &State) -> Step {
        if s.phase != Phase::Up {
            return Ok(());
        }
        self.judge_readers(s)?;
        self.judge_death(s, s.clock)?;
        if self.scenario.clock_back {
            self.judge_death(s, s.stored_time)?;
        }
        if self.scenario.power {
            self.judge_power_loss(s)?;
        }
        if self.scenario.backup && !s.is_listing() {
            self.judge_backup(s)?;
        }
        Ok(())
    }

    /// P1: a reader that came now would see something that it may see.
    fn judge_readers(&self, s: &State) -> Step {
        for key in 0..KEYS {
            self.follow(s, s.index[key], "a reader")?;
            let shown = s.shown(&s.index, key, s.clock);
            if !self.monitors.allows(s.monitors[key], shown, s.clock) {
                let allowed = self.monitors.allowed(s.monitors[key]);
                return broken(format!(
                    "P1, P4: a reader would find key {key} {}, and it can be {allowed}",
                    show(shown)
                ));
            }
        }
        Ok(())
    }

    /// P2: the process dies here and the store is opened again.
    fn judge_death(&self, s: &State, clock: u8) -> Step {
        let replayed = match self.replay(s, &self.after_death(s)) {
            Ok(replayed) => replayed,
            Err(why) => return broken(format!("P2: the process dies here, and {why}")),
        };
        for key in 0..KEYS {
            let shown = s.shown(&replayed.index, key, clock);
            if !self.monitors.allows(s.monitors[key], shown, clock) {
                let allowed = self.monitors.allowed(s.monitors[key]);
                return broken(format!(
                    "P2, P4: the process dies here, and key {key} is {}, though it can be {allowed}",
                    show(shown)
                ));
            }
        }
        for t in 0..self.scenario.threads.len() {
            let is_batch = self.scenario.atomic
                && s.threads[t].pc != Pc::Idle
                && matches!(self.op(s, t), Some(Op::Batch(..)));
            let way = |key: usize| {
                self.monitors.out_or_in(s.monitors[key], t, s.shown(&replayed.index, key, clock), clock)
            };
            let fits = |way: [[bool; 2]; KEYS]| (0..2).any(|side| way.iter().all(|w| w[side]));
            if is_batch && !fits(std::array::from_fn(way)) {
                return broken(format!(
                    "I13: the process dies here, and the batch is there in part: {}",
                    shown_words(s, &replayed.index)
                ));
            }
        }
        Ok(())
    }

    /// P3: power is lost here, in every way.
    fn judge_power_loss(&self, s: &State) -> Step {
        for manifests in self.manifests_after_power_loss(s) {
            let manifest =
                if manifests[1].number > manifests[0].number { manifests[1] } else { manifests[0] };
            for lost in self.losses(s) {
                let image = Image { manifest, lost, lost_power: true, cut: 0 };
                let index = match self.replay(s, &image) {
                    Ok(replayed) => replayed.index,
                    Err(why) => return broken(format!("P3: power is lost here, and {why}")),
                };
                let shown = std::array::from_fn(|key| s.shown(&index, key, s.clock));
                self.judge_prefix(s, &shown, s.floor, "power is lost here")?;
            }
        }
        Ok(())
    }

    /// What a backup that is asked for now would hold: a prefix too.
    fn judge_backup(&self, s: &State) -> Step {
        let is_whole = self.lacks(Break::BackupPastResolved);
        let cut = if is_whole { 0 } else { s.resolved() };
        let image = Image { manifest: s.manifest(), lost: 0, lost_power: !is_whole, cut };
        let index = match self.replay(s, &image) {
            Ok(replayed) => replayed.index,
            Err(why) => return broken(format!("a backup is made here, and {why}")),
        };
        let shown = std::array::from_fn(|key| s.shown(&index, key, s.clock));
        self.judge_prefix(s, &shown, s.floor, "a backup is made here")
    }

    /// P3: what is found is what all writes up to some LSN left, and that LSN is not below what was acknowledged as durable.
    pub fn judge_prefix(&self, s: &State, shown: &[u8; KEYS], floor: u8, when: &str) -> Step {
        let mut written: Vec<&Record> = s.all().iter().filter(|r| r.is_published).collect();
        written.sort_by_key(|r| r.lsn);
        let mut prefix = s.found;
        let fits = |prefix: &[u8; KEYS]| {
            (0..KEYS).all(|key| at_time(prefix[key], s.clock) == at_time(shown[key], s.clock))
        };
        if floor == 0 && fits(&prefix) {
            return Ok(());
        }
        for r in written {
            match r.kind {
                Kind::Clear => prefix = [0; KEYS],
                Kind::Put => prefix[usize::from(r.key)] = r.value,
                _ => prefix[usize::from(r.key)] = 0,
            }
            if r.lsn >= floor && fits(&prefix) {
                return Ok(());
            }
        }
        let held: Vec<String> = shown.iter().map(|v| show(*v)).collect();
        let at_least = if floor > 0 { format!(" up to LSN {floor} or later") } else { String::new() };
        broken(format!(
            "P3: {when}, and what is found, {}, is no prefix of what was written{at_least}",
            held.join(" and ")
        ))
    }

    /// Nothing of the store's own can happen any more.
    pub fn judge_end(&self, s: &State) -> Step {
        for t in 0..self.scenario.threads.len() {
            if self.op(s, t).is_some() {
                return broken(format!("P6: T{t} waits for ever"));
            }
        }
        for key in 0..KEYS {
            let word = s.index[key];
            if !word.is_none() && s.value_at(word).is_none() && s.masks[key].1 == NOBODY {
                return broken(format!("P8: the mask of key {key} never leaves the index"));
            }
        }
        Ok(())
    }
}
