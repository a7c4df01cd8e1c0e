//! What another boot may find on a disk that lost power.

use super::inode::Inode;
use super::{Dir, NameChange, Names, SimDisk, State};
use std::collections::btree_map::{BTreeMap, Entry};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

const PAGE_BYTES: usize = 4096;

/// What an image takes of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Choice {
    /// Nothing.
    Nothing,
    /// All of it: as if every page had just been written.
    Everything,
    /// Each sector, length and name at random, with this chance in percent.
    Percent(u64),
    /// Of each file the last sector alone, and every name.
    LastSector,
    /// Of each file the first page, where headers and cells stand, and every name.
    FirstPage,
    /// Of each file everything but the first page, and every name.
    AllButFirstPage,
    /// Of each file the first third and the last, and every name.
    AllButMiddle,
    /// Every sector, and no name.
    DataWithoutNames,
    /// Every name, and no sector.
    NamesWithoutData,
    /// Every name and length, and zeros in the sectors that nothing promises.
    Zeros,
    /// Every name, and random bytes, those of another file, old or new ones in the sectors that nothing promises.
    Garbage,
}

/// What becomes of a sector that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Old,
    New,
    Zeros,
    Stale,
    Garbage,
}

impl Fate {
    fn new_if(takes: bool) -> Fate {
        if takes {
            Fate::New
        } else {
            Fate::Old
        }
    }
}

impl Choice {
    /// Each of them, with one of the random ones.
    pub const ALL: [Choice; 11] = [
        Choice::Nothing,
        Choice::Everything,
        Choice::Percent(50),
        Choice::LastSector,
        Choice::FirstPage,
        Choice::AllButFirstPage,
        Choice::AllButMiddle,
        Choice::DataWithoutNames,
        Choice::NamesWithoutData,
        Choice::Zeros,
        Choice::Garbage,
    ];

    fn takes_name(self, rng: &mut Rng) -> bool {
        match self {
            Choice::Nothing | Choice::DataWithoutNames => false,
            Choice::Percent(percent) => rng.percent(percent),
            _ => true,
        }
    }

    pub(super) fn takes_len(self, rng: &mut Rng) -> bool {
        match self {
            Choice::Nothing | Choice::NamesWithoutData => false,
            Choice::Everything | Choice::DataWithoutNames | Choice::Zeros => true,
            Choice::Percent(percent) => rng.percent(percent),
            _ => rng.percent(50),
        }
    }

    /// Of the `n`th of `dirty` sectors, which begins at `start`.
    pub(super) fn fate(
        self,
        n: usize,
        dirty: usize,
        start: usize,
        is_expendable: bool,
        rng: &mut Rng,
    ) -> Fate {
        match self {
            Choice::Nothing | Choice::NamesWithoutData => Fate::Old,
            Choice::Everything | Choice::DataWithoutNames => Fate::New,
            Choice::Percent(percent) => Fate::new_if(rng.percent(percent)),
            Choice::LastSector => Fate::new_if(n + 1 == dirty),
            Choice::FirstPage => Fate::new_if(start < PAGE_BYTES),
            Choice::AllButFirstPage => Fate::new_if(start >= PAGE_BYTES),
            Choice::AllButMiddle => Fate::new_if(n * 3 < dirty || n * 3 >= dirty * 2),
            Choice::Zeros if is_expendable => Fate::Zeros,
            Choice::Zeros => Fate::Old,
            Choice::Garbage if is_expendable => {
                [Fate::Old, Fate::New, Fate::Stale, Fate::Garbage][(rng.next() >> 33) as usize % 4]
            }
            Choice::Garbage => Fate::new_if(rng.percent(50)),
        }
    }
}

/// xorshift64*: an image is the same for the same seed.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        (self.next() >> 33) % 100 < percent
    }
}

/// Inode number and bytes by name.
type Files = BTreeMap<OsString, (u64, Arc<Vec<u8>>)>;

/// What is found, before a machine starts on it. Files that did not change are shared between images.
pub struct Image {
    dirs: BTreeMap<PathBuf, Files>,
    inodes_made: u64,
    boot: u64,
    /// Files, sectors and what became of them, where that is neither old nor new.
    spoilt: Vec<(PathBuf, usize, Fate)>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files = self.dirs.iter().flat_map(|(dir, files)| {
            files.iter().map(move |(name, (_, content))| (dir.join(name), content.len()))
        });
        f.debug_struct("Image")
            .field("files", &files.collect::<Vec<_>>())
            .field("spoilt", &self.spoilt)
            .finish()
    }
}

