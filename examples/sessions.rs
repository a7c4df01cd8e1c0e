//! Orders, each edited by one worker at a time and seen by all others as it was committed last.

use kv::{CreateOptions, Db, Error, KeyOptions, Wait};

fn main() -> kv::Result<()> {
    let db = Db::in_memory()?;

    // A key that was never given before; the entry is there with the commit.
    let mut order =
        db.create_generated_and_lock(&KeyOptions::new().prefix("order:").base(36).width(8), "apples")?;
    order.metadata_mut().insert("by".into(), b"Alice".to_vec());
    let key = order.key().to_vec();
    println!("there before the commit: {}", yes(db.contains(&key)?));
    order.commit()?;

    // Readers see what was committed last, and another worker is told that the order is taken.
    let mut order = db.get_and_lock(&key, Wait::Forever)?.expect("it was committed");
    order.value_mut().extend_from_slice(b", pears");
    println!("seen meanwhile: {}", String::from_utf8_lossy(&db.get(&key)?.unwrap_or_default()));
    println!("taken: {}", yes(matches!(db.get_and_lock(&key, Wait::No), Err(Error::KeyLocked))));

    // A plain write is not held up. The commit says so, and the edit is made anew on what stands there now.
    db.set(&key, b"plums")?;
    let conflict = order.commit_or_keep().expect_err("somebody else has written");
    println!("conflict: {}", yes(matches!(conflict.error, Error::Conflict)));
    let mut order = conflict.session;
    order.reload()?;
    order.value_mut().extend_from_slice(b", pears");
    order.metadata_mut().insert("by".into(), b"Bob".to_vec());
    order.commit()?;
    let (value, metadata) = db.get_with_metadata(&key)?.expect("it was committed");
    println!("{}, by {}", String::from_utf8_lossy(&value), String::from_utf8_lossy(&metadata["by"]));

    // One that sees to it that nothing stays.
    if let Some(mut order) = db.create_and_lock(&key, Wait::No, CreateOptions::new().allow_existing(true))? {
        order.delete_on_commit(true);
        order.commit()?;
    }
    println!("left: {}", db.len());
    db.close()
}

fn yes(is_so: bool) -> &'static str {
    if is_so {
        "yes"
    } else {
        "no"
    }
}
