//! The values of one column as bits: which detections a value lets through, and which
//! alternatives it makes true.
//!
//! A value's bits are worked out when it is first seen and kept. Values are what clients send, so
//! there may be no end of them: beyond a bound all are forgotten and worked out anew.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Int32Array, RecordBatch, StringArray,
    new_null_array,
};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::{DataFusionError, Result};
use hashbrown::HashMap;

use super::super::intake::Expressions;
use super::super::unwound::unwound;
use super::select::Report;
use crate::event::schema::events_schema;

/// The most values of a column whose bits are kept, and the most bytes of them.
const VALUES_MAX: usize = 100_000;
const BYTES_MAX: usize = 16 << 20;

/// A condition on the column.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) expression: Expressions,
    /// Detections that a value must make it true for.
    pub(crate) detections: Vec<usize>,
    /// Alternatives that it makes true.
    pub(crate) alternatives: Vec<usize>,
    /// All detections that it matters to.
    pub(crate) users: Vec<usize>,
}

/// How the bits of a value are laid out: first a bit for each detection, then one for each
/// alternative, each group in whole words.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    pub(crate) detections: usize,
    pub(crate) alternatives: usize,
}

impl Layout {
    /// Words of the detections.
    pub(crate) fn split(self) -> usize {
        self.detections.div_ceil(64)
    }

    /// Words of all.
    pub(crate) fn width(self) -> usize {
        self.split() + self.alternatives.div_ceil(64)
    }
}

/// One column's conditions, and the bits of the values seen so far.
#[derive(Debug)]
pub(crate) struct Column {
    at: usize,
    conditions: Vec<Condition>,
    layout: Layout,
    /// Detections that are not asked about.
    aside: Vec<usize>,
    texts: HashMap<Box<str>, u32>,
    numbers: HashMap<i32, u32>,
    bytes: usize,
    /// The set of NULL.
    null: u32,
    /// Distinct bits, one behind the other: many values have the same.
    sets: Vec<u64>,
    set_ids: HashMap<Box<[u64]>, u32>,
}

/// The bits of each row of a batch.
pub(crate) enum Resolved<'a> {
    /// By dictionary key; the last is of NULL.
    Keys { column: &'a DictionaryArray<Int32Type>, by_key: Vec<u32> },
    /// By row.
    Rows(Vec<u32>),
}

impl Resolved<'_> {
    pub(crate) fn set(&self, row: usize) -> u32 {
        match self {
            Self::Keys { column, by_key } => {
                let key = if column.is_null(row) { None } else { column.keys().values().get(row) };
                let key = key.and_then(|key| usize::try_from(*key).ok());
                let place = key.and_then(|key| by_key.get(key)).or(by_key.last());
                place.copied().unwrap_or_default()
            }
            Self::Rows(sets) => sets.get(row).copied().unwrap_or_default(),
        }
    }
}

/// Whether a column of this type can have bits.
pub(crate) fn is_indexable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(key, value) => **key == DataType::Int32 && **value == DataType::Utf8,
        DataType::Int32 | DataType::Boolean => true,
        _ => false,
    }
}

impl Column {
    /// Of the column at a position of the events table, whose type is [`is_indexable`].
    pub(crate) fn new(at: usize, conditions: Vec<Condition>, layout: Layout) -> Self {
        let mut column = Self {
            at,
            conditions,
            layout,
            aside: Vec::new(),
            texts: HashMap::new(),
            numbers: HashMap::new(),
            bytes: 0,
            null: 0,
            sets: Vec::new(),
            set_ids: HashMap::new(),
        };
        let schema = events_schema();
        let null = new_null_array(schema.field(at).data_type(), 1);
        let sets = column.work_out(&null, &mut Report::default());
        column.null = sets.first().copied().unwrap_or_default();
        column
    }

    /// The same, all values forgotten; conditions that matter to these detections alone are not
    /// worked out.
    pub(crate) fn without(self, detections: &[usize]) -> Self {
        let aside = detections.to_vec();
        Self { aside, ..Self::new(self.at, self.conditions, self.layout) }
    }

    /// The bits of a set.
    pub(crate) fn bits(&self, set: u32) -> &[u64] {
        let width = self.layout.width();
        let start = set as usize * width;
        self.sets.get(start..start + width).unwrap_or_default()
    }

