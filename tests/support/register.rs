//! One key of a store as a sequential object: value, version and deadline, and a clock that moves while calls run.
//!
//! A call knows the clock before it began and after it ended, and was carried out somewhere between. So it may have
//! found an entry alive if the clock had not reached its deadline when the call began, and gone if the clock had when
//! the call ended. An entry that one call found gone stays gone.

use super::wgl::Object;

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Get,
    Set {
        value: i64,
        deadline_ms: u64,
    },
    /// Sets where there is nothing.
    Add {
        value: i64,
        deadline_ms: u64,
    },
    /// `expected` 0: absent.
    CompareAndSwap {
        expected: u64,
        value: i64,
    },
    Increment {
        by: i64,
    },
    Delete,
    Take,
    /// Deadline 0: persist.
    ExpireAt {
        deadline_ms: u64,
    },
}

impl Ask {
    /// The same as three numbers.
    pub fn words(self) -> [u64; 3] {
        match self {
            Ask::Get => [0, 0, 0],
            Ask::Set { value, deadline_ms } => [1, value as u64, deadline_ms],
            Ask::Add { value, deadline_ms } => [2, value as u64, deadline_ms],
            Ask::CompareAndSwap { expected, value } => [3, value as u64, expected],
            Ask::Increment { by } => [4, by as u64, 0],
            Ask::Delete => [5, 0, 0],
            Ask::Take => [6, 0, 0],
            Ask::ExpireAt { deadline_ms } => [7, 0, deadline_ms],
        }
    }

    pub fn of([kind, value, number]: [u64; 3]) -> Ask {
        let value = value as i64;
        match kind {
            0 => Ask::Get,
            1 => Ask::Set { value, deadline_ms: number },
            2 => Ask::Add { value, deadline_ms: number },
            3 => Ask::CompareAndSwap { expected: number, value },
            4 => Ask::Increment { by: value },
            5 => Ask::Delete,
            6 => Ask::Take,
            7 => Ask::ExpireAt { deadline_ms: number },
            _ => panic!("{kind} is no call"),
        }
    }

