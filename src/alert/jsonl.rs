//! Findings as JSON lines: one line per finding and revision, the newest revision only when
//! several came since the last line.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context as _;
use tokio::runtime::Handle;

use crate::findings::reading::Filter;
use crate::findings::store::Store;

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
pub fn follow(store: &Store, runtime: &Handle, mut out: impl Write) -> anyhow::Result<()> {
    let mut cursor = 0;
    let mut tip = store.follow();
    loop {
        let closed = tip.borrow_and_update().closed;
        let changes = store.changes_after(cursor, &Filter::default(), 1_000)?;
        for (_, record) in &changes.findings {
            let mut line = serde_json::to_vec(record.as_ref()).context("encode a finding")?;
            line.push(b'\n');
            out.write_all(&line).context("write a finding")?;
        }
        out.flush().context("write findings")?;
        cursor = changes.next;
        if closed && changes.findings.is_empty() {
            return Ok(());
        }
        if changes.findings.is_empty() {
            runtime.block_on(tip.changed())?;
        }
    }
}
