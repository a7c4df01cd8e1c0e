//! Which entry goes when there is no room: S3-FIFO (Yang, Zhang, Qiu, Yue, Vigfusson, "FIFO queues are all you need for cache
//! eviction", SOSP 2023). A small queue takes what comes, and lets go first what nobody asked for again; what somebody did goes on
//! to the main queue, where each hit is good for a further round. Keys that the small queue let go are remembered for a while: one
//! that comes back goes to the main queue at once. So a scan passes through the small queue and leaves the rest alone.
//!
//! One change: as long as the main queue has less than its share, it takes whoever comes. A cache that fills up keeps what came
//! first, and a loop that is longer than the cache then finds most of that again and again.
//!
//! A queue holds *tickets*, hashes of keys, and knows nothing of entries. Writers give one for each entry that comes (`push`), and
//! void one for each that goes in another way than through here (`void`); they may come to that in any order, since a ticket that
//! is void before it is pushed is not pushed at all:
//!
//! - **C1** Of each hash, the tickets less those that are void are the entries that count, once no writer is between the two.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasherDefault;

/// A hit counts up to this.
pub(super) const COUNT_MAX: u8 = 3;
/// The small queue's share of the entries: one of so many.
const SMALL_SHARE: usize = 10;
/// Hits by which an entry of the small queue is worth the main queue.
const WORTH_MAIN: u8 = 1;
/// Keys that are remembered, for each entry that there is room for.
const REMEMBERED_AN_ENTRY: usize = 2;
/// Tickets that one choice passes over before it takes what comes next: bounds what a writer pays for it.
const PASSED_MAX: usize = 32;
/// Those of which nothing is known that it passes over before it gives up.
const UNKNOWN_MAX: usize = 64;
/// Void tickets from which on they are looked for, if they are also half of all.
const VOID_MIN: usize = 64;

/// Of numbers that are hashes already, by the index's keys: fixed ones do.
type Hashes = BuildHasherDefault<ahash::AHasher>;

/// What stands for a ticket.
pub(super) enum Standing {
    /// An entry with so many hits.
    Hits(u8),
    /// None, for now: somebody is about to void it, or the entry may not go.
    Unknown,
}

#[derive(Default)]
pub(super) struct Policy {
    small: VecDeque<u64>,
    main: VecDeque<u64>,
    remembered: Remembered,
    void: HashMap<u64, u32, Hashes>,
    void_count: usize,
}

/// Keys that the small queue let go, the last ones.
#[derive(Default)]
struct Remembered {
    in_order: VecDeque<u32>,
    all: HashSet<u32, Hashes>,
}

impl Remembered {
    /// Other bits of a hash than those by which tables and shards are chosen.
    fn of(hash: u64) -> u32 {
        (hash >> 20) as u32
    }

    fn push(&mut self, hash: u64, max: usize) {
        let of = Remembered::of(hash);
        if self.all.insert(of) {
            self.in_order.push_back(of);
        }
        while self.in_order.len() > max {
            self.in_order.pop_front().map(|oldest| self.all.remove(&oldest));
        }
    }

    fn take(&mut self, hash: u64) -> bool {
        // Its place in the order stays, and is forgotten in its turn.
        self.all.remove(&Remembered::of(hash))
    }
}

/// Tickets of the small queue, where there is room for so many entries.
fn small_share(room: usize) -> usize {
    (room / SMALL_SHARE).max(1)
}

impl Policy {
    /// Tickets that are not void.
    pub(super) fn len(&self) -> usize {
        (self.small.len() + self.main.len()).saturating_sub(self.void_count)
    }

    /// An entry has come, where there is room for about so many.
    pub(super) fn push(&mut self, hash: u64, room: usize) {
        if self.take_void(hash) {
            return;
        }
        if self.remembered.take(hash) || self.main.len() < room.saturating_sub(small_share(room)) {
            self.main.push_back(hash);
        } else {
            self.small.push_back(hash);
        }
    }

    /// An entry that was chosen stays after all, or its ticket is void by now.
    pub(super) fn put_back(&mut self, hash: u64) {
        if !self.take_void(hash) {
            self.main.push_back(hash);
        }
    }

    /// An entry has gone.
    pub(super) fn void(&mut self, hash: u64) {
        *self.void.entry(hash).or_default() += 1;
        self.void_count += 1;
        if self.void_count > VOID_MIN && self.void_count * 2 > self.small.len() + self.main.len() {
            self.drop_void();
        }
    }

    fn take_void(&mut self, hash: u64) -> bool {
        if self.void_count == 0 {
            return false;
        }
        let Entry::Occupied(mut count) = self.void.entry(hash) else { return false };
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
        self.void_count -= 1;
        true
    }

