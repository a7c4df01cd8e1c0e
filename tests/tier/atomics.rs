//! Changes that Redis decides hold across stores and processes, and none is applied twice.

use super::common::{seed, Rng};
use super::gate::until;
use super::proxy::{Fault, Proxy};
use super::server::Redis;
use super::{bytes, in_memory, with, PATIENCE, PATIENT};
use kv::testing::{Hooks, Point};
use kv::{Db, Error, Expiry, Options, TierOptions, Ttl, WhenDeaf, Writes};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

const STORES: usize = 3;
const THREADS: usize = 4;

/// Stores that reach one Redis each through a proxy of its own.
fn stores(redis: &Redis, tier: impl Fn(&Proxy) -> TierOptions) -> Vec<(Proxy, Db)> {
    (0..STORES)
        .map(|_| {
            let proxy = Proxy::to(redis.socket());
            let db = with(tier(&proxy)).in_memory().unwrap();
            (proxy, db)
        })
        .collect()
}

/// Runs `work` in several threads of each store while its proxy does what it can, and gives what each brought.
fn amid_faults<T: Send>(
    stores: &[(Proxy, Db)],
    faults: &[Fault],
    work: impl Fn(&Db, usize) -> T + Sync,
) -> Vec<T> {
    let seed = seed("KV_TIER_ATOMICS_SEED");
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..STORES * THREADS)
            .map(|number| {
                let (work, (_, db)) = (&work, &stores[number % STORES]);
                scope.spawn(move || work(db, number))
            })
            .collect();
        for (number, (proxy, _)) in stores.iter().enumerate() {
            let ends = &ends;
            scope.spawn(move || {
                let mut rng = Rng::new(seed ^ number as u64);
                while !ends.load(Ordering::SeqCst) {
                    // A connection takes about ten commands, and a change seven: some of them get through.
                    proxy.plan(rng.below(50), faults[rng.below(faults.len() as u64) as usize]);
                    while !proxy.has_struck() && !ends.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
            });
        }
        let brought = workers.into_iter().map(|worker| worker.join()).collect::<Vec<_>>();
        ends.store(true, Ordering::SeqCst);
        brought.into_iter().map(|result| result.unwrap()).collect()
    })
}

const CUTS: [Fault; 3] = [Fault::CutBefore, Fault::CutAfter, Fault::Reset];

fn patient(proxy: &Proxy) -> TierOptions {
    TierOptions::new(proxy.url()).timeout(PATIENCE)
}

#[test]
fn of_increments_whose_answers_are_lost_each_counts_once() {
    const EACH: i64 = 60;
    let redis = Redis::start();
    let stores = stores(&redis, patient);
    let sums = amid_faults(&stores, &CUTS, |db, number| {
        (0..EACH)
            .map(|n| loop {
                // What fails says that nothing was changed, or the count below is wrong.
                match db.increment_shared(b"n", 1) {
                    Ok(sum) => break sum,
                    Err(error) if error.to_string().contains("not applied") => {}
                    Err(error) => panic!("thread {number}, increment {n}: {error}"),
                }
            })
            .collect::<Vec<i64>>()
    });
    let total = EACH * (STORES * THREADS) as i64;
    assert_eq!(redis.get("t:n"), bytes(&total.to_string()));
    // Each number was given to one caller.
    let distinct: HashSet<i64> = sums.iter().flatten().copied().collect();
    assert_eq!(distinct, (1..=total).collect::<HashSet<_>>());
    // Of one thread they grow.
    assert!(sums.iter().all(|sums| sums.is_sorted()));
}

