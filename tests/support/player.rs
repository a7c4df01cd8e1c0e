//! Plays a sequence of operations on a store and on its oracle.

use super::oracle::Oracle;
use super::sequence::{key, Config, Content, Only, Op, Packing, Sequence, Totals, When, KEYS};
use kv::{Batch, Compression, Condition, Db, Error, Expiry, ManualClock, Metadata, Options};
use kv::{SetOptions, Sync, Tag};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// A member of a batch: its key, and its value and deadline unless it is a delete.
type Write = (Vec<u8>, Option<(Vec<u8>, u64)>);

pub const SEGMENT_BYTES: u64 = 64 << 10;
const START_MS: u64 = 1_700_000_000_000;
/// Of values; a store trains no dictionary from less than 128 KiB of them.
const TRAINING_BYTES: usize = 136 << 10;

/// Runs a sequence; panics where store and oracle differ.
pub fn run(sequence: &Sequence, totals: &Totals) {
    let mut player = Player::new(&sequence.config);
    totals.opens.fetch_add(1, Ordering::Relaxed);
    let has_dictionaries = sequence.config.packing == Packing::WithDictionaries;
    totals.with_dictionaries.fetch_add(has_dictionaries.into(), Ordering::Relaxed);
    for (at, op) in sequence.operations.iter().enumerate() {
        player.at = at;
        player.play(op, totals);
        player.follow_evictions();
    }
    player.check_all();
    player.count(totals);
    player.db.close().unwrap();
    player.check_mirror(totals);
    totals.sequences.fetch_add(1, Ordering::Relaxed);
    let played = sequence.operations.iter().filter(|op| !matches!(op, Op::Nothing)).count();
    totals.operations.fetch_add(played as u64, Ordering::Relaxed);
}

pub struct Player {
    pub config: Config,
    clock: Arc<ManualClock>,
    pub db: Db,
    pub oracle: Oracle,
    pub home: tempfile::TempDir,
    /// Where the store is; `None`: in memory.
    path: Option<PathBuf>,
    backups: u32,
    /// The file that the store is mirrored in, where it stands now.
    pub mirror: Option<PathBuf>,
    /// What that was when it was last looked at.
    pub mirrored: Option<Vec<u8>>,
    /// Evictions of this open that the oracle knows of.
    evicted: u64,
    /// Operation that is played, for messages.
    pub at: usize,
}

/// With a mirror, if the store has one, in this file.
pub fn options(config: &Config, clock: &Arc<ManualClock>, mirror: Option<&Path>) -> Options {
    let compression = match config.packing {
        Packing::Off => Compression::Off,
        Packing::EachByItself => Compression::Zstd { level: 1, threshold_bytes: 64 },
        Packing::WithDictionaries => Compression::ZstdDictionary { level: 1 },
    };
    let sync = match config.sync {
        0 => Sync::Always,
        1 | 2 => Sync::Every(Duration::from_millis(1)),
        3 | 4 => Sync::Every(Duration::from_secs(1)),
        _ => Sync::Never,
    };
    let options = Options::new()
        .segment_bytes(SEGMENT_BYTES)
        .clock(clock.clone())
        .background(config.background)
        .default_ttl(config.default_ttl_ms.map(Duration::from_millis))
        .compression(compression)
        .ordered_index(config.is_listed)
        .max_entries(config.entries_max)
        .max_bytes(config.bytes_max)
        .sync(sync);
    match (mirror, config.mirror_every_ms) {
        (Some(path), Some(ms)) => options.json_mirror(path).json_mirror_every(Duration::from_millis(ms)),
        _ => options,
    }
}

/// Memory where there is any to write to: 20,000 sequences would wear a disk for nothing.
fn temporary() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    tempfile::tempdir_in(shm).or_else(|_| tempfile::tempdir()).unwrap()
}

impl Player {
    fn new(config: &Config) -> Player {
        let clock = Arc::new(ManualClock::new(START_MS));
        let home = temporary();
        let path = config.in_directory.then(|| home.path().join("store"));
        let mirror = config.mirror_every_ms.map(|_| home.path().join("mirror-0.json"));
        let options = options(config, &clock, mirror.as_deref());
        let db = match &path {
            Some(path) => options.open(path).unwrap(),
            None => options.in_memory().unwrap(),
        };
        let oracle = Oracle::at(START_MS);
        let config = config.clone();
        let (backups, mirrored, evicted, at) = (0, None, 0, 0);
        let mut player =
            Player { config, clock, db, oracle, home, path, backups, mirror, mirrored, evicted, at };
        player.oracle.may_evict = player.is_limited();
        player
    }

