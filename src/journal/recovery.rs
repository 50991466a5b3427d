//! At start: which files are segments, in which order, and where their sound records end.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::record::Position;
use super::segment::{Cursor, Head, HeadRead, RECORDS_START, VERSION, claimed_position};

/// A segment with sound records.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) head: Head,
    /// Offset behind its last durable record.
    pub(super) end: u64,
    /// Position behind its last durable record.
    pub(super) next: Position,
}

/// A file that can become a segment.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) bytes: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// Oldest first; positions follow each other without a hole.
    pub(super) segments: Vec<Segment>,
    pub(super) spares: Vec<Spare>,
    /// Files that may hold records which nobody can tell any more: they are left as they are.
    pub(super) damaged: Vec<String>,
    /// The highest sequence in use.
    pub(super) sequence: u64,
    /// The number that the next new file's name gets.
    pub(super) file_number: u64,
}

const PREFIX: &str = "segment-";

/// The name of the n-th file.
pub(super) fn file_name(number: u64) -> String {
    format!("{PREFIX}{number:08}")
}

/// Whether a file of this name is one of the journal's.
pub(super) fn is_segment(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Reads every segment to its last sound record. What lies behind that in the newest segment was
/// never acknowledged; behind any other's it would be a loss, which is an error.
pub(super) fn recover(disk: &dyn Disk) -> Result<Recovered, OpenError> {
    let mut recovered = Recovered::default();
    let fail = |name: &str| {
        let name = name.to_owned();
        move |source: io::Error| OpenError::Read { name, source }
    };
    let mut names = disk.names().map_err(fail("journal"))?;
    names.retain(|name| is_segment(name));
    names.sort();
    for name in names {
        let number = name.trim_start_matches(PREFIX).parse().unwrap_or(0);
        recovered.file_number = recovered.file_number.max(number);
        let file: Arc<dyn DiskFile> = disk.open(&name).map_err(fail(&name))?.into();
        match Head::read(file.as_ref()).map_err(fail(&name))? {
            HeadRead::Version(found) => {
                return Err(OpenError::Version { name, found, known: VERSION });
            }
            HeadRead::Blank => {
                let bytes = file.bytes().map_err(fail(&name))?;
                recovered.spares.push(Spare { name, file, bytes });
            }
            HeadRead::Damaged => recovered.damaged.push(name),
            HeadRead::Sound(head) => {
                let (end, next) = sound_end(file.as_ref(), &head).map_err(fail(&name))?;
                recovered.sequence = recovered.sequence.max(head.sequence);
                recovered.segments.push(Segment { name, file, head, end, next });
            }
        }
    }
    recovered.segments.sort_by_key(|segment| segment.head.sequence);
    for (older, newer) in recovered.segments.iter().zip(recovered.segments.iter().skip(1)) {
        if older.next != newer.head.first {
            return Err(OpenError::Hole {
                name: older.name.clone(),
                from: older.next,
                to: newer.head.first,
            });
        }
    }
    set_aside_wiped(&mut recovered)?;
    Ok(recovered)
}

/// Records of a former life are older than all others: a file without a head whose records say
/// that they are newer has lost it.
fn set_aside_wiped(recovered: &mut Recovered) -> Result<(), OpenError> {
    let next = recovered.segments.last().map_or(0, |segment| segment.next);
    for spare in std::mem::take(&mut recovered.spares) {
        let claimed = claimed_position(spare.file.as_ref());
        let claimed = claimed.map_err(|source| {
            let name = spare.name.clone();
            OpenError::Read { name, source }
        })?;
        if claimed.is_some_and(|position| position >= next) {
            recovered.damaged.push(spare.name);
        } else {
            recovered.spares.push(spare);
        }
    }
    Ok(())
}

/// Offset and position behind the last sound record.
pub(super) fn sound_end(file: &dyn DiskFile, head: &Head) -> io::Result<(u64, Position)> {
    let mut cursor = Cursor::new(file, head);
    let mut next = head.first;
    while let Some(found) = cursor.next()? {
        next = found.position() + 1;
    }
    debug_assert!(cursor.offset() >= RECORDS_START);
    Ok((cursor.offset(), next))
}
