//! P3 and P4 when power is lost: an image of the disk in which every sector and name that was not synced may be old or new
//! opens, holds everything that was synced, and is otherwise a prefix of what was written.
//!
//! Replay with `KV_POWER_SEED`; `KV_POWER_ROUNDS` sets how many workloads run.

mod common;

use common::{count, seed, value, Rng};
use kv::testing::{on, stray_names, Choice, SimDisk};
use kv::{Batch, Db, ManualClock, Options, ScanOptions, SetOptions, Sync};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DIR: &str = "store";
const START_MS: u64 = 1_700_000_000_000;

/// Value and deadline (0: none) of each key.
type Entries = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

/// Value and deadline, `None`: deleted.
type Held = Option<(Vec<u8>, u64)>;

/// What one call changed; `None` in place of a key: everything went.
#[derive(Clone, Debug)]
struct Change(Vec<(Option<Vec<u8>>, Held)>);

impl Change {
    fn apply(&self, to: &mut Entries) {
        for (key, held) in &self.0 {
            match (key, held) {
                (None, _) => to.clear(),
                (Some(key), None) => drop(to.remove(key)),
                (Some(key), Some(held)) => drop(to.insert(key.clone(), held.clone())),
            }
        }
    }
}

/// What a writer did, in its order, and how much of that must survive.
#[derive(Default)]
struct History {
    changes: Mutex<Vec<Change>>,
    durable: AtomicUsize,
}

impl History {
    fn begin(&self, change: Change) {
        self.changes.lock().unwrap().push(change);
    }

    fn begun(&self) -> usize {
        self.changes.lock().unwrap().len()
    }

    /// How many of the changes `found` shows, the most that fit; `None` if it is no prefix of at least `durable`.
    fn prefix(
        &self,
        found: &BTreeMap<Vec<u8>, Vec<u8>>,
        durable: usize,
        begun: usize,
        now_ms: u64,
    ) -> Option<usize> {
        let changes = self.changes.lock().unwrap();
        let mut state = Entries::new();
        let mut fits = None;
        for (n, change) in changes.iter().take(begun).map(Some).chain([None]).enumerate() {
            if n >= durable {
                let visible = state.iter().filter(|(_, (_, at))| *at == 0 || *at > now_ms);
                if visible.map(|(key, (value, _))| (key, value)).eq(found) {
                    fits = Some(n);
                }
            }
            if let Some(change) = change {
                change.apply(&mut state);
            }
        }
        fits
    }
}

fn options(disk: &Arc<SimDisk>, clock: &Arc<ManualClock>, sync: Sync) -> Options {
    on(Options::new().clock(clock.clone()).sync(sync).segment_bytes(64 << 10), disk)
}

fn read_all(db: &Db) -> BTreeMap<Vec<u8>, Vec<u8>> {
    db.scan(ScanOptions::new()).unwrap().map(|entry| entry.unwrap()).map(|e| (e.key, e.value)).collect()
}

fn choice(rng: &mut Rng) -> Choice {
    match rng.below(12) {
        0 => Choice::Nothing,
        1 => Choice::Everything,
        2 => Choice::LastSector,
        3 => Choice::FirstPage,
        4 => Choice::DataWithoutNames,
        5 => Choice::NamesWithoutData,
        _ => Choice::Percent(1 + rng.below(99)),
    }
}

/// Opens an image as the machine would after the next boot and reads it; opens it once more, and after losing power inside
/// that recovery: it is always the same, and no file is left that belongs to nothing.
fn recover(image: &Arc<SimDisk>, now_ms: u64, rng: &mut Rng, told: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let clock = Arc::new(ManualClock::new(now_ms));
    let again = rng.one_in(3).then(|| second_loss(image, rng));
    let open = |disk: &Arc<SimDisk>| {
        let opened = options(disk, &clock, Sync::Never).background(false).open(DIR);
        opened.unwrap_or_else(|error| panic!("{told}: {error}"))
    };
    let db = open(image);
    let found = read_all(&db);
    let again = again.and_then(|taken| taken.lock().unwrap().take());
    image.unwatch();
    if rng.one_in(2) {
        db.abandon();
    } else {
        db.close().unwrap();
    }
    drop(db);
    for disk in [Some(Arc::clone(image)), again].into_iter().flatten() {
        let db = open(&disk);
        assert!(read_all(&db) == found, "{told}: another opening gives something else");
        db.close().unwrap();
        drop(db);
        let stray = stray_names(&disk, Path::new(DIR)).unwrap();
        assert!(stray.is_empty(), "{told}: {stray:?} belong to nothing");
    }
    found
}

