//! A file of the table, as its log describes it.

use std::collections::HashMap;

use deltalake_core::kernel::{Add, LogicalFileView, Remove};
use serde::{Deserialize, Serialize};

use super::encode::Encoded;
use crate::event::time::{parse_rfc3339, rfc3339};

/// Microseconds that a time in a log's statistics may lack: they are in milliseconds.
const CUT_OFF: i64 = 999;
/// How the name of a file ends whose rows were imported.
const IMPORTED: &str = "-import.parquet";

/// One file and what is known of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataFile {
    /// Relative to the table.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    pub(crate) cluster: String,
    /// `YYYY-MM-DD` of event time, UTC.
    pub(crate) day: String,
    /// Smallest and largest, microseconds.
    pub(crate) event_time: (i64, i64),
    pub(crate) ingest_time: (i64, i64),
}

/// Statistics of a file, of the form that readers of Delta tables use.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statistics {
    num_records: u64,
    min_values: Times,
    max_values: Times,
    #[serde(default)]
    null_count: HashMap<String, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Times {
    event_time: String,
    ingest_time: String,
}

impl DataFile {
    /// A new file of a cluster and a day.
    pub(super) fn new(cluster: &str, day: &str, encoded: &Encoded) -> Self {
        Self::named(cluster, day, encoded, ".parquet")
    }

    /// A new file of a cluster and a day, of rows that were imported.
    pub(super) fn imported(cluster: &str, day: &str, encoded: &Encoded) -> Self {
        Self::named(cluster, day, encoded, IMPORTED)
    }

    /// Whether its rows were imported: they came from old logs, when nothing was listening.
    pub(super) fn is_import(&self) -> bool {
        self.path.ends_with(IMPORTED)
    }

    fn named(cluster: &str, day: &str, encoded: &Encoded, suffix: &str) -> Self {
        let name = format!("{}-{:016x}{suffix}", encoded.event_time.0, fastrand::u64(..));
        Self {
            path: format!("cluster={cluster}/day={day}/{name}"),
            bytes: encoded.bytes.len() as u64,
            rows: encoded.rows,
            cluster: cluster.to_owned(),
            day: day.to_owned(),
            event_time: encoded.event_time,
            ingest_time: encoded.ingest_time,
        }
    }

    /// A file as the log has it; `None` when it is not one of ours.
    pub(super) fn of(view: &LogicalFileView) -> Option<Self> {
        let mut partition = view.partition_values_map();
        let statistics: Statistics = serde_json::from_str(&view.stats()?).ok()?;
        let (min, max) = (&statistics.min_values, &statistics.max_values);
        let extent = |min: &str, max: &str| {
            Some((parse_rfc3339(min)?, parse_rfc3339(max)?.saturating_add(CUT_OFF)))
        };
        Some(Self {
            path: view.path().into_owned(),
            bytes: u64::try_from(view.size()).ok()?,
            rows: statistics.num_records,
            cluster: partition.remove("cluster")??,
            day: partition.remove("day")??,
            event_time: extent(&min.event_time, &max.event_time)?,
            ingest_time: extent(&min.ingest_time, &max.ingest_time)?,
        })
    }

    /// The log's entry that adds this file.
    pub(super) fn add(&self, now: i64, data_change: bool) -> Add {
        let times = |event_time: i64, ingest_time: i64| Times {
            event_time: milliseconds(event_time),
            ingest_time: milliseconds(ingest_time),
        };
        let statistics = Statistics {
            num_records: self.rows,
            min_values: times(self.event_time.0, self.ingest_time.0),
            max_values: times(self.event_time.1, self.ingest_time.1),
            null_count: [("event_time".to_owned(), 0), ("ingest_time".to_owned(), 0)].into(),
        };
        Add {
            path: self.path.clone(),
            partition_values: self.partition(),
            size: i64::try_from(self.bytes).unwrap_or(i64::MAX),
            modification_time: now / 1_000,
            data_change,
            stats: serde_json::to_string(&statistics).ok(),
            ..Add::default()
        }
    }

    /// The log's entry that removes this file.
    pub(super) fn remove(&self, now: i64, data_change: bool) -> Remove {
        Remove {
            path: self.path.clone(),
            data_change,
            deletion_timestamp: Some(now / 1_000),
            extended_file_metadata: Some(true),
            partition_values: Some(self.partition()),
            size: i64::try_from(self.bytes).ok(),
            ..Remove::default()
        }
    }

    fn partition(&self) -> HashMap<String, Option<String>> {
        let pair = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        [pair("cluster", &self.cluster), pair("day", &self.day)].into()
    }
}

/// RFC 3339 in whole milliseconds, rounded down.
fn milliseconds(micros: i64) -> String {
    rfc3339(micros.div_euclid(1_000).saturating_mul(1_000))
}
