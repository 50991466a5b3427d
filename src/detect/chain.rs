//! `over: findings`: what other detections found, as rows that a windowed query reads.
//!
//! A finding is one row, at the time of its first event. Revised, its row is another; withdrawn,
//! it is gone: the windows that held it are asked again, unless all that changed is what the query
//! does not read, as the number of events mostly is. Findings of such detections are not read by
//! them, so that there are no cycles.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, RecordBatch, RecordBatchOptions, StringViewArray, TimestampMicrosecondArray,
    UInt32Array, UInt64Array, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use serde_json::Value as Json;

use super::detection::Window;
use super::finding::{Finding, Status};
use super::index::column::truths;
use super::intake::{Expressions, Intake, Outputs};
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

/// Findings that are new or changed, the last word on each, as detections are told of them.
pub(crate) struct Told {
    /// Those that are open, as rows of [`findings_schema`].
    rows: RecordBatch,
    /// Time and id of each row.
    open: Vec<(i64, String)>,
    /// Ids of those that are not.
    closed: Vec<String>,
}

impl Told {
    /// Columns that are not wanted are NULL.
    ///
    /// # Errors
    /// Never, unless the columns do not fit the schema.
    pub(crate) fn of(findings: &[Finding], wanted: &BTreeSet<&str>) -> Result<Self, ArrowError> {
        let (mut last, mut open, mut closed) = (HashSet::new(), Vec::new(), Vec::new());
        for finding in findings.iter().rev().filter(|finding| last.insert(finding.id.as_str())) {
            match (finding.status, time(finding)) {
                (Status::Open, Some(time)) => open.push((time, finding)),
                _ => closed.push(finding.id.clone()),
            }
        }
        let rows = rows(&open.iter().map(|(_, finding)| *finding), wanted)?;
        let open = open.into_iter().map(|(time, finding)| (time, finding.id.clone())).collect();
        Ok(Self { rows, open, closed })
    }
}

/// Findings as rows of that table, as far as its columns are wanted.
fn rows<'a>(
    findings: &(impl Iterator<Item = &'a Finding> + Clone),
    wanted: &BTreeSet<&str>,
) -> Result<RecordBatch, ArrowError> {
    let texts = |text: &dyn Fn(&Finding) -> Option<String>| -> ArrayRef {
        Arc::new(findings.clone().map(text).collect::<StringViewArray>())
    };
    let times = |time: &dyn Fn(&Finding) -> Option<i64>| -> ArrayRef {
        let times: TimestampMicrosecondArray = findings.clone().map(time).collect();
        Arc::new(times.with_timezone("UTC"))
    };
    let json = |values: &Row| {
        let object = values.iter().map(|(name, value)| (name.to_owned(), value.to_json()));
        Some(Json::Object(object.collect()).to_string())
    };
    let list = |values: &[String]| Some(Json::from(values.to_vec()).to_string());
    let schema = findings_schema();
    let rows = findings.clone().count();
    let column = |field: &Arc<Field>| match field.name().as_str() {
        name if !wanted.contains(name) => new_null_array(field.data_type(), rows),
        "event_time" | "first_seen" => times(&time),
        "last_seen" => times(&|finding| finding.evidence.last().map(|event| event.event_time)),
        "event_id" | "id" => texts(&|finding| Some(finding.id.clone())),
        "audit_id" => new_null_array(field.data_type(), rows),
        "detection" => texts(&|finding| Some(finding.detection.id.clone())),
        "title" => texts(&|finding| Some(finding.detection.title.clone())),
        "severity" => texts(&|finding| Some(finding.detection.severity.to_string())),
        "cluster" => texts(&|finding| Some(finding.cluster.clone())),
        "count" => {
            Arc::new(findings.clone().map(|f| Some(f.evidence.count())).collect::<UInt64Array>())
        }
        "summary" => texts(&|finding| Some(finding.summary())),
        "attack" => texts(&|finding| list(&finding.detection.attack)),
        "controls" => texts(&|finding| list(&finding.detection.controls)),
        "key" => texts(&|finding| json(&finding.key)),
        "row" => texts(&|finding| json(&finding.row)),
        about => texts(&|finding| {
            let value = finding.row.get(about).or_else(|| finding.key.get(about))?;
            (!matches!(value, Value::Null)).then(|| value.to_string())
        }),
    };
    let columns = schema.fields().iter().map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
}

/// When a finding is: its first event.
fn time(finding: &Finding) -> Option<i64> {
    finding.evidence.first().map(|event| event.event_time)
}

/// What a detection reads of findings: which of them, and which of their columns.
#[derive(Debug)]
pub(crate) struct Feed {
    conditions: Expressions,
    outputs: Outputs,
    /// Of its columns, to rows that are compact and can be compared.
    converter: RowConverter,
}

