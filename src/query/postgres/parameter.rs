//! Parameters of statements, from bytes to values of the types that the plan asks for.

use std::collections::BTreeMap;

use bytes::Bytes;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use pgwire::api::Type;

use super::column;
use super::failure::Failure;

/// Most parameters of a statement.
pub(crate) const PARAMETERS_MAX: usize = 1_000;

/// Between 1970, from which we count, and 2000, from which PostgreSQL does.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

/// A parameter as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    /// Its bytes; none is NULL.
    pub(crate) value: Option<Bytes>,
    /// Whether they are the type's binary form.
    pub(crate) binary: bool,
    /// The type that the client was told, or named.
    pub(crate) declared: Type,
}

/// The types of `$1`, `$2`, ... of a plan, as far as it tells.
///
/// # Errors
/// When the plan cannot tell, or they are not numbered.
pub(crate) fn types(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>, DataFusionError> {
    let mut found = BTreeMap::new();
    for (name, data_type) in plan.get_parameter_types()? {
        let number = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
        match number.filter(|number| (1..=PARAMETERS_MAX).contains(number)) {
            Some(number) => found.insert(number, data_type),
            None => {
                return Err(DataFusionError::Plan(format!(
                    "`{name}` is no parameter: they are `$1` to `${PARAMETERS_MAX}`"
                )));
            }
        };
    }
    let last = found.last_key_value().map_or(0, |(number, _)| *number);
    Ok((1..=last).map(|number| found.remove(&number).flatten()).collect())
}

/// The type of a parameter: as the plan says, else as the client does, else text.
pub(crate) fn settled(planned: Option<DataType>, declared: u32) -> DataType {
    let named = || named(declared).unwrap_or(DataType::Utf8);
    planned.filter(|planned| *planned != DataType::Null).unwrap_or_else(named)
}

/// The type that clients are told of a parameter.
pub(super) fn told(data_type: &DataType) -> Type {
    column::type_of(&datafusion::arrow::datatypes::Field::new("p", data_type.clone(), true))
}

impl Parameter {
    /// For people to read: a text as it is, a binary form in hexadecimal digits.
    pub(crate) fn shown(&self) -> Option<String> {
        use std::fmt::Write as _;
        let bytes = self.value.as_ref()?;
        if !self.binary {
            return Some(String::from_utf8_lossy(bytes).into_owned());
        }
        let mut text = String::from("0x");
        for byte in bytes.iter().take(1_000) {
            let _ = write!(text, "{byte:02x}");
        }
        Some(text)
    }

    /// Its value, as near to the type that the plan asks for as it can be.
    ///
    /// # Errors
    /// When the bytes are not of the type that was declared.
    pub(crate) fn value(&self, wanted: &DataType) -> Result<ScalarValue, Failure> {
        let Some(bytes) = &self.value else {
            return Ok(ScalarValue::try_from(wanted).unwrap_or(ScalarValue::Null));
        };
        let value = if self.binary { binary(bytes, &self.declared)? } else { text(bytes)? };
        if value.data_type() == *wanted {
            return Ok(value);
        }
        let text = value.to_string();
        value.cast_to(wanted).map_err(|_| {
            let message = format!("`{text}` is no {}", told(wanted).name());
            Failure::new("22P02", message)
        })
    }
}

fn text(bytes: &Bytes) -> Result<ScalarValue, Failure> {
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|_| Failure::new("22021", "a parameter's text is no UTF-8"))?;
    Ok(ScalarValue::Utf8(Some(text.to_owned())))
}

fn binary(bytes: &Bytes, declared: &Type) -> Result<ScalarValue, Failure> {
    let wrong = || {
        let message = format!("a parameter of {} bytes is no {}", bytes.len(), declared.name());
        Failure::new("22P03", message)
    };
    let eight = || <[u8; 8]>::try_from(bytes.as_ref()).map_err(|_| wrong());
    let four = || <[u8; 4]>::try_from(bytes.as_ref()).map_err(|_| wrong());
    Ok(match *declared {
        Type::BOOL => match bytes.as_ref() {
            [flag] => ScalarValue::Boolean(Some(*flag != 0)),
            _ => return Err(wrong()),
        },
        Type::INT2 => {
            let two = <[u8; 2]>::try_from(bytes.as_ref()).map_err(|_| wrong())?;
            ScalarValue::Int16(Some(i16::from_be_bytes(two)))
        }
        Type::INT4 | Type::OID => ScalarValue::Int32(Some(i32::from_be_bytes(four()?))),
        Type::INT8 => ScalarValue::Int64(Some(i64::from_be_bytes(eight()?))),
        Type::FLOAT4 => ScalarValue::Float32(Some(f32::from_be_bytes(four()?))),
        Type::FLOAT8 => ScalarValue::Float64(Some(f64::from_be_bytes(eight()?))),
        Type::DATE => {
            let days = i32::from_be_bytes(four()?).saturating_add(EPOCH_DAYS);
            ScalarValue::Date32(Some(days))
        }
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            let micros = i64::from_be_bytes(eight()?).saturating_add(EPOCH_MICROS);
            let zone = (*declared == Type::TIMESTAMPTZ).then(|| "UTC".into());
            ScalarValue::TimestampMicrosecond(Some(micros), zone)
        }
        Type::BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON => {
            text(bytes)?
        }
        _ => {
            let message = format!("parameters of type {} are not read", declared.name());
            return Err(Failure::new("0A000", message).hint("send it as text"));
        }
    })
}

/// What a client that names a type means by it.
fn named(oid: u32) -> Option<DataType> {
    Some(match Type::from_oid(oid)? {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 | Type::OID => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::DATE => DataType::Date32,
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => DataType::Utf8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8], declared: Type, binary: bool, wanted: &DataType) -> String {
        let value = Some(Bytes::copy_from_slice(bytes));
        match (Parameter { value, binary, declared }).value(wanted) {
            Ok(value) => format!("{value}"),
            Err(failure) => failure.code.to_owned(),
        }
    }

    #[test]
    fn bytes_become_what_the_plan_asks_for() {
        let times = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(value(b"5", Type::UNKNOWN, false, &DataType::Int64), "5");
        assert_eq!(value(&7_i64.to_be_bytes(), Type::INT8, true, &DataType::Int32), "7");
        assert_eq!(value(b"x", Type::INT8, true, &DataType::Int64), "22P03");
        assert_eq!(value(b"x", Type::UNKNOWN, false, &DataType::Int64), "22P02");
        assert_eq!(value(b"\xFF", Type::TEXT, false, &DataType::Utf8), "22021");
        assert_eq!(value(b"\x01", Type::BOOL, true, &DataType::Boolean), "true");
        assert_eq!(value(b"", Type::NUMERIC, true, &DataType::Int64), "0A000");
        let text = value(b"2000-01-01 00:00:01+00", Type::UNKNOWN, false, &times);
        let binary = value(&1_000_000_i64.to_be_bytes(), Type::TIMESTAMPTZ, true, &times);
        assert_eq!(text, binary);
        let null = Parameter { value: None, binary: false, declared: Type::INT8 };
        assert!(null.value(&DataType::Int64).unwrap().is_null());
    }
}
