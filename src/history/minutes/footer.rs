//! Counts as a text in the footer of a file: Parquet, in base64.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::tally::{Tally, schema};
use crate::history::error::HistoryError;

/// The name of the text among a footer's.
pub(in crate::history) const KEY: &str = "auditmill.minutes";

/// Counts of more bytes, packed or not, or of more rows, are not read: nothing that we wrote has so
/// many.
const BYTES_MAX: usize = 16 << 20;
const UNPACKED_BYTES_MAX: i64 = 64 << 20;
const ROWS_MAX: usize = 1 << 20;

/// Rows of counts that are read at once.
const BATCH_ROWS: usize = 8_192;

/// The text that tells these counts.
pub(in crate::history) fn written(tally: &Tally) -> Result<String, HistoryError> {
    let rows = tally.rows()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema(), Some(properties))?;
    writer.write(&rows)?;
    Ok(STANDARD.encode(writer.into_inner()?))
}

/// The counts that a file has; `None` of one that has none, or none that can be read.
pub(super) fn read(metadata: &ParquetMetaData) -> Option<RecordBatch> {
    let texts = metadata.file_metadata().key_value_metadata()?;
    let text = texts.iter().find(|text| text.key == KEY)?.value.as_deref()?;
    if text.len() > BYTES_MAX {
        return None;
    }
    let bytes = Bytes::from(STANDARD.decode(text).ok()?);
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).ok()?;
    let rows = usize::try_from(builder.metadata().file_metadata().num_rows()).ok()?;
    let groups = builder.metadata().row_groups().iter();
    let unpacked = groups.map(RowGroupMetaData::total_byte_size).fold(0, i64::saturating_add);
    let is_large = rows > ROWS_MAX || unpacked > UNPACKED_BYTES_MAX;
    if is_large || builder.schema().fields() != schema().fields() {
        return None;
    }
    let batches = builder.with_batch_size(BATCH_ROWS).build().ok()?;
    let batches: Vec<RecordBatch> = batches.collect::<Result<_, _>>().ok()?;
    concat_batches(&schema(), &batches).ok()
}
