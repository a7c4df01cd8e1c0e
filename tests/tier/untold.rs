//! Changes by others where the server lacks `CLIENT TRACKING`: by its notifications, or by comparing.

use super::gate::until;
use super::server::Redis;
use super::{bytes, hears, with, PATIENCE, PATIENT};
use kv::{Db, Error, TierOptions, WhenDeaf, Writes};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn tier(redis: &Redis) -> TierOptions {
    TierOptions::new(redis.url()).fresh(WhenDeaf::Drop).timeout(PATIENT)
}

fn listening(tier: TierOptions) -> Db {
    let db = with(tier).in_memory().unwrap();
    until("changes are heard", || hears(&db));
    db
}

/// Servers that cannot track: one that does not know the command, and one whose user may not use it.
fn without_tracking(notify: &str) -> [Redis; 2] {
    let notify = ["--notify-keyspace-events", notify];
    let renamed = Redis::with(&[&notify[..], &["--rename-command", "CLIENT", "DEAF"]].concat());
    let denied = Redis::with(&notify);
    let rule = ["SETUSER", "default", "-client|tracking"];
    let _: () = redis::cmd("ACL").arg(&rule).query(&mut denied.client()).unwrap();
    [renamed, denied]
}

fn check_seen(redis: &Redis, a: &Db, b: &Db) {
    for n in 0..20 {
        let value = n.to_string();
        let (writer, reader) = if n % 2 == 0 { (a, b) } else { (b, a) };
        writer.set(b"k", value.as_bytes()).unwrap();
        writer.flush(PATIENCE).unwrap();
        until("it is seen", || reader.get(b"k").is_ok_and(|found| found == bytes(&value)));
        assert_eq!(writer.get(b"k").unwrap(), bytes(&value));
    }
    a.delete(b"k").unwrap();
    until("a delete is seen", || b.get(b"k").unwrap().is_none());
    redis.set("t:k", "by another client");
    until("it is seen", || a.get(b"k").is_ok_and(|value| value == bytes("by another client")));
    let _: () = redis::cmd("DEL").arg("t:k").query(&mut redis.client()).unwrap();
    until("it is gone", || a.get(b"k").unwrap().is_none() && b.get(b"k").unwrap().is_none());
}

#[test]
fn notifications_tell_what_others_change() {
    for mut redis in without_tracking("KA") {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&lines);
        let options = with(tier(&redis)).logger(move |line| to.lock().unwrap().push(line.to_string()));
        let a = options.in_memory().unwrap();
        until("changes are heard", || hears(&a));
        let b = listening(tier(&redis));
        check_seen(&redis, &a, &b);
        let follower = listening(tier(&redis).writes(Writes::Refused));
        redis.set("t:f", "1");
        until("it is seen", || follower.get(b"f").is_ok_and(|value| value == bytes("1")));
        redis.set("t:f", "2");
        until("a change of it too", || follower.get(b"f").is_ok_and(|value| value == bytes("2")));
        let told =
            lines.lock().unwrap().iter().filter(|line| line.contains("by keyspace notifications")).count();
        assert_eq!(told, 1, "{:?}", lines.lock().unwrap());
        // What this store wrote itself comes back as a notification, and stays.
        a.set(b"own", b"o").unwrap();
        a.flush(PATIENCE).unwrap();
        let version = a.version(b"own").unwrap();
        redis.set("t:after", "1");
        until("what came after it is heard", || b.get(b"after").is_ok_and(|value| value == bytes("1")));
        let before = a.tier_stats().unwrap().unwrap().fetches;
        assert_eq!((a.get(b"own").unwrap(), a.version(b"own").unwrap()), (bytes("o"), version));
        assert_eq!(a.tier_stats().unwrap().unwrap().fetches, before);
        // Each of many is told of to both, and holds up nothing.
        const MANY: usize = 5000;
        (0..MANY).for_each(|n| a.set(format!("many {n}").as_bytes(), b"v").unwrap());
        a.flush(PATIENCE).unwrap();
        redis.set("t:many 7", "theirs");
        until("a change among many is seen", || a.get(b"many 7").is_ok_and(|value| value == bytes("theirs")));
        until("all are here, and more is heard", || a.len() >= MANY && hears(&a) && hears(&b));
        redis.kill();
        until("it is noticed", || !hears(&a) && !hears(&b));
        assert!(matches!(a.get(b"f"), Err(Error::Tier { .. })));
    }
}

#[test]
fn notifications_that_do_not_tell_of_every_change_are_not_relied_on() {
    for classes in ["K$", "Kg", "E$g"] {
        check_not_relied_on(classes);
    }
}

fn check_not_relied_on(classes: &str) {
    let [redis, _] = without_tracking(classes);
    let db = with(tier(&redis)).in_memory().unwrap();
    redis.set("t:k", "1");
    assert_eq!(db.get(b"k").unwrap(), bytes("1"));
    redis.set("t:k", "2");
    assert_eq!(db.get(b"k").unwrap(), bytes("2"), "a copy was kept");
    let refused = db.preload(b"*", 0, |_| ControlFlow::Continue(()));
    assert!(matches!(refused, Err(Error::Tier { .. })) && !hears(&db));
}

#[test]
fn where_nothing_is_told_everything_is_compared_from_time_to_time() {
    let [mut redis, _] = without_tracking("");
    let period = Duration::from_millis(100);
    let (a, b) = (listening(tier(&redis).resync_every(period)), listening(tier(&redis).resync_every(period)));
    check_seen(&redis, &a, &b);
    redis.set("t:copied", "1");
    until("it is copied", || a.get(b"copied").is_ok_and(|value| value == bytes("1")) && a.len() == 1);
    let _: () = redis::cmd("DEL").arg("t:copied").query(&mut redis.client()).unwrap();
    until("it goes without a read", || a.is_empty());
    redis.kill();
    until("it is noticed", || !hears(&a));
}
