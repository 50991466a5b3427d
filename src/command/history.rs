//! `auditmill history import`: old logs through decode into the history, beside nobody.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Verdict;
use super::input::Input;
use super::meter::Meter;
use super::parts::{flush_settings, journal, location, lock, signing_key, store_settings};
use crate::cli::ImportArgs;
use crate::clock::now_micros;
use crate::config::Settings;
use crate::decode::{Decoder, Delivery, Quarantined, ROWS_BYTES_MAX};
use crate::event::Rows;
use crate::findings::quarantine::Quarantine;
use crate::findings::step::{LedgerEntry, LedgerKind, Step};
use crate::findings::store::Store;
use crate::history::import::{Import, Progress, Stored, name};
use crate::history::writer;

/// Puts the events of files into the history of a data directory that no server uses.
///
/// # Errors
/// When settings are wrong, the directory is in use, or files cannot be read or written. What was
/// read until then is in the history.
pub fn import(args: &ImportArgs) -> Result<Verdict> {
    let settings = args.config.settings()?;
    let mut decoder = Decoder::new();
    decoder.set_format(args.format.parse()?);
    let total = args.files.iter().map(|path| size(path.as_path())).sum::<Result<u64>>()?;
    let _lock = lock(&args.data)?;
    let import = open(&settings, &args.data)?;
    let quarantine = args.data.join("quarantine");
    let quarantine = Quarantine::open(&quarantine, settings.history.quarantine.as_u64())
        .with_context(|| format!("open quarantine `{}`", quarantine.display()))?;
    let store = Store::open(&args.data.join("findings.db"), store_settings(&settings))?;
    let mut work = Work {
        cluster: args.cluster.as_str(),
        decoder,
        rows: Rows::new(),
        rows_bytes: flush_settings(&settings)?.bytes.min(ROWS_BYTES_MAX),
        import,
        quarantine,
        store,
        meter: Meter::start(total),
        bytes_before: 0,
        summary: Summary::default(),
        oldest: i64::MAX,
    };
    let mut read = Ok(());
    for path in &args.files {
        read = work.file(path).with_context(|| format!("import `{}`", path.display()));
        if read.is_err() {
            break;
        }
    }
    work.meter.end();
    work.summary.seconds = work.meter.elapsed().as_secs_f64();
    say(&work.summary, args.json)?;
    warn_of_old(&settings, work.oldest);
    read.map(|()| Verdict::Done)
}

/// Bytes of a file, 0 for standard input; that they all are there is known before the work begins.
fn size(path: &Path) -> Result<u64> {
    if path == Path::new("-") {
        return Ok(0);
    }
    let fail = || format!("read `{}`", path.display());
    let file = File::open(path).with_context(fail)?.metadata().with_context(fail)?;
    if file.is_dir() {
        bail!("`{}` is a folder: name the files in it", path.display());
    }
    Ok(file.len())
}

/// Opens the history, unless the journal has events that it does not have yet: they could not be
/// told from those of a log.
fn open(settings: &Settings, data: &Path) -> Result<Import> {
    let redactor = flush_settings(settings)?.redactor;
    let writer = writer::name(data).with_context(|| format!("use `{}`", data.display()))?;
    let key = signing_key(settings, data)?;
    let import = Import::open(location(settings, data)?, &writer, redactor, Some(key))?;
    let (journal, _) = journal(settings, data, import.position())?;
    let (written, end) = (import.position(), journal.position());
    if end > written {
        bail!(
            "the journal of `{}` has {} records that are not in its history yet: start `auditmill \
             serve` on it, stop it with SIGTERM, and import then",
            data.display(),
            end - written
        );
    }
    Ok(import)
}

/// What came of an import.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// Events that are in the history now and were not before.
    stored: u64,
    /// Events that were there before, or came twice.
    already_there: u64,
    /// Pieces that are no events; they are in the table `quarantine`.
    unreadable: u64,
    /// Records around audit events that are none and not meant to be.
    passed_over: u64,
    /// Files that were read.
    files: u64,
    /// Files that an earlier import had read to their end.
    files_known: u64,
    /// Bytes read, unpacked.
    bytes: u64,
    seconds: f64,
}

struct Work<'a> {
    cluster: &'a str,
    decoder: Decoder,
    rows: Rows,
    /// So many bytes of rows are written.
    rows_bytes: usize,
    import: Import,
    quarantine: Quarantine,
    store: Store,
    meter: Meter,
    /// Bytes of the files before this one, as they lie on the disk.
    bytes_before: u64,
    summary: Summary,
    oldest: i64,
}

