//! `kv`: a libkv store from the command line. Uses nothing but the crate's public interface.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod args;
mod bench;
mod entries;
mod failure;
mod inspect;
mod output;
mod parse;
mod preload;
mod progress;
mod session;
mod show;
mod store;
mod tier;
mod trace;
mod transfer;
mod watch;

use args::{Args, Command};
use clap::{CommandFactory, Parser};
use failure::{Failure, Outcome};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return failure::of_usage(&error),
    };
    match run(args.command) {
        Ok(outcome) => outcome.into(),
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Get(args) => entries::get(&args),
        Command::Set(args) => entries::set(&args),
        Command::Add(args) => session::add(&args),
        Command::Edit(args) => session::edit(&args),
        Command::Del(args) => entries::del(&args),
        Command::Incr(args) => entries::incr(&args),
        Command::Ttl(args) => entries::ttl(&args),
        Command::Expire(args) => entries::expire(&args),
        Command::Scan(args) => transfer::scan(&args),
        Command::Import(args) => transfer::import(&args),
        Command::Export(args) => transfer::export(&args),
        Command::Stats(args) => inspect::stats(&args),
        Command::Flush(args) => tier::flush_store(&args),
        Command::Preload(args) => preload::preload(&args),
        Command::Verify(args) => inspect::verify(&args),
        Command::Compact(args) => inspect::compact(&args),
        Command::Backup(args) => inspect::backup(&args),
        Command::Watch(args) => watch::watch(&args),
        Command::Bench(args) => match &args.of {
            Some(args::BenchOf::Trace(args)) => trace::trace(args),
            None => bench::bench(&args),
        },
        Command::Completions { shell } => {
            // It panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "kv", &mut script);
            show::raw(&script).map(|()| Outcome::Done)
        }
    }
}