/// Lets power be lost again at some call of the recovery that is to come.
fn second_loss(image: &Arc<SimDisk>, rng: &mut Rng) -> Arc<Mutex<Option<Arc<SimDisk>>>> {
    let taken = Arc::new(Mutex::new(None));
    let (slot, disk, calls) = (Arc::clone(&taken), Arc::downgrade(image), AtomicU64::new(0));
    let (at, choice, seed) = (rng.below(40), choice(rng), rng.next());
    image.watch(move |_, _| {
        if calls.fetch_add(1, Ordering::Relaxed) == at {
            if let Some(disk) = disk.upgrade() {
                *slot.lock().unwrap() = Some(disk.image(choice, seed));
            }
        }
    });
    taken
}

/// One writer's calls. `durable` rises when a call that makes everything before it durable has returned.
struct Writer<'a> {
    db: &'a Db,
    clock: &'a ManualClock,
    history: &'a History,
    name: String,
    always: bool,
    /// Whether this writer is alone: then it also clears and moves the clock.
    alone: bool,
    live: Entries,
    sequence: u64,
}

impl Writer<'_> {
    fn change(&mut self, change: Change, call: impl FnOnce(&Db)) {
        self.history.begin(change.clone());
        call(self.db);
        change.apply(&mut self.live);
        if self.always {
            self.history.durable.store(self.history.begun(), Ordering::SeqCst);
        }
    }

    fn step(&mut self, rng: &mut Rng) {
        self.sequence += 1;
        let key = format!("{}-{}", self.name, rng.below(30)).into_bytes();
        let text = String::from_utf8(key.clone()).unwrap();
        let bytes = value(&text, self.sequence, [10, 100, 700, 2500][rng.below(4) as usize]);
        let now_ms = self.clock_ms();
        match rng.below(if self.alone { 40 } else { 30 }) {
            0..16 => self.change(Change(vec![(Some(key.clone()), Some((bytes.clone(), 0)))]), |db| {
                db.set(&key, &bytes).unwrap()
            }),
            16..20 => {
                self.change(Change(vec![(Some(key.clone()), None)]), |db| assert!(db.delete(&key).is_ok()))
            }
            20..24 => self.batch(rng),
            24..26 => self.counter(),
            26..30 => {
                // Without the writer moving the clock, deadlines stay ahead.
                let ttl_ms = if self.alone { 1 + rng.below(2000) } else { 1 << 40 };
                let change = Change(vec![(Some(key.clone()), Some((bytes.clone(), now_ms + ttl_ms)))]);
                let options = SetOptions::new().ttl(Duration::from_millis(ttl_ms));
                self.change(change, |db| assert!(db.set_with(&key, &bytes, options).is_ok()));
            }
            30..32 => self.clock.advance(Duration::from_millis(rng.below(1500))),
            32 if rng.one_in(4) => self.change(Change(vec![(None, None)]), |db| db.clear().unwrap()),
            33..35 if rng.one_in(3) => {
                let begun = self.history.begun();
                self.db.sync().unwrap();
                self.history.durable.fetch_max(begun, Ordering::SeqCst);
            }
            35 if rng.one_in(4) => self.db.compact().unwrap(),
            36 => self.db.sweep().unwrap(),
            _ => {}
        }
    }

    fn clock_ms(&self) -> u64 {
        self.db.now_ms()
    }

    fn batch(&mut self, rng: &mut Rng) {
        let (mut batch, mut changes) = (Batch::new(), Vec::new());
        for _ in 0..2 + rng.below(5) {
            let key = format!("{}-{}", self.name, rng.below(30));
            if rng.one_in(4) {
                batch.delete(key.as_bytes());
                changes.push((Some(key.into_bytes()), None));
            } else {
                let bytes = value(&key, self.sequence, rng.below(300) as usize);
                batch.set(key.as_bytes(), bytes.clone());
                changes.push((Some(key.into_bytes()), Some((bytes, 0))));
            }
        }
        self.change(Change(changes), |db| db.apply(&batch).unwrap());
    }

    fn counter(&mut self) {
        let key = format!("{}-counter", self.name).into_bytes();
        let now = self
            .live
            .get(&key)
            .map_or(0, |(value, _)| String::from_utf8_lossy(value).parse::<i64>().unwrap());
        let next = (now + 1).to_string().into_bytes();
        self.change(Change(vec![(Some(key.clone()), Some((next, 0)))]), |db| {
            assert_eq!(db.increment(&key, 1).unwrap(), now + 1);
        });
    }
}

