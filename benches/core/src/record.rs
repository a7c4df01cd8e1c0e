//! The engine's own files, which its API does not show.

#[path = "../../../src/record/checksum.rs"]
mod checksum;
#[path = "../../../src/record/encode.rs"]
mod encode;
#[path = "../../../src/record/layout.rs"]
mod layout;

pub(crate) use checksum::Seed;
pub(crate) use encode::{fill_body, Draft};
pub(crate) use layout::{Kind, State};
