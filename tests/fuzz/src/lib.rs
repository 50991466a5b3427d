//! The decoder alone, and what must hold for any bytes.

#[path = "../../../src/event/mod.rs"]
pub mod event;

#[path = "../../../src/decode/mod.rs"]
pub mod decode;

use arrow::record_batch::RecordBatch;
use decode::{Decoder, Delivery, Format, Quarantined};
use event::Rows;

/// Decodes a body with bounds that keep a run fast.
pub fn decode(body: &[u8], format: Format) -> (RecordBatch, Vec<Quarantined>, usize) {
    let mut decoder = Decoder::new();
    decoder.set_format(format);
    decoder.set_unpacked_bytes_max(1 << 20);
    let delivery = Delivery { cluster: "fuzz", source: "file", received_at: 0, body };
    let (mut rows, mut quarantined) = (Rows::new(), Vec::new());
    let count = decoder.decode(&delivery, &mut rows, &mut quarantined);
    assert_eq!(count, rows.len());
    (rows.finish(), quarantined, decoder.take_passed_over())
}

/// A text column that is a dictionary or views.
pub fn text(batch: &RecordBatch, name: &str, row: usize) -> Option<String> {
    use arrow::array::{Array, AsArray};
    let column = batch.column_by_name(name).expect("a column of the table");
    if !column.is_valid(row) {
        return None;
    }
    if let Some(views) = column.as_string_view_opt() {
        return Some(views.value(row).to_owned());
    }
    let keys = column.as_dictionary::<arrow::datatypes::Int32Type>();
    let key = usize::try_from(keys.keys().value(row)).expect("keys count from zero");
    Some(keys.values().as_string::<i32>().value(key).to_owned())
}