    pub(super) fn deadline_ms(&self, when: When, kept_ms: Option<u64>) -> u64 {
        let now_ms = self.oracle.now_ms;
        match (when, kept_ms) {
            (When::Keep, Some(at_ms)) => at_ms,
            (When::Default | When::Keep, _) => self.config.default_ttl_ms.map_or(0, |ttl| now_ms + ttl),
            (When::Never, _) => 0,
            (When::After(ttl_ms), _) => now_ms + ttl_ms,
            (When::At(ms), _) => now_ms.saturating_add_signed(ms),
        }
    }

    fn expiry(&self, when: When) -> Expiry {
        match when {
            When::Default => Expiry::Default,
            When::Never => Expiry::Never,
            When::After(ms) => Expiry::After(Duration::from_millis(ms)),
            When::At(ms) => {
                Expiry::At(UNIX_EPOCH + Duration::from_millis(self.oracle.now_ms.saturating_add_signed(ms)))
            }
            When::Keep => Expiry::Keep,
        }
    }

    /// A write of which only the store knows the version: while the entry lives it can be asked.
    pub(super) fn put_unversioned(&mut self, key: &[u8], value: &[u8], deadline_ms: u64) {
        let is_over = self.oracle.is_over(deadline_ms);
        let version = self.db.version(key).unwrap();
        // What was evicted by its own write is told apart by `follow_evictions`.
        assert!(version.is_some() != is_over || self.is_limited(), "operation {}", self.at);
        let version = version.unwrap_or(self.oracle.version_max + 1);
        if is_over {
            let before = self.oracle.version_max;
            self.oracle.put(key, value, deadline_ms, version);
            self.oracle.version_max = before;
        } else {
            self.oracle.put(key, value, deadline_ms, version);
        }
    }

