//! The store as one JSON file, for people.
//!
//! - **J1** The log is the truth of a store in a directory: the file is taken into the store only where it is new to it, and never
//!   over what the store holds, unless the user says so.
//! - **J2** The file is replaced only by another that is on disk as a whole, and only if it is what the store wrote or took: so a crash
//!   leaves the old one or the new one, and what cannot be read stays as it is.
//! - **J3** Before the file is replaced, the store notes both contents; before it is taken, that it is being taken. So the next open
//!   knows its own file from one that somebody has edited, wherever a crash came, and begins a load that was cut anew.
//! - **J4** The file is looked over to its end before anything of it is set.

mod file;

use super::read::whole_of;
use super::write::check_with_metadata;
use super::{Batch, Db};
use crate::error::{Error, Result};
use crate::options::{check_key, WhenEdited};
use crate::ordered::{KeyRange, Sorted};
use crate::record::metadata_bytes;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::tag::Tagged;
use crate::texts::{read_object, Held, ObjectWriter, Unread};
use file::{MirrorFile, Note, Print};
use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

const BATCH_ENTRIES: usize = 512;
const BATCH_BYTES: usize = 1 << 20;

/// Writes the file when something has changed.
pub(super) struct Mirror {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    store: Arc<Store>,
    /// `None` once the store has ended.
    file: Mutex<Option<Current>>,
    state: Mutex<State>,
    turned: Condvar,
    writes: AtomicU64,
    failures: AtomicU64,
}

/// The file, and what of the store is in it.
struct Current {
    file: MirrorFile,
    /// What it may be: nothing where there is none.
    known: Vec<Print>,
    /// `None`: nobody knows.
    changes: Option<Changes>,
}

/// What grows with each change of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Changes {
    tail_lsn: u64,
    expired: u64,
}

