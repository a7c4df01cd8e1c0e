//! Sequences of operations: what they are made of, and how they are drawn.

use kv::Tag;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

pub const OPERATIONS_MIN: usize = 100;
/// More than the least, for those that do nothing.
const OPERATIONS: std::ops::Range<usize> = 105..140;
pub const KEYS: usize = 6;
/// A mirror that is written when the store is closed, or synced in memory, and never by the way.
pub const MIRROR_AT_THE_END_MS: u64 = 86_400_000;

/// A key by number: the empty one, one too long for an index entry, and prefixes of each other.
pub fn key(number: usize) -> Vec<u8> {
    match number {
        0 => Vec::new(),
        1 => vec![b'l'; 300],
        n => vec![b'k'; n - 1],
    }
}

/// Kinds of records that have little in common; each alike in itself, so that a dictionary serves it.
pub const KINDS: u8 = 3;

/// A value that says which write it is of, padded to a length.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    Integer(i64),
    Text {
        tag: u16,
        bytes: usize,
    },
    /// JSON of 50 to 2,000 bytes.
    Record {
        kind: u8,
        number: u16,
    },
}

impl Content {
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Content::Integer(n) => n.to_string().into_bytes(),
            Content::Text { tag, bytes } => tag.to_le_bytes().iter().copied().cycle().take(bytes).collect(),
            Content::Record { kind, number } => record(kind, number).into_bytes(),
        }
    }
}

fn record(kind: u8, number: u16) -> String {
    let mixed = u32::from(number).wrapping_mul(2_654_435_761);
    match kind {
        0 => format!(
            "{{\"name\":\"package-{number}\",\"version\":\"{}.{}\",\"architecture\":\"amd64\",\"section\":\"libs\",\
             \"maintainer\":\"Somebody <somebody@example.org>\",\"checksum\":\"{mixed:08x}\"}}",
            number % 7,
            number % 11
        ),
        1 => format!("{{\"order\":{number},\"customer\":{mixed},\"status\":\"delivered\"}}"),
        _ => {
            let hosts = (0..1 + mixed % 20).map(|n| format!("\"host-{}.example.net: retried {n} times\"", mixed >> n & 7));
            format!("{{\"request\":\"{mixed:x}\",\"warnings\":[{}]}}", hosts.collect::<Vec<_>>().join(","))
        }
    }
}

