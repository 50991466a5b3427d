//! Findings as JSON lines, appended to a file or on standard output: a line for each revision that
//! was the newest when it was written.
//!
//! A line is in the file, on disk, before it counts as delivered. A line that was cut short by a
//! full disk is taken back, or ended, so that every line but such a one is a whole finding.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::sink::{Answer, Sink};
use crate::findings::record::FindingRecord;

/// The sink; its file is opened anew when somebody has moved it away, as logrotate does.
#[derive(Debug)]
pub struct Jsonl(Arc<Mutex<Output>>);

#[derive(Debug)]
enum Output {
    Stdout,
    File {
        path: PathBuf,
        file: File,
        /// Something without an end of line is at its end.
        torn: bool,
    },
}

impl Jsonl {
    /// Opens a file to append to, or standard output for `-`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let output = if path == Path::new("-") { Output::Stdout } else { Output::open(path)? };
        Ok(Self(Arc::new(Mutex::new(output))))
    }
}

impl Sink for Jsonl {
    fn batch_max(&self) -> usize {
        256
    }

    async fn deliver(&mut self, findings: &[Arc<FindingRecord>]) -> Vec<Answer> {
        let output = Arc::clone(&self.0);
        let lines = lines(findings);
        // A disk or the reader of a pipe may take long.
        let written = tokio::task::spawn_blocking(move || {
            output.lock().unwrap_or_else(PoisonError::into_inner).write(&lines)
        });
        let answer = match written.await {
            Ok(Ok(())) => Answer::Delivered,
            Ok(Err(error)) => Answer::Retry { after: None, why: error.to_string() },
            Err(_) => Answer::Retry { after: None, why: "writing failed".to_owned() },
        };
        vec![answer; findings.len()]
    }
}

fn lines(findings: &[Arc<FindingRecord>]) -> Vec<u8> {
    let mut lines = Vec::new();
    for finding in findings {
        // Texts and numbers only: there is nothing that cannot be written.
        lines.extend(serde_json::to_vec(finding.as_ref()).unwrap_or_default());
        lines.push(b'\n');
    }
    lines
}

impl Output {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        Ok(Self::File { path: path.to_owned(), torn: is_torn(&file)?, file })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if let Self::File { path, file, .. } = self
            && is_moved(path, file)?
        {
            *self = Self::open(path)?;
        }
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines)?;
                out.flush()
            }
            Self::File { file, torn, .. } => {
                if *torn {
                    file.write_all(b"\n")?;
                    *torn = false;
                }
                let plain = file.metadata()?;
                let written = file.write_all(lines);
                if !plain.is_file() {
                    return written;
                }
                let synced = written.and_then(|()| file.sync_data());
                if synced.is_err() {
                    // What is left of it where it cannot be taken back is no line of ours.
                    *torn = file.set_len(plain.len()).is_err();
                }
                synced
            }
        }
    }
}

/// Whether a file is no longer where it was opened, as after a rotation of logs.
fn is_moved(path: &Path, file: &File) -> io::Result<bool> {
    let open = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) != (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether a file ends within a line.
fn is_torn(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(false);
    }
    let mut end = [0];
    let mut reader = file;
    reader.seek(SeekFrom::End(-1))?;
    reader.read_exact(&mut end)?;
    Ok(end != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("f.jsonl"), folder.path().join("f.jsonl.1"));
        let sink = Jsonl::open(&path).unwrap();
        let write = |line: &[u8]| sink.0.lock().unwrap().write(line).unwrap();
        write(b"1\n");
        write(b"2\n");
        std::fs::rename(&path, &moved).unwrap();
        write(b"3\n");
        // Another one is there, cut short.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "torn").unwrap();
        write(b"4\n");
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&moved).as_str(), read(&path).as_str()), ("1\n2\n", "torn\n4\n"));
    }
}
