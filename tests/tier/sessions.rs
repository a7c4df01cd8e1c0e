//! Sessions of entries that Redis holds.

use super::server::Redis;
use super::{bytes, in_memory, PATIENCE};
use kv::{CreateOptions, Error, Metadata, Wait};

#[test]
fn a_session_brings_in_what_redis_holds_and_sends_the_value_alone() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    redis.set("t:k", "there");
    assert!(db.get_and_lock(b"none", Wait::No).unwrap().is_none());
    assert!(db.create_and_lock(b"k", Wait::No, CreateOptions::new()).unwrap().is_none(), "Redis has one");
    let mut session = db.get_and_lock(b"k", Wait::No).unwrap().unwrap();
    assert_eq!(session.value(), b"there");
    session.value_mut().extend_from_slice(b", edited");
    session.metadata_mut().insert("by".into(), b"me".to_vec());
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:k"), bytes("there"), "nothing is sent before the commit");
    session.commit_and_keep().unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:k"), bytes("there, edited"));
    let metadata = Metadata::from([("by".into(), b"me".to_vec())]);
    assert_eq!(db.get_with_metadata(b"k").unwrap(), Some((b"there, edited".to_vec(), metadata)));
    // Another process that shares the key has the value, and no metadata.
    let other = in_memory(&redis);
    assert_eq!(other.get_with_metadata(b"k").unwrap(), Some((b"there, edited".to_vec(), Metadata::new())));
    session.delete_on_commit(true);
    session.commit().unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:k"), None);
}

#[test]
fn a_change_of_this_store_is_a_conflict_also_where_redis_held_the_entry() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    redis.set("t:k", "there");
    let session = db.get_and_lock(b"k", Wait::No).unwrap().unwrap();
    db.set(b"k", b"mine").unwrap();
    assert!(matches!(session.commit(), Err(Error::Conflict)));
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:k"), bytes("mine"));
}
