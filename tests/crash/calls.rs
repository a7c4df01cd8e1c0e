//! What each of the child's threads does, on keys of its own and on one counter of all, and the comparison of a store
//! with the board.

use super::board::*;
use super::common::{value, Rng};
use kv::{Batch, CreateOptions, Db, Error, Expiry, KeyOptions, Metadata, SetOptions, Wait};
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

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
    if filler_bytes < 400 && sequence % 2 == 0 {
        return text_of(key, sequence);
    }
    value(key, sequence, filler_bytes)
}

/// One that a dictionary makes much smaller.
pub fn text_of(key: &str, sequence: u64) -> Vec<u8> {
    let section = ["admin", "libs", "net", "utils"][sequence as usize / 2 % 4];
    format!(
        "{{\"key\":\"{key}\",\"sequence\":{sequence},\"architecture\":\"amd64\",\"section\":\"{section}\",\
         \"maintainer\":\"Somebody <somebody@example.org>\",\"priority\":\"optional\"}}"
    )
    .into()
}

/// What a session writes beside a value.
fn metadata_of(sequence: u64) -> Metadata {
    Metadata::from([("sequence".into(), sequence.to_le_bytes().to_vec())])
}

pub fn one_call(db: &Db, board: &Board, thread: usize, rng: &mut Rng) {
    let sequence = board.of(thread, SEQUENCE_AT).fetch_add(1, Ordering::SeqCst) + 1;
    let slot = rng.below(KEYS as u64) as usize;
    let key = key_of(thread, slot);
    let put = Held::new(PUT, 0, sequence);
    let is_cache = board.entries_max().is_some();
    match rng.below(24) {
        0..2 | 15..17 if is_cache => look(db, board, thread, slot),
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
        17..20 => {
            // Killed before the commit, nothing has happened.
            let options = CreateOptions::new().allow_existing(true);
            let mut session = db.create_and_lock(key.as_bytes(), Wait::No, options).unwrap().unwrap();
            board.run(thread, &[(slot, put)], || loop {
                *session.value_mut() = value_of(&key, sequence);
                *session.metadata_mut() = metadata_of(sequence);
                session.set_expiry(Expiry::Never);
                match session.commit_and_keep() {
                    Ok(_) => return drop(session),
                    // Nobody else writes to this key, but what stood there may have expired.
                    Err(Error::Conflict) => session.reload().unwrap(),
                    Err(error) => panic!("{error}"),
                }
            });
        }
        20 => {
            // Every number that is in the word was given before this one is asked for, perhaps to a process that died.
            let floor = board.word(GENERATED_AT).load(Ordering::SeqCst);
            let key = db.generate_key(&KeyOptions::new()).unwrap();
            let number = String::from_utf8(key).unwrap().parse::<u64>().unwrap();
            assert!(number > floor, "{number} was generated after {floor}");
            board.word(GENERATED_AT).fetch_max(number, Ordering::SeqCst);
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

/// Reads a key of a cache, to which nobody else writes: what is found gone stays gone.
fn look(db: &Db, board: &Board, thread: usize, slot: usize) {
    let (key, held, before_ms) = (key_of(thread, slot), board.acked(thread, slot), unix_ms());
    let found = db.get(key.as_bytes()).unwrap();
    let is_right = fits(&key, slot, held, found.as_deref(), true, board.epoch_ms(), (before_ms, unix_ms()));
    assert!(is_right, "{key}: found {:?}, last given {held:?}", found.map(|value| value.len()));
    if found.is_none() {
        board.of(thread, slot).store(Held::new(DELETED, 0, held.sequence()).0, Ordering::SeqCst);
    }
}

/// Whether what a key has is what `held` says, given the times before and after it was read.
fn fits(
    key: &str,
    slot: usize,
    held: Held,
    found: Option<&[u8]>,
    is_cache: bool,
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
        (PUT | EXPIRING, None) if is_cache => true,
        (EXPIRING, None) => read_ms.1 >= deadline_ms,
        (PUT, None) => false,
        (_, found) => found.is_none(),
    }
}

#[derive(Default)]
pub struct Tally {
    pub calls: u64,
    pub in_flight: u64,
    pub took_effect: u64,
    pub in_recovery: u64,
    /// Entries that a cache had let go before the process died.
    pub evicted: u64,
}

/// Compares the store with the board, and makes what is there the new starting point.
pub fn verify(db: &Db, board: &Board, tally: &mut Tally) {
    let (epoch_ms, is_cache) = (board.epoch_ms(), board.entries_max().is_some());
    for thread in 0..THREADS {
        let phase = board.of(thread, PHASE_AT).load(Ordering::SeqCst);
        let in_flight = if phase == IDLE { Vec::new() } else { board.in_flight(thread) };
        let read: Vec<_> = (0..=OWN_COUNTER)
            .map(|slot| {
                let before_ms = unix_ms();
                let key = key_of(thread, slot);
                let found = db.get_with_metadata(key.as_bytes()).unwrap();
                let found = found.map(|(value, metadata)| {
                    if let Some(sequence) = metadata.get("sequence") {
                        let sequence = u64::from_le_bytes(sequence[..].try_into().unwrap());
                        assert!(
                            value == value_of(&key, sequence),
                            "{key}: value and metadata of two commits"
                        );
                    }
                    value
                });
                (found, (before_ms, unix_ms()))
            })
            .collect();
        let fits = |slot: usize, held: Held| {
            slot == SHARED_COUNTER
                || fits(
                    &key_of(thread, slot),
                    slot,
                    held,
                    read[slot].0.as_deref(),
                    is_cache,
                    epoch_ms,
                    read[slot].1,
                )
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
        for slot in (0..=OWN_COUNTER).filter(|slot| is_cache && read[*slot].0.is_none()) {
            let held = board.acked(thread, slot);
            tally.evicted += u64::from(held.kind() == PUT);
            board.of(thread, slot).store(Held::new(DELETED, 0, held.sequence()).0, Ordering::SeqCst);
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
