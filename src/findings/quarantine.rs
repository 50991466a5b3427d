//! What could not be read: kept whole, with the reason, on disk; bounded, the oldest given up
//! first.
//!
//! One file for each delivery that had such pieces, named by arrival and hash, so that a delivery
//! that is processed again changes nothing. A file is a row of pieces:
//!
//! ```text
//! {"cluster":"prod","source":"webhook",...,"bytes":17}\n
//! <17 bytes as they came>\n
//! ```
//! Only its owner can read it: what could not be read may hold secrets.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::decode::Quarantined;

/// A piece that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The cluster that sent it.
    pub cluster: String,
    /// The kind of input, such as `webhook`.
    pub source: String,
    /// Arrival, microseconds since 1970, UTC.
    pub received_at: i64,
    /// A bounded word for what is wrong.
    pub reason: String,
    /// What is wrong, in words.
    pub detail: String,
    /// Where it was in the delivery's body.
    pub offset: u64,
    /// The piece as it came.
    pub bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    cluster: String,
    source: String,
    received_at: i64,
    reason: String,
    detail: String,
    offset: u64,
    bytes: usize,
}

/// The newest pieces.
#[derive(Debug)]
pub struct Quarantine {
    folder: PathBuf,
    bytes_max: u64,
    files_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Names and lengths, oldest first.
    files: std::collections::BTreeMap<String, u64>,
    bytes: u64,
}

const SUFFIX: &str = ".pieces";
/// However small they are, there are no more files than this.
const FILES_MAX: usize = 10_000;

impl Quarantine {
    /// Opens a folder, creating it when missing, with room for so many bytes.
    ///
    /// # Errors
    /// When it cannot be created or read.
    pub fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut state = State::default();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(SUFFIX) {
                let bytes = entry.metadata()?.len();
                state.bytes += bytes;
                state.files.insert(name, bytes);
            }
        }
        let state = Mutex::new(state);
        Ok(Self { folder: folder.to_owned(), bytes_max, files_max: FILES_MAX, state })
    }

    /// Keeps the pieces of one delivery, durably. A delivery whose pieces are kept already is
    /// passed over.
    ///
    /// # Errors
    /// When they cannot be written; the folder is then as before.
    pub fn keep(&self, delivery: u128, received_at: i64, pieces: &[Quarantined]) -> io::Result<()> {
        let name = format!("{received_at:020}-{delivery:032x}{SUFFIX}");
        let mut state = self.lock();
        if pieces.is_empty() || state.files.contains_key(&name) {
            return Ok(());
        }
        let bytes = encode(pieces)?;
        let temporary = self.folder.join("new");
        let written = write(&temporary, &bytes)
            .and_then(|()| std::fs::rename(&temporary, self.folder.join(&name)))
            .and_then(|()| File::open(&self.folder)?.sync_all());
        if let Err(error) = written {
            // What was written of it is of no use.
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        state.bytes += bytes.len() as u64;
        state.files.insert(name, bytes.len() as u64);
        while (state.bytes > self.bytes_max || state.files.len() > self.files_max)
            && state.files.len() > 1
            && let Some((oldest, bytes)) = state.files.pop_first()
        {
            state.bytes -= bytes;
            std::fs::remove_file(self.folder.join(oldest))?;
        }
        Ok(())
    }

    /// Whether pieces of this delivery are kept, whenever it arrived.
    #[must_use]
    pub fn holds(&self, delivery: u128) -> bool {
        let end = format!("-{delivery:032x}{SUFFIX}");
        self.lock().files.keys().any(|name| name.ends_with(&end))
    }

    /// All pieces held now, oldest first. A file that cannot be read any more is passed over.
    ///
    /// # Errors
    /// When a file that exists cannot be opened.
    pub fn snapshot(&self) -> io::Result<Vec<Piece>> {
        let names: Vec<String> = self.lock().files.keys().cloned().collect();
        let mut pieces = Vec::new();
        for name in names {
            let mut bytes = Vec::new();
            match File::open(self.folder.join(name)) {
                Ok(mut file) => file.read_to_end(&mut bytes)?,
                // Given up meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            decode(&bytes, &mut pieces);
        }
        Ok(pieces)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn encode(pieces: &[Quarantined]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for piece in pieces {
        let header = Header {
            cluster: piece.cluster.clone(),
            source: piece.source.clone(),
            received_at: piece.received_at,
            reason: piece.reason.as_str().to_owned(),
            detail: piece.detail.clone(),
            offset: piece.offset as u64,
            bytes: piece.bytes.len(),
        };
        serde_json::to_writer(&mut out, &header)?;
        out.push(b'\n');
        out.extend(&piece.bytes);
        out.push(b'\n');
    }
    Ok(out)
}

/// The pieces of a file, as far as it is sound.
fn decode(mut bytes: &[u8], pieces: &mut Vec<Piece>) {
    while let Some(end) = memchr::memchr(b'\n', bytes) {
        let (line, rest) = bytes.split_at(end);
        let Ok(header) = serde_json::from_slice::<Header>(line) else { return };
        let Some(body) = rest.get(1..).and_then(|rest| rest.get(..header.bytes)) else { return };
        bytes = rest.get(header.bytes + 2..).unwrap_or_default();
        pieces.push(Piece {
            cluster: header.cluster,
            source: header.source,
            received_at: header.received_at,
            reason: header.reason,
            detail: header.detail,
            offset: header.offset,
            bytes: body.to_vec(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::decode::{Decoder, Delivery};
    use crate::event::Rows;

    fn bad(body: &[u8]) -> Vec<Quarantined> {
        let mut quarantined = Vec::new();
        let delivery = Delivery { cluster: "c", source: "webhook", received_at: 5, body };
        Decoder::new().decode(&delivery, &mut Rows::new(), &mut quarantined);
        quarantined
    }

    #[test]
    fn pieces_are_kept_whole_once_and_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quarantine");
        let open = || Quarantine::open(&path, 1 << 20).unwrap();
        let pieces = bad(b"{\"kind\":1}\nno\njson\x00\xff\n");
        let quarantine = open();
        quarantine.keep(1, 5, &pieces).unwrap();
        quarantine.keep(1, 5, &pieces).unwrap();
        quarantine.keep(2, 4, &bad(b"earlier")).unwrap();
        let kept = open().snapshot().unwrap();
        assert_eq!(kept, quarantine.snapshot().unwrap());
        assert_eq!(kept[0].bytes, b"earlier");
        let bytes: Vec<&[u8]> = kept[1..].iter().map(|piece| piece.bytes.as_slice()).collect();
        let expected: Vec<&[u8]> = pieces.iter().map(|piece| piece.bytes.as_slice()).collect();
        assert_eq!(bytes, expected);
        for entry in std::fs::read_dir(&path).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::open(folder.path(), 1_000).unwrap();
        for n in 0..10_u8 {
            quarantine.keep(u128::from(n), i64::from(n), &bad(&[b'x', n + 64])).unwrap();
        }
        let kept = quarantine.snapshot().unwrap();
        assert_eq!(kept.last().unwrap().bytes, [b'x', 73]);
        let files: u64 = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(files <= 1_000 && kept.len() > 2, "{files} bytes, {} pieces", kept.len());
    }
}
