//! A file of the table against what was said of it: its bytes first, and only of the file that was
//! written the rows.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use sha2::{Digest as _, Sha256};

use super::encode::SEGMENT;
use super::error::{HistoryError, is_away};
use super::events::scan_stored;
use super::file::DataFile;
use super::location::Location;
use super::log::Log;
use super::verify::{Asked, Report};
use crate::proof::account::{Account, Held};
use crate::proof::problem::{Kind, Problem};
use crate::proof::row::Contents;
use crate::proof::statement::SegmentId;
use crate::proof::tree::{Frontier, Hash};

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
    let hash = match hash(location, path).await {
        Ok(hash) => hash,
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
        report.tell(problem(Kind::FileChanged, what));
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

async fn hash(location: &Location, path: &str) -> Result<Hash, object_store::Error> {
    let mut bytes = location.store().get(&Path::from(path)).await?.into_stream();
    let mut hash = Sha256::new();
    while let Some(part) = bytes.try_next().await? {
        hash.update(&part);
    }
    Ok(Hash(hash.finalize().into()))
}

/// That the rows of each segment in a file are those that came with it.
async fn check_rows(
    location: &Location,
    account: &Account,
    file: &DataFile,
    held: &Held,
    report: &mut Report,
) -> Result<(), HistoryError> {
    let mut trees: BTreeMap<SegmentId, Frontier> = BTreeMap::new();
    let mut uncovered = 0_u64;
    each_row(location, file, |segment, contents, row| match segment {
        Some(segment) => trees.entry(segment).or_default().push(contents.hash(row)),
        None => uncovered += 1,
    })
    .await?;
    let path = &file.path;
    let mut wrong = |segment: SegmentId, leaf, what: String| {
        let problem = Problem::new(Kind::RowsChanged, what).of_file(path);
        report.tell(problem.of_segment(segment).of_leaf(leaf));
    };
    let mut rows = 0;
    for segment in &held.segments {
        let (tree, made) = (trees.remove(segment).unwrap_or_default(), account.segment(*segment));
        let Some(made) = made else { continue };
        let (leaf, found, came) = (made.leaf, tree.size(), made.rows);
        if found != came {
            let what = format!("`{path}` has {found} rows of segment {segment}, and {came} came");
            wrong(*segment, leaf, what);
        } else if tree.root() != made.root {
            let (from, to) = (&made.events.0, &made.events.1);
            let what = format!(
                "rows of segment {segment} in `{path}` are not those that came: one of {found} \
                 events of {from} to {to}"
            );
            wrong(*segment, leaf, what);
        } else {
            rows += found;
        }
    }
    for (segment, tree) in trees {
        let what = format!("`{path}` has {} rows of segment {segment} too many", tree.size());
        wrong(segment, None, what);
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

/// Gives each row of a file in its order, with the segment that it came with.
pub(super) async fn each_row(
    location: &Location,
    file: &DataFile,
    mut take: impl FnMut(Option<SegmentId>, &mut Contents<'_>, usize),
) -> Result<(), HistoryError> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let plan = scan_stored(&context.state(), location.store(), &[file])?;
    let mut rows = execute_stream(plan, context.task_ctx())?;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let segments = batch.column_by_name(SEGMENT);
        let segments = segments.and_then(|array| array.as_primitive_opt::<Int64Type>());
        let Some((segments, mut contents)) = segments.zip(Contents::new(&batch)) else {
            return Err(HistoryError::Rows(arrow::error::ArrowError::SchemaError(
                "columns of other types".to_owned(),
            )));
        };
        for row in 0..batch.num_rows() {
            let segment = segments.is_valid(row).then(|| SegmentId(segments.value(row)));
            take(segment, &mut contents, row);
        }
    }
    Ok(())
}
