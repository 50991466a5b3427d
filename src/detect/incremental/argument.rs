//! What one aggregate reads of a batch.

use std::hash::RandomState;

use arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch, UInt32Array};
use datafusion::common::Result;

use super::aggregate::{Aggregate, Input, Partial};

/// An aggregate with its arguments of a batch, ready to be read row by row.
pub(crate) struct Argument<'a> {
    aggregate: &'a Aggregate,
    input: Input,
    /// Which rows count; all where there is none.
    filter: Option<&'a BooleanArray>,
}

impl<'a> Argument<'a> {
    /// Of the intake's columns of a batch.
    pub(crate) fn of(
        aggregate: &'a Aggregate,
        rows: &'a RecordBatch,
        seed: &RandomState,
    ) -> Result<Self> {
        let filter = aggregate.filter.and_then(|at| rows.columns().get(at));
        let filter = filter.and_then(|column| column.as_boolean_opt());
        Ok(Self { aggregate, input: aggregate.input(rows, seed)?, filter })
    }

    fn counts(&self, row: usize) -> bool {
        self.filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
    }

    /// Takes in a row if it counts, for an aggregate of ours.
    pub(crate) fn add(&self, partial: &mut Partial, row: usize) {
        if self.counts(row) {
            self.aggregate.add(partial, &self.input, row);
        }
    }

    /// Takes in those rows of one key and pane that count, for DataFusion's own aggregates.
    pub(crate) fn add_rows(
        &self,
        partial: &mut Partial,
        rows: impl Iterator<Item = u32>,
    ) -> Result<()> {
        if !self.aggregate.is_other() {
            return Ok(());
        }
        let rows: Vec<u32> = rows.filter(|row| self.counts(*row as usize)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        self.aggregate.add_rows(partial, &self.input, &UInt32Array::from(rows))
    }
}