#[test]
fn increments_amid_every_fault_count_once_or_say_that_they_may() {
    const EACH: usize = 25;
    let redis = Redis::start();
    let faults = [
        Fault::CutAfter,
        Fault::Half,
        Fault::Hang,
        Fault::Trickle,
        Fault::Garbage(b"*0\r\n"),
        Fault::Garbage(b":1\r\n"),
        Fault::Garbage(b"$4294967296\r\nabc"),
        Fault::Refuse("LOADING Redis is loading the dataset in memory"),
        Fault::Refuse("OOM command not allowed when used memory > 'maxmemory'."),
        Fault::Refuse("READONLY You can't write against a read only replica."),
    ];
    let stores = stores(&redis, |proxy| TierOptions::new(proxy.url()).timeout(Duration::from_millis(100)));
    let outcomes = amid_faults(&stores, &faults, |db, _| {
        let (mut sums, mut open) = (Vec::new(), 0);
        while sums.len() + open < EACH {
            match db.increment_shared(b"n", 1) {
                Ok(sum) => sums.push(sum),
                Err(Error::Tier { reason }) if reason.starts_with("not applied") => std::thread::yield_now(),
                Err(Error::Tier { reason }) if reason.starts_with("it may have been") => open += 1,
                Err(error) => panic!("{error}"),
            }
        }
        (sums, open)
    });
    let sums: Vec<i64> = outcomes.iter().flat_map(|(sums, _)| sums.clone()).collect();
    let open: usize = outcomes.iter().map(|(_, open)| open).sum();
    stores.iter().for_each(|(_, db)| drop(db.close()));
    let there: usize = String::from_utf8(redis.get("t:n").unwrap_or(b"0".to_vec())).unwrap().parse().unwrap();
    let distinct: HashSet<i64> = sums.iter().copied().collect();
    assert_eq!(distinct.len(), sums.len(), "a number was given twice: {sums:?}");
    assert!((sums.len()..=sums.len() + open).contains(&there), "{there}, {} done, {open} open", sums.len());
    assert!(!sums.is_empty());
}

