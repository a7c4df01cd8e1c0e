//! Images of the disk: taken while a workload runs, and checked when it is over.

use crate::common::Rng;
use crate::history::{read_all, Bounds, Death, History};
use crate::mirror::{self, Mirrors};
use crate::workload::{options, Start, DIR};
use kv::testing::{stray_names, Call, Choice, Image, Moment, Point, SimDisk};
use kv::{Clock, ManualClock, Sync};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NEVER: Duration = Duration::from_secs(86_400);

/// When an image was taken.
#[derive(Debug, Clone, Copy)]
pub enum At {
    Call(Call, Moment),
    Point(Point),
    /// Between two calls of a writer.
    Rest,
}

pub struct Taken {
    image: Image,
    choice: Choice,
    at: At,
    bounds: Bounds,
}

/// The process died, and the system and its disk live on.
pub struct Died {
    disk: Arc<SimDisk>,
    death: Death,
    at: At,
    now_ms: u64,
}

impl Died {
    pub fn now(disk: &SimDisk, clock: &ManualClock, history: &History, at: At) -> Died {
        let (death, disk) = history.die(|| disk.copy());
        Died { disk, death, at, now_ms: clock.unix_ms() }
    }

    /// What the next process starts from. The history is closed.
    pub fn start(self, history: &History, mirrors: Mirrors) -> Start {
        let (history, died_at) = (history.up_to(&self.death), Some(self.at));
        Start { disk: self.disk, history, now_ms: self.now_ms, died_at, mirrors }
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            At::Call(call, _) => write!(f, "at {call:?}"),
            At::Point(point) => write!(f, "at store {point:?}"),
            At::Rest => write!(f, "at rest"),
        }
    }
}

/// How many images there were of what.
#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<String, u64>>);

impl Tally {
    fn count(&self, what: String) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }

    fn get(&self, what: &str) -> u64 {
        self.0.lock().unwrap().get(what).copied().unwrap_or(0)
    }

    pub fn images(&self) -> u64 {
        self.get("images")
    }

    pub fn at_call(&self, call: Call) -> u64 {
        self.get(&format!("at {call:?}"))
    }

    pub fn at_point(&self, point: Point) -> u64 {
        self.get(&format!("at store {point:?}"))
    }

    pub fn of_choice(&self, choice: Choice) -> u64 {
        self.get(&kind_of(choice))
    }

    pub fn count_death(&self, died_at: Option<At>) {
        if let Some(at) = died_at {
            self.count("deaths of a process".into());
            self.count(format!("deaths of a process {at}"));
        }
    }

    pub fn count_after_death(&self) {
        self.count(AFTER_DEATH.into());
    }

    pub fn count_gone(&self) {
        self.count(GONE.into());
    }

    pub fn gone(&self) -> u64 {
        self.get(GONE)
    }

    /// Of a history with dictionaries: whether one was there then, and made a value shorter.
    pub fn count_training(&self, is_trained: bool, is_used: bool) {
        self.count(WITH_DICTIONARIES.into());
        if is_trained && is_used {
            self.count(TRAINED.into());
        }
    }

    pub fn count_mirror(&self) {
        self.count(MIRRORS.into());
    }

    /// Histories with dictionaries, those in which one was trained and used, images that had one, and mirrors that were judged.
    pub fn trained(&self) -> [u64; 4] {
        [WITH_DICTIONARIES, TRAINED, HAD_DICTIONARIES, MIRRORS].map(|what| self.get(what))
    }

    pub fn after_death(&self) -> u64 {
        self.get(AFTER_DEATH)
    }

    pub fn second_losses(&self) -> u64 {
        self.get(AGAIN)
    }
}

const AFTER_DEATH: &str = "after the process before had died";
const GONE: &str = "writes that came after an eviction was seen";
const WITH_DICTIONARIES: &str = "histories with dictionaries";
const TRAINED: &str = "histories in which a dictionary was trained and used";
const HAD_DICTIONARIES: &str = "images with dictionaries";
const MIRRORS: &str = "contents of mirrors";
const AGAIN: &str = "lost again inside recovery";

fn kind_of(choice: Choice) -> String {
    match choice {
        Choice::Percent(_) => "of a random share".into(),
        choice => format!("of {choice:?}"),
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.lock().unwrap().iter().try_for_each(|(what, n)| writeln!(f, "{n:10} {what}"))
    }
}

pub fn choice(rng: &mut Rng) -> Choice {
    match Choice::ALL[rng.below(Choice::ALL.len() as u64) as usize] {
        Choice::Percent(_) => Choice::Percent(1 + rng.below(99)),
        choice => choice,
    }
}

