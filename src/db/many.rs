//! Many keys that only the tier may have, in as few questions as possible.

use super::shared::{is_gone_unsent, Keeps};
use super::Db;
use crate::error::Result;
use crate::loads::{Begun, Flying};
use crate::tag::Tagged;
use crate::tier::{Fetched, Tier, FETCHED_KEYS_MAX};
use std::collections::HashMap;

impl Db {
    /// Fills in what Redis holds for the keys that this store has not, as `ask_tier` does for each of them, but with one question
    /// for a portion of keys.
    pub(super) fn ask_tier_many<K: AsRef<[u8]>, V: From<Tagged>>(
        &self,
        keys: &[K],
        values: &mut [Option<V>],
    ) -> Result<()> {
        let Some(tier) = self.shared.tier.as_ref().filter(|tier| tier.options().reads) else {
            return Ok(());
        };
        let wanted = values.iter().filter(|value| value.is_none()).count();
        if wanted == 0 {
            return Ok(());
        }
        // A key that comes twice is asked for once.
        let mut found: HashMap<&[u8], Option<Tagged>> = HashMap::new();
        let mut missing = Vec::new();
        for (key, _) in keys.iter().zip(values.iter()).filter(|(_, value)| value.is_none()) {
            if found.insert(key.as_ref(), None).is_none() {
                missing.push(key.as_ref());
            }
        }
        // As many as each shard may be asked at once.
        for portion in missing.chunks(FETCHED_KEYS_MAX * tier.shards()) {
            self.read_many_through(tier, portion, |key, value| {
                found.insert(key, tier.miss_if_unreachable(value)?);
                Ok(())
            })?;
        }
        for (key, value) in keys.iter().zip(values).filter(|(_, value)| value.is_none()) {
            *value = match wanted == missing.len() {
                true => found.remove(key.as_ref()).flatten(),
                false => found.get(key.as_ref()).cloned().flatten(),
            }
            .map(V::from);
        }
        Ok(())
    }

    /// As `read_through`, of keys that are each given once.
    fn read_many_through<'k>(
        &self,
        tier: &Tier,
        keys: &[&'k [u8]],
        mut take: impl FnMut(&'k [u8], Result<Option<Tagged>>) -> Result<()>,
    ) -> Result<()> {
        let store = self.open_store()?;
        let mut others = Vec::new();
        // Everything that has begun lands, whatever fails: others may wait for it.
        let mut failed = Ok(());
        let mut asked: Vec<(&'k [u8], Option<Flying<'_>>)> = Vec::new();
        for (key, begun) in keys.iter().zip(store.loads.begin_many(keys)) {
            let flying = match begun {
                Begun::Mine(flying) => Some(flying),
                Begun::Alone => None,
                Begun::Others => {
                    others.push(*key);
                    continue;
                }
            };
            // After the load has begun: what is changed from here on is noted for it.
            match self.known(key) {
                None => asked.push((key, flying)),
                Some(known) => {
                    land(flying, &known);
                    failed = failed.and_then(|()| take(key, known));
                }
            }
        }
        let names: Vec<&[u8]> = asked.iter().map(|(key, _)| *key).collect();
        for ((key, flying), fetched) in asked.into_iter().zip(tier.fetch_many(&names)) {
            let value = match (&flying, fetched) {
                (Some(_), Ok(fetched)) => {
                    self.take_answer(tier, key, fetched, Keeps::Heard, || store.loads.overtaken(key))
                }
                (None, Ok(Fetched::Found { value, .. })) => Ok(Some(store.of_tier(value))),
                (None, Ok(Fetched::Absent)) => Ok(None),
                (_, Err(error)) => Err(error),
            };
            land(flying, &value);
            failed = failed.and_then(|()| take(key, value));
        }
        failed?;
        // Only now, when nobody waits for this thread.
        for key in others {
            take(key, self.read_through(tier, key, Keeps::Heard))?;
        }
        Ok(())
    }

    /// What is known of a key without a question: its value, or that it is gone.
    fn known(&self, key: &[u8]) -> Option<Result<Option<Tagged>>> {
        let store = match self.open_store() {
            Ok(store) => store,
            Err(error) => return Some(Err(error)),
        };
        let guard = crossbeam_epoch::pin();
        let seen = store.look(key, &guard);
        if is_gone_unsent(store, &seen) {
            return Some(Ok(None));
        }
        seen.live.is_some().then(|| store.tagged_seen(&seen).map(Some))
    }
}

fn land(flying: Option<Flying<'_>>, outcome: &Result<Option<Tagged>>) {
    if let Some(flying) = flying {
        flying.land(outcome);
    }
}
