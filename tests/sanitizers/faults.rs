//! What AddressSanitizer has to find, by name: so that a run which finds nothing means something.

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("use-after-free") => {
            let freed = std::hint::black_box(Box::into_raw(Box::new([1u64; 8])));
            // SAFETY: made by `Box::into_raw` and freed once.
            drop(unsafe { Box::from_raw(freed) });
            // SAFETY: none: this is the fault.
            println!("{}", unsafe { std::ptr::read_volatile(freed.cast::<u64>()) });
        }
        Some("leak") => drop(std::hint::black_box(std::mem::ManuallyDrop::new(vec![1u8; 4096])).len()),
        other => panic!("no fault is called {other:?}"),
    }
}