/// Takes an image.
pub fn take(disk: &SimDisk, clock: &ManualClock, history: &History, at: At, rng: &mut Rng) -> Taken {
    if rng.one_in(3) {
        disk.write_back(rng.below(60), rng.next());
    }
    let choice = choice(rng);
    // What was acknowledged before the image must be in it, and what begins after it cannot be.
    let synced_lsn = history.synced_lsn();
    let image = disk.lose_power(choice, rng.next());
    let bounds = Bounds { synced_lsn, begun: history.begun(), now_ms: clock.unix_ms() };
    Taken { image, choice, at, bounds }
}

/// Recovers an image and judges what is found. Gives what the next workload may start from.
pub fn check(
    taken: &Taken,
    history: &History,
    is_mirrored: bool,
    mirrors: &Mirrors,
    rng: &mut Rng,
    tally: &Tally,
) -> Start {
    let told = format!("{:?} at {:?}, {:?}", taken.choice, taken.at, taken.bounds);
    tally.count("images".into());
    tally.count(kind_of(taken.choice));
    tally.count(taken.at.to_string());
    if let At::Call(call, moment) = taken.at {
        tally.count(format!("at {call:?}, {moment:?}"));
    }
    let disk = taken.image.start();
    let now_ms = taken.bounds.now_ms;
    let again = rng.one_in(10).then(|| Again::watch(&disk, rng));
    let clock = Arc::new(ManualClock::new(now_ms));
    // The old one or the new one.
    let file = mirror::of(&disk);
    assert!(mirrors.contains(&file), "{told}: a mirror that never was\n{:?}", taken.image);
    let open = |disk: &Arc<SimDisk>, told: &str| {
        let mut options = options(disk, &clock, Sync::Never).background(false);
        if is_mirrored {
            // Refused, it would be one that the store does not know.
            options = options.json_mirror(mirror::FILE).json_mirror_every(NEVER);
        }
        let opened = options.open(DIR);
        opened.unwrap_or_else(|error| panic!("{told}: {error}\n{:?}", taken.image))
    };
    let db = open(&disk, &told);
    let entries = read_all(&db);
    if db.stats().unwrap().dictionaries > 0 {
        tally.count(HAD_DICTIONARIES.into());
    }
    if rng.one_in(2) {
        db.abandon();
        assert!(mirror::of(&disk) == file, "{told}: a mirror of a process that has died");
    } else {
        db.close().unwrap();
        if is_mirrored {
            let mirrored = mirror::entries(mirror::of(&disk), now_ms);
            assert!(mirrored == entries, "{told}: {mirrored:?} instead of {entries:?}");
        }
    }
    drop(db);
    disk.unwatch();
    if let Err(reason) = history.judge(&entries, &taken.bounds) {
        panic!("{told}: {reason}\n{:?}", taken.image);
    }
    let again = again.and_then(Again::taken);
    if again.is_some() {
        tally.count(AGAIN.into());
    }
    let open_again = |disk: &Arc<SimDisk>, what: &str, lost: Option<(Choice, u64)>| {
        let told = format!("{told}, {what}");
        let db = open(disk, &told);
        assert!(read_all(&db) == entries, "{told}: another opening gives something else");
        // What an open has found is on the disk from then on.
        let lost = lost.map(|(choice, seed)| disk.image(choice, seed));
        db.close().unwrap();
        drop(db);
        let stray = stray_names(disk, Path::new(DIR)).unwrap();
        assert!(stray.is_empty(), "{told}: {stray:?} belong to nothing");
        lost
    };
    let disk = if rng.one_in(2) { disk.image(choice(rng), rng.next()) } else { disk };
    open_again(&disk, "once more", None);
    if let Some(again) = again {
        let lost = open_again(&again, "inside recovery", Some((choice(rng), rng.next())));
        lost.map(|disk| open_again(&disk, "lost after recovery", None));
    }
    let mirrors = Mirrors::from([mirror::of(&disk)]);
    Start { disk, history: History::new(entries), now_ms, died_at: None, mirrors }
}

/// Lets power be lost again, or the process die, at one of the calls of the recovery that is to come: each is as likely.
struct Again(Arc<Mutex<Option<Arc<SimDisk>>>>);

impl Again {
    fn watch(disk: &Arc<SimDisk>, rng: &mut Rng) -> Again {
        let slot = Arc::new(Mutex::new(None));
        let (into, of) = (Arc::clone(&slot), Arc::downgrade(disk));
        let state = Mutex::new((Rng::new(rng.next()), 0));
        disk.watch(move |_, _| {
            let (rng, calls) = &mut *state.lock().unwrap();
            *calls += 1;
            if let Some(disk) = of.upgrade().filter(|_| rng.one_in(*calls)) {
                let dies = rng.one_in(4);
                let image = if dies { disk.copy() } else { disk.image(choice(rng), rng.next()) };
                *into.lock().unwrap() = Some(image);
            }
        });
        Again(slot)
    }

    fn taken(self) -> Option<Arc<SimDisk>> {
        self.0.lock().unwrap().take()
    }
}
