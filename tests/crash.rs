//! P2: a process that dies at any moment loses nothing that it acknowledged, in any sync mode, and brings nothing back.
//!
//! This binary starts itself as a child whose threads write, notes in shared memory what each call was about to do and
//! that it returned, kills the child with SIGKILL at a random moment, and opens the store, which is never cleaned, to
//! compare. Replay the choices with `KV_CRASH_SEED`; `KV_CRASH_KILLS` sets how many.

mod common;

use common::{count, seed, value, Rng};
use kv::{Batch, Db, Expiry, Options, SetOptions, Sync};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const THREADS: usize = 4;
const KEYS: usize = 48;
/// One more slot for the thread's counter, and one for its share of the counter that all increment.
const SLOTS: usize = KEYS + 2;
const OWN_COUNTER: usize = KEYS;
const SHARED_COUNTER: usize = KEYS + 1;
const BATCH_KEYS_MAX: usize = 6;

/// What a key holds, in one word: kind, deadline in milliseconds after `Board::epoch_ms`, number of the write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Held(u64);

const PUT: u64 = 1;
const DELETED: u64 = 2;
const EXPIRING: u64 = 3;

impl Held {
    fn new(kind: u64, deadline_ms: u64, sequence: u64) -> Held {
        assert!(deadline_ms < 1 << 30 && sequence < 1 << 30);
        Held(kind << 60 | deadline_ms << 30 | sequence)
    }

    fn kind(self) -> u64 {
        self.0 >> 60
    }

    fn deadline_ms(self) -> u64 {
        self.0 >> 30 & ((1 << 30) - 1)
    }

    fn sequence(self) -> u64 {
        self.0 & ((1 << 30) - 1)
    }
}

/// How far a thread's call has come.
const IDLE: u64 = 0;
const PREPARING: u64 = 1;
const CALLING: u64 = 2;
const RETURNED: u64 = 3;

/// Words of a thread: held by each slot as acknowledged, as intended, phase, number of the last write, slots in flight.
const INTENT_AT: usize = SLOTS;
const PHASE_AT: usize = 2 * SLOTS;
const SEQUENCE_AT: usize = PHASE_AT + 1;
const IN_FLIGHT_AT: usize = PHASE_AT + 2;
const THREAD_WORDS: usize = IN_FLIGHT_AT + 1 + BATCH_KEYS_MAX;
const READY_AT: usize = THREADS * THREAD_WORDS;
const EPOCH_AT: usize = READY_AT + 1;
const WORDS: usize = EPOCH_AT + 1;

/// Memory that outlives the child.
struct Board {
    map: memmap2::MmapRaw,
}

impl Board {
    fn open(path: &Path) -> Board {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        Board { map: memmap2::MmapOptions::new().len(WORDS * 8).map_raw(&file).unwrap() }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < WORDS);
        // SAFETY: in bounds by the check, aligned since a map begins on a page, and only ever used as atomics.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(at)) }
    }

    fn of(&self, thread: usize, at: usize) -> &AtomicU64 {
        self.word(thread * THREAD_WORDS + at)
    }

    fn epoch_ms(&self) -> u64 {
        self.word(EPOCH_AT).load(Ordering::SeqCst)
    }

    fn acked(&self, thread: usize, slot: usize) -> Held {
        Held(self.of(thread, slot).load(Ordering::SeqCst))
    }

    fn intent(&self, thread: usize, slot: usize) -> Held {
        Held(self.of(thread, INTENT_AT + slot).load(Ordering::SeqCst))
    }

    fn in_flight(&self, thread: usize) -> Vec<usize> {
        let len = self.of(thread, IN_FLIGHT_AT).load(Ordering::SeqCst) as usize;
        (1..=len).map(|n| self.of(thread, IN_FLIGHT_AT + n).load(Ordering::SeqCst) as usize).collect()
    }

    /// Notes what a call is about to do, runs it, and notes that it returned.
    fn run(&self, thread: usize, changes: &[(usize, Held)], call: impl FnOnce()) {
        let phase = self.of(thread, PHASE_AT);
        phase.store(PREPARING, Ordering::SeqCst);
        self.of(thread, IN_FLIGHT_AT).store(changes.len() as u64, Ordering::SeqCst);
        for (n, (slot, held)) in changes.iter().enumerate() {
            self.of(thread, IN_FLIGHT_AT + 1 + n).store(*slot as u64, Ordering::SeqCst);
            self.of(thread, INTENT_AT + slot).store(held.0, Ordering::SeqCst);
        }
        phase.store(CALLING, Ordering::SeqCst);
        call();
        phase.store(RETURNED, Ordering::SeqCst);
        for (slot, held) in changes {
            self.of(thread, *slot).store(held.0, Ordering::SeqCst);
        }
        phase.store(IDLE, Ordering::SeqCst);
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn key_of(thread: usize, slot: usize) -> String {
    match slot {
        SHARED_COUNTER => "shared".into(),
        OWN_COUNTER => format!("t{thread}-counter"),
        _ => format!("t{thread}-k{slot}"),
    }
}

fn value_of(key: &str, sequence: u64) -> Vec<u8> {
    let filler_bytes = match Rng::new(sequence ^ 77).below(400) {
        // Larger than a segment.
        0 => 90_000,
        n if n < 40 => 3000 + n as usize,
        n => n as usize,
    };
    value(key, sequence, filler_bytes)
}

fn options(sync: &str, segment_bytes: u64) -> Options {
    let sync = match sync {
        "always" => Sync::Always,
        "every" => Sync::Every(Duration::from_millis(5)),
        _ => Sync::Never,
    };
    Options::new().sync(sync).segment_bytes(segment_bytes)
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("the parent sets {name}"))
}