    fn play(&mut self, op: &Op, totals: &Totals) {
        match op {
            Op::Nothing => {}
            Op::Set(k, v) => {
                let (k, v) = (key(*k), v.bytes());
                self.db.set(&k, &v).unwrap();
                let deadline_ms = self.deadline_ms(When::Default, None);
                self.put_unversioned(&k, &v, deadline_ms);
                self.check(&k);
            }
            Op::SetWith(k, v, only, when) => self.set_with(&key(*k), *v, *only, *when),
            Op::Add(k, v) => {
                let (k, v) = (key(*k), v.bytes());
                let is_absent = self.oracle.get(&k).is_none();
                assert_eq!(self.db.add(&k, &v).unwrap(), is_absent, "operation {}", self.at);
                if is_absent {
                    let deadline_ms = self.deadline_ms(When::Default, None);
                    self.put_unversioned(&k, &v, deadline_ms);
                }
                self.check(&k);
            }
            Op::Replace(k, v) => {
                let (k, v) = (key(*k), v.bytes());
                let is_there = self.oracle.get(&k).is_some();
                assert_eq!(self.db.replace(&k, &v).unwrap(), is_there, "operation {}", self.at);
                if is_there {
                    let deadline_ms = self.deadline_ms(When::Default, None);
                    self.put_unversioned(&k, &v, deadline_ms);
                }
                self.check(&k);
            }
            Op::CompareAndSwap(k, v, wrong) => {
                let (k, v) = (key(*k), v.bytes());
                let held = self.oracle.get(&k).cloned();
                let version = held.as_ref().map_or(0, |held| held.version) + u64::from(*wrong);
                let done = self.db.compare_and_swap(&k, version, &v).unwrap();
                assert_eq!(done.is_some(), !wrong, "operation {}", self.at);
                if let Some(version) = done {
                    let deadline_ms = self.deadline_ms(When::Keep, held.map(|held| held.deadline_ms));
                    self.oracle.put(&k, &v, deadline_ms, version);
                }
                self.check(&k);
            }
            Op::Increment(k, by) => self.increment(&key(*k), *by),
            Op::Delete(k) => {
                let k = key(*k);
                let expected = self.oracle.remove(&k).is_some();
                assert_eq!(self.db.delete(&k).unwrap(), expected, "operation {}", self.at);
                self.check(&k);
            }
            Op::Take(k) => {
                let k = key(*k);
                let expected = self.oracle.remove(&k).map(|held| held.value);
                assert_eq!(self.db.take(&k).unwrap(), expected, "operation {}", self.at);
                self.check(&k);
            }
            Op::Expire(k, ms) => self.set_deadline(&key(*k), When::After(*ms)),
            Op::ExpireAt(k, ms) => self.set_deadline(&key(*k), When::At(*ms)),
            Op::Persist(k) => self.set_deadline(&key(*k), When::Never),
            Op::Touch(k) => self.touch(&key(*k)),
            Op::Load(k, v) => {
                let (k, v) = (key(*k), v.bytes());
                let held = self.oracle.get(&k).map(|held| held.value.clone());
                let made = v.clone();
                let loaded = self.db.get_or_load(&k, SetOptions::new(), || Ok::<_, String>(Some(made)));
                let Ok(loaded) = loaded else { panic!("operation {}: {loaded:?}", self.at) };
                assert_eq!(loaded.as_ref(), Some(held.as_ref().unwrap_or(&v)), "operation {}", self.at);
                if held.is_none() {
                    let deadline_ms = self.deadline_ms(When::Default, None);
                    self.put_unversioned(&k, &v, deadline_ms);
                }
                self.check(&k);
            }
            Op::Session(k, v, end) => self.edit(&key(*k), &v.bytes(), *end),
            Op::Apply(members) => self.apply(members),
            Op::SetMany(entries) => {
                let entries: Vec<_> = entries.iter().map(|(k, v)| (key(*k), v.bytes())).collect();
                self.db.set_many(&entries).unwrap();
                let deadline_ms = self.deadline_ms(When::Default, None);
                let writes: Vec<_> = entries.into_iter().map(|(k, v)| (k, Some((v, deadline_ms)))).collect();
                self.take_over(writes);
            }
            Op::Train(k, kind) => {
                if self.config.packing == Packing::WithDictionaries {
                    self.train(&key(*k), *kind, totals);
                }
            }
            Op::DeleteMany(keys) => {
                let keys: Vec<_> = keys.iter().map(|k| key(*k)).collect();
                let expected = keys.iter().filter(|k| self.oracle.remove(k).is_some()).count();
                assert_eq!(self.db.delete_many(&keys).unwrap(), expected, "operation {}", self.at);
                keys.iter().for_each(|k| self.check(k));
            }
            Op::Look(k) => self.check(&key(*k)),
            Op::Scan(k, ordered) => self.check_scan(&key(*k), *ordered),
            Op::Advance(ms) => {
                self.clock.advance(Duration::from_millis(*ms));
                self.follow_clock();
            }
            Op::SetBack(ms) => {
                self.clock.set(self.oracle.now_ms - ms);
                self.follow_clock();
            }
            Op::Sweep => {
                self.db.sweep().unwrap();
                self.check_counts();
            }
            Op::Compact => {
                self.db.sweep().unwrap();
                self.db.compact().unwrap();
                self.check_counts();
                self.check_space();
            }
            Op::Clear => {
                self.db.clear().unwrap();
                self.oracle.clear();
                assert_eq!(self.db.len(), 0, "operation {}", self.at);
                (0..KEYS).for_each(|k| self.check(&key(k)));
            }
            Op::Sync => {
                self.db.sync().unwrap();
                if self.path.is_none() {
                    self.check_mirror(totals);
                }
            }
            Op::Reopen => self.reopen(totals, |player| {
                player.db.close().unwrap();
                player.check_mirror(totals);
            }),
            Op::Crash => self.reopen(totals, |player| {
                player.db.abandon();
                player.check_mirror_is_as_it_was();
            }),
            Op::Backup => self.move_into_backup(totals),
        }
    }

    fn set_with(&mut self, key: &[u8], content: Content, only: Only, when: When) {
        let (value, codec) = (content.bytes(), content.codec());
        // A blind set does not look, so nobody is told that what stands there has expired.
        let is_blind = matches!(
            (only, when),
            (Only::Always, When::Default | When::Never | When::After(_) | When::At(_))
        );
        let held = if is_blind { None } else { self.oracle.get(key).cloned() };
        let version = held.as_ref().map_or(0, |held| held.version);
        let (condition, holds) = match only {
            Only::Always => (Condition::Always, true),
            Only::IfAbsent => (Condition::IfAbsent, held.is_none()),
            Only::IfPresent => (Condition::IfPresent, held.is_some()),
            Only::IfVersion { wrong } => (Condition::IfVersion(version + u64::from(wrong)), !wrong),
        };
        let options = SetOptions::new().condition(condition).expiry(self.expiry(when)).codec(codec);
        let done = self.db.set_with(key, &value, options).unwrap();
        assert_eq!(done.is_some(), holds, "operation {}", self.at);
        if let Some(version) = done {
            let deadline_ms = self.deadline_ms(when, held.map(|held| held.deadline_ms));
            self.oracle.put(key, &value, deadline_ms, version);
            self.oracle.annotate(key, Metadata::new(), codec);
        }
        self.check(key);
    }

