//! The model test, whose operations are spelled by the fuzzer's bytes.
#![no_main]
#![allow(dead_code)] // The test uses all of what it shares with this.

#[path = "../../tests/support/checks.rs"]
mod checks;
#[path = "../../tests/support/editor.rs"]
mod editor;
#[path = "../../tests/support/mirrored.rs"]
mod mirrored;
#[path = "../../tests/support/oracle.rs"]
mod oracle;
#[path = "../../tests/support/player.rs"]
mod player;
#[path = "../../tests/support/sequence.rs"]
mod sequence;

use libfuzzer_sys::fuzz_target;
use sequence::{Config, Content, End, Only, Op, Packing, Sequence, When, KEYS, KINDS, MIRROR_AT_THE_END_MS};

/// Longer sequences find little that shorter ones don't, and cost opens.
const OPERATIONS_MAX: usize = 100;

/// The input, byte for byte; zeros follow.
struct Bytes<'d>(&'d [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    fn key(&mut self) -> usize {
        usize::from(self.byte()) % KEYS
    }

    fn number(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn kind(&mut self) -> u8 {
        self.byte() % KINDS
    }

    fn packing(&mut self) -> Packing {
        match self.byte() % 8 {
            0..4 => Packing::Off,
            4..7 => Packing::EachByItself,
            _ => Packing::WithDictionaries,
        }
    }

    fn content(&mut self) -> Content {
        let tag = self.number();
        match self.byte() % 9 {
            8 => Content::Record { kind: self.kind(), number: tag },
            0 => Content::Integer(i64::MAX),
            1 => Content::Integer(i64::MIN),
            2 | 3 => Content::Integer(i64::from(tag % 100) - 3),
            4 | 5 => Content::Text { tag, bytes: usize::from(self.byte()) % 40 },
            6 => Content::Text { tag, bytes: usize::from(self.number()) % 20_000 },
            _ => Content::Text { tag, bytes: usize::from(self.number()) },
        }
    }

    fn when(&mut self) -> When {
        match self.byte() % 5 {
            0 => When::Default,
            1 => When::Never,
            2 => When::After(u64::from(self.number() % 2500)),
            3 => When::At(i64::from(self.number() % 3000) - 500),
            _ => When::Keep,
        }
    }

    fn only(&mut self) -> Only {
        match self.byte() % 4 {
            0 => Only::Always,
            1 => Only::IfAbsent,
            2 => Only::IfPresent,
            _ => Only::IfVersion { wrong: self.flag() },
        }
    }

    fn end(&mut self) -> End {
        match self.byte() % 4 {
            0 => End::Commit(self.byte() % 4),
            1 => End::Delete,
            2 => End::Rollback,
            _ => End::Conflict { removes: self.flag(), again: self.flag() },
        }
    }

    fn list<T>(&mut self, each: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % 6).map(|_| each(self)).collect()
    }

    fn operation(&mut self) -> Op {
        match self.byte() % 29 {
            0 => Op::Set(self.key(), self.content()),
            1 => Op::SetWith(self.key(), self.content(), self.only(), self.when()),
            2 => Op::Add(self.key(), self.content()),
            3 => Op::Replace(self.key(), self.content()),
            4 => Op::CompareAndSwap(self.key(), self.content(), self.flag()),
            5 => Op::Increment(self.key(), i64::from(self.byte() % 7) - 3),
            6 => Op::Delete(self.key()),
            7 => Op::Take(self.key()),
            8 => Op::Expire(self.key(), u64::from(self.number() % 2500)),
            9 => Op::ExpireAt(self.key(), i64::from(self.number() % 3000) - 500),
            10 => Op::Touch(self.key()),
            11 => Op::Persist(self.key()),
            12 => Op::Load(self.key(), self.content()),
            13 => Op::Apply(self.list(|b| (b.key(), b.flag().then(|| b.content()), b.when()))),
            14 => Op::SetMany(self.list(|b| (b.key(), b.content()))),
            15 => Op::DeleteMany(self.list(Self::key)),
            16 => Op::Look(self.key()),
            17 => Op::Scan(self.key(), self.flag()),
            18 => Op::Advance(u64::from(self.number() % 900)),
            19 => Op::SetBack(u64::from(self.number() % 3000)),
            20 => Op::Sweep,
            21 => Op::Compact,
            22 => Op::Clear,
            23 => Op::Sync,
            24 => Op::Reopen,
            25 => Op::Crash,
            26 => Op::Session(self.key(), self.content(), self.end()),
            27 => Op::Train(self.key(), self.kind()),
            _ => Op::Backup,
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let config = Config {
        in_directory: bytes.flag(),
        background: bytes.byte() % 8 == 1,
        default_ttl_ms: bytes.flag().then(|| 1 + u64::from(bytes.number() % 2000)),
        packing: bytes.packing(),
        sync: bytes.byte() % 8,
        is_listed: bytes.flag(),
        entries_max: bytes.flag().then(|| 1 + u64::from(bytes.byte() % 4)),
        bytes_max: bytes.flag().then(|| 20 + u64::from(bytes.number())),
        mirror_every_ms: (bytes.byte() % 8 == 1).then_some(MIRROR_AT_THE_END_MS),
    };
    let mut operations = Vec::new();
    while !bytes.0.is_empty() && operations.len() < OPERATIONS_MAX {
        operations.push(bytes.operation());
    }
    player::run(&Sequence { config, operations }, &sequence::Totals::default());
});
