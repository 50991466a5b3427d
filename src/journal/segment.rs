//! One file of the journal: written once from its start to its end, read at any time, recycled.
//!
//! ```text
//!  0         8        12       16              24              32              40 .. 4096
//! ┌─────────┬────────┬────────┬───────────────┬───────────────┬───────────────┬──────┬─────────
//! │ magic   │version │ crc32  │ sequence      │ first position│ salt          │ 0    │ records
//! └─────────┴────────┴────────┴───────────────┴───────────────┴───────────────┴──────┴─────────
//! ```
//! The checksum covers sequence, first position and salt. Records follow each other up to the
//! first that is not sound; positions grow by one from `first position`.

use std::io;

use super::disk::DiskFile;
use super::record::{Entry, HEADER_BYTES, Header, Position};

/// Where records start: a page of its own keeps the header from tearing with them.
pub(super) const RECORDS_START: u64 = 4096;
/// Format of the files; a reader refuses others.
pub const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"auditmjl";
/// Records are read in pieces of this size, or larger where a record is.
const READ_BYTES: usize = 1 << 20;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) sequence: u64,
    pub(super) first: Position,
    pub(super) salt: u64,
}

/// What is at the start of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadRead {
    Sound(Head),
    /// Never written, or wiped when its records were forgotten: it holds nothing that was
    /// acknowledged.
    Blank,
    /// Something that is no head: there may be records behind it.
    Damaged,
    /// Of another version of this program.
    Version(u32),
}

impl Head {
    pub(super) fn encode(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn read(file: &dyn DiskFile) -> io::Result<HeadRead> {
        let mut bytes = [0; 40];
        if file.read_at(&mut bytes, 0)? < bytes.len() || bytes == [0; 40] {
            return Ok(HeadRead::Blank);
        }
        if bytes[..8] != *MAGIC {
            return Ok(HeadRead::Damaged);
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
        if u32_at(12) != crc32fast::hash(&bytes[16..]) {
            return Ok(HeadRead::Damaged);
        }
        if u32_at(8) != VERSION {
            return Ok(HeadRead::Version(u32_at(8)));
        }
        Ok(HeadRead::Sound(Self { sequence: u64_at(16), first: u64_at(24), salt: u64_at(32) }))
    }
}

/// The position that the first record of a file says it has, whether that is true or not; `None`
/// where there is no record.
pub(super) fn claimed_position(file: &dyn DiskFile) -> io::Result<Option<Position>> {
    let mut bytes = [0; HEADER_BYTES];
    let read = file.read_at(&mut bytes, RECORDS_START)?;
    let header = bytes.get(..read).and_then(Header::read);
    Ok(header.map(|header| header.position))
}

/// Reads a segment's records one after the other, from any record's offset on.
pub(super) struct Cursor<'f> {
    file: &'f dyn DiskFile,
    salt: u64,
    offset: u64,
    next: Position,
    buffer: Vec<u8>,
    /// Bytes of `buffer` before the next record.
    used: usize,
}

/// A sound record, not decompressed yet.
pub(super) struct Found<'c> {
    header: Header,
    bytes: &'c [u8],
}

impl Found<'_> {
    pub(super) fn position(&self) -> Position {
        self.header.position
    }

    pub(super) fn entry(&self) -> Option<Entry> {
        self.header.entry(self.bytes)
    }
}

impl<'f> Cursor<'f> {
    /// Starts at the first record.
    pub(super) fn new(file: &'f dyn DiskFile, head: &Head) -> Self {
        Self::at(file, head.salt, RECORDS_START, head.first)
    }

    /// Starts at the record at `offset`, which has position `next`.
    pub(super) fn at(file: &'f dyn DiskFile, salt: u64, offset: u64, next: Position) -> Self {
        Self { file, salt, offset, next, buffer: Vec::new(), used: 0 }
    }

    /// Offset of the next record.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record; `None` where the sound ones end.
    pub(super) fn next(&mut self) -> io::Result<Option<Found<'_>>> {
        if !self.fill(HEADER_BYTES)? {
            return Ok(None);
        }
        let Some(header) = Header::read(self.rest()) else { return Ok(None) };
        if header.position != self.next || !self.fill(header.end())? {
            return Ok(None);
        }
        if !header.is_sound(self.salt, self.rest()) {
            return Ok(None);
        }
        let start = self.used;
        self.used = (self.used + header.stride()).min(self.buffer.len());
        self.offset += header.stride() as u64;
        self.next += 1;
        let bytes = self.buffer.get(start..start + header.end()).unwrap_or_default();
        Ok(Some(Found { header, bytes }))
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }

    /// Whether so many bytes from the next record's start on are there; reads them if need be.
    fn fill(&mut self, bytes: usize) -> io::Result<bool> {
        if self.rest().len() >= bytes {
            return Ok(true);
        }
        // A torn length must not make us reserve what the file does not have.
        let left = self.file.bytes()?.saturating_sub(self.offset);
        if left < bytes as u64 {
            return Ok(false);
        }
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.max(READ_BYTES));
        self.buffer.resize(length, 0);
        self.used = 0;
        let read = self.file.read_at(&mut self.buffer, self.offset)?;
        self.buffer.truncate(read);
        Ok(read >= bytes)
    }
}
