//! What commands over a whole history take: time, and the most memory that they had.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The commands, as one writes them.
const COMMANDS: [&[&str]; 7] = [
    &["posture"],
    &["report", "secrets-read"],
    &["report", "permissions-used"],
    &["report", "actor", "--user", "nobody@example"],
    &["rbac", "suggest", "--user", "kubernetes-admin"],
    &["backtest", "--since", "2026-03-02T00:00:00Z"],
    &["verify"],
];

/// Runs each over a data directory.
pub(crate) fn run(data: &Path) {
    for arguments in COMMANDS {
        let started = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_auditmill"));
        command.args(arguments).arg("--data").arg(data);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("start the program");
        let mut most = 0;
        let ended = loop {
            // It is gone with the process, and grows only.
            most = peak_kib(child.id()).unwrap_or(most);
            match child.try_wait().expect("wait for the program") {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let (seconds, mib) = (started.elapsed().as_secs_f64(), most / 1024);
        let code = ended.code().unwrap_or(-1);
        println!("{:<44} {seconds:>7.1} s {mib:>6} MiB  exit {code}", arguments.join(" "));
    }
}

/// The most memory that a process had so far.
fn peak_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