#[derive(Default)]
struct State {
    is_over: bool,
    /// Writes that were asked for, and up to which they are done.
    asked: u64,
    done: u64,
    /// Why the last write failed.
    failure: Option<Error>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mirror {
    /// Takes the file into the store where it is new, and begins to write it.
    pub(super) fn start(db: &Db) -> Result<Option<Mirror>> {
        let store = &db.shared.store;
        let Some(path) = store.options.json_mirror.as_ref().filter(|_| store.read_only.is_none()) else {
            return Ok(None);
        };
        let dir = store.log.files.directory.as_ref().map(|directory| &*directory.path);
        let file = MirrorFile::take(Arc::clone(&store.options.disk), path, dir)?;
        let (note, print) = (file.note()?, file.print()?);
        let is_known = |print: &Print| !note.loading && note.known.contains(print);
        let is_loaded = match print {
            None if !note.loading => false,
            Some(print) if is_known(&print) => false,
            Some(_) if note.loading || db.is_empty() => true,
            _ => match store.options.json_mirror_edited {
                WhenEdited::Load => print.is_some(),
                WhenEdited::Overwrite => false,
                WhenEdited::Refuse => {
                    return Err(Error::InvalidOption {
                        name: "json_mirror".into(),
                        reason: format!(
                            "{} is not what this store left there, and the store holds entries: json_mirror_edited says \
                             which of the two counts (load or overwrite)",
                            path.display()
                        ),
                    });
                }
            },
        };
        let mut changes = None;
        if let Some(print) = print.filter(|_| is_loaded) {
            check(&file, store)?;
            file.keep(&Note { loading: true, known: vec![print] })?;
            if !db.is_empty() {
                db.clear()?;
            }
            load(&file, db, print)?;
            db.sync()?;
            file.keep(&Note { loading: false, known: vec![print] })?;
            changes = Some(changes_of(store));
        }
        let shared = Arc::new(Shared {
            store: Arc::clone(store),
            file: Mutex::new(Some(Current { file, known: print.into_iter().collect(), changes })),
            state: Mutex::default(),
            turned: Condvar::new(),
            writes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        });
        let writer = Arc::clone(&shared);
        let spawned = std::thread::Builder::new().name("kv-mirror".into()).spawn(move || writer.run());
        let thread = spawned.map_err(|e| Error::io("start a thread for", path, e))?;
        Ok(Some(Mirror { shared, thread: Mutex::new(Some(thread)) }))
    }

    /// Waits until the file holds every write that was acknowledged before this call.
    pub(super) fn flush(&self) -> Result<()> {
        let mut state = lock(&self.shared.state);
        state.asked += 1;
        let mine = state.asked;
        self.shared.turned.notify_all();
        while state.done < mine {
            if state.is_over {
                return Err(Error::Closed);
            }
            state = self.shared.turned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failure.clone().map_or(Ok(()), Err)
    }

    /// From here on nothing more is written by itself.
    pub(super) fn begin_stop(&self) {
        lock(&self.shared.state).is_over = true;
        self.shared.turned.notify_all();
    }

    /// Waits for the thread. The log is closing: whoever waits for a record to be resolved gives up.
    pub(super) fn stop(&self) {
        super::join(lock(&self.thread).take());
    }

    /// Writes what has changed, in a store that has ended, and gives the file up.
    pub(super) fn end(&self, is_written: bool) {
        let mut file = lock(&self.shared.file);
        if let Some(current) = file.as_mut().filter(|_| is_written) {
            self.shared.write(current, |store, range| Ok(Snapshot::still(store, range)));
        }
        *file = None;
    }

    /// Why the last write failed.
    pub(super) fn failure(&self) -> Option<Error> {
        lock(&self.shared.state).failure.clone()
    }

    /// How often the file was written, and how often that failed.
    pub(super) fn figures(&self) -> (u64, u64) {
        // Relaxed: statistics.
        (self.shared.writes.load(Ordering::Relaxed), self.shared.failures.load(Ordering::Relaxed))
    }
}

fn changes_of(store: &Store) -> Changes {
    Changes { tail_lsn: store.log.tail_lsn(&crossbeam_epoch::pin()), expired: store.counters.expired.sum() }
}

impl Shared {
    fn run(&self) {
        let every = self.store.options.json_mirror_every;
        let mut pause = every;
        let mut state = lock(&self.state);
        loop {
            let since = Instant::now();
            while !state.is_over && state.asked == state.done {
                let left = pause.saturating_sub(since.elapsed());
                if left.is_zero() {
                    break;
                }
                state = self.turned.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.is_over {
                // Whoever waits is told so.
                self.turned.notify_all();
                return;
            }
            let asked = state.asked;
            drop(state);
            let began = Instant::now();
            if let Some(current) = lock(&self.file).as_mut() {
                self.write(current, Snapshot::take);
            }
            // Half of the time at most.
            pause = every.max(began.elapsed());
            state = lock(&self.state);
            if !state.is_over {
                state.done = asked;
            }
            self.turned.notify_all();
        }
    }

    /// Writes the file if something has changed, and keeps what came of it.
    fn write(&self, current: &mut Current, take: impl FnOnce(&Store, &KeyRange) -> Result<Snapshot>) {
        let store = &*self.store;
        // Before the snapshot: what comes meanwhile is a change since.
        let changes = changes_of(store);
        if current.changes == Some(changes) {
            return;
        }
        let written = take(store, &KeyRange::new(b"", b"", b"")).and_then(|snapshot| {
            current.file.write(&mut current.known, |to| write_entries(store, snapshot, to))
        });
        let failure = match written {
            Ok(is_new) => {
                current.changes = Some(changes);
                // Relaxed: a statistic.
                self.writes.fetch_add(u64::from(is_new), Ordering::Relaxed);
                None
            }
            // Close writes it.
            Err(Error::Closed) => return,
            Err(error) => Some(error),
        };
        let mut state = lock(&self.state);
        if let Some(error) = &failure {
            // Relaxed: a statistic.
            self.failures.fetch_add(1, Ordering::Relaxed);
            if state.failure.as_ref().map(Error::to_string) != Some(error.to_string()) {
                store.say(&format!("JSON mirror: {error}"));
            }
        }
        state.failure = failure;
    }
}

fn write_entries(store: &Store, mut snapshot: Snapshot, to: &mut dyn Write) -> Result<()> {
    let failed =
        |error| Error::io("write", store.options.json_mirror.as_deref().unwrap_or("".as_ref()), error);
    let mut spots = Sorted::new(snapshot.spots(), None);
    let mut object = ObjectWriter::new(to);
    while let Some(spot) = spots.next(|one, other| snapshot.key(*one).cmp(snapshot.key(*other))) {
        let Some(record) = snapshot.record(spot) else { continue };
        let entry = whole_of(store, spot.offset(), record)?.into_entry(record.1.key.to_vec());
        let value = Tagged { value: entry.value, codec: entry.codec };
        let held = Held { value, expires_at_ms: entry.expires_at_ms, metadata: entry.metadata };
        object.write(entry.key, held).map_err(failed)?;
    }
    object.end().map(drop).map_err(failed)
}

/// Reads the file to its end; by what it is known again.
fn read(file: &MirrorFile, take: impl FnMut(Vec<u8>, Held) -> Result<()>) -> Result<Print> {
    let Some(reader) = file.read()? else {
        let error = std::io::ErrorKind::NotFound.into();
        return Err(Error::io("open", &file.path, error));
    };
    let mut reader = BufReader::new(reader);
    match read_object(&mut reader, take) {
        Ok(()) => Ok(reader.get_ref().print()),
        Err(Unread::Refused(error)) => Err(error),
        Err(Unread::Json(error)) if error.is_io() => Err(Error::io("read", &file.path, error.into())),
        Err(Unread::Json(error)) => {
            let offset = offset_of(file, error.line(), error.column())?;
            Err(Error::corrupt(&file.path, offset, error.to_string()))
        }
    }
}

/// Where in the file a line and a column are, both counted from 1.
fn offset_of(file: &MirrorFile, line: usize, column: usize) -> Result<u64> {
    let Some(reader) = file.read()? else { return Ok(0) };
    let (mut reader, mut offset, mut skipped) = (BufReader::new(reader), 0, 1);
    while skipped < line {
        let bytes = reader.fill_buf().map_err(|e| Error::io("read", &file.path, e))?;
        let len = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        if len == 0 {
            break;
        }
        skipped += usize::from(bytes.get(len - 1) == Some(&b'\n'));
        reader.consume(len);
        offset += len as u64;
    }
    Ok(offset + (column as u64).saturating_sub(1))
}

/// Whether all of the file can be taken (J4).
fn check(file: &MirrorFile, store: &Store) -> Result<()> {
    read(file, |key, held| {
        check_key(&key)?;
        check_with_metadata(store, &held.value.value, &held.metadata)
    })
    .map(drop)
}

fn load(file: &MirrorFile, db: &Db, print: Print) -> Result<()> {
    let (mut batch, mut bytes) = (Batch::new(), 0);
    let read = read(file, |key, held| {
        if held.expires_at_ms.is_some_and(|at_ms| db.now_ms() >= at_ms) {
            return Ok(());
        }
        let more = key.len() + held.value.value.len() + metadata_bytes(&held.metadata);
        if batch.len() >= BATCH_ENTRIES || bytes + more > BATCH_BYTES {
            db.apply(&std::mem::take(&mut batch))?;
            bytes = 0;
        }
        bytes += more;
        batch.set_held(key, held);
        Ok(())
    })?;
    db.apply(&batch)?;
    match read == print {
        true => Ok(()),
        false => Err(Error::corrupt(&file.path, 0, "it was changed while it was read")),
    }
}
