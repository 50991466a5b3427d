//! Findings as JSON lines, appended to a file or on standard output: a line for each revision that
//! was the newest when it was written.
//!
//! A line is in the file, on disk, before it counts as delivered. A line that was cut short by a
//! full disk is taken back, or ended, so that every line but such a one is a whole finding.
//!
//! Before each batch it looks whether the file is still where it was: no signal is needed after a
//! rotation by somebody else. With `rotate_bytes` it rotates by itself.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::format;
use super::sink::{Answer, Sink};
use crate::config::sink::{Format, JsonlSettings};
use crate::findings::record::FindingRecord;

/// The sink; its file is opened anew when somebody has moved it away, as logrotate does.
#[derive(Debug)]
pub struct Jsonl {
    output: Arc<Mutex<Output>>,
    format: Format,
}

/// When a file is put aside, and how many of them are kept.
#[derive(Clone, Copy, Debug)]
struct Rotation {
    /// A file does not grow beyond this but by one batch that is larger; 0: it may.
    bytes: u64,
    keep: u32,
}

#[derive(Debug)]
enum Output {
    Stdout,
    File {
        path: PathBuf,
        file: File,
        rotation: Rotation,
        /// Something without an end of line is at its end.
        torn: bool,
    },
}

impl Jsonl {
    /// Opens a file to append to, or standard output for `-`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(settings: &JsonlSettings) -> io::Result<Self> {
        let (path, format) = (&settings.path, settings.format);
        let rotation =
            Rotation { bytes: settings.rotate_bytes.as_u64(), keep: settings.rotate_keep };
        let output =
            if path == Path::new("-") { Output::Stdout } else { Output::open(path, rotation)? };
        Ok(Self { output: Arc::new(Mutex::new(output)), format })
    }
}

impl Sink for Jsonl {
    fn batch_max(&self) -> usize {
        256
    }

    async fn deliver(&mut self, findings: &[Arc<FindingRecord>]) -> Vec<Answer> {
        let output = Arc::clone(&self.output);
        let lines = lines(findings, self.format);
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

fn lines(findings: &[Arc<FindingRecord>], format: Format) -> Vec<u8> {
    let mut lines = Vec::new();
    for finding in findings {
        lines.extend(format::bytes(format, finding));
        lines.push(b'\n');
    }
    lines
}

impl Output {
    fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        Ok(Self::File { path: path.to_owned(), rotation, torn: is_torn(&file)?, file })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if let Self::File { path, file, rotation, .. } = self {
            let is_moved = is_moved(path, file)?;
            let is_full = !is_moved && rotation.is_full(&file.metadata()?, lines.len());
            if is_full {
                rotation.put_aside(path)?;
            }
            if is_moved || is_full {
                *self = Self::open(path, *rotation)?;
            }
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

impl Rotation {
    /// Whether so many bytes more are for the next file.
    fn is_full(&self, file: &Metadata, bytes: usize) -> bool {
        let grown = file.len().saturating_add(bytes as u64);
        self.bytes > 0 && file.is_file() && file.len() > 0 && grown > self.bytes
    }

    /// Moves the file to `PATH.1`, that to `PATH.2`, and so on; the oldest goes. What was cut
    /// short by a crash leaves a gap, never a file overwritten by a newer one.
    fn put_aside(&self, path: &Path) -> io::Result<()> {
        let name = |number: u32| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.keep).rev() {
            moved(&name(number), &name(number + 1))?;
        }
        moved(path, &name(1))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Moves a file, if it is there.
fn moved(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
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
        let sink = Jsonl::open(&JsonlSettings::new("all", path.clone())).unwrap();
        let write = |line: &[u8]| sink.output.lock().unwrap().write(line).unwrap();
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

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.jsonl");
        let mut settings = JsonlSettings::new("all", path.clone());
        (settings.rotate_bytes, settings.rotate_keep) = (bytesize::ByteSize::b(4), 2);
        let sink = Jsonl::open(&settings).unwrap();
        for line in ["1\n", "2\n", "3\n", "a long line\n", "4\n", "5\n", "6\n"] {
            sink.output.lock().unwrap().write(line.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(
            [read("f.jsonl"), read("f.jsonl.1"), read("f.jsonl.2")],
            ["6\n", "4\n5\n", "a long line\n"]
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