impl Content {
    /// Of what a conditional write is told that wrote it: numbers of both kinds, since a sum keeps its number's.
    pub fn codec(self) -> Tag {
        match self {
            Content::Record { .. } => Tag::JSON,
            Content::Integer(n) if n % 2 == 0 => Tag::JSON,
            _ => Tag::RAW,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub enum When {
    Default,
    Never,
    After(u64),
    /// Relative to now; may lie in the past.
    At(i64),
    Keep,
}

#[derive(Debug, Clone, Copy)]
pub enum Only {
    Always,
    IfAbsent,
    IfPresent,
    /// Its version, or one beside it.
    IfVersion {
        wrong: bool,
    },
}

#[derive(Debug, Clone, Copy)]
pub enum End {
    /// With so many names of metadata more.
    Commit(u8),
    Delete,
    Rollback,
    /// Somebody else sets or removes the key before the commit; then it is tried anew or given up.
    Conflict {
        removes: bool,
        again: bool,
    },
}

#[derive(Debug, Clone)]
pub enum Op {
    /// What a failing sequence shrinks towards.
    Nothing,
    Set(usize, Content),
    SetWith(usize, Content, Only, When),
    Add(usize, Content),
    Replace(usize, Content),
    CompareAndSwap(usize, Content, bool),
    Increment(usize, i64),
    Delete(usize),
    Take(usize),
    Expire(usize, u64),
    ExpireAt(usize, i64),
    Touch(usize),
    Persist(usize),
    Load(usize, Content),
    /// A session of a key that has a value or none, its edits, and how it ends.
    Session(usize, Content, End),
    Apply(Vec<(usize, Option<Content>, When)>),
    SetMany(Vec<(usize, Content)>),
    /// Enough records of a kind to train a dictionary from, in a store that has dictionaries.
    Train(usize, u8),
    DeleteMany(Vec<usize>),
    Look(usize),
    Scan(usize, bool),
    Advance(u64),
    SetBack(u64),
    Sweep,
    Compact,
    Clear,
    Sync,
    Reopen,
    Crash,
    Backup,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Off,
    EachByItself,
    WithDictionaries,
}

#[derive(Debug, Clone)]
pub struct Config {
    pub in_directory: bool,
    pub background: bool,
    pub default_ttl_ms: Option<u64>,
    pub packing: Packing,
    pub is_listed: bool,
    pub sync: u8,
    pub entries_max: Option<u64>,
    pub bytes_max: Option<u64>,
    /// How long after a change the JSON mirror is written; `None`: there is none.
    pub mirror_every_ms: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct Sequence {
    pub config: Config,
    pub operations: Vec<Op>,
}

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?}", self.config)?;
        let played = self.operations.iter().enumerate().filter(|(_, op)| !matches!(op, Op::Nothing));
        played.into_iter().try_for_each(|(at, op)| writeln!(f, "{at:>4} {op:?}"))
    }
}

/// What all sequences did together, so that a generator that stops doing something is noticed.
#[derive(Debug, Default)]
pub struct Totals {
    pub sequences: AtomicU64,
    pub operations: AtomicU64,
    pub opens: AtomicU64,
    pub compactions: AtomicU64,
    pub relocated_bytes: AtomicU64,
    pub rolls: AtomicU64,
    pub expired: AtomicU64,
    pub evicted: AtomicU64,
    /// Sequences with dictionaries, those trained in them, and records that one of them made smaller.
    pub with_dictionaries: AtomicU64,
    pub trained: AtomicU64,
    pub packed: AtomicU64,
    /// Entries that came back from JSON mirrors.
    pub mirrored: AtomicU64,
}

impl Totals {
    pub fn check(&self, cases: u64) {
        let total = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        assert!(total(&self.sequences) >= cases);
        assert!(total(&self.operations) >= cases * OPERATIONS_MIN as u64);
        if cases >= 1000 {
            for figure in [&self.compactions, &self.rolls, &self.expired, &self.evicted, &self.opens] {
                assert!(total(figure) > cases / 2, "{self:?}");
            }
            assert!(total(&self.relocated_bytes) > 0);
            assert!(total(&self.mirrored) > cases / 5, "{self:?}");
            let with_dictionaries = total(&self.with_dictionaries);
            assert!(with_dictionaries > cases / 100, "{self:?}");
            for figure in [&self.trained, &self.packed] {
                assert!(total(figure) > with_dictionaries / 2, "{self:?}");
            }
        }
    }
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        4 => (-3i64..100).prop_map(Content::Integer),
        1 => prop_oneof![Just(i64::MAX), Just(i64::MIN)].prop_map(Content::Integer),
        5 => (any::<u16>(), 0usize..40).prop_map(|(tag, bytes)| Content::Text { tag, bytes }),
        3 => (0..KINDS, any::<u16>()).prop_map(|(kind, number)| Content::Record { kind, number }),
        3 => (any::<u16>(), 2000usize..20_000).prop_map(|(tag, bytes)| Content::Text { tag, bytes }),
        // Larger than a segment now and then.
        1 => (any::<u16>(), 20_000usize..70_000).prop_map(|(tag, bytes)| Content::Text { tag, bytes }),
    ]
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        Just(When::Default),
        Just(When::Never),
        (0u64..2500).prop_map(When::After),
        (-500i64..2500).prop_map(When::At),
        Just(When::Keep),
    ]
}

fn only() -> impl Strategy<Value = Only> {
    prop_oneof![
        Just(Only::Always),
        Just(Only::IfAbsent),
        Just(Only::IfPresent),
        any::<bool>().prop_map(|wrong| Only::IfVersion { wrong }),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => (0u8..4).prop_map(End::Commit),
        1 => Just(End::Delete),
        1 => Just(End::Rollback),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(removes, again)| End::Conflict { removes, again }),
    ]
}

