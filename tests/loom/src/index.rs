//! The engine's index slot.
#![allow(dead_code)] // The engine's files, of which the models use a part.

#[path = "../../../src/index/slot.rs"]
mod slot;

pub(crate) use slot::{Address, Content, Refused, Slot};

pub(crate) fn empty_slot() -> Slot {
    Slot::empty()
}

pub(crate) fn seal(slot: &Slot, mask: Address) -> bool {
    slot.seal(mask)
}
