//! A value that is dear to make: served while a thread of the store makes it anew. The clock is the example's own.

use kv::{LoadOptions, ManualClock, Options};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Duration;

fn main() -> kv::Result<()> {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let db = Options::new().clock(clock.clone()).in_memory()?;
    let loads = Arc::new(AtomicU32::new(0));
    // Served for a minute, and loaded anew after ten seconds of it.
    let options = LoadOptions::new().ttl(Duration::from_secs(60)).fresh_for(Duration::from_secs(10));
    let price = || {
        let loads = Arc::clone(&loads);
        let loader = move || {
            Ok::<_, kv::Error>(Some(format!("price {}", loads.fetch_add(1, Ordering::SeqCst) + 1).into()))
        };
        db.get_or_load_with(b"gold", options, loader)
            .map(|value| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned())
    };
    println!("loaded: {}", price()?);
    clock.advance(Duration::from_secs(10));
    println!("served while it is loaded anew: {}", price()?);
    while price()? == "price 1" {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("loaded anew: {}", price()?);
    println!("loads: {}", loads.load(Ordering::SeqCst));
    db.close()
}
