//! `over: findings`: what other detections found, as rows that a windowed query reads.
//!
//! A finding is one row, at the time of its first event. Revised, its row is another; withdrawn,
//! it is gone: the windows that held it are asked again. Findings of such detections are not read
//! by them, so that there are no cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, RecordBatch, StringViewArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use serde_json::Value as Json;

use super::detection::Window;
use super::finding::{Finding, Status};
use super::row::Row;
use super::value::Value;

/// What a finding is about, as columns: of its row, else of its key, else NULL.
const ABOUT: [&str; 13] = [
    "user_name",
    "impersonated_user",
    "credential_id",
    "source_ip",
    "user_agent",
    "verb",
    "resource",
    "subresource",
    "namespace",
    "name",
    "pod_name",
    "node_name",
    "request_uri",
];

/// The table `findings` as detections see it. `event_time` and `event_id` are the finding's time
/// and id again: the evidence of a chain is findings.
pub(crate) fn findings_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let text = |name: &str| Field::new(name, DataType::Utf8View, true);
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let time = |name: &str| Field::new(name, time.clone(), true);
        let mut fields = vec![time("event_time"), text("event_id"), text("audit_id")];
        fields.extend(["id", "detection", "title", "severity", "cluster"].map(text));
        fields.extend(["first_seen", "last_seen"].map(time));
        fields.push(Field::new("count", DataType::UInt64, true));
        fields.extend(["summary", "attack", "controls", "key", "row"].map(text));
        fields.extend(ABOUT.map(text));
        Arc::new(Schema::new(fields))
    });
    Arc::clone(&SCHEMA)
}

/// Findings as rows of that table.
///
/// # Errors
/// Never, unless the columns do not fit the schema.
fn rows<'a>(
    findings: &(impl Iterator<Item = &'a Finding> + Clone),
) -> Result<RecordBatch, ArrowError> {
    let texts = |text: &dyn Fn(&Finding) -> Option<String>| -> ArrayRef {
        Arc::new(findings.clone().map(text).collect::<StringViewArray>())
    };
    let times = |time: &dyn Fn(&Finding) -> Option<i64>| -> ArrayRef {
        let times: TimestampMicrosecondArray = findings.clone().map(time).collect();
        Arc::new(times.with_timezone("UTC"))
    };
    let id = |finding: &Finding| Some(finding.id.clone());
    let json = |values: &Row| {
        let object = values.iter().map(|(name, value)| (name.to_owned(), value.to_json()));
        Some(Json::Object(object.collect()).to_string())
    };
    let list = |values: &[String]| Some(Json::from(values.to_vec()).to_string());
    let mut columns = vec![
        times(&|finding| time(finding)),
        texts(&id),
        texts(&|_| None),
        texts(&id),
        texts(&|finding| Some(finding.detection.id.clone())),
        texts(&|finding| Some(finding.detection.title.clone())),
        texts(&|finding| Some(finding.detection.severity.to_string())),
        texts(&|finding| Some(finding.cluster.clone())),
        times(&|finding| time(finding)),
        times(&|finding| finding.evidence.last().map(|event| event.event_time)),
        Arc::new(findings.clone().map(|f| Some(f.evidence.count())).collect::<UInt64Array>()),
        texts(&|finding| Some(finding.summary())),
        texts(&|finding| list(&finding.detection.attack)),
        texts(&|finding| list(&finding.detection.controls)),
        texts(&|finding| json(&finding.key)),
        texts(&|finding| json(&finding.row)),
    ];
    for name in ABOUT {
        columns.push(texts(
            &|finding| match finding.row.get(name).or_else(|| finding.key.get(name)) {
                None | Some(Value::Null) => None,
                Some(value) => Some(value.to_string()),
            },
        ));
    }
    RecordBatch::try_new(findings_schema(), columns)
}

/// When a finding is: its first event.
fn time(finding: &Finding) -> Option<i64> {
    finding.evidence.first().map(|event| event.event_time)
}

/// The findings of one cluster that windows may hold.
#[derive(Debug)]
pub(crate) struct FindingsBuffer {
    window: Window,
    /// Time of each finding, by its id.
    times: BTreeMap<String, i64>,
    rows: BTreeMap<(i64, String), RecordBatch>,
    bytes: usize,
    dropped_to: i64,
}

impl FindingsBuffer {
    pub(crate) fn new(window: Window) -> Self {
        let (times, rows) = (BTreeMap::new(), BTreeMap::new());
        Self { window, times, rows, bytes: 0, dropped_to: i64::MIN }
    }

    /// Takes findings in that are new or changed. Returns the panes that changed.
    pub(crate) fn upsert(&mut self, findings: &[Finding]) -> Result<BTreeSet<i64>, ArrowError> {
        let mut panes = BTreeSet::new();
        for finding in findings {
            if let Some(before) = self.times.remove(&finding.id) {
                panes.insert(self.window.pane(before));
                self.remove(&(before, finding.id.clone()));
            }
            if let (Status::Open, Some(time)) = (finding.status, time(finding)) {
                let row = rows(&std::iter::once(finding))?;
                self.bytes += row.get_array_memory_size();
                self.rows.insert((time, finding.id.clone()), row);
                self.times.insert(finding.id.clone(), time);
                panes.insert(self.window.pane(time));
            }
        }
        Ok(panes)
    }

    /// As [`super::buffer::Buffer::window`].
    pub(crate) fn window(&self, end: i64) -> Option<Vec<RecordBatch>> {
        let start = end.saturating_sub(self.window.length);
        if start < self.dropped_to {
            return None;
        }
        let within = self.rows.range((start, String::new())..(end, String::new()));
        let rows: Vec<&RecordBatch> = within.map(|(_, row)| row).collect();
        let joined = concat_batches(&findings_schema(), rows).ok()?;
        Some(vec![joined])
    }

    /// Forgets findings before a time.
    pub(crate) fn forget(&mut self, first: i64) {
        while let Some(((time, _), _)) = self.rows.first_key_value()
            && *time < first
        {
            self.drop_first();
        }
    }

    /// As [`super::buffer::Buffer::cap`].
    pub(crate) fn cap(&mut self, bytes_max: usize) -> bool {
        let mut capped = false;
        while self.bytes > bytes_max
            && let Some(time) = self.drop_first()
        {
            self.dropped_to = time.saturating_add(1);
            capped = true;
        }
        capped
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn drop_first(&mut self) -> Option<i64> {
        let (at, _) = self.rows.first_key_value()?;
        let at = at.clone();
        self.times.remove(&at.1);
        self.remove(&at);
        Some(at.0)
    }

    fn remove(&mut self, at: &(i64, String)) {
        if let Some(row) = self.rows.remove(at) {
            self.bytes = self.bytes.saturating_sub(row.get_array_memory_size());
        }
    }
}
