//! Breadth-first search: the shortest way to a broken promise, or the word that there is none within the bounds.

use crate::model::{Action, Model, Scenario, Step, Stop};
use crate::rules::Broken;
use crate::state::*;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::time::Instant;

/// Keeps digests as they are.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only digests are stored")
    }
    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }
}

/// How far a search goes.
#[derive(Clone, Copy)]
pub struct Limit {
    pub states_max: usize,
    pub until: Instant,
}

#[derive(Debug, Default)]
pub struct Outcome {
    pub states: usize,
    pub transitions: usize,
    pub depth: usize,
    pub seconds: f64,
    /// Every state within the bounds was met.
    pub is_exhausted: bool,
    /// Steps that the model's arrays had no room for.
    pub cut_off: usize,
    pub violation: Option<Violation>,
}

#[derive(Debug)]
pub struct Violation {
    pub what: String,
    pub steps: Vec<String>,
}

/// 64 bits of a state. Two states of ten million share them with a probability of three in a million.
fn digest(s: &State) -> u64 {
    let mut mixer = Mixer::default();
    s.hash(&mut mixer);
    mixer.finish()
}

pub fn search(scenario: &Scenario, broken: Broken, limit: Limit) -> Outcome {
    let began = Instant::now();
    let mut model = Model::new(scenario, broken);
    let first = model.first();
    let mut seen: HashSet<u64, BuildHasherDefault<Same>> = HashSet::default();
    seen.insert(digest(&first));
    // How each state was first reached.
    let mut reached: Vec<(u32, Action)> = vec![(0, Action::Recover(0, 0))];
    let mut outcome = Outcome { states: 1, ..Outcome::default() };
    let found =
        |model: &mut Model<'_>, reached: &[(u32, Action)], at: u32, last: Option<Action>, stop: Stop| {
            let Stop::Broken(what) = stop else { unreachable!("a bound is no violation") };
            Some(Violation { what, steps: tell(model, reached, at, last) })
        };
    if let Err(stop) = model.judge(&first) {
        outcome.violation = found(&mut model, &reached, 0, None, stop);
        return outcome;
    }
    let (mut level, mut next) = (vec![(first, 0u32)], Vec::new());
    let mut actions = Vec::new();
    'search: while !level.is_empty() {
        for (state, at) in level.drain(..) {
            actions.clear();
            let is_end = !model.actions(&state, &mut actions);
            if is_end && state.phase == Phase::Up {
                if let Err(stop) = model.judge_end(&state) {
                    outcome.violation = found(&mut model, &reached, at, None, stop);
                    break 'search;
                }
            }
            for &action in &actions {
                let mut s = state;
                match model.apply(&mut s, action) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(Stop::Bound) => {
                        outcome.cut_off += 1;
                        continue;
                    }
                    Err(stop) => {
                        outcome.violation = found(&mut model, &reached, at, Some(action), stop);
                        break 'search;
                    }
                }
                outcome.transitions += 1;
                if !seen.insert(digest(&s)) {
                    continue;
                }
                let number = reached.len() as u32;
                reached.push((at, action));
                if let Err(stop) = model.judge(&s) {
                    outcome.violation = found(&mut model, &reached, number, None, stop);
                    break 'search;
                }
                next.push((s, number));
            }
            if reached.len() >= limit.states_max || reached.len() % 256 == 0 && Instant::now() > limit.until {
                outcome.states = reached.len();
                outcome.seconds = began.elapsed().as_secs_f64();
                return outcome;
            }
        }
        outcome.depth += 1;
        std::mem::swap(&mut level, &mut next);
    }
    outcome.states = reached.len();
    outcome.is_exhausted = outcome.violation.is_none();
    outcome.seconds = began.elapsed().as_secs_f64();
    outcome
}

/// The steps that lead to a state, in words.
fn tell(model: &mut Model<'_>, reached: &[(u32, Action)], mut at: u32, last: Option<Action>) -> Vec<String> {
    let mut actions = Vec::new();
    while at != 0 {
        let (before, action) = reached[at as usize];
        actions.push(action);
        at = before;
    }
    actions.reverse();
    actions.extend(last);
    let mut s = model.first();
    let mut steps = Vec::new();
    for action in actions {
        model.words = Some(String::new());
        let done: Step<bool> = model.apply(&mut s, action);
        let words = model.words.take().unwrap_or_default();
        steps.push(words.trim_end_matches([' ', ';', ':']).to_string());
        if done.is_err() {
            break;
        }
    }
    steps
}

/// Mixes a state's bytes, eight at a time.
struct Mixer {
    digest: u64,
    buffer: u64,
    bits: u32,
}

impl Default for Mixer {
    fn default() -> Self {
        Mixer { digest: 0x9E37_79B9_7F4A_7C15, buffer: 0, bits: 0 }
    }
}

impl Mixer {
    fn mix(&mut self, word: u64) {
        let wide =
            u128::from(self.digest ^ word) * 0xD6E8_FEB8_6659_FD93_A076_1D64_78BD_642F_u128 as u64 as u128;
        let other = u128::from(self.digest.rotate_left(29) ^ word.wrapping_mul(0xE703_7ED1_A0B4_28DB))
            * u128::from(0x8EBC_6AF0_9C88_C6E3_u64);
        self.digest =
            wide as u64 ^ (wide >> 64) as u64 ^ (other as u64).rotate_left(17) ^ (other >> 64) as u64;
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        let mut last = Mixer { ..*self };
        last.mix(self.buffer ^ u64::from(self.bits) << 56);
        last.digest
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u8(*b));
    }
    fn write_u8(&mut self, byte: u8) {
        self.buffer |= u64::from(byte) << self.bits;
        self.bits += 8;
        if self.bits == 64 {
            let word = self.buffer;
            (self.buffer, self.bits) = (0, 0);
            self.mix(word);
        }
    }
    fn write_u16(&mut self, n: u16) {
        self.write(&n.to_le_bytes());
    }
    fn write_u32(&mut self, n: u32) {
        self.write(&n.to_le_bytes());
    }
    // Discriminants and lengths of arrays: all below 256.
    fn write_usize(&mut self, n: usize) {
        self.write_u8(n as u8);
    }
    fn write_isize(&mut self, n: isize) {
        self.write_u8(n as u8);
    }
}
