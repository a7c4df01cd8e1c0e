//! P2 and P4: a process that dies at any moment loses nothing that it acknowledged, in any sync mode, and brings nothing
//! back.
//!
//! This binary starts itself as a child that is killed with SIGKILL: at a random moment, between two steps of a write, or
//! at a system call. What the child was about to do and was told stands in shared memory, which outlives it. `KV_CRASH_SEED`
//! gives the same choices again, though not the same races. An argument chooses tests, as with any other test binary.

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/history.rs"]
#[allow(dead_code)] // Histories in one process are for tests/linearizability.rs.
mod history;
#[path = "../support/journal.rs"]
#[allow(dead_code)] // As above.
mod journal;
#[path = "../support/register.rs"]
mod register;
#[path = "../support/wgl.rs"]
mod wgl;
#[path = "../support/words.rs"]
#[allow(dead_code)] // As above.
mod words;

mod board;
mod calls;
mod child;
mod histories;
mod kills;
mod steps;
mod tracer;

const TESTS: &[(&str, fn())] = &[
    ("p2_every_step_of_the_stores_life_may_be_its_last", steps::run),
    ("p1_p2_histories_that_processes_die_in_are_linearizable", histories::run),
    ("p2_histories_without_a_rule_that_keeps_them_are_refused", histories::run_without_rules),
    #[cfg(feature = "zstd")]
    ("p2_p4_values_in_dictionaries_stand_and_fall_as_others_when_processes_die", kills::run_dictionaries),
    ("p4_what_a_cache_let_go_stays_gone_over_many_kills", kills::run_cache),
    ("p2_p4_nothing_acknowledged_is_lost_and_nothing_comes_back_over_many_kills", kills::run),
];

fn main() {
    if let Some(role) = child::role() {
        return match role.as_str() {
            "kills" => kills::child(),
            "histories" => histories::child(),
            _ => steps::child(&role),
        };
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for (name, test) in TESTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
}
