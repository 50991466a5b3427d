//! Rows as bytes: JSON, CSV, Arrow IPC, Parquet, written as they come.
//!
//! Never: an answer that was cut short reads as a whole one. JSON lacks its closing bracket, Arrow
//! its end of stream, Parquet its footer; of CSV only the transport tells.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, Writer, WriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::flight::rows::{self, MessageWriter};
use super::postgres::column::{RowWriter, Wanted};
use super::service::QueryError;
use crate::sql::guard::batch_bytes;

/// Rows that are written at a time, so that a part of an answer stays small.
const SLICE_ROWS: usize = 1_024;

/// The same where a part is read as a batch: small ones cost a reader more than they save us.
const BATCH_ROWS: usize = 8_192;

/// About how many bytes of rows are written at a time at most.
const SLICE_BYTES: u64 = 1 << 20;

/// A part is handed on when it has at least so many bytes: an answer smaller than that is whole,
/// and its errors are told by the status, before any of it has gone.
const PART_BYTES: usize = 64 << 10;

/// Parquet is held in memory until a row group has about so many bytes.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// What an answer is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// An array of objects, one a row; NULL is null.
    #[default]
    Json,
    /// RFC 4180 with a header line; NULL is empty; lists and structs as text.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file, compressed with Zstandard.
    Parquet,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Json, Self::Csv, Self::Arrow, Self::Parquet];

    /// Its name in questions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The first that an `Accept` header names, in the order of the header; `None` when it names
    /// none of them.
    pub fn accepted(header: &str) -> Option<Self> {
        header.split(',').find_map(|range| {
            let range = range.split(';').next().unwrap_or_default().trim();
            Self::ALL.into_iter().find(|format| {
                let own = format.media_type().split(';').next().unwrap_or_default();
                range.eq_ignore_ascii_case(own)
            })
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How an answer is written.
#[derive(Clone, Debug)]
pub(super) enum Written {
    /// As a file of this format.
    As(Format),
    /// As messages to a client of PostgreSQL.
    Messages(Wanted),
    /// As messages to a client of Flight, each with its length before it.
    Flight,
}

impl From<ArrowError> for QueryError {
    fn from(error: ArrowError) -> Self {
        Self::Wrong(super::statement::explained(&error.to_string()))
    }
}

impl From<ParquetError> for QueryError {
    fn from(error: ParquetError) -> Self {
        Self::Wrong(error.to_string())
    }
}

/// Writes batches of one schema in one format.
pub(super) struct Encoder {
    schema: SchemaRef,
    out: Out,
}

enum Out {
    Json(Writer<Vec<u8>, JsonArray>),
    Csv { bytes: Vec<u8>, begun: bool },
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
    Messages(Box<RowWriter>),
    Flight(Box<MessageWriter>),
}

impl Encoder {
    /// For batches of this schema.
    ///
    /// # Errors
    /// When a column's type does not fit the format.
    pub(super) fn new(written: &Written, schema: &SchemaRef) -> Result<Self, QueryError> {
        let format = match written {
            Written::As(format) => *format,
            Written::Messages(wanted) => {
                let out = Out::Messages(Box::new(RowWriter::new(wanted, schema)));
                return Ok(Self { schema: Arc::clone(schema), out });
            }
            Written::Flight => {
                let schema = rows::told(schema);
                let out = Out::Flight(Box::new(MessageWriter::new(&schema)));
                return Ok(Self { schema, out });
            }
        };
        let schema = written_schema(format, schema);
        let out = match format {
            Format::Json => {
                Out::Json(WriterBuilder::new().with_explicit_nulls(true).build(Vec::new()))
            }
            Format::Csv => Out::Csv { bytes: Vec::new(), begun: false },
            Format::Arrow => Out::Arrow(Box::new(StreamWriter::try_new(Vec::new(), &schema)?)),
            Format::Parquet => {
                let level = ZstdLevel::try_new(1)?;
                let properties =
                    WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                let writer =
                    ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
                Out::Parquet(Box::new(writer))
            }
        };
        Ok(Self { schema, out })
    }

    /// The batch in pieces that make small parts.
    pub(super) fn slices<'a>(
        &self,
        batch: &'a RecordBatch,
    ) -> impl Iterator<Item = RecordBatch> + use<'a> {
        let rows = batch.num_rows();
        let rows_max = if matches!(self.out, Out::Flight(_)) { BATCH_ROWS } else { SLICE_ROWS };
        // Of wide rows there are fewer in a piece.
        let pieces = usize::try_from(batch_bytes(batch) / SLICE_BYTES).unwrap_or(usize::MAX);
        let step = rows_max.min(rows / pieces.saturating_add(1)).max(1);
        (0..rows).step_by(step).map(move |from| batch.slice(from, step.min(rows - from)))
    }

    /// Writes rows.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns: Result<Vec<ArrayRef>, ArrowError> =
            columns.map(|(column, field)| written(column, field.data_type())).collect();
        let options =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch =
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns?, &options)?;
        match &mut self.out {
            Out::Json(writer) => writer.write(&batch)?,
            Out::Csv { bytes, begun } => {
                write_csv(bytes, !*begun, &batch)?;
                *begun = true;
            }
            Out::Arrow(writer) => writer.write(&batch)?,
            Out::Parquet(writer) => {
                writer.write(&batch)?;
                if writer.in_progress_size() >= ROW_GROUP_BYTES {
                    writer.flush()?;
                }
            }
            Out::Messages(writer) => writer.write(&batch)?,
            Out::Flight(writer) => writer.write(&batch)?,
        }
        Ok(())
    }

    /// What is written and not yet taken, once it is worth handing on.
    pub(super) fn part(&mut self) -> Option<Vec<u8>> {
        let bytes = match &mut self.out {
            Out::Json(writer) => writer.get_mut(),
            Out::Csv { bytes, .. } => bytes,
            Out::Arrow(writer) => writer.get_mut(),
            Out::Parquet(writer) => writer.inner_mut(),
            Out::Messages(writer) => {
                return (writer.bytes() >= PART_BYTES).then(|| writer.take());
            }
            Out::Flight(writer) => {
                return (writer.bytes() >= PART_BYTES).then(|| writer.take());
            }
        };
        (bytes.len() >= PART_BYTES).then(|| std::mem::take(bytes))
    }

    /// The last part.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, QueryError> {
        if matches!(self.out, Out::Csv { begun: false, .. }) {
            // The header is there without rows too.
            self.write(&RecordBatch::new_empty(Arc::clone(&self.schema)))?;
        }
        Ok(match self.out {
            Out::Json(mut writer) => {
                writer.finish()?;
                writer.into_inner()
            }
            Out::Csv { bytes, .. } => bytes,
            Out::Arrow(writer) => writer.into_inner()?,
            Out::Parquet(writer) => writer.into_inner()?,
            Out::Messages(mut writer) => writer.take(),
            Out::Flight(mut writer) => writer.take(),
        })
    }
}

