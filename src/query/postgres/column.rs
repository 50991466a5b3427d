//! Columns of answers as PostgreSQL has them, and their rows as `DataRow` or `CopyData`.
//!
//! Promise: what has no type there is text, and never a reason not to answer.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_pg::datatypes::into_pg_type;
use arrow_pg::row_encoder::RowEncoder;
use bytes::{BufMut as _, BytesMut};
use pgwire::api::Type;
use pgwire::api::results::{FieldFormat, FieldInfo};

use super::reply;
use crate::query::service::QueryError;

/// Beside an `Int32` column that holds numbers of the catalogue.
pub(super) const OID: (&str, &str) = ("pg.oid_alias", "oid");

/// How rows are wanted.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// `DataRow`, its columns in these formats (none: text, one: for all), a `RowDescription`
    /// before the first where it is asked for.
    Rows { formats: Vec<i16>, described: bool },
    /// `CopyData` of text, or of CSV with or without a header.
    Copy(Copied),
}

/// How COPY writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    Text,
    Csv { header: bool },
}

/// The column as it is sent, in Arrow's types: those that PostgreSQL has too.
fn sent(data_type: &DataType) -> DataType {
    match data_type {
        // Counts; whoever asks for them wants a number that every client can add up.
        DataType::UInt64 | DataType::UInt32 => DataType::Int64,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt8 | DataType::Int8 => DataType::Int16,
        DataType::Float16 => DataType::Float32,
        DataType::Dictionary(_, value) => sent(value),
        DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::List(item) if !sent(item.data_type()).is_nested() => {
            DataType::List(Arc::new(Field::new_list_field(sent(item.data_type()), true)))
        }
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32
        | DataType::Timestamp(..)
        | DataType::Time64(_)
        | DataType::Interval(_)
        | DataType::Decimal128(..) => data_type.clone(),
        _ => DataType::Utf8,
    }
}

/// The type that clients are told.
pub(super) fn type_of(field: &Field) -> Type {
    if field.metadata().get(OID.0).is_some_and(|kind| kind == OID.1) {
        return Type::OID;
    }
    into_pg_type(&sent(field.data_type())).unwrap_or(Type::TEXT)
}

/// The columns of an answer.
pub(super) fn fields(schema: &Schema, formats: &[i16]) -> Vec<FieldInfo> {
    let format = |at: usize| match formats {
        [] => FieldFormat::Text,
        [one] => FieldFormat::from(*one),
        each => each.get(at).map_or(FieldFormat::Text, |format| FieldFormat::from(*format)),
    };
    let field = |(at, field): (usize, &Arc<Field>)| {
        FieldInfo::new(field.name().clone(), None, None, type_of(field), format(at))
    };
    schema.fields().iter().enumerate().map(field).collect()
}

/// Writes rows as they are wanted.
pub(crate) struct RowWriter {
    schema: SchemaRef,
    #[expect(clippy::rc_buffer, reason = "the encoder's own type")]
    fields: Arc<Vec<FieldInfo>>,
    copied: Option<Copied>,
    out: BytesMut,
}

impl RowWriter {
    /// For batches of this schema.
    pub(crate) fn new(wanted: &Wanted, schema: &Schema) -> Self {
        let formats = match wanted {
            Wanted::Rows { formats, .. } => formats.as_slice(),
            Wanted::Copy(_) => &[],
        };
        let fields = Arc::new(fields(schema, formats));
        let column = |field: &Arc<Field>| {
            let metadata = field.metadata().clone();
            Field::new(field.name(), sent(field.data_type()), true).with_metadata(metadata)
        };
        let schema = Schema::new(schema.fields().iter().map(column).collect::<Vec<_>>());
        let mut out = BytesMut::new();
        let mut copied = None;
        match wanted {
            Wanted::Rows { described: true, .. } => reply::columns(&mut out, &fields),
            Wanted::Rows { described: false, .. } => {}
            Wanted::Copy(form) => {
                reply::copy_out(&mut out, fields.len());
                copied = Some(*form);
                if *form == (Copied::Csv { header: true }) {
                    let names: Vec<_> = fields.iter().map(|field| Some(field.name())).collect();
                    copy_line(&mut out, *form, &names);
                }
            }
        }
        Self { schema: Arc::new(schema), fields, copied, out }
    }