#[test]
fn of_all_that_add_a_key_one_does_and_its_time_is_kept() {
    const KEYS: usize = 40;
    let redis = Redis::start();
    let stores = stores(&redis, patient);
    let wins = amid_faults(&stores, &CUTS, |db, number| {
        let value = number.to_string();
        (0..KEYS)
            .map(|key| {
                let key = format!("k{key}");
                let expiry = Expiry::After(Duration::from_secs(500));
                loop {
                    match db.add_shared(key.as_bytes(), value.as_bytes(), expiry) {
                        Ok(is_set) => break is_set,
                        Err(error) if error.to_string().contains("not applied") => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
            .collect::<Vec<bool>>()
    });
    for key in 0..KEYS {
        let winners: Vec<usize> = (0..wins.len()).filter(|number| wins[*number][key]).collect();
        assert_eq!(winners.len(), 1, "k{key}: {winners:?}");
        let name = format!("t:k{key}");
        assert_eq!(redis.get(&name), bytes(&winners[0].to_string()));
        assert!((1..=500_000).contains(&redis.pttl(&name)), "{}", redis.pttl(&name));
    }
}

#[test]
fn swaps_that_say_they_were_done_are_what_stands() {
    const EACH: usize = 12;
    let redis = Redis::start();
    let stores = stores(&redis, patient);
    let done = amid_faults(&stores, &CUTS, |db, _| {
        let (mut done, mut stands) = (0, None::<Vec<u8>>);
        while done < EACH {
            let next = stands.as_ref().map_or(1, |text| number(text) + 1).to_string();
            match db.compare_and_swap_shared(b"n", stands.as_deref(), next.as_bytes()) {
                Ok(true) => {
                    done += 1;
                    stands = Some(next.into_bytes());
                }
                // The copy that a refusal leaves is what Redis holds.
                Ok(false) => stands = db.get(b"n").unwrap_or(stands),
                Err(error) if error.to_string().contains("not applied") => {}
                Err(error) => panic!("{error}"),
            }
        }
        done
    });
    let total: usize = done.iter().sum();
    assert_eq!(redis.get("t:n"), bytes(&total.to_string()));
}

fn number(text: &[u8]) -> u64 {
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

#[test]
fn changes_made_here_go_first_and_the_result_stays_as_a_copy() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    for n in 0..100 {
        db.set(b"n", n.to_string().as_bytes()).unwrap();
        assert_eq!(db.increment_shared(b"n", 1).unwrap(), n + 1);
        assert_eq!(db.get(b"n").unwrap(), bytes(&(n + 1).to_string()));
        db.delete(b"n").unwrap();
        assert!(!db.compare_and_swap_shared(b"n", Some(b"1"), b"2").unwrap());
        assert!(db.add_shared(b"n", b"x", Expiry::Never).unwrap());
        assert_eq!(db.get(b"n").unwrap(), bytes("x"));
    }
    let stats = db.tier_stats().unwrap().unwrap();
    assert_eq!((stats.fetches, stats.unsent_keys), (0, 0));
    assert_eq!(redis.get("t:n"), bytes("x"));
    // A copy: it is not sent, and keeps the time that is left.
    redis.client();
    let _: () =
        redis::cmd("SET").arg("t:e").arg("1").arg("PX").arg(60_000).query(&mut redis.client()).unwrap();
    assert_eq!(db.increment_shared(b"e", 1).unwrap(), 2);
    let Some(Ttl::Remaining(left)) = db.ttl(b"e").unwrap() else { panic!("the copy lost its time") };
    assert!(left <= Duration::from_secs(60) && (1..=60_000).contains(&redis.pttl("t:e")));
    let sent = db.tier_stats().unwrap().unwrap().sent_keys;
    db.flush(PATIENCE).unwrap();
    assert_eq!(db.tier_stats().unwrap().unwrap().sent_keys, sent);
    assert_eq!(redis.get("t:e"), bytes("2"));
}

#[test]
fn what_others_decide_is_heard_and_no_old_result_stays() {
    let redis = Redis::start();
    let listening = || {
        let db =
            with(TierOptions::new(redis.url()).fresh(WhenDeaf::Drop).timeout(PATIENT)).in_memory().unwrap();
        until("changes are heard", || db.tier_stats().unwrap().unwrap().hears);
        db
    };
    let dbs = [listening(), listening(), listening()];
    for round in 1..=20 {
        std::thread::scope(|scope| {
            for db in &dbs {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let sum = db.increment_shared(b"n", 1).unwrap();
                        // Never older than one's own.
                        let here = db.get(b"n").unwrap().map_or(0, |text| number(&text) as i64);
                        assert!(here >= sum, "{here} after {sum}");
                    }
                });
            }
        });
        let total = bytes(&(round * 30).to_string());
        assert_eq!(redis.get("t:n"), total);
        for db in &dbs {
            until("the newest is seen", || db.get(b"n").is_ok_and(|value| value == total));
        }
    }
}

/// It is heard between Redis' answer and what is done with that.
#[test]
fn what_others_change_right_after_it_was_decided_leaves_no_old_copy() {
    let redis = Arc::new(Redis::start());
    let opened: Arc<OnceLock<Weak<Db>>> = Arc::default();
    let (of_hook, others) = (Arc::clone(&opened), Arc::downgrade(&redis));
    let hooks = Hooks::new(move |point| {
        if std::thread::current().name() != Some("kv-tier-send") || point != Point::Decided {
            return;
        }
        let Some((db, others)) = of_hook.get().and_then(Weak::upgrade).zip(others.upgrade()) else { return };
        let here = db.pin().unwrap();
        if here.get(b"probe").unwrap().is_none() {
            return;
        }
        // What is changed later is heard later.
        others.set("t:n", "theirs");
        others.set("t:probe", "gone");
        until("it is heard", || here.get(b"probe").unwrap().is_none());
    });
    redis.set("t:n", "5");
    redis.set("t:probe", "here");
    let tier = TierOptions::new(redis.url()).fresh(WhenDeaf::Drop).timeout(PATIENCE);
    let db = Arc::new(with(tier).hooks(hooks).in_memory().unwrap());
    until("changes are heard", || db.tier_stats().unwrap().unwrap().hears);
    until("the probe is here", || db.get(b"probe").is_ok() && db.len() == 1);
    opened.set(Arc::downgrade(&db)).unwrap();
    assert_eq!(db.increment_shared(b"n", 1).unwrap(), 6);
    assert_eq!(db.get(b"n").unwrap(), bytes("theirs"));
}

#[test]
fn what_cannot_be_decided_says_so_and_changes_nothing() {
    let mut redis = Redis::start();
    let refused = |result: Result<i64, Error>, reason: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    let alone = Options::new().in_memory().unwrap();
    refused(alone.increment_shared(b"n", 1), "not applied: the store has no tier");
    let follower = with(TierOptions::new(redis.url()).writes(Writes::Refused)).in_memory().unwrap();
    assert!(matches!(follower.increment_shared(b"n", 1), Err(Error::ReadOnly { .. })));
    let db = with(TierOptions::new(redis.url()).timeout(PATIENT)).in_memory().unwrap();
    redis.set("t:text", "abc");
    assert!(matches!(db.increment_shared(b"text", 1), Err(Error::NotAnInteger { len: 3 })));
    redis.set("t:most", &i64::MAX.to_string());
    assert!(matches!(db.increment_shared(b"most", 1), Err(Error::Overflow { .. })));
    let _: () = redis::cmd("HSET").arg("t:hash").arg("f").arg("v").query(&mut redis.client()).unwrap();
    refused(db.increment_shared(b"hash", 1), "is no string: GET: WRONGTYPE");
    let pin = db.pin().unwrap();
    assert!(matches!(db.increment_shared(b"n", 1), Err(Error::Pinned { .. })));
    drop(pin);
    // All of these at once, and one that works among them.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(db.increment_shared(b"text", 1).is_err()));
            scope.spawn(|| assert!(db.increment_shared(b"good", 1).is_ok()));
        }
    });
    assert_eq!(redis.get("t:good"), bytes("4"));
    redis.kill();
    let began = std::time::Instant::now();
    for _ in 0..20 {
        refused(db.increment_shared(b"n", 1), "not applied");
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    redis.up();
    until("it is decided again", || db.increment_shared(b"n", 1).is_ok());
    assert_eq!(redis.get("t:n"), bytes("1"));
}

