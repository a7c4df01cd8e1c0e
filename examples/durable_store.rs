//! A store on disk: each write is durable before its call returns, and is found again.

use kv::{Options, Sync};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: durable_store DIRECTORY")?;
    let options = Options::new().sync(Sync::Always);
    let db = options.clone().open(&path)?;
    db.increment(b"visits", 1)?;
    db.close()?;

    let db = options.open(&path)?;
    let visits = db.get(b"visits")?.unwrap_or_default();
    println!("visits: {}", String::from_utf8_lossy(&visits));
    db.close()?;
    Ok(())
}
