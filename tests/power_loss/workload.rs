//! Threads that write in every way, over a disk of which images are taken at each call that makes something durable or
//! changes a name, and at some of the stores.

use crate::common::{value, Rng};
use crate::history::{read_all, Bounds, Effect, Entries, History};
use crate::images::{check, take, At, Died, Taken, Tally};
use crate::mirror::{self, Mirrors};
use kv::testing::{last_lsn, leave_hole, leave_pending, on, Call, Hooks, Moment, SimDisk};
use kv::{Batch, Clock, Compression, Db, Expiry, ManualClock, Options, SetOptions, Sync};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::{Duration, UNIX_EPOCH};

/// Below one that is made with it.
pub const DIR: &str = "above/store";
const SEGMENT_BYTES: u64 = 64 << 10;
const MIRROR_EVERY: Duration = Duration::from_millis(10);
const START_MS: u64 = 1_700_000_000_000;
/// Of one round: they stay in memory until it is over.
const IMAGES_MAX: usize = 250;
const OWN_KEYS: u64 = 20;
const SHARED_KEYS: u64 = 4;
/// Of values; a store trains no dictionary from less than 128 KiB of them.
const TRAINING_BYTES: u64 = 160 << 10;
const WORDS: [&str; 8] = [
    ",\"maintainer\":\"Somebody <somebody@example.org>\"",
    ",\"architecture\":\"amd64\"",
    ",\"section\":\"libs\"",
    ",\"status\":\"delivered on the 12th of the month\"",
    ",\"host\":\"host-7.example.net\"",
    ",\"reason\":\"took longer than the limit of 250 milliseconds\"",
    ",\"depends\":[\"libc6 (>= 2.34)\",\"zlib1g\"]",
    ",\"priority\":\"optional\"",
];

/// Of a round.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Whole,
    /// Little is written, and one in six calls has images.
    Brief,
}

impl Length {
    /// Deaths that others go on from.
    fn deaths_max(self) -> usize {
        match self {
            Length::Whole => 4,
            Length::Brief => 1,
        }
    }
}

/// What a round starts from.
pub struct Start {
    pub disk: Arc<SimDisk>,
    /// Up to here.
    pub history: History,
    pub now_ms: u64,
    /// Where the process before died that the system outlived.
    pub died_at: Option<At>,
    /// What the disk may have of the JSON mirror.
    pub mirrors: Mirrors,
}

impl Start {
    pub fn empty() -> Start {
        let history = History::new(Entries::new());
        Start {
            disk: SimDisk::new(),
            history,
            now_ms: START_MS,
            died_at: None,
            mirrors: Mirrors::from([None]),
        }
    }
}

pub fn options(disk: &Arc<SimDisk>, clock: &Arc<ManualClock>, sync: Sync) -> Options {
    on(Options::new().clock(clock.clone()).sync(sync).segment_bytes(SEGMENT_BYTES), disk)
}

struct Round {
    disk: Arc<SimDisk>,
    clock: Arc<ManualClock>,
    history: History,
    images: Mutex<Vec<Taken>>,
    /// Some of the moments at which there are images, each as likely.
    deaths: Mutex<Vec<Died>>,
    length: Length,
    rng: Mutex<Rng>,
    has_enough: AtomicBool,
    sync: Sync,
    /// A cache of so many entries.
    entries_max: Option<u64>,
    /// Values are alike, and compressed with dictionaries.
    has_dictionaries: bool,
    is_mirrored: bool,
    /// Contents that the mirror has had.
    mirrors: Mutex<Mirrors>,
}

impl Round {
    fn take(&self, at: At) {
        let mut rng = Rng::new(self.rng.lock().unwrap().next());
        let taken = take(&self.disk, &self.clock, &self.history, at, &mut rng);
        let mut images = self.images.lock().unwrap();
        images.push(taken);
        let (taken, place) = (images.len(), rng.below(images.len() as u64) as usize);
        if place < self.length.deaths_max() {
            let died = Died::now(&self.disk, &self.clock, &self.history, at);
            let mut deaths = self.deaths.lock().unwrap();
            if taken <= self.length.deaths_max() {
                deaths.push(died);
            } else {
                deaths[place] = died;
            }
        }
        self.has_enough.fetch_or(images.len() >= IMAGES_MAX, Ordering::Relaxed);
    }

