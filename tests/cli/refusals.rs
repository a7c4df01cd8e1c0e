//! Damage, stores that are none, and wrong usage: what is wrong, and where, in one line.

use super::{change, run, Holder, Place};
use serde_json::json;
use std::fs;

#[test]
fn a_sound_store_verifies_ok_with_counts() {
    let place = Place::filled(30);
    let ok = place.kv("verify", &[]).ok();
    assert!(ok.text().starts_with("ok: 30 entries, ") && ok.text().lines().count() == 1, "{ok:?}");
    let report = place.kv("verify", &["--json"]).ok().json();
    assert_eq!(
        (&report["ok"], &report["entries"], &report["damage"]),
        (&json!(true), &json!(30), &json!([]))
    );
}

#[test]
fn a_flipped_byte_is_named_by_verify_refused_for_writing_and_the_rest_salvaged() {
    let place = Place::filled(3000);
    let hurt = place.segments()[1].clone();
    change(&hurt, |bytes| bytes[4096 + 33] ^= 1);
    let found = place.kv("verify", &[]);
    let first = format!("{}, offset 4096: ", hurt.display());
    assert!(found.code == Some(1) && found.text().starts_with(&first), "{found:?}");
    let report = place.kv("verify", &["--json"]);
    assert_eq!((report.code, &report.json()["damage"][0]["offset"]), (Some(1), &json!(4096)));
    place.kv("set", &["k", "v"]).failed(3, &[&first]);

    // Reads go on with what is intact, and say that there is damage.
    let entries = report.json()["entries"].as_u64().unwrap();
    assert!((1..3000).contains(&entries), "{entries}");
    let scanned = place.kv("scan", &["--keys"]);
    assert_eq!((scanned.code, scanned.text().lines().count() as u64), (Some(0), entries));
    assert!(scanned.err.starts_with("kv: warning: ") && scanned.err.contains("kv verify"), "{}", scanned.err);

    let out = place.at("out");
    let salvaged = place.kv("verify", &["--salvage", &out]);
    assert_eq!(salvaged.code, Some(1));
    assert!(salvaged.text().contains(&format!("salvaged {entries} entries into {out}")), "{salvaged:?}");
    assert!(run(&["verify", &out]).ok().text().starts_with(&format!("ok: {entries} entries")));
    place.kv("verify", &["--salvage", &out]).failed(3, &[&out, "already"]);
}

#[test]
fn a_segment_that_is_cut_off_or_missing_is_named() {
    let place = Place::filled(3000);
    let (cut, gone) = (place.segments()[0].clone(), place.segments()[1].clone());
    change(&cut, |bytes| bytes.truncate(8192));
    fs::remove_file(&gone).unwrap();
    let found = place.kv("verify", &[]);
    assert_eq!(found.code, Some(1));
    for (file, offset, reason) in [(&cut, 8192, "cut off"), (&gone, 0, "no such file")] {
        let begin = format!("{}, offset {offset}: ", file.display());
        let is_named = |line: &str| line.starts_with(&begin) && line.contains(reason);
        assert!(found.text().lines().any(is_named), "{found:?}");
    }
    place.kv("incr", &["n"]).failed(3, &["store/", "offset"]);
}

#[test]
fn a_locked_store_names_the_process_and_can_still_be_read() {
    let place = Place::filled(5);
    let holder = Holder::of(&place);
    let pid = holder.0.id().to_string();
    let words = [place.at("store"), format!("locked by process {pid}")];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    place.kv("set", &["k", "v"]).failed(3, &words);
    place.kv("compact", &[]).failed(3, &words);
    assert_eq!(place.kv("get", &["key 0003"]).ok().out.len(), 1000);
    assert_eq!(place.kv("scan", &["--keys"]).ok().text().lines().count(), 5);
    assert_eq!(place.kv("stats", &["--json"]).ok().json()["entries"], 5);
    assert_eq!(place.kv("ttl", &["key 0001"]).ok().text(), "never\n");
    assert!(place.kv("verify", &[]).ok().text().starts_with("ok: 5 entries"));
    assert_eq!(place.kv("export", &[]).ok().text().lines().count(), 5);
}

#[test]
fn what_is_no_store_is_called_so() {
    let place = Place::new();
    fs::write(place.path("store"), "text").unwrap();
    for (command, args) in [("get", &["k"][..]), ("set", &["k", "v"]), ("verify", &[])] {
        place.kv(command, args).failed(3, &[&place.at("store"), "not a libkv store: it is a file"]);
    }
    let other = place.at("other");
    run(&["get", &other, "k"]).failed(3, &[&other, "no such directory"]);
    run(&["del", &other, "k"]).failed(3, &[&other, "no such directory"]);
    fs::create_dir(&other).unwrap();
    fs::write(place.path("other").join("letter.txt"), "dear").unwrap();
    run(&["set", &other, "k", "v"]).failed(3, &[&other, "letter.txt", "no manifest"]);
    run(&["verify", &other]).failed(3, &[&other, "no manifest"]);
    assert_eq!(fs::read_to_string(place.path("other").join("letter.txt")).unwrap(), "dear");
}

