//! The calls, step by step: what `src/store.rs`, `src/db` and `Maintenance::clear` do between two looks that another thread
//! could take. Steps that nobody can tell apart are one: a blind write's fill and the load after it, a commit and the answer.

use crate::model::{broken, say, Model, Step};
use crate::rules::Break;
use crate::spec::{gave, show_result, Op, NO, OK};
use crate::state::*;

impl Model<'_> {
    /// One step of a thread; false when it has to wait.
    pub fn thread(&mut self, s: &mut State, t: usize) -> Step<bool> {
        let th = s.threads[t];
        let Some(op) = self.op(s, t) else { return Ok(false) };
        say!(self, "T{t}");
        match th.pc {
            Pc::Idle => return self.call(s, t, op),
            Pc::Append => self.append(s, t, op)?,
            Pc::Roll => {
                self.roll(s, t)?;
                s.threads[t].active = NOBODY;
                s.threads[t].pc = Pc::Append;
            }
            Pc::Load => self.load(s, t, op)?,
            Pc::Publish => self.publish(s, t, op)?,
            Pc::Commit => {
                self.commit(s, th.own);
                say!(self, "commits LSN {};", s.record(th.own).lsn);
                self.written(s, t, op)?;
            }
            Pc::Look => self.look(s, t, op, None)?,
            Pc::Read => self.look(s, t, op, Some(th.seen))?,
            Pc::Tag => {
                say!(self, "tags LSN {} as expired", s.lsn_of(th.seen));
                self.tag(s, self.key(op, th), th.seen);
                s.threads[t].pc = Pc::Look;
            }
            Pc::Fill => {
                say!(self, "fills LSN {}", s.record(th.own).lsn);
                s.record_mut(th.own).stage = Stage::Pending;
                s.threads[t].pc = Pc::PublishSeen;
            }
            Pc::PublishSeen => self.publish_seen(s, t, op)?,
            Pc::Members | Pc::Frame | Pc::MemberLoad | Pc::MemberPublish => self.batch(s, t, op)?,
            Pc::ClearCommit | Pc::ClearWait | Pc::ClearWalk => return self.clear(s, t, op),
            Pc::Wait => {
                if s.synced <= th.lsn {
                    return Ok(false);
                }
                s.floor = s.floor.max(th.lsn);
                self.answer(s, t, op)?;
            }
        }
        Ok(true)
    }

    fn key(&self, op: Op, th: Thread) -> usize {
        if matches!(op, Op::Batch(..) | Op::Clear) {
            usize::from(th.part) - 1
        } else {
            usize::from(op.keys()[0])
        }
    }

    fn call(&mut self, s: &mut State, t: usize, op: Op) -> Step<bool> {
        if op == Op::Clear && self.is_maintenance_busy(s) {
            return Ok(false);
        }
        for key in op.keys() {
            let monitor = &mut s.monitors[usize::from(*key)];
            *monitor = self.monitors.call(*monitor, t, op);
        }
        let deadline = if let Op::PutFor(_, _, ttl) = op { s.clock + ttl } else { 0 };
        s.threads[t] =
            Thread { own: NOBODY, active: NOBODY, deadline, op: s.threads[t].op, ..Thread::default() };
        say!(self, "calls {op:?};");
        if !(op.is_blind() && self.lacks(Break::GuardAfterReservation)) {
            self.pin(s, t);
        }
        if op.is_blind() || matches!(op, Op::Batch(..)) {
            s.threads[t].result = OK;
            s.threads[t].pc = Pc::Append;
            self.append(s, t, op)?;
        } else if op == Op::Clear {
            s.threads[t].result = OK;
            s.threads[t].pc = Pc::Append;
            if self.lacks(Break::ClearWithoutRecord) {
                s.threads[t].pc = Pc::ClearWait;
                s.threads[t].lsn = s.tail_lsn();
                self.unpin(s, t);
                s.threads[t].waits = s.pins;
            } else {
                self.append(s, t, op)?;
            }
        } else if op.keys().len() == 1 && matches!(op, Op::Get(_)) && self.scenario.fine_read {
            let word = s.index[usize::from(op.keys()[0])];
            say!(self, "loads LSN {}", s.lsn_of(word));
            s.threads[t].seen = word;
            s.threads[t].pc = Pc::Read;
        } else {
            self.look(s, t, op, None)?;
        }
        Ok(true)
    }

    /// Clear and compaction are the maintenance thread's: one at a time.
    pub fn is_maintenance_busy(&self, s: &State) -> bool {
        let clears = |t: usize| {
            let pc = s.threads[t].pc;
            self.op(s, t) == Some(Op::Clear) && pc != Pc::Idle && pc != Pc::Wait
        };
        s.compaction.work != Work::Idle || (0..THREADS).any(clears)
    }

    // ---- `Log::append_with`

    fn append(&mut self, s: &mut State, t: usize, op: Op) -> Step {
        if self.scenario.fine_roll && s.threads[t].active == NOBODY {
            s.threads[t].active = s.active;
            say!(self, "loads the active segment {}", s.active);
            return Ok(());
        }
        if !self.scenario.fine_roll {
            s.threads[t].active = s.active;
        }
        let th = s.threads[t];
        let is_frame = matches!(op, Op::Batch(..)) && th.part == 0;
        let units = match op {
            _ if is_frame => FRAME_UNITS,
            Op::Big(..) => BIG_UNITS,
            _ => HEADER_UNITS,
        };
        let Some(lsn) = self.reserve(s, t, th.active, units)? else {
            s.threads[t].pc = Pc::Roll;
            return Ok(());
        };
        say!(self, "reserves LSN {lsn} in segment {}", th.active);
        let draft = Record { lsn, segment: th.active, ..self.draft(s, t, op) };
        let own = self.add_record(s, draft)?;
        if let (true, Op::Batch(a, b)) = (is_frame, op) {
            s.segments[usize::from(th.active)].publishing += 1;
            for (key, v) in [a, b].into_iter().enumerate() {
                let lsn = lsn + HEADER_UNITS * (key as u8 + 1);
                let member = Record {
                    kind: Kind::Put,
                    lsn,
                    key: key as u8,
                    value: value(v, 0),
                    frame: own + 1,
                    ..draft
                };
                self.add_record(s, member)?;
            }
        }
        s.threads[t].own = own;
        s.threads[t].active = NOBODY;
        s.threads[t].pc = match op {
            _ if is_frame => Pc::Members,
            Op::Clear if th.part == 0 => Pc::ClearCommit,
            Op::Batch(..) => Pc::Load,
            _ if op.is_blind() => Pc::Load,
            _ => Pc::Fill,
        };
        Ok(())
    }

    /// What the call writes, on what it saw.
    fn draft(&self, s: &State, t: usize, op: Op) -> Record {
        let th = s.threads[t];
        let old = if th.saw_alive { s.records[th.seen.record()].value } else { 0 };
        let put = |value| (Kind::Put, value);
        let (kind, value) = match op {
            Op::Put(_, v) | Op::PutFor(_, v, _) | Op::Big(_, v) => put(value(v, th.deadline)),
            Op::Add(_, v) => put(value(v, 0)),
            Op::Incr(_) => put(value(number(old) + 1, deadline(old))),
            Op::Cas(_, _, new) => put(value(new, deadline(old))),
            Op::Expire(..) => put(value(number(old), th.deadline)),
            Op::Persist(_) => put(value(number(old), 0)),
            Op::Batch(..) if th.part == 0 => (Kind::Frame, 0),
            Op::Batch(a, b) => put(value([a, b][usize::from(th.part - 1)], 0)),
            Op::Clear if th.part == 0 => (Kind::Clear, 0),
            Op::Clear | Op::Del(_) | Op::Evict(_) | Op::Get(_) => (Kind::Tombstone, 0),
        };
        let is_whole = matches!(kind, Kind::Frame | Kind::Clear);
        let key = if is_whole { 0 } else { self.key(op, th) as u8 };
        Record { kind, key, value, ..Record::default() }
    }

    // ---- `Store::try_blind`

    fn load(&mut self, s: &mut State, t: usize, op: Op) -> Step {
        if self.lacks(Break::GuardAfterReservation) {
            self.pin(s, t);
        }
        s.record_mut(s.threads[t].own).stage = Stage::Pending;
        say!(self, "fills LSN {};", s.record(s.threads[t].own).lsn);
        self.judge_blind(s, t, op)
    }

    /// I2: over what is older, and nothing else.
    fn judge_blind(&mut self, s: &mut State, t: usize, op: Op) -> Step {
        let th = s.threads[t];
        let seen = s.index[self.key(op, th)];
        self.follow(s, seen, "a writer")?;
        s.threads[t].seen = seen;
        say!(self, "finds LSN {}", s.lsn_of(seen));
        if s.lsn_of(seen) <= s.record(th.own).lsn || self.lacks(Break::PublishedOverNewer) {
            s.threads[t].pc = Pc::Publish;
            return Ok(());
        }
        if self.lacks(Break::LoserCallsItselfOverwritten) {
            self.abort(s, t);
            return self.written(s, t, op);
        }
        self.start_over(s, t, Pc::Append);
        Ok(())
    }

    fn abort(&mut self, s: &mut State, t: usize) {
        let own = s.threads[t].own;
        say!(self, "aborts LSN {}", s.record(own).lsn);
        s.record_mut(own).stage = Stage::Aborted;
    }

    /// The next attempt, under a guard of its own.
    fn start_over(&mut self, s: &mut State, t: usize, pc: Pc) {
        self.abort(s, t);
        self.unpin(s, t);
        if !(pc == Pc::Append && self.lacks(Break::GuardAfterReservation)) {
            self.pin(s, t);
        }
        let th = &mut s.threads[t];
        (th.own, th.seen, th.saw_alive, th.active, th.pc) = (NOBODY, Word::NONE, false, NOBODY, pc);
    }

    fn publish(&mut self, s: &mut State, t: usize, op: Op) -> Step {
        let th = s.threads[t];
        if s.index[self.key(op, th)] != th.seen {
            return self.judge_blind(s, t, op);
        }
        self.publish_own(s, t, op, th.own)?;
        if self.lacks(Break::AcknowledgedPending) {
            return self.written(s, t, op);
        }
        s.threads[t].pc = Pc::Commit;
        Ok(())
    }

    pub fn publish_own(&mut self, s: &mut State, t: usize, op: Op, own: u8) -> Step {
        let th = s.threads[t];
        // What was replaced is read, for the accounts.
        self.follow(s, th.seen, "a writer")?;
        let segment = usize::from(s.record(own).segment);
        s.record_mut(own).is_published = true;
        self.set_index(s, self.key(op, th), Word::new(segment, usize::from(own), false));
        s.threads[t].seen = Word::NONE;
        say!(self, "publishes LSN {}", s.record(own).lsn);
        Ok(())
    }

    /// A record of the call is visible.
    fn written(&mut self, s: &mut State, t: usize, op: Op) -> Step {
        let th = &mut s.threads[t];
        if th.own != NOBODY {
            th.lsn = th.lsn.max(s.records[usize::from(th.own)].lsn);
        }
        th.own = NOBODY;
        if matches!(op, Op::Batch(..) | Op::Clear) {
            th.later &= !(1 << (th.part - 1));
            return self.next_later(s, t, op);
        }
        self.finish(s, t, op)
    }

    /// Members that met a newer record; entries above a clear.
    pub fn next_later(&mut self, s: &mut State, t: usize, op: Op) -> Step {
        self.unpin(s, t);
        let th = &mut s.threads[t];
        if th.later == 0 {
            return self.finish(s, t, op);
        }
        let pc = if op == Op::Clear { Pc::Look } else { Pc::Append };
        *th = Thread {
            part: th.later.trailing_zeros() as u8 + 1,
            own: NOBODY,
            active: NOBODY,
            seen: Word::NONE,
            saw_alive: false,
            pc,
            ..*th
        };
        self.pin(s, t);
        Ok(())
    }

    fn finish(&mut self, s: &mut State, t: usize, op: Op) -> Step {
        self.unpin(s, t);
        if !self.scenario.always[t] {
            return self.answer(s, t, op);
        }
        let th = &mut s.threads[t];
        *th = Thread { pc: Pc::Wait, op: th.op, result: th.result, lsn: th.lsn, ..Thread::default() };
        say!(self, "waits until LSN {} is on disk", s.threads[t].lsn);
        Ok(())
    }

    fn answer(&mut self, s: &mut State, t: usize, op: Op) -> Step {
        self.unpin(s, t);
        let result = s.threads[t].result;
        say!(self, "returns {}", show_result(result));
        for key in op.keys() {
            let monitor = &mut s.monitors[usize::from(*key)];
            let Some(next) = self.monitors.answer(*monitor, t, result) else {
                return broken(format!(
                    "P1: {op:?} returned {}, which is not linearizable",
                    show_result(result)
                ));
            };
            *monitor = next;
        }
        s.threads[t] = Thread { op: s.threads[t].op + 1, ..Thread::default() };
        Ok(())
    }

    // ---- `Store::look`, `Store::write_given`

    fn look(&mut self, s: &mut State, t: usize, op: Op, loaded: Option<Word>) -> Step {
        let key = self.key(op, s.threads[t]);
        let seen = loaded.unwrap_or(s.index[key]);
        self.follow(s, seen, "a reader")?;
        say!(self, "looks at LSN {};", s.lsn_of(seen));
        s.threads[t].seen = seen;
        let left = if matches!(op, Op::Get(_)) {
            Break::ReaderLeavesPending
        } else {
            Break::FailedConditionLeavesPending
        };
        if !seen.is_none() && !self.lacks(left) {
            // I4.
            self.commit(s, seen.record() as u8);
        }
        let value = if seen.is_none() { None } else { s.value_at(seen) };
        let alive = value.filter(|v| at_time(*v, s.clock) != 0);
        if value.is_some() && alive.is_none() && !self.lacks(Break::ExpiredNotTagged) {
            s.threads[t].pc = Pc::Tag;
            return Ok(());
        }
        self.decide(s, t, op, alive)
    }

    fn decide(&mut self, s: &mut State, t: usize, op: Op, alive: Option<u8>) -> Step {
        let n = alive.map_or(0, number);
        let (writes, result) = match op {
            Op::Add(..) if alive.is_none() => (true, OK),
            Op::Incr(_) => (true, gave(n + 1)),
            Op::Cas(_, x, _) if alive.is_some() && n == x => (true, OK),
            Op::Del(_) | Op::Expire(..) | Op::Clear if alive.is_some() => (true, OK),
            Op::Evict(_) => (alive.is_some(), OK),
            Op::Persist(_) if alive.is_some() => (alive.is_some_and(|v| deadline(v) > 0), OK),
            Op::Get(_) => (false, gave(n)),
            Op::Clear => (false, OK),
            _ => (false, NO),
        };
        s.threads[t].result = result;
        if writes && op != Op::Clear && !s.threads[t].seen.is_none() {
            self.commit(s, s.threads[t].seen.record() as u8);
        }
        if writes && matches!(op, Op::Evict(_)) && self.lacks(Break::EvictedWithoutMask) {
            let key = self.key(op, s.threads[t]);
            self.set_index(s, key, Word::NONE);
            return self.answer(s, t, op);
        }
        if writes {
            let deadline = if let Op::Expire(_, ttl) = op { s.clock + ttl } else { 0 };
            let th = &mut s.threads[t];
            (th.saw_alive, th.deadline, th.own, th.active, th.pc) =
                (alive.is_some(), deadline, NOBODY, NOBODY, Pc::Append);
            say!(self, "decides to write");
            return Ok(());
        }
        if op == Op::Clear {
            return self.written(s, t, op);
        }
        self.answer(s, t, op)
    }

    /// I3: over exactly what was seen, wherever the compactor has moved it.
    fn publish_seen(&mut self, s: &mut State, t: usize, op: Op) -> Step {
        let th = s.threads[t];
        let found = s.index[self.key(op, th)];
        if found == th.seen {
            self.publish_own(s, t, op, th.own)?;
            s.threads[t].pc = Pc::Commit;
            return Ok(());
        }
        self.follow(s, found, "a writer")?;
        let is_same = th.saw_alive && s.lsn_of(found) == s.lsn_of(th.seen);
        let is_moved = is_same && (s.value_at(found).is_some() || self.lacks(Break::MovedMeansSameLsn));
        let goes_on = self.lacks(Break::ConditionNotRepeated) && s.lsn_of(found) < s.record(th.own).lsn;
        if is_moved || goes_on {
            say!(self, "finds what it saw moved");
            s.threads[t].seen = found;
        } else {
            say!(self, "finds LSN {} instead;", s.lsn_of(found));
            self.start_over(s, t, Pc::Look);
        }
        Ok(())
    }
}
