//! Findings as JSON lines: one line per finding and revision, the newest revision only when
//! several came since the last line.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::findings::store::Store;

/// How long the end of the store is waited for at a time.
const WAIT: Duration = Duration::from_secs(1);

/// Opens a file to append to, or standard output for `-`.
///
/// # Errors
/// When the file cannot be opened.
pub fn open(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    Ok(Box::new(OpenOptions::new().create(true).append(true).open(path)?))
}

/// Writes every change of the store until it is closed.
///
/// # Errors
/// When a line cannot be written.
pub fn follow(store: &Store, mut out: impl Write) -> anyhow::Result<()> {
    let mut cursor = 0;
    while let Some(changes) = store.changes_after(cursor, WAIT) {
        for (change, record) in changes {
            let mut line = serde_json::to_vec(record.as_ref()).context("encode a finding")?;
            line.push(b'\n');
            out.write_all(&line).context("write a finding")?;
            cursor = change;
        }
        out.flush().context("write findings")?;
    }
    Ok(())
}
