//! Publication: how a record that was appended comes to stand for its key.

use super::{Address, Entry, Pinned, Record, Records};

/// What stands for the key is newer, or is not what was seen: nothing was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

impl<'g, R: Records> Pinned<'g, R> {
    /// Publishes the record of `lsn` over whatever stands for the key, unless that is newer (I2). Returns what it replaced.
    pub(crate) fn publish_over_older(
        &self,
        key: &[u8],
        new: Address,
        lsn: u64,
    ) -> Result<Option<Entry<'g, R>>, Refused> {
        loop {
            let Some(entry) = self.insert(key, new) else { return Ok(None) };
            if entry.record.lsn() > lsn {
                return Err(Refused);
            }
            if self.replace(&entry, new) {
                return Ok(Some(entry));
            }
        }
    }

    /// Publishes a record over exactly what was seen (I3). Where that has changed, `is_moved` says whether an entry is the
    /// same record in another place. Returns what it replaced.
    pub(crate) fn publish_over_seen(
        &self,
        key: &[u8],
        new: Address,
        seen: Option<&Entry<'g, R>>,
        is_moved: impl Fn(&Entry<'g, R>) -> bool,
    ) -> Result<Option<Entry<'g, R>>, Refused> {
        let Some(seen) = seen else {
            return if self.insert(key, new).is_none() { Ok(None) } else { Err(Refused) };
        };
        let mut entry = *seen;
        // X2: a word that was read stands for the same key as long as the guard is held.
        while !self.replace(&entry, new) {
            let found = self.find(key).ok_or(Refused)?;
            if found.address != seen.address && !is_moved(&found) {
                return Err(Refused);
            }
            entry = found;
        }
        Ok(Some(entry))
    }

    /// Lets the key lead to `to` if it leads to `from`.
    pub(crate) fn redirect(&self, key: &[u8], from: Address, to: Address) -> bool {
        while let Some(entry) = self.find(key).filter(|entry| entry.address == from) {
            if self.replace(&entry, to) {
                return true;
            }
        }
        false
    }
}
