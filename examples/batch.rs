//! Many keys in one call: set, read, scanned, deleted.

use kv::{Batch, Db, Expiry, ScanOptions};
use std::time::Duration;

fn main() -> kv::Result<()> {
    let db = Db::in_memory()?;
    db.set_many(&[("city:1", "Oslo"), ("city:2", "Lima"), ("city:3", "Kyoto")])?;

    let keys = ["city:2", "city:9"];
    for (key, value) in keys.iter().zip(db.get_many(&keys)?) {
        println!("{key}: {}", String::from_utf8_lossy(&value.unwrap_or_default()));
    }

    // Sets and deletes together: after a crash all of it is there or nothing.
    let mut batch = Batch::new();
    batch.delete("city:1").set_expiring("city:4", "Quito", Expiry::After(Duration::from_secs(60)));
    db.apply(&batch)?;

    for entry in db.scan(ScanOptions::new().prefix("city:").ordered(true))? {
        let entry = entry?;
        println!("{} = {}", String::from_utf8_lossy(&entry.key), String::from_utf8_lossy(&entry.value));
    }
    db.close()
}