    /// Whether this is the one of `n` times.
    fn is_time(&self, n: u64) -> bool {
        self.rng.lock().unwrap().one_in(n)
    }

    fn at_call(&self, call: Call, moment: Moment) {
        if (call, moment) == (Call::Rename, Moment::After) {
            self.mirrors.lock().unwrap().insert(mirror::of(&self.disk));
        }
        match call {
            // Those that make the store are few.
            _ if self.length == Length::Brief && call != Call::CreateDir && !self.is_time(6) => {}
            Call::Sync | Call::SyncDir | Call::Rename | Call::Remove | Call::CreateDir => {
                // Two that differ in what they take.
                self.take(At::Call(call, moment));
                self.take(At::Call(call, moment));
            }
            Call::Create | Call::Write | Call::Truncate => self.take(At::Call(call, moment)),
            _ => {}
        }
    }

    fn open(self: &Arc<Self>) -> Db {
        let of: Weak<Round> = Arc::downgrade(self);
        let hooks = Hooks::new(move |point| {
            if let Some(round) = of.upgrade().filter(|round| round.is_time(8)) {
                round.take(At::Point(point));
            }
        });
        let mut options = options(&self.disk, &self.clock, self.sync).max_entries(self.entries_max);
        if self.has_dictionaries {
            options = options.compression(Compression::ZstdDictionary { level: 1 });
        }
        if self.is_mirrored {
            options = options.json_mirror(mirror::FILE).json_mirror_every(MIRROR_EVERY);
        }
        options.hooks(hooks).open(DIR).unwrap()
    }

    fn value(&self, key: &str, step: u64, bytes: u64) -> Vec<u8> {
        if !self.has_dictionaries {
            return value(key, step, bytes as usize);
        }
        let (mut text, mut rng) = (format!("{{\"key\":\"{key}\",\"step\":{step}"), Rng::new(step));
        while (text.len() as u64) < bytes {
            text += WORDS[rng.below(WORDS.len() as u64) as usize];
        }
        (text + "}").into_bytes()
    }
}

impl Round {
    /// Writes what is surely newer than everything that was found.
    fn mark(&self, db: &Db, life: u64, found: &Entries) {
        let (key, mark) = (b"mark".to_vec(), life.to_le_bytes().to_vec());
        let mut effect = if self.history.may_evict() { self.history.gone_from(found) } else { Vec::new() };
        let began = self.history.begin();
        db.set(&key, &mark).unwrap();
        effect.push((Some(key), Some((mark, 0))));
        self.history.wrote(began, last_lsn(), effect);
        if self.sync == Sync::Always {
            self.history.note_synced(last_lsn());
        }
    }
}

