//! `auditmill verify`: whether the history, or a bundle of evidence, is what was written.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::Verdict;
use super::backtest::Period;
use super::meter::Meter;
use super::parts::{location, signing_key};
use crate::cli::{Format, VerifyArgs};
use crate::clock::now_micros;
use crate::history::verify::{Asked, Report, verify};
use crate::proof::bundle::{BYTES_MAX, Bundle};
use crate::proof::key::{Head, SigningKey, VerifierKey};
use crate::proof::problem::Problem;

/// Of a file of heads so many bytes at its end are read.
const HEADS_BYTES_MAX: u64 = 64 << 20;
/// A file with a key is a line.
const KEY_BYTES_MAX: u64 = 4096;

/// Verifies a data directory or a bundle, or prints the key to do so.
///
/// # Errors
/// When there is nothing to verify, or it cannot be read.
pub fn run(args: &VerifyArgs) -> Result<Verdict> {
    if args.print_key {
        return print_key(args);
    }
    if let Some(path) = &args.bundle {
        return bundle(args, path);
    }
    let settings = args.config.settings()?;
    let location = location(&settings, &args.data)?;
    if location.path().is_some_and(|path| !path.is_dir()) {
        bail!("`{}` has no history: name a data directory with `--data`", args.data.display());
    }
    let key = key(args)?;
    let mut heads = Vec::new();
    for path in &args.head {
        heads.extend(published(path, &key)?);
    }
    let period = Period::of(args.since.as_deref(), None, now_micros())?;
    let since = args.since.is_some().then_some(period.since);
    let mut meter = None;
    let report = verify(&location, &Asked { key, since, heads }, |bytes, total, rows| {
        meter.get_or_insert_with(|| Meter::start(total)).tell(bytes, rows);
    });
    if let Some(meter) = &meter {
        meter.end();
    }
    let report = report?;
    match args.format {
        Format::Json => print_json(&report)?,
        Format::Table => print(&report)?,
    }
    Ok(if report.problems.is_empty() { Verdict::Done } else { Verdict::No })
}

fn print_key(args: &VerifyArgs) -> Result<Verdict> {
    let settings = args.config.settings()?;
    if settings.history.signing_key.is_none() && !args.data.join("lock").exists() {
        bail!("`{}` is no data directory: name one with `--data`", args.data.display());
    }
    writeln!(io::stdout(), "{}", signing_key(&settings, &args.data)?.public().text())?;
    Ok(Verdict::Done)
}

/// The key that was named, else the data directory's own.
fn key(args: &VerifyArgs) -> Result<VerifierKey> {
    if let Some(named) = &args.key {
        return named_key(named);
    }
    let settings = args.config.settings()?;
    if let Some(path) = &settings.history.signing_key {
        return Ok(SigningKey::read(path)?.public().clone());
    }
    match SigningKey::existing(&args.data)? {
        Some(key) => Ok(key.public().clone()),
        None => bail!(
            "`{}` has no key: name the one to verify by with `--key`; a history that no server was \
             started on since it has proofs has none, and is not covered",
            args.data.display()
        ),
    }
}

/// A key, or the one in a file.
fn named_key(named: &str) -> Result<VerifierKey> {
    let path = Path::new(named);
    if !path.is_file() {
        return Ok(VerifierKey::parse(named)?);
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(KEY_BYTES_MAX).read_to_string(&mut text));
    read.with_context(|| format!("read `{named}`"))?;
    Ok(VerifierKey::parse(&text)?)
}

/// The heads in a file: signed notes, an empty line behind each.
fn published(path: &PathBuf, key: &VerifierKey) -> Result<Vec<Head>> {
    let fail = || format!("read heads `{}`", path.display());
    let mut file = File::open(path).with_context(fail)?;
    let length = file.metadata().with_context(fail)?.len();
    let skipped = length.saturating_sub(HEADS_BYTES_MAX);
    file.seek(SeekFrom::Start(skipped)).with_context(fail)?;
    let mut bytes = Vec::new();
    file.take(HEADS_BYTES_MAX).read_to_end(&mut bytes).with_context(fail)?;
    let text = String::from_utf8_lossy(&bytes);
    let notes = notes(&text);
    // Where only the end is read, the first may be half a note.
    let mut heads = Vec::new();
    for note in notes.iter().skip(usize::from(skipped > 0)) {
        let head = key.open_head(note.as_bytes());
        let head = head.with_context(|| {
            format!("`{}` has a head that does not count: {}", path.display(), first_line(note))
        })?;
        heads.push(Head { note: String::new(), ..head });
    }
    if heads.is_empty() {
        bail!(
            "`{}` has no head: it is a signed note, as `[history] publish` writes it",
            path.display()
        );
    }
    Ok(heads)
}

