//! Opening: what counts of the files that are there (I11, I12), and a state from which writing can go on (I17).

use crate::clock::Ratchet;
use crate::compaction::Rewriter;
use crate::error::{Error, Result};
use crate::events::Events;
use crate::index::Index;
use crate::io::{create_dirs, sync_name_of, Disk, Identity, LockAttempt, LockKind, Map};
use crate::limits::{CLOCK_AHEAD_MS_MAX, SEGMENT_BYTES_FIRST};
use crate::log::{
    id_in_name, is_reserve, listed, random_uuid, sealed_listing, Directory, Files, Log, Manifest, Plan,
    Segment, SegmentHeader, SegmentKind, Sighting, Table, FIRST_RECORD_AT,
};
use crate::options::{OpenMode, Options, Recover};
use crate::store::{notes_for, Store};
use crate::testing::Fault;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::Arc;

mod load;
mod replay;
mod tidy;

use load::{Loaded, Source, Unlisted};
use replay::{drop_masks, drop_tombstones, replay, Replayed};

const LOCK: &str = "LOCK";
/// Entries that the index is sized for at open, at most: a manifest's counts may be hostile, or mostly overwritten.
const INDEX_CAPACITY_MAX: u64 = 1 << 24;

/// Something in a store's files that is not what was written there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
}

impl Damage {
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({"path": self.path.to_string_lossy(), "offset": self.offset, "reason": self.reason})
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, offset {}: {}", self.path.display(), self.offset, self.reason)
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Error {
        Error::Corrupt { path: damage.path, offset: damage.offset, reason: damage.reason }
    }
}

/// What a store starts from.
pub(crate) struct Recovered {
    pub(crate) store: Store,
    pub(crate) manifest: Manifest,
    pub(crate) sealed: Vec<Arc<Segment>>,
    /// `None` in a store that is only read.
    pub(crate) tail: Option<Arc<Segment>>,
    pub(crate) lock: Option<Box<dyn Send + Sync>>,
    pub(crate) damage: Vec<Damage>,
    pub(crate) sightings: Vec<Sighting>,
    pub(crate) survey: Survey,
}

/// What the files held when the store was opened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Survey {
    pub(crate) segments: u64,
    pub(crate) log_bytes: u64,
    pub(crate) records: u64,
    pub(crate) committed: u64,
}

impl Survey {
    fn of(loaded: &Loaded, replayed: &Replayed) -> Survey {
        let bytes = |found: &load::Found| {
            found.listed.seal.map_or(found.segment.map().bytes() as u64, |seal| seal.used_bytes)
        };
        Survey {
            segments: loaded.segments.len() as u64,
            log_bytes: loaded.segments.iter().map(bytes).sum(),
            records: replayed.records,
            committed: replayed.committed,
        }
    }
}

fn empty_manifest() -> Manifest {
    Manifest {
        store_uuid: random_uuid(),
        generation: 0,
        next_segment_id: 1,
        next_base_lsn: 0,
        has_dictionaries: false,
        history_lsn: 0,
        segments: Vec::new(),
    }
}

fn reserve_bytes(options: &Options) -> u64 {
    SEGMENT_BYTES_FIRST.min(options.segment_bytes)
}

/// A store over a log whose active segment is a place-holder in memory.
fn store_with(
    options: Options,
    directory: Option<Directory>,
    manifest: &Manifest,
    boot_id: [u8; 16],
) -> Result<Store> {
    let files = Files::new(directory, manifest.store_uuid, boot_id, reserve_bytes(&options));
    let table = Table::new(notes_for(&options))?;
    let number = table.reserve()?;
    let header = SegmentHeader {
        kind: SegmentKind::Tail,
        store_uuid: manifest.store_uuid,
        id: u64::MAX,
        base_lsn: manifest.next_base_lsn,
        born: manifest.next_base_lsn,
        capacity_bytes: FIRST_RECORD_AT,
        salt: 0,
        boot_id,
        file: Identity { device: 0, inode: 0 },
    };
    let map = Map::anonymous(FIRST_RECORD_AT as usize)
        .map_err(|e| Error::io("map memory for", Path::new("the store"), e))?;
    let nothing = Arc::new(Segment::new(header, map, number));
    table.insert(&nothing);
    let log = Log::new(table, files, options.sync, &nothing, manifest.next_segment_id);
    let clock = Ratchet::new(Arc::clone(&options.clock));
    // Sized up front: growing it would cost more than the rest of a replay.
    let committed: u64 = manifest.segments.iter().filter_map(|l| Some(u64::from(l.seal?.committed))).sum();
    let index = Index::with_capacity(committed.min(INDEX_CAPACITY_MAX) as usize)
        .map_err(|e| Error::io("map memory for", Path::new("the index"), e))?;
    Ok(Store::new(Arc::new(log), index, clock, Events::default(), options))
}