/// Runs writers over a disk and checks the images that were taken of it, and those that are taken when another process goes on
/// from where this one may have died: what was not synced then is not on the disk. Gives what an image, or such a death, left.
pub fn round(start: Start, length: Length, rng: &mut Rng, tally: &Tally) -> Start {
    let died_at = start.died_at;
    tally.count_death(died_at);
    let round = Arc::new(Round {
        disk: start.disk,
        clock: Arc::new(ManualClock::new(start.now_ms)),
        history: start.history,
        images: Mutex::default(),
        deaths: Mutex::default(),
        length,
        rng: Mutex::new(Rng::new(rng.next())),
        has_enough: AtomicBool::new(false),
        sync: match rng.below(3) {
            0 => Sync::Always,
            1 => Sync::Every(Duration::from_millis(2)),
            _ => Sync::Never,
        },
        entries_max: rng.one_in(4).then(|| 4 + rng.below(30)),
        has_dictionaries: rng.one_in(4),
        is_mirrored: rng.one_in(4),
        mirrors: Mutex::new(start.mirrors.clone()),
    });
    if round.entries_max.is_some() {
        round.history.let_evict();
    }
    let watching = Arc::downgrade(&round);
    round.disk.watch(move |call, moment| {
        if let Some(round) = watching.upgrade() {
            round.at_call(call, moment);
        }
    });
    let lives = if length == Length::Whole { 1 + rng.below(3) } else { 1 };
    for life in 1..=lives {
        let db = round.open();
        let found = read_all(&db);
        round.history.settle(&found, round.clock.unix_ms());
        // Before it takes writes, an open makes durable what it found (I17).
        round.history.note_synced(round.history.newest_lsn());
        round.mark(&db, life, &found);
        if round.has_dictionaries && length == Length::Whole && life == 1 {
            train(&round, &db, tally);
        }
        live(&round, &db, rng, tally);
        if life == lives || rng.one_in(2) {
            if rng.one_in(2) && life < lives {
                leave_hole(&db, 8 + rng.below(3000));
                leave_pending(&db, b"pending", b"x");
            }
            db.abandon();
        } else {
            let held = read_all(&db);
            db.close().unwrap();
            if round.is_mirrored {
                let mirrored = mirror::entries(mirror::of(&round.disk), round.clock.unix_ms());
                assert!(
                    mirrored == held,
                    "a close leaves the mirror as it was: {mirrored:?} instead of {held:?}"
                );
            }
        }
    }
    round.disk.unwatch();
    round.take(At::Rest);
    let images = std::mem::take(&mut *round.images.lock().unwrap());
    round.history.close();
    let mirrors = round.mirrors.lock().unwrap().clone();
    for mirrored in mirrors.difference(&start.mirrors) {
        // As of one moment, whatever was written meanwhile.
        let now_ms = round.clock.unix_ms();
        let bounds = Bounds { synced_lsn: 0, begun: u64::MAX, now_ms };
        let judged = round.history.judge(&mirror::entries(mirrored.clone(), now_ms), &bounds);
        judged.unwrap_or_else(|reason| panic!("the mirror: {reason}"));
        tally.count_mirror();
    }
    let next = rng.below(images.len() as u64) as usize;
    let mut start = None;
    for (n, taken) in images.iter().enumerate() {
        let checked = check(taken, &round.history, round.is_mirrored, &mirrors, rng, tally);
        if died_at.is_some() {
            tally.count_after_death();
        }
        if n == next {
            start = Some(checked);
        }
    }
    let deaths = std::mem::take(&mut *round.deaths.lock().unwrap());
    for (n, died) in deaths.into_iter().enumerate() {
        let died = died.start(&round.history, mirrors.clone());
        if n == 0 && rng.one_in(3) {
            start = Some(died);
        } else if length == Length::Whole || rng.one_in(3) {
            self::round(died, Length::Brief, rng, tally);
        }
    }
    start.unwrap()
}

/// Writes enough values that are alike for a compaction to train a dictionary from, and looks whether it is used.
fn train(round: &Arc<Round>, db: &Db, tally: &Tally) {
    let gate = RwLock::new(());
    let writer = Writer { db, round, gate: &gate, tally, name: "w0".into(), is_limited: false };
    // Or values that were overwritten meanwhile could be gone before they are looked at.
    db.pause().unwrap();
    let (mut bytes, mut steps) = (0, 1_000_000..);
    while bytes < TRAINING_BYTES {
        let (mut batch, mut effect, step) = (Batch::new(), Vec::new(), steps.next().unwrap_or(0));
        for n in 0..OWN_KEYS {
            let key = format!("w0-{n}");
            let value = round.value(&key, step + n, 600);
            bytes += value.len() as u64;
            batch.set(key.clone(), value.clone());
            effect.push((Some(key.into_bytes()), Some((value, 0))));
        }
        writer.write(&round.history, |db| db.apply(&batch).map(|()| Some(effect)));
    }
    db.compact().unwrap();
    db.resume().unwrap();
    let before = db.stats().unwrap();
    // By itself none so short is compressed.
    let short = round.value("w0-0", steps.next().unwrap_or(0), 100);
    let effect = vec![(Some(b"w0-0".to_vec()), Some((short.clone(), 0)))];
    writer.write(&round.history, |db| db.set(b"w0-0", &short).map(|()| Some(effect)));
    let stored_bytes = db.stats().unwrap().compressed_to_bytes - before.compressed_to_bytes;
    tally.count_training(before.dictionaries > 0, stored_bytes < short.len() as u64);
}

