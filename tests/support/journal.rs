//! What threads ask of a store and are told, noted before each call and after it. In a file it outlives the process that
//! calls: a call without an answer is one that was cut off, and may have taken place or not, until the store was opened
//! again.

use super::register::{Ask, Did, Op};
use super::wgl::{Call, CALLS_MAX};
use super::words::Words;
use std::path::Path;
use std::sync::atomic::Ordering;

pub const THREADS_MAX: usize = 8;
pub const KEYS_MAX: usize = 8;
/// One more for the reads at the end.
const READER: usize = THREADS_MAX;
/// Calls that one of the least number of threads may make.
const CALLS_A_THREAD: usize = CALLS_MAX * KEYS_MAX / 4;

const MOMENTS_AT: usize = 0;
const CALLS_AT: usize = 1;
/// Words of a call, which is there once its begin is.
const BEGIN_AT: usize = 0;
const KEY_AT: usize = 1;
const ASK_AT: usize = 2;
const CLOCK_BEGIN_AT: usize = 5;
/// Words of its answer, which is there once its end is.
const END_AT: usize = 6;
const ANSWER_AT: usize = 7;
const CLOCK_END_AT: usize = 11;
const CALL_WORDS: usize = 12;
pub const WORDS: usize = CALLS_AT + (THREADS_MAX + 1) * CALLS_A_THREAD * CALL_WORDS;

/// The first of an answer's words.
const CUT_OFF: u64 = 0;
const NOTHING: u64 = 1;
const SOMETHING: u64 = 2;

/// What a call returned, as up to three numbers.
pub type Answer = Option<[u64; 3]>;

pub struct Journal(Words);

impl Journal {
    pub fn in_memory() -> Journal {
        Journal(Words::in_memory(WORDS))
    }

    pub fn in_file(path: &Path) -> Journal {
        Journal(Words::in_file(path))
    }

    /// The next moment; all differ, and their order is the order of time.
    fn moment(&self) -> u64 {
        // SeqCst, as all here: the order of all moments is the order of time.
        self.0.at(MOMENTS_AT).fetch_add(1, Ordering::SeqCst) + 1
    }

    fn get(&self, thread: usize, call: usize, at: usize) -> u64 {
        self.0.at(place(thread, call) + at).load(Ordering::SeqCst)
    }

    fn put(&self, thread: usize, call: usize, at: usize, value: u64) {
        self.0.at(place(thread, call) + at).store(value, Ordering::SeqCst);
    }

    /// Calls that a thread has begun.
    pub fn begun(&self, thread: usize) -> usize {
        (0..CALLS_A_THREAD).find(|n| self.get(thread, *n, BEGIN_AT) == 0).unwrap_or(CALLS_A_THREAD)
    }

    /// Calls on each key that a thread has begun.
    pub fn begun_by_key(&self, thread: usize) -> [usize; KEYS_MAX] {
        let mut by_key = [0; KEYS_MAX];
        (0..self.begun(thread)).for_each(|n| by_key[self.get(thread, n, KEY_AT) as usize] += 1);
        by_key
    }

    /// Notes what a thread is about to ask.
    pub fn begin(&self, thread: usize, key: usize, ask: Ask, clock_ms: u64) {
        let call = self.begun(thread);
        self.put(thread, call, KEY_AT, key as u64);
        ask.words().into_iter().enumerate().for_each(|(n, word)| self.put(thread, call, ASK_AT + n, word));
        self.put(thread, call, CLOCK_BEGIN_AT, clock_ms);
        self.put(thread, call, BEGIN_AT, self.moment());
    }

    /// Notes what it was told.
    pub fn end(&self, thread: usize, answer: Answer, clock_ms: u64) {
        let call = self.begun(thread) - 1;
        self.put(thread, call, ANSWER_AT, if answer.is_some() { SOMETHING } else { NOTHING });
        let words = answer.unwrap_or_default();
        words.into_iter().enumerate().for_each(|(n, word)| self.put(thread, call, ANSWER_AT + 1 + n, word));
        self.put(thread, call, CLOCK_END_AT, clock_ms);
        self.put(thread, call, END_AT, self.moment());
    }

    /// The process that called is gone: what it had begun ends here, without an answer. Returns how many calls.
    pub fn cut_off(&self, clock_ms: u64) -> usize {
        let mut cut_off = 0;
        for thread in 0..=READER {
            let last = self.begun(thread).checked_sub(1);
            if let Some(call) = last.filter(|call| self.get(thread, *call, END_AT) == 0) {
                self.put(thread, call, ANSWER_AT, CUT_OFF);
                self.put(thread, call, CLOCK_END_AT, clock_ms);
                self.put(thread, call, END_AT, self.moment());
                cut_off += 1;
            }
        }
        cut_off
    }

    /// Notes a read by the one thread that is left.
    pub fn read(&self, key: usize, clock: impl Fn() -> u64, get: impl FnOnce() -> Answer) {
        self.begin(READER, key, Ask::Get, clock());
        let answer = get();
        self.end(READER, answer, clock());
    }

    /// The calls on each key, all ended.
    pub fn calls(&self) -> Vec<Vec<Call<Op>>> {
        let mut calls = vec![Vec::new(); KEYS_MAX];
        for (thread, call) in (0..=READER).flat_map(|t| (0..self.begun(t)).map(move |call| (t, call))) {
            let get = |at| self.get(thread, call, at);
            let ask = Ask::of([get(ASK_AT), get(ASK_AT + 1), get(ASK_AT + 2)]);
            let told = [get(ANSWER_AT + 1), get(ANSWER_AT + 2), get(ANSWER_AT + 3)];
            let did = match get(ANSWER_AT) {
                CUT_OFF => Did::CutOff(ask),
                answer => ask.answered((answer == SOMETHING).then_some(told)),
            };
            let op = Op { did, clock_begin_ms: get(CLOCK_BEGIN_AT), clock_end_ms: get(CLOCK_END_AT) };
            assert!(get(END_AT) > get(BEGIN_AT), "a call that has not ended");
            calls[get(KEY_AT) as usize].push(Call { begin: get(BEGIN_AT), end: get(END_AT), op });
        }
        calls
    }
}

fn place(thread: usize, call: usize) -> usize {
    assert!(thread <= READER && call < CALLS_A_THREAD, "call {call} of thread {thread}");
    CALLS_AT + (thread * CALLS_A_THREAD + call) * CALL_WORDS
}
