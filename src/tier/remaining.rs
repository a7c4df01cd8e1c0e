//! What a preload has still to go through, as one number.
//!
//! Of one shard that is the cursor of its server. Of several it has two forms. The first names a shard and a cursor of its server: that
//! one from there on, and all behind it. Once a shard has failed it is a set: each of these from its beginning, since a server that
//! went away mostly comes back with other cursors.

use crate::error::{Error, Result};
use crate::limits::TIER_SHARDS_MAX;

/// Nothing is left to copy: what remains is to remove what Redis does not hold. No server gives a cursor like it.
const REMOVING: u64 = u64::MAX;
/// Of the first form: bits of the server's cursor; those above are the shard's number.
const CURSOR_BITS: u32 = 57;
/// Of the second form; the bits below say which shards.
const IS_SET: u64 = 1 << 63;
/// The last of those bits. It stands for the last two shards of the most that may be: either is gone through for the other.
const LAST_BIT: usize = 62;
const _: () = assert!(TIER_SHARDS_MAX == 64 && CURSOR_BITS == 63 - TIER_SHARDS_MAX.ilog2());

pub(crate) struct Remaining {
    shards: usize,
    /// Bit n: shard n. The lowest one is the next.
    left: u64,
    /// Where the next one is gone on from, of its server.
    at: u64,
    /// Those that were given up, and why.
    failed: Vec<(usize, String)>,
}

fn all(shards: usize) -> u64 {
    u64::MAX >> (TIER_SHARDS_MAX - shards.clamp(1, TIER_SHARDS_MAX))
}

impl Remaining {
    /// # Errors
    /// [`Error::Tier`] for a cursor that names no shard.
    pub(crate) fn new(shards: usize, cursor: u64) -> Result<Remaining> {
        let all = all(shards);
        let (mut left, mut at) = (all, 0);
        if cursor == REMOVING {
            left = 0;
        } else if shards == 1 {
            at = cursor;
        } else if cursor & IS_SET != 0 {
            left = cursor & !IS_SET;
            if left & 1 << LAST_BIT != 0 && shards == LAST_BIT + 2 {
                left |= 1 << (LAST_BIT + 1);
            }
        } else {
            let (next, of_server) = (cursor >> CURSOR_BITS, cursor & ((1 << CURSOR_BITS) - 1));
            left = all & (u64::MAX << next);
            at = of_server;
        }
        if left & !all != 0 || (left == 0 && cursor != REMOVING) {
            return Err(Error::Tier { reason: format!("the cursor {cursor} is of no shard") });
        }
        Ok(Remaining { shards, left, at, failed: Vec::new() })
    }

    /// The next shard, and where its server is to be gone on from.
    pub(crate) fn next(&self) -> Option<(usize, u64)> {
        (self.left != 0).then(|| (self.left.trailing_zeros() as usize, self.at))
    }

    /// The next one is gone through up to a cursor of its server; with 0 it is done.
    pub(crate) fn advance(&mut self, cursor: u64) {
        if cursor == 0 {
            self.left &= self.left.wrapping_sub(1);
        }
        self.at = cursor;
    }

    /// Nothing more is done for this one. Gives the reason back where it is the only one: then it ends here.
    pub(crate) fn give_up(&mut self, shard: usize, reason: String) -> Result<()> {
        if self.shards == 1 {
            return Err(Error::Tier { reason });
        }
        self.left &= !(1 << shard);
        self.at = 0;
        self.failed.push((shard, reason));
        Ok(())
    }

    pub(crate) fn is_given_up(&self, shard: usize) -> bool {
        self.failed.iter().any(|(failed, _)| *failed == shard)
    }

    pub(crate) fn has_given_up(&self) -> bool {
        !self.failed.is_empty()
    }

    /// What a later call goes on from.
    ///
    /// # Errors
    /// [`Error::Tier`] when a server's cursor leaves no room for the shard's number.
    pub(crate) fn cursor(&self) -> Result<u64> {
        let left = self.failed.iter().fold(self.left, |left, (shard, _)| left | 1 << shard);
        let next = left.trailing_zeros();
        let is_all_behind = left == all(self.shards) & u64::MAX.checked_shl(next).unwrap_or(0);
        match self.shards {
            _ if left == 0 => Ok(REMOVING),
            1 => Ok(self.at),
            _ if self.failed.is_empty() && self.at >> CURSOR_BITS != 0 => Err(Error::Tier {
                reason: format!("SCAN: the cursor {} leaves no room for a shard's number", self.at),
            }),
            _ if is_all_behind => {
                Ok(u64::from(next) << CURSOR_BITS | if self.failed.is_empty() { self.at } else { 0 })
            }
            _ => {
                let set = IS_SET | left | (left & IS_SET) >> 1;
                // Only the last but one is not among them.
                Ok(if set == REMOVING { 0 } else { set })
            }
        }
    }

