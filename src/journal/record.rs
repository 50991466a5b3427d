//! The bytes of one record.
//!
//! ```text
//!  0        4        8               16              24       28 29 30 31
//! ┌────────┬────────┬───────────────┬───────────────┬────────┬──┬──┬──┬──┐
//! │ crc32  │ length │ position      │ received at   │ body   │f │c │s │0 │
//! └────────┴────────┴───────────────┴───────────────┴────────┴──┴──┴──┴──┘
//!  32                              48
//! ┌───────────────────────────────┬─────────┬────────┬──────────┬────────┐
//! │ delivery (hash)               │ cluster │ source │ payload  │ 0 .. 7 │
//! └───────────────────────────────┴─────────┴────────┴──────────┴────────┘
//! ```
//! All numbers are little-endian. `length` counts cluster, source and payload; `body` is the
//! body's length before compression; f: bit 0 says that the payload is Zstandard; c and s are the
//! lengths of cluster and source. The checksum covers all bytes from `length` to the end of the
//! payload and starts from the segment's salt, so that what a recycled segment held in its former
//! life is never taken for a record. Records are padded to 8 bytes.

use std::borrow::Cow;
use std::io::Write as _;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Where a record is; the next record's is one more.
pub type Position = u64;

/// Bytes before the cluster's name.
pub(super) const HEADER_BYTES: usize = 48;
/// A record's length is a multiple of this.
const ALIGN: usize = 8;
/// Smaller bodies are not worth compressing.
const COMPRESS_MIN: usize = 512;
/// Larger bodies are compressed in pieces of this size.
const PACKED_AT_ONCE_MAX: usize = 1 << 20;
const FLAG_ZSTD: u8 = 1;
/// What a byte of Zstandard can come to: a block is at most 128 KiB and at least 4 bytes long
/// (RFC 8878, section 3.1.1.2).
const UNPACKED_PER_BYTE_MAX: usize = 32 << 10;

/// What is appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The cluster whose events these are; at most 255 bytes.
    pub cluster: String,
    /// The kind of input, such as `webhook`; at most 255 bytes.
    pub source: Cow<'static, str>,
    /// Arrival, microseconds since 1970, UTC.
    pub received_at: i64,
    /// The body as it came; less than 4 GiB.
    pub body: Bytes,
}

/// What is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub position: Position,
    /// Hash of cluster and body: equal for a delivery that comes again.
    pub delivery: u128,
    /// What was appended there.
    pub record: Record,
}

/// A record ready to be written: its bytes, all but position and checksum.
#[derive(Debug)]
pub(super) struct Encoded {
    /// Header, cluster and source.
    head: Vec<u8>,
    payload: Payload,
    pub(super) delivery: u128,
    /// The record itself, for whoever reads it next; `None` when it is to be read from the disk.
    pub(super) record: Option<Record>,
}

/// What a record's payload is. There are never two copies of a large body: while it waits for the
/// disk it takes no more memory than it was admitted with.
#[derive(Debug)]
enum Payload {
    Packed(Vec<u8>),
    /// The body as it came.
    Plain(Bytes),
}

impl Payload {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Packed(bytes) => bytes,
            Self::Plain(bytes) => bytes,
        }
    }
}

/// Compresses and hashes a record: the work that needs no order. A body of more than
/// `remembered_max` bytes, or one that compresses badly, is not kept beside its compressed form.
pub(super) fn encode(record: Record, remembered_max: usize) -> Encoded {
    let delivery = delivery(&record);
    let body_length = u32::try_from(record.body.len()).expect("the door bounds bodies");
    let name_length = |name: &str| u8::try_from(name.len()).expect("the door bounds names");
    let packed = packed(&record.body);
    let flags = if packed.is_some() { FLAG_ZSTD } else { 0 };
    let mut head = Vec::with_capacity(HEADER_BYTES + 64);
    head.resize(16, 0);
    head.extend(record.received_at.to_le_bytes());
    head.extend(body_length.to_le_bytes());
    head.extend([flags, name_length(&record.cluster), name_length(&record.source), 0]);
    head.extend(delivery.to_le_bytes());
    head.extend(record.cluster.as_bytes());
    head.extend(record.source.as_bytes());
    let compact = packed.as_ref().is_none_or(|packed| packed.len() <= record.body.len() / 4);
    let remembered = compact && record.body.len() <= remembered_max;
    let payload = packed.map_or_else(|| Payload::Plain(record.body.clone()), Payload::Packed);
    let length = head.len() - HEADER_BYTES + payload.bytes().len();
    let length = u32::try_from(length).expect("no longer than names and body");
    head[4..8].copy_from_slice(&length.to_le_bytes());
    Encoded { head, payload, delivery, record: remembered.then_some(record) }
}

