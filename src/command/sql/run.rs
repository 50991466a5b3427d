//! The command: where to ask, one question or a conversation, where the answer goes.

use std::fs::File;
use std::io::{IsTerminal as _, Write, stderr, stdin, stdout};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use tokio::runtime::Builder;
use tokio::time::Instant;

use super::print::{Looks, Rows};
use super::shell;
use super::source::{AskError, Parts, Source};
use crate::cli::{SqlArgs, SqlFormat};
use crate::command::Verdict;
use crate::query::format::Format;

/// Asks one question, or holds a conversation when there is none among the arguments.
///
/// # Errors
/// When the server cannot be reached or refuses the credential, the data directory cannot be used,
/// or the output not be written. A question that is answered with an error is a
/// [`Verdict::No`].
pub fn run(args: &SqlArgs) -> Result<Verdict> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let source = Source::open(&args.server)?;
    source.supply(&args.addresses)?;
    let format = format(args)?;
    let verdict = match &args.query {
        Some(query) => runtime.block_on(once(&source, query, format, args.output.as_deref())),
        None => shell::run(&runtime, &source, format),
    };
    // An answer that is still on its way is nobody's.
    runtime.shutdown_background();
    verdict
}

async fn once(
    source: &Source,
    query: &str,
    format: SqlFormat,
    output: Option<&Path>,
) -> Result<Verdict> {
    let started = Instant::now();
    let looks = Looks::of_terminal();
    let told = match output {
        None => answer(source, query, format, looks, &mut stdout().lock()).await,
        Some(path) => to_file(source, query, format, path).await,
    };
    match told {
        Ok(rows) => {
            if stderr().is_terminal() {
                summary(rows, started.elapsed())?;
            }
            Ok(Verdict::Done)
        }
        Err(AskError::Wrong(message)) => {
            writeln!(stderr(), "error: {message}")?;
            Ok(Verdict::No)
        }
        Err(AskError::Failed(error)) => Err(error),
    }
}

/// Writes the answer into a new file beside, and puts it in its place when it is whole.
async fn to_file(
    source: &Source,
    query: &str,
    format: SqlFormat,
    path: &Path,
) -> Result<Option<usize>, AskError> {
    let fail = || format!("write `{}`", path.display());
    let mut part = path.to_owned().into_os_string();
    part.push(".part");
    let mut file = File::create(&part).with_context(fail)?;
    let looks = Looks { width: None, colours: false, ..Looks::default() };
    let told = answer(source, query, format, looks, &mut file).await;
    if told.is_ok() {
        file.sync_all().and_then(|()| std::fs::rename(&part, path)).with_context(fail)?;
    } else {
        // It says nothing that is whole; the error that is told is the first one.
        let _ = std::fs::remove_file(&part);
    }
    told
}

/// Asks, and writes the answer as it comes, or as a table when it is all there. Gives the number
/// of rows where it is known.
pub(super) async fn answer(
    source: &Source,
    query: &str,
    format: SqlFormat,
    looks: Looks,
    out: &mut impl Write,
) -> Result<Option<usize>, AskError> {
    let Some(format) = wire_format(format) else {
        let rows = Rows::gather(source.ask(query, Format::Arrow).await?).await?;
        rows.print(looks, out).context("write the answer")?;
        return Ok(Some(rows.count()));
    };
    let mut parts: Parts = source.ask(query, format).await?;
    let mut last = None;
    while let Some(part) = parts.next().await {
        let part = part?;
        out.write_all(&part).context("write the answer")?;
        last = part.last().copied().or(last);
    }
    // JSON has no line end of its own.
    if format == Format::Json && last.is_some() {
        out.write_all(b"\n").context("write the answer")?;
    }
    out.flush().context("write the answer")?;
    Ok(None)
}

/// How many rows, and how long it took, on standard error.
pub(super) fn summary(rows: Option<usize>, took: Duration) -> std::io::Result<()> {
    let milliseconds = Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    let took = humantime::format_duration(milliseconds.max(Duration::from_millis(1)));
    match rows {
        Some(1) => writeln!(stderr(), "1 row in {took}"),
        Some(rows) => writeln!(stderr(), "{rows} rows in {took}"),
        None => writeln!(stderr(), "done in {took}"),
    }
}

/// What was asked for; else what the file's name says; else a table.
fn format(args: &SqlArgs) -> Result<SqlFormat> {
    let extension = args.output.as_deref().and_then(Path::extension);
    let named = extension.and_then(|extension| match extension.to_str()? {
        "json" => Some(SqlFormat::Json),
        "csv" => Some(SqlFormat::Csv),
        "arrow" | "arrows" => Some(SqlFormat::Arrow),
        "parquet" => Some(SqlFormat::Parquet),
        _ => None,
    });
    let format = args.format.or(named).unwrap_or(SqlFormat::Table);
    let binary = matches!(format, SqlFormat::Arrow | SqlFormat::Parquet);
    if binary && args.output.is_none() && stdout().is_terminal() {
        bail!("that format is not for a terminal: give `--output FILE`");
    }
    if binary && args.query.is_none() && !stdin().is_terminal() {
        bail!("that format is one answer's: give the query as an argument");
    }
    Ok(format)
}

fn wire_format(format: SqlFormat) -> Option<Format> {
    match format {
        SqlFormat::Table => None,
        SqlFormat::Json => Some(Format::Json),
        SqlFormat::Csv => Some(Format::Csv),
        SqlFormat::Arrow => Some(Format::Arrow),
        SqlFormat::Parquet => Some(Format::Parquet),
    }
}
