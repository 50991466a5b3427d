//! Functions that make much out of little, bounded: `repeat`, `lpad`, `generate_series`, ...
//!
//! A query's memory is counted by its operators, not by its functions: one call of `repeat` could
//! ask for more than the machine has, and an allocation that fails ends the process. So what a
//! call would make is worked out first, and a call beyond [`OUTPUT_BYTES_MAX`] is an error.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{cast, max, min};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry as _;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use datafusion::prelude::SessionContext;

use super::concatenation::{self, Concatenation};
use crate::sql::meter::Meter;

/// The most that one call may make of one batch of rows.
const OUTPUT_BYTES_MAX: u64 = 256 << 20;

/// The most that a call of constants may make: its answer stands in every row of a batch.
const CONSTANT_BYTES_MAX: u64 = 16 << 10;

/// A constant is part of the plan, of which there are several while it is made better.
const CONSTANT_COPIES: u64 = 16;

/// A list's item, about.
const ITEM_BYTES: u64 = 16;

/// How many bytes a call of it makes, at most.
type Estimate = fn(&Arguments<'_>) -> Result<u64>;

/// The functions and their bounds.
const BOUNDED: [(&str, Estimate); 18] = [
    ("repeat", |call| Ok(call.bytes(0)?.saturating_mul(call.largest(1)?))),
    ("lpad", |call| Ok(call.rows.saturating_mul(call.largest(1)?).saturating_mul(4))),
    ("rpad", |call| Ok(call.rows.saturating_mul(call.largest(1)?).saturating_mul(4))),
    ("replace", |call| call.replaced()),
    ("regexp_replace", |call| call.replaced()),
    ("translate", |call| Ok(call.bytes(0)?.saturating_mul(4))),
    ("concat", |call| call.all_bytes()),
    ("concat_ws", |call| Ok(call.all_bytes()?.saturating_mul(2))),
    ("overlay", |call| call.all_bytes()),
    ("encode", |call| Ok(call.bytes(0)?.saturating_mul(2))),
    ("array_to_string", |call| call.replaced()),
    ("array_concat", |call| call.all_bytes()),
    ("make_array", |call| call.all_bytes()),
    ("flatten", |call| call.all_bytes()),
    ("array_repeat", |call| {
        let item = call.bytes(0)?.saturating_add(ITEM_BYTES.saturating_mul(call.rows));
        Ok(item.saturating_mul(call.largest(1)?))
    }),
    ("array_resize", |call| {
        let items = call.rows.saturating_mul(call.largest(1)?).saturating_mul(ITEM_BYTES);
        Ok(items.saturating_add(call.all_bytes()?))
    }),
    ("range", |call| call.series()),
    ("generate_series", |call| call.series()),
];

/// Puts the bounds around those of the functions that `context` knows, and around `||`.
///
/// # Errors
/// When `context` refuses to have operators planned.
pub(crate) fn bound(context: &SessionContext, meter: &Arc<Meter>) -> Result<()> {
    for (name, estimate) in BOUNDED {
        // One that the engine has no more needs no bound.
        let inner = context.state().scalar_functions().get(name).cloned();
        if let Some(inner) = inner {
            let meter = Arc::clone(meter);
            context.register_udf(ScalarUDF::from(Bounded { inner, name, estimate, meter }));
        }
    }
    let operator = Concatenation::new(Arc::clone(meter));
    context.clone().register_expr_planner(Arc::new(operator))
}

/// Whether calls of a function of this name are bounded and counted.
pub(in crate::sql) fn is_bounded(name: &str) -> bool {
    name == concatenation::NAME || BOUNDED.iter().any(|(bounded, _)| *bounded == name)
}

/// Counts what a call is about to make; refuses what is too much for one.
pub(super) fn admit(meter: &Meter, name: &str, bytes: u64, constant: bool) -> Result<()> {
    let (bytes_max, copies) =
        if constant { (CONSTANT_BYTES_MAX, CONSTANT_COPIES) } else { (OUTPUT_BYTES_MAX, 1) };
    if bytes > bytes_max {
        return exec_err!(
            "`{name}` would make up to {bytes} bytes at once, more than the {bytes_max} that a \
             function may: give it smaller arguments"
        );
    }
    meter.take(bytes.saturating_mul(copies))
}

/// The arguments of a call.
struct Arguments<'a> {
    values: &'a [ColumnarValue],
    rows: u64,
}

