//! Handles of statements: all that is known of one, so that nothing is kept for it here.
//!
//! ```text
//! sql          1: text
//! parameters   2: none, or Flight's own messages: a schema, a batch of one row
//! ```
//!
//! Handles are read back from clients: what is in one is nobody's word for anything.

use std::panic::AssertUnwindSafe;

use arrow::array::RecordBatch;
use arrow::ipc::{FieldNode, root_as_message};
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, stream};
use prost::Message;
use tonic::Status;

use super::refusal::shortened;
use crate::query::postgres::parameter::PARAMETERS_MAX;

/// Most that a handle holds of parameters, bytes: it comes back with each call.
const PARAMETERS_BYTES_MAX: usize = 512 << 10;

/// What is said of parameters that the library panics at.
pub(super) const CONTRADICTION: &str = "they contradict themselves";

/// A statement with its parameters.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Handle {
    #[prost(string, tag = "1")]
    pub(super) sql: String,
    #[prost(message, repeated, tag = "2")]
    parameters: Vec<FlightData>,
}

impl Handle {
    /// A statement without parameters.
    pub(super) fn of(sql: &str) -> Self {
        Self { sql: sql.to_owned(), parameters: Vec::new() }
    }

    /// Reads what a client gives back.
    ///
    /// # Errors
    /// When it is no handle.
    pub(super) fn read(bytes: Bytes) -> Result<Self, Status> {
        let message = "that is no handle of this server: prepare the statement again";
        Self::decode(bytes).map_err(|_| Status::invalid_argument(message))
    }

    /// The same statement with the parameters that a client sends.
    ///
    /// # Errors
    /// When they are not one row, too large, or cannot be read.
    pub(super) async fn with_parameters(
        self,
        sent: impl Stream<Item = Result<FlightData, Status>> + Unpin,
    ) -> Result<Self, Status> {
        let (mut sent, mut parameters, mut bytes) = (sent, Vec::new(), 0);
        while let Some(message) = sent.try_next().await? {
            let FlightData { data_header, data_body, .. } = message;
            bytes += data_header.len() + data_body.len();
            if bytes > PARAMETERS_BYTES_MAX {
                let message = format!(
                    "parameters of more than {PARAMETERS_BYTES_MAX} bytes: put values into a \
                     range, a pattern or a join"
                );
                return Err(Status::invalid_argument(message));
            }
            // Some libraries end a stream with a message that says nothing.
            if !data_header.is_empty() {
                parameters.push(FlightData { data_header, data_body, ..FlightData::default() });
            }
        }
        let handle = Self { parameters, ..self };
        handle.row().await?;
        Ok(handle)
    }

    /// The values of `$1`, `$2`, ... as columns of one row; `None` without any.
    ///
    /// # Errors
    /// When they are not one row, or cannot be read.
    pub(super) async fn row(&self) -> Result<Option<RecordBatch>, Status> {
        for message in &self.parameters {
            check(&message.data_header)?;
        }
        // The library takes much of a message for granted, and panics where it is not so.
        let read = AssertUnwindSafe(self.read_row()).catch_unwind().await;
        read.unwrap_or_else(|_| Err(unread(&CONTRADICTION)))
    }

    async fn read_row(&self) -> Result<Option<RecordBatch>, Status> {
        let messages = self.parameters.clone().into_iter().map(Ok::<_, FlightError>);
        let mut batches = FlightRecordBatchStream::new_from_flight_data(stream::iter(messages));
        let mut row: Option<RecordBatch> = None;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| unread(&error))?;
            match (batch.num_rows(), &row) {
                (0, _) => {}
                (1, None) => row = Some(batch),
                _ => {
                    let message = "a statement is asked with one row of parameters at a time";
                    return Err(Status::invalid_argument(message));
                }
            }
        }
        if row.as_ref().is_some_and(|row| row.num_columns() > PARAMETERS_MAX) {
            let message = format!("a statement has at most {PARAMETERS_MAX} parameters");
            return Err(Status::invalid_argument(message));
        }
        Ok(row)
    }
}

