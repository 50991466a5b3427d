//! Rows -> the bytes of one Parquet file.
//!
//! Dictionary columns go straight through, columns of unique text are not tried as dictionaries,
//! bodies have no statistics, and the needles that analysts look for have bloom filters. Ids stay
//! text: a table that every reader opens has no 16-byte type, and compressed they take 16 bytes
//! all the same.
//!
//! Beside the table's columns a file has `_segment`: with which commit a row came ([`SegmentId`]),
//! and `_row`: its number there, and a mark of its content ([`Marks`]). Readers of the table do not
//! see them; files from before have none. The footer tells how many events there were in each
//! minute (`minutes`).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch};
use arrow::compute::{SortColumn, lexsort_to_indices, max, min, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::error::HistoryError;
use super::file::DataFile;
use super::minutes::{self, Tally};
use crate::event::schema::{COLUMNS, Form, events_schema};
use crate::event::time::rfc3339;
use crate::proof::mark::Marks;
use crate::proof::row::Contents;
use crate::proof::statement::{File, Segment, SegmentId};
use crate::proof::tree::{Frontier, Hash};

/// The column that says with which commit a row came; it is no column of the table.
pub(super) const SEGMENT: &str = "_segment";
/// The column of its number among the rows of its segment, with a mark of its content.
pub(super) const ROW: &str = "_row";
/// Columns whose values are looked for one by one.
const NEEDLES: [&str; 5] = ["event_id", "audit_id", "user_name", "source_ip", "name"];
/// Text that is different in nearly each row.
const UNIQUE: [&str; 8] = [
    "event_id",
    "audit_id",
    "object_uid",
    "request_uri",
    "user_extra",
    "request_object",
    "response_object",
    "other",
];
/// Text that is too long for a smallest and a largest value to mean anything.
const WITHOUT_STATISTICS: [&str; 7] = [
    "request_uri",
    "user_extra",
    "annotations",
    "response_message",
    "request_object",
    "response_object",
    "other",
];
/// Rows of a row group: what one bloom filter and one pair of smallest and largest values cover.
const GROUP_ROWS: usize = 131_072;
/// How many wrong answers a bloom filter may give.
const FALSE_POSITIVES: f64 = 0.01;

/// One file, not yet written.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) rows: u64,
    /// Smallest and largest, microseconds.
    pub(super) event_time: (i64, i64),
    pub(super) ingest_time: (i64, i64),
    /// The hash of the tree of its rows, where they are of one segment.
    pub(super) root: Hash,
    /// The hash of their marks, likewise.
    pub(super) marks: Option<Hash>,
}

impl Encoded {
    /// The file under this path, as it is told of.
    pub(super) fn file(&self, path: &str) -> File {
        let bytes = self.bytes.len() as u64;
        File { path: path.to_owned(), bytes, sha256: Hash::of(&self.bytes) }
    }

    /// The segment that it is, of which so many rows were redacted.
    pub(super) fn segment(&self, id: SegmentId, file: &DataFile, redacted: u64) -> Segment {
        Segment {
            id,
            cluster: file.cluster.clone(),
            day: file.day.clone(),
            rows: self.rows,
            redacted,
            events: (rfc3339(self.event_time.0), rfc3339(self.event_time.1)),
            root: self.root,
            marks: self.marks,
            file: self.file(&file.path),
        }
    }
}

/// The columns of the table that a file has: all but the cluster, which is in its path.
pub(super) fn file_schema() -> SchemaRef {
    let schema = events_schema();
    let fields = schema.fields().iter().filter(|field| field.name() != "cluster");
    Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
}