impl Arguments<'_> {
    /// Bytes of an argument over all rows; 0 where there is none.
    fn bytes(&self, place: usize) -> Result<u64> {
        match self.values.get(place) {
            None => Ok(0),
            Some(ColumnarValue::Array(array)) => Ok(content_bytes(array)),
            Some(ColumnarValue::Scalar(value)) => {
                Ok(content_bytes(&value.to_array()?).saturating_mul(self.rows))
            }
        }
    }

    fn all_bytes(&self) -> Result<u64> {
        (0..self.values.len())
            .try_fold(0_u64, |sum, place| Ok(sum.saturating_add(self.bytes(place)?)))
    }

    /// The largest number of an argument; 0 where there is none.
    fn largest(&self, place: usize) -> Result<u64> {
        let (_, largest) = self.extent(place)?;
        Ok(u64::try_from(largest).unwrap_or(0))
    }

    /// The smallest and the largest number of an argument; 0 where there is none.
    fn extent(&self, place: usize) -> Result<(i64, i64)> {
        let Some(value) = self.values.get(place) else { return Ok((0, 0)) };
        let array = match value {
            ColumnarValue::Array(array) => Arc::clone(array),
            ColumnarValue::Scalar(value) => value.to_array()?,
        };
        let numbers = cast(&array, &DataType::Int64)?;
        let numbers: &Int64Array = numbers.as_primitive();
        Ok((min(numbers).unwrap_or(0), max(numbers).unwrap_or(0)))
    }

    /// The longest text of an argument, in bytes.
    fn longest(&self, place: usize) -> Result<u64> {
        Ok(match self.values.get(place) {
            None => 0,
            Some(ColumnarValue::Scalar(value)) => content_bytes(&value.to_array()?),
            Some(ColumnarValue::Array(array)) => longest_text(array),
        })
    }

    /// Every character, and the places before and after it, may become the last text that is given.
    fn replaced(&self) -> Result<u64> {
        let text = self.bytes(0)?.saturating_add(self.rows);
        let by = self.longest(1)?.max(self.longest(2)?);
        Ok(text.saturating_mul(by.saturating_add(1)))
    }

    /// Lists of numbers from the first argument to the second by the third.
    fn series(&self) -> Result<u64> {
        let kind = self.values.first().map(ColumnarValue::data_type);
        if !kind.is_some_and(|kind| kind.is_integer() || kind.is_null()) {
            return exec_err!(
                "lists are made of numbers only: for times write \
                 `FROM generate_series(from, to, INTERVAL '1 hour')`"
            );
        }
        let (first, second) = (self.extent(0)?, self.extent(1)?);
        let (from, to) = if self.values.len() < 2 { ((0, 0), first) } else { (first, second) };
        let length = to.1.abs_diff(from.0).max(to.0.abs_diff(from.1));
        let (step_min, step_max) = if self.values.len() < 3 { (1, 1) } else { self.extent(2)? };
        let step = step_min.unsigned_abs().min(step_max.unsigned_abs()).max(1);
        let items = (length / step).saturating_add(1);
        Ok(items.saturating_mul(self.rows).saturating_mul(ITEM_BYTES))
    }
}

