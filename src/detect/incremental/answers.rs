//! What groups say when a query's HAVING is asked of them.

use std::sync::Arc;

use arrow::array::ArrayRef;

use super::super::row::Row;
use super::super::value::Value;

/// What groups that were asked answer.
#[derive(Default)]
pub(crate) struct Answers {
    pub(super) names: Arc<[String]>,
    pub(super) shown: Vec<ArrayRef>,
    /// Where the row of each group is that is found.
    pub(super) places: Vec<Option<usize>>,
}

impl Answers {
    /// What makes the row of a group, by its number; `None` when it is not found.
    pub(crate) fn row(&self, number: usize) -> Option<impl FnOnce() -> Row> {
        let at = (*self.places.get(number)?)?;
        let values = move || self.shown.iter().map(|array| Value::at(array, at)).collect();
        Some(move || Row::new(&self.names, values()))
    }
}
