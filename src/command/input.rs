//! Files of audit events as chunks that end where an event ends. The same file gives the same
//! chunks.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use serde::de::IgnoredAny;

use super::cutter::Cutter;

/// How much is read at once.
const CHUNK_BYTES: usize = 8 << 20;
/// The largest piece that is no list, or has no line end where others do, that is held in memory.
const PIECE_BYTES_MAX: usize = 1 << 30;

/// A file of events, read chunk by chunk.
pub struct Input {
    reader: Box<dyn BufRead>,
    /// Whole lines only: the file is a log, one event per line.
    lines: bool,
    carried: Vec<u8>,
    cutter: Cutter,
    done: bool,
    taken: Arc<AtomicU64>,
}

/// Counts the bytes that are read through it.
struct Counted<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Input {
    /// Opens a file, `-` for standard input. Gzip and Zstandard are told by their first bytes.
    ///
    /// # Errors
    /// When the file cannot be opened or its start not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let raw: Box<dyn Read> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path)?)
        };
        let taken = Arc::new(AtomicU64::new(0));
        let raw = Counted { inner: raw, taken: Arc::clone(&taken) };
        let mut raw = BufReader::with_capacity(1 << 16, raw);
        let start = raw.fill_buf()?;
        let reader: Box<dyn Read> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(MultiGzDecoder::new(raw))
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Box::new(zstd::Decoder::with_buffer(raw)?)
        } else {
            Box::new(raw)
        };
        let reader = Box::new(BufReader::with_capacity(1 << 16, reader));
        let (carried, cutter) = (Vec::new(), Cutter::default());
        let mut input = Self { reader, lines: false, carried, cutter, done: false, taken };
        // A log has a whole event on its first line; a pretty-printed list does not.
        input.fill(1 << 16, true)?;
        let first = input.carried.split(|byte| *byte == b'\n').next().unwrap_or_default();
        input.lines = first.len() < input.carried.len()
            && serde_json::from_slice::<IgnoredAny>(first).is_ok();
        Ok(input)
    }

    /// Bytes read so far, as they lie on the disk.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read, or a piece of it is too large.
    pub fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if self.done {
                let rest = std::mem::take(&mut self.carried);
                return Ok((!rest.is_empty()).then_some(rest));
            }
            self.fill(CHUNK_BYTES, false)?;
            if !self.lines && self.carried.len() >= CHUNK_BYTES {
                self.cutter.feed(&self.carried);
                if let Some(chunk) = self.cutter.take(&mut self.carried) {
                    return Ok(Some(chunk));
                }
            }
            if self.carried.len() > PIECE_BYTES_MAX {
                let message = "a piece of more than 1 GiB without an end";
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            if let (true, Some(end)) = (self.lines, memchr::memrchr(b'\n', &self.carried)) {
                let rest = self.carried.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.carried, rest)));
            }
        }
    }

    /// Reads about `bytes` more; with `to_line_end` until the first line is whole.
    fn fill(&mut self, bytes: usize, to_line_end: bool) -> io::Result<()> {
        if to_line_end {
            let limit = CHUNK_BYTES as u64;
            let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.carried)?;
            self.done = read == 0;
        }
        let read = self.reader.by_ref().take(bytes as u64).read_to_end(&mut self.carried)?;
        self.done |= read == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_lists_and_compressed_files_come_whole() {
        let log = "{\"auditID\":\"a\"}\n".repeat(10);
        check(log.as_bytes(), log.as_bytes());
        let list = "{\n \"items\": [\n]}\n";
        check(list.as_bytes(), list.as_bytes());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(log.as_bytes()).unwrap();
        check(&gzip.finish().unwrap(), log.as_bytes());
        check(&zstd::encode_all(log.as_bytes(), 1).unwrap(), log.as_bytes());
        check(b"", b"");
    }

    #[test]
    fn a_large_list_comes_in_pieces() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let event = format!("{{\"auditID\": \"{}\"}}", "x".repeat(1 << 20));
        let events = vec![event.as_str(); 30];
        std::fs::write(path.path(), format!("{{\"items\": [{}]}}", events.join(","))).unwrap();
        let mut input = Input::open(path.path()).unwrap();
        let mut found = 0;
        while let Some(chunk) = input.next_chunk().unwrap() {
            // What is read to see whether it is a log, and one more.
            assert!(chunk.len() < 3 * CHUNK_BYTES);
            let list: serde_json::Value = serde_json::from_slice(&chunk).unwrap();
            found += list["items"].as_array().unwrap().len();
        }
        assert_eq!(found, 30);
    }

    fn check(file: &[u8], expected: &[u8]) {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), file).unwrap();
        let mut input = Input::open(path.path()).unwrap();
        let mut read = Vec::new();
        while let Some(chunk) = input.next_chunk().unwrap() {
            read.extend(chunk);
        }
        assert_eq!(read, expected);
    }
}
