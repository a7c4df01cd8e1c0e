//! Who can take the next step, and the step.

use crate::model::{say, Action, Model, Step};
use crate::state::*;

impl Model<'_> {
    /// All steps from a state. Whether one of them is the store's own, not the clock's or a crash.
    pub fn actions(&self, s: &State, all: &mut Vec<Action>) -> bool {
        if s.phase == Phase::Up {
            self.own_actions(s, all);
        } else {
            all.push(Action::Recover(0, 0));
            if s.phase == Phase::Down && s.compactions_left > 0 {
                let now = s.manifest();
                self.sets(now.listed & now.sealed, |victims| {
                    let may_be_done =
                        |done: &u16| done & !victims == 0 && (*done == victims || self.scenario.failures);
                    all.extend((0..=victims).filter(may_be_done).map(|done| Action::Recover(victims, done)));
                });
            }
        }
        let has_own = !all.is_empty();
        if s.phase == Phase::Up && s.clock < self.scenario.clock_max {
            all.push(Action::Tick);
        }
        if s.crashes_left > 0 {
            if s.phase != Phase::Down {
                all.push(Action::Die(false));
                if self.scenario.clock_back && s.stored_time < s.clock {
                    all.push(Action::Die(true));
                }
            }
            if self.scenario.power {
                for m in 0..self.manifests_after_power_loss(s).len() {
                    all.extend((0..self.losses(s).len()).map(|l| Action::LosePower(m as u8, l as u8)));
                }
            }
        }
        has_own
    }

    fn own_actions(&self, s: &State, all: &mut Vec<Action>) {
        for t in 0..self.scenario.threads.len() {
            let th = &s.threads[t];
            let waits = match th.pc {
                Pc::Wait => s.synced <= th.lsn,
                Pc::ClearWait => th.waits != 0,
                Pc::Idle => self.op(s, t).is_none(),
                _ => false,
            };
            if !waits {
                all.push(Action::Thread(t as u8));
            }
        }
        if self.can_step(s) {
            all.push(Action::Compactor);
        }
        if self.can_give_up(s) {
            all.push(Action::GiveUp);
        }
        if self.can_fail_listing(s) {
            all.push(Action::FailListing);
        }
        if self.can_sync(s) {
            all.push(Action::Sync);
        }
        if s.is_listing() {
            all.push(Action::SyncManifest);
        }
        for n in 0..SEGMENTS {
            let m = n as u8;
            if self.scenario.seals && self.can_seal(s, n) {
                all.push(Action::Seal(m));
            }
            if self.can_list(s, n) {
                all.push(Action::List(m));
            }
            if self.can_unmap(s, n) {
                all.push(Action::Unmap(m));
            }
            if self.can_pick(s, n) {
                all.push(Action::Pick(m));
            }
            if self.can_go_unread(s, n) {
                all.push(Action::PickUnread(m));
            }
        }
        for key in 0..KEYS {
            if self.can_forget(s, key) {
                all.push(Action::Forget(key as u8));
            }
            if self.can_sweep(s, key) {
                all.push(Action::Sweep(key as u8));
            }
        }
        if s.compactions_left > 0 && !self.is_maintenance_busy(s) && !s.is_listing() {
            let victims =
                (0..SEGMENTS).filter(|n| self.can_be_victim(s, *n)).fold(0u16, |set, n| set | 1 << n);
            self.sets(victims, |set| all.push(Action::Compact(set)));
        }
    }

    /// Every set of victims that is not too large.
    fn sets(&self, of: u16, mut each: impl FnMut(u16)) {
        let mut set = of;
        while set != 0 {
            if set.count_ones() <= self.scenario.victims_max {
                each(set);
            }
            set = (set - 1) & of;
        }
    }

    /// False: the action has to wait after all.
    pub fn apply(&mut self, s: &mut State, action: Action) -> Step<bool> {
        let at = |n: u8| usize::from(n);
        match action {
            Action::Thread(t) => return self.thread(s, at(t)),
            Action::Compact(victims) => self.compact(s, victims),
            Action::Pick(n) => self.pick(s, at(n), true),
            Action::PickUnread(n) => self.pick(s, at(n), false),
            Action::Compactor => self.compactor(s)?,
            Action::GiveUp => self.give_up(s),
            Action::FailListing => self.fail_listing(s),
            Action::Sync => self.sync(s),
            Action::Seal(n) => self.seal(s, at(n))?,
            Action::List(n) => self.list(s, at(n)),
            Action::SyncManifest => self.sync_manifest(s),
            Action::Forget(key) => self.forget(s, at(key)),
            Action::Unmap(n) => {
                say!(self, "segment {n} is unmapped");
                self.unmap(s, at(n));
            }
            Action::Sweep(key) => self.sweep(s, at(key)),
            Action::Tick => {
                s.clock += 1;
                say!(self, "the clock says {}", s.clock);
                for monitor in &mut s.monitors {
                    *monitor = self.monitors.tick(*monitor);
                }
            }
            Action::Die(is_clock_back) => self.die(s, is_clock_back),
            Action::LosePower(m, l) => {
                let manifests = self.manifests_after_power_loss(s)[at(m)];
                let lost = self.losses(s)[at(l)];
                self.lose_power(s, manifests, lost);
            }
            Action::Recover(victims, done) => self.recover(s, victims, done)?,
        }
        Ok(true)
    }
}
