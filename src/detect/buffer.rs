//! The rows that a windowed detection keeps, by pane: a pane is one slide of event time, and a
//! window is a run of panes.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::error::ArrowError;

use super::detection::Window;
use crate::sql::compact::compact;

/// A pane of many small batches is joined into one beyond this.
const BATCHES_MAX: usize = 64;

#[derive(Debug, Default)]
struct Pane {
    batches: Vec<RecordBatch>,
    bytes: usize,
}

/// The kept rows of one cluster.
#[derive(Debug)]
pub(crate) struct Buffer {
    window: Window,
    panes: BTreeMap<i64, Pane>,
    bytes: usize,
    /// Rows before this time had to go: a window over them can no longer be told.
    dropped_to: i64,
}

impl Buffer {
    pub(crate) fn new(window: Window) -> Self {
        Self { window, panes: BTreeMap::new(), bytes: 0, dropped_to: i64::MIN }
    }

    /// Takes rows in, split by pane; `times[row]` is a row's event time. Returns the panes that
    /// changed.
    pub(crate) fn insert(
        &mut self,
        rows: &RecordBatch,
        times: &[i64],
    ) -> Result<BTreeSet<i64>, ArrowError> {
        let mut by_pane: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (row, time) in (0_u32..).zip(times) {
            by_pane.entry(self.window.pane(*time)).or_default().push(row);
        }
        for (start, indices) in &by_pane {
            let part = compact(&take_record_batch(rows, &UInt32Array::from(indices.clone()))?)?;
            let pane = self.panes.entry(*start).or_default();
            pane.batches.push(part);
            if let (true, Some(first)) = (pane.batches.len() > BATCHES_MAX, pane.batches.first()) {
                pane.batches = vec![compact(&concat_batches(&first.schema(), &pane.batches)?)?];
            }
            self.bytes -= pane.bytes;
            pane.bytes = pane.batches.iter().map(RecordBatch::get_array_memory_size).sum();
            self.bytes += pane.bytes;
        }
        Ok(by_pane.into_keys().collect())
    }

    /// All rows of the window that ends at `end`; `None` when part of them had to go.
    pub(crate) fn window(&self, end: i64) -> Option<Vec<RecordBatch>> {
        let start = end.saturating_sub(self.window.length);
        if start < self.dropped_to {
            return None;
        }
        let panes = self.panes.range(start..end);
        Some(panes.flat_map(|(_, pane)| pane.batches.iter().cloned()).collect())
    }

    /// Forgets rows before a time.
    pub(crate) fn forget(&mut self, first: i64) {
        while let Some((start, _)) = self.panes.first_key_value()
            && *start < first
        {
            self.drop_first();
        }
    }

    /// Drops the oldest rows that do not fit into `bytes_max`; true when there were any.
    pub(crate) fn cap(&mut self, bytes_max: usize) -> bool {
        let mut capped = false;
        while self.bytes > bytes_max
            && let Some(start) = self.drop_first()
        {
            self.dropped_to = start.saturating_add(self.window.slide);
            capped = true;
        }
        capped
    }

    /// Bytes of all rows.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn drop_first(&mut self) -> Option<i64> {
        let (start, pane) = self.panes.pop_first()?;
        self.bytes -= pane.bytes;
        Some(start)
    }
}