/// An image and what must be in it.
struct Taken {
    image: Arc<SimDisk>,
    /// Of each writer: changes that must be there, and changes that may be.
    bounds: Vec<(usize, usize)>,
    now_ms: u64,
    what: Choice,
}

struct Workload {
    disk: Arc<SimDisk>,
    clock: Arc<ManualClock>,
    histories: Vec<Arc<History>>,
}

impl Workload {
    fn take(&self, rng: &mut Rng) -> Taken {
        if rng.one_in(3) {
            self.disk.write_back(rng.below(60), rng.next());
        }
        let what = choice(rng);
        // What was durable before the image must be in it, and what begins after it cannot be.
        let durable: Vec<usize> = self.histories.iter().map(|h| h.durable.load(Ordering::SeqCst)).collect();
        let image = self.disk.image(what, rng.next());
        let bounds = durable.into_iter().zip(&self.histories).map(|(low, h)| (low, h.begun())).collect();
        use kv::Clock;
        Taken { image, bounds, now_ms: self.clock.unix_ms(), what }
    }

    fn check(&self, taken: &Taken, rng: &mut Rng) {
        let told = format!("image {:?}, bounds {:?}", taken.what, taken.bounds);
        let found = recover(&taken.image, taken.now_ms, rng, &told);
        let mut left = found.clone();
        for (n, (history, (durable, begun))) in self.histories.iter().zip(&taken.bounds).enumerate() {
            let prefix = format!("w{n}-").into_bytes();
            let own: BTreeMap<_, _> = found
                .iter()
                .filter(|(key, _)| key.starts_with(&prefix))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            left.retain(|key, _| !key.starts_with(&prefix));
            let fits = history.prefix(&own, *durable, *begun, taken.now_ms);
            assert!(
                fits.is_some(),
                "{told}: writer {n} is no prefix: {}",
                explain(history, &own, *durable, *begun)
            );
        }
        assert!(left.is_empty(), "{told}: invented {:?}", left.keys());
    }
}

fn explain(history: &History, found: &BTreeMap<Vec<u8>, Vec<u8>>, durable: usize, begun: usize) -> String {
    let name = |value: &[u8]| {
        String::from_utf8_lossy(value.split(|b| *b == b'#').nth(1).unwrap_or(value)).into_owned()
    };
    let mut states: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let changes = history.changes.lock().unwrap();
    for (n, change) in changes.iter().enumerate().take(begun) {
        for (key, held) in &change.0 {
            let key = key.as_ref().map_or("*".into(), |key| String::from_utf8_lossy(key).into_owned());
            let held = held.as_ref().map_or("-".into(), |(value, at)| format!("{}@{at}", name(value)));
            states.entry(key).or_default().push(format!("{}:{held}", n + 1));
        }
    }
    let mut text = format!("durable {durable}, begun {begun}\n");
    for (key, changes) in states {
        let at = found.get(key.as_bytes()).map_or("-".into(), |value| name(value));
        let from = changes.len().saturating_sub(6);
        text += &format!("  {key}: found {at}, written {}\n", changes[from..].join(" "));
    }
    text
}

