//! Conditions that bits cannot tell: worked out for the rows that are left, once for all
//! detections that share them.

use std::time::Instant;

use arrow::array::{RecordBatch, UInt32Array};
use datafusion::common::{DataFusionError, Result};

use super::super::intake::Expressions;
use super::column::truths;
use super::select::Report;

/// A condition on rows.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) expression: Expressions,
    /// Detections whose rows must make it true.
    pub(crate) detections: Vec<usize>,
}

impl Rest {
    /// Keeps of the rows of its detections those that make it true. `rows[detection]` ascend.
    pub(crate) fn keep(&self, batch: &RecordBatch, rows: &mut [Vec<u32>], report: &mut Report) {
        let mut union: Vec<u32> = Vec::new();
        for detection in &self.detections {
            union.extend(rows.get(*detection).into_iter().flatten());
        }
        if union.is_empty() {
            return;
        }
        union.sort_unstable();
        union.dedup();
        let union = UInt32Array::from(union);
        let begun = Instant::now();
        let passes = match self.on_rows(batch, &union) {
            Ok(passes) => passes,
            // One row may be to blame: the others must not suffer.
            Err(_) => self.one_by_one(batch, &union, report),
        };
        report.took(&self.detections, begun);
        let is_kept = |row: &u32| {
            let place = union.values().binary_search(row);
            place.is_ok_and(|place| passes.get(place).copied().unwrap_or_default())
        };
        for detection in &self.detections {
            if let Some(rows) = rows.get_mut(*detection) {
                rows.retain(is_kept);
            }
        }
    }

    fn on_rows(&self, batch: &RecordBatch, rows: &UInt32Array) -> Result<Vec<bool>> {
        let values = self.expression.of(batch, rows)?;
        let first = values.first();
        truths(first.ok_or_else(|| DataFusionError::Internal("no condition".to_owned()))?)
    }

    fn one_by_one(
        &self,
        batch: &RecordBatch,
        rows: &UInt32Array,
        report: &mut Report,
    ) -> Vec<bool> {
        let mut passes = Vec::with_capacity(rows.values().len());
        for row in rows.values() {
            match self.on_rows(batch, &UInt32Array::from(vec![*row])) {
                Ok(one) => passes.extend(one),
                Err(error) => {
                    self.detections.iter().for_each(|of| report.fault(*of, &error));
                    passes.push(false);
                }
            }
        }
        passes
    }
}
