//! Runs a child under ptrace and kills it as it enters its n-th system call, whichever thread makes it. Not strace: that
//! counts each thread's calls apart, and from the start of the process on.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Calls that only wait, and those that come as often as the scheduler likes: no step of anything.
const WAITS: [libc::c_long; 5] = [
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
];

/// What the child raises where counting begins, and where it ends.
pub fn mark() {
    // SAFETY: a plain system call; the tracer takes the signal.
    unsafe { libc::raise(libc::SIGUSR1) };
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// As it entered this call.
    Killed { call: u64 },
    /// It had no n-th call between its marks.
    Finished,
}

fn ptrace(request: libc::c_uint, pid: libc::pid_t, address: usize, data: usize) -> libc::c_long {
    // SAFETY: requests that take numbers, or an address and length of this process's memory; a thread that is gone meanwhile
    // gives an error, which is no matter.
    unsafe { libc::ptrace(request, pid, address, data) }
}

/// The number of the call that a stopped thread is about to make; `None` where it has made it.
fn entered(pid: libc::pid_t) -> Option<u64> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let to = std::ptr::from_mut(&mut info) as usize;
    ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size_of::<libc::ptrace_syscall_info>(), to);
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: the kernel says that it filled this one of the union.
    Some(unsafe { info.u.entry.nr })
}

/// Runs `command` until it enters its `kill_at`-th call between its marks, from 1 on. The process is gone afterwards.
pub fn run(mut command: Command, kill_at: u64) -> End {
    // SAFETY: a plain system call between fork and exec.
    let traced = unsafe {
        command.pre_exec(|| {
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0usize, 0usize) == -1 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        })
    };
    #[allow(clippy::zombie_processes)] // It is waited for below, by its number.
    let child = traced.spawn().unwrap().id() as libc::pid_t;
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
    let (mut has_options, mut counts, mut calls, mut killed) = (false, false, 0, None);
    loop {
        let mut status = 0;
        // SAFETY: a plain system call that fills a number.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL) };
        assert!(pid > 0, "{}", std::io::Error::last_os_error());
        if !libc::WIFSTOPPED(status) {
            if pid != child {
                continue;
            }
            let is_killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
            assert!(is_killed, "the child ended by itself: status {status:#x}");
            return killed.unwrap_or(End::Finished);
        }
        if !has_options {
            ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options as usize);
            has_options = true;
        }
        let mut deliver = 0;
        match libc::WSTOPSIG(status) {
            signal if signal == libc::SIGTRAP | 0x80 => {
                if let Some(call) = entered(pid).filter(|call| counts && !WAITS.contains(&(*call as _))) {
                    calls += 1;
                    if calls == kill_at {
                        killed = Some(End::Killed { call });
                        kill(child);
                    }
                }
            }
            libc::SIGUSR1 if counts => kill(child),
            libc::SIGUSR1 => counts = true,
            // A new thread, or the program's start.
            libc::SIGSTOP | libc::SIGTRAP => {}
            signal => deliver = signal as usize,
        }
        ptrace(libc::PTRACE_SYSCALL, pid, 0, deliver);
    }
}

fn kill(child: libc::pid_t) {
    // SAFETY: a plain system call on a process that has not been waited for.
    unsafe { libc::kill(child, libc::SIGKILL) };
}
