//! An independent reader, written from `docs/format.md` alone, finds in a store's files what the library says is there.

#![cfg(feature = "zstd")]

use kv::{Batch, Compression, CreateOptions, Db, ManualClock, Metadata, Options, SetOptions, Sync, Wait};
use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

type Entries = BTreeMap<Vec<u8>, (Vec<u8>, Metadata)>;

/// The page's reader. Damage is a panic: these tests' stores have none but what the page calls gaps.
mod reader {
    use super::*;

    const FIRST_RECORD_AT: usize = 4096;
    const HEADER_BYTES: usize = 32;
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    const COMMITTED: u8 = 0xf0;
    const IN_BATCH: u8 = 1 << 2;
    const METADATA: u8 = 1 << 6;

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    fn crc(parts: &[&[u8]]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        parts.iter().for_each(|part| crc.update(part));
        crc.finalize()
    }

    struct Manifest {
        generation: u64,
        uuid: Vec<u8>,
        listed: Vec<Listed>,
    }

    struct Listed {
        id: u64,
        base_lsn: u64,
        born: u64,
        capacity: u64,
        /// Used bytes, records, committed, checksum of the heads.
        seal: Option<(usize, u32, u32, u64)>,
    }

    fn manifest(dir: &Path) -> Manifest {
        let good = |name| {
            let bytes = std::fs::read(dir.join(name)).ok()?;
            if bytes.get(..8)? != b"libkvman" {
                return None;
            }
            assert!([1, 2].contains(&u32_at(&bytes, 8)), "version");
            let n = u32_at(&bytes, 12) as usize;
            let end = 56 + 80 * n;
            if u32_at(&bytes, end) != crc(&[&bytes[..end]]) {
                return None;
            }
            let listed = bytes[56..end].chunks_exact(80).map(|entry| Listed {
                id: u64_at(entry, 0),
                base_lsn: u64_at(entry, 8),
                born: u64_at(entry, 16),
                capacity: u64_at(entry, 24),
                seal: (u64_at(entry, 32) == 1).then(|| {
                    (u64_at(entry, 40) as usize, u32_at(entry, 48), u32_at(entry, 52), u64_at(entry, 72))
                }),
            });
            let listed = listed.collect();
            Some(Manifest { generation: u64_at(&bytes, 32), uuid: bytes[16..32].to_vec(), listed })
        };
        let both = ["MANIFEST-0", "MANIFEST-1"].into_iter().filter_map(good);
        both.max_by_key(|manifest| manifest.generation).expect("a good manifest")
    }

    struct Segment {
        listed: Listed,
        bytes: Vec<u8>,
        is_tail: bool,
        /// Boot id, device and inode are those of this system and file.
        is_of_this_run: bool,
    }

