//! Findings as JSON lines: one line per finding and revision, the newest revision only when
//! several came since the last line. A full disk only makes it wait: the service goes on, and so
//! does the line that was cut short.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::findings::reading::Filter;
use crate::findings::store::Store;

/// How long room on a full disk is waited for at a time.
const WAIT: Duration = Duration::from_secs(1);

/// Opens a file to append to, or standard output for `-`. Half a line at the file's end, which a
/// killed process left, is cut off: its finding is written again.
///
/// # Errors
/// When the file cannot be opened.
pub fn open(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    if file.metadata()?.is_file() {
        file.set_len(whole_lines_end(&File::open(path)?)?)?;
    }
    Ok(Box::new(file))
}

/// Where the last line feed is over.
fn whole_lines_end(file: &File) -> io::Result<u64> {
    let mut buffer = [0; 4096];
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let read = file.read_at(&mut buffer, start)?;
        let found = buffer.iter().take(read).rposition(|byte| *byte == b'\n');
        if let Some(at) = found {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Writes every change of the store until it is closed.
///
/// # Errors
/// When a line cannot be written.
pub fn follow(store: &Store, runtime: &Handle, mut out: impl Write) -> anyhow::Result<()> {
    let mut cursor = 0;
    let mut tip = store.follow();
    loop {
        let closed = tip.borrow_and_update().closed;
        let changes = store.changes_after(cursor, &Filter::default(), 1_000)?;
        for (_, record) in &changes.findings {
            let mut line = serde_json::to_vec(record.as_ref()).context("encode a finding")?;
            line.push(b'\n');
            let mut rest = line.as_slice();
            while !rest.is_empty() {
                let written = patiently(store, || match out.write(rest)? {
                    0 => Err(ErrorKind::WriteZero.into()),
                    written => Ok(written),
                });
                let written = written.context("write a finding")?;
                rest = rest.get(written..).unwrap_or_default();
            }
        }
        patiently(store, || out.flush()).context("write findings")?;
        cursor = changes.next;
        if closed && changes.findings.is_empty() {
            return Ok(());
        }
        if changes.findings.is_empty() {
            runtime.block_on(tip.changed())?;
        }
    }
}

/// The outcome of some work, tried again while the disk is full and the store is open.
fn patiently<T>(store: &Store, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut waiting = false;
    loop {
        match work() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_full(&error) => {
                if !waiting {
                    warn!(%error, "findings wait to be written: make room");
                }
                waiting = true;
                if store.follow().borrow().closed {
                    return Err(error);
                }
                std::thread::sleep(WAIT);
            }
            done => {
                if waiting {
                    info!("findings are written again");
                }
                return done;
            }
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_is_cut_off() {
        let check = |before: &str, after: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), before).unwrap();
            open(file.path()).unwrap().write_all(b"x").unwrap();
            assert_eq!(std::fs::read_to_string(file.path()).unwrap(), format!("{after}x"));
        };
        let long = "a".repeat(10_000);
        check("", "");
        check("half", "");
        check("one\ntwo\n", "one\ntwo\n");
        check("one\nha", "one\n");
        check(&format!("{long}\n{long}"), &format!("{long}\n"));
    }
}