/// The compressed body, if that is shorter. It grows as it is written: a buffer for the worst
/// case would double what a large body takes.
fn packed(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < COMPRESS_MIN {
        return None;
    }
    if body.len() <= PACKED_AT_ONCE_MAX {
        return zstd::bulk::compress(body, 1).ok().filter(|packed| packed.len() < body.len());
    }
    let mut encoder = zstd::Encoder::new(Vec::with_capacity(body.len() / 16), 1).ok()?;
    encoder.set_pledged_src_size(Some(body.len() as u64)).ok()?;
    for piece in body.chunks(PACKED_AT_ONCE_MAX) {
        encoder.write_all(piece).ok()?;
        if encoder.get_ref().len() >= body.len() {
            return None;
        }
    }
    encoder.finish().ok().filter(|packed| packed.len() < body.len())
}

fn delivery(record: &Record) -> u128 {
    let mut hash = Sha256::new();
    hash.update(record.cluster.as_bytes());
    hash.update([0]);
    hash.update(&record.body);
    let digest = hash.finalize();
    digest.iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte))
}

impl Encoded {
    /// Its length on disk.
    pub(super) fn len(&self) -> usize {
        (self.head.len() + self.payload.bytes().len()).next_multiple_of(ALIGN)
    }

    /// Its final bytes, put behind what `out` holds.
    pub(super) fn place(&mut self, position: Position, salt: u64, out: &mut Vec<u8>) {
        self.head[8..16].copy_from_slice(&position.to_le_bytes());
        let payload = self.payload.bytes();
        let crc = checksum(salt, &[&self.head[4..], payload]);
        self.head[..4].copy_from_slice(&crc.to_le_bytes());
        let end = out.len() + self.len();
        out.extend_from_slice(&self.head);
        out.extend_from_slice(payload);
        out.resize(end, 0);
    }
}

fn checksum(salt: u64, pieces: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    for piece in pieces {
        hasher.update(piece);
    }
    hasher.finalize()
}

/// A record's header, as far as it is needed to find the next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    crc: u32,
    length: u32,
    pub(super) position: Position,
    received_at: i64,
    body_length: u32,
    flags: u8,
    cluster_length: u8,
    source_length: u8,
    delivery: u128,
}