#[test]
fn a_store_without_a_readable_manifest_is_named() {
    let place = Place::filled(3);
    for name in ["MANIFEST-0", "MANIFEST-1"] {
        change(&place.path("store").join(name), |bytes| bytes[40] ^= 1);
    }
    place.kv("verify", &[]).failed(3, &["/MANIFEST-", "offset 0: checksum mismatch in the manifest"]);
    for name in ["MANIFEST-0", "MANIFEST-1"] {
        fs::write(place.path("store").join(name), "garbage that is longer than a header").unwrap();
    }
    place.kv("set", &["k", "v"]).failed(3, &["/MANIFEST-", "not a libkv manifest"]);
    for name in ["MANIFEST-0", "MANIFEST-1"] {
        fs::remove_file(place.path("store").join(name)).unwrap();
    }
    place.kv("verify", &[]).failed(3, &[&place.at("store"), "no manifest"]);
}

#[test]
fn a_store_of_another_version_names_both() {
    const VERSION_AT: usize = 8;
    let place = Place::filled(3);
    for name in ["MANIFEST-0", "MANIFEST-1"] {
        change(&place.path("store").join(name), |bytes| bytes[VERSION_AT] = 9);
    }
    let words = ["/MANIFEST-", "format version 9, this library reads up to version 2"];
    place.kv("get", &["k"]).failed(3, &words);
    place.kv("set", &["k", "v"]).failed(3, &words);
}

#[test]
fn a_key_that_is_too_long_is_refused_with_its_length() {
    let place = Place::filled(1);
    let long = "k".repeat(65_536);
    for (command, args) in [("get", &[long.as_str()][..]), ("set", &[&long, "v"]), ("del", &[&long])] {
        place.kv(command, args).failed(4, &["key of 65536 bytes: the limit is 65535"]);
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    // Nobody, not even root, can make files in sysfs: it gives what a read-only directory gives anybody else.
    run(&["set", "/sys/libkv-test", "k", "v"]).failed(3, &["create directory /sys/libkv-test: "]);
    run(&["set", "/sys", "k", "v"]).failed(3, &["/sys/LOCK: "]);
}

#[test]
fn wrong_usage_is_exit_code_2_and_one_line() {
    let place = Place::new();
    place
        .kv("set", &["k", "v", "--sync", "sometimes"])
        .failed(2, &["sometimes", "--sync", "always or never"]);
    place.kv("set", &["k", "v", "--sync", "0s"]).failed(2, &["longer than zero"]);
    place.kv("set", &["k", "v", "--ttl", "soon"]).failed(2, &["soon", "--ttl", "not a duration"]);
    place.kv("set", &["k", "v", "--ttl", "0s"]).failed(2, &["longer than zero"]);
    place.kv("set", &["k"]).failed(2, &["<VALUE>"]);
    place.kv("scan", &["--limit", "many"]).failed(2, &["many", "--limit"]);
    place.kv("export", &["--format", "xml"]).failed(2, &["xml", "ndjson"]);
    place.kv("incr", &["n", "1.5"]).failed(2, &["1.5"]);
    place.kv("bench", &["--keys", "0"]).failed(2, &["--keys"]);
    run(&["frobnicate"]).failed(2, &["frobnicate"]);
    run(&["get", "--frobnicate"]).failed(2, &["--frobnicate"]);
    assert_eq!(run(&[]).code, Some(2));
    assert!(!place.path("store").exists(), "wrong usage made a store");
}

#[test]
fn help_names_every_command_and_exit_code_and_shells_get_completions() {
    let help = run(&["--help"]).ok();
    for word in
        ["get", "set", "del", "incr", "ttl", "expire", "scan", "import", "export", "stats", "flush", "verify"]
    {
        assert!(help.text().lines().any(|line| line.trim_start().starts_with(word)), "{word}");
    }
    for code in 0..=4 {
        assert!(help.text().contains(&format!("\n  {code}  ")), "{code}");
    }
    assert!(run(&["--version"]).ok().text().starts_with("kv "));
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).ok().text().contains("salvage"), "{shell}");
    }
}

#[cfg(not(feature = "redis"))]
#[test]
fn a_command_without_the_tier_says_so() {
    let place = Place::filled(1);
    for command in ["get", "set"] {
        let args = ["key 0000", "v"].into_iter().take(usize::from(command == "set") + 1);
        let args: Vec<_> = args.chain(["--tier-url", "redis://localhost"]).collect();
        place.kv(command, &args).failed(2, &["option tier_url: this build has no tier"]);
    }
}
