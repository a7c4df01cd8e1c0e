//! From segments to the index: the highest LSN of each key wins, in whatever order they are read (I11).

use super::load::{Found, Loaded, Source};
use super::Damage;
use crate::index::{Address, PREFETCHED_KEYS};
use crate::log::{members, scan, Condition, Reads, Scanned, Seal, Segment, Sighting};
use crate::options::Recover;
use crate::record::{Kind, Record, State};
use crate::store::{Change, Map, Store};
use crate::testing::Fault;
use crossbeam_epoch::Guard;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Groups of records that are replayed under one guard.
const UNDER_ONE_GUARD: u32 = 64;

#[derive(Default)]
pub(super) struct Replayed {
    pub(super) sightings: Vec<Sighting>,
    /// Segment number and offsets of the records that count, of segments that are rewritten.
    pub(super) survivors: Vec<(u16, Vec<u64>)>,
    /// Records found whole, a batch as one, and those of them that were committed.
    pub(super) records: u64,
    pub(super) committed: u64,
    /// Dictionaries that committed records name, also records that are overwritten (I18).
    pub(super) named: BTreeSet<u16>,
    /// Power was lost: the log may have held more.
    pub(super) was_cut: bool,
}

impl Replayed {
    fn absorb(&mut self, mut other: Replayed) {
        self.sightings.append(&mut other.sightings);
        self.survivors.append(&mut other.survivors);
        self.records += other.records;
        self.committed += other.committed;
        self.named.append(&mut other.named);
        self.was_cut |= other.was_cut;
    }

    fn count(&mut self, scanned: &Scanned) {
        self.records += u64::from(scanned.records);
        self.committed += u64::from(scanned.committed);
    }
}

pub(super) fn replay(store: &Store, loaded: &Loaded, damage: &mut Vec<Damage>) -> Replayed {
    let (sealed, mut unsealed): (Vec<_>, Vec<_>) =
        loaded.segments.iter().partition(|found| found.listed.seal.is_some());
    unsealed.sort_by_key(|found| found.segment.header().base_lsn);
    let clear_lsn = AtomicU64::new(0);
    // Where damage is listed and not refused, all of it is; and what counts has to be known before it is in the index.
    let reads_values = store.options.recover != Recover::Strict || loaded.source != Source::Mapped;
    let next = AtomicUsize::new(0);
    let results = Mutex::new((Replayed::default(), Vec::new()));
    let work = || loop {
        let (mut replayed, mut found_damage) = (Replayed::default(), Vec::new());
        // Relaxed: only hands out numbers. The unsealed come first, since all of their bytes are read, and by one thread.
        match next.fetch_add(1, Ordering::Relaxed).checked_sub(1).map(|at| sealed.get(at)) {
            None => {
                replay_unsealed(store, loaded.source, &unsealed, &clear_lsn, &mut replayed, &mut found_damage)
            }
            Some(Some(found)) => {
                replay_sealed(store, reads_values, found, &clear_lsn, &mut replayed, &mut found_damage);
            }
            Some(None) => return,
        }
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        results.0.absorb(replayed);
        results.1.append(&mut found_damage);
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(sealed.len() + 1);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // A system that has no thread to give leaves the work to this one.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let (replayed, mut found_damage) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Whichever thread met it first.
    found_damage.sort_by(|a, b| (&a.path, a.offset).cmp(&(&b.path, b.offset)));
    damage.append(&mut found_damage);
    // Relaxed: the threads that raised it are joined.
    drop_cleared(store, clear_lsn.load(Ordering::Relaxed));
    replayed
}

fn replay_sealed(
    store: &Store,
    reads_values: bool,
    found: &Found,
    clear_lsn: &AtomicU64,
    replayed: &mut Replayed,
    damage: &mut Vec<Damage>,
) {
    let seal = found.listed.seal.unwrap_or_default();
    let mut one = ReplayOne::new(store, &found.segment, clear_lsn);
    let scanned = one.run_sealed(&seal, reads_values);
    replayed.count(&scanned);
    replayed.sightings.append(&mut one.sightings);
    replayed.named.append(&mut one.named);
    *damage = list_damage(&found.segment, scanned);
    if !damage.is_empty() {
        replayed.survivors.push((found.segment.number(), one.offsets));
    }
}

/// Oldest first: where power was lost, nothing counts behind the first gap (I12).
fn replay_unsealed(
    store: &Store,
    source: Source,
    unsealed: &[&Found],
    clear_lsn: &AtomicU64,
    replayed: &mut Replayed,
    damage: &mut Vec<Damage>,
) {
    let synced_lsn = unsealed.iter().map(|found| found.segment.cell().synced()).max().unwrap_or(0);
    let is_same_run = unsealed.iter().all(|found| is_of_this_boot(store, &found.segment));
    let died = is_same_run && source != Source::Copied && !store.options.faults.has(Fault::NoResyncOverHoles);
    let condition = if died { Condition::ProcessDied } else { Condition::Cut };
    replayed.was_cut = !died && !unsealed.is_empty();
    for found in unsealed {
        let mut one = ReplayOne::new(store, &found.segment, clear_lsn);
        let scanned = one
            .run(condition, if store.options.faults.has(Fault::NoResyncOverHoles) { 0 } else { synced_lsn });
        found.segment.set_end(one.end);
        replayed.named.append(&mut one.named);
        replayed.survivors.push((found.segment.number(), one.offsets));
        replayed.count(&scanned);
        let goes_on = scanned.is_complete || condition == Condition::ProcessDied;
        damage.extend(list_damage(&found.segment, scanned));
        if !goes_on {
            break;
        }
    }
}

fn is_of_this_boot(store: &Store, segment: &Segment) -> bool {
    let header = segment.header();
    let identity = segment.file().and_then(|file| file.identity().ok());
    header.boot_id == store.log.files.boot_id && identity == Some(header.file)
}

fn list_damage(segment: &Segment, scanned: Scanned) -> Vec<Damage> {
    if !scanned.damage.is_empty() {
        // Relaxed: read after the threads are joined.
        segment.damaged.store(true, Ordering::Relaxed);
    }
    let path = segment.path();
    scanned.damage.into_iter().map(|(offset, reason)| Damage { path: path.into(), offset, reason }).collect()
}

struct ReplayOne<'s> {
    store: &'s Store,
    segment: &'s Arc<Segment>,
    clear_lsn: &'s AtomicU64,
    sightings: Vec<Sighting>,
    named: BTreeSet<u16>,
    /// Of committed records, frames as a whole; none where heads only are read.
    offsets: Vec<u64>,
    /// Behind the last record that counts as written.
    end: u64,
}

