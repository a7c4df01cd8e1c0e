//! Where and when a run took place.

/// With what the run itself says of its size.
pub fn described(run: String) -> Vec<String> {
    let of = |path: &str, field: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap_or_default().to_owned();
        line.split_once([':', '='])
            .map_or(String::new(), |(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_gib =
        of("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or(0) >> 20;
    vec![
        format!("{}, {cores} cores, {memory_gib} GiB", of("/proc/cpuinfo", "model name")),
        format!("{}, Linux {}", of("/etc/os-release", "PRETTY_NAME"), said_by("uname", &["-r"])),
        format!("{}; {}", said_by("rustc", &["--version"]), said_by("redis-server", &["--version"])),
        format!(
            "commit {}, {}",
            said_by("git", &["rev-parse", "--short=12", "HEAD"]),
            said_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"])
        ),
        run,
        load("at its start"),
    ]
}

/// What else ran: the run itself keeps one or two processors busy.
pub fn load(when: &str) -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = averages.split_whitespace().take(3).collect();
    format!("load averages {when} {}", averages.join(", "))
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output();
    output.map_or(format!("no {program}"), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
