//! The table in README.md: what each rule's absence leads to. A run compares it with what it found, so it cannot go stale.

use crate::rules::Break;
use crate::search::Violation;
use std::path::PathBuf;

const BEGIN: &str = "<!-- table: begin -->\n";
const END: &str = "<!-- table: end -->";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

pub fn row(this: Break, rule: &str, wrong: &str, scenario: &str, violation: &Violation) -> String {
    // Which promise: what stands before the colon.
    let promise = violation.what.split(':').next().filter(|p| p.len() < 8).unwrap_or("M3");
    format!("| {rule} | {this:?} | {wrong} | {scenario} | {promise} | {} |\n", violation.steps.len())
}

fn table(rows: &[String]) -> String {
    let head = "| rule | switch | what is wrong | scenario | breaks | steps |\n|---|---|---|---|---|---|\n";
    format!("{head}{}", rows.concat())
}

/// The text before, inside and after the marks.
fn parts(text: &str) -> Option<[&str; 3]> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (inside, after) = rest.split_once(END)?;
    Some([before, inside, after])
}

pub fn is_current(rows: &[String]) -> bool {
    let text = std::fs::read_to_string(path()).unwrap_or_default();
    parts(&text).is_some_and(|parts| parts[1] == table(rows))
}

pub fn write(rows: &[String]) {
    let text = std::fs::read_to_string(path()).unwrap_or_default();
    match parts(&text) {
        Some([before, _, after]) => {
            let text = format!("{before}{BEGIN}{}{END}{after}", table(rows));
            if let Err(error) = std::fs::write(path(), text) {
                eprintln!("README.md: {error}");
            }
        }
        None => eprintln!("README.md: no marks for the table"),
    }
}
