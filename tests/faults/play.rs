//! What a store goes through while one of its file operations fails: open, writes of every kind, sync, backup, compaction,
//! clear, close, recovery. Notes what was acknowledged.

use crate::common::value;
use kv::testing::{on, SimDisk};
use kv::{Batch, Db, Error, OpenMode, Options, Sync};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const DIR: &str = "above/store";
const BACKUP: &str = "backups/one";
const KEYS: u64 = 40;

type Value = Option<Vec<u8>>;

/// What each key may hold: one value after a call that was acknowledged, one more after each that failed.
#[derive(Default)]
pub struct Possible(BTreeMap<Vec<u8>, Vec<Value>>);

impl Possible {
    fn note(&mut self, key: Vec<u8>, value: Value, is_acknowledged: bool) {
        let held = self.0.entry(key).or_insert_with(|| vec![None]);
        if is_acknowledged {
            held.clear();
        }
        held.push(value);
    }

    /// Fails if a store holds anything else.
    pub fn judge(&self, db: &Db, told: &str) {
        for (key, possible) in &self.0 {
            let name = String::from_utf8_lossy(key);
            let found = db.get(key).unwrap_or_else(|error| panic!("{told}: {name}: {error}"));
            assert!(
                possible.contains(&found),
                "{told}: {name} is lost, or came back: {:?}",
                found.map(|v| v.len())
            );
        }
        let scan = db.scan(Default::default()).unwrap();
        scan.for_each(|entry| assert!(self.0.contains_key(&entry.unwrap().key), "{told}: invented"));
    }
}

pub struct Play {
    pub disk: Arc<SimDisk>,
    pub sync: Sync,
    pub possible: Possible,
    /// Calls that failed, and how.
    pub failed: Vec<(&'static str, Error)>,
    sequence: u64,
}

impl Play {
    pub fn new(sync: Sync) -> Play {
        Play { disk: SimDisk::new(), sync, possible: Possible::default(), failed: Vec::new(), sequence: 0 }
    }

    pub fn options(&self) -> Options {
        options(&self.disk, self.sync)
    }

    fn is_done<T>(&mut self, call: &'static str, result: kv::Result<T>) -> bool {
        result.map_err(|error| self.failed.push((call, error))).is_ok()
    }

    /// A failed opening is tried once more: what failed for once must not stay in the way.
    fn open(&mut self, mode: OpenMode) -> Option<Db> {
        for _ in 0..2 {
            match self.options().mode(mode).open(DIR) {
                Ok(db) => return Some(db),
                Err(error) => self.failed.push(("open", error)),
            }
        }
        None
    }

    fn set(&mut self, db: &Db, n: u64, bytes: usize) {
        self.sequence += 1;
        let key = format!("key-{n}");
        let bytes = value(&key, self.sequence, bytes);
        let done = self.is_done("set", db.set(key.as_bytes(), &bytes));
        self.possible.note(key.into_bytes(), Some(bytes), done);
    }

    fn delete(&mut self, db: &Db, n: u64) {
        let key = format!("key-{n}").into_bytes();
        let done = self.is_done("delete", db.delete(&key));
        self.possible.note(key, None, done);
    }

    fn batch(&mut self, db: &Db, n: u64) {
        self.sequence += 1;
        let (a, b) = (format!("key-{n}").into_bytes(), format!("key-{}", n + 1).into_bytes());
        let bytes = value("batch", self.sequence, 500);
        let mut batch = Batch::new();
        batch.set(a.clone(), bytes.clone()).delete(b.clone());
        let done = self.is_done("batch", db.apply(&batch));
        self.possible.note(a, Some(bytes), done);
        self.possible.note(b, None, done);
    }

    fn clear(&mut self, db: &Db) {
        let done = self.is_done("clear", db.clear());
        let keys: Vec<_> = self.possible.0.keys().cloned().collect();
        keys.into_iter().for_each(|key| self.possible.note(key, None, done));
    }

    fn judge(&self, db: &Db, told: &str) {
        self.possible.judge(db, &format!("{told}, failed: {:?}", self.failed));
    }

    pub fn run(&mut self, told: &str) {
        if let Some(db) = self.open(OpenMode::Create) {
            (0..3).for_each(|n| self.set(&db, n, 100));
            self.clear(&db);
            // Two rolls.
            (0..KEYS).for_each(|n| self.set(&db, n, 3000));
            (0..KEYS / 4).for_each(|n| self.delete(&db, n * 3));
            self.batch(&db, 5);
            let synced = db.sync();
            self.is_done("sync", synced);
            let copied = db.backup(BACKUP);
            self.is_done("backup", copied);
            (0..KEYS / 2).for_each(|n| self.set(&db, n, 2000));
            let compacted = db.compact();
            self.is_done("compact", compacted);
            (KEYS / 2..KEYS).for_each(|n| self.set(&db, n, 1000));
            self.judge(&db, told);
            let closed = db.close();
            self.is_done("close", closed);
        }
        // After a close that went well, and after a death.
        for closes in [false, true] {
            if let Some(db) = self.open(OpenMode::Create) {
                self.judge(&db, told);
                (0..4).for_each(|n| self.set(&db, n, 3000));
                self.batch(&db, 9);
                self.delete(&db, 11);
                if closes {
                    let closed = db.close();
                    self.is_done("close", closed);
                } else {
                    db.abandon();
                }
            }
        }
        if let Some(db) = self.open(OpenMode::ReadOnly) {
            if db.damage().is_empty() {
                self.judge(&db, told);
            }
        }
    }
}

pub fn options(disk: &Arc<SimDisk>, sync: Sync) -> Options {
    on(Options::new().sync(sync).segment_bytes(64 << 10), disk)
}
