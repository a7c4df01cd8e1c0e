//! Every command of the exchange with Redis meets every fault, and afterwards the promises hold.

use super::common::{count, seed};
use super::gate::until;
use super::proxy::{Fault, Proxy};
use super::server::Redis;
use super::{bytes, hears, until_failing, PATIENCE, PATIENT};
use kv::{
    Clock, Db, Encoder, EncoderError, Error, Expiry, Options, SetOptions, SystemClock, TierOptions, Ttl,
    WhenDeaf, Writes,
};
use redis::Commands;
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const FAULTS: [Fault; 24] = [
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::Reset,
    Fault::Half,
    Fault::Hang,
    Fault::Trickle,
    Fault::Refuse("NOPERM User app has no permissions"),
    Fault::Refuse("OOM command not allowed when used memory > 'maxmemory'."),
    Fault::Refuse("READONLY You can't write against a read only replica."),
    Fault::Refuse("LOADING Redis is loading the dataset in memory"),
    Fault::Refuse("MASTERDOWN Link with MASTER is down"),
    Fault::Refuse("CLUSTERDOWN The cluster is down"),
    Fault::Refuse("MOVED 1234 127.0.0.1:7001"),
    Fault::Refuse("ASK 1234 127.0.0.1:7001"),
    Fault::Refuse("TRYAGAIN Multiple keys request during rehashing of slot"),
    Fault::Refuse("BUSY Redis is busy running a script"),
    Fault::Refuse("NOAUTH Authentication required."),
    Fault::Garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    Fault::Garbage(b"+OK\r"),
    Fault::Garbage(b"$4294967296\r\nabc"),
    Fault::Garbage(b"*1000000000\r\n"),
    Fault::Garbage(b":1\r\n"),
    Fault::Garbage(b"$-1\r\n"),
    Fault::Garbage(b"*0\r\n"),
];
/// Commands of one life of a store, about.
const COMMANDS: u64 = 40;

fn through(proxy: &Proxy, prefix: &str) -> TierOptions {
    TierOptions::new(proxy.url())
        .prefix(prefix)
        .timeout(Duration::from_millis(150))
        .backoff_max(Duration::from_millis(20))
}

fn in_memory(tier: TierOptions) -> Db {
    Options::new().tier(tier).in_memory().unwrap()
}

/// A store's life with one fault in it.
fn live(redis: &Redis, number: u64, skipped: u64, fault: Fault) {
    let said = format!("command {skipped} meets {fault:?}");
    let proxy = Proxy::to(redis.socket());
    let prefix = format!("f{number}:");
    let db = in_memory(through(&proxy, &prefix));
    proxy.plan(skipped, fault);
    let flush = || db.flush(PATIENCE).unwrap_or_else(|error| panic!("{said}: {error}"));
    db.set(b"a", b"1").unwrap();
    db.set(b"b", b"1").unwrap();
    db.set_with(b"c", b"1", SetOptions::new().ttl(Duration::from_secs(60))).unwrap();
    flush();
    db.set(b"a", b"2").unwrap();
    db.delete(b"b").unwrap();
    assert_eq!(db.get(b"b").unwrap_or(None), None, "{said}: a deleted key is back");
    // Fails only before it has changed anything: it asks Redis first.
    until(&said, || match db.increment(b"n", 1) {
        Err(Error::Tier { .. }) => false,
        result => result.unwrap() == 1,
    });
    flush();
    db.set(b"a", b"3").unwrap();
    redis.set(&format!("{prefix}x"), "theirs");
    // The fault may be met by any question; the next one is answered.
    let check = |key: &str, expected: Option<Vec<u8>>| {
        until(&said, || match db.get(key.as_bytes()) {
            Ok(value) => value == expected || panic!("{said}: {key} is {value:?}"),
            Err(Error::Tier { .. }) => false,
            Err(error) => panic!("{said}: {error}"),
        });
    };
    check("x", bytes("theirs"));
    flush();
    let found = redis.entries(&prefix);
    let expected = [("a", "3"), ("c", "1"), ("n", "1"), ("x", "theirs")];
    let expected = expected.map(|(key, value)| (format!("{prefix}{key}"), value.as_bytes().to_vec()));
    assert_eq!(found, expected, "{said}");
    for (key, value) in [("a", bytes("3")), ("b", None), ("c", bytes("1")), ("n", bytes("1"))] {
        check(key, value);
    }
    let there = redis.pttl(&format!("{prefix}c"));
    assert!((1..=60_000).contains(&there), "{said}: {there} ms");
    let Some(Ttl::Remaining(_)) = db.ttl(b"c").unwrap() else { panic!("{said}: c lost its time") };
}

