//! A journal that is being written is copied as it was at one moment, or later.
//!
//! Promise: all records that were durable when the copy began are in it, but for those that the
//! journal forgot meanwhile; what is copied is without a hole.
//!
//! A segment is written from its start to its end, so its sound records are copied as far as they
//! go. A file that is used again for other records first loses its head, and gets one with another
//! sequence: a head that is the same before and after says that what was read between was the
//! segment's. Segments are used again oldest first, so what could not be copied was older than all
//! that is kept of the copy.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::disk::{Disk, DiskFile, Folder};
use super::error::OpenError;
use super::record::Position;
use super::recovery::{file_name, is_segment, recover, sound_end};
use super::segment::{Head, HeadRead, VERSION};

/// How often the heads are read until they are the same twice.
const TRIES: u32 = 1_000;
/// So much is copied at once.
const PIECE_BYTES: usize = 1 << 20;

/// Copies the journal of a folder to a new folder, which it creates; gives the first position of
/// the copy and the one behind its last record, `None` when no record is to be copied.
///
/// # Errors
/// When one cannot be read or the other not be written.
pub fn copy(from: &Path, to: &Path) -> Result<Option<(Position, Position)>, OpenError> {
    let fail = |name: &str| {
        let name = name.to_owned();
        move |source: io::Error| OpenError::Read { name, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(fail("copy"))?;
    if !from.is_dir() {
        return Ok(None);
    }
    let disk = Folder::open(from).map_err(fail("journal"))?;
    let mut before = heads(&disk)?;
    let mut tries = 0;
    loop {
        let now = heads(&disk)?;
        if now == before {
            break;
        }
        tries += 1;
        if tries > TRIES {
            return Err(fail("journal")(io::Error::other("it changes too fast to be copied")));
        }
        before = now;
    }
    before.sort_by_key(|(_, head)| head.sequence);
    let mut range: Option<(Position, Position)> = None;
    let mut copied: Vec<String> = Vec::new();
    for (name, head) in before {
        let file = disk.open(&name);
        let target = file_name(head.sequence);
        let next = match file {
            Ok(file) => copy_segment(file.as_ref(), head, &to.join(&target)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        if let Some(next) = next.map_err(fail(&name))? {
            range = Some((range.map_or(head.first, |(first, _)| first), next));
            copied.push(target);
        } else {
            // Forgotten meanwhile, and so was all before.
            copied.push(target);
            remove(to, &mut copied).map_err(fail(&name))?;
            range = None;
        }
    }
    File::open(to).and_then(|folder| folder.sync_all()).map_err(fail("copy"))?;
    // What was copied is read as a start would read it.
    recover(&Folder::open(to).map_err(fail("copy"))?)?;
    Ok(range)
}

/// Removes the files of a copy's records: a journal that is opened there begins anew.
///
/// # Errors
/// When they cannot be removed.
pub fn clear(copy: &Path) -> io::Result<()> {
    let mut names = Folder::open(copy)?.names()?;
    names.retain(|name| is_segment(name));
    remove(copy, &mut names)
}

fn remove(folder: &Path, names: &mut Vec<String>) -> io::Result<()> {
    for name in names.drain(..) {
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    File::open(folder)?.sync_all()
}

/// The files that are segments at this moment, by name.
fn heads(disk: &Folder) -> Result<Vec<(String, Head)>, OpenError> {
    let mut names = disk.names().map_err(|source| read("journal", source))?;
    names.retain(|name| is_segment(name));
    names.sort();
    let mut heads = Vec::new();
    for name in names {
        let file = match disk.open(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(read(&name, error)),
        };
        match Head::read(file.as_ref()).map_err(|source| read(&name, source))? {
            HeadRead::Sound(head) => heads.push((name, head)),
            // What a start would leave alone.
            HeadRead::Blank | HeadRead::Damaged => {}
            HeadRead::Version(found) => {
                return Err(OpenError::Version { name, found, known: VERSION });
            }
        }
    }
    Ok(heads)
}

fn read(name: &str, source: io::Error) -> OpenError {
    OpenError::Read { name: name.to_owned(), source }
}

/// Copies the sound records of a segment; gives the position behind the last, `None` when it is
/// not that segment any more.
fn copy_segment(from: &dyn DiskFile, head: Head, to: &Path) -> io::Result<Option<Position>> {
    let (end, next) = sound_end(from, &head)?;
    let mut options = File::options();
    let target = options.write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let mut buffer = vec![0; PIECE_BYTES];
    let mut offset = 0;
    while offset < end {
        let length = usize::try_from(end - offset).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let Some(piece) = buffer.get_mut(..length) else { break };
        if from.read_at(piece, offset)? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        target.write_all_at(piece, offset)?;
        offset += length as u64;
    }
    target.sync_all()?;
    let same = matches!(Head::read(from)?, HeadRead::Sound(found) if found == head);
    Ok(same.then_some(next))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a writer's thread without a service around it")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::journal::tests::{SETTINGS, record};
    use crate::journal::{Journal, Read};

    /// The records that a journal of this folder has.
    fn positions(folder: &Path) -> Vec<Position> {
        let disk = Arc::new(Folder::open(folder).unwrap());
        let (journal, _writer) = Journal::open(disk, SETTINGS).unwrap();
        let (mut from, mut found) = (journal.first(), Vec::new());
        while from < journal.position() {
            let read = journal.read(from, 1 << 20, Duration::ZERO).unwrap();
            let Read::Entries(entries) = read else { panic!("{read:?}") };
            found.extend(entries.iter().map(|entry| entry.position));
            from = entries.last().unwrap().position + 1;
        }
        found
    }

    #[test]
    fn a_copy_of_a_busy_journal_has_no_hole_and_all_that_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("journal");
        let disk = Arc::new(Folder::open(&from).unwrap());
        let (journal, writer) = Journal::open(disk, SETTINGS).unwrap();
        let journal = Arc::new(journal);
        let writer = std::thread::spawn(|| writer.run());
        let (stop, forgotten) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let busy = std::thread::spawn({
            let (journal, stop, forgotten) =
                (Arc::clone(&journal), Arc::clone(&stop), Arc::clone(&forgotten));
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.unwrap();
                // Text that does not compress: four records fill a segment.
                let body = Bytes::from((0..4_000).map(|_| fastrand::u8(..)).collect::<Vec<_>>());
                while !stop.load(Ordering::SeqCst) {
                    let append = (0..5).map(|_| journal.append(record(&body), Box::new(())));
                    let appended = runtime.block_on(futures::future::join_all(append));
                    let last = appended.into_iter().map(Result::unwrap).max().unwrap();
                    let below = last.saturating_sub(fastrand::u64(0..20));
                    forgotten.fetch_max(below, Ordering::SeqCst);
                    journal.truncate(below).unwrap();
                }
            }
        });
        let mut copied = 0;
        for number in 0..40 {
            let acknowledged = journal.position();
            let to = folder.path().join(format!("copy-{number}"));
            let range = copy(&from, &to).unwrap();
            let forgotten = forgotten.load(Ordering::SeqCst);
            let found = positions(&to);
            let (first, next) = range.unwrap_or((forgotten, forgotten));
            assert!(first <= forgotten, "{first}..{next}, {forgotten} are forgotten");
            assert!(next.max(forgotten) >= acknowledged, "{first}..{next} of {acknowledged}");
            assert_eq!(found, range.map_or(vec![], |(first, next)| (first..next).collect()));
            copied += found.len();
        }
        assert!(copied > 0);
        stop.store(true, Ordering::SeqCst);
        busy.join().unwrap();
        journal.close();
        writer.join().unwrap().unwrap();
        let to = folder.path().join("copy-0");
        clear(&to).unwrap();
        assert!(positions(&to).is_empty());
    }
}