impl Work<'_> {
    fn file(&mut self, path: &Path) -> Result<()> {
        // Standard input cannot be looked at before it is read: there, only events are told.
        let name = if path == Path::new("-") {
            None
        } else {
            Some(name(self.cluster, &mut File::open(path)?)?)
        };
        let before = name.as_deref().map(|name| self.import.progress(name)).transpose()?;
        let before = before.unwrap_or_default();
        if before.done {
            self.summary.files_known += 1;
            self.bytes_before += size(path)?;
            return Ok(());
        }
        self.summary.files += 1;
        let mut input = Input::open(path)?;
        let mut offset = 0;
        loop {
            // The same file gives the same chunks, so that one of them is in the history or not.
            let chunk = match input.next_chunk() {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    self.commit(name.as_deref(), Progress { offset, done: false })?;
                    return Err(error.into());
                }
            };
            offset += chunk.len() as u64;
            if offset > before.offset {
                self.chunk(&chunk)?;
                if self.rows.bytes() >= self.rows_bytes {
                    self.commit(name.as_deref(), Progress { offset, done: false })?;
                }
            }
            let events = self.summary.stored + self.summary.already_there;
            self.meter.tell(self.bytes_before + input.bytes_read(), events);
        }
        self.bytes_before += input.bytes_read();
        self.commit(name.as_deref(), Progress { offset, done: true })
    }

    fn chunk(&mut self, body: &[u8]) -> Result<()> {
        self.summary.bytes += body.len() as u64;
        let received_at = now_micros();
        let delivery = Delivery { cluster: self.cluster, source: "file", received_at, body };
        let mut quarantined = Vec::new();
        let mut stored = Ok(());
        let Self { decoder, rows, import, summary, oldest, .. } = self;
        decoder.decode_in_parts(&delivery, rows, &mut quarantined, |rows| {
            let part = import.store(&rows.finish());
            if stored.is_ok() {
                stored = part.map(|part| summary.add(part, oldest));
            }
        });
        stored?;
        self.summary.passed_over += self.decoder.take_passed_over() as u64;
        self.set_aside(body, received_at, &quarantined)
    }

    fn commit(&mut self, name: Option<&str>, progress: Progress) -> Result<()> {
        if !self.rows.is_empty() {
            let stored = self.import.store(&self.rows.finish())?;
            self.summary.add(stored, &mut self.oldest);
        }
        Ok(self.import.commit(name, progress)?)
    }

    /// Keeps what could not be read, once: a chunk that is read again has the same bytes.
    fn set_aside(&mut self, body: &[u8], received_at: i64, pieces: &[Quarantined]) -> Result<()> {
        self.summary.unreadable += pieces.len() as u64;
        let mut hash = Sha256::new();
        hash.update(self.cluster.as_bytes());
        hash.update([0]);
        if pieces.is_empty() {
            return Ok(());
        }
        hash.update(body);
        let half: [u8; 16] = hash.finalize().first_chunk().copied().unwrap_or_default();
        let hash = u128::from_be_bytes(half);
        if self.quarantine.holds(hash) {
            return Ok(());
        }
        self.quarantine.keep(hash, received_at, pieces).context("keep what is unreadable")?;
        let entry = |piece: &Quarantined| LedgerEntry {
            kind: LedgerKind::Quarantined,
            cluster: piece.cluster.clone(),
            item: piece.reason.as_str().to_owned(),
            at: received_at,
            count: 1,
        };
        let ledger: Vec<LedgerEntry> = pieces.iter().map(entry).collect();
        let next = self.store.position()?;
        self.store.commit(&Step { next, ledger: &ledger, ..Step::default() })?;
        Ok(())
    }
}

impl Summary {
    fn add(&mut self, stored: Stored, oldest: &mut i64) {
        self.stored += stored.new;
        self.already_there += stored.known;
        *oldest = stored.oldest.min(*oldest);
    }
}

fn say(summary: &Summary, json: bool) -> Result<()> {
    if json {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, summary)?;
        out.write_all(b"\n")?;
        return Ok(());
    }
    eprintln!(
        "{} events stored, {} already there, {} pieces not readable; {} files read, {} known from \
         before; {:.1} s",
        summary.stored,
        summary.already_there,
        summary.unreadable,
        summary.files,
        summary.files_known,
        summary.seconds
    );
    Ok(())
}

/// Days that are older than is kept are let go by the next server.
fn warn_of_old(settings: &Settings, oldest: i64) {
    let keep = settings.history.keep;
    if !keep.0.is_zero() && oldest.saturating_add(keep.micros()) < now_micros() {
        let day = crate::event::time::rfc3339(oldest);
        eprintln!(
            "warning: the oldest of them is of {}, and `[history] keep` is {keep}: a server with \
             these settings lets go what is older; set it to 0 to keep all",
            day.get(..10).unwrap_or(&day)
        );
    }
}