    /// Fails if some shards were given up: which ones, and why.
    pub(crate) fn end(self) -> Result<()> {
        let mut reasons: Vec<(String, String)> = Vec::new();
        for (shard, why) in self.failed {
            match reasons.iter_mut().find(|(_, reason)| *reason == why) {
                Some((which, _)) => *which = format!("{which}, {shard}").replacen("shard ", "shards ", 1),
                None => reasons.push((format!("shard {shard}"), why)),
            }
        }
        if reasons.is_empty() {
            return Ok(());
        }
        let said: Vec<String> = reasons.into_iter().map(|(which, why)| format!("{which}: {why}")).collect();
        Err(Error::Tier { reason: format!("not copied: {}", said.join("; ")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that are gone through from a cursor on, each with where it begins.
    fn rest(shards: usize, cursor: u64) -> Vec<(usize, u64)> {
        let mut remaining = Remaining::new(shards, cursor).unwrap();
        let step = || {
            let next = remaining.next();
            remaining.advance(0);
            next
        };
        std::iter::from_fn(step).collect()
    }

    #[test]
    fn what_is_left_is_found_again_in_the_cursor() {
        for shards in [1, 2, 3, 8, 62, 63, 64] {
            let mut remaining = Remaining::new(shards, 0).unwrap();
            for shard in 0..shards {
                for at in [77, (1 << CURSOR_BITS) - 1] {
                    remaining.advance(at);
                    assert_eq!(remaining.next(), Some((shard, at)));
                    let expected: Vec<_> =
                        (shard..shards).map(|n| (n, if n == shard { at } else { 0 })).collect();
                    assert_eq!(rest(shards, remaining.cursor().unwrap()), expected);
                }
                remaining.advance(0);
            }
            assert_eq!((remaining.next(), remaining.cursor().unwrap()), (None, REMOVING));
            assert_eq!(rest(shards, REMOVING), []);
        }
        assert_eq!(rest(1, u64::MAX - 1), [(0, u64::MAX - 1)]);
    }

    #[test]
    fn shards_that_were_given_up_are_what_is_left_each_from_its_beginning() {
        for shards in [2, 3, 8, 63, 64] {
            // Of the most that may be the last two are one.
            let one = |n: usize| if shards == 64 { n.min(62) } else { n };
            for failing in
                [vec![0], vec![1], vec![0, 1], vec![shards - 1], vec![0, shards - 1], (0..shards).collect()]
            {
                let mut remaining = Remaining::new(shards, 0).unwrap();
                while let Some((shard, _)) = remaining.next() {
                    remaining.advance(5);
                    match failing.contains(&shard) {
                        true => remaining.give_up(shard, "down".into()).unwrap(),
                        false => remaining.advance(0),
                    }
                    let left = (0..shards).filter(|n| *n > shard || failing.contains(n));
                    let mut found: Vec<_> = rest(shards, remaining.cursor().unwrap());
                    found.retain(|(n, _)| left.clone().any(|left| left == *n) || one(*n) != 62);
                    assert_eq!(
                        found,
                        left.map(|n| (n, 0)).collect::<Vec<_>>(),
                        "{failing:?} of {shards}, at {shard}"
                    );
                }
                assert!(failing.iter().all(|shard| remaining.is_given_up(*shard)));
                let which: Vec<String> = failing.iter().map(usize::to_string).collect();
                let said = remaining.end().unwrap_err().to_string();
                let noun = if failing.len() == 1 { "shard" } else { "shards" };
                assert!(said.ends_with(&format!("not copied: {noun} {}: down", which.join(", "))), "{said}");
            }
        }
        let mut only = Remaining::new(1, 9).unwrap();
        assert!(only.give_up(0, "down".into()).is_err());
        assert_eq!(only.cursor().unwrap(), 9);
    }

    #[test]
    fn cursors_that_name_no_shard_or_have_no_room_are_refused() {
        for (shards, cursor) in
            [(8, 8 << CURSOR_BITS), (8, IS_SET), (8, IS_SET | 1 << 8), (2, IS_SET | 1 << LAST_BIT)]
        {
            assert!(Remaining::new(shards, cursor).is_err(), "{cursor:x} of {shards}");
        }
        let mut remaining = Remaining::new(2, 0).unwrap();
        remaining.advance(1 << CURSOR_BITS);
        assert!(remaining.cursor().is_err());
    }
}