impl Feed {
    /// Of conditions over [`findings_schema`] and of what is made of the rows that pass.
    ///
    /// # Errors
    /// When DataFusion cannot plan the conditions.
    pub(crate) fn new(context: &SessionContext, intake: Intake) -> Result<Self> {
        let Intake { conditions, outputs } = intake;
        let conditions = Expressions::over(context, &findings_schema(), &conditions)?;
        let fields = outputs.schema();
        let fields = fields.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        Ok(Self { conditions, outputs, converter })
    }

    /// The columns of findings that it reads, some of them twice.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.conditions.columns().chain(self.outputs.columns())
    }

    /// The findings that matter: place among those told, and row.
    fn rows(&self, told: &Told) -> Result<Vec<(u32, OwnedRow)>> {
        let all = UInt32Array::from_iter_values((0..).take(told.open.len()));
        let kept = match self.matching(told, &all) {
            Ok(kept) => UInt32Array::from(kept),
            // The query asks all of it again; a row that makes it fail is told of there.
            Err(_) => all,
        };
        let rows = self.outputs.of(&told.rows, &kept)?;
        let rows = self.converter.convert_columns(rows.columns())?;
        Ok(kept.values().iter().copied().zip(rows.iter().map(|row| row.owned())).collect())
    }

    fn matching(&self, told: &Told, all: &UInt32Array) -> Result<Vec<u32>> {
        let mut kept: Vec<u32> = all.values().to_vec();
        for values in self.conditions.of(&told.rows, all)? {
            let holds = truths(&values)?;
            kept.retain(|row| holds.get(*row as usize).copied().unwrap_or_default());
        }
        Ok(kept)
    }
}

/// Bytes that a finding takes besides its id, twice, and its row.
const FINDING_BYTES: usize = 200;

/// The findings of one cluster that windows may hold, as far as they are read.
#[derive(Debug)]
pub(crate) struct FindingsBuffer {
    window: Window,
    feed: Arc<Feed>,
    /// Time of each finding, by its id.
    times: HashMap<String, i64>,
    rows: BTreeMap<(i64, String), OwnedRow>,
    bytes: usize,
    dropped_to: i64,
}

impl FindingsBuffer {
    pub(crate) fn new(window: Window, feed: Arc<Feed>) -> Self {
        let (times, rows) = (HashMap::new(), BTreeMap::new());
        Self { window, feed, times, rows, bytes: 0, dropped_to: i64::MIN }
    }

    /// Takes findings in that are new or changed. Returns the panes in which something changed
    /// that is read.
    pub(crate) fn upsert(&mut self, told: &Told) -> Result<BTreeSet<i64>> {
        let mut panes = BTreeSet::new();
        let mut rows = self.feed.rows(told)?.into_iter().peekable();
        for (place, (time, id)) in (0..).zip(&told.open) {
            let Some((_, row)) = rows.next_if(|(of, _)| *of == place) else {
                panes.extend(self.take_back(id));
                continue;
            };
            let at = (*time, id.clone());
            if self.rows.get(&at).is_some_and(|before| before.row() == row.row()) {
                continue;
            }
            panes.extend(self.take_back(id));
            panes.insert(self.window.pane(*time));
            self.bytes += bytes(&at, &row);
            self.times.insert(id.clone(), *time);
            self.rows.insert(at, row);
        }
        for id in &told.closed {
            panes.extend(self.take_back(id));
        }
        Ok(panes)
    }

    /// Forgets what was said of a finding; gives its pane if there was anything.
    fn take_back(&mut self, id: &str) -> Option<i64> {
        let (id, time) = self.times.remove_entry(id)?;
        self.remove(&(time, id));
        Some(self.window.pane(time))
    }

    /// As [`super::buffer::Buffer::window`].
    pub(crate) fn window(&self, end: i64) -> Option<Vec<RecordBatch>> {
        let start = end.saturating_sub(self.window.length);
        if start < self.dropped_to {
            return None;
        }
        let within = self.rows.range((start, String::new())..(end, String::new()));
        let rows: Vec<_> = within.map(|(_, row)| row.row()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = self.feed.converter.convert_rows(rows).ok()?;
        let schema = self.feed.outputs.schema();
        Some(vec![RecordBatch::try_new_with_options(schema, columns, &options).ok()?])
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
            self.bytes = self.bytes.saturating_sub(bytes(at, &row));
        }
    }
}