/// One life of the process.
fn live(round: &Arc<Round>, db: &Db, rng: &mut Rng, tally: &Tally) {
    let writers = 1 + rng.below(4);
    let steps = match round.sync {
        Sync::Always => 20 + rng.below(40),
        _ => 100 + rng.below(300),
    } / writers
        / if round.length == Length::Whole { 1 } else { 6 };
    let is_limited = rng.one_in(4);
    if is_limited {
        round.disk.limit(Some(round.disk.used_bytes() + SEGMENT_BYTES * rng.below(6)));
    }
    // Held by whoever writes, and by clear alone, which so has its place in the order of the log.
    let gate = RwLock::new(());
    std::thread::scope(|scope| {
        for n in 0..writers {
            let mut rng = Rng::new(rng.next());
            let writer = Writer { db, round, gate: &gate, tally, name: format!("w{n}"), is_limited };
            scope.spawn(move || {
                for step in 0..steps {
                    writer.step(&round.history, step, &mut rng);
                    if round.has_enough.load(Ordering::Relaxed) {
                        break;
                    }
                    if rng.one_in(20) {
                        round.take(At::Rest);
                    }
                }
            });
        }
    });
    round.disk.limit(None);
}

struct Writer<'a> {
    db: &'a Db,
    round: &'a Round,
    gate: &'a RwLock<()>,
    tally: &'a Tally,
    name: String,
    /// The disk may be full.
    is_limited: bool,
}

fn at(ms: u64) -> Expiry {
    Expiry::At(UNIX_EPOCH + Duration::from_millis(ms))
}

