//! Searches every state of the protocol within bounds. `README.md` says what is modelled, and how to read what this prints.

mod actions;
mod batch;
mod check;
mod compaction;
mod keeper;
mod model;
mod readme;
mod recovery;
mod replay;
mod rules;
mod run;
mod scenarios;
mod search;
mod spec;
mod state;
mod writer;

use run::{Arguments, Report};
use std::process::ExitCode;

const USAGE: &str = "kv-protocol: searches every state of the protocol within bounds

  --minutes N     goes on with larger, random scenarios for so long (KV_MODEL_MINUTES)
  --seed N        of those scenarios (KV_MODEL_SEED)
  --only TEXT     scenarios whose name holds the text, and a number of states each; nothing else
  --campaign N    the N-th random scenario of the seed, alone
  --without RULE  takes a rule out, by the name in README.md; prints the way to the broken promise
  --write-readme  writes the table of README.md anew";

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let Report { is_good, closing } = run::run(&arguments);
    println!("{closing}");
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