/// Entries that go into the index together: what takes the time of one is waiting for memory, and a group waits once.
struct Group<'b> {
    entries: [Option<(u64, Record<'b>)>; PREFETCHED_KEYS],
    len: usize,
    guard: Guard,
    groups: u32,
}

impl<'s> ReplayOne<'s> {
    fn new(store: &'s Store, segment: &'s Arc<Segment>, clear_lsn: &'s AtomicU64) -> Self {
        let end = crate::log::FIRST_RECORD_AT;
        ReplayOne {
            store,
            segment,
            clear_lsn,
            sightings: Vec::new(),
            named: BTreeSet::new(),
            offsets: Vec::new(),
            end,
        }
    }

    /// Reads a segment that no longer changes, without its values if that is enough to know that the rest is as it was
    /// written. Values are then checked when they are asked for, and by the maintenance thread.
    fn run_sealed(&mut self, seal: &Seal, reads_values: bool) -> Scanned {
        let used_bytes = seal.used_bytes;
        let fault = |scanned: &Scanned| {
            let counts = (scanned.records, scanned.committed, scanned.heads_crc);
            (scanned.damage.is_empty() && counts != (seal.records, seal.committed, seal.heads_crc)).then(|| {
                format!(
                    "{} records, {} of them committed, their heads' checksum {:08x}; the manifest lists {}, {} and {:08x}",
                    counts.0, counts.1, counts.2, seal.records, seal.committed, seal.heads_crc
                )
            })
        };
        if reads_values {
            let mut scanned = self.run(Condition::Sealed { used_bytes }, 0);
            scanned.damage.extend(fault(&scanned).map(|reason| (0, reason)));
            return scanned;
        }
        let heads = self.run(Condition::Heads { used_bytes }, 0);
        let fault = fault(&heads);
        if fault.is_none() && heads.damage.is_empty() {
            self.segment.set_unread(true);
            return heads;
        }
        // The store will not open: where the damage is shows once the checksums are read.
        let mut scanned =
            scan(self.bytes(), self.segment.header(), Condition::Sealed { used_bytes }, 0, |_, _| {});
        if scanned.damage.is_empty() {
            scanned.damage = heads.damage;
            scanned.damage.extend(fault.map(|reason| (0, reason)));
        }
        scanned
    }

    fn bytes(&self) -> &'s [u8] {
        let map = self.segment.map();
        // SAFETY: M2: nobody writes a segment of an earlier run before this one has replaced it (I17).
        unsafe { map.slice(0, map.bytes()) }.unwrap_or_default()
    }

    fn run(&mut self, condition: Condition, synced_lsn: u64) -> Scanned {
        let segment = self.segment;
        let bytes = self.bytes();
        let reads = condition.reads(segment.header());
        let mut group =
            Group { entries: Default::default(), len: 0, guard: crossbeam_epoch::pin(), groups: 0 };
        let scanned = scan(bytes, segment.header(), condition, synced_lsn, |at, record| {
            self.end = at + record.bytes;
            if record.state == State::Committed {
                // An open that reads heads only rewrites no sealed segment record by record: it refuses one that is damaged.
                if reads != Reads::Heads {
                    self.offsets.push(at);
                }
                self.take(at, record, reads, &mut group);
            } else {
                segment.account.charge(record.bytes);
            }
        });
        self.offer_all(&mut group);
        scanned
    }

    fn take<'b>(&mut self, at: u64, record: &Record<'b>, reads: Reads, group: &mut Group<'b>) {
        let account = &self.segment.account;
        match record.kind {
            Kind::Put | Kind::Tombstone => self.collect(at, record, group),
            Kind::Batch => {
                account.charge(crate::record::record_bytes(0, 0));
                // The scan has checked the frame's members.
                let _ = members(at, record, reads, |at, member| self.collect(at, member, group));
            }
            Kind::Clear => {
                account.saw_mask(record.lsn);
                account.charge_mask(record.bytes);
                self.clear_lsn.fetch_max(record.lsn, Ordering::Relaxed);
            }
            Kind::Pad => {}
        }
    }

    fn collect<'b>(&mut self, at: u64, record: &Record<'b>, group: &mut Group<'b>) {
        if let Some(free) = group.entries.get_mut(group.len) {
            *free = Some((at, *record));
            group.len += 1;
        }
        if group.len == PREFETCHED_KEYS {
            self.offer_all(group);
        }
    }

    fn offer_all(&mut self, group: &mut Group<'_>) {
        let entries = group.entries.get(..group.len).unwrap_or_default();
        let map = self.store.map(&group.guard);
        map.prefetch(entries.iter().flatten().map(|(_, record)| record.key));
        let mut change = Change::default();
        for (at, record) in entries.iter().flatten() {
            self.offer(*at, record, &map, &mut change);
        }
        self.store.count(&change);
        group.len = 0;
        group.groups += 1;
        if group.groups % UNDER_ONE_GUARD == 0 {
            group.guard.repin();
        }
    }

    fn offer(&mut self, at: u64, record: &Record<'_>, map: &Map<'_>, change: &mut Change) {
        let account = &self.segment.account;
        if record.dictionary != 0 {
            self.named.insert(record.dictionary);
        }
        let is_mask = record.kind == Kind::Tombstone || record.expire_at_ms != 0;
        if is_mask {
            account.saw_mask(record.lsn);
        }
        let address = Address::new(self.segment.number(), at);
        match address.map(|address| map.publish_over_older(record.key, address, record.lsn)) {
            Some(Ok(old)) => {
                change.count(record.kind, record.bytes, old);
                if is_mask || self.segment.marks().is_some() {
                    let view = self.segment.view(at);
                    self.sightings.extend(view.and_then(|view| Sighting::of(self.segment, at, &view)));
                }
            }
            _ => account.charge(record.bytes),
        }
    }
}