/// Calls that Redis has no part in, which do not wait for it. `k` is here.
fn call_locally(db: &Db) {
    let began = Instant::now();
    for n in 0..10_000 {
        db.set(format!("{n}").as_bytes(), b"v").unwrap();
        assert!(db.get(b"k").unwrap().is_some());
        db.delete(format!("{n}").as_bytes()).unwrap();
    }
    assert!(began.elapsed() < PATIENCE, "{:?} for 30,000 calls", began.elapsed());
}

#[test]
fn each_fault_at_each_command_leaves_redis_with_the_newest_values() {
    let redis = Redis::start();
    let all = (0..COMMANDS).flat_map(|skipped| FAULTS.map(|fault| (skipped, fault)));
    let all: Vec<_> = all.collect();
    // One in so many of them, others each time.
    let one_in = count("KV_TIER_FAULTS_ONE_IN", 8);
    let first = seed("KV_TIER_FAULT_SEED") % one_in;
    let next = AtomicU64::new(first);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| loop {
                let number = next.fetch_add(one_in, Ordering::SeqCst);
                let Some((skipped, fault)) = all.get(number as usize) else { return };
                live(&redis, number, *skipped, *fault);
            });
        }
    });
}

#[test]
fn a_batch_whose_answer_was_lost_is_not_sent_again_over_a_newer_value_of_others() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let db = in_memory(through(&proxy, "t:").timeout(PATIENT));
    db.set(b"warm", b"up").unwrap();
    db.flush(PATIENCE).unwrap();
    // After the batch, and before the store can know of it and ask again.
    let (client, is_over) = (Mutex::new(redis.client()), AtomicBool::new(false));
    proxy.before_answer("EXEC", move || {
        if !is_over.swap(true, Ordering::SeqCst) {
            let _: () = client.lock().unwrap().set("t:k", "theirs").unwrap();
        }
    });
    proxy.plan_next("EXEC", Fault::CutAfter);
    db.set(b"k", b"ours").unwrap();
    db.flush(PATIENCE).unwrap();
    assert!(proxy.has_struck());
    assert_eq!(redis.get("t:k"), bytes("theirs"));
}

/// Has a key changed once it was read, before that is sent.
struct Changing {
    key: &'static [u8],
    is_read: SyncSender<()>,
    is_changed: Mutex<Receiver<()>>,
}

