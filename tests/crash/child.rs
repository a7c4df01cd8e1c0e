//! This binary as a process that dies.

use std::process::{Child, Command};

const ROLE: &str = "KV_CRASH_CHILD";

/// What this process is to be, if it is a child.
pub fn role() -> Option<String> {
    let role = std::env::var(ROLE).ok()?;
    // SAFETY: a plain system call; an orphan would write for ever.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // Also a panic in a thread of the store's own ends the child, so that the parent sees it.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    Some(role)
}

pub fn command(role: &str, settings: &[(&str, String)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, role).envs(settings.iter().map(|(name, value)| (name, value)));
    command
}

/// What the parent has set.
pub fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("the parent sets {name}"))
}

pub fn number(name: &str) -> u64 {
    setting(name).parse().unwrap_or_else(|_| panic!("{name} is a number"))
}

/// Ends this process as `kill -9` does.
pub fn die() -> ! {
    // SAFETY: a plain system call on this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {
        std::thread::park();
    }
}

pub fn wait_until_killed(mut child: Child) {
    use std::os::unix::process::ExitStatusExt;
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL), "the child ended by itself");
}

/// A directory in memory where there is one: what a process leaves there at its death is the same as on a disk, and a
/// sync costs nothing.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
