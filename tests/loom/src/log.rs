//! The engine's tail offset, segment chain and signal.
#![allow(dead_code)] // The engine's files, of which the models use a part.

#[path = "../../../src/log/chain.rs"]
mod chain;
#[path = "../../../src/log/signal.rs"]
mod signal;
#[path = "../../../src/log/tail.rs"]
mod tail;

pub(crate) use chain::{Active, Link, Next, Rolled};
pub(crate) use signal::{Crowd, Signal};
pub(crate) use tail::{Reserved, TailOffset};
