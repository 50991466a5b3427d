//! Rows as messages of Flight.
//!
//! Promise: every library reads them: text is plain text, not dictionaries or views, and an answer
//! has the schema that its statement was said to have.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc};
use bytes::{Buf as _, Bytes};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use prost::Message as _;
use tonic::Status;

use super::refusal::refusal;
use crate::query::service::Answer;

/// The columns as clients get them. What is planned and what runs may differ in whether a value can
/// be missing, and clients compare: so any may be.
pub(in crate::query) fn told(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| Field::new(field.name(), told_type(field.data_type()), true);
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// A schema as it stands alone in a message.
pub(super) fn encapsulated(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &options)
        .try_into()
        .map_err(arrow_flight::error::FlightError::from)?;
    Ok(bytes)
}

/// A type as clients get it.
pub(super) fn told_type(data_type: &DataType) -> DataType {
    let item =
        |field: &Arc<Field>| Arc::new(Field::new(field.name(), told_type(field.data_type()), true));
    match data_type {
        DataType::Dictionary(_, value) => told_type(value),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(field) => DataType::List(item(field)),
        DataType::LargeList(field) => DataType::LargeList(item(field)),
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(item(field), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(item).collect()),
        other => other.clone(),
    }
}

/// Writes rows as messages, each with its length before it.
pub(in crate::query) struct MessageWriter {
    out: Vec<u8>,
    generator: IpcDataGenerator,
    tracker: DictionaryTracker,
    options: IpcWriteOptions,
    context: IpcWriteContext,
}

impl MessageWriter {
    /// For batches of this schema, which is written at once: clients want it without rows too.
    pub(in crate::query) fn new(schema: &Schema) -> Self {
        let options = IpcWriteOptions::default();
        let mut writer = Self {
            out: Vec::new(),
            generator: IpcDataGenerator::default(),
            tracker: DictionaryTracker::new(true),
            options: options.clone(),
            context: IpcWriteContext::default(),
        };
        writer.put(&SchemaAsIpc::new(schema, &options).into());
        writer
    }

    /// Writes a batch, which is one message.
    ///
    /// # Errors
    /// When Arrow's format has no form for it.
    pub(in crate::query) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let (tracker, options) = (&mut self.tracker, &self.options);
        let (dictionaries, rows) =
            self.generator.encode(batch, tracker, options, &mut self.context)?;
        for dictionary in dictionaries {
            self.put(&dictionary.into());
        }
        self.put(&rows.into());
        Ok(())
    }

    fn put(&mut self, message: &FlightData) {
        message.encode_length_delimited(&mut self.out).expect("a vector grows");
    }

    /// What is written and not yet taken.
    pub(in crate::query) fn bytes(&self) -> usize {
        self.out.len()
    }

    /// Takes what is written.
    pub(in crate::query) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

/// An answer's messages as they come; an error is the last.
pub(super) fn messages(answer: Answer) -> impl Stream<Item = Result<FlightData, Status>> + Send {
    answer.into_parts().flat_map(|part| {
        let messages = match part {
            Ok(part) => read(part),
            Err(error) => vec![Err(refusal(&error))],
        };
        stream::iter(messages)
    })
}

/// The messages of a part, which share its bytes.
fn read(mut part: Bytes) -> Vec<Result<FlightData, Status>> {
    let mut messages = Vec::new();
    while part.has_remaining() {
        let message = FlightData::decode_length_delimited(&mut part);
        let is_well = message.is_ok();
        messages.push(message.map_err(|error| Status::internal(error.to_string())));
        if !is_well {
            break;
        }
    }
    messages
}

/// A small batch as a whole answer.
pub(super) fn whole(batch: RecordBatch) -> impl Stream<Item = Result<FlightData, Status>> + Send {
    let encoder = FlightDataEncoderBuilder::new().with_schema(batch.schema());
    encoder.build(stream::iter([Ok(batch)])).map_err(Status::from)
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, Int32Array};
    use arrow::compute::cast;
    use arrow::datatypes::Int32Type;
    use arrow_flight::decode::FlightRecordBatchStream;

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_plain() {
        let verbs: DictionaryArray<Int32Type> = ["get", "list", "get"].into_iter().collect();
        let numbers = Int32Array::from(vec![1, 2, 3]);
        let batch = RecordBatch::try_from_iter([
            ("verb", Arc::new(verbs) as arrow::array::ArrayRef),
            ("n", Arc::new(numbers) as _),
        ]);
        let batch = batch.unwrap();
        let schema = told(&batch.schema());
        assert_eq!(schema.field(0).data_type(), &DataType::Utf8);
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()).unwrap());
        let plain = RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap();
        let mut writer = MessageWriter::new(&schema);
        let mut parts = read(writer.take().into());
        assert_eq!(parts.len(), 1, "a schema alone");
        writer.write(&plain).unwrap();
        writer.write(&plain.slice(1, 1)).unwrap();
        assert!(writer.bytes() > 0);
        parts.extend(read(writer.take().into()));
        let messages = stream::iter(parts.into_iter().map(|part| Ok(part.unwrap())));
        let batches: Vec<RecordBatch> =
            FlightRecordBatchStream::new_from_flight_data(messages).try_collect().await.unwrap();
        assert_eq!(batches, [plain.clone(), plain.slice(1, 1)]);
    }
}
