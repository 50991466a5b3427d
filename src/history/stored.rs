//! A file of the table against what was said of it: its bytes first, then its rows.
//!
//! The rows of a file that is not the one that was written are somebody else's bytes: they are read
//! all the same, to say which of them were changed, once the file was named in the log. They can
//! make the reader give up, or take its memory; they cannot make the file sound.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use arrow::array::{Array as _, AsArray as _, Int64Array, RecordBatch};
use arrow::error::ArrowError;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::encode::{ROW, SEGMENT};
use super::error::{HistoryError, is_away};
use super::events::scan_stored;
use super::file::DataFile;
use super::location::Location;
use super::log::Log;
use super::verify::{Asked, Report};
use crate::proof::account::{Account, Held, Made};
use crate::proof::mark::{Found, Named, Row, told};
use crate::proof::problem::{Kind, Problem};
use crate::proof::row::Contents;
use crate::proof::statement::SegmentId;
use crate::proof::tree::Hash;

/// Whose rows a file has, to be added to a sentence.
pub(super) fn rows_of(account: &Account, held: &Held) -> String {
    let Some(first) = held.segments.first() else { return String::new() };
    let made = account.segment(*first);
    let told = made.map_or_else(String::new, |made| {
        let leaf = made.leaf.map_or_else(String::new, |leaf| format!(" of leaf {leaf}"));
        let (from, to) = (&made.events.0, &made.events.1);
        format!("{leaf}, {} events of {from} to {to}", made.rows)
    });
    let more = held.segments.len() - 1;
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(": it has segment {first}{told}{more}")
}

/// That a file is the one that was written, and its rows are those that came.
pub(super) async fn check_file(
    location: &Location,
    asked: &Asked,
    account: &Account,
    (file, held): (&DataFile, &Held),
    report: &mut Report,
) -> Result<(), HistoryError> {
    let path = &file.path;
    let leaf = held.segments.first().and_then(|id| account.segment(*id)?.leaf);
    let problem = |kind, what: String| Problem::new(kind, what).of_file(path).of_leaf(leaf);
    let missing =
        || problem(Kind::FileMissing, format!("`{path}` is missing{}", rows_of(account, held)));
    if held.is_partly_uncovered {
        report.files_not_covered += 1;
    }
    let is_read = asked.since.is_none_or(|since| file.event_time.1 >= since);
    let Some(written) = held.file.as_ref().filter(|_| is_read) else {
        report.files_passed_over += u64::from(!is_read);
        report.rows_not_covered += if held.segments.is_empty() { file.rows } else { 0 };
        match location.store().head(&Path::from(path.as_str())).await {
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => report.tell(missing()),
            Err(error) => return Err(error.into()),
        }
        return Ok(());
    };
    let (hash, bytes) = match hash(location, path).await {
        Ok(hashed) => hashed,
        Err(object_store::Error::NotFound { .. }) => {
            // A running server may have let go of it meanwhile, and deleted it.
            let now = Log::open_existing(location, "").await?;
            let files = now.map(|log| log.files()).transpose()?.unwrap_or_default();
            if files.iter().any(|file| file.path == *path) {
                report.tell(missing());
            }
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    if hash != written.sha256 {
        let what = format!("`{path}` is not the file that was written{}", rows_of(account, held));
        // Whatever becomes of who reads its rows: this was said.
        warn!("{what}");
        let as_it_is = DataFile { bytes, ..file.clone() };
        let (rows, which) = changed_rows(location, account, &as_it_is, held).await;
        report.tell(problem(Kind::FileChanged, what + &which).of_rows(rows));
        return Ok(());
    }
    report.files += 1;
    report.bytes += file.bytes;
    let read = AssertUnwindSafe(check_rows(location, account, file, held, report));
    let unreadable = match read.catch_unwind().await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) if is_away(&error) => return Err(error),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its reader gave up".to_owned(),
    };
    let what = format!("`{path}` cannot be read: {unreadable}{}", rows_of(account, held));
    report.tell(problem(Kind::RowsChanged, what));
    Ok(())
}

/// The hash of a file's bytes, and how many there are.
async fn hash(location: &Location, path: &str) -> Result<(Hash, u64), object_store::Error> {
    let mut parts = location.store().get(&Path::from(path)).await?.into_stream();
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    while let Some(part) = parts.try_next().await? {
        hash.update(&part);
        bytes += part.len() as u64;
    }
    Ok((Hash(hash.finalize().into()), bytes))
}