pub(crate) fn in_memory(options: Options) -> Result<Recovered> {
    let manifest = empty_manifest();
    let store = store_with(options, None, &manifest, [0; 16])?;
    take_up_sent(&store, None)?;
    start_tail(store, manifest, Vec::new(), Vec::new(), &[], Vec::new())
}

/// Opens a directory.
pub(crate) fn open(options: Options, path: &Path) -> Result<Recovered> {
    if options.mode == OpenMode::ReadOnly {
        return open_read_only(options, path);
    }
    let disk = Arc::clone(&options.disk);
    list(disk.as_ref(), path, options.mode)?;
    let lock = match disk.lock(&path.join(LOCK), LockKind::Exclusive) {
        Ok(LockAttempt::Held(lock)) => lock,
        Ok(LockAttempt::Taken(pid)) => return Err(Error::Locked { path: path.to_path_buf(), pid }),
        Err(e) => return Err(Error::io("lock", &path.join(LOCK), e)),
    };
    // Listed again under the lock: whoever held it may have made and removed files meanwhile.
    let names = list(disk.as_ref(), path, options.mode)?;
    let directory = Directory::open(&disk, path)?;
    let found = Manifest::load(directory.disk.as_ref(), path)?;
    if found.is_none() {
        refuse_foreign(&directory, &names, options.mode)?;
    }
    let manifest = found.unwrap_or_else(empty_manifest);
    let boot_id = directory.disk.boot_id().map_err(|e| Error::io("read the boot id for", path, e))?;
    let mut store = store_with(options, Some(directory.clone()), &manifest, boot_id)?;
    store.dictionaries.load(&directory, manifest.store_uuid, &names);
    take_up_sent(&store, Some(&directory))?;
    // A process that died while it made a segment leaves a file with an id that the manifest does not know to be used.
    store.log.skip_ids_to(names.iter().filter_map(|name| id_in_name(name)).max().unwrap_or(0));
    let loaded = load::load(&store, &directory, &manifest, Source::Mapped)?;
    let leftovers = leftovers(&store, &directory, &manifest, &names)?;
    let remove_leftovers = || {
        for path in &leftovers {
            // Best effort: what stays is a leftover at the next open too.
            let _ = directory.disk.remove(path);
        }
    };
    // What an attempt to make the store left has another store's identity: once there is a manifest, it would pass for a
    // foreign file and stay.
    let is_new = manifest.generation == 0;
    if is_new {
        remove_leftovers();
        // Also where the directory was there: whoever made it may have died before its name was synced.
        sync_name_of(directory.disk.as_ref(), path).map_err(|e| Error::io("sync the name of", path, e))?;
    }
    let (mut recovered, named) = recover(store, manifest, loaded)?;
    if recovered.store.read_only.is_none() && !is_new {
        remove_leftovers();
        // What salvage could not read may name any of them.
        let is_named = |number| named.contains(&number) || !recovered.damage.is_empty();
        recovered.store.dictionaries.remove_unnamed(&directory, &names, is_named);
    }
    recovered.lock = Some(lock);
    Ok(recovered)
}

fn list(disk: &dyn Disk, path: &Path, mode: OpenMode) -> Result<Vec<PathBuf>> {
    use std::io::ErrorKind;
    let not_a_store = |reason: &str| Error::NotAStore { path: path.to_path_buf(), reason: reason.into() };
    let names = match disk.list(path) {
        Ok(names) => names,
        Err(e) if e.kind() == ErrorKind::NotADirectory => return Err(not_a_store("it is a file")),
        Err(e) if e.kind() == ErrorKind::NotFound && mode != OpenMode::Create => {
            return Err(not_a_store("there is no such directory"))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            create_dirs(disk, path).map_err(|e| Error::io("create directory", path, e))?;
            Vec::new()
        }
        Err(e) => return Err(Error::io("list", path, e)),
    };
    Ok(names.into_iter().map(|entry| PathBuf::from(entry.name)).collect())
}

