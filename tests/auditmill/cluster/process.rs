//! Child processes that cannot outlive the test, and waiting for conditions.
//!
//! Every child leads a process group of its own, and beside it waits a small shell whose standard
//! input is a pipe from us. When the pipe closes (drop, panic, an interrupt, a killed test) the
//! shell kills the group. So nothing is left over even when no destructor of ours gets to run. The
//! logs go with the test's folder; of a test that fails, each child's last lines are printed.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(50);
const PORT_ATTEMPTS: usize = 3;

/// A running child. Dropping it kills the child's whole process group and waits for it.
pub(crate) struct Process {
    name: String,
    child: Child,
    guard: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `<logs>/<name>.log`.
    pub(crate) fn spawn(name: &str, command: &mut Command, logs: &Path) -> Self {
        let log = logs.join(format!("{name}.log"));
        let output = File::create(&log).expect("create a log file in the test's folder");
        let errors = output.try_clone().expect("duplicate a file handle");
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}"));
        let guard = Command::new("sh")
            .args(["-c", "read -r _; kill -KILL \"-$1\"", "guard", &child.id().to_string()])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start a shell to guard a child");
        Self { name: name.to_owned(), child, guard, log }
    }

    /// What the child has printed so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Asks the child to stop (SIGTERM) and waits for its end; panics when `limit` passes.
    pub(crate) fn stop(&mut self, limit: Duration) -> ExitStatus {
        let id = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$1\"", "stop", &id]).status();
        assert!(sent.expect("run a shell").success(), "{} was not running", self.name);
        until(&format!("{} to stop", self.name), limit, || self.exit_status())
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it has ended");
    }

    /// Its exit status, once it has ended.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask for a child's status")
    }

    /// The end of its output, for messages.
    pub(crate) fn last_words(&self) -> String {
        let output = self.output();
        let unneeded = output.lines().count().saturating_sub(20);
        output.lines().skip(unneeded).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            // Ended and reaped: its number may belong to someone else by now.
            let _ = self.guard.kill();
        }
        if thread::panicking() {
            eprintln!("--- the last words of {}:\n{}", self.name, self.last_words());
        }
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
        let _ = self.child.wait();
    }
}

/// Starts a process that listens on ports from [`free_port`] and waits until `ready`. Somebody may
/// take such a port before the process does: then it is started again, on others.
pub(crate) fn start_listening<T>(
    limit: Duration,
    mut spawn: impl FnMut() -> (Process, T),
    mut ready: impl FnMut(&T) -> bool,
) -> (Process, T) {
    for _ in 0..PORT_ATTEMPTS {
        let (mut process, address) = spawn();
        let what = format!("{} to be ready", process.name);
        let came_up = until(&what, limit, || match process.exit_status() {
            Some(_) => Some(false),
            None => ready(&address).then_some(true),
        });
        if came_up {
            return (process, address);
        }
        let port_taken = process.output().contains("address already in use");
        assert!(port_taken, "{} ended at once:\n{}", process.name, process.last_words());
    }
    panic!("every port was taken by somebody else, {PORT_ATTEMPTS} times");
}

/// A port on 127.0.0.1 that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener =
        TcpListener::bind(("127.0.0.1", 0)).expect("bind a port on the loopback address");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// A port on 127.0.0.1 that is free, and stays so while nobody asks for it by number: the system
/// picks those of clients and of port 0 elsewhere (`net.ipv4.ip_local_port_range`). No port is
/// given twice: who had it may be away only for a while.
pub(crate) fn lasting_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Tests that run at the same time do not start at the same one.
    let first = 20_000 + u16::try_from(std::process::id() % 8_000).expect("less than 8000");
    let ports = (0..1_000).map(|_| first + GIVEN.fetch_add(1, Ordering::SeqCst));
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    { ports }.find(free).expect("a port that nobody listens on")
}

/// Asks `condition` again and again until it gives something; panics when `limit` passes.
pub(crate) fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} for {what}");
        thread::sleep(POLL_INTERVAL);
    }
}
