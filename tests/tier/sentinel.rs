//! The master that sentinels name, and what a failover leaves behind.

use super::gate::until;
use super::server::{free_port, Redis};
use super::{bytes, until_failing, with, PATIENCE, PATIENT};
use kv::{Db, Error, SetOptions, TierOptions, WhenDeaf, Writes};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A sentinel that watches a master as `main`.
struct Sentinel {
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Sentinel {
    fn watch(master: &Redis, quorum: u32, more: &str) -> Sentinel {
        loop {
            let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
            let config = format!(
                "port {port}\nbind 127.0.0.1\ndir {dir}\nsentinel monitor main 127.0.0.1 {master} {quorum}\n\
                 sentinel down-after-milliseconds main 3000\nsentinel failover-timeout main 6000\n{more}\n",
                dir = dir.path().display(),
                master = master.port(),
            );
            std::fs::write(dir.path().join("sentinel.conf"), config).unwrap();
            let mut child = Command::new("redis-server")
                .arg(dir.path().join("sentinel.conf"))
                .arg("--sentinel")
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server: scripts/need.sh redis-server=redis-server installs it");
            let mut runs = true;
            until("the sentinel answers", || {
                runs = child.try_wait().unwrap().is_none();
                !runs || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if runs {
                return Sentinel { dir, port, child };
            }
        }
    }

    fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        redis::cmd("SENTINEL").arg(command).query(&mut client.get_connection().unwrap()).unwrap()
    }

    fn master_port(&self) -> String {
        self.ask::<(String, String)>(&["GET-MASTER-ADDR-BY-NAME", "main"]).1
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let _ = &self.dir;
    }
}

fn url(sentinels: &[u16]) -> String {
    let hosts: Vec<String> = sentinels.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("redis+sentinel://{}/main", hosts.join(","))
}

fn replica_of(master: &Redis) -> Redis {
    let replica = Redis::with(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    until("the replica follows", || {
        replica.run::<String>("INFO replication").contains("master_link_status:up")
    });
    replica
}

fn follower(tier: TierOptions) -> Db {
    let db = with(tier.fresh(WhenDeaf::Drop).writes(Writes::Refused)).in_memory().unwrap();
    until("changes are heard", || db.tier_stats().unwrap().unwrap().hears);
    db
}

#[test]
fn nothing_that_a_lost_master_had_acknowledged_is_lost_in_a_failover() {
    let mut master = Redis::with(&["--repl-diskless-sync-delay", "0"]);
    let replica = replica_of(&master);
    let sentinels = [(); 3].map(|()| Sentinel::watch(&master, 2, ""));
    until("the sentinels know each other and the replica", || {
        sentinels.iter().all(|sentinel| {
            let count = |what: &str| sentinel.ask::<Vec<redis::Value>>(&[what, "main"]).len();
            count("SENTINELS") == 2 && count("REPLICAS") == 1
        })
    });
    let url = url(&sentinels.each_ref().map(|sentinel| sentinel.port));
    let tier = || TierOptions::new(url.as_str()).timeout(PATIENT);
    let dir = tempfile::tempdir().unwrap();
    let db = with(tier().fresh(WhenDeaf::Drop)).open(dir.path()).unwrap();
    let other = follower(tier());
    db.set(b"before", b"1").unwrap();
    db.set(b"goes", b"1").unwrap();
    db.flush(PATIENCE).unwrap();
    until("it is seen", || other.get(b"before").ok() == Some(bytes("1")));
    until("the replica has it", || replica.get("t:goes").is_some());
    // From here on the master acknowledges what no replica has.
    let _: () = master.run("ACL SETUSER default -psync -sync");
    let _: i64 = master.run("CLIENT KILL TYPE replica");
    db.set(b"before", b"2").unwrap();
    db.set_with(b"short", b"t", SetOptions::new().ttl(Duration::from_secs(1000))).unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!(master.get("t:before"), bytes("2"));
    assert_eq!(replica.get("t:before"), bytes("1"), "the test is to lose something");
    let (ends, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !ends.load(Ordering::SeqCst) {
                db.set(format!("k{}", n % 500).as_bytes(), n.to_string().as_bytes()).unwrap();
                n += 1;
                written.store(n, Ordering::SeqCst);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        master.kill();
        db.delete(b"goes").unwrap();
        until("a replica is promoted", || sentinels[0].master_port() == replica.port().to_string());
        until("it takes changes", || db.flush(Duration::from_millis(200)).is_ok());
        ends.store(true, Ordering::SeqCst);
    });
    db.flush(PATIENCE).unwrap();
    assert_eq!(replica.get("t:before"), bytes("2"));
    assert_eq!(replica.get("t:goes"), None, "a deleted key is back");
    assert!((1..=1_000_000).contains(&replica.pttl("t:short")));
    let count = written.load(Ordering::SeqCst);
    assert!(count > 500, "{count}");
    for n in count - 500..count {
        assert_eq!(replica.get(&format!("t:k{}", n % 500)), bytes(&n.to_string()));
    }
    // What Redis decides, and what others hear, goes on at the new one.
    assert_eq!(db.increment_shared(b"n", 2).unwrap(), 2);
    until("it is heard there", || {
        other.get(b"n").ok() == Some(bytes("2")) && other.tier_stats().unwrap().unwrap().hears
    });
    replica.set("t:n", "theirs");
    until("it is heard here", || db.get(b"n").ok() == Some(bytes("theirs")));
    until("it is heard there", || other.get(b"n").ok() == Some(bytes("theirs")));
}

#[test]
fn sentinels_are_asked_with_their_own_password_and_dead_ones_are_passed_over() {
    let master = Redis::with(&["--requirepass", "of master"]);
    let sentinel =
        Sentinel::watch(&master, 1, "requirepass \"of sentinels\"\nsentinel auth-pass main \"of master\"");
    let url = |query: &str| {
        format!(
            "redis+sentinel://:of%20master@127.0.0.1:{},127.0.0.1:{}/main/3{query}",
            free_port(),
            sentinel.port
        )
    };
    let db =
        with(TierOptions::new(url("?sentinel_pass=of%20sentinels")).timeout(PATIENT)).in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    db.flush(PATIENCE).unwrap();
    let client = redis::Client::open(format!("redis://:of%20master@127.0.0.1:{}/3", master.port())).unwrap();
    let there: String = redis::cmd("GET").arg("t:k").query(&mut client.get_connection().unwrap()).unwrap();
    assert_eq!(there, "v");
    let db = with(TierOptions::new(url("")).timeout(PATIENT)).in_memory().unwrap();
    db.set(b"k", b"w").unwrap();
    until_failing(&db, "NOAUTH");
    let refused = db.flush(Duration::from_millis(300)).unwrap_err().to_string();
    assert!(refused.contains("NOAUTH") && !refused.contains("of master"), "{refused}");
    let unknown = format!("redis+sentinel://127.0.0.1:{}/other?sentinel_pass=of%20sentinels", sentinel.port);
    let db = with(TierOptions::new(unknown).timeout(PATIENT)).in_memory().unwrap();
    let refused = db.get(b"k").unwrap_err().to_string();
    assert!(refused.contains("knows no service other"), "{refused}");
}

/// What says that it is a sentinel, and names a server.
fn impostor(named: u16) -> u16 {
    impostor_of(&Arc::new(AtomicU16::new(named)))
}

/// The same, of what is named at the time.
fn impostor_of(named: &Arc<AtomicU16>) -> u16 {
    let named = Arc::clone(named);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let Ok(of_reader) = client.try_clone() else { return };
            for line in BufReader::new(of_reader).lines() {
                let named = named.load(Ordering::SeqCst).to_string();
                let answer = match line.as_deref() {
                    Ok("HELLO") => "%1\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n".to_string(),
                    Ok("SENTINEL") => format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{named}\r\n", named.len()),
                    Ok(_) => continue,
                    Err(_) => break,
                };
                if client.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    port
}

#[test]
fn a_sentinel_that_names_what_is_no_master_is_not_believed() {
    let master = Redis::start();
    let replica = replica_of(&master);
    let (stale, right) = (impostor(replica.port()), impostor(master.port()));
    let db = with(TierOptions::new(url(&[stale])).timeout(PATIENT)).in_memory().unwrap();
    let refused = match db.get(b"k") {
        Err(Error::Tier { reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(refused.contains(&format!("127.0.0.1:{}: not a master", replica.port())), "{refused}");
    let db = with(TierOptions::new(url(&[stale, right])).fresh(WhenDeaf::Drop).timeout(PATIENT))
        .in_memory()
        .unwrap();
    db.set(b"k", b"v").unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!(master.get("t:k"), bytes("v"));
    until("changes are heard", || db.tier_stats().unwrap().unwrap().hears);
}

fn demote(master: &Redis, to: &Redis) {
    let _: () = master.run(&format!("REPLICAOF 127.0.0.1 {}", to.port()));
}

fn tracks(redis: &Redis) -> bool {
    !redis.run::<String>("INFO clients").contains("tracking_clients:0")
}

/// As Sentinel does it, but the connections live on: nothing tells who only reads but what the server says of itself.
#[test]
fn a_demoted_master_whose_connections_live_on_is_left() {
    let master = Redis::start();
    let replica = replica_of(&master);
    let named = Arc::new(AtomicU16::new(master.port()));
    let url = url(&[impostor_of(&named)]);
    let hears = follower(TierOptions::new(url.as_str()));
    let asks =
        with(TierOptions::new(url.as_str()).timeout(PATIENT).writes(Writes::Refused)).in_memory().unwrap();
    assert_eq!(asks.get(b"none").unwrap(), None);
    let _: () = replica.run("REPLICAOF NO ONE");
    named.store(replica.port(), Ordering::SeqCst);
    // To nobody: what it holds from here on is old.
    let _: () = master.run("REPLICAOF 127.0.0.1 1");
    until("it hears the new one", || tracks(&replica));
    replica.set("t:k", "new");
    until("the change is seen", || hears.get(b"k").ok() == Some(bytes("new")));
    until("who only asks asks the new one", || asks.get(b"k").ok() == Some(bytes("new")));
}

#[test]
fn a_demoted_master_whose_connections_live_on_is_left_by_who_sends() {
    let master = Redis::start();
    let replica = replica_of(&master);
    let named = Arc::new(AtomicU16::new(master.port()));
    let tier = TierOptions::new(url(&[impostor_of(&named)])).fresh(WhenDeaf::Drop);
    let db = with(tier).in_memory().unwrap();
    until("changes are heard", || db.tier_stats().unwrap().unwrap().hears);
    let _: () = replica.run("REPLICAOF NO ONE");
    named.store(replica.port(), Ordering::SeqCst);
    demote(&master, &replica);
    until("the new one tells it", || replica.ear().is_some());
    until("changes are heard again", || db.tier_stats().unwrap().unwrap().hears);
}

/// What accepts and says nothing.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn sentinels_that_hang_cost_one_deadline_however_many_they_are() {
    const SENTINELS: usize = 16;
    let timeout = Duration::from_secs(4);
    let master = Redis::start();
    let hang: Vec<(TcpListener, u16)> = (0..SENTINELS).map(|_| silent()).collect();
    let mut ports: Vec<u16> = hang.iter().map(|(_, port)| *port).collect();
    let failing = |db: &Db| db.tier_stats().unwrap().unwrap().failing;
    let began = Instant::now();
    let db = with(TierOptions::new(url(&ports)).timeout(timeout)).in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    until("it is given up", || failing(&db).is_some());
    assert!(began.elapsed() < timeout * SENTINELS as u32 / 2, "{:?}", began.elapsed());
    // One that answers is found behind them all.
    ports.push(impostor(master.port()));
    let db = with(TierOptions::new(url(&ports)).timeout(timeout)).in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!((master.get("t:k"), failing(&db)), (bytes("v"), None));
}