    fn increment(&mut self, key: &[u8], by: i64) {
        let held = self.oracle.get(key).cloned();
        let number = match &held {
            None => Some(0),
            Some(held) => std::str::from_utf8(&held.value).ok().and_then(|text| text.parse::<i64>().ok()),
        };
        let done = self.db.increment(key, by);
        match (number, number.and_then(|n| n.checked_add(by))) {
            (None, _) => assert!(matches!(done, Err(Error::NotAnInteger { .. })), "{}: {done:?}", self.at),
            (_, None) => assert!(matches!(done, Err(Error::Overflow { .. })), "{}: {done:?}", self.at),
            (_, Some(sum)) => {
                assert_eq!(done.unwrap(), sum, "operation {}", self.at);
                let codec = held.as_ref().map_or(Tag::RAW, |held| held.codec);
                let deadline_ms = self.deadline_ms(When::Keep, held.map(|held| held.deadline_ms));
                self.put_unversioned(key, sum.to_string().as_bytes(), deadline_ms);
                self.oracle.annotate(key, Metadata::new(), codec);
            }
        }
        self.check(key);
    }

    fn set_deadline(&mut self, key: &[u8], when: When) {
        let held = self.oracle.get(key).cloned();
        let deadline_ms = self.deadline_ms(when, None);
        let found = match when {
            When::After(ms) => self.db.expire(key, Duration::from_millis(ms)),
            When::At(_) => self.db.expire_at(key, UNIX_EPOCH + Duration::from_millis(deadline_ms)),
            _ => self.db.persist(key),
        };
        assert_eq!(found.unwrap(), held.is_some(), "operation {}", self.at);
        if let Some(held) = held.filter(|held| held.deadline_ms != deadline_ms) {
            self.put_unversioned(key, &held.value, deadline_ms);
            self.oracle.annotate(key, held.metadata, held.codec);
        }
        self.check(key);
    }

    fn touch(&mut self, key: &[u8]) {
        let held = self.oracle.get(key).cloned();
        assert_eq!(self.db.touch(key).unwrap(), held.is_some(), "operation {}", self.at);
        if let (Some(held), Some(ttl_ms)) = (held, self.config.default_ttl_ms) {
            let deadline_ms = self.oracle.now_ms + ttl_ms;
            if held.deadline_ms != deadline_ms {
                self.put_unversioned(key, &held.value, deadline_ms);
                self.oracle.annotate(key, held.metadata, held.codec);
            }
        }
        self.check(key);
    }

    fn apply(&mut self, members: &[(usize, Option<Content>, When)]) {
        let mut batch = Batch::new();
        let mut writes = Vec::new();
        for (k, content, when) in members {
            let k = key(*k);
            match content {
                None => {
                    batch.delete(k.clone());
                    writes.push((k, None));
                }
                Some(content) => {
                    batch.set_expiring(k.clone(), content.bytes(), self.expiry(*when));
                    writes.push((k, Some((content.bytes(), self.deadline_ms(*when, None)))));
                }
            }
        }
        self.db.apply(&batch).unwrap();
        self.take_over(writes);
    }

    /// Writes records from which a compaction trains a dictionary, and looks whether it makes one more of them smaller.
    fn train(&mut self, key: &[u8], kind: u8, totals: &Totals) {
        let record = |number| (key.to_vec(), Content::Record { kind, number }.bytes());
        let deadline_ms = self.deadline_ms(When::Default, None);
        let mut bytes = 0;
        for first in (0..).step_by(50) {
            let records: Vec<_> = (first..first + 50).map(record).collect();
            self.db.set_many(&records).unwrap();
            self.take_over(
                records.iter().map(|(k, v)| (k.clone(), Some((v.clone(), deadline_ms)))).collect(),
            );
            bytes += records.iter().map(|(_, value)| value.len()).sum::<usize>();
            if bytes > TRAINING_BYTES {
                break;
            }
        }
        let before = self.db.stats().unwrap();
        self.db.compact().unwrap();
        let trained = self.db.stats().unwrap();
        totals.trained.fetch_add(trained.dictionaries - before.dictionaries, Ordering::Relaxed);
        let (_, value) = record(50_000);
        self.db.set(key, &value).unwrap();
        self.put_unversioned(key, &value, deadline_ms);
        let stored = self.db.stats().unwrap().compressed_to_bytes - trained.compressed_to_bytes;
        if trained.dictionaries > 0 {
            // By itself such a record becomes no half.
            totals.packed.fetch_add(u64::from(stored * 2 < value.len() as u64), Ordering::Relaxed);
        }
        self.check(key);
    }

