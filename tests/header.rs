//! `include/kv.h` says what `src/ffi/` does. `make header` writes it anew.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of the ABI, in the order that `mod.rs` gives.
fn sources() -> Vec<PathBuf> {
    let text = std::fs::read_to_string(root().join("src/ffi/mod.rs")).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names.map(|name| root().join(format!("src/ffi/{name}.rs"))).collect()
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let builder =
        sources().into_iter().fold(cbindgen::Builder::new(), |builder, file| builder.with_src(file));
    let mut header = Vec::new();
    builder.with_config(config).generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn the_committed_header_is_the_one_that_the_code_gives() {
    let path = root().join("include/kv.h");
    let header = generated();
    if std::env::var_os("KV_WRITE_HEADER").is_some() {
        std::fs::write(&path, &header).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let line = committed.lines().zip(header.lines()).position(|(a, b)| a != b);
    assert!(committed == header, "include/kv.h differs from line {line:?} on: run `make header`");
}

/// Name, doc and body of each exported function.
fn exports() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for file in sources() {
        let text = std::fs::read_to_string(file).unwrap();
        let mut parts = text.split("#[no_mangle]\n");
        let mut before = parts.next().unwrap().to_owned();
        for part in parts {
            let (_, from_name) = part.split_once(" fn ").unwrap();
            let name = from_name.split('(').next().unwrap().to_owned();
            let body = part.split_once("\n}\n").map_or(part, |(body, _)| body).to_owned();
            let doc: Vec<&str> = before.lines().rev().take_while(|line| line.starts_with("///")).collect();
            found.push((name, doc.into_iter().rev().collect::<Vec<_>>().join("\n"), body));
            before = part.to_owned();
        }
    }
    found
}

#[test]
fn every_function_tells_parameters_ownership_threads_and_errors_in_the_header() {
    let header = generated();
    let exports = exports();
    assert!(exports.len() > 60, "only {} exports found", exports.len());
    for (name, doc, _) in exports {
        for part in ["Parameters: ", "Ownership: ", "Threads: ", "Errors: "] {
            assert_eq!(doc.matches(part).count(), 1, "{name}: {part}");
        }
        let first = doc.lines().next().unwrap().trim_start_matches('/').trim();
        assert!(header.contains(first), "{name}: its doc is not in the header");
    }
}

#[test]
fn no_export_lets_a_panic_out() {
    // They return what is static.
    let cannot_fail = ["kv_strerror", "kv_version", "kv_version_text"];
    for (name, _, body) in exports() {
        let is_guarded = body.contains("call!(") || body.contains("guarded(");
        assert_eq!(is_guarded, !cannot_fail.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn the_list_of_exported_symbols_is_that_of_the_code() {
    let mut names: Vec<String> = exports().into_iter().map(|(name, _, _)| name).collect();
    names.sort();
    let listed = std::fs::read_to_string(root().join("include/symbols.txt")).unwrap_or_default();
    if std::env::var_os("KV_WRITE_HEADER").is_some() {
        std::fs::write(root().join("include/symbols.txt"), names.join("\n") + "\n").unwrap();
        return;
    }
    assert_eq!(listed.lines().collect::<Vec<_>>(), names, "include/symbols.txt: run `make header`");
}
