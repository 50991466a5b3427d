//! From file to file of one log: which bytes come next.
//!
//! ```text
//!              lines                    no more lines, and the writer is in a newer file
//!   ┌─────────────────────────┐   ┌────────────────────────────────────────────┐
//!   └──> reading one file ────┘   └──> the rest, then the next newer file ─────┘
//!          │        ▲
//!      cut │        │ found: by inode and beginning, else by beginning (a copy);
//!          ▼        │ else at the beginning of what is newer
//!        looking for the mark  <── start
//! ```
//!
//! Promise: a file is left only after the writer was seen to have left it: there are bytes in a
//! newer one, and what came before that look has been read.

use std::io;
use std::path::PathBuf;

use super::folder::{self, Found, Listing};
use super::log_file::{Extent, Limits, LogFile};
use super::progress::Mark;

/// What an operator must get to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// A file was cut or written anew in place. Lines that came after the last look and are not
    /// in a copy beside it are lost.
    Truncated,
    /// The file that was being read is gone. Lines of it may be unread.
    Gone,
    /// So many bytes of a line that is too long were passed over.
    PassedOver(u64),
}

/// Follows one log.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    limits: Limits,
    current: Option<LogFile>,
    /// Where to continue while no file is open; `None` before the first one.
    mark: Option<Mark>,
    notices: Vec<Notice>,
}

impl Follower {
    /// Follows the log at `path` from a mark on, else from the beginning of the file at `path`.
    pub(super) fn new(path: PathBuf, mark: Option<Mark>, limits: Limits) -> Self {
        Self { path, limits, current: None, mark, notices: Vec::new() }
    }

    /// How far the log was read; `None` before the first file was seen.
    pub(super) fn mark(&self) -> Option<&Mark> {
        self.current.as_ref().map(LogFile::mark).or(self.mark.as_ref())
    }

    /// What happened since the last call.
    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// What can be handed on next; `None` when there is nothing now.
    pub(super) fn find(&mut self) -> io::Result<Option<Extent>> {
        loop {
            let Some(current) = &self.current else {
                match self.locate()? {
                    Some(log) => self.current = Some(log),
                    None => return Ok(None),
                }
                continue;
            };
            if !current.is_as_marked()? {
                self.mark = self.current.take().map(|log| log.mark().clone());
                continue;
            }
            if let Some(extent) = self.lines()? {
                return Ok(Some(extent));
            }
            let Some(next) = self.successor()? else { return Ok(None) };
            // The writer had left this file when we looked, so what is in it now is all.
            if let Some(extent) = self.lines()? {
                return Ok(Some(extent));
            }
            if let Some(rest) = self.current.as_ref().map(LogFile::rest).transpose()?.flatten() {
                return Ok(Some(rest));
            }
            match LogFile::open(&next)? {
                Some(log) => self.current = Some(log),
                None => return Ok(None),
            }
        }
    }

    /// The bytes of what was found and the mark behind them; `None` when the file has changed
    /// since: find again.
    pub(super) fn read(&self, extent: Extent) -> io::Result<Option<(Vec<u8>, Mark)>> {
        self.current.as_ref().map_or(Ok(None), |log| log.read(extent))
    }

    /// What was read has been handed on.
    pub(super) fn advance(&mut self, mark: Mark) {
        if let Some(log) = &mut self.current {
            log.advance(mark);
        }
    }

    fn lines(&mut self) -> io::Result<Option<Extent>> {
        let Some(log) = &mut self.current else { return Ok(None) };
        let (extent, passed_over) = log.lines(self.limits)?;
        if passed_over > 0 {
            self.notices.push(Notice::PassedOver(passed_over));
        }
        Ok(extent)
    }

    /// The file to read, opened where to continue; `None` while it cannot be told.
    fn locate(&mut self) -> io::Result<Option<LogFile>> {
        let Some(mark) = &self.mark else {
            return folder::look_at(&self.path)?.map_or(Ok(None), |found| LogFile::open(&found));
        };
        let Some(listing) = folder::listing(&self.path)? else { return Ok(None) };
        let in_place = listing.at_path.as_ref().is_some_and(|found| found.id == mark.file);
        if let Some(log) = marked(&listing, mark)? {
            // The beginning is in a copy, so the file itself was cut after it was copied.
            if in_place && log.id() != mark.file {
                self.notices.push(Notice::Truncated);
            }
            return Ok(Some(log));
        }
        // While nothing is at the path, its disk may not be mounted yet.
        let Some(at_path) = &listing.at_path else { return Ok(None) };
        let newer = listing.rotated.iter().find(|found| found.modified_ns >= mark.modified_ns);
        let log = LogFile::open(newer.unwrap_or(at_path))?;
        if log.is_some() {
            self.notices.push(if in_place { Notice::Truncated } else { Notice::Gone });
        }
        Ok(log)
    }

    /// The oldest file newer than the current one, once the writer has left that.
    fn successor(&self) -> io::Result<Option<Found>> {
        let Some(current) = &self.current else { return Ok(None) };
        let at_path = folder::look_at(&self.path)?;
        if at_path.is_some_and(|found| found.id == current.id()) {
            return Ok(None);
        }
        let Some(listing) = folder::listing(&self.path)? else { return Ok(None) };
        let modified_ns = current.modified_ns()?;
        let own = listing.rotated.iter().find(|found| found.id == current.id());
        let own = own.map(|found| found.path.clone());
        let is_newer = |found: &Found| match &own {
            Some(own) => (found.modified_ns, &found.path) > (modified_ns, own),
            // It was removed: of two written in one tick, the older one goes first.
            None => found.modified_ns >= modified_ns,
        };
        let rotated = listing.rotated.into_iter().find(is_newer);
        // logrotate creates the new file before the writer turns to it: an empty one proves
        // nothing.
        Ok(rotated.or(listing.at_path.filter(|found| found.bytes > 0)))
    }
}

/// The file that a mark is in: the very file, else the newest copy of it.
fn marked(listing: &Listing, mark: &Mark) -> io::Result<Option<LogFile>> {
    let newest_first = || listing.at_path.iter().chain(listing.rotated.iter().rev());
    for found in newest_first().filter(|found| found.id == mark.file) {
        if let Some(log) = LogFile::open_at(found, mark)? {
            return Ok(Some(log));
        }
    }
    // Any file begins with nothing.
    if mark.head.bytes == 0 {
        return Ok(None);
    }
    for found in newest_first().filter(|found| found.id != mark.file) {
        if let Some(log) = LogFile::open_at(found, mark)? {
            return Ok(Some(log));
        }
    }
    Ok(None)
}
