//! The program, run to its end.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that takes a moment.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);
/// How long a whole run may take: `auditmill test` plans and runs every detection many times.
const RUN_LIMIT: Duration = Duration::from_mins(20);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The shipped detections that tests without a wish of their own run.
pub(crate) const SOME: &str =
    "K8A-101,K8A-106,K8A-108,K8A-203,K8A-205,K8A-301,K8A-309,K8A-401,K8A-501";

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command of the program that no setting of the environment reaches.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditmill"));
    let settings = std::env::vars_os().map(|(name, _)| name);
    for name in settings.filter(|name| name.to_string_lossy().starts_with("AUDITMILL_")) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    // To plan all of them takes longer than most tests.
    command.env("AUDITMILL_DETECT_SHIPPED", SOME);
    command
}

/// Runs the program with these arguments.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    run_with_input(arguments, &[])
}

/// Runs the program with these arguments and bytes on standard input.
pub(crate) fn run_with_input<S: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = S>,
    input: &[u8],
) -> Ended {
    let mut command = program();
    command.args(arguments);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("start the program");
    let mut stdin = child.stdin.take().expect("a pipe was asked for");
    let stdout = gather(child.stdout.take().expect("a pipe was asked for"));
    let stderr = gather(child.stderr.take().expect("a pipe was asked for"));
    let input = input.to_vec();
    // It may end without reading: a broken pipe is no failure of the test.
    thread::spawn(move || drop(stdin.write_all(&input)));
    let status = wait(&mut child);
    let text = |pipe: mpsc::Receiver<String>| pipe.recv_timeout(LIMIT).expect("its output ended");
    Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// Waits for the end of a child, which is killed after [`RUN_LIMIT`].
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + RUN_LIMIT;
    loop {
        if let Some(status) = child.try_wait().expect("ask for a child's status") {
            return status;
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            panic!("the program did not end within {RUN_LIMIT:?}");
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn gather(mut pipe: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}
