//! One peer in a process of its own: so that its memory is its own, and so that its threads can be stopped while others are
//! measured. The parent's end is `rounds.rs`; they talk in lines of JSON.

use crate::engine::{Engine, Level, Op, Peer, Session};
use crate::keys::{key, order, Key, Spread, Values};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// What a child is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub peer: String,
    pub level: Level,
    pub dir: PathBuf,
    pub keys: u64,
    pub value_bytes: usize,
    /// Of every entry.
    pub ttl_ms: Option<u64>,
}

/// Reads under one guard or transaction before it is taken anew.
pub const GETS_A_PIN: usize = 64;
/// Keys in one call.
pub const KEYS_A_CALL: usize = 16;
/// Operations between two looks at the clock.
const CHUNK: usize = 16;
/// Entries in one batch of a load.
const LOAD_ENTRIES: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    Get,
    Miss,
    GetPinned,
    GetMany,
    /// Percent of gets; the others overwrite.
    Mixed(u64),
    Overwrite,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Task {
    pub work: Work,
    pub spread: Spread,
    pub threads: usize,
    pub run_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// All keys, by the quickest way; answered with the seconds.
    Load,
    /// All keys, one call each; answered with the keys a second.
    SetAll,
    /// Answered with the operations a second.
    Run(Task),
    /// Waits until the process has nothing more to do.
    Settle,
    /// New keys for so long; answered with the sets a second, and the resident bytes halfway and at the highest after that.
    Churn { run_ms: u64 },
    /// How many keys are there.
    Count,
    /// Resident bytes, and those of them that no file backs.
    Memory,
}

pub type Answer = Vec<f64>;

pub struct Child {
    pub setup: Setup,
}

impl Child {
    /// Opens the engine, answers with the seconds that took, then does as the parent asks.
    pub fn serve<E: Engine>(self, open: impl FnOnce(&Setup) -> E) {
        let before = memory(std::process::id());
        let began = Instant::now();
        let engine = open(&self.setup);
        answer(vec![began.elapsed().as_secs_f64()]);
        let child = Server { peer: crate::peers::named(&self.setup.peer), engine, setup: self.setup, before };
        for line in std::io::stdin().lines() {
            let request = serde_json::from_str(&line.expect("a line")).expect("a request");
            answer(child.serve(request));
        }
        // What a peer does when it is dropped is nobody's figure.
        std::process::exit(0);
    }
}

fn answer(answer: Answer) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&answer).expect("figures")).expect("a parent");
    out.flush().expect("a parent");
}

/// So that nothing is left behind, whatever ends the run.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec, only a system call.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}

/// A cheap generator, the same for all.
struct Lcg(u64);

impl Lcg {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

struct Server<E> {
    peer: &'static Peer,
    engine: E,
    setup: Setup,
    /// Before the engine was opened.
    before: [f64; 2],
}

impl<E: Engine> Server<E> {
    fn serve(&self, request: Request) -> Answer {
        match request {
            Request::Load => vec![self.load()],
            Request::SetAll => vec![self.set_all()],
            Request::Run(task) => vec![self.run(task)],
            Request::Settle => self.settle(),
            Request::Churn { run_ms } => self.churn(Duration::from_millis(run_ms)),
            Request::Count => vec![self.count()],
            Request::Memory => self.memory(),
        }
    }

    fn load(&self) -> f64 {
        let values = Values::new(self.setup.value_bytes);
        let mut session = self.engine.session();
        let began = Instant::now();
        for first in (0..self.setup.keys).step_by(LOAD_ENTRIES) {
            let last = (first + LOAD_ENTRIES as u64).min(self.setup.keys);
            let entries: Vec<(Key, &[u8])> = (first..last).map(|n| (key(n), values.nth(n))).collect();
            session.load(&entries);
        }
        let took = began.elapsed().as_secs_f64();
        // Equal bytes in and out.
        let mut value = vec![0; values.bytes];
        for n in (0..self.setup.keys).step_by(997) {
            assert!(
                session.get(&key(n), &mut value) && value == values.nth(n),
                "{}: key {n}",
                self.setup.peer
            );
        }
        took
    }

    fn set_all(&self) -> f64 {
        let values = Values::new(self.setup.value_bytes);
        let mut session = self.engine.session();
        let began = Instant::now();
        (0..self.setup.keys).for_each(|n| session.set(&key(n), values.nth(n)));
        self.setup.keys as f64 / began.elapsed().as_secs_f64()
    }

    fn count(&self) -> f64 {
        let mut session = self.engine.session();
        let mut value = vec![0; self.setup.value_bytes];
        let gets = |first: u64| -> Vec<Op> {
            (first..(first + LOAD_ENTRIES as u64).min(self.setup.keys)).map(|n| Op::Get(key(n))).collect()
        };
        (0..self.setup.keys)
            .step_by(LOAD_ENTRIES)
            .map(|first| session.run(&gets(first), &mut value) as f64)
            .sum()
    }

    /// The sum of what each thread did in its time.
    fn run(&self, task: Task) -> f64 {
        let barrier = Barrier::new(task.threads);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..task.threads)
                .map(|thread| {
                    let barrier = &barrier;
                    scope.spawn(move || self.run_thread(task, thread, barrier))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
        })
    }

