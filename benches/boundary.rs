//! What the C boundary costs: `kv_get` into a buffer against the crate's get and copy, in one run. `make bench-c`.
//!
//! A thousand keys of 16 bytes with values of 100, so that caches hold them and the difference is the boundary's own. The
//! function is called by its C symbol with C types; nothing is inlined across it.

use std::ffi::c_void;
use std::hint::black_box;
use std::ptr::null_mut;
use std::time::Instant;

const KEYS: u64 = 1_000;
const CALLS: u64 = 1_000_000;
const ROUNDS: usize = 31;
const VALUE_BYTES: usize = 100;

extern "C" {
    fn kv_open_in_memory(options: *const c_void, db: *mut *mut c_void, error: *mut *mut c_void) -> i32;
    fn kv_set(
        db: *const c_void,
        key: *const c_void,
        key_len: usize,
        value: *const c_void,
        value_len: usize,
        error: *mut *mut c_void,
    ) -> i32;
    fn kv_get(
        db: *const c_void,
        key: *const c_void,
        key_len: usize,
        buffer: *mut c_void,
        buffer_len: usize,
        value_len: *mut usize,
        error: *mut *mut c_void,
    ) -> i32;
    fn kv_db_free(db: *mut c_void) -> i32;
}

fn key(n: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key
}

/// Nanoseconds a call.
fn time(mut get: impl FnMut(&[u8; 16], &mut [u8; VALUE_BYTES]) -> usize) -> f64 {
    let mut buffer = [0; VALUE_BYTES];
    let begun = Instant::now();
    for n in 0..CALLS {
        let len = get(&key(n % KEYS), black_box(&mut buffer));
        assert_eq!(len, VALUE_BYTES);
    }
    begun.elapsed().as_nanos() as f64 / CALLS as f64
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() {
    let rust = kv::Db::in_memory().expect("a store");
    let mut c: *mut c_void = null_mut();
    // SAFETY: as kv.h asks: `c` is a place for a handle.
    assert_eq!(unsafe { kv_open_in_memory(null_mut(), &mut c, null_mut()) }, 0);
    for n in 0..KEYS {
        rust.set(&key(n), &[7; VALUE_BYTES]).expect("a set");
        let (key, value) = (key(n), [7u8; VALUE_BYTES]);
        // SAFETY: as kv.h asks: the lengths are those of the arrays.
        let status =
            unsafe { kv_set(c, key.as_ptr().cast(), 16, value.as_ptr().cast(), VALUE_BYTES, null_mut()) };
        assert_eq!(status, 0);
    }
    let from_rust = |key: &[u8; 16], buffer: &mut [u8; VALUE_BYTES]| {
        let copy = |value: &[u8]| {
            buffer[..value.len()].copy_from_slice(value);
            value.len()
        };
        rust.get_with(key, copy).expect("a get").expect("a value")
    };
    let from_c = |key: &[u8; 16], buffer: &mut [u8; VALUE_BYTES]| {
        let mut len = 0;
        let to = buffer.as_mut_ptr().cast();
        // SAFETY: as kv.h asks: the lengths are those of the arrays, and no output overlaps another.
        let status = unsafe { kv_get(c, key.as_ptr().cast(), 16, to, VALUE_BYTES, &mut len, null_mut()) };
        assert_eq!(status, 0);
        len
    };
    let (mut rust_ns, mut c_ns, mut difference_ns) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (rust, c) = (time(from_rust), time(from_c));
        rust_ns.push(rust);
        c_ns.push(c);
        difference_ns.push(c - rust);
    }
    // SAFETY: as kv.h asks: opened above, not used again.
    unsafe { kv_db_free(c) };
    println!("Rust get + copy      {:6.1} ns", median(rust_ns));
    println!("C kv_get into buffer {:6.1} ns", median(c_ns));
    println!(
        "difference           {:6.1} ns (median of {ROUNDS} pairs; target: at most +10)",
        median(difference_ns)
    );
}