    /// The call with what it was told: value, version and deadline of a read, the version of a write, the sum of an
    /// increment, the value that was taken; nothing where nothing was found or done.
    pub fn answered(self, answer: Option<[u64; 3]>) -> Did {
        let first = answer.map(|[first, ..]| first);
        let version = || first.expect("it takes place whatever stands there");
        match self {
            Ask::Get => {
                Did::Get(answer.map(|[value, version, deadline_ms]| (value as i64, version, deadline_ms)))
            }
            Ask::Set { value, deadline_ms } => Did::Set { value, deadline_ms, version: version() },
            Ask::Add { value, deadline_ms } => Did::Add { value, deadline_ms, version: first },
            Ask::CompareAndSwap { expected, value } => {
                Did::CompareAndSwap { expected, value, version: first }
            }
            Ask::Increment { by } => Did::Increment { by, sum: version() as i64 },
            Ask::Delete => Did::Delete { found: answer.is_some() },
            Ask::Take => Did::Take(first.map(|value| value as i64)),
            Ask::ExpireAt { deadline_ms } => Did::ExpireAt { deadline_ms, found: answer.is_some() },
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    pub value: i64,
    /// `None`: written by a call that is not told its version.
    pub version: Option<u64>,
    /// Unix milliseconds; 0: never.
    pub deadline_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Register {
    pub entry: Option<Entry>,
    /// Highest version known so far: every later one is above it.
    pub version_max: u64,
}

/// A call with its answer.
#[derive(Debug, Clone)]
pub enum Did {
    Get(Option<(i64, u64, u64)>),
    Set {
        value: i64,
        deadline_ms: u64,
        version: u64,
    },
    Add {
        value: i64,
        deadline_ms: u64,
        version: Option<u64>,
    },
    /// `expected` 0: absent.
    CompareAndSwap {
        expected: u64,
        value: i64,
        version: Option<u64>,
    },
    Increment {
        by: i64,
        sum: i64,
    },
    Delete {
        found: bool,
    },
    Take(Option<i64>),
    /// Deadline 0: persist.
    ExpireAt {
        deadline_ms: u64,
        found: bool,
    },
    /// The process died before the call returned: it took place, or it never will.
    CutOff(Ask),
}

#[derive(Debug, Clone)]
pub struct Op {
    pub did: Did,
    /// The clock, read before the call.
    pub clock_begin_ms: u64,
    /// The clock, read after it.
    pub clock_end_ms: u64,
}

impl Register {
    /// What the call may have found: the entry, nothing, or either.
    fn found(&self, op: &Op) -> Vec<Register> {
        let gone = Register { entry: None, ..*self };
        match &self.entry {
            Some(entry) if entry.deadline_ms != 0 => {
                let mut found = Vec::new();
                if op.clock_begin_ms < entry.deadline_ms {
                    found.push(self.clone());
                }
                if op.clock_end_ms >= entry.deadline_ms {
                    found.push(gone);
                }
                found
            }
            _ => vec![self.clone()],
        }
    }

    fn with(&self, value: i64, deadline_ms: u64, version: Option<u64>) -> Option<Register> {
        if version.is_some_and(|version| version <= self.version_max) {
            return None;
        }
        let entry = Some(Entry { value, version, deadline_ms });
        Some(Register { entry, version_max: version.unwrap_or(self.version_max) })
    }

    fn without(&self) -> Register {
        Register { entry: None, version_max: self.version_max }
    }

    /// The same, once somebody was told that the entry's version is `version`; `None` if it cannot be.
    fn learn(&self, version: u64) -> Option<Register> {
        let entry = self.entry.as_ref()?;
        let fits = entry.version.map_or(version > self.version_max, |known| known == version);
        let learnt = Entry { version: Some(version), ..entry.clone() };
        fits.then(|| Register { entry: Some(learnt), version_max: self.version_max.max(version) })
    }

    fn after(&self, did: &Did) -> Option<Register> {
        let unchanged = || Some(self.clone());
        let entry = self.entry.as_ref();
        match *did {
            Did::Get(None) => entry.is_none().then(|| self.clone()),
            Did::Get(Some((value, version, deadline_ms))) => {
                let fits = entry.is_some_and(|e| (e.value, e.deadline_ms) == (value, deadline_ms));
                fits.then(|| self.learn(version)).flatten()
            }
            Did::Set { value, deadline_ms, version } => self.with(value, deadline_ms, Some(version)),
            Did::Add { value, deadline_ms, version } => match (entry, version) {
                (None, Some(_)) => self.with(value, deadline_ms, version),
                (Some(_), None) => unchanged(),
                _ => None,
            },
            Did::CompareAndSwap { expected, value, version: Some(version) } => match entry {
                None => (expected == 0).then(|| self.with(value, 0, Some(version))).flatten(),
                Some(e) => self.learn(expected)?.with(value, e.deadline_ms, Some(version)),
            },
            Did::CompareAndSwap { expected, version: None, .. } => {
                let differs = entry.map_or(expected != 0, |e| e.version != Some(expected));
                differs.then(|| self.clone())
            }
            Did::Increment { by, sum } => {
                let before = entry.map_or(0, |e| e.value);
                let deadline_ms = entry.map_or(0, |e| e.deadline_ms);
                (before + by == sum).then(|| self.with(sum, deadline_ms, None)).flatten()
            }
            Did::Delete { found } => (entry.is_some() == found).then(|| self.without()),
            Did::Take(value) => (entry.map(|e| e.value) == value).then(|| self.without()),
            Did::ExpireAt { deadline_ms, found } => match entry {
                None => (!found).then(|| self.clone()),
                Some(_) if !found => None,
                // Nothing is written where the deadline is the same already.
                Some(e) if e.deadline_ms == deadline_ms => unchanged(),
                Some(e) => self.with(e.value, deadline_ms, None),
            },
            Did::CutOff(ask) => self.after_effect(ask),
        }
    }

    /// After a call of which nobody knows the answer, when it took place.
    fn after_effect(&self, ask: Ask) -> Option<Register> {
        let deadline_now_ms = self.entry.as_ref().map_or(0, |e| e.deadline_ms);
        match ask {
            Ask::Get => Some(self.clone()),
            Ask::Set { value, deadline_ms } => self.with(value, deadline_ms, None),
            Ask::Add { value, deadline_ms } if self.entry.is_none() => self.with(value, deadline_ms, None),
            Ask::Add { .. } => None,
            Ask::CompareAndSwap { expected, value } => {
                let found = if expected == 0 {
                    self.entry.is_none().then(|| self.clone())
                } else {
                    self.learn(expected)
                };
                found?.with(value, deadline_now_ms, None)
            }
            Ask::Increment { by } => {
                let before = self.entry.as_ref().map_or(0, |e| e.value);
                self.with(before + by, deadline_now_ms, None)
            }
            Ask::Delete | Ask::Take => Some(self.without()),
            Ask::ExpireAt { deadline_ms } => self.with(self.entry.as_ref()?.value, deadline_ms, None),
        }
    }
}

pub struct Key;

impl Object for Key {
    type State = Register;
    type Op = Op;

    fn step(state: &Register, op: &Op) -> Vec<Register> {
        let mut after: Vec<_> = state.found(op).iter().filter_map(|found| found.after(&op.did)).collect();
        if let Did::CutOff(_) = op.did {
            after.push(state.clone());
        }
        after
    }
}
