//! What becomes of files: small ones are joined, old ones are let go, and what no version of the
//! table names any more is deleted.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use tracing::warn;

use super::encode::FileWriter;
use super::error::HistoryError;
use super::events::scan_stored;
use super::file::DataFile;
use super::location::Location;
use super::replay::ordering;
use crate::fault::{is_wanted, point};
use crate::proof::statement::File;

/// Files of at least so many bytes are left as they are.
const LARGE_BYTES: u64 = 64 << 20;
/// What is joined has at most so many bytes.
const JOINED_BYTES_MAX: u64 = 128 << 20;
/// So many small files of one cluster and day are joined; the same number is read at a time.
const SMALL_MIN: usize = 8;
const SMALL_MAX: usize = 16;
/// Readers that opened the table before a file was let go have this long to read it.
const GRACE_MICROS: i64 = 3_600_000_000;
/// Where tests kill the process between two files.
const DELETED: &str = "history_deleted";
const DAY_MICROS: i64 = 86_400_000_000;

/// How long and how much is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpkeepSettings {
    /// Days that ended longer ago than this are let go; `None` keeps all.
    pub keep: Option<Duration>,
    /// The oldest days are let go beyond so many bytes of files; `None` keeps all.
    pub bytes_max: Option<u64>,
}

impl UpkeepSettings {
    /// By which rule files are let go.
    pub(super) fn rule(&self) -> String {
        let keep = self.keep.map(|keep| format!("keep {}", humantime::format_duration(keep)));
        let space = self.bytes_max.map(|bytes| format!("space {bytes} B"));
        [keep, space].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Nothing,
    /// Join these, all of one cluster and day.
    Compact(Vec<DataFile>),
    /// Let these go.
    Expire(Vec<DataFile>),
    /// Delete these files, which no version of the table needs.
    Delete(Vec<String>),
    /// Look for files that no version of the table ever named.
    LookForStrays,
}

/// What is remembered of the files that were let go.
#[derive(Debug)]
pub(super) struct Upkeep {
    settings: UpkeepSettings,
    /// Paths with the time at which they may be deleted.
    gone: VecDeque<(i64, String)>,
    now: i64,
    looked: bool,
}

impl Upkeep {
    pub(super) fn new(settings: UpkeepSettings) -> Self {
        Self { settings, gone: VecDeque::new(), now: 0, looked: false }
    }

    /// The most urgent thing to do with these files at the time `now`.
    pub(super) fn plan(&mut self, files: &[DataFile], now: i64) -> Plan {
        self.now = now;
        if !self.looked {
            return Plan::LookForStrays;
        }
        let mut due = Vec::new();
        while let Some((_, path)) = self.gone.pop_front_if(|(at, _)| *at <= now) {
            due.push(path);
        }
        if !due.is_empty() {
            return Plan::Delete(due);
        }
        let old = expired(files, &self.settings, now);
        if !old.is_empty() {
            return Plan::Expire(old);
        }
        small(files).map_or(Plan::Nothing, Plan::Compact)
    }

    /// These were let go just now.
    pub(super) fn removed(&mut self, files: Vec<DataFile>) {
        let at = self.now.saturating_add(grace());
        self.gone.extend(files.into_iter().map(|file| (at, file.path)));
    }

    /// These are not in the table: let go by an earlier run, or written and not committed.
    pub(super) fn found_strays(&mut self, paths: Vec<String>) {
        self.looked = true;
        let at = self.now.saturating_add(grace());
        self.gone.extend(paths.into_iter().map(|path| (at, path)));
    }
}

fn grace() -> i64 {
    if is_wanted(DELETED) { 0 } else { GRACE_MICROS }
}

/// Files of days that are older than is kept, or more than is kept.
fn expired(files: &[DataFile], settings: &UpkeepSettings, now: i64) -> Vec<DataFile> {
    let keep = settings.keep.map(|keep| i64::try_from(keep.as_micros()).unwrap_or(i64::MAX));
    let end_of_day = |file: &DataFile| {
        let day = file.event_time.1.div_euclid(DAY_MICROS);
        day.saturating_add(1).saturating_mul(DAY_MICROS)
    };
    let is_old =
        |file: &&DataFile| keep.is_some_and(|keep| end_of_day(file).saturating_add(keep) < now);
    let mut gone: Vec<DataFile> = files.iter().filter(is_old).cloned().collect();
    let Some(bytes_max) = settings.bytes_max else { return gone };
    let mut days: BTreeMap<&str, Vec<&DataFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| !is_old(file)) {
        days.entry(&file.day).or_default().push(file);
    }
    let mut bytes: u64 = days.values().flatten().map(|file| file.bytes).sum();
    // The newest day stays, however large.
    while bytes > bytes_max
        && days.len() > 1
        && let Some((_, oldest)) = days.pop_first()
    {
        bytes -= oldest.iter().map(|file| file.bytes).sum::<u64>();
        gone.extend(oldest.into_iter().cloned());
    }
    gone
}

/// Small files of one cluster and day that are neighbours in time, enough of them to be joined.
fn small(files: &[DataFile]) -> Option<Vec<DataFile>> {
    let mut parts: BTreeMap<(&str, &str, bool), Vec<&DataFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.bytes < LARGE_BYTES) {
        // Rows that arrived and rows that were imported stay apart: only the first are replayed.
        parts.entry((&file.day, &file.cluster, file.is_import())).or_default().push(file);
    }
    for mut part in parts.into_values() {
        part.sort_by_key(|file| file.event_time);
        let mut bytes = 0;
        let fit = part.into_iter().take(SMALL_MAX).take_while(|file| {
            bytes += file.bytes;
            bytes <= JOINED_BYTES_MAX
        });
        let fit: Vec<DataFile> = fit.cloned().collect();
        if fit.len() >= SMALL_MIN {
            return Some(fit);
        }
    }
    None
}

