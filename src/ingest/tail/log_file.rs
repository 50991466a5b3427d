//! One open log file: whole lines from where its mark stands.
//!
//! Promise: bytes that are handed on stood in the file behind the mark while its beginning was
//! the one that the mark knows; a file that was cut and written anew does not pass.
//!
//! Never: it waits for nothing, and holds no bytes of the file between two calls.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};

use super::folder::{self, Found};
use super::progress::{FileId, Head, Mark};

/// What a file is told from others by; more than the first event's id and time.
const HEAD_BYTES_MAX: u64 = 1_024;
/// How much is searched for a newline at once.
const BLOCK_BYTES: u64 = 64 << 10;

/// How much is read at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Lines together, unless one alone is longer.
    pub(super) chunk_bytes: u64,
    /// One line, with its newline; not zero.
    pub(super) line_bytes_max: u64,
}

/// A stretch of the file that can be handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Whether it is the beginning of a line that is too long.
    is_cut: bool,
}

impl Extent {
    /// Its length.
    pub(super) fn bytes(&self) -> usize {
        usize::try_from(self.end.saturating_sub(self.start)).unwrap_or(usize::MAX)
    }
}

#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    mark: Mark,
    /// Size and modification time of the file when there was nothing to hand on, so that a line
    /// without its newline is not searched at each look.
    searched: Option<(u64, i64)>,
}

impl LogFile {
    /// Opens a file at its beginning; `None` when it is no longer the one that was found.
    pub(super) fn open(found: &Found) -> io::Result<Option<Self>> {
        let file = match File::open(&found.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if folder::id(&metadata) != found.id {
            return Ok(None);
        }
        let mark = Mark {
            file: found.id,
            offset: 0,
            head: Head { bytes: 0, sha256: sha256(&[]) },
            modified_ns: folder::modified_ns(&metadata),
            in_long_line: false,
        };
        Ok(Some(Self { file, mark, searched: None }))
    }

    /// Opens a file where a mark stands, which may be another file's if that was copied;
    /// `None` when the content before the mark is not in it.
    pub(super) fn open_at(found: &Found, mark: &Mark) -> io::Result<Option<Self>> {
        if found.bytes < mark.offset {
            return Ok(None);
        }
        let Some(mut log) = Self::open(found)? else { return Ok(None) };
        log.mark = Mark { file: found.id, ..mark.clone() };
        Ok(log.is_as_marked()?.then_some(log))
    }

    pub(super) fn id(&self) -> FileId {
        self.mark.file
    }

    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    pub(super) fn modified_ns(&self) -> io::Result<i64> {
        Ok(folder::modified_ns(&self.file.metadata()?))
    }

    /// Whether the content before the mark is still there.
    pub(super) fn is_as_marked(&self) -> io::Result<bool> {
        if self.bytes()? < self.mark.offset {
            return Ok(false);
        }
        let head = self.head(self.mark.head.bytes)?;
        Ok(head.is_some_and(|bytes| sha256(&bytes) == self.mark.head.sha256))
    }

    /// The next whole lines, or the beginning of a line that is too long. The second value is
    /// how many bytes of such a line were passed over on the way.
    pub(super) fn lines(&mut self, limits: Limits) -> io::Result<(Option<Extent>, u64)> {
        let metadata = self.file.metadata()?;
        let (bytes, modified_ns) = (metadata.len(), folder::modified_ns(&metadata));
        if self.searched == Some((bytes, modified_ns)) {
            return Ok((None, 0));
        }
        let passed_over = if self.mark.in_long_line { self.pass_over(bytes)? } else { 0 };
        let start = self.mark.offset;
        if self.mark.in_long_line || start >= bytes {
            return Ok((None, passed_over));
        }
        let line_end_max = start.saturating_add(limits.line_bytes_max);
        let chunk_end = start.saturating_add(limits.chunk_bytes).min(line_end_max).min(bytes);
        let mut end = self.last_newline(start, chunk_end)?;
        if end.is_none() {
            end = self.first_newline(chunk_end, bytes.min(line_end_max))?;
        }
        let extent = match end {
            Some(newline) => Some(Extent { start, end: newline + 1, is_cut: false }),
            None if bytes >= line_end_max => {
                Some(Extent { start, end: line_end_max, is_cut: true })
            }
            None => None,
        };
        if extent.is_none() {
            self.searched = Some((bytes, modified_ns));
        }
        Ok((extent, passed_over))
    }

    /// What is left when no newline will come any more.
    pub(super) fn rest(&self) -> io::Result<Option<Extent>> {
        let (start, end) = (self.mark.offset, self.bytes()?);
        Ok((start < end).then_some(Extent { start, end, is_cut: false }))
    }

    /// The bytes of an extent and the mark behind them; `None` when the file was cut meanwhile.
    pub(super) fn read(&self, extent: Extent) -> io::Result<Option<(Vec<u8>, Mark)>> {
        let mut body = vec![0; extent.bytes()];
        match self.file.read_exact_at(&mut body, extent.start) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        // Looked at after the bytes were read, so that they are from before any cut.
        let head_bytes = HEAD_BYTES_MAX.min(extent.end);
        let (true, Some(head)) = (self.is_as_marked()?, self.head(head_bytes)?) else {
            return Ok(None);
        };
        let mark = Mark {
            file: self.mark.file,
            offset: extent.end,
            head: Head { bytes: head_bytes, sha256: sha256(&head) },
            modified_ns: self.modified_ns()?,
            in_long_line: extent.is_cut,
        };
        Ok(Some((body, mark)))
    }

    /// Moves on to a mark that [`Self::read`] gave.
    pub(super) fn advance(&mut self, mark: Mark) {
        self.mark = mark;
    }

    /// Moves the mark over the rest of a line that is too long; gives by how much.
    fn pass_over(&mut self, bytes: u64) -> io::Result<u64> {
        let start = self.mark.offset;
        let newline = self.first_newline(start, bytes)?;
        self.mark.offset = newline.map_or(bytes.max(start), |newline| newline + 1);
        self.mark.in_long_line = newline.is_none();
        Ok(self.mark.offset - start)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The first bytes; `None` when there are not so many.
    fn head(&self, bytes: u64) -> io::Result<Option<Vec<u8>>> {
        let mut head = vec![0; usize::try_from(bytes.min(HEAD_BYTES_MAX)).unwrap_or(0)];
        match self.file.read_exact_at(&mut head, 0) {
            Ok(()) => Ok(Some(head)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn first_newline(&self, start: u64, end: u64) -> io::Result<Option<u64>> {
        let mut at = start;
        while at < end {
            let block = self.block(at, end.min(at + BLOCK_BYTES))?;
            if let Some(newline) = memchr::memchr(b'\n', &block) {
                return Ok(Some(at + newline as u64));
            }
            at += BLOCK_BYTES;
        }
        Ok(None)
    }

    fn last_newline(&self, start: u64, end: u64) -> io::Result<Option<u64>> {
        let mut end = end;
        while start < end {
            let at = end.saturating_sub(BLOCK_BYTES).max(start);
            let block = self.block(at, end)?;
            if let Some(newline) = memchr::memrchr(b'\n', &block) {
                return Ok(Some(at + newline as u64));
            }
            end = at;
        }
        Ok(None)
    }

    /// The bytes of a stretch; of a file that was cut meanwhile, none.
    fn block(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut block = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
        match self.file.read_exact_at(&mut block, start) {
            Ok(()) => Ok(block),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
