//! Sequences of C calls with every handle of every kind: a status each time, and nothing worse.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::ffi::{c_char, CString};
use std::os::unix::ffi::OsStrExt;

// So that the functions are linked.
use kv as _;

extern "C" {
    fn fuzz_calls(data: *const u8, len: usize, dir: *const c_char);
}

fuzz_target!(|data: &[u8]| {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = CString::new(dir.path().join("store").as_os_str().as_bytes()).expect("a path");
    // SAFETY: both live for the call, which keeps neither.
    unsafe { fuzz_calls(data.as_ptr(), data.len(), store.as_ptr()) };
});
