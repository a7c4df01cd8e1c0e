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
    // Behind the fuzzer's bytes come others: out of bytes, proptest would draw zeros for ever.
    let mut state = u64::from(crc32fast::hash(data)) | 1;
    let more = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    let bytes: Vec<u8> = data.iter().copied().chain(more.take(1 << 16)).collect();
    let rng = TestRng::from_seed(RngAlgorithm::PassThrough, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let Ok(tree) = sequence::sequence().new_tree(&mut runner) else { return };
    player::run(&tree.current(), &sequence::Totals::default());
});
