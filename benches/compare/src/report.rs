//! The figures as Markdown.

use crate::engine::Level;
use crate::parts::{self, part, LARGE, SMALL};
use crate::peers;
use crate::results::{median, range, rate, Figure, Results};
use std::path::Path;

const PAGE: &str = include_str!("page.md");
const LOCK: &str = include_str!("../Cargo.lock");

/// The page: what `page.md` says, with the figures in their places.
pub fn write(results: &Results, path: &Path) {
    let throughput = |level| {
        [SMALL, LARGE]
            .map(|bytes| part(level, bytes))
            .iter()
            .map(|part| rates(results, part))
            .collect::<String>()
    };
    let quantity = |part: &str| table(results, part, |_, samples| spread(samples, |x| format!("{x:.2}")));
    let places = [
        ("HOST", results.host.iter().map(|line| format!("- {line}\n")).collect()),
        ("TARGETS", targets(results)),
        ("MEMORY", throughput(Level::Memory)),
        ("FILL", rates(results, parts::FILL)),
        ("ENTRY", quantity(parts::ENTRY)),
        ("DISK", throughput(Level::ProcessCrash)),
        ("SYNCED", throughput(Level::PowerLoss)),
        (
            "SPACE",
            [Level::Memory, Level::ProcessCrash]
                .map(|level| quantity(&format!("{}: space", part(level, SMALL))))
                .concat(),
        ),
        (
            "REOPEN",
            table(results, parts::REOPEN, |case, samples| match case {
                parts::LOST => spread(samples, |lost| format!("{lost:.0}")),
                _ => spread(samples, |seconds| format!("{:.0} ms", 1e3 * seconds)),
            }),
        ),
        (
            "CHURN",
            table(results, parts::CHURN, |case, samples| match case {
                parts::CHURN_SETS => spread(samples, rate),
                _ => spread(samples, |bytes| format!("{:.0} MiB", bytes / 1048576.0)),
            }),
        ),
        ("GROWTH", rates(results, parts::GROWTH)),
        ("PEERS", configurations()),
    ];
    let mut page = PAGE.to_owned();
    for (place, text) in places {
        let mark = format!("{{{{{place}}}}}\n");
        assert!(page.contains(&mark), "page.md has no place for {place}");
        page = page.replace(&mark, text.trim_start_matches('\n'));
    }
    std::fs::write(path, page).expect("a file");
}

pub fn targets(results: &Results) -> String {
    let mut text = String::from("| measure | target | reached | |\n|---|---|---|---|\n");
    for row in &results.targets {
        let verdict = if row.holds { "reached" } else { "**missed**" };
        text += &format!("| {} | {} | {} | {verdict} |\n", row.measure, row.target, row.reached);
    }
    text
}

/// The median, and how far the furthest repetition is from it.
fn spread(samples: &[f64], said: impl Fn(f64) -> String) -> String {
    let (middle, (low, high)) = (median(samples), range(samples));
    if samples.len() < 2 || middle == 0.0 {
        return said(middle);
    }
    format!("{} ±{:.0} %", said(middle), 100.0 * (high - middle).max(middle - low) / middle)
}

fn rates(results: &Results, part: &str) -> String {
    table(results, part, |_, samples| spread(samples, rate))
}

/// A row for each case, a column for each peer, both in the order in which they were measured.
fn table(results: &Results, part: &str, said: impl Fn(&str, &[f64]) -> String) -> String {
    let figures: Vec<&Figure> = results.figures.iter().filter(|figure| figure.part == part).collect();
    let (mut cases, mut names): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for figure in &figures {
        if !cases.contains(&&figure.case[..]) {
            cases.push(&figure.case);
        }
        if !names.contains(&&figure.peer[..]) {
            names.push(&figure.peer);
        }
    }
    let heads: Vec<String> = names
        .iter()
        .map(|name| format!("{name}{}", if is_weaker(name, part) { " (promises less)" } else { "" }))
        .collect();
    let mut text =
        format!("\n**{part}**\n\n| | {} |\n|---|{}\n", heads.join(" | "), "---:|".repeat(names.len()));
    for case in cases {
        let cells = names
            .iter()
            .map(|name| results.get(part, case, name).map_or("–".into(), |samples| said(case, samples)));
        text += &format!("| {case} | {} |\n", cells.collect::<Vec<_>>().join(" | "));
    }
    text
}

fn is_weaker(name: &str, part: &str) -> bool {
    let peer = peers::all().into_iter().find(|peer| peer.name == name);
    peer.is_some_and(|peer| peer.weaker.iter().any(|level| part.starts_with(parts::said(*level))))
}

fn configurations() -> String {
    let mut text = String::from(
        "| peer | version | configuration | a get hands back | why it is fair |\n|---|---|---|---|---|\n",
    );
    for peer in peers::all() {
        text += &format!(
            "| {} | {} | {} | {} | {} |\n",
            peer.name,
            version(peer.krate),
            peer.configuration,
            peer.hands_back,
            peer.fair
        );
    }
    text
}

/// As locked; with that of the C or C++ library beneath.
fn version(krate: &str) -> String {
    let locked = |name: &str| {
        // A peer may use another peer's older version, which stands first.
        let after = LOCK.rsplit_once(&format!("name = \"{name}\"\nversion = \""))?.1;
        after.split_once('"').map(|(version, _)| version.to_owned())
    };
    let beneath = match krate {
        "rocksdb" => Some("librocksdb-sys"),
        "heed" => Some("lmdb-master-sys"),
        _ => None,
    };
    let Some(version) = locked(krate) else { return "see above".into() };
    let beneath = beneath.and_then(|name| Some(format!(", {name} {}", locked(name)?))).unwrap_or_default();
    format!("{krate} {version}{beneath}")
}