/// Writes until it is killed.
fn child(dir: &str) {
    // SAFETY: a plain system call; an orphan would write for ever.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let board = Board::open(Path::new(&env("KV_CRASH_BOARD")));
    let seed: u64 = env("KV_CRASH_CHILD_SEED").parse().unwrap();
    let segment_bytes = env("KV_CRASH_SEGMENT_BYTES").parse().unwrap();
    let db = options(&env("KV_CRASH_SYNC"), segment_bytes).open(dir).unwrap();
    board.word(READY_AT).store(1, Ordering::SeqCst);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (db, board) = (&db, &board);
            scope.spawn(move || {
                let mut rng = Rng::new(seed ^ (thread as u64 + 1) << 40);
                loop {
                    one_call(db, board, thread, &mut rng);
                }
            });
        }
    });
}

fn one_call(db: &Db, board: &Board, thread: usize, rng: &mut Rng) {
    let sequence = board.of(thread, SEQUENCE_AT).fetch_add(1, Ordering::SeqCst) + 1;
    let slot = rng.below(KEYS as u64) as usize;
    let key = key_of(thread, slot);
    let put = Held::new(PUT, 0, sequence);
    match rng.below(20) {
        0..9 => board.run(thread, &[(slot, put)], || {
            db.set(key.as_bytes(), &value_of(&key, sequence)).unwrap();
        }),
        9..12 => board.run(thread, &[(slot, Held::new(DELETED, 0, sequence))], || {
            db.delete(key.as_bytes()).unwrap();
        }),
        12..15 => {
            let ttl_ms = if rng.one_in(4) { 3_600_000 } else { 1 + rng.below(300) };
            let deadline_ms = unix_ms() + ttl_ms;
            let held = Held::new(EXPIRING, deadline_ms - board.epoch_ms(), sequence);
            let at = UNIX_EPOCH + Duration::from_millis(deadline_ms);
            board.run(thread, &[(slot, held)], || {
                let options = SetOptions::new().expiry(Expiry::At(at));
                db.set_with(key.as_bytes(), &value_of(&key, sequence), options).unwrap();
            });
        }
        15..17 => {
            let counter = if rng.one_in(2) { OWN_COUNTER } else { SHARED_COUNTER };
            let next = Held::new(PUT, 0, board.acked(thread, counter).sequence() + 1);
            board.run(thread, &[(counter, next)], || {
                let sum = db.increment(key_of(thread, counter).as_bytes(), 1).unwrap();
                assert!(counter == SHARED_COUNTER || sum as u64 == next.sequence(), "{sum}, not {next:?}");
            });
        }
        _ => {
            let mut slots: Vec<usize> = (0..KEYS).collect();
            let len = 2 + rng.below(BATCH_KEYS_MAX as u64 - 1) as usize;
            (0..len).for_each(|n| slots.swap(n, n + rng.below((KEYS - n) as u64) as usize));
            let mut batch = Batch::new();
            let mut changes = Vec::new();
            for slot in slots.into_iter().take(len) {
                let key = key_of(thread, slot);
                if rng.one_in(4) {
                    batch.delete(key);
                    changes.push((slot, Held::new(DELETED, 0, sequence)));
                } else {
                    batch.set(key.as_bytes(), value_of(&key, sequence));
                    changes.push((slot, put));
                }
            }
            board.run(thread, &changes, || db.apply(&batch).unwrap());
        }
    }
}

