//! `auditmill backup TO`: a copy of a data directory, while a server uses it or not.
//!
//! The copy is a data directory itself, with a list of its files in `backup.json`. Every event
//! that was acknowledged before the copy began is in it once: in its history or in its journal.
//! The order of copying is what makes that so:
//!
//! 1. How far followed logs are: never ahead of the journal, so never ahead of a later copy of it.
//!    Lines that were taken in meanwhile are read again.
//! 2. The journal. Until then it had forgotten only what the history had, and the history is
//!    copied later: so the two have no gap between them. Where the history is ahead of all that
//!    was copied of the journal, the latter is left away: a journal without files begins where the
//!    history ends.
//! 3. The history, at one of its versions.
//!    Its log of proofs is copied before it: what the copied table has beyond that log is signed in
//!    its commits.
//! 4. The findings. They are durable before the history's commit, so that a later copy covers all
//!    records that the copied history has; for those in the copied journal they are worked out
//!    again. What the store says of still later records, which are not in the copy, is taken back:
//!    its position and the deliveries that it has seen. Else the first new records would be taken
//!    for known ones, and a delivery that comes again would be passed over. Findings of the
//!    moments that the copying took may be there without their events.
//! 5. What was quarantined, and `findings.jsonl`, whose lines may come again, but are not missing.
//!
//! All is written under a name that ends in `.partial`, synced, and renamed last. A history in a
//! bucket is only named: it goes on, and a restored server that finds it ahead of the journal says
//! so.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::Verdict;
use super::parts::{location, lock};
use crate::cli::BackupArgs;
use crate::clock::now_micros;
use crate::event::time::rfc3339;
use crate::findings::questions::QuestionLog;
use crate::history::copy::copy_file;
use crate::history::writer;
use crate::journal::Position;
use crate::{findings, history, journal};

/// The list of what a backup has.
pub(super) const MANIFEST: &str = "backup.json";
/// Its form; a reader refuses others.
pub(super) const FORMAT: u32 = 1;

/// What a backup says of itself. The stored form is JSON of this.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// Version of the program that made it.
    pub(super) program: String,
    /// When it was begun, RFC 3339 in UTC.
    pub(super) made_at: String,
    /// Where the history is that is not in the backup; `None` when it is in it.
    pub(super) history_elsewhere: Option<String>,
    /// All events of the journal below this position are in the history.
    pub(super) history_position: Position,
    /// The first journal record of the backup, and the one behind its last.
    pub(super) journal: (Position, Position),
    /// Files, relative to the backup, with their lengths in bytes.
    pub(super) files: Vec<(String, u64)>,
}

/// Copies a data directory.
///
/// # Errors
/// When it cannot be read, or the copy not be written, or something is there already.
pub fn run(args: &BackupArgs) -> Result<Verdict> {
    let settings = args.config.settings()?;
    if !args.data.join("lock").exists() {
        bail!(
            "`{}` is no data directory of auditmill: name one with `--data`",
            args.data.display()
        );
    }
    must_be_new(&args.to)?;
    let partial = partial(&args.to)?;
    let _lock = lock(&partial)?;
    clear(&partial)?;
    let made_at = rfc3339(now_micros());
    let location = location(&settings, &args.data)?;

    copy_folder(&args.data, &partial, "sources", |_| true)?;
    let path = partial.join("journal");
    let journal = journal::copy::copy(&args.data.join("journal"), &path);
    let mut journal = journal.context("copy the journal")?;
    let writer = writer::name(&args.data).context("read the name of the data directory")?;
    let copied = history::copy::copy(&location, &writer, &partial.join("history"));
    let copied = copied.context("copy the history")?;
    let position = copied.map_or(0, |version| version.position);
    if journal.is_some_and(|(_, end)| end < position) {
        journal::copy::clear(&path).context("clear the copied journal")?;
        journal = None;
    }
    let journal = journal.unwrap_or((position, position));
    let from = args.data.join("findings.db");
    findings::copy::copy(&from, &partial.join("findings.db"), journal.1)?;
    let questions = args.data.join(QuestionLog::FILE);
    findings::copy::copy_file(&questions, &partial.join(QuestionLog::FILE))?;
    copy_folder(&args.data, &partial, "quarantine", |name| {
        Path::new(name).extension().is_some_and(|extension| extension == "pieces")
    })?;
    copy_lines(&args.data, &partial)?;
    copy_file(&args.data.join("writer"), &partial.join("writer")).context("copy `writer`")?;
    copy_key(&args.data, &partial)?;

    let manifest = Manifest {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        made_at,
        history_elsewhere: location.path().is_none().then(|| location.address().to_string()),
        history_position: position,
        journal,
        files: files(&partial)?,
    };
    publish(&partial, &args.to, &manifest)?;
    say(&manifest, copied.map_or(0, |version| version.rows), &args.to);
    Ok(Verdict::Done)
}

fn say(manifest: &Manifest, rows: u64, to: &Path) {
    let bytes: u64 = manifest.files.iter().map(|(_, bytes)| bytes).sum();
    let records = manifest.journal.1.saturating_sub(manifest.history_position);
    eprintln!(
        "{} files, {}: {rows} events in the history, {records} journal records beyond it; in `{}`",
        manifest.files.len(),
        bytesize::ByteSize::b(bytes).display().iec(),
        to.display()
    );
    if let Some(url) = &manifest.history_elsewhere {
        eprintln!("the history is not in it: it stays in `{url}`");
    }
}