    /// Writes the rows of a batch.
    ///
    /// # Errors
    /// When a value does not fit the type that clients were told.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| converted(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        if let Some(form) = self.copied {
            return self.copy(form, &columns, batch.num_rows());
        }
        if columns.is_empty() {
            let empty = |out: &mut BytesMut| out.put_i16(0);
            (0..batch.num_rows()).for_each(|_| reply::message(&mut self.out, b'D', empty));
            return Ok(());
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let mut rows = RowEncoder::new(batch, Arc::clone(&self.fields));
        while let Some(row) = rows.next_row() {
            let row = row.map_err(|error| QueryError::Wrong(error.to_string()))?;
            reply::message(&mut self.out, b'D', |out| {
                out.put_i16(row.field_count);
                out.put_slice(&row.data);
            });
        }
        Ok(())
    }

    fn copy(&mut self, form: Copied, columns: &[ArrayRef], rows: usize) -> Result<(), QueryError> {
        let options = FormatOptions::default();
        let texts: Result<Vec<_>, ArrowError> =
            columns.iter().map(|column| ArrayFormatter::try_new(column, &options)).collect();
        let texts = texts?;
        for row in 0..rows {
            let value = |(column, text): (&ArrayRef, &ArrayFormatter<'_>)| {
                column.is_valid(row).then(|| text.value(row).to_string())
            };
            let values: Vec<_> = columns.iter().zip(&texts).map(value).collect();
            copy_line(&mut self.out, form, &values);
        }
        Ok(())
    }

    /// What is written and not yet taken.
    pub(crate) fn bytes(&self) -> usize {
        self.out.len()
    }

    /// Takes what is written.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.out.split().into()
    }
}

/// One line as `CopyData`.
fn copy_line(out: &mut BytesMut, form: Copied, values: &[Option<impl AsRef<str>>]) {
    reply::message(out, b'd', |out| {
        for (at, value) in values.iter().enumerate() {
            let value = value.as_ref().map(AsRef::as_ref);
            match form {
                Copied::Text => {
                    if at > 0 {
                        out.put_u8(b'\t');
                    }
                    copy_text(out, value);
                }
                Copied::Csv { .. } => {
                    if at > 0 {
                        out.put_u8(b',');
                    }
                    copy_csv(out, value);
                }
            }
        }
        out.put_u8(b'\n');
    });
}

fn copy_text(out: &mut BytesMut, value: Option<&str>) {
    let Some(value) = value else { return out.put_slice(b"\\N") };
    for byte in value.bytes() {
        match byte {
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            _ => out.put_u8(byte),
        }
    }
}

/// NULL is nothing, an empty text is `""`.
fn copy_csv(out: &mut BytesMut, value: Option<&str>) {
    let Some(value) = value else { return };
    let plain = !value.is_empty() && !value.contains(['"', ',', '\n', '\r']);
    if plain {
        return out.put_slice(value.as_bytes());
    }
    out.put_u8(b'"');
    out.put_slice(value.replace('"', "\"\"").as_bytes());
    out.put_u8(b'"');
}

