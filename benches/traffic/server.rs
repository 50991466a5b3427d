//! The real binary, for benches that ask it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ends with its owner.
pub(crate) struct Server {
    pub(crate) url: String,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts it with a data directory in this folder, on a port that is free.
pub(crate) fn start(folder: &Path) -> Server {
    let process = Command::new(env!("CARGO_BIN_EXE_auditmill"))
        .env("AUDITMILL_QUERY_POSTGRES_LISTEN", "")
        .env("AUDITMILL_QUERY_FLIGHT_LISTEN", "")
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.join("data"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut server = Server { url: String::new(), process };
    let log = BufReader::new(server.process.stderr.take().expect("a pipe"));
    for line in log.lines() {
        let line = line.expect("a line");
        if let Some(start) = line.find("http://") {
            line[start..].split('"').next().expect("a url").clone_into(&mut server.url);
            return server;
        }
    }
    panic!("no address in the log");
}