impl Image {
    pub(super) fn of(state: &State, boot: u64, choice: Choice, seed: u64) -> Image {
        let mut rng = Rng::new(seed);
        let dirs = BTreeMap::new();
        let mut image = Image { dirs, inodes_made: state.inodes_made, boot, spoilt: Vec::new() };
        for (path, dir) in &state.dirs {
            let is_above = path.parent().is_none_or(|above| image.dirs.contains_key(above));
            if !is_above || !(dir.is_durable || choice.takes_name(&mut rng)) {
                continue;
            }
            let mut found = BTreeMap::new();
            let mut stale: Arc<Vec<u8>> = Arc::default();
            for (name, inode) in dir.found(|| choice.takes_name(&mut rng)) {
                let (content, spoilt) = inode.image(choice, &mut rng, &stale);
                image.spoilt.extend(spoilt.into_iter().map(|(at, fate)| (path.join(&name), at, fate)));
                stale = Arc::clone(&content);
                found.insert(name, (inode.number, content));
            }
            image.dirs.insert(path.clone(), found);
        }
        image
    }

    /// The disk of a machine that starts on it. Any number may.
    pub fn start(&self) -> Arc<SimDisk> {
        let mut state = State { inodes_made: self.inodes_made, ..State::default() };
        for (path, files) in &self.dirs {
            let mut dir = Dir { is_durable: true, ..Dir::default() };
            for (name, (number, content)) in files {
                if let Ok(inode) = Inode::new(*number, Arc::clone(content)) {
                    let inode = Arc::new(inode);
                    state.inodes.push(Arc::downgrade(&inode));
                    dir.names.insert(name.clone(), inode);
                }
            }
            dir.durable = dir.names.clone();
            state.dirs.insert(path.clone(), dir);
        }
        SimDisk::with(Arc::new(Mutex::new(state)), self.boot)
    }
}

impl State {
    /// What a process that starts now on the same boot finds, with the same of it on the disk. Nothing is locked, told to fail
    /// or limited.
    pub(super) fn copy(&self) -> State {
        let mut inodes = BTreeMap::new();
        let mut copied = |inode: &Arc<Inode>| match inodes.entry(inode.number) {
            Entry::Occupied(copied) => Some(Arc::clone(copied.get())),
            Entry::Vacant(free) => Some(Arc::clone(free.insert(Arc::new(inode.copy().ok()?)))),
        };
        let mut dirs = BTreeMap::new();
        for (path, dir) in &self.dirs {
            let mut names = |of: &Names| {
                let copied = of.iter().filter_map(|(name, inode)| Some((name.clone(), copied(inode)?)));
                copied.collect::<Names>()
            };
            let (names, durable) = (names(&dir.names), names(&dir.durable));
            let unsynced = dir.unsynced.iter().filter_map(|change| change.copy(&mut copied)).collect();
            dirs.insert(path.clone(), Dir { names, durable, unsynced, is_durable: dir.is_durable });
        }
        let inodes = inodes.values().map(Arc::downgrade).collect();
        State { dirs, inodes, inodes_made: self.inodes_made, ..State::default() }
    }
}

impl Dir {
    /// The names that are found, with the changes that `takes` takes.
    fn found(&self, mut takes: impl FnMut() -> bool) -> Names {
        let mut names = self.durable.clone();
        for change in self.unsynced.iter().filter(|_| takes()) {
            change.apply(&mut names);
        }
        names
    }
}

impl NameChange {
    /// The same change of the copies of files.
    fn copy(&self, mut copied: impl FnMut(&Arc<Inode>) -> Option<Arc<Inode>>) -> Option<NameChange> {
        Some(match self {
            NameChange::Link(name, inode) => NameChange::Link(name.clone(), copied(inode)?),
            NameChange::Unlink(name) => NameChange::Unlink(name.clone()),
            NameChange::Rename(from, to, inode) => {
                NameChange::Rename(from.clone(), to.clone(), copied(inode)?)
            }
        })
    }

    pub(super) fn apply(&self, names: &mut Names) {
        match self.clone() {
            NameChange::Link(name, inode) => drop(names.insert(name, inode)),
            NameChange::Unlink(name) => drop(names.remove(&name)),
            NameChange::Rename(from, to, inode) => {
                names.remove(&from);
                names.insert(to, inode);
            }
        }
    }
}
