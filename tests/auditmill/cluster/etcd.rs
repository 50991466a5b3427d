//! Where the API server keeps its objects.

use std::path::Path;
use std::process::Command;

use super::apiserver::START_LIMIT;
use super::process::{Process, free_port, start_listening};

/// Starts it; its port.
pub(crate) fn start_etcd(bin: &Path, dir: &Path) -> (Process, u16) {
    let spawn = || {
        let (port, peer_port) = (free_port(), free_port());
        let client = format!("http://127.0.0.1:{port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let mut command = Command::new(bin.join("etcd"));
        // Nothing here outlives the test, so nothing needs to reach the disk.
        command.arg("--unsafe-no-fsync").arg(flag("data-dir", &dir.join("etcd")));
        command.arg(format!("--listen-client-urls={client}"));
        command.arg(format!("--advertise-client-urls={client}"));
        command.arg(format!("--listen-peer-urls={peer}"));
        command.arg(format!("--initial-advertise-peer-urls={peer}"));
        command.arg(format!("--initial-cluster=default={peer}"));
        (Process::spawn("etcd", &mut command, dir), port)
    };
    let healthy = |port: &u16| {
        let url = format!("http://127.0.0.1:{port}/health");
        let answer = Command::new("curl").args(["--silent", "--fail", &url]).output();
        answer.expect("run curl").status.success()
    };
    start_listening(START_LIMIT, spawn, healthy)
}

/// A flag that names a file.
pub(crate) fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}