impl Encoder for Changing {
    fn encode(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, EncoderError> {
        if key == self.key && value == b"v" && self.is_read.send(()).is_ok() {
            let _ = self.is_changed.lock().unwrap().recv();
        }
        Ok(value.to_vec())
    }

    fn decode(&self, _key: &[u8], string: &[u8], _bytes_max: usize) -> Result<Vec<u8>, EncoderError> {
        Ok(string.to_vec())
    }
}

/// Of 1,200 keys that come at once, in three batches, the second is encoded while Redis has the first.
#[test]
fn what_was_encoded_before_a_batch_failed_takes_no_key_with_it_and_overtakes_no_change() {
    const KEYS: usize = 1200;
    for fault in [
        None,
        Some(Fault::CutBefore),
        Some(Fault::CutAfter),
        Some(Fault::Hang),
        Some(Fault::Refuse("OOM command not allowed when used memory > 'maxmemory'.")),
    ] {
        let redis = Redis::start();
        let proxy = Arc::new(Proxy::to(redis.socket()));
        proxy.set_down(true);
        let (is_read, reads) = sync_channel(0);
        let (changes, is_changed) = sync_channel(0);
        let encoder = Changing { key: b"k0700", is_read, is_changed: Mutex::new(is_changed) };
        // An answer that is late would be a fault more.
        let timeout = if fault == Some(Fault::Hang) { Duration::from_secs(2) } else { PATIENCE };
        let db = in_memory(through(&proxy, "t:").timeout(timeout).encoder(encoder));
        let name = |n: usize| format!("k{n:04}");
        let all: Vec<_> = (0..KEYS).map(|n| (name(n), b"v")).collect();
        // At once: what is read of the log at first are all of them.
        db.set_many(&all).unwrap();
        // The first MSET is that of the first batch: what connects writes the mark alone.
        let (is_over, planning) = (AtomicBool::new(false), Arc::downgrade(&proxy));
        proxy.before_answer("MSET", move || {
            if let (false, Some(fault)) = (is_over.swap(true, Ordering::SeqCst), fault) {
                planning.upgrade().unwrap().plan_next("EXEC", fault);
            }
        });
        proxy.set_down(false);
        reads.recv_timeout(PATIENCE).unwrap();
        db.set(b"k0700", b"later").unwrap();
        drop((reads, changes));
        db.flush(PATIENCE).unwrap();
        assert!(proxy.has_struck(), "{fault:?}");
        let expected: Vec<_> = (0..KEYS)
            .map(|n| (format!("t:{}", name(n)), if n == 700 { b"later".to_vec() } else { b"v".to_vec() }))
            .collect();
        assert_eq!(redis.entries("t:"), expected, "{fault:?}");
        // Each once, but for the one that was changed.
        let sent = db.tier_stats().unwrap().unwrap().sent_keys;
        assert!((KEYS as u64..=KEYS as u64 + 1).contains(&sent), "{fault:?}: {sent} were sent");
    }
}

/// Tells when it is asked by the thread of this name.
struct Asked {
    by: &'static str,
    is_asked: Arc<AtomicBool>,
}

impl Clock for Asked {
    fn unix_ms(&self) -> u64 {
        if std::thread::current().name() == Some(self.by) {
            self.is_asked.store(true, Ordering::SeqCst);
        }
        SystemClock.unix_ms()
    }
}

/// D3: an increment that is asked for, then a plain write, which is sent with what was written before the question.
#[test]
fn an_increment_that_was_answered_is_not_undone_by_a_write_that_was_sent_ahead_of_its_turn() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    proxy.set_down(true);
    let (is_read, reads) = sync_channel(0);
    let (changes, is_changed) = sync_channel(0);
    let encoder = Changing { key: b"a", is_read, is_changed: Mutex::new(is_changed) };
    let is_asked = Arc::new(AtomicBool::new(false));
    let clock = Asked { by: "increments", is_asked: Arc::clone(&is_asked) };
    let tier = through(&proxy, "t:").timeout(PATIENCE).encoder(encoder);
    let options = Options::new().default_ttl(Some(Duration::from_secs(3600))).clock(Arc::new(clock));
    let db = options.tier(tier).in_memory().unwrap();
    let lasting = || SetOptions::new().expiry(Expiry::Never);
    db.set_with(b"a", b"v", lasting()).unwrap();
    db.set_with(b"n", b"1", lasting()).unwrap();
    proxy.set_down(false);
    reads.recv_timeout(PATIENCE).unwrap();
    let sum = std::thread::scope(|scope| {
        let increment = || db.increment_shared(b"n", 1).unwrap();
        let increment = std::thread::Builder::new().name("increments".into()).spawn_scoped(scope, increment);
        // For the deadline of an entry that it may make, behind the look at what stands.
        until("the increment is asked for", || is_asked.load(Ordering::SeqCst));
        db.set_with(b"n", b"500", lasting()).unwrap();
        drop((reads, changes));
        increment.unwrap().join().unwrap()
    });
    db.flush(PATIENCE).unwrap();
    assert_eq!((sum, redis.get("t:n")), (501, bytes("501")));
}

#[test]
fn what_an_earlier_connection_still_had_under_way_overtakes_nothing() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let db = in_memory(through(&proxy, "t:"));
    db.set(b"warm", b"up").unwrap();
    db.flush(PATIENCE).unwrap();
    proxy.plan_next("EXEC", Fault::Late);
    db.set(b"k", b"old").unwrap();
    until("it is held", || proxy.has_struck());
    db.set(b"k", b"new").unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:k"), bytes("new"));
    proxy.let_late();
    assert_eq!(redis.get("t:k"), bytes("new"), "a value that hung somewhere has overtaken a newer one");
    db.delete(b"k").unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:k"), None);
}