impl Header {
    /// Reads a header; `None` when there are too few bytes or they cannot be one.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let u32_at = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
        let read = Self {
            crc: u32_at(0)?,
            length: u32_at(4)?,
            position: u64_at(8)?,
            received_at: u64_at(16)?.cast_signed(),
            body_length: u32_at(24)?,
            flags: header[28],
            cluster_length: header[29],
            source_length: header[30],
            delivery: u128::from_le_bytes(header.get(32..48)?.try_into().ok()?),
        };
        let names = u32::from(read.cluster_length) + u32::from(read.source_length);
        (read.length >= names && read.length > 0).then_some(read)
    }

    /// Bytes from the record's start to its payload's end.
    pub(super) fn end(&self) -> usize {
        HEADER_BYTES + self.length as usize
    }

    /// Bytes from the record's start to the next record's.
    pub(super) fn stride(&self) -> usize {
        self.end().next_multiple_of(ALIGN)
    }

    /// Whether these bytes, from the record's start on, are what was written.
    pub(super) fn is_sound(&self, salt: u64, bytes: &[u8]) -> bool {
        bytes.get(4..self.end()).is_some_and(|bytes| checksum(salt, &[bytes]) == self.crc)
    }

    /// The record of sound bytes; `None` when its payload is not the body that it says.
    pub(super) fn entry(&self, bytes: &[u8]) -> Option<Entry> {
        let names = HEADER_BYTES + usize::from(self.cluster_length);
        let payload = names + usize::from(self.source_length);
        let text = |from: usize, to: usize| std::str::from_utf8(bytes.get(from..to)?).ok();
        let payload_bytes = bytes.get(payload..self.end())?;
        let body_length = self.body_length as usize;
        let body = if self.flags & FLAG_ZSTD == 0 {
            payload_bytes.to_vec()
        } else {
            // What is reserved for a body is bounded by what its payload can hold.
            let body_max = payload_bytes.len().saturating_mul(UNPACKED_PER_BYTE_MAX);
            zstd::bulk::decompress(payload_bytes, body_length.min(body_max)).ok()?
        };
        if body.len() != body_length {
            return None;
        }
        let record = Record {
            cluster: text(HEADER_BYTES, names)?.to_owned(),
            source: text(names, payload)?.to_owned().into(),
            received_at: self.received_at,
            body: body.into(),
        };
        Some(Entry { position: self.position, delivery: self.delivery, record })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_and_no_changed_byte_passes(
            cluster in "[a-z0-9.-]{1,64}",
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..2_000),
                "(abc|def){0,900}".prop_map(String::into_bytes),
            ],
            received_at in any::<i64>(),
            position in any::<u64>(),
            salt in any::<u64>(),
            flip in any::<prop::sample::Index>(),
        ) {
            let record =
                Record { cluster, source: "webhook".into(), received_at, body: body.into() };
            let mut bytes = Vec::new();
            encode(record.clone(), usize::MAX).place(position, salt, &mut bytes);
            let header = Header::read(&bytes).unwrap();
            prop_assert_eq!(header.stride(), bytes.len());
            prop_assert!(header.is_sound(salt, &bytes));
            prop_assert!(!header.is_sound(salt ^ 1, &bytes));
            let entry = header.entry(&bytes).unwrap();
            prop_assert_eq!((entry.position, &entry.record), (position, &record));
            prop_assert_eq!(entry.delivery, delivery(&record));

            let flip = flip.index(header.end());
            bytes[flip] ^= 0x10;
            let sound = Header::read(&bytes).is_some_and(|header| header.is_sound(salt, &bytes));
            prop_assert!(!sound, "byte {} changed unnoticed", flip);
        }

        #[test]
        fn a_body_of_another_length_is_none(
            body in prop_oneof![Just(vec![]), Just(vec![7; 100]), Just(vec![7; 9_000])],
            length in prop_oneof![Just(0), 99..101_u32, 8_999..9_001_u32, Just(u32::MAX)],
        ) {
            let whole = body.len();
            let record = Record {
                cluster: "c".to_owned(),
                source: "webhook".into(),
                received_at: 7,
                body: body.into(),
            };
            let mut bytes = Vec::new();
            encode(record, usize::MAX).place(1, 2, &mut bytes);
            bytes[24..28].copy_from_slice(&length.to_le_bytes());
            let entry = Header::read(&bytes).and_then(|header| header.entry(&bytes));
            prop_assert_eq!(entry.is_some(), length as usize == whole, "{} of {}", length, whole);
        }

        #[test]
        fn any_bytes_are_read_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Some(header) = Header::read(&bytes) {
                header.is_sound(1, &bytes);
                header.entry(&bytes);
            }
        }
    }

    #[test]
    fn large_bodies_are_read_as_they_came() {
        let check = |letters: u8, length: usize, remembered: bool| {
            let mut rng = fastrand::Rng::with_seed(7);
            let block: Vec<u8> = (0..300_007).map(|_| rng.u8(..letters)).collect();
            let body: Bytes = block.into_iter().cycle().take(length).collect();
            let record =
                Record { cluster: "c".to_owned(), source: "webhook".into(), received_at: 1, body };
            let mut encoded = encode(record.clone(), 1_900_000);
            assert_eq!(encoded.record.is_some(), remembered, "{letters} letters, {length} bytes");
            let mut bytes = Vec::new();
            encoded.place(7, 8, &mut bytes);
            assert_eq!(bytes.len(), encoded.len());
            let header = Header::read(&bytes).unwrap();
            assert!(header.is_sound(8, &bytes));
            assert_eq!(header.entry(&bytes).unwrap().record, record);
        };
        check(1, 1_800_000, true);
        check(1, 2_000_000, false);
        // Compresses to half: kept once, compressed.
        check(16, 600_000, false);
        // Does not compress: kept once, as it came.
        check(255, 300_000, true);
    }
}
