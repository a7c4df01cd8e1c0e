//! What is loaded anew before it ends, what is served meanwhile, and what is known to be nowhere.

#[path = "support/gate.rs"]
#[allow(dead_code)] // The tests that hold threads use the rest.
mod gate;

use gate::until;
use kv::{Db, Error, LoadOptions, ManualClock, Options, Ttl};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const START_MS: u64 = 1_700_000_000_000;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Lives for 100 s, and is fresh for 10 s of them.
fn options() -> LoadOptions {
    LoadOptions::new().ttl(seconds(100)).fresh_for(seconds(10))
}

/// A loader that is held, and what stood there when it was called for.
struct Held {
    value: Option<Vec<u8>>,
    runs: Receiver<()>,
    tells: Sender<Option<Vec<u8>>>,
}

struct Bench {
    db: Db,
    clock: Arc<ManualClock>,
    lines: Arc<Mutex<Vec<String>>>,
    /// Loaders that were called.
    calls: Arc<AtomicUsize>,
}

fn bench() -> Bench {
    let clock = Arc::new(ManualClock::new(START_MS));
    let lines = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&lines);
    let options =
        Options::new().clock(clock.clone()).logger(move |line| to.lock().unwrap().push(line.into()));
    Bench { db: options.in_memory().unwrap(), clock, lines, calls: Arc::default() }
}

impl Bench {
    /// What `get_or_load_with` says; a loader that is called brings `brings`.
    fn load(
        &self,
        key: &str,
        options: LoadOptions,
        brings: Result<Option<&'static str>, &'static str>,
    ) -> Option<String> {
        let calls = Arc::clone(&self.calls);
        let loader = move || {
            calls.fetch_add(1, Ordering::SeqCst);
            brings.map(|value| value.map(|value| value.as_bytes().to_vec()))
        };
        let value = self.db.get_or_load_with(key.as_bytes(), options, loader).unwrap();
        value.map(|value| String::from_utf8(value).unwrap())
    }

    /// As `load`, with a loader that says when it runs and waits until it is told what to bring.
    fn load_held(&self, key: &str, options: LoadOptions) -> Held {
        let (says, runs) = channel();
        let (tells, told) = channel();
        let calls = Arc::clone(&self.calls);
        let loader = move || {
            calls.fetch_add(1, Ordering::SeqCst);
            let _ = says.send(());
            told.recv().map_err(|error| error.to_string())
        };
        let value = self.db.get_or_load_with(key.as_bytes(), options, loader).unwrap();
        Held { value, runs, tells }
    }