    #[derive(Clone, Copy)]
    pub(super) struct Record<'s> {
        kind: u8,
        flags: u8,
        dictionary: u16,
        state: u8,
        lsn: u64,
        expire_at_ms: u64,
        key: &'s [u8],
        value: &'s [u8],
        bytes: usize,
    }

    impl Segment {
        fn read(dir: &Path, listed: Listed, uuid: &[u8], boot_id: &[u8]) -> Segment {
            let path = dir.join(format!("{:016x}.seg", listed.id));
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!((&bytes[..8], u32_at(&bytes, 8)), (&b"libkvseg"[..], 1));
            assert_eq!(u32_at(&bytes, 104), crc(&[&bytes[..104]]));
            assert_eq!(&bytes[16..32], uuid);
            let said = [32, 40, 48, 56].map(|at| u64_at(&bytes, at));
            assert_eq!(said, [listed.id, listed.base_lsn, listed.born, listed.capacity]);
            match listed.seal {
                Some((used, ..)) => assert!((used..=listed.capacity as usize).contains(&bytes.len())),
                None => assert_eq!(bytes.len() as u64, listed.capacity),
            }
            let stat = std::fs::metadata(&path).unwrap();
            let identity = (u64_at(&bytes, 88), u64_at(&bytes, 96));
            let is_of_this_run = &bytes[72..88] == boot_id && identity == (stat.dev(), stat.ino());
            let is_tail = u32_at(&bytes, 12) == 1;
            Segment { listed, bytes, is_tail, is_of_this_run }
        }

        fn salt(&self) -> &[u8] {
            &self.bytes[64..72]
        }

        fn cell_check(&self, value: u64) -> u64 {
            let half = |value: u64| u64::from(crc(&[self.salt(), &value.to_le_bytes()]));
            (half(value) << 32) | half(!value) | 1
        }

        fn synced_lsn(&self) -> u64 {
            let slots = [520, 536].map(|at| (u64_at(&self.bytes, at), u64_at(&self.bytes, at + 8)));
            let good = slots.iter().filter(|(lsn, check)| *check == self.cell_check(*lsn));
            good.map(|(lsn, _)| *lsn).max().unwrap_or(0)
        }

        fn time_ms(&self) -> Option<u64> {
            let time = u64_at(&self.bytes, 512);
            (time & 0xffff == self.cell_check(time >> 16) & 0xffff).then_some(time >> 16)
        }

        /// A good record outside of any batch.
        fn record(&self, at: usize) -> Option<Record<'_>> {
            let record = parse(self.bytes.get(at..)?, self.salt())?;
            let lsn_is_good = match self.is_tail {
                true => record.lsn == self.listed.base_lsn + at as u64,
                false => record.lsn < self.listed.born,
            };
            (lsn_is_good && record.flags & IN_BATCH == 0).then_some(record)
        }

        fn sealed<'s>(&'s self, visit: &mut impl FnMut(Record<'s>)) {
            let (used, records, committed, heads_crc) = self.listed.seal.unwrap();
            let (mut at, mut counted, mut heads) = (FIRST_RECORD_AT, (0, 0), Vec::new());
            while at < used {
                let record = self.record(at).expect("a sealed segment has no gap");
                assert_ne!(record.kind, 5, "a pad behind the used bytes only");
                counted = (counted.0 + 1, counted.1 + u32::from(record.state == COMMITTED));
                self.heads(at, &record, &mut heads);
                self.counts(at, record, visit);
                at += record.bytes;
            }
            assert_eq!((at, counted), (used, (records, committed)));
            assert_eq!(u64::from(crc(&[&heads])), heads_crc);
        }

        /// Whether the log may go on in the next segment.
        fn unsealed<'s>(&'s self, died: bool, synced_lsn: u64, visit: &mut impl FnMut(Record<'s>)) -> bool {
            let mut at = FIRST_RECORD_AT;
            while at + HEADER_BYTES <= self.bytes.len() {
                match self.record(at) {
                    Some(record) if record.kind == 5 => return true,
                    Some(record) if died || record.state != 0x0f => {
                        self.counts(at, record, visit);
                        at += record.bytes;
                    }
                    _ => {
                        assert!(self.listed.base_lsn + at as u64 >= synced_lsn, "a gap in what was synced");
                        if !died {
                            return false;
                        }
                        assert_eq!(u64_at(&self.bytes, at), 0, "neither a record nor a gap");
                        let next =
                            (at + 8..self.bytes.len()).step_by(8).find(|at| self.record(*at).is_some());
                        let Some(next) = next else { return true };
                        at = next;
                    }
                }
            }
            true
        }

        /// Each record without its value, and behind a frame its members without theirs.
        fn heads(&self, at: usize, record: &Record<'_>, heads: &mut Vec<u8>) {
            heads.extend_from_slice(&self.bytes[at..at + HEADER_BYTES]);
            heads.extend_from_slice(record.key);
            let mut member_at = at + HEADER_BYTES;
            while record.kind == 3 && member_at < at + HEADER_BYTES + record.value.len() {
                let member = parse(&self.bytes[member_at..], self.salt()).expect("a good member");
                self.heads(member_at, &member, heads);
                member_at += member.bytes;
            }
        }

        fn counts<'s>(&'s self, at: usize, record: Record<'s>, visit: &mut impl FnMut(Record<'s>)) {
            if record.state != COMMITTED {
                return;
            }
            if record.kind != 3 {
                return visit(record);
            }
            let mut member_at = 0;
            while member_at < record.value.len() {
                let member = parse(&record.value[member_at..], self.salt()).expect("a good member");
                assert_eq!((member.flags & IN_BATCH, member.state), (IN_BATCH, COMMITTED));
                assert_eq!(member.lsn, self.listed.base_lsn + (at + HEADER_BYTES + member_at) as u64);
                visit(member);
                member_at += member.bytes;
            }
        }
    }

    fn parse<'s>(bytes: &'s [u8], salt: &[u8]) -> Option<Record<'s>> {
        let header = bytes.get(..HEADER_BYTES)?;
        let (kind, flags, state) = (header[4], header[5], header[7]);
        let key_len = usize::from(u16::from_le_bytes([header[8], header[9]]));
        let key_end = HEADER_BYTES + key_len;
        let end = key_end + u32_at(header, 12) as usize;
        let is_known = (1..=5).contains(&kind) && flags < 128 && [0x0f, 0xf0, 0xff].contains(&state);
        let checked_end = if kind == 5 { HEADER_BYTES } else { end };
        let checked = bytes.get(8..checked_end)?;
        if !is_known || u32_at(header, 0) != crc(&[salt, &header[4..7], checked]) {
            return None;
        }
        Some(Record {
            kind,
            flags,
            dictionary: u16::from_le_bytes([header[10], header[11]]),
            state,
            lsn: u64_at(header, 16),
            expire_at_ms: u64_at(header, 24),
            key: bytes.get(HEADER_BYTES..key_end)?,
            value: bytes.get(key_end..end)?,
            bytes: end.next_multiple_of(8),
        })
    }

    /// The text of a dictionary.
    fn dictionary(dir: &Path, number: u16, uuid: &[u8]) -> Vec<u8> {
        let bytes = std::fs::read(dir.join(format!("DICT-{number}"))).unwrap();
        assert_eq!((&bytes[..8], u32_at(&bytes, 8)), (&b"libkvdic"[..], 1));
        assert_eq!((u32_at(&bytes, 12), &bytes[16..32]), (u32::from(number), uuid));
        let end = 36 + u32_at(&bytes, 32) as usize;
        assert_eq!(u32_at(&bytes, end), crc(&[&bytes[..end]]));
        bytes[36..end].to_vec()
    }

    /// Value and metadata.
    fn content(record: &Record<'_>, dir: &Path, uuid: &[u8]) -> (Vec<u8>, Metadata) {
        let (mut value, mut metadata) = (record.value, Metadata::new());
        if record.flags & METADATA != 0 {
            let (rest, len) = value.split_at(value.len() - 4);
            let mut pairs;
            (value, pairs) = rest.split_at(rest.len() - u32_at(len, 0) as usize);
            while !pairs.is_empty() {
                let name_len = usize::from(u16::from_le_bytes([pairs[0], pairs[1]]));
                let (head, rest) = pairs.split_at(6);
                let (name, rest) = rest.split_at(name_len);
                let (held, rest) = rest.split_at(u32_at(head, 2) as usize);
                metadata.insert(String::from_utf8(name.to_vec()).unwrap(), held.to_vec());
                pairs = rest;
            }
        }
        if record.flags & 1 == 0 {
            return (value.to_vec(), metadata);
        }
        if record.dictionary != 0 {
            let dictionary = dictionary(dir, record.dictionary, uuid);
            let frame = [&[0x28, 0xb5, 0x2f, 0xfd], value].concat();
            let mut reader = zstd::bulk::Decompressor::with_dictionary(&dictionary).unwrap();
            return (reader.decompress(&frame, 65_536).unwrap(), metadata);
        }
        let plain = zstd::decode_all(&value[4..]).unwrap();
        assert_eq!(plain.len(), u32_at(value, 0) as usize);
        (plain, metadata)
    }

    /// What a store holds, and where in which file the records stand that may not be on disk.
    pub(super) struct Found {
        pub(super) entries: Entries,
        pub(super) unsealed: usize,
        pub(super) unsynced: Vec<(PathBuf, u64)>,
        pub(super) compressed: usize,
        /// Of these, those with a dictionary.
        pub(super) with_dictionary: usize,
        /// Of those compressed, those with metadata.
        pub(super) annotated: usize,
    }

    pub(super) fn read(dir: &Path, wall_ms: u64) -> Found {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().replace('-', "");
        let boot_id = u128::from_str_radix(boot_id.trim(), 16).unwrap().to_be_bytes();
        let Manifest { uuid, listed, .. } = manifest(dir);
        let segments: Vec<Segment> =
            listed.into_iter().map(|listed| Segment::read(dir, listed, &uuid, &boot_id)).collect();
        let (sealed, mut unsealed): (Vec<_>, Vec<_>) =
            segments.iter().partition(|segment| segment.listed.seal.is_some());
        unsealed.sort_by_key(|segment| segment.listed.base_lsn);

        let mut newest: BTreeMap<&[u8], Record<'_>> = BTreeMap::new();
        let mut places = Vec::new();
        let mut clear_lsn = 0;
        let mut take = |record| take_into(&mut newest, &mut clear_lsn, record);
        sealed.iter().for_each(|segment| segment.sealed(&mut take));
        let died = unsealed.iter().all(|segment| segment.is_of_this_run);
        let synced_lsn = unsealed.iter().map(|segment| segment.synced_lsn()).max().unwrap_or(0);
        for segment in &unsealed {
            let path = dir.join(format!("{:016x}.seg", segment.listed.id));
            let goes_on = segment.unsealed(died, synced_lsn, &mut |record| {
                if record.flags & IN_BATCH == 0 && record.lsn >= synced_lsn {
                    places.push((path.clone(), record.lsn - segment.listed.base_lsn));
                }
                take(record);
            });
            if !goes_on {
                break;
            }
        }

        let stored_ms = segments.iter().filter_map(Segment::time_ms).max().unwrap_or(0);
        let now_ms = if stored_ms > wall_ms + DAY_MS { wall_ms } else { wall_ms.max(stored_ms) };
        let lives = |record: &Record<'_>| {
            let has_expired = record.expire_at_ms != 0 && record.expire_at_ms <= now_ms;
            record.kind == 1 && record.lsn >= clear_lsn && !has_expired
        };
        let live = newest.values().filter(|record| lives(record));
        Found {
            entries: live.clone().map(|record| (record.key.to_vec(), content(record, dir, &uuid))).collect(),
            unsealed: unsealed.len(),
            unsynced: places,
            compressed: live.clone().filter(|record| record.flags & 1 != 0).count(),
            with_dictionary: live.clone().filter(|record| record.dictionary != 0).count(),
            annotated: live.filter(|record| record.flags & (1 | METADATA) == 1 | METADATA).count(),
        }
    }

    fn take_into<'s>(newest: &mut BTreeMap<&'s [u8], Record<'s>>, clear_lsn: &mut u64, record: Record<'s>) {
        if record.kind == 4 {
            *clear_lsn = record.lsn.max(*clear_lsn);
            return;
        }
        let known = newest.entry(record.key).or_insert(record);
        let is_newer = record.lsn > known.lsn || (record.lsn == known.lsn && record.kind == 2);
        if is_newer {
            *known = record;
        }
    }
}

