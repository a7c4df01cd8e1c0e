//! Which of all processes loads a key.

use super::read::refuse_pinned;
use super::Db;
use crate::error::{Error, Result};
use crate::tag::Tagged;
use crate::tier::Lease;
use std::time::Duration;

/// Who loads a key that a lease is taken for.
pub(super) enum Lead {
    /// Somebody else did.
    Found(Tagged),
    /// This store; without a lease where there is none to be had.
    Loads(Option<Lease>),
}

impl Db {
    /// Takes the lease of a key, or waits for what its holder brings.
    pub(super) fn lead(&self, key: &[u8], time: Duration) -> Result<Lead> {
        let Some(tier) = self.shared.tier.as_ref().filter(|tier| tier.options().reads) else {
            return Ok(Lead::Loads(None));
        };
        let mut waiting = tier.of(key).waiting(time.saturating_mul(2));
        loop {
            match tier.of(key).try_lease(key, time) {
                // Whoever had it before may just have brought the value.
                Ok(Some(lease)) => {
                    return Ok(match self.load_shared(key)? {
                        Some(value) => Lead::Found(value),
                        None => Lead::Loads(Some(lease)),
                    })
                }
                Err(_) => return Ok(Lead::Loads(None)),
                Ok(None) => {}
            }
            // Its holder may wait for this thread's pin.
            refuse_pinned("a load that waits for a lease")?;
            if !waiting.pause()? {
                return Ok(Lead::Loads(None));
            }
            if let Some(value) = self.load_shared(key)? {
                return Ok(Lead::Found(value));
            }
        }
    }

    pub(super) fn try_lease(&self, key: &[u8], time: Duration) -> Result<Option<Lease>> {
        let no_tier = || Error::Tier { reason: "the store has no tier".into() };
        self.shared.tier.as_ref().ok_or_else(no_tier)?.of(key).try_lease(key, time)
    }

    /// Gives a lease back once Redis has what was loaded: whoever takes it then finds that.
    pub(super) fn settle(&self, key: &[u8], lease: Option<Lease>, lsn: Option<u64>) {
        if let (Some(tier), Some(_), Some(lsn)) = (&self.shared.tier, &lease, lsn) {
            // If not in time, those who wait load it too.
            let _ = tier.of(key).wait_acknowledged(lsn);
        }
        drop(lease);
    }
}