fn converted(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, QueryError> {
    if column.data_type() == to {
        return Ok(Arc::clone(column));
    }
    let strict = CastOptions { safe: false, format_options: FormatOptions::default() };
    let textual = matches!(
        column.data_type(),
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null | DataType::Dictionary(..)
    );
    if *to == DataType::Utf8 && !textual {
        let options = FormatOptions::default();
        let text = ArrayFormatter::try_new(column.as_ref(), &options)?;
        let text =
            (0..column.len()).map(|row| column.is_valid(row).then(|| text.value(row).to_string()));
        return Ok(Arc::new(text.collect::<StringArray>()));
    }
    cast_with_options(column, to, &strict).map_err(|error| {
        QueryError::Wrong(format!("{error}: ask for the column with CAST(... AS TEXT)"))
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, DictionaryArray, Int32Array, ListArray, TimestampMicrosecondArray,
        UInt64Array,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    /// The values of each row as text.
    fn rows(batch: &RecordBatch) -> Vec<Vec<Option<String>>> {
        let wanted = Wanted::Rows { formats: vec![], described: false };
        let mut writer = RowWriter::new(&wanted, &batch.schema());
        writer.write(batch).unwrap();
        let bytes = writer.take();
        let (mut rows, mut rest) = (Vec::new(), &bytes[..]);
        let int = |bytes: &[u8]| i32::from_be_bytes(bytes[..4].try_into().unwrap());
        while let [b'D', message @ ..] = rest {
            let length = usize::try_from(int(message)).unwrap();
            let (mut values, mut row) = (&message[6..length], Vec::new());
            while !values.is_empty() {
                let length = int(values);
                values = &values[4..];
                row.push(usize::try_from(length).ok().map(|length| {
                    let (value, after) = values.split_at(length);
                    values = after;
                    String::from_utf8(value.to_vec()).unwrap()
                }));
            }
            rows.push(row);
            rest = &message[length..];
        }
        assert!(rest.is_empty());
        rows
    }

    #[test]
    fn every_type_has_a_text() {
        let words: DictionaryArray<Int32Type> = [Some("get"), None].into_iter().collect();
        let lists =
            ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
        let times = TimestampMicrosecondArray::from(vec![Some(1_500_000), None]);
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("word", Arc::new(words) as ArrayRef, true),
            ("list", Arc::new(lists) as ArrayRef, true),
            ("time", Arc::new(times.with_timezone("UTC")) as ArrayRef, true),
            ("flag", Arc::new(BooleanArray::from(vec![Some(true), None])) as ArrayRef, true),
            ("count", Arc::new(UInt64Array::from(vec![Some(7), None])) as ArrayRef, true),
        ])
        .unwrap();
        let types: Vec<_> = batch.schema().fields().iter().map(|field| type_of(field)).collect();
        let expected = [Type::TEXT, Type::INT4_ARRAY, Type::TIMESTAMPTZ, Type::BOOL, Type::INT8];
        assert_eq!(types, expected);
        let rows = rows(&batch);
        let first: Vec<_> = rows[0].iter().map(|value| value.as_deref().unwrap()).collect();
        assert_eq!(first, ["get", "{1,NULL}", "1970-01-01 00:00:01.500000+00", "t", "7"]);
        assert_eq!(rows[1], [None, None, None, None, None]);
    }

    #[test]
    fn a_number_that_does_not_fit_is_an_error() {
        let column = Arc::new(UInt64Array::from(vec![u64::MAX])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let wanted = Wanted::Rows { formats: vec![], described: true };
        let error = RowWriter::new(&wanted, &batch.schema()).write(&batch).unwrap_err();
        assert!(error.to_string().contains("CAST"), "{error}");
    }

    #[test]
    fn copies_are_escaped() {
        let column = Arc::new(StringArray::from(vec![Some("a\t\"\n"), None, Some("")])) as ArrayRef;
        let number = Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("t", column), ("n", number)]).unwrap();
        let text = |form| {
            let mut writer = RowWriter::new(&Wanted::Copy(form), &batch.schema());
            writer.write(&batch).unwrap();
            String::from_utf8_lossy(&writer.take()).into_owned()
        };
        let plain = text(Copied::Text);
        assert!(plain.contains("a\\t\"\\n\t1\n") && plain.contains("\\N\t2\n"), "{plain}");
        let csv = text(Copied::Csv { header: true });
        for line in ["t,n\n", "\"a\t\"\"\n\",1\n", ",2\n", "\"\",3\n"] {
            assert!(csv.contains(line), "{csv}");
        }
    }
}