fn operation() -> impl Strategy<Value = Op> {
    let k = || 0..KEYS;
    let write = prop_oneof![
        4 => (k(), content()).prop_map(|(k, v)| Op::Set(k, v)),
        6 => (k(), content(), only(), when()).prop_map(|(k, v, o, w)| Op::SetWith(k, v, o, w)),
        2 => (k(), content()).prop_map(|(k, v)| Op::Add(k, v)),
        2 => (k(), content()).prop_map(|(k, v)| Op::Replace(k, v)),
        2 => (k(), content(), any::<bool>()).prop_map(|(k, v, wrong)| Op::CompareAndSwap(k, v, wrong)),
        4 => (k(), -3i64..4).prop_map(|(k, by)| Op::Increment(k, by)),
        3 => k().prop_map(Op::Delete),
        2 => k().prop_map(Op::Take),
        2 => (k(), 0u64..2500).prop_map(|(k, ms)| Op::Expire(k, ms)),
        2 => (k(), -500i64..2500).prop_map(|(k, ms)| Op::ExpireAt(k, ms)),
        1 => k().prop_map(Op::Touch),
        2 => k().prop_map(Op::Persist),
        1 => (k(), content()).prop_map(|(k, v)| Op::Load(k, v)),
        5 => (k(), content(), end()).prop_map(|(k, v, end)| Op::Session(k, v, end)),
    ];
    let member = (k(), proptest::option::weighted(0.7, content()), when());
    let many = prop_oneof![
        3 => proptest::collection::vec(member, 0..6).prop_map(Op::Apply),
        1 => proptest::collection::vec((k(), content()), 0..4).prop_map(Op::SetMany),
        1 => proptest::collection::vec(k(), 0..4).prop_map(Op::DeleteMany),
        2 => (k(), 0..KINDS).prop_map(|(k, kind)| Op::Train(k, kind)),
    ];
    let store = prop_oneof![
        14 => (0u64..900).prop_map(Op::Advance),
        1 => (0u64..3000).prop_map(Op::SetBack),
        4 => Just(Op::Sweep),
        3 => Just(Op::Compact),
        1 => Just(Op::Clear),
        1 => Just(Op::Sync),
        2 => Just(Op::Reopen),
        3 => Just(Op::Crash),
        1 => Just(Op::Backup),
    ];
    prop_oneof![
        1 => Just(Op::Nothing),
        600 => write,
        80 => many,
        120 => k().prop_map(Op::Look),
        40 => (k(), any::<bool>()).prop_map(|(k, ordered)| Op::Scan(k, ordered)),
        160 => store,
    ]
}

/// Those with dictionaries are few: each training takes as long as ten sequences.
fn packing() -> impl Strategy<Value = Packing> {
    prop_oneof![
        65 => Just(Packing::Off),
        30 => Just(Packing::EachByItself),
        5 => Just(Packing::WithDictionaries),
    ]
}

pub fn sequence() -> impl Strategy<Value = Sequence> {
    let config = (
        proptest::bool::weighted(0.6),
        proptest::bool::weighted(0.3),
        proptest::option::weighted(0.3, 1u64..3000),
        packing(),
        proptest::bool::ANY,
        0u8..8,
        proptest::option::weighted(0.3, 1u64..5),
        proptest::option::weighted(0.2, prop_oneof![20u64..500, 2_000u64..60_000]),
        proptest::option::weighted(0.15, prop_oneof![Just(MIRROR_AT_THE_END_MS), Just(1)]),
    )
        .prop_map(
            |(
                in_directory,
                background,
                default_ttl_ms,
                packing,
                is_listed,
                sync,
                entries_max,
                bytes_max,
                mirror_every_ms,
            )| {
                Config {
                    in_directory,
                    background,
                    default_ttl_ms,
                    packing,
                    is_listed,
                    sync,
                    entries_max,
                    bytes_max,
                    mirror_every_ms,
                }
            },
        );
    let operations = proptest::collection::vec(operation(), OPERATIONS);
    (config, operations).prop_map(|(config, operations)| Sequence { config, operations })
}
