//! Many writes as one (I13).

use super::write::{deadline_ms, Expiry, Stored};
use super::Db;
use crate::capacity::Load;
use crate::error::{Error, Result};
use crate::limits::BATCH_BYTES_MAX;
use crate::log::{NoRoom, Sighting};
use crate::options::check_key;
use crate::record::{record_bytes, Draft, Kind, Metadata, State};
use crate::store::Store;
use crate::tag::{Tag, Tagged};
use crate::testing::Point;
use crate::texts::Held;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

/// Writes that are applied together by [`Db::apply`].
#[derive(Debug, Clone, Default)]
pub struct Batch {
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
struct Member {
    key: Vec<u8>,
    /// `None`: a delete.
    value: Option<Vec<u8>>,
    expiry: Expiry,
    metadata: Metadata,
    codec: Tag,
}

impl Batch {
    /// An empty one.
    pub fn new() -> Self {
        Batch::default()
    }

    /// Sets `key` to `value` with the store's default expiry.
    pub fn set(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.set_expiring(key, value, Expiry::Default)
    }

    /// Sets `key` to `value`, to expire as given; [`Expiry::Keep`] counts as the default.
    pub fn set_expiring(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        expiry: Expiry,
    ) -> &mut Self {
        self.set_as(key, value, expiry, Tag::RAW)
    }

    /// As [`Batch::set_expiring`], for a value that a codec wrote.
    pub fn set_as(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        expiry: Expiry,
        codec: Tag,
    ) -> &mut Self {
        self.set_whole(key.into(), Tagged { value: value.into(), codec }, expiry, Metadata::new());
        self
    }

    pub(crate) fn set_whole(&mut self, key: Vec<u8>, value: Tagged, expiry: Expiry, metadata: Metadata) {
        let Tagged { value, codec } = value;
        self.members.push(Member { key, value: Some(value), expiry, metadata, codec });
    }

    /// Sets what came from text.
    pub(crate) fn set_held(&mut self, key: Vec<u8>, held: Held) {
        let expiry = match held.expires_at_ms {
            Some(ms) => Expiry::At(UNIX_EPOCH + Duration::from_millis(ms)),
            None => Expiry::Never,
        };
        self.set_whole(key, held.value, expiry, held.metadata);
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.members.push(Member {
            key: key.into(),
            value: None,
            expiry: Expiry::Never,
            metadata: Metadata::new(),
            codec: Tag::RAW,
        });
        self
    }

    /// Writes in it.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl Db {
    /// Applies a batch, in its order. After a crash all of it is there or nothing, against sets and deletes; a
    /// conditional write that races a member may leave that member missing then. Not isolated: readers may see part of
    /// it while it runs, and batches on the same keys may interleave.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`]; as [`Db::set`], with nothing applied if a key or value is too long.
    pub fn apply(&self, batch: &Batch) -> Result<()> {
        let store = self.writable_store(batch.members.iter().map(|member| &member.key[..]))?;
        let mut stored = Vec::with_capacity(batch.members.len());
        for member in &batch.members {
            let value = member.value.as_deref();
            check_key(&member.key)?;
            store.options.check_lengths(&member.key, value.unwrap_or_default())?;
            let expire_at_ms = if value.is_some() { deadline_ms(store, member.expiry, None) } else { 0 };
            let stored_value = Stored::with_metadata(store, value.unwrap_or_default(), &member.metadata)?;
            stored.push((stored_value, expire_at_ms));
        }
        let drafts: Vec<Draft<'_>> = batch
            .members
            .iter()
            .zip(&stored)
            .map(|(member, (stored, expire_at_ms))| Draft {
                kind: if member.value.is_some() { Kind::Put } else { Kind::Tombstone },
                flags: stored.flags,
                codec: member.codec.number(),
                dictionary: stored.dictionary,
                lsn: 0,
                expire_at_ms: *expire_at_ms,
                key: &member.key,
                value: &stored.bytes,
            })
            .collect();
        self.apply_drafts(store, &drafts)
    }