    fn local(&self, key: &str) -> Option<String> {
        self.db.get(key.as_bytes()).unwrap().map(|value| String::from_utf8(value).unwrap())
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn text(value: &str) -> Option<String> {
    Some(value.into())
}

#[test]
fn a_stale_value_is_served_while_one_thread_loads_it_anew_and_an_expired_one_never() {
    let bench = bench();
    assert_eq!(bench.load("k", options(), Ok(Some("1"))), text("1"));
    bench.clock.advance(seconds(9));
    assert_eq!(bench.load("k", options(), Ok(Some("unwanted"))), text("1"));
    assert_eq!(bench.calls(), 1, "it was fresh");
    bench.clock.advance(seconds(1));
    let Held { value, runs, tells } = bench.load_held("k", options());
    assert_eq!(value.as_deref(), Some(&b"1"[..]));
    runs.recv_timeout(seconds(30)).unwrap();
    for _ in 0..10 {
        assert_eq!(bench.load("k", options(), Ok(Some("unwanted"))), text("1"));
    }
    tells.send(Some(b"2".to_vec())).unwrap();
    until("it is loaded anew", || bench.local("k") == text("2"));
    assert_eq!(bench.calls(), 2);
    assert_eq!(bench.db.ttl(b"k").unwrap(), Some(Ttl::Remaining(seconds(100))));
    bench.clock.advance(seconds(100));
    assert_eq!(bench.load("k", options(), Ok(None)), None, "what expired is not served");
    assert_eq!(bench.load("k", options(), Ok(Some("3"))), text("3"));
    assert!(bench.lines.lock().unwrap().is_empty());
}

#[test]
fn a_refresh_that_fails_leaves_the_value_rests_for_a_second_and_is_told() {
    let bench = bench();
    let year = seconds(365 * 24 * 3600);
    let options = LoadOptions::new().ttl(year).fresh_for(seconds(10));
    bench.load("k", options, Ok(Some("1")));
    bench.clock.advance(seconds(10));
    let told = |part: &str| bench.lines.lock().unwrap().iter().any(|line| line.contains(part));
    let panics = || -> Result<Option<Vec<u8>>, String> { panic!("as the test wants it") };
    bench.db.get_or_load_with(b"k", options, panics).unwrap();
    until("a panic is told", || told("the loader panicked"));
    // It is told before it is done with; from then on it rests.
    for _ in 0..100 {
        assert_eq!(bench.load("k", options, Ok(Some("unwanted"))), text("1"));
    }
    assert_eq!(bench.calls(), 1);
    until("it is tried again", || {
        bench.clock.advance(seconds(1));
        bench.load("k", options, Err("no network"));
        // Another may have begun before the first was counted.
        bench.calls() >= 2
    });
    until("an error is told", || told("no network"));
    assert_eq!(bench.local("k"), text("1"));
    bench.clock.advance(year);
    let failed = bench.db.get_or_load_with(b"k", options, || Err::<Option<Vec<u8>>, _>("no network"));
    assert!(matches!(failed, Err(Error::Loader { .. })), "{failed:?}");
}

/// What changes the key, and its name.
type Change<'a> = (&'a str, &'a dyn Fn(&Db));

#[test]
fn a_change_during_a_refresh_wins_over_what_it_brings() {
    let changes: [Change<'_>; 4] = [
        ("set", &|db| db.set(b"k", b"new").unwrap()),
        ("delete", &|db| assert!(db.delete(b"k").unwrap())),
        ("clear", &|db| db.clear().unwrap()),
        ("set and delete", &|db| {
            db.set(b"k", b"new").unwrap();
            db.delete(b"k").unwrap();
        }),
    ];
    for (name, change) in changes {
        let bench = bench();
        bench.load("k", options(), Ok(Some("1")));
        bench.clock.advance(seconds(10));
        let Held { runs, tells, .. } = bench.load_held("k", options());
        runs.recv_timeout(seconds(30)).unwrap();
        change(&bench.db);
        tells.send(Some(b"old".to_vec())).unwrap();
        let pin = bench.db.pin_owned().unwrap();
        // Waits for the refresh.
        bench.db.close().unwrap();
        let found = pin.get(b"k").unwrap().map(|value| value.into_vec());
        assert_eq!(found, (name == "set").then(|| b"new".to_vec()), "{name}");
    }
}

#[test]
fn who_comes_when_the_entry_has_ended_gets_what_its_refresh_brings() {
    let bench = bench();
    bench.load("k", options(), Ok(Some("1")));
    bench.clock.advance(seconds(10));
    let Held { runs, tells, .. } = bench.load_held("k", options());
    runs.recv_timeout(seconds(30)).unwrap();
    bench.clock.advance(seconds(100));
    std::thread::scope(|scope| {
        let late = scope.spawn(|| bench.load("k", options(), Ok(Some("unwanted"))));
        tells.send(Some(b"2".to_vec())).unwrap();
        let value = late.join().unwrap();
        assert!(value == text("2") || (bench.calls() == 3 && value == text("unwanted")), "{value:?}");
    });
}

#[test]
fn a_refresh_that_finds_nothing_removes_the_entry() {
    let bench = bench();
    let options = options().absent_for(seconds(60));
    bench.load("k", options, Ok(Some("1")));
    bench.clock.advance(seconds(10));
    bench.load("k", options, Ok(None));
    until("it is gone", || bench.local("k").is_none());
    until("its absence is remembered", || {
        let before = bench.calls();
        bench.load("k", options, Ok(None)).is_none() && bench.calls() == before
    });
}

#[test]
fn absence_is_remembered_for_its_time_or_until_a_change() {
    let bench = bench();
    let options = LoadOptions::new().absent_for(seconds(10));
    let load = || {
        let before = bench.calls();
        assert_eq!(bench.load("k", options, Ok(None)), None);
        bench.calls() > before
    };
    assert!(load() && !load(), "asked once");
    bench.clock.advance(seconds(9));
    assert!(!load());
    bench.clock.advance(seconds(1));
    assert!(load() && !load(), "after its time again");
    bench.db.delete(b"k").unwrap();
    assert!(load() && !load(), "after a delete again");
    bench.db.set(b"k", b"v").unwrap();
    assert_eq!(bench.load("k", options, Ok(None)), text("v"));
    bench.db.delete(b"k").unwrap();
    assert!(load() && !load());
    bench.db.clear().unwrap();
    assert!(load() && !load());
    // Other keys do not end it, and what is not asked to be remembered is not.
    bench.db.set(b"other", b"v").unwrap();
    assert!(!load());
    bench.load("n", LoadOptions::new(), Ok(None));
    let before = bench.calls();
    bench.load("n", LoadOptions::new(), Ok(None));
    assert_eq!(bench.calls(), before + 1);
}

#[test]
fn an_early_refresh_comes_before_the_end_and_the_sooner_the_more_a_load_costs() {
    let bench = bench();
    // Loads cost microseconds here: by a factor as large as this they cost years.
    let early = LoadOptions::new().ttl(seconds(100)).early(1e15);
    bench.load("k", early, Ok(Some("1")));
    bench.load("k", early, Ok(Some("2")));
    until("it is loaded anew", || bench.local("k") == text("2"));
    let late = LoadOptions::new().ttl(seconds(100)).early(1e-9);
    for _ in 0..100 {
        assert_eq!(bench.load("k", late, Ok(Some("unwanted"))), text("2"));
    }
    // What has no end is not loaded anew.
    bench.db.set(b"forever", b"1").unwrap();
    assert_eq!(bench.load("forever", early, Ok(Some("unwanted"))), text("1"));
    assert_eq!(bench.calls(), 2);
}

#[test]
fn options_that_cannot_work_are_refused() {
    let bench = bench();
    let refused = [
        LoadOptions::new().fresh_for(seconds(1)),
        LoadOptions::new().ttl(seconds(1)).fresh_for(seconds(1)),
        LoadOptions::new().ttl(seconds(1)).fresh_for(Duration::ZERO),
        LoadOptions::new().ttl(Duration::ZERO),
        LoadOptions::new().early(-1.0),
        LoadOptions::new().early(f64::NAN),
    ];
    for options in refused {
        let result = bench.db.get_or_load_with(b"k", options, || Ok::<_, String>(None));
        assert!(matches!(result, Err(Error::InvalidOption { .. })), "{options:?}: {result:?}");
    }
    assert!(bench.db.get_or_load_with(&[0; 65_536], options(), || Ok::<_, String>(None)).is_err());
}

#[test]
fn a_few_refreshes_run_at_once_and_each_of_many_comes_to_its_turn() {
    const KEYS: usize = 60;
    let bench = bench();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for n in 0..KEYS {
        bench.load(&n.to_string(), options(), Ok(Some("1")));
    }
    bench.clock.advance(seconds(10));
    let key = |n: usize| n.to_string().into_bytes();
    for n in 0..KEYS {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        let loader = move || {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, String>(Some(b"2".to_vec()))
        };
        bench.db.get_or_load_with(&key(n), options(), loader).unwrap();
    }
    until("all are loaded anew", || (0..KEYS).all(|n| bench.local(&n.to_string()) == text("2")));
    assert!((1..=4).contains(&most.load(Ordering::SeqCst)), "{most:?} at once");
}

#[test]
fn close_waits_for_the_loader_that_runs_and_drops_those_that_wait() {
    let bench = bench();
    for n in 0..20 {
        bench.load(&n.to_string(), options(), Ok(Some("1")));
    }
    bench.clock.advance(seconds(10));
    let held: Vec<_> = (0..20).map(|n| bench.load_held(&n.to_string(), options())).collect();
    held[0].runs.recv_timeout(seconds(30)).unwrap();
    let db = bench.db.clone();
    let (says, closed) = channel();
    let closing = std::thread::spawn(move || says.send(db.close()));
    // Each loader holds a share of the count.
    until("those that wait are dropped", || Arc::strong_count(&bench.calls) <= 5);
    assert!(closed.try_recv().is_err(), "close waits for those that run");
    held.iter().for_each(|held| drop(held.tells.send(None)));
    closed.recv_timeout(seconds(30)).expect("it is closed").unwrap();
    closing.join().unwrap().unwrap();
    assert!((21..=24).contains(&bench.calls()), "{} loaders ran", bench.calls());
    assert!(matches!(
        bench.db.get_or_load_with(b"0", options(), || Ok::<_, String>(None)),
        Err(Error::Closed)
    ));
}

#[test]
fn the_last_handle_that_goes_waits_for_the_loader_that_runs_and_leaves_a_store_that_can_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let clock = Arc::new(ManualClock::new(START_MS));
    let bench = Bench { db: Options::new().clock(clock.clone()).open(&path).unwrap(), clock, ..bench() };
    for n in 0..20 {
        bench.load(&n.to_string(), options(), Ok(Some("1")));
    }
    bench.clock.advance(seconds(10));
    let held: Vec<_> = (0..20).map(|n| bench.load_held(&n.to_string(), options())).collect();
    held[0].runs.recv_timeout(seconds(30)).unwrap();
    let Bench { db, calls, clock, .. } = bench;
    let dropping = std::thread::spawn(move || {
        drop(db);
        Options::new().clock(clock).open(&path).map(|db| db.len())
    });
    until("those that wait are dropped", || Arc::strong_count(&calls) <= 5);
    held.iter().for_each(|held| drop(held.tells.send(Some(b"2".to_vec()))));
    assert_eq!(dropping.join().unwrap().unwrap(), 20);
}

#[test]
fn a_loader_may_close_its_store_or_hold_it_last() {
    let bench = bench();
    bench.load("k", options(), Ok(Some("1")));
    bench.clock.advance(seconds(10));
    let (says, closed) = channel();
    let db = bench.db.clone();
    let loader = move || {
        let closes = db.close();
        drop(db);
        says.send(closes.is_ok()).map_err(|error| error.to_string())?;
        Ok::<_, String>(None)
    };
    bench.db.get_or_load_with(b"k", options(), loader).unwrap();
    drop(bench);
    assert!(closed.recv_timeout(seconds(30)).unwrap());
}