/// Runs writers over one disk, takes images at random calls of the store to the disk and at random steps of the writers,
/// and checks them. Returns how many.
fn run(rng: &mut Rng, writers: usize, steps: usize, images_wanted: usize) -> usize {
    let clock = Arc::new(ManualClock::new(START_MS));
    let histories: Vec<Arc<History>> = (0..writers).map(|_| Arc::default()).collect();
    let workload = Arc::new(Workload { disk: SimDisk::new(), clock: Arc::clone(&clock), histories });
    let sync = match rng.below(3) {
        0 => Sync::Always,
        1 => Sync::Every(Duration::from_millis(2)),
        _ => Sync::Never,
    };
    let images = Arc::new(Mutex::new(Vec::new()));
    let hook_rng = Mutex::new(Rng::new(rng.next()));
    let (of, into) = (Arc::downgrade(&workload), Arc::clone(&images));
    let every = if sync == Sync::Always { 40 } else { 6 };
    let watching = Arc::new(move |_, _| {
        let mut rng = hook_rng.lock().unwrap().clone();
        hook_rng.lock().unwrap().next();
        if let Some(workload) = of.upgrade().filter(|_| rng.one_in(every)) {
            if into.lock().unwrap().len() >= 2 * images_wanted {
                return;
            }
            let taken = workload.take(&mut rng);
            into.lock().unwrap().push(taken);
        }
    });
    let hook = Arc::clone(&watching);
    workload.disk.watch(move |call, moment| hook(call, moment));
    let db = options(&workload.disk, &clock, sync).open(DIR).unwrap();
    std::thread::scope(|scope| {
        for n in 0..writers {
            let (db, clock, workload) = (&db, &*clock, Arc::clone(&workload));
            let images = Arc::clone(&images);
            let mut rng = Rng::new(rng.next());
            scope.spawn(move || {
                let history = Arc::clone(&workload.histories[n]);
                let (name, always) = (format!("w{n}"), sync == Sync::Always);
                let mut writer = Writer {
                    db,
                    clock,
                    history: &history,
                    name,
                    always,
                    alone: writers == 1,
                    live: Entries::new(),
                    sequence: 0,
                };
                for _ in 0..steps {
                    writer.step(&mut rng);
                    let is_enough = images.lock().unwrap().len() >= images_wanted;
                    if !is_enough && rng.one_in((steps * writers / images_wanted * 2) as u64 + 1) {
                        let taken = workload.take(&mut rng);
                        images.lock().unwrap().push(taken);
                    }
                }
            });
        }
    });
    workload.disk.unwatch();
    let last = workload.take(rng);
    images.lock().unwrap().push(last);
    db.abandon();
    let images = std::mem::take(&mut *images.lock().unwrap());
    for taken in &images {
        workload.check(taken, rng);
    }
    images.len()
}

fn campaign(name: &str, writers: usize, steps: usize) {
    let mut rng = Rng::new(seed("KV_POWER_SEED"));
    let began = std::time::Instant::now();
    let rounds = count("KV_POWER_ROUNDS", 25);
    let images: usize = (0..rounds).map(|_| run(&mut rng, writers, steps, 60)).sum();
    println!("{name}: {images} images of {rounds} workloads in {:.1} s", began.elapsed().as_secs_f32());
    assert!(images as u64 >= rounds * 20, "too few images: {images}");
}

#[test]
fn what_one_writer_wrote_is_a_prefix_that_holds_everything_synced() {
    campaign("one writer", 1, 900);
}

#[test]
fn what_each_of_several_writers_wrote_is_a_prefix_that_holds_everything_synced() {
    campaign("three writers", 3, 350);
}