/// Refuses what would take memory for more than is there: lengths are believed when it is read.
fn check(header: &[u8]) -> Result<(), Status> {
    let message = root_as_message(header).map_err(|error| unread(&error))?;
    let dictionary = message.header_as_dictionary_batch().and_then(|batch| batch.data());
    for batch in message.header_as_record_batch().into_iter().chain(dictionary) {
        if batch.compression().is_some() {
            return Err(unread(&"send them without compression"));
        }
        let most = i64::try_from(PARAMETERS_BYTES_MAX).unwrap_or(i64::MAX);
        let nodes = batch.nodes().into_iter().flatten().map(FieldNode::length);
        if nodes.chain([batch.length()]).any(|length| !(0..=most).contains(&length)) {
            return Err(unread(&"they say to be longer than they are"));
        }
    }
    Ok(())
}

pub(super) fn unread(error: &dyn std::fmt::Display) -> Status {
    Status::invalid_argument(shortened(format!("parameters cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow_flight::utils::batches_to_flight_data;
    use datafusion::common::ScalarValue;
    use proptest::prelude::*;

    use super::super::value::values;
    use super::*;

    fn sent(numbers: &[i64]) -> Vec<FlightData> {
        let texts: StringArray = numbers.iter().map(|_| Some("x")).collect();
        let batch = RecordBatch::try_from_iter([
            ("0", Arc::new(Int64Array::from(numbers.to_vec())) as _),
            ("1", Arc::new(texts) as _),
        ]);
        let batch = batch.unwrap();
        batches_to_flight_data(&batch.schema(), vec![batch]).unwrap()
    }

    async fn bound(messages: Vec<FlightData>) -> Result<Handle, Status> {
        let messages = stream::iter(messages.into_iter().map(Ok));
        Handle::of("SELECT $1, $2").with_parameters(messages).await
    }

    #[tokio::test]
    async fn a_handle_keeps_one_row() {
        let handle = bound(sent(&[7])).await.unwrap();
        let again = Handle::read(handle.encode_to_vec().into()).unwrap();
        assert_eq!(again.sql, "SELECT $1, $2");
        let values = values(&again).await.unwrap();
        assert_eq!(values, [ScalarValue::from(7_i64), ScalarValue::from("x")]);
        assert_eq!(bound(Vec::new()).await.unwrap().row().await.unwrap(), None);
        for rows in [vec![1, 2], vec![1; 100_000]] {
            let refused = bound(sent(&rows)).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
        }
        assert!(Handle::read(Bytes::from_static(b"\xFF\xFF")).is_err());
    }

    #[tokio::test]
    async fn what_is_packed_or_too_long_is_not_unpacked() {
        let mut packed = sent(&[7]);
        let batch = RecordBatch::try_from_iter([(
            "0",
            Arc::new(StringArray::from(vec!["x".repeat(1_000)])) as _,
        )]);
        let options = arrow::ipc::writer::IpcWriteOptions::default()
            .try_with_compression(Some(arrow::ipc::CompressionType::ZSTD));
        let encoder = arrow_flight::encode::FlightDataEncoderBuilder::new();
        let messages: Vec<FlightData> = encoder
            .with_options(options.unwrap())
            .build(stream::iter([Ok(batch.unwrap())]))
            .try_collect()
            .await
            .unwrap();
        let refused = bound(messages).await.unwrap_err();
        assert!(refused.message().contains("without compression"), "{refused:?}");
        // The last message is the row: its header says how many there are.
        let header = packed.last_mut().unwrap();
        header.data_header = Bytes::from_static(b"no header");
        assert_eq!(bound(packed).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    }

    proptest! {
        /// Whatever is changed in a handle, it is read or refused.
        #[test]
        fn a_changed_handle_harms_nobody(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut bytes = bound(sent(&[7])).await.unwrap().encode_to_vec();
                for (at, byte) in changes {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                if let Ok(handle) = Handle::read(bytes.into()) {
                    let _ = values(&handle).await;
                }
            });
        }
    }
}
