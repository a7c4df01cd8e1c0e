//! The mark: one key that a store keeps in Redis beside its entries. It says who sends, and how far it came.
//!
//! - **K1** Each batch is one transaction that also writes the mark, under a WATCH of it that was answered before the batch was
//!   sent. Whoever connects writes the mark first. So what an earlier connection still had under way is executed before that or
//!   not at all: no value is overtaken by an older one of the same store.
//! - **K2** The number in the mark tells whether the batch whose answer was lost was executed: it is not sent twice.
//! - **K3** A mark that is gone, or behind what this store wrote last, tells that Redis has lost changes that it acknowledged
//!   (restarted empty, or a replica took over that lagged). What came after is sent again.
//! - **K4** What a batch says of its keys is read from the store after every batch before it was executed or read, and is not used if one
//!   of those is read again: else a key could go back. It may be read before the batch before is executed: what changes a key from then
//!   on has an LSN beyond what is being sent, and what Redis decides waits for what is unsent (D3).

use super::conn::{Conn, Failure};
use redis::Value;

/// What the mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The open of a store that wrote it.
    pub(super) session: u64,
    /// Everything below is in Redis.
    pub(super) lsn: u64,
    /// Batches that the session has sent.
    pub(super) batch: u64,
}

/// Name of a store's mark under a prefix.
pub(super) fn mark_key(prefix: &[u8], store_uuid: [u8; 16]) -> Vec<u8> {
    let mut key = [prefix, MARK_INFIX].concat();
    key.extend(store_uuid.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()));
    key
}

/// What the names of keys begin with, behind the prefix, that are no entries.
const OWN: &[u8] = b"__libkv:";
const MARK_INFIX: &[u8] = b"__libkv:mark:";
const PROBE_INFIX: &[u8] = b"__libkv:probe:";
const LEASE_INFIX: &[u8] = b"__libkv:lease:";

/// Name of the lease of a key.
pub(super) fn lease_key(prefix: &[u8], key: &[u8]) -> Vec<u8> {
    [prefix, LEASE_INFIX, key].concat()
}

/// Name of a key that is changed to see whether that is told.
pub(super) fn probe_key(prefix: &[u8], number: u64) -> Vec<u8> {
    [prefix, PROBE_INFIX, format!("{number:016x}").as_bytes()].concat()
}

/// Whether a key, without its prefix, is some store's mark, a lease or a probe.
pub(super) fn is_own(key: &[u8]) -> bool {
    key.starts_with(OWN)
}

impl Mark {
    pub(super) fn text(&self) -> Vec<u8> {
        format!("1 {:016x} {} {}", self.session, self.lsn, self.batch).into_bytes()
    }

    pub(super) fn parse(text: &[u8]) -> Option<Mark> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let version = words.next()?;
        let mark = Mark {
            session: u64::from_str_radix(words.next()?, 16).ok()?,
            lsn: words.next()?.parse().ok()?,
            batch: words.next()?.parse().ok()?,
        };
        (version == "1" && words.next().is_none()).then_some(mark)
    }

    /// Reads the mark, under a WATCH.
    pub(super) fn watch(conn: &mut Conn, key: &[u8]) -> Result<Option<Mark>, Failure> {
        conn.ask_ok(&[b"WATCH", key])?;
        Mark::read(conn, key)
    }

    /// The mark in an answer.
    pub(super) fn of(answer: &Value) -> Option<Mark> {
        match answer {
            Value::BulkString(text) => Mark::parse(text),
            _ => None,
        }
    }

    /// Whether a server where this mark is found now has what it had when this one stood in it.
    pub(super) fn is_kept(&self, found: Option<Mark>) -> bool {
        found.is_some_and(|found| {
            found.session == self.session && (found.batch, found.lsn) >= (self.batch, self.lsn)
        })
    }

    /// Reads the mark. One that is no mark counts as none.
    pub(super) fn read(conn: &mut Conn, key: &[u8]) -> Result<Option<Mark>, Failure> {
        match conn.ask(&[b"GET", key])? {
            Value::BulkString(text) => Ok(Mark::parse(&text)),
            Value::Nil => Ok(None),
            other => Err(Failure::unexpected("GET of the mark", &other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_nothing_else_is_taken_for_one() {
        let mark = Mark { session: 0xfeed, lsn: 4096, batch: 3 };
        assert_eq!(Mark::parse(&mark.text()), Some(mark));
        for text in [
            "",
            "1",
            "2 000000000000feed 4096 3",
            "1 x 4096 3",
            "1 feed 4096",
            "1 feed 4096 3 4",
            "1 feed -1 3",
        ] {
            assert_eq!(Mark::parse(text.as_bytes()), None, "{text}");
        }
        assert!(mark_key(b"app:", [7; 16]).starts_with(b"app:__libkv:mark:0707"));
    }
}