impl Writer<'_> {
    /// Whether a call did what it says; it may not have for want of space.
    fn is_done<T>(&self, result: kv::Result<T>) -> Option<T> {
        match result {
            Ok(done) => Some(done),
            Err(error) => {
                assert!(self.is_limited && error.is_disk_full(), "{error}");
                None
            }
        }
    }

    /// Runs a call that writes, if it returns what it wrote, and notes that.
    fn write(&self, history: &History, call: impl FnOnce(&Db) -> kv::Result<Option<Effect>>) {
        let _shared = self.gate.read().unwrap();
        let mut gone = self.gone(history);
        let (began, before) = (history.begin(), last_lsn());
        let effect = self.is_done(call(self.db)).flatten();
        // Nothing is written where nothing changes.
        if let Some(effect) = effect.filter(|_| last_lsn() != before) {
            gone.extend(effect);
            history.wrote(began, last_lsn(), gone);
            if self.round.sync == Sync::Always {
                history.note_synced(last_lsn());
            }
        }
    }

    /// What this writer finds evicted of its keys: it stays gone, and what is written from now on comes after it.
    fn gone(&self, history: &History) -> Effect {
        if self.round.entries_max.is_none() {
            return Vec::new();
        }
        let keys = (0..OWN_KEYS).map(|n| format!("{}-{n}", self.name).into_bytes());
        let gone = keys.filter(|key| history.value(key).is_some() && self.db.get(key).unwrap().is_none());
        let gone: Effect = gone.map(|key| (Some(key), None)).collect();
        if !gone.is_empty() {
            self.tally.count_gone();
        }
        gone
    }

    fn step(&self, history: &History, step: u64, rng: &mut Rng) {
        let key = match rng.one_in(6) {
            true => format!("shared-{}", rng.below(SHARED_KEYS)),
            false => format!("{}-{}", self.name, rng.below(OWN_KEYS)),
        };
        let is_own = key.starts_with(&self.name);
        let bytes = self.round.value(&key, step, [10, 100, 700, 2500, 9000][rng.below(5) as usize]);
        let key = key.into_bytes();
        let some_key = Some(key.clone());
        let deadline_ms = self.round.clock.unix_ms() + 1 + rng.below(3000);
        match rng.below(44) {
            0..14 => self.write(history, |db| {
                db.set(&key, &bytes)?;
                Ok(Some(vec![(some_key, Some((bytes, 0)))]))
            }),
            14..18 => {
                self.write(history, |db| Ok(db.delete(&key)?.then(|| vec![(some_key, None)])));
            }
            18..22 => self.batch(history, step, rng),
            22..25 => self.write(history, |db| {
                let counter = if rng.one_in(2) { "counter".into() } else { format!("{}-counter", self.name) };
                let sum = db.increment(counter.as_bytes(), 1)?.to_string().into_bytes();
                Ok(Some(vec![(Some(counter.into_bytes()), Some((sum, 0)))]))
            }),
            25..29 => self.write(history, |db| {
                db.set_with(&key, &bytes, SetOptions::new().expiry(at(deadline_ms)))?;
                Ok(Some(vec![(some_key, Some((bytes, deadline_ms)))]))
            }),
            29 => self.write(history, |db| Ok(db.take(&key)?.map(|_| vec![(some_key, None)]))),
            30 | 31 if is_own => self.write(history, |db| {
                let until_ms = if rng.one_in(3) { 0 } else { deadline_ms };
                let held = match until_ms {
                    0 => db.persist(&key)?,
                    ms => db.expire_at(&key, UNIX_EPOCH + Duration::from_millis(ms))?,
                };
                Ok(held.then(|| vec![(some_key, history.value(&key).map(|value| (value, until_ms)))]))
            }),
            32..35 => self.round.clock.advance(Duration::from_millis(rng.below(1500))),
            35 if rng.one_in(3) => self.clear(history),
            36 | 37 => {
                let newest_lsn = history.newest_lsn();
                self.db.sync().unwrap();
                history.note_synced(newest_lsn);
            }
            38 => drop(self.is_done(self.db.compact())),
            39 => self.db.sweep().unwrap(),
            // A read that meets an expired entry makes a mask of it.
            _ => drop(self.db.get(&key).unwrap()),
        }
    }

    fn clear(&self, history: &History) {
        let _alone = self.gate.write().unwrap();
        let (began, newest_lsn) = (history.begin(), history.newest_lsn());
        if self.is_done(self.db.clear()).is_some() {
            // LSNs are multiples of 8, and nobody else writes.
            history.wrote(began, newest_lsn + 1, vec![(None, None)]);
            if self.round.sync == Sync::Always {
                history.note_synced(newest_lsn + 1);
            }
        }
    }

    fn batch(&self, history: &History, step: u64, rng: &mut Rng) {
        let (mut batch, mut effect) = (Batch::new(), Vec::new());
        for _ in 0..2 + rng.below(5) {
            // Of this writer alone: a member that meets a newer record is written again on its own (I13).
            let key = format!("{}-{}", self.name, rng.below(OWN_KEYS));
            let deadline_ms = self.round.clock.unix_ms() + 1 + rng.below(3000);
            let bytes = self.round.value(&key, step, rng.below(600));
            let key = key.into_bytes();
            let held = match rng.below(4) {
                0 => {
                    batch.delete(key.clone());
                    None
                }
                1 => {
                    batch.set_expiring(key.clone(), bytes.clone(), at(deadline_ms));
                    Some((bytes, deadline_ms))
                }
                _ => {
                    batch.set(key.clone(), bytes.clone());
                    Some((bytes, 0))
                }
            };
            effect.push((Some(key), held));
        }
        self.write(history, |db| db.apply(&batch).map(|()| Some(effect)));
    }
}