fn bytes((_, id): &(i64, String), row: &OwnedRow) -> usize {
    FINDING_BYTES + 2 * id.len() + row.row().data().len()
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::super::catalog::Catalog;
    use super::super::compiled::Slot;
    use super::super::engine::{Engine, EngineSettings};
    use super::*;
    use crate::event::rows::{EventRow, Rows};
    use crate::sql::context::session;

    const MINUTE: i64 = 60_000_000;
    const WINDOW: Window = Window { length: 60 * MINUTE, slide: 60 * MINUTE };

    /// What a query reads of findings.
    fn feed(sql: &str) -> Arc<Feed> {
        let slot = Slot::new(findings_schema());
        let context = session().unwrap();
        context.register_table("findings", slot.table().unwrap()).unwrap();
        let runtime = Builder::new_current_thread().build().unwrap();
        let plan = runtime.block_on(context.state().create_logical_plan(sql)).unwrap();
        let intake = Intake::over(&context, &findings_schema(), &plan).unwrap();
        Arc::new(Feed::new(&context, intake.unwrap()).unwrap())
    }

    /// Findings of so many names, one after the other, each twice: of its first event, and of both.
    fn findings(names: i64) -> [Vec<Finding>; 2] {
        let text = "/*\nid: ONE\ntitle: t\nseverity: low\nkey: [name]\ndescribe: \"{{name}}\"\n*/\n\
                    SELECT name, user_agent FROM events";
        let catalog = Catalog::from_texts([("one.sql".to_owned(), text.to_owned())]).unwrap();
        let mut engine = Engine::new(&catalog, EngineSettings::default()).unwrap();
        [0, 1].map(|round| {
            let mut rows = Rows::new();
            for name in 0..names {
                rows.push(&EventRow {
                    cluster: "c",
                    event_id: &format!("{name}-{round}"),
                    event_time: name + round,
                    name: Some(&format!("an object of some length {name}")),
                    user_agent: Some("a program of some length"),
                    ..EventRow::default()
                });
            }
            engine.on_batch(&rows.finish(), 0).findings
        })
    }

    fn told(findings: &[Finding], feed: &Feed) -> Told {
        Told::of(findings, &feed.columns().collect()).unwrap()
    }

    #[test]
    fn only_what_is_read_is_a_change() {
        let [first, second] = findings(1);
        let start = "SELECT event_time, event_id, cluster, name";
        for (rest, panes) in [
            (" FROM findings WHERE detection = 'ONE'", [1, 0]),
            (", count FROM findings WHERE detection = 'ONE'", [1, 1]),
            (", last_seen FROM findings", [1, 1]),
            (" FROM findings WHERE detection = 'OTHER'", [0, 0]),
            (" FROM findings WHERE count >= 2", [0, 1]),
        ] {
            let feed = feed(&format!("{start}{rest}"));
            let mut buffer = FindingsBuffer::new(WINDOW, Arc::clone(&feed));
            let changed =
                [&first, &second].map(|of| buffer.upsert(&told(of, &feed)).unwrap().len());
            assert_eq!(changed, panes, "{rest}");
        }
    }

    #[test]
    fn what_is_withdrawn_is_gone() {
        let [first, _] = findings(2);
        let feed = feed("SELECT event_time, event_id, cluster, name FROM findings");
        let mut buffer = FindingsBuffer::new(WINDOW, Arc::clone(&feed));
        buffer.upsert(&told(&first, &feed)).unwrap();
        let withdrawn = Finding { status: Status::Withdrawn, ..first[0].clone() };
        // The last word counts.
        let words = [first[0].clone(), withdrawn];
        assert_eq!(buffer.upsert(&told(&words, &feed)).unwrap().len(), 1);
        let rows = buffer.window(60 * MINUTE).unwrap();
        assert_eq!(rows[0].num_rows(), 1);
        assert!(buffer.upsert(&told(&words, &feed)).unwrap().is_empty(), "it was gone before");
    }

    #[test]
    fn thousands_of_findings_take_little() {
        let [first, _] = findings(5_000);
        let feed = feed("SELECT event_time, event_id, cluster, name, summary FROM findings");
        let mut buffer = FindingsBuffer::new(WINDOW, Arc::clone(&feed));
        for some in first.chunks(100) {
            buffer.upsert(&told(some, &feed)).unwrap();
        }
        assert!(buffer.bytes() < 5_000 * 1_000, "{} bytes", buffer.bytes());
        assert!(!buffer.cap(8 << 20));
        assert_eq!(buffer.window(60 * MINUTE).unwrap()[0].num_rows(), 5_000);
        assert!(buffer.cap(1 << 20), "it does not all fit into that");
        assert!(buffer.bytes() <= 1 << 20);
        assert!(buffer.window(60 * MINUTE).is_none(), "who lacks rows says nothing");
    }
}
