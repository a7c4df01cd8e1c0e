//! Long runs, each of which looks at what the process holds while it goes on: disk, memory, descriptors, threads, maps. In a
//! process of its own, one after another, since tests beside them would be counted too. CI runs the short form; the
//! variables that make it long stand at each.

#[path = "../common/mod.rs"]
mod common;
mod held;
mod opens;
mod overwrites;
mod reader;

type Run = (&'static str, fn());

const RUNS: [Run; 4] = [
    ("p8_disk_and_memory_stay_bounded_while_values_are_overwritten_deleted_and_expire", overwrites::run),
    ("p8_a_store_that_is_opened_and_closed_leaves_nothing_behind", opens::reads),
    ("p8_a_store_that_is_opened_for_a_record_at_a_time_stays_small", opens::writes),
    ("p5_p6_p8_a_reader_keeps_its_values_and_nobody_from_writing_while_the_log_turns_over", reader::run),
];

fn main() {
    // What cargo passes on: a part of a name, and options of the usual harness, which mean nothing here.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runs: Vec<&Run> = RUNS
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|part| name.contains(part)))
        .collect();
    for (name, run) in runs {
        println!("test {name} ...");
        run();
        println!("test {name} ... ok");
    }
}