/// Which rows of a file that is another one are not those that came, and the end of a sentence that
/// says so.
async fn changed_rows(
    location: &Location,
    account: &Account,
    file: &DataFile,
    held: &Held,
) -> (Vec<Row>, String) {
    let mut inner = Report::default();
    let read = AssertUnwindSafe(check_rows(location, account, file, held, &mut inner));
    if !matches!(read.catch_unwind().await, Ok(Ok(()))) {
        return (Vec::new(), "; its rows cannot be read".to_owned());
    }
    let which = match inner.problems.first() {
        None => "; its rows are those that came".to_owned(),
        Some(first) => format!("; {}", first.what),
    };
    (inner.problems.into_iter().flat_map(|problem| problem.rows).collect(), which)
}

/// That the rows of each segment in a file are those that came with it.
async fn check_rows(
    location: &Location,
    account: &Account,
    file: &DataFile,
    held: &Held,
    report: &mut Report,
) -> Result<(), HistoryError> {
    let mut segments: BTreeMap<SegmentId, Found> = BTreeMap::new();
    let (mut uncovered, mut place) = (0_u64, 0_u64);
    each_row(location, file, |beside, contents, row| {
        let Some(segment) = beside.segment else {
            uncovered += 1;
            place += 1;
            return;
        };
        let came = || account.segment(segment).map_or(0, |made| made.rows);
        let found = segments.entry(segment).or_insert_with(|| Found::new(segment, came()));
        let hash = contents.hash(row);
        let text = |name| contents.text(name, row);
        found.push(hash, beside.mark, place, || Named {
            event_id: text("event_id"),
            audit_id: text("audit_id"),
            stage: text("stage"),
        });
        place += 1;
    })
    .await?;
    let path = &file.path;
    let mut rows = 0;
    for segment in &held.segments {
        let found = segments.remove(segment).unwrap_or_else(|| Found::new(*segment, 0));
        let Some(made) = account.segment(*segment) else { continue };
        if found.is(made) {
            rows += found.size();
        } else {
            report.tell(changed(path, *segment, found, made));
        }
    }
    for (segment, found) in segments {
        let what = format!("`{path}` has {} rows of segment {segment} too many", found.size());
        report.tell(Problem::new(Kind::RowsChanged, what).of_file(path).of_segment(segment));
    }
    if uncovered > 0 && !held.is_partly_uncovered {
        let what = format!("`{path}` has {uncovered} rows of no segment");
        report.tell(Problem::new(Kind::RowsChanged, what).of_file(path));
    } else {
        report.rows_not_covered += uncovered;
    }
    report.rows += rows;
    Ok(())
}

/// That a segment's rows in a file are not those that came.
fn changed(path: &str, segment: SegmentId, found: Found, made: &Made) -> Problem {
    let (there, came) = (found.size(), made.rows);
    let (wrong, more) = found.wrong(made);
    let what = if there == came {
        format!("rows of segment {segment} in `{path}` are not those that came")
    } else {
        format!("`{path}` has {there} rows of segment {segment}, and {came} came")
    };
    let what = if !wrong.is_empty() {
        format!("{what}: {}", told(&wrong, more))
    } else if there == came {
        let (from, to) = (&made.events.0, &made.events.1);
        format!("{what}: one of {there} events of {from} to {to}")
    } else {
        what
    };
    let problem = Problem::new(Kind::RowsChanged, what).of_file(path).of_rows(wrong);
    problem.of_segment(segment).of_leaf(made.leaf)
}

/// What a file has beside a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside {
    /// The segment that it came with.
    pub(super) segment: Option<SegmentId>,
    /// Its number there and its mark.
    pub(super) mark: Option<i64>,
}

/// Gives each row of a file in its order, with what is beside it.
pub(super) async fn each_row(
    location: &Location,
    file: &DataFile,
    mut take: impl FnMut(Beside, &mut Contents<'_>, usize),
) -> Result<(), HistoryError> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let plan = scan_stored(&context.state(), location.store(), &[file])?;
    let mut rows = execute_stream(plan, context.task_ctx())?;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let (segments, marks) = (numbers(&batch, SEGMENT)?, numbers(&batch, ROW)?);
        let mut contents = Contents::new(&batch).ok_or_else(of_other_types)?;
        for row in 0..batch.num_rows() {
            let segment = segments.is_valid(row).then(|| SegmentId(segments.value(row)));
            let mark = marks.is_valid(row).then(|| marks.value(row));
            take(Beside { segment, mark }, &mut contents, row);
        }
    }
    Ok(())
}

/// A column of what is beside rows.
pub(super) fn numbers<'a>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a Int64Array, HistoryError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt());
    column.ok_or_else(of_other_types)
}

/// A file is not of the form that was written.
pub(super) fn of_other_types() -> HistoryError {
    HistoryError::Rows(ArrowError::SchemaError("columns of other types".to_owned()))
}
