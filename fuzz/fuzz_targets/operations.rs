//! The model test, whose random numbers are the fuzzer's bytes.
#![no_main]
#![allow(dead_code)] // The test uses all of what it shares with this.

#[path = "../../tests/support/checks.rs"]
mod checks;
#[path = "../../tests/support/oracle.rs"]
mod oracle;
#[path = "../../tests/support/player.rs"]
mod player;
#[path = "../../tests/support/sequence.rs"]
mod sequence;

use libfuzzer_sys::fuzz_target;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fuzz_target!(|data: &[u8]| {
    if data.len() < 64 {
        return;
    }
    let rng = TestRng::from_seed(RngAlgorithm::PassThrough, data);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let Ok(tree) = sequence::sequence().new_tree(&mut runner) else { return };
    player::run(&tree.current(), &sequence::Totals::default());
});