    fn drop_void(&mut self) {
        for queue in [&mut self.small, &mut self.main] {
            let (void, left) = (&mut self.void, &mut self.void_count);
            queue.retain(|hash| {
                let Some(count) = void.get_mut(hash).filter(|count| **count > 0) else { return true };
                *count -= 1;
                *left -= 1;
                false
            });
        }
        // What is left was voided before it was pushed.
        self.void.retain(|_, count| *count > 0);
    }

    /// Takes the ticket of the entry that is to go. `look` says what stands for a ticket, `lower` sets an entry's hits.
    pub(super) fn choose(
        &mut self,
        room: usize,
        mut look: impl FnMut(u64) -> Standing,
        mut lower: impl FnMut(u64, u8),
    ) -> Option<u64> {
        let (mut passed, mut unknown) = (0, 0);
        while unknown < UNKNOWN_MAX {
            let is_small = self.small.len() >= small_share(room) || self.main.is_empty();
            let queue = if is_small { &mut self.small } else { &mut self.main };
            let hash = queue.pop_front()?;
            if self.take_void(hash) {
                continue;
            }
            passed += 1;
            match look(hash) {
                Standing::Unknown => {
                    unknown += 1;
                    self.main.push_back(hash);
                }
                Standing::Hits(hits) if is_small && hits >= WORTH_MAIN && passed < PASSED_MAX => {
                    lower(hash, 0);
                    self.main.push_back(hash);
                }
                Standing::Hits(hits) if !is_small && hits > 0 && passed < PASSED_MAX => {
                    lower(hash, hits.min(COUNT_MAX) - 1);
                    self.main.push_back(hash);
                }
                Standing::Hits(_) => {
                    if is_small {
                        self.remembered.push(hash, room.saturating_mul(REMEMBERED_AN_ENTRY));
                    }
                    return Some(hash);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of ids over the policy.
    struct Cache {
        policy: Policy,
        hits: HashMap<u64, u8>,
        room: usize,
    }

    impl Cache {
        fn new(room: usize) -> Cache {
            Cache { policy: Policy::default(), hits: HashMap::new(), room }
        }

        /// Whether the id was there.
        fn access(&mut self, id: u64) -> bool {
            let hash = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            if let Some(hits) = self.hits.get_mut(&hash) {
                *hits = (*hits + 1).min(COUNT_MAX);
                return true;
            }
            if self.hits.len() >= self.room {
                let hits = std::cell::RefCell::new(&mut self.hits);
                let look = |hash| hits.borrow().get(&hash).map_or(Standing::Unknown, |n| Standing::Hits(*n));
                let lower = |hash, n| {
                    hits.borrow_mut().insert(hash, n);
                };
                let gone = self.policy.choose(self.room, look, lower).unwrap();
                self.hits.remove(&gone).unwrap();
            }
            self.hits.insert(hash, 0);
            self.policy.push(hash, self.room);
            assert_eq!(self.policy.len(), self.hits.len());
            false
        }

        fn delete(&mut self, id: u64) {
            let hash = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            if self.hits.remove(&hash).is_some() {
                self.policy.void(hash);
            }
        }
    }

    #[test]
    fn a_scan_leaves_what_is_asked_for_again() {
        let mut cache = Cache::new(100);
        for id in (0..80).chain(0..80).chain(0..80).chain(1000..3000) {
            cache.access(id);
        }
        let kept = (0..80).filter(|id| cache.access(*id)).count();
        assert!(kept >= 75, "{kept} of 80");
    }

    #[test]
    fn a_loop_longer_than_the_cache_finds_most_of_what_it_holds() {
        let mut cache = Cache::new(100);
        let hits = (0..20_000).filter(|n| cache.access(n % 1000)).count();
        assert!(hits > 20_000 * 8 / 100, "{hits}");
    }

    #[test]
    fn deletes_leave_one_ticket_an_entry_and_bounded_memory() {
        let mut cache = Cache::new(50);
        let mut seed = 7u64;
        for _ in 0..50_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = seed >> 33;
            if id % 3 == 0 {
                cache.delete(id % 70);
            } else {
                cache.access(id % 70);
            }
            assert_eq!(cache.policy.len(), cache.hits.len());
            assert!(cache.policy.small.len() + cache.policy.main.len() <= 2 * VOID_MIN + 2 * 50);
            assert!(cache.policy.remembered.in_order.len() <= 100);
        }
    }

    #[test]
    fn a_ticket_that_is_void_before_it_is_pushed_is_not_pushed() {
        let mut policy = Policy::default();
        policy.void(1);
        policy.push(1, 10);
        policy.push(2, 10);
        assert_eq!((policy.len(), policy.main.len(), policy.void_count), (1, 1, 0));
        assert_eq!(policy.choose(10, |_| Standing::Hits(0), |_, _| ()), Some(2));
        assert_eq!(policy.choose(10, |_| Standing::Hits(0), |_, _| ()), None);
    }
}
