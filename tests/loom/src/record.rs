//! The engine's record word.
#![allow(dead_code)] // The engine's files, of which the models use a part.

#[path = "../../../src/record/layout.rs"]
mod layout;
#[path = "../../../src/record/live.rs"]
mod live;

pub(crate) use layout::{Kind, State, Word, HEADER_BYTES};
pub(crate) use live::LiveWord;