/// A connection may send only while its mark is watched: what follows a batch may be refused when that is not.
#[test]
fn a_connection_whose_watch_was_refused_sends_nothing_that_could_overtake() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let db = in_memory(through(&proxy, "t:"));
    db.set(b"warm", b"up").unwrap();
    db.flush(PATIENCE).unwrap();
    proxy.plan_next("WATCH", Fault::Refuse("LOADING Redis is loading the dataset in memory"));
    db.set(b"k", b"first").unwrap();
    db.flush(PATIENCE).unwrap();
    until("what follows the batch is refused", || proxy.has_struck());
    proxy.plan_next("EXEC", Fault::Late);
    db.set(b"k", b"old").unwrap();
    until("it is held", || proxy.has_struck());
    db.set(b"k", b"new").unwrap();
    db.flush(PATIENCE).unwrap();
    proxy.let_late();
    assert_eq!(redis.get("t:k"), bytes("new"), "a value that hung somewhere has overtaken a newer one");
}

#[test]
fn a_mark_that_an_earlier_connection_still_had_under_way_looks_like_no_loss() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let db = in_memory(through(&proxy, "t:"));
    // Whoever connects writes the mark first.
    proxy.plan_next("EXEC", Fault::Late);
    db.set(b"k", b"ours").unwrap();
    until("it is held", || proxy.has_struck());
    db.flush(PATIENCE).unwrap();
    redis.set("t:k", "theirs");
    proxy.let_late();
    db.set(b"other", b"v").unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!((redis.get("t:k"), redis.get("t:other")), (bytes("theirs"), bytes("v")));
}

#[test]
fn local_calls_wait_for_no_redis_that_hangs() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let db = in_memory(through(&proxy, "t:").timeout(PATIENCE * 10));
    db.set(b"k", b"0").unwrap();
    db.flush(PATIENCE).unwrap();
    proxy.plan_next("EXEC", Fault::Hang);
    db.set(b"k", b"1").unwrap();
    until("it hangs", || proxy.has_struck());
    call_locally(&db);
    let began = Instant::now();
    db.close().unwrap();
    assert!(began.elapsed() < PATIENCE, "{:?} for a close: it waits for Redis", began.elapsed());
}

/// Connections to a local port that nobody has answered yet.
fn connecting_to(port: u16) -> usize {
    const SYN_SENT: &str = "02";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to = format!(":{port:04X}");
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 3 && row[2].ends_with(&to) && row[3] == SYN_SENT).count()
}

#[test]
fn close_waits_for_no_connection_that_is_being_made() {
    // A queue that is full: what else comes is not answered.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
    let _queue: Vec<_> = std::iter::from_fn(connect).take(1000).collect();
    // A connection may take longer than this test.
    let tier = TierOptions::new(format!("redis://{address}")).timeout(PATIENCE * 100);
    let db = in_memory(tier.fresh(WhenDeaf::Drop));
    db.set(b"k", b"v").unwrap();
    let (asking, closing) = (db.clone(), db.clone());
    let asks = std::thread::spawn(move || asking.get(b"nowhere"));
    until("who sends, asks and hears connects", || connecting_to(address.port()) == 3);
    let (closed, is_closed) = std::sync::mpsc::channel();
    // Not joined where it fails: it would wait for as long as the connection.
    std::thread::spawn(move || closed.send(closing.close()));
    is_closed.recv_timeout(PATIENCE).expect("close waits for a connection").unwrap();
    assert!(asks.join().unwrap().is_err());
}

#[test]
fn a_server_that_says_a_byte_a_second_is_given_up_in_time_and_holds_nobody_up() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let timeout = Duration::from_millis(2500);
    let tier = || through(&proxy, "t:").timeout(timeout);
    let db = in_memory(tier().fresh(WhenDeaf::Drop));
    db.set(b"k", b"0").unwrap();
    db.flush(PATIENCE).unwrap();
    until("changes are heard", || hears(&db));
    redis.set("t:theirs", "1");
    until("it is copied", || db.get(b"theirs").is_ok_and(|value| value == bytes("1")) && db.len() == 2);
    proxy.set_slow(true);
    db.set(b"k", b"1").unwrap();
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| {
            let began = Instant::now();
            let result = db.get(b"nowhere");
            (result, began.elapsed())
        });
        call_locally(&db);
        let (result, took) = asks.join().unwrap();
        assert!(matches!(result, Err(Error::Tier { .. })), "{result:?}");
        assert!(took < PATIENCE, "{took:?}");
    });
    until("it is given up", || db.tier_stats().unwrap().unwrap().failing.is_some() && !hears(&db));
    assert!(proxy.slow_bytes() >= 2, "{} bytes", proxy.slow_bytes());
    until("a copy that cannot be kept fresh goes", || matches!(db.get(b"theirs"), Err(Error::Tier { .. })));
    // One that is opened meanwhile, and closed.
    let other = in_memory(tier().timeout(PATIENCE * 10));
    other.set(b"other", b"lost with the memory").unwrap();
    let began = Instant::now();
    other.close().unwrap();
    assert!(began.elapsed() < PATIENCE, "{:?} for a close", began.elapsed());
    proxy.set_slow(false);
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.entries("t:"), [("t:k".into(), b"1".to_vec()), ("t:theirs".into(), b"1".to_vec())]);
    until("it is heard again", || hears(&db) && db.get(b"theirs").is_ok_and(|value| value == bytes("1")));
}

