//! Hostile bytes as a record: with the checksum that they have, and with one that is right.
#![no_main]

use kv::testing::{decode_record, sign_record};
use libfuzzer_sys::fuzz_target;

const SALT: u64 = 42;

fuzz_target!(|data: &[u8]| {
    let check = |bytes: &[u8]| {
        if let Some(record_bytes) = decode_record(bytes, SALT) {
            assert!(record_bytes >= 32 && record_bytes % 8 == 0 && record_bytes <= bytes.len() as u64);
        }
    };
    check(data);
    let mut signed = data.to_vec();
    if sign_record(&mut signed, SALT) {
        check(&signed);
    }
});