/// Refuses a directory that has no manifest, but holds something that a store that was never finished would not.
fn refuse_foreign(directory: &Directory, names: &[PathBuf], mode: OpenMode) -> Result<()> {
    let path = &directory.path;
    if mode == OpenMode::MustExist {
        return Err(Error::NotAStore { path: path.clone(), reason: "it holds no manifest".into() });
    }
    for name in names {
        let is_ours = name == Path::new(LOCK)
            || is_reserve(name)
            || id_in_name(name).is_some()
            || name.to_str().is_some_and(|name| name.starts_with("MANIFEST-"));
        if !is_ours {
            let reason = format!("it holds {} and no manifest", name.display());
            return Err(Error::NotAStore { path: path.clone(), reason });
        }
    }
    Ok(())
}

const NEWER: &str = "the segment holds records, and the manifest does not list it";

/// Segments that hold records and that the manifest does not list, in a store that nobody has open for writing.
fn newer_segments(directory: &Directory, manifest: &Manifest) -> Result<Vec<Damage>> {
    let mut found = Vec::new();
    for name in list(directory.disk.as_ref(), &directory.path, OpenMode::ReadOnly)? {
        let Some(id) = id_in_name(&name) else { continue };
        if manifest.segments.iter().any(|listed| listed.id == id) {
            continue;
        }
        let path = directory.path.join(name);
        if matches!(load::judge_unlisted(directory, &path, manifest)?, Unlisted::Newer) {
            found.push(Damage { path, offset: 0, reason: NEWER.into() });
        }
    }
    Ok(found)
}

/// Files that no manifest lists. One that holds records of the tail means that the manifest is damaged.
fn leftovers(
    store: &Store,
    directory: &Directory,
    manifest: &Manifest,
    names: &[PathBuf],
) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in names {
        let path = directory.path.join(name);
        if is_reserve(name) {
            // Now, since on a full disk there is no other space to recover with. Best effort, as for all leftovers.
            let _ = directory.disk.remove(&path);
            continue;
        }
        if Manifest::is_draft(name) {
            found.push(path);
            continue;
        }
        let Some(id) = id_in_name(name) else { continue };
        if manifest.segments.iter().any(|listed| listed.id == id) {
            continue;
        }
        match load::judge_unlisted(directory, &path, manifest)? {
            Unlisted::Leftover => found.push(path),
            Unlisted::Foreign => {}
            Unlisted::Newer if store.options.recover == Recover::Salvage => {
                store.say(&format!("{}: {NEWER}", path.display()));
            }
            Unlisted::Newer => return Err(Error::corrupt(&path, 0, NEWER)),
        }
    }
    Ok(found)
}

/// Takes up the stored time, as far as it can be believed (I15).
fn take_up_time(store: &Store, loaded: &Loaded) {
    let stored_ms = loaded.segments.iter().filter_map(|found| found.segment.cell().time()).max().unwrap_or(0);
    if stored_ms > store.clock.wall_ms().saturating_add(CLOCK_AHEAD_MS_MAX) {
        store.say(&format!("stored time {stored_ms} ms is more than a day ahead of the clock: ignored"));
        return;
    }
    store.clock.raise(stored_ms);
    store.stored_time_ms.fetch_max(stored_ms, Ordering::AcqRel);
}

/// Takes up how far the tier has the log, before anything could forget what it has not.
fn take_up_sent(store: &Store, directory: Option<&Directory>) -> Result<()> {
    #[cfg(feature = "redis")]
    if store.options.tier.as_ref().is_some_and(|tier| tier.writes != crate::tier_options::Writes::Refused) {
        let sent = directory.map(|d| crate::log::SentFile::peek(d.disk.as_ref(), &d.path)).transpose()?;
        // Of another number of shards: another tier, which has nothing.
        let sent = sent.filter(|sent| sent.len() == store.shards()).unwrap_or_default();
        for shard in 0..store.shards() {
            store.outbox.set_sent(shard, sent.get(shard).map_or(0, |sent| sent.lsn));
        }
    }
    let _ = (store, directory);
    Ok(())
}