    fn run_thread(&self, task: Task, thread: usize, barrier: &Barrier) -> f64 {
        let order = order(task.spread, self.setup.keys, thread);
        let values = Values::new(self.setup.value_bytes);
        let mut to = vec![0; self.setup.value_bytes];
        let mut session = self.engine.session();
        // A sync takes longer than sixteen operations take elsewhere.
        let chunk = if self.setup.level == Level::PowerLoss { self.peer.pipeline } else { CHUNK };
        let mut keys = order.iter().cycle().map(|n| u64::from(*n));
        let mut next = || keys.next().expect("a cycle");
        let (gets_of_100, beyond) = match task.work {
            Work::Mixed(gets_of_100) => (gets_of_100, 0),
            Work::Overwrite => (0, 0),
            Work::Miss => (100, self.setup.keys),
            Work::Get | Work::GetPinned | Work::GetMany => (100, 0),
        };
        let mut mix = Lcg(thread as u64 + 1);
        let mut ops = Vec::with_capacity(chunk);
        // How many operations were done, and how many keys they had to find and found.
        let mut step = || match task.work {
            Work::GetPinned => {
                let keys: [Key; GETS_A_PIN] = std::array::from_fn(|_| key(next()));
                (GETS_A_PIN, GETS_A_PIN, session.get_pinned(&keys, &mut to))
            }
            Work::GetMany => {
                let keys: [Key; KEYS_A_CALL] = std::array::from_fn(|_| key(next()));
                (KEYS_A_CALL, KEYS_A_CALL, session.get_many(&keys, &mut to))
            }
            Work::Get | Work::Miss | Work::Mixed(_) | Work::Overwrite => {
                ops.clear();
                ops.extend((0..chunk).map(|_| {
                    let (key, drawn) = (key(next() + beyond), mix.draw());
                    if drawn % 100 < gets_of_100 {
                        Op::Get(key)
                    } else {
                        Op::Set(key, values.nth(drawn))
                    }
                }));
                let gets = ops.iter().filter(|op| matches!(op, Op::Get(_))).count();
                let hits = ops.chunks(self.peer.pipeline).map(|ops| session.run(ops, &mut to)).sum();
                (chunk, if beyond == 0 { gets } else { 0 }, hits)
            }
        };
        barrier.wait();
        let began = Instant::now();
        let run = Duration::from_millis(task.run_ms);
        let mut done = 0;
        while began.elapsed() < run {
            let (ops, expected, found) = step();
            assert_eq!(found, expected, "{}: {task:?}", self.setup.peer);
            done += ops;
        }
        done as f64 / began.elapsed().as_secs_f64()
    }

    /// Idle: the processor's time of a tenth of a second is less than a tenth of it. At most ten seconds.
    fn settle(&self) -> Answer {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            let before = busy_ms(std::process::id()) + busy_ms(self.engine.pid());
            std::thread::sleep(Duration::from_millis(100));
            if busy_ms(std::process::id()) + busy_ms(self.engine.pid()) - before < 20 {
                break;
            }
        }
        vec![began.elapsed().as_secs_f64()]
    }

    fn churn(&self, run: Duration) -> Answer {
        let (end, done) = (Instant::now() + run, AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let values = Values::new(self.setup.value_bytes);
                let mut session = self.engine.session();
                let mut n = 0;
                while Instant::now() < end {
                    let ops: [Op; CHUNK] =
                        std::array::from_fn(|at| Op::Set(key(n + at as u64), values.nth(n + at as u64)));
                    ops.chunks(self.peer.pipeline).for_each(|ops| {
                        session.run(ops, &mut []);
                    });
                    n += CHUNK as u64;
                    done.store(n, Ordering::Relaxed);
                }
            });
            // The first half fills the second of life that all later entries replace.
            std::thread::sleep(run / 2);
            let (half, began) = (done.load(Ordering::Relaxed), Instant::now());
            let resident = || self.memory()[0];
            let halfway = (0..10).map(|_| (std::thread::sleep(run / 80), resident()).1).fold(0.0, f64::max);
            let mut highest: f64 = 0.0;
            while Instant::now() < end {
                std::thread::sleep(run / 80);
                highest = highest.max(resident());
            }
            let sets = done.load(Ordering::Relaxed) - half;
            vec![sets as f64 / began.elapsed().as_secs_f64(), halfway, highest]
        })
    }

    fn memory(&self) -> Answer {
        let now = memory(self.engine.pid());
        // A server starts from nothing.
        let before = if self.engine.pid() == std::process::id() { self.before } else { [0.0; 2] };
        vec![now[0] - before[0], now[1] - before[1]]
    }
}

/// Resident bytes of a process, and those of them that no file backs.
fn memory(pid: u32) -> [f64; 2] {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    ["VmRSS:", "RssAnon:"].map(|field| {
        let line = status.lines().find(|line| line.starts_with(field)).expect("a field");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("KiB") * 1024.0
    })
}

/// Time on a processor so far.
fn busy_ms(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    // The name, which may hold anything, ends with the last parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    const TICK_MS: u64 = 10;
    (fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks")) * TICK_MS
}
