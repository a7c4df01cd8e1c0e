//! What each command does and prints.

use super::{kv, run, Place};
use serde_json::{json, Value};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

#[test]
fn a_value_comes_back_raw_in_a_pipe_and_as_json_on_request() {
    let place = Place::new();
    let set = place.kv("set", &["name", "Älice\n"]).ok();
    assert!(set.out.is_empty());
    assert_eq!(place.kv("get", &["name"]).ok().out, "Älice\n".as_bytes());
    let found = place.kv("get", &["name", "--json"]).ok().json();
    assert_eq!((&found["key"], &found["value"]), (&json!("name"), &json!("Älice\n")));
    assert!(found["version"].is_u64() && found["expires_at_ms"].is_null());
    place.kv("get", &["none"]).failed(1, &["no key \"none\"", &place.at("store")]);
}

#[test]
fn bytes_that_are_no_text_pass_by_stdin_hex_and_base64() {
    let place = Place::new();
    place.kv_with("set", &["raw", "-"], &[0, 0xff, b'\n']).ok();
    assert_eq!(place.kv("get", &["raw"]).ok().out, [0, 0xff, b'\n']);
    assert_eq!(place.kv("get", &["--hex", "726177"]).ok().text(), "00ff0a");
    place.kv("set", &["--hex", "fe", "00fe"]).ok();
    let found = place.kv("get", &["--hex", "fe", "--json"]).ok().json();
    assert_eq!((&found["key_base64"], &found["value_base64"]), (&json!("/g=="), &json!("AP4=")));
    place.kv("get", &["--hex", "xyz"]).failed(4, &["\"xyz\" is not hexadecimal"]);
}

#[test]
fn a_value_is_marked_with_a_codec_and_read_by_it_alone() {
    let place = Place::new();
    place.kv("set", &["k", "{\"age\":30}", "--codec", "json"]).ok();
    assert_eq!(place.kv("get", &["k", "--codec", "json"]).ok().text(), "{\"age\":30}");
    assert_eq!(place.kv("get", &["k", "--json"]).ok().json()["codec"], "json");
    let words = ["written as json, not as text", &place.at("store")];
    place.kv("get", &["k", "--codec", "text"]).failed(4, &words);
    place.kv("set", &["own", "x", "--codec", "200"]).ok();
    place.kv("set", &["raw", "x"]).ok();
    assert_eq!(place.kv("incr", &["n", "5", "--codec", "json"]).ok().text(), "5\n");
    place.kv("incr", &["n", "--codec", "text"]).failed(4, &["json", "text"]);
    place.kv("add", &["{}", "--prefix", "z", "--codec", "json"]).ok();
    let codecs = |ran: super::Ran| -> Vec<Value> {
        let lines = ran.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["key"].is_string()).map(|mut line| line["codec"].take()).collect()
    };
    let expected = [json!("json"), json!("json"), json!("200"), Value::Null, json!("json")];
    assert_eq!(codecs(place.kv("scan", &["--json", "--ordered"]).ok()), expected);
    assert_eq!(codecs(place.kv("export", &["--ordered"]).ok()), expected);
    let watch = ["--changes", "--after", "0", "--until-idle", "1ms", "--json"];
    let mut told = codecs(place.kv("watch", &watch).ok());
    told.sort_by_key(Value::to_string);
    assert_eq!(told, [json!("200"), json!("json"), json!("json"), json!("json"), Value::Null]);
    assert!(place.kv("get", &["raw", "--json"]).ok().json().get("codec").is_none());
    place.kv("set", &["k", "v", "--codec", "yaml"]).failed(2, &["yaml", "known are raw, json"]);
    place.kv("set", &["k", "v", "--codec", "8"]).failed(2, &["\"8\" is no codec"]);
}

#[test]
fn a_condition_that_is_not_met_is_exit_code_1_and_changes_nothing() {
    let place = Place::new();
    assert_eq!(place.kv("set", &["k", "1", "--if-absent", "--json"]).ok().json()["set"], true);
    place.kv("set", &["k", "2", "--if-absent"]).failed(1, &["value already", "\"k\""]);
    let refused = place.kv("set", &["k", "2", "--if-absent", "--json"]).failed(1, &[]);
    assert_eq!(refused.json()["set"], false);
    assert_eq!(place.kv("get", &["k"]).ok().text(), "1");
}