/// With the numbers of the dictionaries that records name.
fn recover(
    mut store: Store,
    mut manifest: Manifest,
    mut loaded: Loaded,
) -> Result<(Recovered, BTreeSet<u16>)> {
    take_up_time(&store, &loaded);
    let mut damage = std::mem::take(&mut loaded.damage);
    let replayed = replay(&store, &loaded, &mut damage);
    if store.options.recover == Recover::Strict {
        if let Some(first) = damage.first() {
            return Err(first.clone().into());
        }
    }
    let lacking = lacking_dictionaries(&store, &replayed.named);
    for damage in damage.iter().chain(&lacking) {
        store.say(&damage.to_string());
    }
    if store.options.recover == Recover::Salvage {
        damage.extend(lacking);
    }
    let survey = Survey::of(&loaded, &replayed);
    if !damage.is_empty() || replayed.was_cut {
        // What others were told of it may be lost.
        manifest.history_lsn = manifest.next_base_lsn;
    }
    let (sealed, rewritten) = loaded.split();
    if store.options.faults.has(Fault::OldTailReused) {
        return Ok((reuse_old_tail(store, manifest, sealed, rewritten, replayed.sightings)?, replayed.named));
    }
    let mut sightings = replayed.sightings;
    let victims = if store.options.background { tidy::choose(&store, &sealed) } else { Vec::new() };
    if !victims.is_empty() {
        // Nobody reads yet, so they need no grace period (I5), and the victims' masks may go with them.
        drop_tombstones(&store, &mut sightings);
    }
    match start_tail_over(&store, &manifest, &sealed, &victims, &rewritten, &replayed.survivors) {
        Ok(fresh) => {
            for old in rewritten.iter().chain(&fresh.spent) {
                let _ = store.log.files.remove(old);
                drop(store.log.table.remove(old.number()));
                store.log.table.release(old.number());
            }
            Ok((fresh.go_on(store, sealed, sightings, damage, survey), replayed.named))
        }
        Err(error) if error.is_disk_full() => {
            store.read_only = Some(format!("no space to recover for writing: {error}"));
            store.say(&format!("opened read-only: {error}"));
            Ok((read_only_state(store, manifest, sealed, damage, survey), replayed.named))
        }
        Err(error) => Err(error),
    }
}

fn read_only_state(
    store: Store,
    manifest: Manifest,
    sealed: Vec<Arc<Segment>>,
    damage: Vec<Damage>,
    survey: Survey,
) -> Recovered {
    store.log.shut_requests();
    Recovered { store, manifest, sealed, tail: None, lock: None, damage, sightings: Vec::new(), survey }
}

/// Dictionaries that records name and that are not there. They stand in nobody's way but of who reads such a record (I18).
fn lacking_dictionaries(store: &Store, named: &BTreeSet<u16>) -> Vec<Damage> {
    store.dictionaries.meet(named.iter().copied());
    let lacking = named.iter().filter_map(|number| store.dictionary(*number).err());
    let damage = |error| match error {
        Error::Corrupt { path, offset, reason } => Some(Damage { path, offset, reason }),
        error => Some(Damage { path: PathBuf::new(), offset: 0, reason: error.to_string() }),
    };
    lacking.filter_map(damage).collect()
}

/// What a store goes on with.
struct Fresh {
    manifest: Manifest,
    outputs: Vec<Arc<Segment>>,
    /// Sealed segments that were rewritten too.
    spent: Vec<Arc<Segment>>,
    tail: Arc<Segment>,
    sightings: Vec<Sighting>,
}

impl Fresh {
    /// With those of `sealed` that stay, and what was found in them.
    fn go_on(
        mut self,
        store: Store,
        mut sealed: Vec<Arc<Segment>>,
        mut sightings: Vec<Sighting>,
        damage: Vec<Damage>,
        survey: Survey,
    ) -> Recovered {
        sealed.retain(|segment| !holds(&self.spent, segment.header().id));
        sealed.append(&mut self.outputs);
        sightings.append(&mut self.sightings);
        let (manifest, tail) = (self.manifest, Some(self.tail));
        Recovered { store, manifest, sealed, tail, lock: None, damage, sightings, survey }
    }
}

fn holds(segments: &[Arc<Segment>], id: u64) -> bool {
    segments.iter().any(|segment| segment.header().id == id)
}