fn write_csv(bytes: &mut Vec<u8>, header: bool, batch: &RecordBatch) -> Result<(), ArrowError> {
    csv::WriterBuilder::new().with_header(header).build(bytes).write(batch)
}

/// The schema as the format has it.
fn written_schema(format: Format, schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        let data_type = match format {
            Format::Csv if field.data_type().is_nested() => DataType::Utf8,
            Format::Json | Format::Csv => field.data_type().clone(),
            Format::Arrow | Format::Parquet => plain(field.data_type()),
        };
        // What an engine noted beside a column is no part of the answer.
        Field::new(field.name(), data_type, field.is_nullable())
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Views as plain text and bytes: readers know those, and a slice of a view drags the whole of its
/// buffers along.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(item) => {
            DataType::List(Arc::new(item.as_ref().clone().with_data_type(plain(item.data_type()))))
        }
        other => other.clone(),
    }
}

fn written(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == data_type {
        return Ok(Arc::clone(column));
    }
    if column.data_type().is_nested() && *data_type == DataType::Utf8 {
        let options = FormatOptions::default().with_null("NULL");
        let text = ArrayFormatter::try_new(column.as_ref(), &options)?;
        let text =
            (0..column.len()).map(|row| column.is_valid(row).then(|| text.value(row).to_string()));
        return Ok(Arc::new(text.collect::<StringArray>()));
    }
    cast(column, data_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_choose_what_they_name_first() {
        let check = |header, expected| assert_eq!(Format::accepted(header), expected, "{header}");
        check("text/csv", Some(Format::Csv));
        check("text/html, application/vnd.apache.arrow.stream;q=0.9", Some(Format::Arrow));
        check("APPLICATION/JSON; charset=utf-8, text/csv", Some(Format::Json));
        check("application/vnd.apache.parquet", Some(Format::Parquet));
        check("*/*", None);
        check("", None);
    }
}
