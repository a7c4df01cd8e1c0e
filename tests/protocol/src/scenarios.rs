//! What is searched: scenarios that end, and a generator of larger ones for campaigns.

use crate::model::{Given, Scenario};
use crate::spec::Op;
use crate::state::THREADS;
use Given::{E, P, T};
use Op::*;

fn scenario(name: &str, threads: Vec<Vec<Op>>) -> Scenario {
    Scenario { name: name.into(), threads, ..Scenario::default() }
}

/// Those of every run, each to its end.
pub fn all() -> Vec<Scenario> {
    let five = vec![vec![P(0, 5)]];
    let deleted = vec![vec![P(0, 5)], vec![T(0)]];
    let both = [true, true, false];
    let small = Scenario { capacity: 2, seals: true, ..Scenario::default() };
    let compacts = Scenario { given: five.clone(), compactions: 1, ..Scenario::default() };
    let expires = Scenario { given: vec![vec![E(0, 5, 1)]], clock_max: 1, ..Scenario::default() };
    let named =
        |name: &str, threads, base: &Scenario| Scenario { name: name.into(), threads, ..base.clone() };
    vec![
        // Calls against each other.
        scenario("two writers", vec![vec![Put(0, 1), Get(0)], vec![Put(0, 2), Get(0)]]),
        Scenario {
            given: five.clone(),
            ..scenario("put against increment", vec![vec![Put(0, 2)], vec![Incr(0)], vec![Get(0)]])
        },
        scenario("put and read", vec![vec![Put(0, 1)], vec![Get(0)], vec![Get(0)]]),
        scenario("put against add", vec![vec![Put(0, 1)], vec![Add(0, 2)], vec![Get(0)]]),
        scenario("three increments", vec![vec![Incr(0)], vec![Incr(0)], vec![Incr(0)]]),
        scenario("deletes and puts", vec![vec![Put(0, 1), Del(0)], vec![Put(0, 2), Get(0)]]),
        Scenario {
            given: five.clone(),
            ..scenario("delete, add, cas", vec![vec![Del(0)], vec![Add(0, 2)], vec![Cas(0, 5, 3)]])
        },
        // Expiry and eviction.
        named("cas, reader, expiry", vec![vec![Cas(0, 5, 7)], vec![Get(0)]], &expires),
        named(
            "expire, persist, reader",
            vec![vec![Expire(0, 1)], vec![Persist(0)], vec![Get(0)]],
            &Scenario { given: five.clone(), ..expires.clone() },
        ),
        named(
            "increment and add against expiry",
            vec![vec![Incr(0)], vec![Add(0, 3)], vec![Get(0)]],
            &expires,
        ),
        named(
            "persist, reader, compaction",
            vec![vec![Persist(0)], vec![Get(0)]],
            &Scenario { compactions: 1, ..expires.clone() },
        ),
        named(
            "expired over an older value",
            vec![vec![Get(0)], vec![Put(1, 1)]],
            &Scenario { given: vec![vec![P(0, 5)], vec![E(0, 6, 1)]], compactions: 2, ..expires.clone() },
        ),
        named(
            "expired, clock back",
            vec![vec![Get(0)], vec![Add(0, 3)]],
            &Scenario { clock_back: true, compactions: 1, crashes: 1, power: false, ..expires.clone() },
        ),
        named("eviction", vec![vec![Evict(0), Get(0)], vec![Put(0, 1)]], &compacts),
        // The log: rolls, syncs, seals.
        Scenario {
            always: both,
            fine_sync: true,
            ..scenario(
                "synced writer beside another",
                vec![vec![Put(0, 1)], vec![Put(1, 2)], vec![Put(0, 3)]],
            )
        },
        named(
            "rolls, seals, synced writers",
            vec![vec![Put(0, 1), Put(0, 2)], vec![Put(1, 3)]],
            &Scenario { always: both, fine_sync: true, ..small.clone() },
        ),
        named(
            "small records after a roll",
            vec![vec![Put(0, 1), Put(0, 2)], vec![Big(1, 3), Put(1, 4)]],
            &Scenario { capacity: 5, fine_roll: true, always: both, ..small.clone() },
        ),
        named(
            "large records one after another",
            vec![vec![Big(0, 1), Put(0, 2)], vec![Big(1, 3)], vec![Put(1, 4)]],
            &Scenario { capacity: 5, fine_roll: true, always: [false, true, true], ..small.clone() },
        ),
        named(
            "a full segment stays active",
            vec![vec![Put(0, 1), Put(0, 2)], vec![Get(0)]],
            &Scenario { compactions: 2, ..small.clone() },
        ),
        // Compaction.
        named(
            "overwrite against compaction",
            vec![vec![Put(0, 1)], vec![Get(0)]],
            &Scenario { fine_sync: true, ..compacts.clone() },
        ),
        named(
            "reader against compaction",
            vec![vec![Put(0, 1)], vec![Get(0)]],
            &Scenario { fine_read: true, ..compacts.clone() },
        ),
        named("increment against compaction", vec![vec![Incr(0)], vec![Del(0)]], &compacts),
        named(
            "deletes in a small log",
            vec![vec![Del(0), Get(0)]],
            &Scenario { given: five.clone(), compactions: 2, ..small.clone() },
        ),
        named(
            "mask beside an older segment",
            vec![vec![Get(0)], vec![Put(1, 1)]],
            &Scenario { given: deleted.clone(), masks_gone: true, compactions: 2, ..Scenario::default() },
        ),
        named(
            "mask in the index",
            vec![vec![Get(0)], vec![Add(0, 1)]],
            &Scenario { given: deleted.clone(), compactions: 2, ..Scenario::default() },
        ),
        named(
            "two victims, one stays",
            vec![vec![Get(0)], vec![Put(1, 1)]],
            &Scenario {
                given: deleted.clone(),
                masks_gone: true,
                compactions: 1,
                victims_max: 2,
                failures: true,
                ..Scenario::default()
            },
        ),
        named(
            "three victims, masks and values",
            vec![vec![Add(0, 1)]],
            &Scenario {
                given: vec![vec![P(0, 5), P(1, 6)], vec![T(0), P(1, 4)], vec![T(1)]],
                masks_gone: true,
                compactions: 2,
                victims_max: 3,
                failures: true,
                ..Scenario::default()
            },
        ),
        named(
            "outputs that are not listed",
            vec![vec![Del(0)]],
            &Scenario {
                given: five.clone(),
                compactions: 2,
                victims_max: 2,
                failures: true,
                ..small.clone()
            },
        ),
        // Clear and batches.
        named(
            "clear against a put",
            vec![vec![Clear], vec![Put(0, 1), Get(0)]],
            &Scenario { given: five.clone(), ..Scenario::default() },
        ),
        named(
            "clear against an increment",
            vec![vec![Clear], vec![Incr(0)], vec![Get(0)]],
            &Scenario { given: five.clone(), ..Scenario::default() },
        ),
        named(
            "clear, then compaction",
            vec![vec![Clear], vec![Put(1, 1)]],
            &Scenario { given: five.clone(), compactions: 2, ..small.clone() },
        ),
        Scenario {
            atomic: true,
            ..scenario("batch beside puts", vec![vec![Batch(1, 2)], vec![Put(0, 3)], vec![Get(0)]])
        },
        scenario("batch against increment", vec![vec![Batch(4, 5)], vec![Incr(0)], vec![Get(1)]]),
        scenario("two batches", vec![vec![Batch(1, 2)], vec![Batch(3, 4)]]),
        named(
            "batch against clear and compaction",
            vec![vec![Batch(1, 2)], vec![Clear]],
            &Scenario {
                given: five.clone(),
                compactions: 1,
                capacity: 6,
                seals: true,
                ..Scenario::default()
            },
        ),
        // Crashes, recovery, and what comes after.
        named(
            "reopened after a hole",
            vec![vec![Put(0, 1)], vec![Put(1, 2), Del(1)]],
            &Scenario { crashes: 2, always: [false, true, false], ..Scenario::default() },
        ),
        named(
            "holes in two segments",
            vec![vec![Put(0, 1)], vec![Put(1, 2)], vec![Put(0, 3)]],
            &Scenario { crashes: 2, ..small.clone() },
        ),
        named(
            "recovered tombstone",
            vec![vec![Del(0)], vec![Get(0)]],
            &Scenario { crashes: 2, given: five.clone(), ..small.clone() },
        ),
        named(
            "recovered clear",
            vec![vec![Clear], vec![Put(0, 1)]],
            &Scenario { crashes: 2, given: five.clone(), ..small.clone() },
        ),
        named(
            "recovered batch",
            vec![vec![Batch(1, 2)], vec![Put(0, 3)]],
            &Scenario { crashes: 2, atomic: true, capacity: 8, seals: true, ..Scenario::default() },
        ),
        named(
            "tidied at open",
            vec![vec![Del(0)], vec![Put(1, 1)]],
            &Scenario {
                crashes: 2,
                compactions: 1,
                victims_max: 2,
                failures: true,
                given: five.clone(),
                ..small.clone()
            },
        ),
        named(
            "two power losses",
            vec![vec![Put(0, 1), Put(0, 2)]],
            &Scenario { crashes: 2, always: both, fine_sync: true, ..compacts.clone() },
        ),
        named(
            "backup",
            vec![vec![Put(0, 1)], vec![Put(1, 2)], vec![Del(0)]],
            &Scenario { backup: true, given: five.clone(), compactions: 1, ..small.clone() },
        ),
        // Larger ones: everything at once.
        named(
            "three writers, two calls, compaction",
            vec![vec![Put(0, 1), Get(0)], vec![Del(0)], vec![Incr(0)]],
            &compacts,
        ),
        named(
            "three increments and a compaction",
            vec![vec![Incr(0)], vec![Incr(0)], vec![Incr(0), Get(0)]],
            &compacts,
        ),
        named(
            "expiry, conditions, compactions",
            vec![vec![Persist(0)], vec![Incr(0)], vec![Get(0)]],
            &Scenario {
                given: vec![vec![P(0, 4)], vec![E(0, 5, 1)]],
                compactions: 1,
                victims_max: 2,
                ..expires.clone()
            },
        ),
        named(
            "small log, two writers, compactions",
            vec![vec![Put(0, 1)], vec![Del(0), Put(1, 2)]],
            &Scenario { given: five.clone(), compactions: 2, victims_max: 2, ..small.clone() },
        ),
        named(
            "small log, synced writers, compaction",
            vec![vec![Put(0, 1)], vec![Del(0)], vec![Put(1, 2)]],
            &Scenario { given: five.clone(), compactions: 1, always: both, fine_sync: true, ..small.clone() },
        ),
        named(
            "batch in a small log, compactions",
            vec![vec![Batch(1, 2)], vec![Put(0, 3)]],
            &Scenario {
                given: five.clone(),
                compactions: 2,
                victims_max: 2,
                capacity: 6,
                seals: true,
                ..Scenario::default()
            },
        ),
        named(
            "clear, puts, compactions",
            vec![vec![Clear, Get(0)], vec![Put(0, 1), Del(0)]],
            &Scenario {
                given: vec![vec![P(0, 5), P(1, 4)]],
                compactions: 2,
                victims_max: 2,
                ..small.clone()
            },
        ),
        named(
            "crashes and compactions",
            vec![vec![Put(0, 1), Del(0)], vec![Get(0)]],
            &Scenario {
                given: five.clone(),
                crashes: 2,
                compactions: 2,
                victims_max: 2,
                failures: true,
                ..small.clone()
            },
        ),
        named(
            "crashes beside two writers",
            vec![vec![Put(1, 2)], vec![Incr(0)]],
            &Scenario { given: five.clone(), crashes: 2, compactions: 1, always: both, ..small.clone() },
        ),
        named(
            "crashes and expiry",
            vec![vec![Persist(0)], vec![Get(0), Get(0)]],
            &Scenario { crashes: 2, compactions: 1, clock_back: true, power: false, ..expires.clone() },
        ),
        named(
            "crashes, batch and clear",
            vec![vec![Batch(1, 2), Get(0)], vec![Clear]],
            &Scenario { given: five.clone(), crashes: 2, capacity: 6, seals: true, ..Scenario::default() },
        ),
    ]
}