#[test]
fn a_store_is_closed_by_who_holds_a_pin() {
    let redis = Redis::start();
    let db = in_memory(TierOptions::new(redis.url()).fresh(WhenDeaf::Keep));
    let pin = db.pin_owned().unwrap();
    until("the thread that hears waits for pins", || {
        let info: String = redis::cmd("INFO").arg("clients").query(&mut redis.client()).unwrap();
        info.contains("tracking_clients:1")
    });
    let (closed, is_closed) = std::sync::mpsc::channel();
    let closing = std::thread::spawn(move || closed.send(db.close()).unwrap());
    let result = is_closed.recv_timeout(Duration::from_secs(20));
    drop(pin);
    result.expect("close waits for the pin").unwrap();
    closing.join().unwrap();
}

#[test]
fn refusals_of_a_real_server_are_told_and_what_was_refused_comes_later() {
    let redis = Redis::start();
    let config = |name: &str, value: &str| {
        let _: () = redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query(&mut redis.client()).unwrap();
    };
    let tier = TierOptions::new(redis.url()).prefix("t:").timeout(PATIENT);
    let db = in_memory(tier.backoff_max(Duration::from_millis(20)));
    db.set(b"k", b"1").unwrap();
    db.flush(PATIENCE).unwrap();
    config("maxmemory", "1");
    db.set(b"k", b"2").unwrap();
    until_failing(&db, "OOM");
    let refused = db.flush(Duration::from_millis(200)).unwrap_err().to_string();
    assert!(refused.contains("OOM"), "{refused}");
    assert_eq!(db.get(b"k").unwrap(), bytes("2"));
    config("maxmemory", "0");
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:k"), bytes("2"));
    let replica_of = |host: &str, port: &str| {
        let _: () = redis::cmd("REPLICAOF").arg(host).arg(port).query(&mut redis.client()).unwrap();
    };
    replica_of("127.0.0.1", "1");
    db.set(b"k", b"3").unwrap();
    until_failing(&db, "READONLY");
    let refused = db.flush(Duration::from_millis(200)).unwrap_err().to_string();
    assert!(refused.contains("READONLY"), "{refused}");
    replica_of("no", "one");
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:k"), bytes("3"));
}

#[test]
fn who_waited_until_everything_is_there_finds_no_failure_that_is_over() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let db = in_memory(through(&proxy, "t:").timeout(PATIENT).backoff_max(Duration::from_millis(1)));
    for n in 0..200 {
        proxy.plan_next("EXEC", Fault::Refuse("LOADING Redis is loading"));
        db.set(b"k", format!("{n}").as_bytes()).unwrap();
        db.flush(PATIENCE).unwrap();
        let stats = db.tier_stats().unwrap().unwrap();
        assert_eq!((stats.unsent_keys, stats.failing, proxy.has_struck()), (0, None, true), "time {n}");
    }
}

#[test]
fn a_write_through_whose_answer_is_lost_says_so_and_is_found_executed() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let db = in_memory(through(&proxy, "t:").timeout(PATIENT).writes(Writes::Through));
    db.set(b"k", b"1").unwrap();
    proxy.plan_next("EXEC", Fault::CutAfter);
    let result = db.set(b"k", b"2");
    assert!(result.is_ok() || matches!(result, Err(Error::Tier { .. })), "{result:?}");
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:k"), bytes("2"));
    assert_eq!(db.tier_stats().unwrap().unwrap().unsent_keys, 0);
}