/// An editor that does what a shell script says with the file `$1`.
fn edit(place: &Place, script: &str, args: &[&str]) -> super::Ran {
    let editor = place.path("editor");
    fs::write(&editor, format!("set -e\n{script}\n")).unwrap();
    let store = place.at("store");
    let mut command = super::kv();
    command.arg("edit").arg(&store).args(args).env_remove("VISUAL");
    let output = command.env("EDITOR", format!("sh '{}'", editor.display())).output().unwrap();
    super::Ran {
        code: output.status.code(),
        out: output.stdout,
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn an_edit_commits_what_the_editor_leaves_with_the_metadata_beside_it() {
    let place = Place::new();
    place.kv("set", &["cart", "apples", "--ttl", "1h"]).ok();
    edit(
        &place,
        "printf ', pears\\n' >>\"$1\"",
        &["cart", "--metadata", "owner=Älice", "--metadata", "size=2"],
    )
    .ok();
    let found = place.kv("get", &["cart", "--json"]).ok().json();
    assert_eq!(found["value"], "apples, pears", "the line end that the editor adds is left out");
    assert_eq!(found["metadata"], json!({ "owner": "Älice", "size": "2" }));
    assert!(found["expires_at_ms"].is_u64(), "it lives as long as before");
    let again = edit(&place, "touch \"$1\"", &["cart", "--json"]).ok().json();
    assert_eq!((&again["changed"], &again["version"]), (&json!(false), &found["version"]));
    edit(&place, "true", &["cart", "--no-metadata", "size"]).ok();
    assert_eq!(place.kv("get", &["cart", "--json"]).ok().json()["metadata"], json!({ "owner": "Älice" }));
}

#[test]
fn an_edit_that_fails_changes_nothing_and_one_of_no_key_says_so() {
    let place = Place::new();
    place.kv("set", &["k", "v"]).ok();
    let failed = edit(&place, "echo changed >\"$1\"; echo \"$1\" >\"${0%/*}/draft\"; exit 3", &["k"]);
    failed.failed(3, &["exit status: 3", "nothing is changed"]);
    let draft = fs::read_to_string(place.path("draft")).unwrap();
    assert!(!std::path::Path::new(draft.trim()).exists(), "{draft} is still there");
    assert_eq!(place.kv("get", &["k"]).ok().text(), "v");
    edit(&place, "true", &["none"]).failed(1, &["no key \"none\""]);
    edit(&place, "true", &["k", "--metadata", "=x"]).failed(2, &["NAME=VALUE"]);
    edit(&place, "echo made >\"$1\"", &["none", "--create"]).ok();
    assert_eq!(place.kv("get", &["none"]).ok().text(), "made");
    place.kv_with("set", &["raw", "-"], b"\xff").ok();
    edit(&place, "true", &["raw"]).failed(4, &["--hex"]);
    edit(&place, "echo fe00 >\"$1\"", &["--hex", "726177"]).ok();
    assert_eq!(place.kv("get", &["--hex", "726177"]).ok().text(), "fe00");
}

#[test]
fn added_keys_sort_in_the_order_in_which_they_were_made() {
    let place = Place::new();
    let add = |value: &str| {
        place.kv("add", &[value, "--prefix", "job:", "--base", "36", "--width", "8"]).ok().text().to_owned()
    };
    let (first, second) = (add("1"), add("2"));
    assert!(first.starts_with("job:") && first.trim_end().len() == 12 && first < second, "{first}{second}");
    assert_eq!(place.kv("get", &[second.trim_end()]).ok().text(), "2");
    place.kv("add", &["3", "--base", "99"]).failed(2, &["base"]);
    assert!(place.kv("add", &["3", "--json"]).ok().json()["key"].is_string());
}

#[test]
fn deletes_count_what_was_there() {
    let place = Place::filled(3);
    assert_eq!(place.kv("del", &["key 0000"]).ok().text(), "1\n");
    let ran = place.kv_with("del", &["key 0001", "--keys-from", "-", "--json"], b"key 0002\nnone\n");
    assert_eq!((ran.code, ran.json()), (Some(1), json!({ "deleted": 2, "absent": 1 })));
    place.kv("get", &["key 0001"]).failed(1, &[]);
}

#[test]
fn increments_start_at_zero_and_refuse_what_is_no_number() {
    let place = Place::new();
    assert_eq!(place.kv("incr", &["n"]).ok().text(), "1\n");
    assert_eq!(place.kv("incr", &["n", "-5"]).ok().text(), "-4\n");
    assert_eq!(place.kv("incr", &["n", "4", "--json"]).ok().json(), json!({ "key": "n", "value": 0 }));
    place.kv("set", &["word", "abc"]).ok();
    place.kv("incr", &["word"]).failed(4, &["not a decimal 64-bit integer", "\"word\"", &place.at("store")]);
    place.kv("set", &["n", &i64::MAX.to_string()]).ok();
    place.kv("incr", &["n"]).failed(4, &["overflows"]);
}

#[test]
fn a_ttl_is_told_changed_and_taken_away() {
    let place = Place::new();
    place.kv("set", &["k", "1", "--ttl", "1h"]).ok();
    let seconds: f64 = place.kv("ttl", &["k"]).ok().text().trim().parse().unwrap();
    assert!(seconds > 0.0 && seconds <= 3600.0, "{seconds}");
    assert_eq!(place.kv("expire", &["2d", "k", "--json"]).ok().json(), json!({ "changed": 1, "absent": 0 }));
    let left = place.kv("ttl", &["k", "--json"]).ok().json()["ttl_ms"].as_u64().unwrap();
    assert!(left > 3_600_000 && left <= 2 * 86_400_000, "{left}");
    place.kv("expire", &["never", "k"]).ok();
    assert_eq!(place.kv("ttl", &["k"]).ok().text(), "never\n");
    place.kv("expire", &["0s", "k"]).ok();
    place.kv("get", &["k"]).failed(1, &["no key"]);
    place.kv("ttl", &["k"]).failed(1, &["no key"]);
    assert_eq!(place.kv("expire", &["1s", "none"]).code, Some(1));
}

#[test]
fn a_scan_selects_by_prefix_orders_and_stops() {
    let place = Place::new();
    for key in ["b2", "a1", "b1", "b3"] {
        place.kv("set", &[key, key]).ok();
    }
    let scan = |args: &[&str]| String::from_utf8(place.kv("scan", args).ok().out).unwrap();
    assert_eq!(scan(&["--prefix", "b", "--ordered", "--limit", "2"]), "b1\tb1\nb2\tb2\n");
    assert_eq!(scan(&["--keys", "--ordered"]), "a1\nb1\nb2\nb3\n");
    assert_eq!(scan(&["--keys", "--start", "b1", "--end", "b3"]), "b1\nb2\n");
    assert_eq!(scan(&["--keys", "--end", "b3", "--reverse", "--limit", "2"]), "b2\nb1\n");
    assert_eq!(scan(&["--keys", "--start", "b3", "--end", "b1"]), "");
    assert_eq!(scan(&["--hex", "--keys", "--start", "6233"]), "6233\n");
    assert_eq!(scan(&["--hex", "--prefix", "61"]), "6131\t6131\n");
    assert_eq!(scan(&["--prefix", "a", "--json"]), "{\"key\":\"a1\",\"value\":\"a1\"}\n");
    assert_eq!(scan(&["--prefix", "z"]), "");
}

#[test]
fn whoever_reads_only_the_beginning_gets_no_error() {
    let place = Place::filled(2000);
    let mut child = kv()
        .args(["scan", &place.at("store")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_reader_that_has_gone_is_no_error_for_any_command_that_prints() {
    let place = Place::filled(10);
    let store = place.at("store");
    let commands: [&[&str]; 10] = [
        &["--help"],
        &["completions", "bash"],
        &["get", &store, "key 0001"],
        &["ttl", &store, "key 0001"],
        &["scan", &store],
        &["export", &store],
        &["stats", &store],
        &["stats", &store, "--prometheus"],
        &["verify", &store, "--json"],
        &["watch", &store, "--changes", "--after", "0", "--until-idle", "1ms"],
    ];
    for args in commands {
        let (stdout, reader) = UnixStream::pair().unwrap();
        drop(reader);
        let output = kv().args(args).stdout(OwnedFd::from(stdout)).output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{args:?}");
    }
}

#[test]
fn an_import_says_what_is_acknowledged_and_an_export_gives_it_back() {
    let place = Place::new();
    let lines: String = (0..1500).map(|n| format!("{{\"key\":\"{n:04}\",\"value\":\"{n}\"}}\n")).collect();
    fs::write(place.path("in.ndjson"), &lines).unwrap();
    let ran = place.kv("import", &[&place.at("in.ndjson"), "--json"]).ok();
    let told: Vec<Value> = ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let entries: Vec<u64> = told.iter().map(|line| line["entries"].as_u64().unwrap()).collect();
    assert!(entries.len() >= 4 && entries.is_sorted() && entries.last() == Some(&1500), "{entries:?}");
    assert!(told.iter().rev().skip(1).all(|line| line.get("done").is_none()));
    assert_eq!(told.last().unwrap()["done"], true);

    assert_eq!(place.kv("export", &["--ordered"]).ok().text(), lines);
    place.kv("export", &[&place.at("out.json")]).ok();
    let object: Value = serde_json::from_slice(&fs::read(place.path("out.json")).unwrap()).unwrap();
    assert_eq!((object.as_object().unwrap().len(), &object["0007"]), (1500, &json!("7")));
    let copy = place.at("copy");
    assert_eq!(run(&["import", &copy, &place.at("out.json")]).ok().text(), "1500\n");
    assert_eq!(run(&["export", &copy, "--ordered", "--format", "ndjson"]).ok().text(), lines);
}

#[test]
fn tables_and_redis_commands_are_told_by_their_names_and_options() {
    let place = Place::new();
    fs::write(place.path("people.csv"), "id,name\r\n7,Alice\r\n8,\"Bob, B\"\r\n").unwrap();
    let columns = ["--key-column", "id", "--value-column", "name"];
    place.kv("import", &[&[&place.at("people.csv")[..]], &columns[..]].concat()).ok();
    assert_eq!(place.kv("get", &["8"]).ok().text(), "Bob, B");
    let csv = place.kv("export", &["--format", "csv", "--ordered"]).ok().text().to_owned();
    assert_eq!(csv, "key,value,expires_at_ms,base64\r\n7,Alice,,\r\n8,\"Bob, B\",,\r\n");
    place.kv("export", &[&place.at("out.resp"), "--prefix", "7"]).ok();
    assert_eq!(fs::read(place.path("out.resp")).unwrap(), b"*3\r\n$3\r\nSET\r\n$1\r\n7\r\n$5\r\nAlice\r\n");

    fs::write(place.path("dump.aof"), "SET a 1\nHSET h f v\nSELECT 2\nSET a 2\nDEL 7\n").unwrap();
    place.kv("import", &[&place.at("dump.aof")]).failed(4, &["/dump.aof, line 2: HSET"]);
    let ran = place.kv("import", &[&place.at("dump.aof"), "--skip-unknown", "--json"]).ok();
    let last: Value = serde_json::from_str(ran.text().lines().last().unwrap()).unwrap();
    assert_eq!(last["skipped"], json!({"HSET": 1, "database 2": 2}));
    let ran =
        place.kv("import", &[&place.at("dump.aof"), "--skip-unknown", "--database", "2", "--json"]).ok();
    let last: Value = serde_json::from_str(ran.text().lines().last().unwrap()).unwrap();
    assert_eq!((&last["deleted"], &last["skipped"]), (&json!(1), &json!({"database 0": 2})));
    place.kv("get", &["7"]).failed(1, &[]);
    assert_eq!(place.kv("get", &["a"]).ok().text(), "2");
}

#[test]
fn what_a_killed_import_acknowledged_is_there() {
    let place = Place::new();
    let mut child = kv()
        .args(["import", &place.at("store"), "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    // Never closed before the kill, so that the import is in the middle whenever that comes.
    let feeder = std::thread::spawn(move || {
        (0..).try_for_each(|n| writeln!(stdin, "{{\"key\":\"{n:06}\",\"value\":\"{n}\"}}")).unwrap_err()
    });
    let mut acknowledged = 0;
    for line in BufReader::new(stdout).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        acknowledged = line["entries"].as_u64().unwrap();
        if acknowledged >= 5000 {
            // What comes out of the pipe after this was acknowledged too.
            let _ = child.kill();
        }
    }
    assert!(!child.wait().unwrap().success());
    feeder.join().unwrap();
    let found = place.kv("scan", &["--keys", "--ordered", "--limit", &acknowledged.to_string()]).ok();
    let expected: String = (0..acknowledged).map(|n| format!("{n:06}\n")).collect();
    assert!(
        found.text() == expected,
        "of {acknowledged} acknowledged, {} found",
        found.text().lines().count()
    );
}

#[test]
fn a_bad_line_of_an_import_is_named_and_what_came_before_is_kept() {
    let place = Place::new();
    fs::write(place.path("in"), "{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\"}\n").unwrap();
    place.kv("import", &[&place.at("in")]).failed(4, &["/in, line 2: no value"]);
    place.kv_with("import", &["--format", "json"], b"{\"a\": 1,\n oops}").failed(4, &["stdin, line 2: "]);
    place.kv("import", &[&place.at("absent")]).failed(3, &["open ", "/absent: No such file"]);
    place.kv("import", &[&place.at("")]).failed(3, &["directory"]);
    place.kv("set", &["--hex", "ff", "00"]).ok();
    place.kv("export", &["--format", "json"]).failed(4, &["not UTF-8"]);
}

#[test]
fn a_file_has_the_name_of_an_export_when_it_is_whole() {
    use std::os::unix::fs::{symlink, PermissionsExt};
    let place = Place::filled(3);
    let files = || {
        let names = fs::read_dir(place.path(".")).unwrap().map(|file| file.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains("out")).count()
    };
    fs::write(place.path("out.json"), "{}").unwrap();
    fs::set_permissions(place.path("out.json"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("out.json", place.path("link.json")).unwrap();
    place.kv("export", &[&place.at("link.json"), "--ordered"]).ok();
    let whole = fs::read(place.path("out.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&whole).unwrap().as_object().unwrap().len(), 3);
    assert_eq!(fs::metadata(place.path("out.json")).unwrap().permissions().mode() & 0o777, 0o640);

    symlink("out.later.json", place.path("link2.json")).unwrap();
    place.kv("export", &[&place.at("link2.json"), "--ordered"]).ok();
    assert!(
        fs::read(place.path("out.later.json")).unwrap() == whole && place.path("link2.json").is_symlink()
    );
    fs::remove_file(place.path("out.later.json")).unwrap();

    // Sorts behind the others: what was written before it is half an export.
    place.kv("set", &["--hex", "ff", "00"]).ok();
    for name in ["out.json", "out.new.json"] {
        place.kv("export", &[&place.at(name), "--ordered"]).failed(4, &["not UTF-8"]);
    }
    assert!(fs::read(place.path("out.json")).unwrap() == whole && files() == 1);
    place
        .kv("export", &[&place.at("none/out.json")])
        .failed(3, &["create ", "none/out.json", "No such file"]);
    place.kv("export", &["/dev/full", "--format", "csv"]).failed(3, &["No space left"]);
}

#[test]
fn figures_come_as_lines_json_and_prometheus() {
    let place = Place::filled(50);
    let stats = place.kv("stats", &["--json"]).ok().json();
    assert_eq!((&stats["entries"], &stats["segments"]), (&json!(50), &json!(1)));
    assert!(stats["log_bytes"].as_u64() >= stats["live_bytes"].as_u64());
    assert!(place.kv("stats", &[]).ok().text().lines().any(|line| line == "entries 50"));
    let prometheus = place.kv("stats", &["--prometheus"]).ok();
    assert!(prometheus.text().contains("# TYPE kv_entries gauge\nkv_entries 50\n"));
    place.kv("stats", &["--json", "--prometheus"]).failed(2, &["cannot be used with"]);
}

#[test]
fn a_watched_store_loses_what_expires_without_a_read() {
    let place = Place::filled(20);
    place.kv("expire", &["1ms", "key 0000", "key 0001"]).ok();
    let ran = place.kv("watch", &["--json", "--every", "20ms", "--until-idle", "300ms"]).ok();
    let last: Value = serde_json::from_str(ran.text().lines().last().unwrap()).unwrap();
    assert_eq!((&last["entries"], &last["index_entries"]), (&json!(18), &json!(18)));
    assert!(last["open_ms"].is_u64() && last["at_ms"].is_u64());
}

#[test]
fn changes_are_told_behind_a_version_and_their_last_line_is_where_to_go_on() {
    let place = Place::filled(3);
    let told = |options: &[&str]| -> Vec<Value> {
        let ran =
            place.kv("watch", &[&["--changes", "--json", "--until-idle", "1ms"], options].concat()).ok();
        ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = told(&["--after", "0", "--prefix", "key 000"]);
    let kinds: Vec<&str> = all.iter().map(|line| line["change"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["put", "put", "put", "position"]);
    assert!(all[0]["value"].is_string() && all[0]["version"].as_u64() < all[1]["version"].as_u64());
    let position = all[3]["version"].as_u64().unwrap().to_string();
    place.kv("del", &["key 0001"]).ok();
    let rest = told(&["--after", &position]);
    assert_eq!((&rest[0]["change"], &rest[0]["key"], rest.len()), (&json!("deleted"), &json!("key 0001"), 2));
    assert_eq!(told(&[]).len(), 1, "from now on");
    let text = place.kv("watch", &["--changes", "--after", &position, "--for", "0s"]).ok();
    assert!(text.text().contains("\tdeleted\tkey 0001\n"), "{text:?}");
    place.kv("watch", &["--after", "0"]).failed(2, &["--changes"]);
}

#[test]
fn a_compaction_leaves_little_but_what_lives() {
    let place = Place::filled(3000);
    let keys: String = (0..2990).map(|n| format!("key {n:04}\n")).collect();
    place.kv_with("del", &["--keys-from", "-"], keys.as_bytes()).ok();
    place.kv("compact", &[]).ok();
    let stats = place.kv("stats", &["--json"]).ok().json();
    let (log, live) = (stats["log_bytes"].as_u64().unwrap(), stats["live_bytes"].as_u64().unwrap());
    assert_eq!(stats["entries"], 10);
    assert!(log < 3_000_000 / 2 && live < 20_000, "log {log}, live {live}");
    let told = place.kv("compact", &["--json"]).ok().json();
    assert!(told["log_bytes_before"].is_u64() && told["log_bytes_after"].is_u64(), "{told}");
}

#[test]
fn a_backup_is_a_store_with_the_same_entries() {
    let place = Place::filled(100);
    let copy = place.at("copy");
    let told = place.kv("backup", &[&copy, "--json"]).ok().json();
    assert_eq!((&told["entries"], &told["to"]), (&json!(100), &json!(copy)));
    let exported = place.kv("export", &["--ordered"]).ok().out;
    assert_eq!(run(&["export", &copy, "--ordered"]).ok().out, exported);
    place.kv("backup", &[&copy]).failed(3, &[&copy, "already"]);
}

#[test]
fn a_benchmark_leaves_the_store_empty_and_refuses_one_that_is_used() {
    let place = Place::new();
    let args = ["--keys", "500", "--value-bytes", "10", "--threads", "2", "--json"];
    let told = place.kv("bench", &args).ok().json();
    for name in ["set_per_second", "get_per_second", "delete_per_second"] {
        assert!(told[name].as_u64() > Some(0), "{told}");
    }
    assert_eq!(place.kv("stats", &["--json"]).ok().json()["entries"], 0);
    place.kv("bench", &args).failed(3, &[&place.at("store"), "not empty"]);
    assert_eq!(run(&["bench", "--keys", "500"]).ok().text().lines().count(), 3);
}

#[test]
fn a_trace_is_replayed_through_a_store_that_may_hold_so_much() {
    let place = Place::new();
    // Ten ids over and over, with a scan in between: all but the first ten accesses of the ten find something.
    let ids = (0..100u32).flat_map(|round| (0..10).chain([1000 + round]));
    let trace: Vec<u8> = ids.flat_map(u32::to_le_bytes).collect();
    let (plain, packed, odd) = (place.at("ids.u32"), place.at("ids.u32.zst"), place.at("odd"));
    fs::write(&plain, &trace).unwrap();
    fs::write(&packed, zstd::encode_all(&trace[..], 3).unwrap()).unwrap();
    fs::write(&odd, [0; 7]).unwrap();
    for file in [&plain, &packed] {
        let told = run(&["bench", "trace", file, "--max-entries", "20", "--json"]).ok().json();
        assert_eq!((&told["accesses"], &told["hits"]), (&json!(1100), &json!(990)), "{told}");
        assert!(told["accesses_per_second"].as_u64() > Some(0), "{told}");
    }
    // Two entries of four bytes and eight: the ten do not fit.
    let told = run(&["bench", "trace", &plain, "--max-bytes", "24", "--json"]).ok().json();
    assert!(told["hits"].as_u64() < Some(300), "{told}");
    let told = run(&["bench", "trace", &plain, "--max-entries", "2000"]).ok();
    assert!(told.text().starts_with("accesses 1100\nhits 990\nhit_percent 90.00\n"), "{told:?}");
    run(&["bench", "trace", &odd, "--max-entries", "5"]).failed(4, &[&odd, "7 bytes"]);
    run(&["bench", "trace", &place.at("none"), "--max-entries", "5"]).failed(3, &["none"]);
    run(&["bench", "trace", &plain, "--max-entries", "0"]).failed(2, &["max_entries"]);
    run(&["bench", "trace", &plain]).failed(2, &["--max-entries"]);
}

#[test]
fn any_option_of_a_store_is_given_by_its_name() {
    let place = Place::new();
    let mirror = format!("json_mirror={}", place.at("people.json"));
    fs::write(place.path("people.json"), r#"{"name": "Alice", "age": 30}"#).unwrap();
    place.kv("incr", &["age", "-o", &mirror]).ok();
    let text = fs::read_to_string(place.path("people.json")).unwrap();
    assert_eq!(text, "{\n  \"age\": 31,\n  \"name\": \"Alice\"\n}\n");
    assert_eq!(place.kv("get", &["name"]).ok().text(), "Alice");
    place.kv("incr", &["age", "-o", "compresion=off"]).failed(2, &["compresion", "compression"]);
    place.kv("incr", &["age", "-o", "json_mirror"]).failed(2, &["NAME=VALUE"]);
    place.kv("get", &["age", "-o", "recover=perhaps"]).failed(2, &["recover", "strict or salvage"]);
    assert_eq!(place.kv("get", &["age", "-o", "recover=salvage"]).ok().text(), "31");
}

#[test]
fn an_import_and_a_compaction_compress_with_a_dictionary_on_request() {
    let line = |n: u32| {
        let sum = n.wrapping_mul(2_654_435_761);
        format!("{{\"key\":\"{n}\",\"value\":\"name: package-{n}; section: libs; priority: optional; sum: {sum:08x}\"}}\n")
    };
    let lines: String = (0..5000).map(line).collect();
    let place = Place::new();
    place.kv_with("import", &["-o", "compression=zstd-dictionary"], lines.as_bytes()).ok();
    place.kv("compact", &["-o", "compression=zstd-dictionary"]).ok();
    let stats = place.kv("stats", &["--json"]).ok().json();
    assert_eq!(stats["dictionaries"], 1, "{stats}");
    let exported = place.kv("export", &[]).ok();
    assert_eq!(exported.text().lines().count(), 5000);
    assert!(exported.text().contains(line(4999).trim()), "what is stored with a dictionary comes back");
}