/// Whether what a key has is what `held` says, given the times before and after it was read.
fn fits(
    key: &str,
    slot: usize,
    held: Held,
    found: Option<&[u8]>,
    epoch_ms: u64,
    read_ms: (u64, u64),
) -> bool {
    let expected = || match slot {
        OWN_COUNTER => held.sequence().to_string().into_bytes(),
        _ => value_of(key, held.sequence()),
    };
    let deadline_ms = epoch_ms + held.deadline_ms();
    match (held.kind(), found) {
        (PUT, Some(found)) => found == expected(),
        (EXPIRING, Some(found)) => read_ms.0 < deadline_ms && found == expected(),
        (EXPIRING, None) => read_ms.1 >= deadline_ms,
        (PUT, None) => false,
        (_, found) => found.is_none(),
    }
}

#[derive(Default)]
struct Tally {
    calls: u64,
    in_flight: u64,
    took_effect: u64,
    in_recovery: u64,
}

/// Compares the store with the board, and makes what is there the new starting point.
fn verify(db: &Db, board: &Board, tally: &mut Tally) {
    let epoch_ms = board.epoch_ms();
    for thread in 0..THREADS {
        let phase = board.of(thread, PHASE_AT).load(Ordering::SeqCst);
        let in_flight = if phase == IDLE { Vec::new() } else { board.in_flight(thread) };
        let read: Vec<_> = (0..=OWN_COUNTER)
            .map(|slot| {
                let before_ms = unix_ms();
                let found = db.get(key_of(thread, slot).as_bytes()).unwrap();
                (found, (before_ms, unix_ms()))
            })
            .collect();
        let fits = |slot: usize, held: Held| {
            slot == SHARED_COUNTER
                || fits(&key_of(thread, slot), slot, held, read[slot].0.as_deref(), epoch_ms, read[slot].1)
        };
        let tell = |slot: usize| {
            let found =
                read[slot].0.as_deref().map(|v| String::from_utf8_lossy(&v[..v.len().min(30)]).into_owned());
            let (acked, intent) = (board.acked(thread, slot), board.intent(thread, slot));
            let decode = |h: Held| (h.kind(), h.deadline_ms(), h.sequence());
            format!(
                "{}: found {found:?}, acknowledged {:?}, intended {:?} (kind, deadline, number), phase {phase}, in flight {in_flight:?}, read at {:?}",
                key_of(thread, slot), decode(acked), decode(intent), read[slot].1
            )
        };
        for slot in (0..=OWN_COUNTER).filter(|slot| !in_flight.contains(slot)) {
            assert!(fits(slot, board.acked(thread, slot)), "{}", tell(slot));
        }
        let is_old = in_flight.iter().all(|slot| fits(*slot, board.acked(thread, *slot)));
        let is_new = in_flight.iter().all(|slot| fits(*slot, board.intent(thread, *slot)));
        let told = || {
            in_flight
                .iter()
                .filter(|s| **s != SHARED_COUNTER)
                .map(|s| tell(*s))
                .collect::<Vec<_>>()
                .join("\n")
        };
        match phase {
            PREPARING => assert!(is_old, "not begun, and something changed: {}", told()),
            CALLING => assert!(is_old || is_new, "neither as before nor as after the call: {}", told()),
            RETURNED => assert!(is_new, "acknowledged and not there: {}", told()),
            _ => {}
        }
        tally.in_flight += u64::from(phase == CALLING);
        tally.took_effect += u64::from(phase == CALLING && !is_old);
        tally.calls = tally.calls.max(board.of(thread, SEQUENCE_AT).load(Ordering::SeqCst));
        // The shared counter is settled below.
        if phase == RETURNED || (phase == CALLING && is_new) {
            for slot in in_flight.iter().filter(|slot| **slot != SHARED_COUNTER) {
                board.of(thread, *slot).store(board.intent(thread, *slot).0, Ordering::SeqCst);
            }
        }
    }
    verify_shared(db, board);
    for entry in db.scan(Default::default()).unwrap() {
        let key = entry.unwrap().key;
        let is_known = (0..THREADS).any(|t| (0..SLOTS).any(|slot| key_of(t, slot).as_bytes() == &key[..]));
        assert!(is_known, "nobody wrote {:?}", String::from_utf8_lossy(&key));
    }
}

