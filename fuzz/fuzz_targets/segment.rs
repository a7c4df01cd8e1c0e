//! A segment with hostile bytes, opened strictly, to salvage and to read.
#![no_main]

mod store;

use kv::testing::sign_record;
use libfuzzer_sys::fuzz_target;

/// Where the checksum of a segment's header stands, which covers what is before it.
const HEADER_CRC_AT: usize = 104;
const SALT: std::ops::Range<usize> = 64..72;

fn salt(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(SALT)?.try_into().ok()?))
}

fuzz_target!(|data: &[u8]| {
    let [mode, which, flags, patches @ ..] = data else { return };
    let mut patches = patches;
    let template = store::template();
    let is_segment = |path: &std::path::Path| path.extension().is_some_and(|extension| extension == "seg");
    let segments: Vec<_> = template.files.iter().filter(|(path, _)| is_segment(path)).collect();
    let (path, bytes) = segments[usize::from(*which) % segments.len()];
    let mut bytes = bytes.clone();
    if flags & 1 != 0 {
        let [low, high, rest @ ..] = patches else { return };
        bytes.truncate(usize::from(u16::from_le_bytes([*low, *high])));
        patches = rest;
    }
    let is_signed = flags & 2 != 0;
    // Each patch: where, how many bytes, the bytes.
    while let [low, high, len, rest @ ..] = patches {
        let at = usize::from(u16::from_le_bytes([*low, *high]));
        let len = usize::from(*len).min(rest.len());
        let (new, rest) = rest.split_at(len);
        patches = rest;
        let Some(old) = bytes.get_mut(at..at + len) else { continue };
        old.copy_from_slice(new);
        if is_signed && at >= 4096 {
            // The record may begin here, or this may be its middle: then nothing changes that counts.
            if let Some(salt) = salt(&bytes) {
                sign_record(&mut bytes[at & !7..], salt);
            }
        } else if is_signed && at < HEADER_CRC_AT && bytes.len() >= HEADER_CRC_AT + 4 {
            let crc = crc32fast::hash(&bytes[..HEADER_CRC_AT]);
            bytes[HEADER_CRC_AT..HEADER_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        }
    }
    template.open_with(path, &bytes, *mode, is_signed);
});
