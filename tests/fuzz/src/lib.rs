//! The parts of the program that read bytes of others, and what must hold for any of them.

// What the program calls `arrow`: of all of it, what rows are made with. The rest would be most of
// a build.
extern crate self as arrow;

/// Of `arrow`.
pub mod array {
    pub use arrow_array::builder::*;
    pub use arrow_array::cast::*;
    pub use arrow_array::*;
}

/// Of `arrow`.
pub mod datatypes {
    pub use arrow_array::types::*;
    pub use arrow_schema::*;
}

/// Of `arrow`.
pub mod ipc {
    pub use arrow_ipc::*;
}

/// Of `arrow`.
pub mod record_batch {
    pub use arrow_array::RecordBatch;
}

/// The program's, but for `seen`, which computes on rows.
pub mod event;

#[path = "../../../src/decode/mod.rs"]
pub mod decode;

#[path = "../../../src/proof/mod.rs"]
pub mod proof;

#[path = "../../../src/journal/mod.rs"]
pub mod journal;

#[path = "../../../src/detect/detection/mod.rs"]
pub mod detection;

/// Of the program's, what front matter may name.
pub mod sql;

/// What clients of PostgreSQL say.
#[path = "../../../src/query/postgres/message.rs"]
pub mod message;

/// What clients of Flight SQL give back and send.
pub mod flight;

/// Of the program's, what these are bounded by.
pub mod query {
    /// Of the program's.
    pub mod postgres {
        /// Of the program's.
        pub mod parameter {
            /// As many parameters as a statement may have.
            pub(crate) const PARAMETERS_MAX: usize = 1_000;
        }
    }
}

/// The journal's files, in memory.
pub mod disk;

/// What the journal's format says about a file's bytes.
pub mod segments;

use std::cell::RefCell;

use arrow::record_batch::RecordBatch;
use decode::{Decoder, Delivery, Format, Quarantined};
use event::Rows;

thread_local! {
    /// Kept from input to input: making its builders takes longer than most inputs.
    static ROWS: RefCell<Rows> = RefCell::new(Rows::new());
}

/// Decodes a body with bounds that keep a run fast.
pub fn decode(body: &[u8], format: Format) -> (RecordBatch, Vec<Quarantined>, usize) {
    let mut decoder = Decoder::new();
    decoder.set_format(format);
    decoder.set_unpacked_bytes_max(1 << 20);
    let delivery = Delivery { cluster: "fuzz", source: "file", received_at: 0, body };
    let mut quarantined = Vec::new();
    let rows = ROWS.with_borrow_mut(|rows| {
        let count = decoder.decode(&delivery, rows, &mut quarantined);
        assert_eq!(count, rows.len());
        rows.finish()
    });
    (rows, quarantined, decoder.take_passed_over())
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