    /// Takes over what a batch wrote: for each key the last member counts.
    fn take_over(&mut self, mut writes: Vec<Write>) {
        for at in 0..writes.len() {
            if writes[at + 1..].iter().any(|(k, _)| *k == writes[at].0) {
                writes[at].1 = None;
                let k = writes[at].0.clone();
                self.oracle.overwrite(&k);
            }
        }
        let keys: Vec<_> = writes.iter().map(|(k, _)| k.clone()).collect();
        for at in 0..writes.len() {
            let (k, write) = writes[at].clone();
            if writes[at + 1..].iter().any(|(other, _)| *other == k) {
                continue;
            }
            match write {
                Some((value, deadline_ms)) => self.put_unversioned(&k, &value, deadline_ms),
                None => self.oracle.overwrite(&k),
            }
        }
        keys.iter().for_each(|k| self.check(k));
    }

    fn is_limited(&self) -> bool {
        self.config.entries_max.is_some() || self.config.bytes_max.is_some()
    }

    /// Takes what was evicted out of the oracle: so much may have gone and no more, and what went stays gone from here on.
    pub(super) fn follow_evictions(&mut self) {
        if !self.is_limited() {
            return;
        }
        let stats = self.db.stats().unwrap();
        let (entries_max, bytes_max) = (self.config.entries_max, self.config.bytes_max);
        assert!(entries_max.is_none_or(|max| stats.entries <= max), "operation {}: {stats:?}", self.at);
        assert!(bytes_max.is_none_or(|max| stats.weight <= max), "operation {}: {stats:?}", self.at);
        let evicted = stats.evicted - self.evicted;
        if evicted == 0 {
            return;
        }
        let mut gone = self.oracle.held();
        gone.retain(|(key, _)| !self.db.contains(key).unwrap());
        let living = gone.iter().filter(|(_, is_over)| !is_over).count();
        assert!(living as u64 <= evicted, "operation {}: {gone:?} went, {evicted} evicted", self.at);
        gone.iter().for_each(|(key, _)| self.oracle.overwrite(key));
        self.evicted = stats.evicted;
    }

    fn follow_clock(&mut self) {
        use kv::Clock;
        self.oracle.now_ms = self.oracle.now_ms.max(self.clock.unix_ms());
        assert_eq!(self.db.now_ms(), self.oracle.now_ms, "operation {}", self.at);
    }

    fn count(&self, totals: &Totals) {
        let stats = self.db.stats().unwrap();
        totals.compactions.fetch_add(stats.compactions, Ordering::Relaxed);
        totals.relocated_bytes.fetch_add(stats.relocated_bytes, Ordering::Relaxed);
        totals.rolls.fetch_add(stats.segments, Ordering::Relaxed);
        totals.expired.fetch_add(stats.expired, Ordering::Relaxed);
        totals.evicted.fetch_add(stats.evicted, Ordering::Relaxed);
    }

    fn reopen(&mut self, totals: &Totals, end: impl FnOnce(&mut Player)) {
        if let Some(path) = self.path.clone() {
            self.count(totals);
            end(self);
            self.open(&path, totals);
        }
    }

    fn move_into_backup(&mut self, totals: &Totals) {
        self.backups += 1;
        let path = self.home.path().join(format!("backup-{}", self.backups));
        self.db.backup(&path).unwrap();
        self.count(totals);
        self.db.close().unwrap();
        let backed_up = self.oracle.clone();
        self.check_mirror(totals);
        // What the original's last mirror tells to be over is not the backup's to know.
        self.oracle = backed_up;
        // The note of what the file is stays in the directory that it was for.
        let mirror = self.home.path().join(format!("mirror-{}.json", self.backups));
        (self.mirror, self.mirrored) = (self.config.mirror_every_ms.map(|_| mirror), None);
        if let Some(old) = self.path.replace(path.clone()) {
            std::fs::remove_dir_all(old).unwrap();
        }
        self.open(&path, totals);
    }

    fn open(&mut self, path: &Path, totals: &Totals) {
        use kv::Clock;
        self.db = options(&self.config, &self.clock, self.mirror.as_deref()).open(path).unwrap();
        self.evicted = 0;
        totals.opens.fetch_add(1, Ordering::Relaxed);
        // The clock may have been set back: what was told to have expired stays expired (I15).
        let now_ms = self.db.now_ms();
        let least_ms = self.oracle.observed_ms.max(self.clock.unix_ms());
        assert!((least_ms..=self.oracle.now_ms).contains(&now_ms), "operation {}: time {now_ms}", self.at);
        self.oracle.now_ms = now_ms;
        assert!(self.db.damage().is_empty());
        self.check_all();
    }
}