/// Joins files of one cluster and day into one; the table does not know it yet. The rows of each
/// segment stay in their order.
pub(super) async fn compact(
    location: &Location,
    small: &[DataFile],
) -> Result<(DataFile, File), HistoryError> {
    let partitions = small.len().max(1);
    // Each partition reads one file, whose order is what the merge relies on.
    let config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_batch_size(4_096)
        .set_bool("datafusion.execution.enable_file_stream_work_stealing", false);
    let context = SessionContext::new_with_config(config);
    let files: Vec<&DataFile> = small.iter().collect();
    let plan = scan_stored(&context.state(), location.store(), &files)?;
    let plan = match ordering(&plan, &["event_time", "event_id"])? {
        Some(order) => Arc::new(SortPreservingMergeExec::new(order, plan)),
        None => plan,
    };
    let mut rows = execute_stream(plan, context.task_ctx())?;
    let mut writer = FileWriter::new()?;
    while let Some(batch) = rows.next().await {
        writer.write(&batch?)?;
    }
    let encoded = writer.finish()?;
    let (cluster, day) = small.first().map_or(("", ""), |file| (&file.cluster, &file.day));
    let joined = if small.first().is_some_and(DataFile::is_import) {
        DataFile::imported(cluster, day, &encoded)
    } else {
        DataFile::new(cluster, day, &encoded)
    };
    let file = encoded.file(&joined.path);
    location.put(&joined.path, encoded.bytes).await?;
    Ok((joined, file))
}

/// Deletes files; what cannot be deleted is found again by the next start.
pub(super) async fn delete(location: &Location, paths: Vec<String>) {
    for path in paths {
        let deleted = location.store().delete(&object_store::path::Path::from(path.as_str())).await;
        if let Err(error) = deleted.or_else(|error| match error {
            object_store::Error::NotFound { .. } => Ok(()),
            error => Err(error),
        }) {
            warn!(%path, %error, "an old file of the history is still there");
        }
        point(DELETED);
    }
}

/// Data files of the place that the table does not name.
pub(super) async fn strays(
    location: &Location,
    files: &[DataFile],
) -> Result<Vec<String>, HistoryError> {
    let named: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let mut strays = Vec::new();
    let mut found = location.store().list(None);
    while let Some(object) = found.try_next().await? {
        let path = object.location.as_ref();
        if path.starts_with("cluster=") && !named.contains(path) {
            strays.push(path.to_owned());
        }
    }
    Ok(strays)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(cluster: &str, day: i64, number: i64, bytes: u64) -> DataFile {
        let time = day * DAY_MICROS + number;
        DataFile {
            path: format!("cluster={cluster}/day={day}/{number}.parquet"),
            bytes,
            rows: 1,
            cluster: cluster.to_owned(),
            day: format!("1970-01-{:02}", day + 1),
            event_time: (time, time),
            ingest_time: (time, time),
        }
    }

    #[test]
    fn days_go_whole_by_age_and_by_size_but_the_newest_stays() {
        let files = [file("a", 0, 0, 10), file("a", 1, 0, 10), file("b", 1, 1, 10)];
        let settings = UpkeepSettings { keep: Some(Duration::from_hours(24)), bytes_max: None };
        assert_eq!(expired(&files, &settings, 2 * DAY_MICROS), []);
        assert_eq!(expired(&files, &settings, 2 * DAY_MICROS + 1), [files[0].clone()]);
        let settings = UpkeepSettings { keep: None, bytes_max: Some(29) };
        assert_eq!(expired(&files, &settings, 0), [files[0].clone()]);
        let settings = UpkeepSettings { keep: None, bytes_max: Some(1) };
        assert_eq!(expired(&files, &settings, 0), [files[0].clone()]);
    }

    #[test]
    fn enough_small_files_of_one_cluster_and_day_are_joined() {
        let mut files: Vec<_> = (0..7).map(|number| file("a", 0, number, 10)).collect();
        files.extend((0..9).map(|number| file("b", 0, number, LARGE_BYTES)));
        files.push(file("a", 1, 7, 10));
        assert_eq!(small(&files), None);
        files.push(file("a", 0, 8, 10));
        assert_eq!(small(&files).unwrap().len(), 8);
        for file in files.iter_mut().filter(|file| file.cluster == "a").take(2) {
            file.path = file.path.replace(".parquet", "-import.parquet");
        }
        assert_eq!(small(&files), None, "imported rows are not mixed with others");
        for file in &mut files {
            file.path = file.path.replace("-import", "");
        }
        files.extend((10..40).map(|number| file("a", 0, number, 10)));
        assert_eq!(small(&files).unwrap().len(), SMALL_MAX);
    }

    #[test]
    fn what_was_let_go_is_deleted_after_a_grace() {
        let mut upkeep = Upkeep::new(UpkeepSettings::default());
        assert_eq!(upkeep.plan(&[], 5), Plan::LookForStrays);
        upkeep.found_strays(vec!["stray".to_owned()]);
        assert_eq!(upkeep.plan(&[], 10), Plan::Nothing);
        upkeep.removed(vec![file("a", 0, 0, 1)]);
        let stray = Plan::Delete(vec!["stray".to_owned()]);
        assert_eq!(upkeep.plan(&[], 5 + GRACE_MICROS), stray);
        assert_eq!(upkeep.plan(&[], 6 + GRACE_MICROS), Plan::Nothing);
        assert!(matches!(upkeep.plan(&[], 10 + GRACE_MICROS), Plan::Delete(_)));
    }
}
