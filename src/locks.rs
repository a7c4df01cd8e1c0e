//! Who has which key to itself. Locks live in memory alone: a store is open in one process, so the death of that process frees
//! all of them.
//!
//! A key's lock goes from its owner to whoever has waited longest. The owner hands it over, under the mutex of the key's part of
//! the table, so nobody who comes later can get between. Whoever waits does so on a condition of its own and holds no guard.

use crate::error::{Error, Result};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const PARTS: usize = 64;

/// For how long a call waits: for a lock that somebody else has, or for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// So long at most.
    AtMost(Duration),
    /// Until it is there, or the store is closed.
    Forever,
}

impl Wait {
    /// When it ends; `None`: never.
    pub(crate) fn until(self) -> Option<Instant> {
        match self {
            Wait::No => Some(Instant::now()),
            // Later than a clock can tell: for ever.
            Wait::AtMost(time) => Instant::now().checked_add(time),
            Wait::Forever => None,
        }
    }
}

/// Names an owner, or who waits to be one; never used twice in one part of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

pub(crate) struct Locks {
    parts: Vec<Mutex<Part>>,
}

#[derive(Default)]
struct Part {
    by_key: HashMap<Box<[u8]>, Line>,
    next_ticket: u64,
    is_shut: bool,
}

/// The owner of a key, and who comes after, in this order.
struct Line {
    owner: Ticket,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    ticket: Ticket,
    turn: Arc<Condvar>,
}

impl Default for Locks {
    fn default() -> Self {
        Locks { parts: std::iter::repeat_with(Mutex::default).take(PARTS).collect() }
    }
}

fn held(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Locks {
    fn part(&self, key: &[u8]) -> Option<&Mutex<Part>> {
        self.parts.get(crc32fast::hash(key) as usize % PARTS)
    }

    /// Takes the lock of `key`; who would have to wait asks `may_wait` first.
    pub(crate) fn acquire(
        &self,
        key: &[u8],
        wait: Wait,
        may_wait: impl FnOnce() -> Result<()>,
    ) -> Result<Ticket> {
        let mut part = held(self.part(key).ok_or(Error::Closed)?);
        if part.is_shut {
            return Err(Error::Closed);
        }
        let ticket = Ticket(part.next_ticket);
        part.next_ticket += 1;
        let Some(line) = part.by_key.get_mut(key) else {
            part.by_key.insert(key.into(), Line { owner: ticket, waiting: VecDeque::new() });
            return Ok(ticket);
        };
        if wait == Wait::No {
            return Err(Error::KeyLocked);
        }
        let deadline = wait.until();
        may_wait()?;
        let turn = Arc::new(Condvar::new());
        line.waiting.push_back(Waiting { ticket, turn: Arc::clone(&turn) });
        loop {
            if part.is_owner(key, ticket) {
                return Ok(ticket);
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let is_late = left.is_some_and(|left| left.is_zero());
            if part.is_shut || is_late {
                part.leave(key, ticket);
                return Err(if part.is_shut { Error::Closed } else { Error::KeyLocked });
            }
            part = match left {
                Some(left) => turn.wait_timeout(part, left).unwrap_or_else(PoisonError::into_inner).0,
                None => turn.wait(part).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Gives a lock up: to who has waited longest, if anybody does.
    pub(crate) fn release(&self, key: &[u8], ticket: Ticket) {
        let Some(part) = self.part(key) else { return };
        let mut part = held(part);
        let Some(line) = part.by_key.get_mut(key).filter(|line| line.owner == ticket) else { return };
        match line.waiting.pop_front() {
            Some(next) => {
                line.owner = next.ticket;
                next.turn.notify_one();
            }
            None => drop(part.by_key.remove(key)),
        }
    }

    /// Ends all waiting; from now on nobody gets a lock.
    pub(crate) fn shut(&self) {
        for part in &self.parts {
            let mut part = held(part);
            part.is_shut = true;
            part.by_key.values().flat_map(|line| &line.waiting).for_each(|waiting| waiting.turn.notify_one());
        }
    }

    /// Keys that are locked, and who waits for one.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn under_way(&self) -> (usize, usize) {
        self.parts.iter().fold((0, 0), |(locked, waiting), part| {
            let part = held(part);
            let waits = part.by_key.values().map(|line| line.waiting.len()).sum::<usize>();
            (locked + part.by_key.len(), waiting + waits)
        })
    }
}

impl Part {
    fn is_owner(&self, key: &[u8], ticket: Ticket) -> bool {
        self.by_key.get(key).is_some_and(|line| line.owner == ticket)
    }

    fn leave(&mut self, key: &[u8], ticket: Ticket) {
        if let Some(line) = self.by_key.get_mut(key) {
            line.waiting.retain(|waiting| waiting.ticket != ticket);
        }
    }
}