/// All columns of a file.
pub(super) fn stored_schema() -> SchemaRef {
    let schema = file_schema();
    let fields = schema.fields().iter().cloned().chain(beside());
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns that are none of the table.
fn beside() -> [Arc<Field>; 2] {
    [SEGMENT, ROW].map(|name| Arc::new(Field::new(name, DataType::Int64, true)))
}

/// Rows of one cluster, not none, as a file sorted by time: they are this segment.
pub(super) fn encode(rows: &RecordBatch, segment: SegmentId) -> Result<Encoded, HistoryError> {
    let sort = |name: &str| {
        let values = Arc::clone(rows.column(rows.schema().index_of(name)?));
        Ok::<_, HistoryError>(SortColumn { values, options: None })
    };
    let order = lexsort_to_indices(&[sort("event_time")?, sort("event_id")?], None)?;
    let rows = take_record_batch(rows, &order)?;
    let (mut root, mut marks) = (Frontier::default(), Marks::default());
    let wrong = || ArrowError::SchemaError("rows are not of the events table".to_owned());
    let mut contents = Contents::new(&rows).ok_or_else(wrong)?;
    for row in 0..rows.num_rows() {
        let hash = contents.hash(row);
        root.push(hash);
        marks.push(hash);
    }
    let mut file = FileWriter::new()?;
    let segments = Int64Array::from_value(segment.0, rows.num_rows());
    let (numbers, marks) = marks.finish();
    let beside: [ArrayRef; 2] = [Arc::new(segments), Arc::new(Int64Array::from(numbers))];
    file.write(&with_beside(&rows, beside)?)?;
    Ok(Encoded { root: root.root(), marks: Some(marks), ..file.finish()? })
}

fn with_beside(rows: &RecordBatch, values: [ArrayRef; 2]) -> Result<RecordBatch, HistoryError> {
    let fields = rows.schema_ref().fields().iter().cloned().chain(beside());
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let columns = rows.columns().iter().cloned().chain(values).collect();
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// A file that is being made.
pub(super) struct FileWriter {
    writer: ArrowWriter<Vec<u8>>,
    minutes: Tally,
    rows: u64,
    event_time: (i64, i64),
    ingest_time: (i64, i64),
}

impl FileWriter {
    /// An empty file.
    pub(super) fn new() -> Result<Self, HistoryError> {
        let writer = ArrowWriter::try_new(Vec::new(), stored_schema(), Some(properties()?))?;
        let none = (i64::MAX, i64::MIN);
        let minutes = Tally::default();
        Ok(Self { writer, minutes, rows: 0, event_time: none, ingest_time: none })
    }

    /// Adds rows with their segments; they come sorted by time, then by id.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<(), HistoryError> {
        let schema = rows.schema();
        let wanted = stored_schema();
        let indices = wanted.fields().iter().map(|field| schema.index_of(field.name()));
        let rows = rows.project(&indices.collect::<Result<Vec<_>, _>>()?)?;
        self.rows += rows.num_rows() as u64;
        self.minutes.add(&rows)?;
        widen(&mut self.event_time, &rows, "event_time");
        widen(&mut self.ingest_time, &rows, "ingest_time");
        Ok(self.writer.write(&rows)?)
    }

    /// The whole file.
    pub(super) fn finish(self) -> Result<Encoded, HistoryError> {
        let Self { mut writer, minutes, rows, event_time, ingest_time } = self;
        let counts = minutes::written(&minutes)?;
        writer.append_key_value_metadata(KeyValue::new(minutes::KEY.to_owned(), counts));
        let (bytes, root) = (writer.into_inner()?, Frontier::default().root());
        Ok(Encoded { bytes, rows, event_time, ingest_time, root, marks: None })
    }
}

fn widen(extent: &mut (i64, i64), rows: &RecordBatch, name: &str) {
    let column = rows.column_by_name(name);
    let column = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    if let Some((smallest, largest)) = column.and_then(|column| Some((min(column)?, max(column)?)))
    {
        *extent = (extent.0.min(smallest), extent.1.max(largest));
    }
}

fn properties() -> Result<WriterProperties, HistoryError> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_created_by(concat!("auditmill ", env!("CARGO_PKG_VERSION")).to_owned());
    // Nobody looks for one; what is random in them is no shorter as a dictionary.
    let row = ColumnPath::from(ROW);
    properties = properties
        .set_column_dictionary_enabled(row.clone(), false)
        .set_column_encoding(row.clone(), Encoding::DELTA_BINARY_PACKED)
        .set_column_statistics_enabled(row, EnabledStatistics::None);
    for column in &COLUMNS {
        let path = ColumnPath::from(column.name);
        if UNIQUE.contains(&column.name) {
            properties = properties.set_column_dictionary_enabled(path.clone(), false);
        }
        if column.form == Form::Time {
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED);
        }
        if WITHOUT_STATISTICS.contains(&column.name) {
            let none = EnabledStatistics::None;
            properties = properties.set_column_statistics_enabled(path.clone(), none);
        }
        if NEEDLES.contains(&column.name) {
            properties = properties
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_fpp(path.clone(), FALSE_POSITIVES)
                .set_column_bloom_filter_max_ndv(path, ndv(column.form));
        }
    }
    Ok(properties.build())
}

/// About how many different values of a needle a row group has.
fn ndv(form: Form) -> u64 {
    match form {
        Form::Text => GROUP_ROWS as u64,
        _ => 4_096,
    }
}