    /// Finds the bits of every row of a batch; new values are worked out. A
    /// condition that fails on a value, which the report tells, lets nothing through.
    pub(crate) fn resolve<'a>(
        &mut self,
        batch: &'a RecordBatch,
        report: &mut Report,
    ) -> Result<Resolved<'a>> {
        if self.texts.len() + self.numbers.len() > VALUES_MAX || self.bytes > BYTES_MAX {
            let (conditions, aside) =
                (std::mem::take(&mut self.conditions), std::mem::take(&mut self.aside));
            *self = Self { aside, ..Self::new(self.at, conditions, self.layout) };
        }
        let column = batch.column(self.at);
        if let Some(column) = column.as_dictionary_opt::<Int32Type>() {
            let by_key = self.texts(column.values().as_string(), report)?;
            Ok(Resolved::Keys { column, by_key })
        } else if let Some(column) = column.as_primitive_opt() {
            Ok(Resolved::Rows(self.numbers(column, report)))
        } else {
            Ok(Resolved::Rows(self.truths(column.as_boolean(), report)))
        }
    }

    /// The sets of a dictionary's values, then that of NULL.
    fn texts(&mut self, values: &StringArray, report: &mut Report) -> Result<Vec<u32>> {
        let mut new: Vec<&str> =
            values.iter().flatten().filter(|value| !self.texts.contains_key(*value)).collect();
        if !new.is_empty() {
            new.sort_unstable();
            new.dedup();
            let keys = Int32Array::from_iter_values((0_i32..).zip(&new).map(|(key, _)| key));
            let strings = Arc::new(StringArray::from(new.clone()));
            let array = DictionaryArray::<Int32Type>::try_new(keys, strings)?;
            let sets = self.work_out(&(Arc::new(array) as ArrayRef), report);
            self.bytes += new.iter().map(|value| value.len() + 64).sum::<usize>();
            self.texts.extend(new.into_iter().map(Into::into).zip(sets));
        }
        let set = |value: Option<&str>| value.and_then(|value| self.texts.get(value)).copied();
        Ok(values.iter().map(|value| set(value).unwrap_or(self.null)).chain([self.null]).collect())
    }

    fn numbers(&mut self, values: &Int32Array, report: &mut Report) -> Vec<u32> {
        let mut new: Vec<i32> = values.iter().flatten().collect();
        new.sort_unstable();
        new.dedup();
        new.retain(|value| !self.numbers.contains_key(value));
        if !new.is_empty() {
            let array: ArrayRef = Arc::new(Int32Array::from(new.clone()));
            let sets = self.work_out(&array, report);
            self.numbers.extend(new.into_iter().zip(sets));
        }
        let set = |value: Option<i32>| value.and_then(|value| self.numbers.get(&value)).copied();
        values.iter().map(|value| set(value).unwrap_or(self.null)).collect()
    }

    /// They are kept as the numbers 0 and 1.
    fn truths(&mut self, values: &BooleanArray, report: &mut Report) -> Vec<u32> {
        if self.numbers.is_empty() {
            let both: ArrayRef = Arc::new(BooleanArray::from(vec![false, true]));
            let sets = self.work_out(&both, report);
            self.numbers.extend((0..).zip(sets));
        }
        let set = |value: bool| self.numbers.get(&i32::from(value)).copied();
        values.iter().map(|value| value.and_then(set).unwrap_or(self.null)).collect()
    }

    /// Evaluates every condition on some values; gives the set of each.
    fn work_out(&mut self, values: &ArrayRef, report: &mut Report) -> Vec<u32> {
        let (width, split) = (self.layout.width(), self.layout.split());
        let mut bits = vec![0_u64; width * values.len()];
        for value in bits.chunks_mut(width.max(1)) {
            if let Some(detections) = value.get_mut(..split) {
                detections.fill(u64::MAX);
            }
        }
        let is_asked = |condition: &&Condition| {
            self.aside.is_empty() || !condition.users.iter().all(|of| self.aside.contains(of))
        };
        for condition in self.conditions.iter().filter(is_asked) {
            let outcome = condition.on_values(values, report);
            for (value, bits) in bits.chunks_mut(width.max(1)).enumerate() {
                if outcome.get(value).copied().unwrap_or_default() {
                    for alternative in &condition.alternatives {
                        set(bits, split * 64 + alternative);
                    }
                } else {
                    for detection in &condition.detections {
                        clear(bits, *detection);
                    }
                }
            }
        }
        let mut sets = Vec::with_capacity(values.len());
        for bits in bits.chunks(width.max(1)) {
            let next = u32::try_from(self.set_ids.len()).unwrap_or(u32::MAX);
            let id = *self.set_ids.entry(bits.into()).or_insert_with(|| {
                self.sets.extend(bits);
                next
            });
            sets.push(id);
        }
        sets
    }
}

impl Condition {
    /// Whether each value makes it true. Where it fails as a whole, it is asked value by value.
    fn on_values(&self, values: &ArrayRef, report: &mut Report) -> Vec<bool> {
        let begun = Instant::now();
        let outcome = self.on(values);
        report.took(&self.users, begun);
        if let Ok(outcome) = outcome {
            return outcome;
        }
        let mut outcome = Vec::with_capacity(values.len());
        for row in 0..values.len() {
            match self.on(&values.slice(row, 1)) {
                Ok(one) => outcome.extend(one),
                Err(error) => {
                    self.users.iter().for_each(|of| report.fault(*of, &error));
                    outcome.push(false);
                }
            }
        }
        outcome
    }

    /// A panic is an error of this condition alone.
    fn on(&self, values: &ArrayRef) -> Result<Vec<bool>> {
        truths(&unwound(|| self.expression.of_column(values))?)
    }
}

/// Whether an array of truth values says true.
pub(crate) fn truths(array: &ArrayRef) -> Result<Vec<bool>> {
    let array = array
        .as_boolean_opt()
        .ok_or_else(|| DataFusionError::Internal("a condition is not a truth value".to_owned()))?;
    Ok(array.iter().map(|value| value == Some(true)).collect())
}

fn set(bits: &mut [u64], at: usize) {
    if let Some(word) = bits.get_mut(at / 64) {
        *word |= 1 << (at % 64);
    }
}

fn clear(bits: &mut [u64], at: usize) {
    if let Some(word) = bits.get_mut(at / 64) {
        *word &= !(1 << (at % 64));
    }
}
