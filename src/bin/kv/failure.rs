//! How the command ends: exit codes, and the one line that says why.

use std::io;
use std::path::Path;
use std::process::ExitCode;

/// The command did what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The key is absent, the condition was not met, or there is damage.
    No,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        match outcome {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::No => ExitCode::from(1),
        }
    }
}

const USAGE: u8 = 2;
const STORE: u8 = 3;
const REFUSED: u8 = 4;

/// Why it did not.
#[derive(Debug)]
pub enum Failure {
    Said {
        code: u8,
        reason: String,
    },
    /// Whoever reads stdout has heard enough, as `head` does.
    NobodyReads,
}

impl Failure {
    pub fn usage(reason: impl Into<String>) -> Failure {
        Failure::Said { code: USAGE, reason: reason.into() }
    }

    pub fn refused(reason: impl Into<String>) -> Failure {
        Failure::Said { code: REFUSED, reason: reason.into() }
    }

    /// A file other than the store's.
    pub fn file(op: &str, path: &Path, error: &io::Error) -> Failure {
        Failure::Said { code: STORE, reason: format!("{op} {}: {error}", path.display()) }
    }

    pub fn stdout(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::NobodyReads,
            _ => Failure::file("write", Path::new("stdout"), error),
        }
    }

    /// An error of the store that names no file itself: with the store's path before it.
    pub fn at(store: &Path, error: kv::Error) -> Failure {
        let failure = Failure::from(error.clone());
        match (failure, error) {
            (Failure::Said { code, reason }, error) if !names_file(&error) => {
                Failure::Said { code, reason: format!("{}: {reason}", store.display()) }
            }
            (failure, _) => failure,
        }
    }

    pub fn report(self) -> ExitCode {
        match self {
            Failure::NobodyReads => ExitCode::SUCCESS,
            Failure::Said { code, reason } => {
                // A file name may hold anything; the message stays one line.
                eprintln!("kv: {}", reason.replace('\n', "\\n"));
                ExitCode::from(code)
            }
        }
    }
}

fn names_file(error: &kv::Error) -> bool {
    use kv::Error::*;
    matches!(error, Io { .. } | Corrupt { .. } | UnsupportedVersion { .. } | NotAStore { .. } | Locked { .. })
}

impl From<kv::Error> for Failure {
    fn from(error: kv::Error) -> Failure {
        use kv::Error::*;
        let code = match &error {
            InvalidOption { .. } => USAGE,
            KeyTooLong { .. } | ValueTooLong { .. } | BatchTooLarge { .. } => REFUSED,
            NotAnInteger { .. } | Overflow { .. } | NotText { .. } | Import { .. } => REFUSED,
            WrongCodec { .. } => REFUSED,
            Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => return Failure::NobodyReads,
            _ => STORE,
        };
        Failure::Said { code, reason: error.to_string() }
    }
}

/// Help goes to stdout; anything else is an error of one line.
pub fn of_usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_help || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nowhere to tell that it could not be printed.
        let _ = error.print();
        return if is_help { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
    }
    let text = error.render().to_string();
    // Up to the blank line stands what is wrong; usage and hints follow.
    let what = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = what.trim_start_matches("error: ").split_whitespace().collect();
    eprintln!("kv: {} (see kv --help)", words.join(" "));
    ExitCode::from(USAGE)
}