/// A small generator of the same numbers everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }
    fn is_one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }
}

/// The `n`-th scenario of a campaign: more threads and calls than those above, all features mixed.
pub fn random(seed: u64, n: u64) -> Scenario {
    let mut dice = Dice((seed << 32 | n).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for _ in 0..9 {
        dice.roll(2);
    }
    let givens = [
        vec![],
        vec![vec![P(0, 5)]],
        vec![vec![P(0, 5), P(1, 4)]],
        vec![vec![P(0, 5)], vec![T(0)]],
        vec![vec![P(0, 5)], vec![E(0, 6, 1)]],
        vec![vec![P(0, 5), P(1, 3)], vec![T(0), E(1, 2, 1)]],
        vec![vec![P(0, 5)], vec![T(0)], vec![P(0, 2)]],
    ];
    let given = givens[dice.roll(givens.len())].clone();
    let key = |dice: &mut Dice| u8::from(dice.is_one_in(3));
    let call = |dice: &mut Dice| {
        let k = key(dice);
        match dice.roll(15) {
            0 | 1 => Put(k, 1),
            2 => PutFor(k, 2, 1),
            3 => Big(k, 3),
            4 => Add(k, 2),
            5 | 6 => Incr(k),
            7 => Cas(k, 5, 3),
            8 | 9 => Del(k),
            10 => Evict(k),
            11 => Expire(k, 1),
            12 => Persist(k),
            13 => Clear,
            _ => Get(k),
        }
    };
    let shapes: [&[usize]; 5] = [&[2, 1], &[1, 1, 1], &[2, 2], &[2, 1, 1], &[3, 1]];
    let shape = shapes[dice.roll(shapes.len())];
    let mut threads: Vec<Vec<Op>> =
        shape.iter().map(|n| (0..*n).map(|_| call(&mut dice)).collect()).collect();
    if dice.is_one_in(5) {
        threads[0] = vec![Batch(1, 2)];
    }
    let has_deadlines = threads.iter().flatten().any(|op| matches!(op, PutFor(..) | Expire(..)))
        || given.iter().flatten().any(|one| matches!(one, E(..)));
    let crashes = u8::from(dice.is_one_in(3)) * (1 + dice.roll(2) as u8);
    let always: [bool; THREADS] = std::array::from_fn(|_| dice.is_one_in(3));
    let name = format!("campaign {seed}-{n}");
    Scenario {
        name,
        given,
        masks_gone: dice.is_one_in(2),
        capacity: [2, 4, 5, 8, 20][dice.roll(5)].max(if threads[0] == [Batch(1, 2)] { 6 } else { 2 }).max(3),
        clock_max: u8::from(has_deadlines),
        compactions: dice.roll(3) as u8,
        victims_max: 1 + dice.roll(3) as u32,
        seals: !dice.is_one_in(4),
        crashes,
        fine_roll: dice.is_one_in(4),
        fine_sync: dice.is_one_in(3),
        fine_read: dice.is_one_in(4),
        failures: dice.is_one_in(3),
        clock_back: has_deadlines && crashes == 0 && dice.is_one_in(3),
        backup: dice.is_one_in(4),
        always,
        threads,
        ..Scenario::default()
    }
}
