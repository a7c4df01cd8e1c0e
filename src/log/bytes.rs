//! Fixed-width fields of the log's own pages, in order, little-endian.

/// Appends fields to a page image.
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    /// Closes the page with the CRC-32 of all before.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let crc = crc32fast::hash(&self.0);
        self.u32(crc);
        self.0
    }
}

/// Takes fields from bytes that may end too early.
pub(super) struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(all: &'a [u8]) -> Self {
        Reader { all, at: 0 }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let field = self.all.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(*field)
    }

    pub(super) fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Whether the next four bytes are the CRC-32 of all before.
    pub(super) fn checksum_is_good(&mut self) -> Option<bool> {
        let computed = crc32fast::hash(self.all.get(..self.at)?);
        Some(self.u32()? == computed)
    }
}