/// Takes what has expired, and deletes, out of the index of a store that is only read: no sweeper will.
pub(super) fn drop_masks(store: &Store, sightings: &[Sighting]) {
    let guard = crossbeam_epoch::pin();
    let map = store.map(&guard);
    for sighting in sightings {
        let Some(address) = Address::new(sighting.segment, sighting.offset) else { continue };
        let Some(record) = store.at(address, &guard) else { continue };
        let is_tombstone = record.1.word.kind() == Some(Kind::Tombstone);
        if is_tombstone || store.is_past(record.1.expire_at_ms, &guard) {
            store.forget_cleared(&map, address, record);
        }
    }
}

/// Takes deletes out of the index of a store that nobody reads yet, and out of `sightings`.
pub(super) fn drop_tombstones(store: &Store, sightings: &mut Vec<Sighting>) {
    let guard = crossbeam_epoch::pin();
    let map = store.map(&guard);
    sightings.retain(|sighting| {
        let address = Address::new(sighting.segment, sighting.offset);
        let found = address.and_then(|address| Some((address, store.at(address, &guard)?)));
        let Some((address, (segment, view))) = found else { return true };
        if view.word.kind() != Some(Kind::Tombstone) || store.is_unsent_change(&view) {
            return true;
        }
        if map.remove(view.key, address) {
            segment.account.charge_mask(view.bytes());
        }
        false
    });
}

/// Entries older than the newest clear are gone (I14).
fn drop_cleared(store: &Store, clear_lsn: u64) {
    if clear_lsn == 0 {
        return;
    }
    store.walk(|map, address, record| {
        if record.1.lsn < clear_lsn {
            store.forget_cleared(map, address, record);
        }
    });
}
