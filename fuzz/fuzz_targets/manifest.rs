//! A manifest of hostile bytes beside sound segments: as it is, and with the checksum that its length asks for.
#![no_main]

mod store;

use libfuzzer_sys::fuzz_target;

const HEADER_BYTES: usize = 56;
const LISTED_BYTES: usize = 72;

fuzz_target!(|data: &[u8]| {
    let [mode, flags, patch @ ..] = data else { return };
    let template = store::template();
    let is_manifest = |path: &std::path::Path| path.to_string_lossy().contains("MANIFEST-");
    let manifests: Vec<_> = template.files.iter().filter(|(path, _)| is_manifest(path)).collect();
    let (path, sound) = manifests[usize::from(*flags >> 4) % manifests.len()];
    let mut bytes = if flags & 1 == 0 { patch.to_vec() } else { sound.clone() };
    if let ([low, high, patch @ ..], true) = (patch, flags & 1 != 0) {
        let at = usize::from(u16::from_le_bytes([*low, *high])) % bytes.len().max(1);
        for (old, new) in bytes[at..].iter_mut().zip(patch) {
            *old = *new;
        }
    }
    let count = bytes.get(12..16).map(|count| u32::from_le_bytes(count.try_into().expect("four bytes")));
    let end = count.and_then(|count| HEADER_BYTES.checked_add(LISTED_BYTES.checked_mul(count as usize)?));
    if let (Some(end), true) = (end, flags & 2 != 0) {
        if bytes.len().checked_sub(4).is_some_and(|last| end <= last) {
            let crc = crc32fast::hash(&bytes[..end]);
            bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
        }
    }
    template.open_with(path, &bytes, *mode, flags & 2 != 0);
});
