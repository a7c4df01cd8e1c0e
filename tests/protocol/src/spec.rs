//! What the operations promise, and whether a run keeps it: for each key an automaton over all linearizations that are still
//! possible (P1). Its states are interned, so a state of the model holds a number.

use crate::state::{at_time, deadline, number, value, KEYS, THREADS};
use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Key, value.
    Put(u8, u8),
    /// Key, value, time to live.
    PutFor(u8, u8, u8),
    /// A put that takes more room.
    Big(u8, u8),
    Add(u8, u8),
    Incr(u8),
    /// Key, expected and new value.
    Cas(u8, u8, u8),
    Del(u8),
    /// A delete of the store's own choice.
    Evict(u8),
    /// Key, time to live.
    Expire(u8, u8),
    Persist(u8),
    Get(u8),
    /// Values of both keys.
    Batch(u8, u8),
    Clear,
}

pub const OK: u8 = 1;
pub const NO: u8 = 2;
/// Result of an operation that gives a value.
pub fn gave(number: u8) -> u8 {
    3 + number
}

impl Op {
    pub fn keys(self) -> &'static [u8] {
        use Op::*;
        match self {
            Batch(..) | Clear => &[0, 1],
            Put(0, _)
            | PutFor(0, ..)
            | Big(0, _)
            | Add(0, _)
            | Incr(0)
            | Cas(0, ..)
            | Del(0)
            | Evict(0)
            | Expire(0, _)
            | Persist(0)
            | Get(0) => &[0],
            _ => &[1],
        }
    }

    pub fn is_blind(self) -> bool {
        matches!(self, Op::Put(..) | Op::PutFor(..) | Op::Big(..))
    }

    /// Outcomes on a key whose value is `old`, 0 for none, for a call that began at time `from`: new value and result.
    fn outcomes(self, key: u8, old: u8, from: u8, clock: u8) -> Vec<(u8, u8)> {
        use Op::*;
        let n = number(old);
        let one = |new, result| vec![(new, result)];
        match self {
            Put(_, v) | Big(_, v) => one(value(v, 0), OK),
            PutFor(_, v, ttl) => one(value(v, from + ttl), OK),
            Add(_, v) if old == 0 => one(value(v, 0), OK),
            Incr(_) if old == 0 => one(value(1, 0), gave(1)),
            Incr(_) => one(value(n + 1, deadline(old)), gave(n + 1)),
            Cas(_, x, new) if old != 0 && n == x => one(value(new, deadline(old)), OK),
            Del(_) if old != 0 => one(0, OK),
            Evict(_) | Clear => one(0, OK),
            Expire(_, ttl) if old != 0 => (from..=clock).map(|c| (value(n, c + ttl), OK)).collect(),
            Persist(_) if old != 0 => one(value(n, 0), OK),
            Get(_) => one(old, gave(n)),
            Batch(a, b) => one(value([a, b][usize::from(key)], 0), OK),
            Add(..) | Cas(..) | Del(_) | Expire(..) | Persist(_) => one(old, NO),
        }
    }
}

/// Value in the low byte, then four bits a thread: 0, or the result that its operation linearized with.
type Possible = u32;

