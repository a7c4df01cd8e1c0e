//! Keys in order: what a scan selects, sorting no more than is asked for, and a list of keys that is kept in order.

mod list;
mod range;
mod sorted;

pub(crate) use list::KeyList;
pub(crate) use range::KeyRange;
pub(crate) use sorted::Sorted;