/// What the values hold, without what their buffers hold beside it.
pub(in crate::sql) fn content_bytes(array: &ArrayRef) -> u64 {
    let bytes = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().flatten().map(str::len).sum(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().flatten().map(str::len).sum(),
        DataType::Utf8View => array.as_string_view().iter().flatten().map(str::len).sum(),
        DataType::Dictionary(..) => {
            return longest_text(array).saturating_mul(array.len() as u64);
        }
        _ => array.to_data().get_slice_memory_size().unwrap_or(usize::MAX),
    };
    bytes as u64
}

fn longest_text(array: &ArrayRef) -> u64 {
    let longest = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().flatten().map(str::len).max(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().flatten().map(str::len).max(),
        DataType::Utf8View => array.as_string_view().iter().flatten().map(str::len).max(),
        DataType::Dictionary(..) => {
            return array.as_any_dictionary_opt().map_or(0, |keys| longest_text(keys.values()));
        }
        _ => None,
    };
    longest.unwrap_or(0) as u64
}

/// A function that is called only when what it makes is within the bound.
#[derive(Debug)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    name: &'static str,
    estimate: Estimate,
    meter: Arc<Meter>,
}

// The name alone tells one function from another.
impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Bounded {}

impl std::hash::Hash for Bounded {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows as u64 };
        let bytes = (self.estimate)(&Arguments { values: &args.args, rows })?;
        admit(&self.meter, self.name, bytes, constant)?;
        self.inner.invoke_with_args(args)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;

    use super::*;

    async fn run(sql: &str) -> Result<usize, String> {
        let context = SessionContext::new();
        let meter = Arc::new(Meter::new(Arc::clone(&context.runtime_env().memory_pool)));
        bound(&context, &meter).unwrap();
        let plan = context.sql(sql).await.map_err(|error| error.to_string())?;
        let batches = plan.collect().await.map_err(|error| error.to_string())?;
        Ok(batches.iter().map(RecordBatch::num_rows).sum())
    }

    #[tokio::test]
    async fn what_is_small_is_made() {
        for sql in [
            "SELECT repeat('ab', 1000), 'a' || v FROM (VALUES ('a'), (NULL)) AS t(v)",
            "SELECT lpad('x', 10, 'yz'), rpad(v, 3) FROM (VALUES ('a'), (NULL)) AS t(v)",
            "SELECT replace('banana', 'an', 'AN'), regexp_replace('a1', '[0-9]', 'N', 'g')",
            "SELECT concat('a', 'b', 1), concat_ws(',', 'a', NULL, 'b'), encode('a', 'hex')",
            "SELECT array_repeat('x', 3), array_resize([1, 2], 5, 0), array_concat([1], [2])",
            "SELECT range(10), range(0, 10, 2), generate_series(10, 0, -1), range(0, NULL)",
            "SELECT array_to_string([1, 2, 3], ','), [1, 2], flatten([[1], [2]])",
        ] {
            run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }

    #[tokio::test]
    async fn what_is_enormous_is_refused_before_it_is_made() {
        for sql in [
            "SELECT repeat('ab', 1000000000)",
            "SELECT repeat(v, n) FROM (VALUES ('a', 1), ('b', 4000000000)) AS t(v, n)",
            "SELECT lpad('x', 1000000000)",
            "SELECT replace(repeat('a', 9000), 'a', repeat('b', 9000))",
            "SELECT regexp_replace(repeat('a', 9000), '', repeat('b', 9000), 'g')",
            "SELECT replace(repeat(v, 90000), 'a', repeat(v, 90000)) FROM (VALUES ('a')) AS t(v)",
            "SELECT range(0, 1000000000000)",
            "SELECT generate_series(1, 1000000000000)",
            "SELECT generate_series(n, 9000000000000000000) FROM (VALUES (1), (-5)) AS t(n)",
            "SELECT array_repeat(1, 1000000000000)",
            "SELECT array_resize([1], 1000000000000, 1)",
        ] {
            let error = run(sql).await.expect_err(sql);
            assert!(error.contains("would make up to"), "{sql}: {error}");
        }
    }
}
