//! Partial aggregates: one for each aggregate of the query, key and pane.
//!
//! The few that detections are made of are our own, small and exact for every order. For the rest
//! DataFusion's accumulators add up a batch and hand over their state, which is kept and merged:
//! they are never asked twice.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringViewArray, UInt32Array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::distinct::{Distinct, Union};

/// How an aggregate is added up.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Rows, or rows whose argument is not NULL.
    Count,
    /// Distinct values.
    CountDistinct,
    /// Of whole numbers; wraps around, as DataFusion's does.
    Sum,
    /// Of whole numbers and times.
    Extreme(Extreme),
    /// Of texts.
    TextExtreme(Extreme),
    /// Any of the truth values, or all of them.
    Truth(Extreme),
    /// DataFusion's own.
    Other(Arc<AggregateFunctionExpr>),
}

/// Which end counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extreme {
    Min,
    Max,
}

impl Extreme {
    fn of<T: Ord>(self, kept: T, other: T) -> T {
        match self {
            Self::Min => kept.min(other),
            Self::Max => kept.max(other),
        }
    }
}

/// One aggregate of a query.
#[derive(Debug)]
pub(crate) struct Aggregate {
    pub(crate) kind: Kind,
    /// Columns of the intake that are its arguments; none for `count(*)`.
    pub(crate) arguments: Vec<usize>,
    /// The column of the intake that says which rows count.
    pub(crate) filter: Option<usize>,
    /// Its result's type.
    pub(crate) data_type: DataType,
}

/// What one aggregate has come to.
#[derive(Clone, Debug)]
pub(crate) enum Partial {
    Count(i64),
    Distinct(Distinct),
    Number(Option<i64>),
    Text(Option<Box<str>>),
    Truth(Option<bool>),
    Other(Option<Box<[ScalarValue]>>),
}

/// A batch's argument of one aggregate, ready to be read row by row.
pub(crate) enum Input {
    /// `count(*)`.
    Rows,
    /// Whether it is NULL.
    Nulls(ArrayRef),
    /// Hash of each value that is not NULL.
    Hashes(Vec<Option<u64>>),
    Numbers(ArrayRef),
    Texts(ArrayRef),
    Truths(ArrayRef),
    Other(Vec<ArrayRef>),
}

impl Aggregate {
    /// What no rows come to.
    pub(crate) fn empty(&self) -> Partial {
        match &self.kind {
            Kind::Count => Partial::Count(0),
            Kind::CountDistinct => Partial::Distinct(Distinct::default()),
            Kind::Sum | Kind::Extreme(_) => Partial::Number(None),
            Kind::TextExtreme(_) => Partial::Text(None),
            Kind::Truth(_) => Partial::Truth(None),
            Kind::Other(_) => Partial::Other(None),
        }
    }

    /// Makes its arguments of a batch ready.
    pub(crate) fn input(&self, batch: &RecordBatch, seed: &RandomState) -> Result<Input> {
        let arguments: Vec<&ArrayRef> =
            self.arguments.iter().filter_map(|at| batch.columns().get(*at)).collect();
        let Some(first) = arguments.first().copied() else { return Ok(Input::Rows) };
        Ok(match &self.kind {
            Kind::Count => Input::Nulls(Arc::clone(first)),
            Kind::CountDistinct => Input::Hashes(hashes(first, seed)?),
            Kind::Sum | Kind::Extreme(_) => Input::Numbers(cast(first, &DataType::Int64)?),
            Kind::TextExtreme(_) => Input::Texts(cast(first, &DataType::Utf8View)?),
            Kind::Truth(_) => Input::Truths(Arc::clone(first)),
            Kind::Other(_) => Input::Other(arguments.into_iter().cloned().collect()),
        })
    }

    /// Takes in one row of a batch, if it is one of ours.
    pub(crate) fn add(&self, partial: &mut Partial, input: &Input, row: usize) {
        match (partial, input) {
            (Partial::Count(count), Input::Rows) => *count += 1,
            (Partial::Count(count), Input::Nulls(array)) => {
                // A dictionary's values may be NULL too.
                *count += i64::from(!array.is_null(row) && !null_value(array, row));
            }
            (Partial::Distinct(distinct), Input::Hashes(hashes)) => {
                if let Some(hash) = hashes.get(row).copied().flatten() {
                    distinct.insert(hash);
                }
            }
            (Partial::Number(kept), Input::Numbers(array)) if !array.is_null(row) => {
                let value = array.as_primitive::<Int64Type>().value(row);
                *kept = Some(kept.map_or(value, |kept| self.number(kept, value)));
            }
            (Partial::Text(kept), Input::Texts(array)) if !array.is_null(row) => {
                let value = array.as_string_view().value(row);
                if kept.as_deref().is_none_or(|kept| self.better_text(kept, value)) {
                    *kept = Some(value.into());
                }
            }
            (Partial::Truth(kept), Input::Truths(array)) if !array.is_null(row) => {
                let value = array.as_boolean().value(row);
                *kept = Some(kept.map_or(value, |kept| self.truth(kept, value)));
            }
            _ => {}
        }
    }