const CHILD_URL: &str = "KV_TIER_CHILD_URL";
const CHILD_INCREMENTS: i64 = 300;

#[test]
#[ignore = "a process of the test below"]
fn child_increments() {
    let url = std::env::var(CHILD_URL).expect("started by the test below");
    let dir = tempfile::tempdir().unwrap();
    let db = with(TierOptions::new(url).timeout(PATIENCE)).open(dir.path()).unwrap();
    for _ in 0..CHILD_INCREMENTS {
        db.increment_shared(b"n", 1).unwrap();
    }
}

#[test]
fn increments_of_several_processes_all_count() {
    let redis = Redis::start();
    let program = std::env::current_exe().unwrap();
    let start = || {
        let mut command = std::process::Command::new(&program);
        command.args(["--ignored", "--exact", "atomics::child_increments"]).env(CHILD_URL, redis.url());
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let children = [start(), start(), start()];
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(redis.get("t:n"), bytes(&(3 * CHILD_INCREMENTS).to_string()));
}

#[test]
fn a_change_that_redis_refuses_leaves_codec_and_metadata_of_what_stands_here() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    db.set(b"k", b"7").unwrap();
    let mut session = db.get_and_lock(b"k", kv::Wait::No).unwrap().unwrap();
    session.set_codec(kv::Tag::JSON);
    session.metadata_mut().insert("who".into(), b"me".to_vec());
    session.commit().unwrap();
    db.flush(PATIENCE).unwrap();
    assert!(!db.add_shared(b"k", b"8", Expiry::Never).unwrap());
    assert!(!db.compare_and_swap_shared(b"k", Some(b"6"), b"8").unwrap());
    let entry = db.entry(b"k").unwrap().unwrap();
    assert_eq!((entry.codec, entry.metadata.len()), (kv::Tag::JSON, 1));
    // What others have set meanwhile takes its place all the same.
    redis.set("t:k", "9");
    assert!(!db.add_shared(b"k", b"8", Expiry::Never).unwrap());
    assert_eq!(db.get(b"k").unwrap(), bytes("9"));
}