/// Copies the survivors of `old`, and what `victims` hold, into outputs, makes a fresh tail, and lists both in one manifest
/// without what was copied (I17).
fn start_tail_over(
    store: &Store,
    manifest: &Manifest,
    sealed: &[Arc<Segment>],
    victims: &[Arc<Segment>],
    old: &[Arc<Segment>],
    survivors: &[(u16, Vec<u64>)],
) -> Result<Fresh> {
    let log = &store.log;
    let ends = manifest.segments.iter().map(|listed| listed.base_lsn.saturating_add(listed.capacity_bytes));
    let base_lsn = ends.chain([manifest.next_base_lsn]).max().unwrap_or(0);
    let mut made: Vec<Arc<Segment>> = Vec::new();
    let result = (|| {
        let plan = Plan {
            kind: SegmentKind::Tail,
            id: log.fresh_id(),
            base_lsn,
            born: base_lsn,
            capacity_bytes: log.files.reserve_bytes,
        };
        let number = log.table.reserve()?;
        let tail = Arc::new(log.files.create(&plan, number)?);
        made.push(Arc::clone(&tail));
        log.table.insert(&tail);
        log.start_at(&tail);
        tail.cell().raise_time(store.stored_time_ms.load(Ordering::Acquire));
        let lowest_born = |segments: &mut dyn Iterator<Item = &Arc<Segment>>| {
            segments.map(|segment| segment.header().born).min().unwrap_or(base_lsn).min(base_lsn)
        };
        // Masks are kept, also those that hide nothing any more: who watches the store has not seen them (W3).
        let mut rewriter = Rewriter::new(store, base_lsn, 0, room_for(store, old), false);
        let copied = survivors.iter().try_for_each(|(number, offsets)| {
            match old.iter().find(|s| s.number() == *number) {
                Some(segment) => rewriter.rewrite_these(segment, offsets),
                None => Ok(()),
            }
        });
        made.extend(rewriter.outputs().iter().cloned());
        copied?;
        let (mut outputs, mut sightings) = rewriter.finish()?;
        let mut spent = Vec::new();
        let mut freed_lsn = 0;
        if !victims.is_empty() {
            let mut others = sealed.iter().filter(|segment| !holds(victims, segment.header().id));
            let born_of_others = lowest_born(&mut others);
            let mut tidied = tidy::rewrite(store, sealed, victims, base_lsn, born_of_others, &mut made)?;
            outputs.append(&mut tidied.outputs);
            sightings.append(&mut tidied.sightings);
            (spent, freed_lsn) = (tidied.spent, tidied.freed_lsn);
        }
        if outputs.is_empty() && store.stored_time_ms.load(Ordering::Acquire) > 0 {
            // I15: no output has it, and what goes may have been the only one that did.
            tail.sync()?;
        }
        log.files.sync_names()?;
        let mut next = manifest.clone();
        next.generation += 1;
        next.next_segment_id = log.next_id();
        next.next_base_lsn = tail.end_lsn();
        next.has_dictionaries = store.dictionaries.is_used();
        next.history_lsn = next.history_lsn.max(freed_lsn);
        next.segments.retain(|listed| holds(sealed, listed.id) && !holds(&spent, listed.id));
        next.segments.extend(outputs.iter().map(|segment| sealed_listing(segment)));
        next.segments.push(listed(&tail));
        log.files.store_manifest_whole(&next)?;
        log.history.begin(next.history_lsn);
        Ok(Fresh { manifest: next, outputs, spent, tail, sightings })
    })();
    if result.as_ref().is_err_and(|error| !Manifest::may_count(error)) {
        // Nothing lists them; what cannot be removed is a leftover. They stay mapped: the index may lead to them.
        made.iter().for_each(|segment| drop(log.files.remove(segment)));
    }
    result
}

fn room_for(store: &Store, old: &[Arc<Segment>]) -> u64 {
    // No larger than those were: compaction must be able to copy it on a full disk.
    let largest = old.iter().map(|segment| segment.capacity_bytes()).max().unwrap_or(0);
    largest.min(store.options.segment_bytes).max(store.log.files.reserve_bytes.min(64 << 10))
}

