//! What clients of Flight SQL give back and send: handles, and parameters for them.

#[path = "../../../src/query/flight/handle.rs"]
mod handle;

/// Of the program's, what is said of an error.
mod refusal {
    pub(super) fn shortened(message: String) -> String {
        message
    }
}

use arrow::array::Array as _;
use arrow::record_batch::RecordBatch;
use arrow_flight::FlightData;
use bytes::Bytes;
use futures::{FutureExt as _, stream};
use prost::Message as _;

use self::handle::Handle;

/// A handle that a client gives back, read: its length when it is written again, and its row.
pub fn given_back(bytes: &[u8]) -> Option<(usize, Option<RecordBatch>)> {
    let handle = Handle::read(Bytes::copy_from_slice(bytes)).ok()?;
    Some((handle.encode_to_vec().len(), row(&handle)))
}

/// The row of the parameters that a client sends: messages of a header and a body.
pub fn sent(messages: &[(&[u8], &[u8])]) -> Option<RecordBatch> {
    let messages: Vec<_> = messages
        .iter()
        .map(|(header, body)| {
            let (header, body) = (Bytes::copy_from_slice(header), Bytes::copy_from_slice(body));
            Ok(FlightData { data_header: header, data_body: body, ..FlightData::default() })
        })
        .collect();
    // All is there: nothing is waited for.
    let bound = Handle::of("SELECT $1").with_parameters(stream::iter(messages)).now_or_never();
    let bound = bound.expect("nothing is waited for").ok()?;
    let again = Handle::read(bound.encode_to_vec().into()).expect("a handle is read as written");
    assert_eq!(again, bound);
    row(&again)
}

fn row(handle: &Handle) -> Option<RecordBatch> {
    let row = handle.row().now_or_never().expect("nothing is waited for").ok()??;
    assert_eq!(row.num_rows(), 1);
    assert!(row.columns().iter().all(|column| column.len() == 1));
    Some(row)
}