    /// Whether it takes in [several rows](Self::add_rows) at once: DataFusion's own.
    pub(crate) fn is_other(&self) -> bool {
        matches!(self.kind, Kind::Other(_))
    }

    /// Takes in rows of a batch, all of one key and pane.
    pub(crate) fn add_rows(
        &self,
        partial: &mut Partial,
        input: &Input,
        rows: &UInt32Array,
    ) -> Result<()> {
        if let (Partial::Other(kept), Input::Other(arrays)) = (partial, input) {
            let arguments = arrays.iter().map(|array| take(array, rows, None));
            let added = self.state_of(&arguments.collect::<Result<Vec<_>, _>>()?)?;
            *kept = Some(match kept.take() {
                Some(kept) => self.merged(&[kept, added])?,
                None => added,
            });
        }
        Ok(())
    }

    /// What the partials of several panes come to together. `seen` is room to count in.
    pub(crate) fn sum<'a>(
        &self,
        partials: impl Iterator<Item = &'a Partial> + Clone,
        seen: &mut Union,
    ) -> Result<Partial> {
        if matches!(self.kind, Kind::CountDistinct) {
            let sets = partials.filter_map(|partial| match partial {
                Partial::Distinct(distinct) => Some(distinct),
                _ => None,
            });
            return Ok(Partial::Count(whole(Distinct::len_of(sets, seen))));
        }
        let mut sum = self.empty();
        for partial in partials {
            self.merge(&mut sum, partial)?;
        }
        Ok(sum)
    }

    /// Puts another pane's partial to this one.
    fn merge(&self, into: &mut Partial, other: &Partial) -> Result<()> {
        match (into, other) {
            (Partial::Count(count), Partial::Count(other)) => *count += other,
            (Partial::Number(kept), Partial::Number(Some(other))) => {
                *kept = Some(kept.map_or(*other, |kept| self.number(kept, *other)));
            }
            (Partial::Text(kept), Partial::Text(Some(other)))
                if kept.as_deref().is_none_or(|kept| self.better_text(kept, other)) =>
            {
                *kept = Some(other.clone());
            }
            (Partial::Truth(kept), Partial::Truth(Some(other))) => {
                *kept = Some(kept.map_or(*other, |kept| self.truth(kept, *other)));
            }
            (Partial::Other(kept), Partial::Other(Some(other))) => {
                *kept = Some(match kept.take() {
                    Some(kept) => self.merged(&[kept, other.clone()])?,
                    None => other.clone(),
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// The aggregate's values, as a column of its type.
    pub(crate) fn column(&self, partials: Vec<Partial>) -> Result<ArrayRef> {
        let column: ArrayRef = match &self.kind {
            Kind::Count | Kind::CountDistinct => {
                let counts = partials.iter().map(|partial| match partial {
                    Partial::Count(count) => *count,
                    Partial::Distinct(distinct) => whole(distinct.len()),
                    _ => 0,
                });
                Arc::new(Int64Array::from_iter_values(counts))
            }
            Kind::Sum | Kind::Extreme(_) => {
                let numbers = partials.iter().map(|partial| match partial {
                    Partial::Number(number) => *number,
                    _ => None,
                });
                Arc::new(numbers.collect::<Int64Array>())
            }
            Kind::TextExtreme(_) => {
                let texts = partials.iter().map(|partial| match partial {
                    Partial::Text(text) => text.as_deref(),
                    _ => None,
                });
                Arc::new(texts.collect::<StringViewArray>())
            }
            Kind::Truth(_) => {
                let truths = partials.iter().map(|partial| match partial {
                    Partial::Truth(truth) => *truth,
                    _ => None,
                });
                Arc::new(truths.collect::<BooleanArray>())
            }
            Kind::Other(function) => {
                let values = partials.into_iter().map(|partial| {
                    let mut accumulator = function.create_accumulator()?;
                    if let Partial::Other(Some(state)) = partial {
                        accumulator.merge_batch(&arrays(&[state])?)?;
                    }
                    accumulator.evaluate()
                });
                ScalarValue::iter_to_array(values.collect::<Result<Vec<_>>>()?)?
            }
        };
        if *column.data_type() == self.data_type {
            return Ok(column);
        }
        Ok(cast(&column, &self.data_type)?)
    }

    fn number(&self, kept: i64, other: i64) -> i64 {
        match self.kind {
            Kind::Extreme(extreme) => extreme.of(kept, other),
            _ => kept.wrapping_add(other),
        }
    }

    fn better_text(&self, kept: &str, other: &str) -> bool {
        match self.kind {
            Kind::TextExtreme(Extreme::Min) => other < kept,
            _ => other > kept,
        }
    }

    fn truth(&self, kept: bool, other: bool) -> bool {
        match self.kind {
            Kind::Truth(extreme) => extreme.of(kept, other),
            _ => kept,
        }
    }

    fn state_of(&self, arguments: &[ArrayRef]) -> Result<Box<[ScalarValue]>> {
        let Kind::Other(function) = &self.kind else { return Err(mixed_up()) };
        let mut accumulator = function.create_accumulator()?;
        accumulator.update_batch(arguments)?;
        Ok(accumulator.state()?.into())
    }

    fn merged(&self, states: &[Box<[ScalarValue]>]) -> Result<Box<[ScalarValue]>> {
        let Kind::Other(function) = &self.kind else { return Err(mixed_up()) };
        let mut accumulator = function.create_accumulator()?;
        accumulator.merge_batch(&arrays(states)?)?;
        Ok(accumulator.state()?.into())
    }
}

impl Partial {
    /// No value of the aggregate over several panes is greater than the sum of these.
    pub(crate) fn at_most(&self) -> i64 {
        match self {
            Self::Count(count) => *count,
            Self::Distinct(distinct) => whole(distinct.len()),
            _ => i64::MAX,
        }
    }

    /// Bytes beside the value's own.
    pub(crate) fn heap(&self) -> usize {
        match self {
            Self::Distinct(distinct) => distinct.heap(),
            Self::Text(Some(text)) => text.len(),
            Self::Other(Some(state)) => {
                // What a value says of itself is too little where it shares buffers.
                state.iter().map(|value| 2 * value.size() + 64).sum()
            }
            _ => 0,
        }
    }
}

fn null_value(array: &ArrayRef, row: usize) -> bool {
    array
        .as_dictionary_opt::<Int32Type>()
        .is_some_and(|array| array.key(row).is_some_and(|key| array.values().is_null(key)))
}

/// Hashes of an array's values, row by row; of a dictionary's values where it has one.
fn hashes(array: &ArrayRef, seed: &RandomState) -> Result<Vec<Option<u64>>> {
    if let Some(repeating) = array.as_dictionary_opt::<Int32Type>() {
        let (keys, values) = (repeating.keys(), repeating.values());
        // A few rows of a batch come with all of its values.
        if keys.len() < values.len() {
            return hashes(&take(values, keys, None)?, seed);
        }
        let values = hashes(values, seed)?;
        let value = |key: i32| *values.get(usize::try_from(key).ok()?)?;
        return Ok(keys.iter().map(|key| key.and_then(value)).collect());
    }
    if array.data_type().is_string() {
        let texts = cast(array, &DataType::Utf8View)?;
        let texts = texts.as_string_view().iter();
        return Ok(texts.map(|text| text.map(|text| seed.hash_one(text))).collect());
    }
    if array.data_type().is_integer()
        && let Ok(numbers) = cast(array, &DataType::Int64)
    {
        let numbers = numbers.as_primitive::<Int64Type>().iter();
        return Ok(numbers.map(|number| number.map(|number| seed.hash_one(number))).collect());
    }
    let value = |row| ScalarValue::try_from_array(array, row);
    let hash = |row| Ok(Some(seed.hash_one(value(row)?)));
    (0..array.len()).map(|row| if array.is_null(row) { Ok(None) } else { hash(row) }).collect()
}

/// States of one accumulator as the columns that it merges.
fn arrays(states: &[Box<[ScalarValue]>]) -> Result<Vec<ArrayRef>> {
    let width = states.first().map_or(0, |state| state.len());
    let columns = (0..width).map(|at| {
        ScalarValue::iter_to_array(states.iter().filter_map(|state| state.get(at).cloned()))
    });
    columns.collect()
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn mixed_up() -> DataFusionError {
    DataFusionError::Internal("an aggregate's state is of another".to_owned())
}