/// xorshift64: enough to choose operations, and replayed by `KV_SEED`.
struct Random(u64);

impl Random {
    fn from_env() -> Random {
        let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = std::env::var("KV_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
        println!("KV_SEED={seed}");
        Random(seed | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn key(&mut self) -> Vec<u8> {
        format!("key-{}", self.below(KEYS)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.below(60) {
            0 => Vec::new(),
            // Longer than a segment.
            1 => (0..200_000).map(|_| self.below(256) as u8).collect(),
            // Compresses.
            n if n < 15 => vec![n as u8; 2000],
            n => (0..n * 8).map(|_| self.below(256) as u8).collect(),
        }
    }
}

const KEYS: u64 = 150;
const START_MS: u64 = 1_700_000_000_000;

fn options(clock: &Arc<ManualClock>) -> Options {
    let compression = Compression::Zstd { level: 3, threshold_bytes: 256 };
    // Never: what the tests break must not have been synced.
    Options::new().segment_bytes(64 << 10).sync(Sync::Never).clock(clock.clone()).compression(compression)
}

fn operate(db: &Db, clock: &ManualClock, random: &mut Random, operations: u32) {
    for _ in 0..operations {
        let key = random.key();
        match random.below(40) {
            0..=4 => {
                let allow = CreateOptions::new().allow_existing(true);
                let mut session = db.create_and_lock(&key, Wait::No, allow).unwrap().unwrap();
                *session.value_mut() = random.value();
                let name = format!("name-{}", random.below(3));
                session.metadata_mut().insert(name, random.value());
                session.commit().unwrap();
            }
            5..=21 => db.set(&key, &random.value()).unwrap(),
            22..=26 => assert!(db.delete(&key).unwrap() || !db.contains(&key).unwrap()),
            27..=31 => {
                let ttl = Duration::from_millis(1 + random.below(5_000));
                db.set_with(&key, &random.value(), SetOptions::new().ttl(ttl)).unwrap();
            }
            32..=36 => {
                let mut batch = Batch::new();
                for _ in 0..2 + random.below(5) {
                    batch.set(random.key(), random.value()).delete(random.key());
                }
                db.apply(&batch).unwrap();
            }
            37 | 38 => clock.advance(Duration::from_millis(random.below(1_000))),
            _ => match random.below(8) {
                0 => db.clear().unwrap(),
                1..=3 => db.compact().unwrap(),
                _ => db.sweep().unwrap(),
            },
        }
    }
}

fn entries(db: &Db) -> Entries {
    let keys = (0..KEYS).map(|n| format!("key-{n}").into_bytes());
    let entries: Entries =
        keys.filter_map(|key| Some((key.clone(), db.get_with_metadata(&key).unwrap()?))).collect();
    assert_eq!(db.scan(kv::ScanOptions::new()).unwrap().count(), entries.len());
    entries
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_closed_store_reads_the_same_from_the_page_alone() {
    let mut random = Random::from_env();
    let clock = Arc::new(ManualClock::new(START_MS));
    let dir = tempfile::tempdir().unwrap();
    let (mut compressed, mut annotated) = (0, 0);
    for _ in 0..6 {
        let db = options(&clock).open(dir.path()).unwrap();
        operate(&db, &clock, &mut random, 400);
        let expected = entries(&db);
        db.close().unwrap();
        let found = reader::read(dir.path(), START_MS);
        assert_eq!(found.entries, expected);
        assert_eq!(found.unsealed, 0, "a closed store is sealed");
        compressed += found.compressed;
        annotated += found.annotated;
    }
    assert!(compressed > 0 && annotated > 0, "no value was compressed, or none that has metadata");
}

#[test]
fn a_store_whose_process_died_reads_the_same_from_the_page_alone() {
    let mut random = Random::from_env();
    let clock = Arc::new(ManualClock::new(START_MS));
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..6 {
        let db = options(&clock).open(dir.path()).unwrap();
        operate(&db, &clock, &mut random, 400);
        let expected = entries(&db);
        db.abandon();
        drop(db);
        assert_eq!(reader::read(dir.path(), clock_ms(&clock)).entries, expected);
    }
}

fn clock_ms(clock: &ManualClock) -> u64 {
    kv::Clock::unix_ms(clock)
}

/// Leaves some records of the tail as threads would that died inside an append, and lets the library and the page's reader judge the same files.
fn unfinished_records(is_copied: bool) {
    let mut random = Random::from_env();
    for round in 0..12 {
        let clock = Arc::new(ManualClock::new(START_MS));
        let dir = tempfile::tempdir().unwrap();
        let db = options(&clock).open(dir.path()).unwrap();
        operate(&db, &clock, &mut random, 60);
        db.abandon();
        drop(db);
        let mut places = reader::read(dir.path(), clock_ms(&clock)).unsynced;
        for _ in 0..(1 + random.below(3)).min(places.len() as u64) {
            let (path, offset) = places.swap_remove(random.below(places.len() as u64) as usize);
            let file = std::fs::File::options().write(true).open(path).unwrap();
            match random.below(2) {
                // Reserved and not filled: the word alone, the rest is what a writer copied before it died.
                0 => file.write_all_at(&[0; 8], offset).unwrap(),
                // Filled and not decided.
                _ => file.write_all_at(&[0x0f], offset + 7).unwrap(),
            }
        }
        let elsewhere = tempfile::tempdir().unwrap();
        let judged = if is_copied { elsewhere.path() } else { dir.path() };
        if is_copied {
            copy(dir.path(), judged);
        }
        let found = reader::read(judged, clock_ms(&clock)).entries;
        let db = options(&clock).open(judged).unwrap();
        assert_eq!(found, entries(&db), "round {round}");
    }
}

#[test]
fn holes_and_pending_records_of_a_dead_process_are_skipped_as_the_page_says() {
    unfinished_records(false);
}

#[test]
fn where_power_was_lost_the_log_ends_where_the_page_says() {
    unfinished_records(true);
}

#[test]
fn values_that_need_a_dictionary_are_found_from_the_page_alone() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Options::new().set("compression", "zstd-dictionary").unwrap().open(dir.path()).unwrap();
    let entry = |n: u32| {
        let value = format!(
            "{{\"name\":\"package-{n}\",\"version\":\"{}.{}\",\"architecture\":\"amd64\"}}",
            n % 7,
            n % 11
        );
        (format!("key-{n}").into_bytes(), (value.into_bytes(), Metadata::new()))
    };
    let expected: Entries = (0..4_000).map(entry).collect();
    let db = open();
    expected.iter().for_each(|(key, (value, _))| db.set(key, value).unwrap());
    db.compact().unwrap();
    db.close().unwrap();
    let db = open();
    db.compact().unwrap();
    // Some in the tail too.
    expected.iter().take(100).for_each(|(key, (value, _))| db.set(key, value).unwrap());
    db.close().unwrap();
    let found = reader::read(dir.path(), u64::MAX / 2);
    assert_eq!(found.entries, expected);
    assert_eq!((found.compressed, found.with_dictionary), (4_000, 4_000));
}
