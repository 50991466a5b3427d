//! The journal's format as its drawings say it, read and mended without the journal's own code.

use crate::disk::Files;

/// Where records start.
pub const RECORDS_START: usize = 4096;
const HEAD: usize = 40;
const HEADER: usize = 48;

/// A record whose checksum holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Where it is.
    pub position: u64,
    /// Its bytes, from its checksum to its payload's end.
    pub bytes: Vec<u8>,
}

impl Sound {
    /// Cluster and source; nothing when they are no text.
    pub fn names(&self) -> Option<(&str, &str)> {
        let (cluster, source) = self.ends();
        let text = |from, to| std::str::from_utf8(&self.bytes[from..to]).ok();
        Some((text(HEADER, cluster)?, text(cluster, source)?))
    }

    /// The body as it was before compression; nothing when it cannot be had back.
    pub fn body(&self) -> Option<Vec<u8>> {
        let payload = &self.bytes[self.ends().1..];
        let length = u32_at(&self.bytes, 24) as usize;
        let body = if self.bytes[28] & 1 == 0 {
            payload.to_vec()
        } else {
            zstd::bulk::decompress(payload, length.min(payload.len() << 15)).ok()?
        };
        (body.len() == length).then_some(body)
    }

    fn ends(&self) -> (usize, usize) {
        let cluster = HEADER + usize::from(self.bytes[29]);
        (cluster, cluster + usize::from(self.bytes[30]))
    }
}

/// What a journal must find in these files: its oldest position and the records from there on;
/// nothing when it must say that it cannot go on.
pub fn sound(files: &Files) -> Option<(u64, Vec<Sound>)> {
    let mut segments = Vec::new();
    for (_, bytes) in files.iter().filter(|(name, _)| name.starts_with("segment-")) {
        if bytes.len() < HEAD
            || !bytes.starts_with(b"auditmjl")
            || u32_at(bytes, 12) != crc(&bytes[16..HEAD])
        {
            continue;
        }
        if u32_at(bytes, 8) != 1 {
            return None;
        }
        segments.push((u64_at(bytes, 16), u64_at(bytes, 24), records(bytes)));
    }
    segments.sort_by_key(|(sequence, ..)| *sequence);
    let first = segments.first().map_or(0, |(_, first, _)| *first);
    let mut found = Vec::new();
    for (_, from, records) in segments {
        if from != first + found.len() as u64 {
            return None;
        }
        found.extend(records);
    }
    Some((first, found))
}

fn records(bytes: &[u8]) -> Vec<Sound> {
    let (mut position, salt) = (u64_at(bytes, 24), u64_at(bytes, 32));
    let (mut found, mut at) = (Vec::new(), RECORDS_START);
    while let Some(end) = record_end(bytes, at) {
        let bytes = &bytes[at..end];
        if u64_at(bytes, 8) != position || u32_at(bytes, 0) != salted(salt, &bytes[4..]) {
            break;
        }
        found.push(Sound { position, bytes: bytes.to_vec() });
        position += 1;
        at = end.next_multiple_of(8);
    }
    found
}

/// Where the record at `at` ends, if its lengths allow one.
fn record_end(bytes: &[u8], at: usize) -> Option<usize> {
    let header = bytes.get(at..at + HEADER)?;
    let length = u32_at(header, 4) as usize;
    let names = usize::from(header[29]) + usize::from(header[30]);
    let end = at + HEADER + length;
    (length > 0 && length >= names && end <= bytes.len()).then_some(end)
}

/// Makes checksums hold and positions follow each other, so that what else is in the files is
/// read. Where the byte in the place of the head's checksum is odd, the segment keeps the position
/// it names; where bit 7 of a record's flags is set, so does the record.
pub fn mend(files: &mut Files) {
    let mut next = None;
    for bytes in files.values_mut().filter(|bytes| bytes.len() >= HEAD) {
        if bytes[12] & 1 == 0
            && let Some(next) = next
        {
            put(bytes, 24, next);
        }
        // No journal lives until its numbers end.
        bytes[23] &= 0x7f;
        bytes[31] &= 0x7f;
        let checksum = crc(&bytes[16..HEAD]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        let (mut position, salt) = (u64_at(bytes, 24), u64_at(bytes, 32));
        let mut at = RECORDS_START;
        while let Some(end) = record_end(bytes, at) {
            if bytes[at + 28] & 0x80 == 0 {
                put(bytes, at + 8, position);
            }
            let checksum = salted(salt, &bytes[at + 4..end]);
            bytes[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
            position += 1;
            at = end.next_multiple_of(8);
        }
        next = Some(position);
    }
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn crc(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn salted(salt: u64, bytes: &[u8]) -> u32 {
    crc(&[&salt.to_le_bytes(), bytes].concat())
}
