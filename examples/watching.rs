//! Being told what changes, and going on later where one stood.

use kv::{Change, Db, Wait, Watch, WatchOptions};

fn tell(watch: &mut Watch) -> kv::Result<()> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    while let Some(change) = watch.next_change(Wait::No)? {
        match change {
            Change::Put(entry) => println!("{} is {}", text(&entry.key), text(&entry.value)),
            Change::Removed { key, .. } => println!("{} is gone", text(&key)),
            _ => println!("all are gone"),
        }
    }
    Ok(())
}

fn main() -> kv::Result<()> {
    let db = Db::in_memory()?;
    let mut watch = db.watch(WatchOptions::new().prefix("user:"))?;
    db.set(b"user:7", b"Alice")?;
    db.set(b"order:1", b"tea")?;
    db.delete(b"user:7")?;
    tell(&mut watch)?;

    // To be kept with what was made of the changes: in a store in a directory it counts after a restart too.
    let position = watch.position();
    drop(watch);
    db.set(b"user:8", b"Bob")?;
    let mut later = db.watch(WatchOptions::new().prefix("user:").after(position))?;
    println!("later:");
    tell(&mut later)?;
    db.clear()?;
    tell(&mut later)?;
    db.close()
}
