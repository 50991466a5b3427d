//! A row of a query's result: values with the names of their columns.

use std::sync::Arc;

use super::value::Value;

/// What an allocation costs beside its bytes, about.
const ALLOCATION: usize = 32;

/// A row. Copies share what they hold: a finding is told again with each of its changes.
#[derive(Clone, Debug, Default, PartialEq, PartialOrd)]
pub struct Row {
    names: Arc<[String]>,
    values: Arc<[Value]>,
}

impl Row {
    /// These values in the columns of these names; the shorter of the two says how many.
    #[must_use]
    pub fn new(names: &Arc<[String]>, values: Vec<Value>) -> Self {
        Self { names: Arc::clone(names), values: values.into() }
    }

    /// Its columns in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.names.iter().map(String::as_str).zip(self.values.iter())
    }

    /// The value of a column.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(self.names.iter().position(|of| of == name)?)
    }

    /// Bytes of its values. Copies share them, and names are shared by all rows of a query.
    pub(crate) fn bytes(&self) -> usize {
        let texts = self.values.iter().map(|value| match value {
            Value::Text(text) => text.len(),
            _ => 0,
        });
        size_of_val(&*self.values) + texts.sum::<usize>() + ALLOCATION
    }
}