    /// Sets many keys as one [`Batch`].
    ///
    /// # Errors
    /// As [`Db::apply`].
    pub fn set_many<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, entries: &[(K, V)]) -> Result<()> {
        let store = self.writable_store(entries.iter().map(|(key, _)| key.as_ref()))?;
        for (key, value) in entries {
            store.options.check_lengths(key.as_ref(), value.as_ref())?;
        }
        let expire_at_ms = deadline_ms(store, Expiry::Default, None);
        let stored: Vec<_> = entries.iter().map(|(_, value)| Stored::new(store, value.as_ref())).collect();
        let drafts: Vec<Draft<'_>> = entries
            .iter()
            .zip(&stored)
            .map(|((key, _), stored)| Draft {
                kind: Kind::Put,
                flags: stored.flags,
                codec: 0,
                dictionary: stored.dictionary,
                lsn: 0,
                expire_at_ms,
                key: key.as_ref(),
                value: &stored.bytes,
            })
            .collect();
        self.apply_drafts(store, &drafts)
    }

    fn apply_drafts(&self, store: &Store, drafts: &[Draft<'_>]) -> Result<()> {
        for draft in drafts {
            self.shared.store.loads.note(draft.key);
        }
        let lsn = match drafts {
            [] => return Ok(()),
            [one] => store.write_blind(one)?,
            _ => {
                let bytes_of = |draft: &Draft<'_>| record_bytes(draft.key.len(), draft.value.len());
                let len = drafts.iter().map(bytes_of).sum();
                if len > BATCH_BYTES_MAX {
                    return Err(Error::BatchTooLarge { len, max: BATCH_BYTES_MAX });
                }
                self.write_frame(store, drafts)?
            }
        };
        store.counters.writes.add(drafts.len() as i64);
        self.acknowledge(lsn, drafts.iter().map(|draft| draft.key))
    }

    /// Returns the highest LSN that has to be durable for all of it.
    fn write_frame(&self, store: &Store, drafts: &[Draft<'_>]) -> Result<u64> {
        let loads: Vec<_> = drafts.iter().map(|draft| store.load_of(draft, None)).collect();
        store.make_room(drafts, &loads);
        loop {
            store.check_writable()?;
            let mut lost = Vec::new();
            match self.try_frame(store, drafts, &loads, &mut lost) {
                Ok(mut lsn) => {
                    for (draft, load) in drafts.iter().zip(&loads) {
                        store.keep_limits(draft.key, *load);
                    }
                    // A member that met a newer record comes after it.
                    for (draft, load) in lost {
                        lsn = lsn.max(store.write_weighed(draft, load)?);
                    }
                    return Ok(lsn);
                }
                Err(no_room) => store.log.wait_for_room(no_room)?,
            }
        }
    }

    fn try_frame<'d, 'k>(
        &self,
        store: &Store,
        drafts: &'d [Draft<'k>],
        loads: &[Load],
        lost: &mut Vec<(&'d Draft<'k>, Load)>,
    ) -> Result<u64, NoRoom> {
        let guard = crossbeam_epoch::pin();
        let mut places = Vec::with_capacity(drafts.len());
        let frame = store.log.append_batch(drafts, &guard, |place| places.push(place))?;
        // The frame counts as a whole before any member can be seen.
        frame.resolve(State::Committed);
        store.options.hooks.at(Point::Committed);
        let mut sightings = Vec::new();
        for ((draft, load), place) in drafts.iter().zip(loads).zip(&places) {
            if !store.publish_blind(draft, *load, place, &guard) {
                place.segment.account.charge(record_bytes(draft.key.len(), draft.value.len()));
                lost.push((draft, *load));
            } else if let Some(view) = place.view() {
                sightings.extend(Sighting::of(place.segment, place.offset, &view));
            }
        }
        // Release: all members are published; pairs with the compactor's Acquire (I9).
        frame.segment.publishing.fetch_sub(1, Ordering::Release);
        if !sightings.is_empty() {
            self.shared.inbox.put(&mut sightings);
        }
        Ok(places.last().map_or(frame.lsn, |place| place.lsn))
    }
}
