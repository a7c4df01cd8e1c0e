//! Numbers that are given once.

use super::Store;
use crate::error::Result;
use crate::record::{record_bytes, Draft, Kind, State};

impl Store {
    /// A number that is higher than every one given before, in this run of the store or an earlier one: it is where the log has
    /// given up a record without a key. An LSN is reserved once. A segment takes records only after a durable manifest has said
    /// that LSNs begin anew behind its end, so none comes back, however the process ends and whatever of the log is lost (I17).
    /// Each record is at least as long as its header, so LSNs that were reserved differ also when counted in headers.
    pub(crate) fn next_number(&self) -> Result<u64> {
        let nothing = Draft {
            kind: Kind::Put,
            flags: 0,
            codec: 0,
            dictionary: 0,
            lsn: 0,
            expire_at_ms: 0,
            key: &[],
            value: &[],
        };
        let bytes = record_bytes(0, 0);
        loop {
            self.check_writable()?;
            let no_room = {
                let guard = crossbeam_epoch::pin();
                match self.log.append(&nothing, &guard) {
                    Ok(place) => {
                        place.resolve(State::Aborted);
                        place.segment.account.charge(bytes);
                        return Ok(place.lsn / bytes);
                    }
                    Err(no_room) => no_room,
                }
            };
            self.log.wait_for_room(no_room)?;
        }
    }
}