const fn slot(t: usize) -> u32 {
    8 + 4 * t as u32
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Situation {
    key: u8,
    clock: u8,
    running: [Option<(Op, u8)>; THREADS],
    possible: Vec<Possible>,
}

impl Situation {
    /// Adds what follows by operations that linearize now, and by values that expire.
    fn close(mut self) -> Situation {
        let mut at = 0;
        while let Some(&one) = self.possible.get(at) {
            at += 1;
            let old = one as u8;
            let add = |next: Possible, all: &mut Vec<Possible>| {
                if !all.contains(&next) {
                    all.push(next);
                }
            };
            if at_time(old, self.clock) != old {
                add(one & !0xff, &mut self.possible);
            }
            for t in 0..THREADS {
                let Some((op, from)) = self.running[t] else { continue };
                // A value whose time was over when the call began is not seen by it.
                if one >> slot(t) & 15 != 0 || at_time(old, from) != old {
                    continue;
                }
                for (new, result) in op.outcomes(self.key, old, from, self.clock) {
                    add(one & !0xff | u32::from(new) | u32::from(result) << slot(t), &mut self.possible);
                }
            }
        }
        self.possible.sort_unstable();
        self
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Event {
    Call(u8, Op),
    Answer(u8, u8),
    Tick,
    /// The value found at a time; operations that ran end.
    Open(u8, u8),
}

/// All situations met in a search.
#[derive(Default)]
pub struct Monitors {
    situations: Vec<Situation>,
    numbers: HashMap<Situation, u32>,
    steps: HashMap<(u32, Event), Option<u32>>,
}

impl Monitors {
    fn intern(&mut self, situation: Situation) -> u32 {
        let situation = situation.close();
        if let Some(known) = self.numbers.get(&situation) {
            return *known;
        }
        let number = self.situations.len() as u32;
        self.numbers.insert(situation.clone(), number);
        self.situations.push(situation);
        number
    }

    /// A key that nobody is at, with this value.
    pub fn still(&mut self, key: usize, value: u8, clock: u8) -> u32 {
        let possible = vec![u32::from(value)];
        self.intern(Situation { key: key as u8, clock, running: [None; THREADS], possible })
    }

    fn step(&mut self, at: u32, event: Event) -> Option<u32> {
        if let Some(known) = self.steps.get(&(at, event)) {
            return *known;
        }
        let mut s = self.situations[at as usize].clone();
        match event {
            Event::Call(t, op) => s.running[usize::from(t)] = Some((op, s.clock)),
            Event::Answer(t, result) => {
                let t = usize::from(t);
                s.running[t] = None;
                s.possible.retain(|one| one >> slot(t) & 15 == u32::from(result));
                s.possible.iter_mut().for_each(|one| *one &= !(15 << slot(t)));
            }
            Event::Tick => s.clock += 1,
            Event::Open(found, clock) => {
                s.clock = clock;
                s.running = [None; THREADS];
                s.possible.retain(|one| at_time(*one as u8, clock) == found);
                s.possible.iter_mut().for_each(|one| *one &= 0xff);
            }
        }
        s.possible.sort_unstable();
        s.possible.dedup();
        let next = if s.possible.is_empty() { None } else { Some(self.intern(s)) };
        self.steps.insert((at, event), next);
        next
    }

    pub fn call(&mut self, at: u32, t: usize, op: Op) -> u32 {
        self.step(at, Event::Call(t as u8, op)).unwrap_or(at)
    }
    pub fn answer(&mut self, at: u32, t: usize, result: u8) -> Option<u32> {
        self.step(at, Event::Answer(t as u8, result))
    }
    pub fn tick(&mut self, at: u32) -> u32 {
        self.step(at, Event::Tick).unwrap_or(at)
    }
    pub fn open(&mut self, at: u32, found: u8, clock: u8) -> Option<u32> {
        self.step(at, Event::Open(found, clock))
    }

    /// Whether the value may be what the key has, at that time.
    pub fn allows(&self, at: u32, shown: u8, clock: u8) -> bool {
        self.situations[at as usize].possible.iter().any(|one| at_time(*one as u8, clock) == shown)
    }

    /// Whether thread `t`'s batch may be out of what is shown, and whether it may be in it.
    pub fn out_or_in(&self, at: u32, t: usize, shown: u8, clock: u8) -> [bool; 2] {
        let fits = |one: &&Possible| at_time(**one as u8, clock) == shown;
        let mut both = [false; 2];
        for one in self.situations[at as usize].possible.iter().filter(fits) {
            both[usize::from(one >> slot(t) & 15 != 0)] = true;
        }
        both
    }

    /// For messages: the values that are possible now.
    pub fn allowed(&self, at: u32) -> String {
        let mut all: Vec<String> =
            self.situations[at as usize].possible.iter().map(|one| show(*one as u8)).collect();
        all.sort();
        all.dedup();
        all.join(" or ")
    }
}

/// A value in words.
pub fn show(value: u8) -> String {
    match (number(value), deadline(value)) {
        (0, _) => "absent".into(),
        (n, 0) => n.to_string(),
        (n, d) => format!("{n} until {d}"),
    }
}

pub fn show_result(result: u8) -> String {
    match result {
        OK => "ok".into(),
        NO => "no".into(),
        3 => "absent".into(),
        n => (n - 3).to_string(),
    }
}

const _: () = assert!(KEYS == 2 && slot(THREADS) <= 32);
