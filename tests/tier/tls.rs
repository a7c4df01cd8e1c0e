//! TLS, with certificates of the test's own against a server that speaks nothing else on that port.

use super::gate::until;
use super::server::{free_port, Redis};
use super::{bytes, until_failing, with, PATIENCE, PATIENT};
use kv::{Error, Options, TierOptions, WhenDeaf};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Certificates in a directory.
struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    /// Two authorities, a server and a client that the first vouches for.
    fn make() -> Certificates {
        let dir = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/certificates.sh");
        let status = Command::new(script).arg(dir.path()).status().unwrap();
        assert!(status.success(), "openssl: scripts/need.sh openssl=openssl installs it");
        Certificates { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A server that asks its clients for certificates, or not, and its URL.
    fn serve(&self, asks: &str) -> (Redis, String) {
        let (redis, port) = self.serve_at(free_port, asks, &[]);
        (redis, format!("rediss://127.0.0.1:{port}"))
    }

    /// The same at a port of one's choice, which it gives; another one where that was taken.
    fn serve_at(&self, choose: impl Fn() -> u16, asks: &str, more: &[&str]) -> (Redis, u16) {
        let text = |name: &str| self.path(name).display().to_string();
        let (certificate, key, ca) = (text("server.pem"), text("server.key"), text("ca.pem"));
        let options = [
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            asks,
        ];
        let chosen = Cell::new(0);
        let redis = Redis::with_ports(|| {
            chosen.set(choose());
            let port = ["--tls-port".into(), chosen.get().to_string()];
            port.into_iter().chain(options.iter().chain(more).map(|text| text.to_string())).collect()
        });
        (redis, chosen.get())
    }
}

fn refused(tier: TierOptions, reason: &str) {
    let db = with(tier.timeout(PATIENT)).in_memory().unwrap();
    db.set(b"secret", b"v").unwrap();
    until_failing(&db, reason);
    let error = db.flush(Duration::from_millis(300)).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
    assert!(db.get(b"none").is_err());
}

#[test]
fn entries_go_over_tls_both_ways() {
    let certificates = Certificates::make();
    let (mut redis, url) = certificates.serve("no");
    let tier = || {
        TierOptions::new(url.as_str())
            .ca_file(certificates.path("ca.pem"))
            .fresh(WhenDeaf::Drop)
            .timeout(PATIENT / 2)
    };
    let (a, b) = (with(tier()).in_memory().unwrap(), with(tier()).in_memory().unwrap());
    for db in [&a, &b] {
        until("changes are heard", || db.tier_stats().unwrap().unwrap().hears);
    }
    // More than a record of TLS holds, and more than sockets do.
    let large = vec![7; 9 << 20];
    a.set(b"large", &large).unwrap();
    for n in 0..2000 {
        a.set(format!("{n}").as_bytes(), b"v").unwrap();
    }
    a.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:large").as_ref(), Some(&large));
    assert_eq!(b.get(b"large").unwrap().as_ref(), Some(&large));
    assert_eq!(b.increment_shared(b"n", 2).unwrap(), 2);
    until("it is heard", || a.get(b"n").is_ok_and(|value| value == bytes("2")));
    redis.hang();
    until("it is noticed", || !a.tier_stats().unwrap().unwrap().hears);
    redis.go_on();
    redis.kill();
    a.set(b"later", b"v").unwrap();
    redis.up();
    a.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:later"), bytes("v"));
}

#[test]
fn who_is_not_vouched_for_is_told_nothing() {
    let certificates = Certificates::make();
    let (redis, url) = certificates.serve("no");
    let tier = |ca: &str| TierOptions::new(url.as_str()).ca_file(certificates.path(ca));
    refused(tier("other.pem"), "certificate");
    // The system's authorities do not know it either; there may be none.
    match with(TierOptions::new(url.as_str())).in_memory() {
        Ok(db) => {
            db.set(b"secret", b"v").unwrap();
            assert!(db.flush(Duration::from_millis(300)).is_err());
        }
        Err(error) => assert!(matches!(error, Error::InvalidOption { .. }), "{error}"),
    }
    let by_name = url.replace("127.0.0.1", "localhost");
    refused(TierOptions::new(by_name).ca_file(certificates.path("ca.pem")), "certificate");
    // Nor is one that speaks no TLS.
    let plain = redis.tcp_url().replace("redis://", "rediss://");
    refused(TierOptions::new(plain).ca_file(certificates.path("ca.pem")), "");
    assert_eq!(redis.entries("t:"), []);
}

#[test]
fn a_server_that_asks_for_a_certificate_is_given_one() {
    let certificates = Certificates::make();
    let (redis, url) = certificates.serve("yes");
    let tier = || TierOptions::new(url.as_str()).ca_file(certificates.path("ca.pem"));
    let known = tier().client_certificate(certificates.path("client.pem"), certificates.path("client.key"));
    let db = with(known).in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:k"), bytes("v"));
    refused(tier(), "");
    assert_eq!(redis.get("t:secret"), None);
}

#[test]
fn nodes_of_a_cluster_are_followed_over_tls() {
    let certificates = Certificates::make();
    // Nodes speak with each other at the port that is 10,000 higher.
    let port = || std::iter::repeat_with(free_port).find(|port| *port < 50_000).unwrap();
    let more = ["--cluster-enabled", "yes", "--tls-cluster", "yes"];
    let nodes = [(); 2].map(|()| certificates.serve_at(port, "no", &more));
    let _: () = nodes[0].0.run("CLUSTER ADDSLOTSRANGE 0 8191");
    let _: () = nodes[1].0.run("CLUSTER ADDSLOTSRANGE 8192 16383");
    let _: () = nodes[0].0.run(&format!("CLUSTER MEET 127.0.0.1 {}", nodes[1].1));
    until("the nodes know each other", || {
        nodes.iter().all(|(node, _)| node.run::<String>("CLUSTER INFO").contains("cluster_state:ok"))
    });
    for (_, port) in &nodes {
        let url = format!("rediss-cluster://127.0.0.1:{port}");
        let tier = TierOptions::new(url).ca_file(certificates.path("ca.pem")).prefix("{t}:");
        let db = Options::new().tier(tier).in_memory().unwrap();
        db.set(port.to_string().as_bytes(), b"v").unwrap();
        db.flush(PATIENCE).unwrap();
    }
    let found: usize = nodes.iter().map(|(node, _)| node.run::<usize>("DBSIZE")).sum();
    // Both stores' keys and marks.
    assert_eq!(found, 4);
}

#[test]
fn files_that_hold_no_certificates_are_refused_at_open() {
    let certificates = Certificates::make();
    let not_one = certificates.path("empty");
    std::fs::write(&not_one, "nothing").unwrap();
    let tier = || TierOptions::new("rediss://127.0.0.1:1");
    let ca = certificates.path("ca.pem");
    let (key, chain) = (certificates.path("client.key"), certificates.path("client.pem"));
    let cases: [(TierOptions, &Path); 5] = [
        (tier().ca_file(&not_one), &not_one),
        (tier().ca_file(certificates.path("none")), Path::new("none")),
        (tier().ca_file(&ca).client_certificate(&not_one, &key), &not_one),
        (tier().ca_file(&ca).client_certificate(&chain, &not_one), &not_one),
        // Not its key.
        (tier().ca_file(&ca).client_certificate(&chain, certificates.path("ca.key")), Path::new("ca.key")),
    ];
    for (tier, named) in cases {
        let error = with(tier).in_memory().map(drop).unwrap_err();
        assert!(matches!(&error, Error::InvalidOption { name, .. } if name == "tier"), "{error}");
        let named = named.file_name().unwrap().to_str().unwrap();
        assert!(error.to_string().contains(named), "{error}");
    }
}
