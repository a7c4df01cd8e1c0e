//! What the index asks of records, answered from the log's segments.

use super::Found;
use crate::index::{Address, Record, Records};
use crate::log::Table;
use crate::reclaim::Protected;
use crate::record::is_same_key;

impl<'g> Record<'g> for Found<'g> {
    #[inline]
    fn key(&self) -> &'g [u8] {
        self.1.key
    }

    #[inline]
    fn lsn(&self) -> u64 {
        self.1.lsn
    }
}

impl Records for Table {
    type Record<'g> = Found<'g>;

    #[inline]
    fn read<'g>(&'g self, address: Address, protected: Protected<'g>) -> Option<Found<'g>> {
        let segment = self.get(address.segment(), protected)?;
        Some((segment, segment.view(address.offset_bytes())?))
    }

    // In the order in which least has to be kept at hand.
    #[inline(always)]
    fn read_at_once<'g>(
        &'g self,
        address: Address,
        key: &[u8],
        protected: Protected<'g>,
    ) -> Option<Found<'g>> {
        let segment = self.get(address.segment(), protected)?;
        segment.prefetch(address.offset_bytes());
        if address.is_expired() || !segment.is_plain() {
            return None;
        }
        let view = segment.view(address.offset_bytes())?;
        (view.word.is_plain_put() && is_same_key(view.key, key)).then_some((segment, view))
    }

    #[inline]
    fn read_of<'g>(&'g self, address: Address, key: &[u8], protected: Protected<'g>) -> Option<Found<'g>> {
        let segment = self.get(address.segment(), protected)?;
        // Where the value lies stands in the record's first line: the others would come only after that one.
        segment.prefetch(address.offset_bytes());
        let view = segment.view(address.offset_bytes())?;
        is_same_key(view.key, key).then_some((segment, view))
    }

    #[inline]
    fn prefetch(&self, address: Address, protected: Protected<'_>) {
        if let Some(segment) = self.get(address.segment(), protected) {
            segment.prefetch(address.offset_bytes());
        }
    }
}