/// Nothing is overwritten: the path must not be there, or be an empty folder.
pub(super) fn must_be_new(path: &Path) -> Result<()> {
    let mut entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("read `{}`", path.display())),
    };
    if entries.next().is_some() {
        bail!("`{}` is not empty: name a folder that is not there yet", path.display());
    }
    Ok(())
}

/// The name beside it under which it is made.
pub(super) fn partial(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let Some(name) = absolute.file_name() else {
        bail!("`{}` cannot be made: name a folder", path.display());
    };
    let mut name: OsString = name.to_owned();
    name.push(".partial");
    Ok(absolute.with_file_name(name))
}

/// Removes what an earlier run left, but for its lock.
pub(super) fn clear(partial: &Path) -> Result<()> {
    let fail = || format!("clear `{}`", partial.display());
    for entry in std::fs::read_dir(partial).with_context(fail)? {
        let entry = entry.with_context(fail)?;
        if entry.file_name() == "lock" {
            continue;
        }
        let removed = if entry.file_type().with_context(fail)?.is_dir() {
            std::fs::remove_dir_all(entry.path())
        } else {
            std::fs::remove_file(entry.path())
        };
        removed.with_context(fail)?;
    }
    Ok(())
}

/// Copies the files of a folder whose names are wanted; they may go away meanwhile.
fn copy_folder(
    from: &Path,
    to: &Path,
    folder: &str,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<()> {
    let (from, to) = (from.join(folder), to.join(folder));
    if !from.is_dir() {
        return Ok(());
    }
    let fail = || format!("copy `{}`", from.display());
    for entry in std::fs::read_dir(&from).with_context(fail)? {
        let name = entry.with_context(fail)?.file_name();
        if !is_wanted(&name.to_string_lossy()) {
            continue;
        }
        match copy_file(&from.join(&name), &to.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => copied.with_context(|| format!("copy `{}`", from.join(&name).display()))?,
        }
    }
    Ok(())
}

/// Copies the key that signs the history; one that the settings name stays where it is.
fn copy_key(from: &Path, to: &Path) -> Result<()> {
    let name = "signing.key";
    match copy_file(&from.join(name), &to.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        copied => copied.context("copy the signing key"),
    }
}

/// Copies the file of findings that is written without any settings, as far as lines are whole.
fn copy_lines(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (from.join("findings.jsonl"), to.join("findings.jsonl"));
    if !from.exists() {
        return Ok(());
    }
    let fail = || format!("copy `{}`", from.display());
    copy_file(&from, &to).with_context(fail)?;
    let file = File::options().read(true).write(true).open(&to).with_context(fail)?;
    let mut end = file.metadata().with_context(fail)?.len();
    let mut piece = [0; 4096];
    while end > 0 {
        let length = end.min(4096);
        let start = end - length;
        let Some(piece) = piece.get_mut(..usize::try_from(length)?) else { break };
        file.read_exact_at(piece, start).with_context(fail)?;
        if let Some(found) = memchr::memrchr(b'\n', piece) {
            end = start + found as u64 + 1;
            break;
        }
        end = start;
    }
    file.set_len(end).and_then(|()| file.sync_all()).with_context(fail)
}

/// All files below a folder but its lock, in order, with their lengths.
fn files(folder: &Path) -> Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let path = folder.join(&below);
        let fail = || format!("read `{}`", path.display());
        for entry in std::fs::read_dir(&path).with_context(fail)? {
            let entry = entry.with_context(fail)?;
            let metadata = entry.metadata().with_context(fail)?;
            let name = below.join(entry.file_name());
            if metadata.is_dir() {
                folders.push(name);
            } else if name != Path::new("lock") {
                files.push((name.display().to_string(), metadata.len()));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Writes the list of files, makes all names durable, and gives the folder its own.
fn publish(partial: &Path, to: &Path, manifest: &Manifest) -> Result<()> {
    let path = partial.join(MANIFEST);
    let mut json = serde_json::to_vec_pretty(manifest)?;
    json.push(b'\n');
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| {
        file.write_all(&json)?;
        file.sync_all()
    });
    written.with_context(|| format!("write `{}`", path.display()))?;
    settle(partial, to)
}

/// Makes the names of all that is in a folder durable, and renames it.
pub(super) fn settle(partial: &Path, to: &Path) -> Result<()> {
    let mut folders = vec![partial.to_owned()];
    let fail = || format!("sync `{}`", partial.display());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(fail)? {
            let entry = entry.with_context(fail)?;
            if entry.file_type().with_context(fail)?.is_dir() {
                folders.push(entry.path());
            }
        }
        File::open(&folder).and_then(|folder| folder.sync_all()).with_context(fail)?;
    }
    let fail = || {
        format!(
            "rename `{}` to `{}`: if that is where a disk is mounted, name a folder in it",
            partial.display(),
            to.display()
        )
    };
    std::fs::rename(partial, to).with_context(fail)?;
    let parent = partial.parent().unwrap_or(partial);
    File::open(parent).and_then(|parent| parent.sync_all()).with_context(fail)
}
