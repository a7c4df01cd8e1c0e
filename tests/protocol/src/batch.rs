//! The calls on many keys, step by step: batches (`src/db/batch.rs`) and clear (`src/maintenance.rs`).

use crate::model::{say, Model, Step};
use crate::rules::Break;
use crate::spec::Op;
use crate::state::*;

impl Model<'_> {
    // ---- `Db::try_frame` (I13)

    pub fn batch(&mut self, s: &mut State, t: usize, op: Op) -> Step {
        let th = s.threads[t];
        let members = [th.own + 1, th.own + 2];
        match th.pc {
            Pc::Members => {
                let member = members[usize::from(th.part)];
                say!(self, "fills member LSN {}", s.record(member).lsn);
                s.record_mut(member).stage = Stage::Committed;
                if self.lacks(Break::MembersWithoutFrame) {
                    (s.record_mut(member).frame, s.record_mut(member).is_published) = (0, true);
                }
                let th = &mut s.threads[t];
                (th.part, th.pc) = if th.part == 0 { (1, Pc::Members) } else { (0, Pc::Frame) };
            }
            Pc::Frame => {
                say!(self, "fills and commits the frame");
                let is_late = self.lacks(Break::MembersBeforeCommit);
                s.record_mut(th.own).stage = if is_late { Stage::Pending } else { Stage::Committed };
                for member in members {
                    s.record_mut(member).is_published = true;
                }
                (s.threads[t].part, s.threads[t].pc) = (1, Pc::MemberLoad);
            }
            _ => {
                let key = usize::from(th.part - 1);
                let own = members[key];
                if th.pc == Pc::MemberPublish && s.index[key] == th.seen {
                    self.publish_own(s, t, op, own)?;
                    return self.next_member(s, t, op);
                }
                let seen = s.index[key];
                self.follow(s, seen, "a batch")?;
                if s.lsn_of(seen) > s.record(own).lsn {
                    say!(self, "meets LSN {}: key {key} comes later", s.lsn_of(seen));
                    if !self.lacks(Break::LostMemberForgotten) {
                        s.threads[t].later |= 1 << key;
                    }
                    return self.next_member(s, t, op);
                }
                say!(self, "finds LSN {} for key {key}", s.lsn_of(seen));
                (s.threads[t].seen, s.threads[t].pc) = (seen, Pc::MemberPublish);
            }
        }
        Ok(())
    }

    fn next_member(&mut self, s: &mut State, t: usize, op: Op) -> Step {
        s.threads[t].seen = Word::NONE;
        s.threads[t].pc = Pc::MemberLoad;
        s.threads[t].part += 1;
        if usize::from(s.threads[t].part) <= KEYS {
            return Ok(());
        }
        let own = s.threads[t].own;
        s.record_mut(own).stage = Stage::Committed;
        s.threads[t].lsn = s.record(own + KEYS as u8).lsn;
        let segment = usize::from(s.record(own).segment);
        s.segments[segment].publishing -= 1;
        self.next_later(s, t, op)
    }

    // ---- `Maintenance::clear` (I14)

    pub fn clear(&mut self, s: &mut State, t: usize, op: Op) -> Step<bool> {
        let th = s.threads[t];
        match th.pc {
            Pc::ClearCommit => {
                let own = s.record_mut(th.own);
                (own.stage, own.is_published) = (Stage::Committed, true);
                let lsn = own.lsn;
                say!(self, "commits the clear of LSN {lsn}");
                self.unpin(s, t);
                let waits = if self.lacks(Break::ClearWithoutGrace) { 0 } else { s.pins };
                let th = &mut s.threads[t];
                (th.lsn, th.own, th.waits, th.pc) = (lsn, NOBODY, waits, Pc::ClearWait);
                return Ok(true);
            }
            Pc::ClearWait if th.waits != 0 => return Ok(false),
            Pc::ClearWait => s.threads[t].part = 1,
            _ => {}
        }
        let th = &mut s.threads[t];
        let key = usize::from(th.part - 1);
        let word = s.index[key];
        th.part += 1;
        th.pc = Pc::ClearWalk;
        let lsn = th.lsn;
        self.follow(s, word, "a clear")?;
        say!(self, "walks key {key}: LSN {}", s.lsn_of(word));
        if !word.is_none() && (s.lsn_of(word) < lsn || self.lacks(Break::ClearTakesNewer)) {
            self.set_index(s, key, Word::NONE);
        } else if !word.is_none() {
            s.threads[t].later |= 1 << key;
        }
        if usize::from(s.threads[t].part) > KEYS {
            self.next_later(s, t, op)?;
        }
        Ok(true)
    }
}