/// A store without anything to rewrite.
fn start_tail(
    store: Store,
    manifest: Manifest,
    sealed: Vec<Arc<Segment>>,
    old: Vec<Arc<Segment>>,
    survivors: &[(u16, Vec<u64>)],
    damage: Vec<Damage>,
) -> Result<Recovered> {
    let fresh = start_tail_over(&store, &manifest, &sealed, &[], &old, survivors)?;
    Ok(fresh.go_on(store, sealed, Vec::new(), damage, Survey::default()))
}

/// I17 taken out: goes on in the old tail, behind what was found there.
fn reuse_old_tail(
    store: Store,
    manifest: Manifest,
    sealed: Vec<Arc<Segment>>,
    old: Vec<Arc<Segment>>,
    sightings: Vec<Sighting>,
) -> Result<Recovered> {
    let used = |segment: &&Arc<Segment>| segment.header().base_lsn + segment.end();
    let holds = |segment: &&Arc<Segment>| segment.end() > FIRST_RECORD_AT;
    let Some(tail) = old.iter().filter(holds).max_by_key(used).cloned() else {
        return start_tail(store, manifest, sealed, old, &[], Vec::new());
    };
    store.log.start_at(&tail);
    let (tail, damage, survey) = (Some(tail), Vec::new(), Survey::default());
    Ok(Recovered { store, manifest, sealed, tail, lock: None, damage, sightings, survey })
}

/// Opens without writing anything: of a store that nobody has open, or of a copy of one that somebody has.
fn open_read_only(mut options: Options, path: &Path) -> Result<Recovered> {
    const ATTEMPTS: u32 = 20;
    // What is damaged is listed, not refused.
    options.recover = Recover::Salvage;
    list(options.disk.as_ref(), path, OpenMode::ReadOnly)?;
    let directory = Directory::open(&options.disk, path)?;
    let lock = match directory.disk.lock(&path.join(LOCK), LockKind::Shared) {
        Ok(LockAttempt::Held(lock)) => Some(lock),
        // Held by a writer; or there is no such file, or no right to open it: then a copy is as good.
        Ok(LockAttempt::Taken(_)) | Err(_) => None,
    };
    let source = if lock.is_some() { Source::MappedReadOnly } else { Source::Copied };
    let mut attempt = 0;
    loop {
        attempt += 1;
        let result = read_once(options.clone(), &directory, source);
        match result {
            // The writer replaced segments between our reading of the manifest and of the files.
            Err(Error::Io { ref source, .. })
                if source.kind() == std::io::ErrorKind::NotFound && attempt < ATTEMPTS && lock.is_none() => {}
            Err(error) => return Err(error),
            Ok(mut recovered) => {
                let is_moved = lock.is_none()
                    && attempt < ATTEMPTS
                    && recovered.damage.iter().any(|damage| damage.reason.contains(load::MISSING));
                if is_moved {
                    continue;
                }
                recovered.lock = lock;
                return Ok(recovered);
            }
        }
    }
}

fn read_once(options: Options, directory: &Directory, source: Source) -> Result<Recovered> {
    let found = Manifest::load(directory.disk.as_ref(), &directory.path)?;
    let manifest = found.ok_or_else(|| Error::NotAStore {
        path: directory.path.clone(),
        reason: "it holds no manifest".into(),
    })?;
    let boot_id = directory.disk.boot_id().unwrap_or_default();
    let mut store = store_with(options, Some(directory.clone()), &manifest, boot_id)?;
    store.read_only = Some("it was opened for reading".into());
    let mut loaded = load::load(&store, directory, &manifest, source)?;
    take_up_time(&store, &loaded);
    let mut damage = std::mem::take(&mut loaded.damage);
    let replayed = replay(&store, &loaded, &mut damage);
    drop_masks(&store, &replayed.sightings);
    // After the segments: a store that is being written makes a dictionary before it writes a record that names it (I18).
    let names = list(directory.disk.as_ref(), &directory.path, OpenMode::ReadOnly)?;
    store.dictionaries.load(directory, manifest.store_uuid, &names);
    damage.extend(lacking_dictionaries(&store, &replayed.named));
    let survey = Survey::of(&loaded, &replayed);
    if source == Source::MappedReadOnly {
        damage.extend(newer_segments(directory, &manifest)?);
    }
    let (sealed, _) = loaded.split();
    Ok(read_only_state(store, manifest, sealed, damage, survey))
}