fn first_line(note: &str) -> &str {
    note.lines().next().unwrap_or_default()
}

/// The notes in a text: each has its text, an empty line, and lines of signatures.
fn notes(text: &str) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    let mut note = String::new();
    let mut is_signed = false;
    for line in text.lines() {
        let is_signature = line.starts_with("\u{2014} ");
        if is_signed && !is_signature {
            notes.push(std::mem::take(&mut note));
            is_signed = false;
        }
        is_signed |= is_signature;
        if !note.is_empty() || !line.is_empty() {
            note.push_str(line);
            note.push('\n');
        }
    }
    if !note.trim().is_empty() {
        notes.push(note);
    }
    notes
}

fn bundle(args: &VerifyArgs, path: &Path) -> Result<Verdict> {
    let fail = || format!("read `{}`", path.display());
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes));
    read.with_context(fail)?;
    let bundle: Bundle = serde_json::from_slice(&bytes)
        .with_context(|| format!("`{}` is no bundle of evidence", path.display()))?;
    let key = match &args.key {
        Some(named) => named_key(named)?,
        None => VerifierKey::parse(&bundle.key)?,
    };
    let problems = bundle.problems(&key);
    if args.format == Format::Json {
        let told = json!({
            "ok": problems.is_empty(), "key": key.text(), "key_is_its_own": args.key.is_none(),
            "events": bundle.events.len(), "missing": bundle.missing, "problems": problems,
        });
        writeln!(io::stdout(), "{told}")?;
    } else {
        let mut out = io::stdout().lock();
        for missing in &bundle.missing {
            writeln!(out, "event {} is not in it: {}", missing.event_id, missing.why)?;
        }
        tell(&mut out, &problems)?;
        if problems.is_empty() {
            let events = bundle.events.len();
            writeln!(out, "{events} events are in the history that {} signed", key.text())?;
        }
        if args.key.is_none() {
            writeln!(out, "the key is the bundle's own: compare it, or give it by `--key`")?;
        }
    }
    Ok(if problems.is_empty() { Verdict::Done } else { Verdict::No })
}

fn tell(out: &mut impl io::Write, problems: &[Problem]) -> io::Result<()> {
    problems.iter().try_for_each(|problem| writeln!(out, "wrong: {problem}"))
}

fn print_json(report: &Report) -> Result<()> {
    let mut json = serde_json::to_value(report)?;
    json["ok"] = report.problems.is_empty().into();
    writeln!(io::stdout(), "{json}")?;
    Ok(())
}

fn print(report: &Report) -> Result<()> {
    let mut out = io::stdout().lock();
    tell(&mut out, &report.problems)?;
    let Report { leaves, files, rows, bytes, .. } = report;
    let size = bytesize::ByteSize::b(*bytes).display().iec();
    writeln!(
        out,
        "{rows} rows in {files} files ({size}) are what was written, by {leaves} leaves"
    )?;
    if report.heads > 0 {
        writeln!(out, "the log leads to {} published heads", report.heads)?;
    }
    if report.behind_head > 0 {
        let commits = report.behind_head;
        writeln!(out, "{commits} commits are signed alone, not yet by a head")?;
    }
    if report.files_not_covered > 0 {
        let (files, rows) = (report.files_not_covered, report.rows_not_covered);
        writeln!(out, "not covered: {rows} rows from before the log, in {files} files")?;
    }
    if report.rows_let_go > 0 {
        writeln!(out, "{} rows were let go by rule, as signed", report.rows_let_go)?;
    }
    if report.files_passed_over > 0 {
        let files = report.files_passed_over;
        writeln!(out, "{files} files are older than asked for, and were not read")?;
    }
    writeln!(out, "key {}, head {} {}", report.origin, report.leaves, report.root)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_told_apart() {
        let one = "origin\n1\nroot\n\n\u{2014} a b\n";
        let two = "origin\n2\nroot\n\n\u{2014} a b\n\u{2014} c d\n";
        assert_eq!(notes(&format!("{one}\n{two}\n{one}")), [one, two, one]);
        assert_eq!(notes(&format!("{one}{one}")), [one, one]);
        assert_eq!(notes("\n\n"), Vec::<String>::new());
        assert_eq!(notes("half"), ["half\n"]);
    }
}