/// No increment that was acknowledged is missing, and none is counted twice.
fn verify_shared(db: &Db, board: &Board) {
    let found = db.get(b"shared").unwrap();
    let found: u64 = found.map_or(0, |text| String::from_utf8(text).unwrap().parse().unwrap());
    let (mut low, mut high) = (0, 0);
    for thread in 0..THREADS {
        let phase = board.of(thread, PHASE_AT).load(Ordering::SeqCst);
        let is_in_flight = phase != IDLE && board.in_flight(thread).contains(&SHARED_COUNTER);
        let acked = board.acked(thread, SHARED_COUNTER).sequence();
        low += acked
            + u64::from(
                is_in_flight && phase == RETURNED && acked != board.intent(thread, SHARED_COUNTER).sequence(),
            );
        high += acked
            + u64::from(
                is_in_flight
                    && phase != PREPARING
                    && acked != board.intent(thread, SHARED_COUNTER).sequence(),
            );
        board.of(thread, PHASE_AT).store(IDLE, Ordering::SeqCst);
    }
    assert!((low..=high).contains(&found), "{found} increments, {low} acknowledged, {high} begun");
    for thread in 0..THREADS {
        let share = if thread == 0 { found } else { 0 };
        board.of(thread, SHARED_COUNTER).store(Held::new(PUT, 0, share).0, Ordering::SeqCst);
    }
}

fn spawn(dir: &Path, board: &Path, sync: &str, segment_bytes: u64, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env("KV_CRASH_CHILD", dir)
        .env("KV_CRASH_BOARD", board)
        .env("KV_CRASH_SYNC", sync)
        .env("KV_CRASH_SEGMENT_BYTES", segment_bytes.to_string())
        .env("KV_CRASH_CHILD_SEED", seed.to_string())
        .spawn()
        .unwrap()
}

/// Lets a child live for a random while and kills it.
fn live_and_die(mut child: Child, board: &Board, rng: &mut Rng, tally: &mut Tally) {
    use std::os::unix::process::ExitStatusExt;
    let dies_young = rng.one_in(5);
    if !dies_young {
        let deadline = Instant::now() + Duration::from_secs(60);
        while board.word(READY_AT).load(Ordering::SeqCst) == 0 {
            assert!(child.try_wait().unwrap().is_none(), "the child could not open the store");
            assert!(Instant::now() < deadline, "the child does not open the store");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let life_us = if dies_young { 2000 + rng.below(8000) } else { rng.below(150_000) };
    std::thread::sleep(Duration::from_micros(life_us));
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL), "the child ended by itself");
    tally.in_recovery += u64::from(board.word(READY_AT).swap(0, Ordering::SeqCst) == 0);
}

fn nothing_acknowledged_is_lost_and_nothing_comes_back_over_many_kills() {
    let mut rng = Rng::new(seed("KV_CRASH_SEED"));
    let kills = count("KV_CRASH_KILLS", 120);
    let temporary = tempfile::tempdir().unwrap();
    let (dir, board_path) = (temporary.path().join("store"), temporary.path().join("board"));
    std::fs::write(&board_path, vec![0; WORDS * 8]).unwrap();
    let board = Board::open(&board_path);
    board.word(EPOCH_AT).store(unix_ms(), Ordering::SeqCst);
    let mut tally = Tally::default();
    let began = Instant::now();
    for kill in 0..kills {
        let sync = ["always", "every", "never"][rng.below(3) as usize];
        let segment_bytes = (64 << 10) << rng.below(3);
        let child = spawn(&dir, &board_path, sync, segment_bytes, rng.next());
        live_and_die(child, &board, &mut rng, &mut tally);
        let db = options(sync, segment_bytes).open(&dir);
        let db = db.unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        verify(&db, &board, &mut tally);
        match rng.below(4) {
            0 => db.close().unwrap(),
            1 => {
                db.compact().unwrap();
                verify(&db, &board, &mut Tally::default());
            }
            _ => db.abandon(),
        }
    }
    println!(
        "{kills} kills in {:.1} s: {} of them before the store was open; {} calls of the busiest thread; {} calls were \
         cut off, {} of which had taken effect",
        began.elapsed().as_secs_f32(),
        tally.in_recovery,
        tally.calls,
        tally.in_flight,
        tally.took_effect
    );
    assert!(tally.calls > kills * 10, "the children did next to nothing");
}

fn main() {
    if let Ok(dir) = std::env::var("KV_CRASH_CHILD") {
        return child(&dir);
    }
    nothing_acknowledged_is_lost_and_nothing_comes_back_over_many_kills();
    println!("test nothing_acknowledged_is_lost_and_nothing_comes_back_over_many_kills ... ok");
}
