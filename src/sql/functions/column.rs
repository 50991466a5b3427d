//! Columns of text in whatever form they come, and the columns of answers that are made of them.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, BooleanBuilder, Int64Builder, LargeStringArray,
    StringArray, StringViewArray, StringViewBuilder,
};
use arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::error::Result;

/// The answer for one row; `Null` fits every function, the others must fit
/// what it [`Gives`].
pub(super) enum Value<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    Text(Cow<'a, str>),
}

impl From<bool> for Value<'_> {
    fn from(answer: bool) -> Self {
        Self::Boolean(answer)
    }
}

impl From<i64> for Value<'_> {
    fn from(answer: i64) -> Self {
        Self::Integer(answer)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(answer: Option<T>) -> Self {
        answer.map_or(Self::Null, Into::into)
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(answer: Cow<'a, str>) -> Self {
        Self::Text(answer)
    }
}

/// What a function gives.
#[derive(Clone, Copy)]
pub(super) enum Gives {
    Boolean,
    Integer,
    /// `Utf8View`: unlike `Utf8`, a batch of large bodies cannot overflow its offsets.
    Text,
}

impl Gives {
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Text => DataType::Utf8View,
        }
    }
}

/// A column of text, or of keys into distinct texts.
pub(super) struct Column<'a> {
    pub(super) texts: Texts<'a>,
    /// Per row the place of its text, `None` for NULL; absent when rows and texts are the same.
    pub(super) slots: Option<Vec<Option<usize>>>,
    pub(super) rows: usize,
}

impl<'a> Column<'a> {
    pub(super) fn new(array: &'a ArrayRef) -> Result<Self> {
        let rows = array.len();
        if let Some(dictionary) = array.as_any_dictionary_opt() {
            let texts = Texts::new(dictionary.values())?;
            let keys = dictionary.keys();
            // `normalized_keys` must not be asked of a dictionary without values.
            let slots = if texts.len() == 0 {
                vec![None; rows]
            } else {
                let keyed = dictionary.normalized_keys().into_iter().enumerate();
                keyed.map(|(row, slot)| keys.is_valid(row).then_some(slot)).collect()
            };
            return Ok(Self { texts, slots: Some(slots), rows });
        }
        Ok(Self { texts: Texts::new(array)?, slots: None, rows })
    }

    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        match &self.slots {
            None => self.texts.get(row),
            Some(slots) => self.texts.get((*slots.get(row)?)?),
        }
    }
}

pub(super) enum Texts<'a> {
    Utf8(&'a StringArray),
    Large(&'a LargeStringArray),
    View(&'a StringViewArray),
}

impl<'a> Texts<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self> {
        match array.data_type() {
            DataType::Utf8 => Ok(Self::Utf8(array.as_string())),
            DataType::LargeUtf8 => Ok(Self::Large(array.as_string())),
            DataType::Utf8View => Ok(Self::View(array.as_string_view())),
            other => exec_err!("a column of text expected, not of {other}"),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Utf8(array) => array.len(),
            Self::Large(array) => array.len(),
            Self::View(array) => array.len(),
        }
    }

    /// The text in `place`, `None` for NULL and beyond the end.
    pub(super) fn get(&self, place: usize) -> Option<&'a str> {
        if place >= self.len() {
            return None;
        }
        match self {
            Self::Utf8(array) => array.is_valid(place).then(|| array.value(place)),
            Self::Large(array) => array.is_valid(place).then(|| array.value(place)),
            Self::View(array) => array.is_valid(place).then(|| array.value(place)),
        }
    }
}

/// The answers so far.
pub(super) enum Answers {
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Text(StringViewBuilder),
}

impl Answers {
    pub(super) fn new(gives: Gives) -> Self {
        match gives {
            Gives::Boolean => Self::Boolean(BooleanBuilder::new()),
            Gives::Integer => Self::Integer(Int64Builder::new()),
            Gives::Text => Self::Text(StringViewBuilder::new()),
        }
    }

    pub(super) fn append(&mut self, value: Value<'_>) {
        match (self, value) {
            (Self::Boolean(builder), Value::Boolean(answer)) => builder.append_value(answer),
            (Self::Text(builder), Value::Text(answer)) => builder.append_value(answer),
            (Self::Integer(builder), Value::Integer(answer)) => builder.append_value(answer),
            (Self::Boolean(builder), _) => builder.append_null(),
            (Self::Integer(builder), _) => builder.append_null(),
            (Self::Text(builder), _) => builder.append_null(),
        }
    }

    /// Where the last answer is; batches are far below four thousand million rows.
    pub(super) fn last(&self) -> u32 {
        let answers = match self {
            Self::Boolean(builder) => builder.len(),
            Self::Integer(builder) => builder.len(),
            Self::Text(builder) => builder.len(),
        };
        u32::try_from(answers.saturating_sub(1)).expect("a batch has fewer than 2^32 rows")
    }

    pub(super) fn finish(self) -> ArrayRef {
        match self {
            Self::Boolean(mut builder) => Arc::new(builder.finish()),
            Self::Integer(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) => Arc::new(builder.finish()),
        }
    }
}
