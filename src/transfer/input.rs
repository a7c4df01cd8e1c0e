//! What an import reads, and how far it has come.

use crate::error::{Error, Result};
use std::cell::Cell;
use std::io::{BufRead, Read};
use std::path::Path;

/// Longest line, row or command of an import, in bytes: a value of the largest default size, escaped.
pub(super) const ITEM_BYTES_MAX: u64 = 2 << 30;

/// A place in the input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    /// Counted from 1.
    pub(super) line: u64,
    pub(super) offset: u64,
}

/// Counts lines and bytes as they are consumed.
pub(super) struct Input<'c, R> {
    from: R,
    at: &'c Cell<Position>,
}

pub(super) fn read_error(error: std::io::Error) -> Error {
    Error::io("read", Path::new("the import"), error)
}

pub(super) fn too_long() -> String {
    format!("more than {ITEM_BYTES_MAX} bytes")
}

impl<'c, R: BufRead> Input<'c, R> {
    pub(super) fn new(from: R, at: &'c Cell<Position>) -> Self {
        Input { from, at }
    }

    pub(super) fn position(&self) -> Position {
        self.at.get()
    }

    /// The next byte, which stays; `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            match self.from.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(error)),
            }
        }
    }

    /// What has come of it and is not consumed yet: a byte at least, unless it is over.
    pub(super) fn buffered(&mut self) -> Result<&[u8]> {
        self.peek()?;
        self.from.fill_buf().map_err(read_error)
    }

    /// Appends bytes up to and with the first `last`, or to the end, and not more than `bytes_max`; how many.
    pub(super) fn read_to(&mut self, last: u8, bytes_max: u64, to: &mut Vec<u8>) -> Result<u64> {
        let read = self.take(bytes_max).read_until(last, to).map_err(read_error)?;
        Ok(read as u64)
    }

    /// Appends so many bytes, as they come and not before; whether there were as many.
    pub(super) fn read_bytes(&mut self, bytes: u64, to: &mut Vec<u8>) -> Result<bool> {
        let read = self.take(bytes).read_to_end(to).map_err(read_error)?;
        Ok(read as u64 == bytes)
    }
}

impl<R: BufRead> Read for Input<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.from.fill_buf()?;
        let len = bytes.len().min(to.len());
        for (to, from) in to.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.consume(len);
        Ok(len)
    }
}

impl<R: BufRead> BufRead for Input<'_, R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.from.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        let mut at = self.at.get();
        // What is consumed is in the buffer, so this reads nothing.
        if let Ok(bytes) = self.from.fill_buf() {
            at.line += bytes.iter().take(len).filter(|byte| **byte == b'\n').count() as u64;
        }
        at.offset += len as u64;
        self.at.set(at);
        self.from.consume(len);
    }
}
