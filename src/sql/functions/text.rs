//! What every function of ours shares: text in, a boolean or text out, row by row.
//!
//! A function says what it does to one text ([`TextFunction`]); this file carries it over columns
//! of every text type, prepares a constant second argument once, and computes each distinct value
//! of a dictionary at most once. It never fails because of what a row holds.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::column::{Answers, Column};
pub(super) use super::column::{Gives, Value};
use crate::sql::address::Addresses;

/// One named argument of a function, for the manual.
pub(super) struct Argument {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
}

/// A function of one text, or of one text and an argument that is nearly always a constant.
pub(super) trait TextFunction: Send + Sync + 'static {
    /// The name in SQL.
    const NAME: &'static str;
    /// One or two; the second is the one [`TextFunction::prepare`] is given.
    const ARGUMENTS: &'static [Argument];
    /// What it is for, and what the odd cases give.
    const DESCRIPTION: &'static str;
    /// A use of it, as SQL.
    const EXAMPLE: &'static str;
    const GIVES: Gives;
    /// The answer to NULL; `None` is NULL.
    const OF_NULL: Option<bool> = None;
    /// The second argument, made ready; `()` for functions of one argument.
    type Prepared: Send + Sync;

    /// Called once for a constant (and once at planning) and kept, else once per change of the
    /// argument from row to row. An error fails the query for a constant and is NULL for a row: a
    /// row's content must never fail a detection. Functions of one argument are given "".
    fn prepare(argument: &str) -> Result<Self::Prepared>;

    /// As [`TextFunction::prepare`], for functions that ask what was supplied about addresses.
    fn prepare_over(_addresses: &Addresses, argument: &str) -> Result<Self::Prepared> {
        Self::prepare(argument)
    }

    /// Called once per row, or per distinct value of a dictionary, never with NULL.
    fn evaluate<'a>(prepared: &Self::Prepared, text: &'a str) -> Value<'a>;
}

const SECTION: DocSection =
    DocSection { include: true, label: "Audit Functions", description: None };

/// A [`TextFunction`] as `DataFusion` knows functions.
pub(super) struct TextUdf<F: TextFunction> {
    signature: Signature,
    documentation: Documentation,
    addresses: Addresses,
    /// Constants made ready, by their text.
    prepared: Mutex<HashMap<String, Arc<F::Prepared>>>,
}

/// How many constants are kept; then all of them go.
const PREPARED_MAX: usize = 1_024;

impl<F: TextFunction> TextUdf<F> {
    /// The function, ready to be registered.
    pub(super) fn function() -> ScalarUDF {
        Self::over(&Addresses::default())
    }

    /// The function over what was supplied about addresses.
    pub(super) fn over(addresses: &Addresses) -> ScalarUDF {
        let names: Vec<&str> = F::ARGUMENTS.iter().map(|argument| argument.name).collect();
        let syntax = format!("{}({})", F::NAME, names.join(", "));
        let mut documentation = Documentation::builder(SECTION, F::DESCRIPTION, syntax)
            .with_sql_example(format!("```sql\n{}\n```", F::EXAMPLE));
        for argument in F::ARGUMENTS {
            documentation = documentation.with_argument(argument.name, argument.meaning);
        }
        ScalarUDF::from(Self {
            signature: Signature::user_defined(Volatility::Immutable),
            documentation: documentation.build(),
            addresses: addresses.clone(),
            prepared: Mutex::default(),
        })
    }

    fn prepared(&self, argument: &str) -> Result<Arc<F::Prepared>> {
        let mut kept = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prepared) = kept.get(argument) {
            return Ok(Arc::clone(prepared));
        }
        let prepared = Arc::new(F::prepare_over(&self.addresses, argument)?);
        if kept.len() >= PREPARED_MAX {
            kept.clear();
        }
        kept.insert(argument.to_owned(), Arc::clone(&prepared));
        Ok(prepared)
    }
}

impl<F: TextFunction> fmt::Debug for TextUdf<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextUdf").field("name", &F::NAME).finish_non_exhaustive()
    }
}

// The type alone tells one function from another: names are unique.
impl<F: TextFunction> PartialEq for TextUdf<F> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl<F: TextFunction> Eq for TextUdf<F> {}

impl<F: TextFunction> Hash for TextUdf<F> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        F::NAME.hash(state);
    }
}

impl<F: TextFunction> ScalarUDFImpl for TextUdf<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(F::GIVES.data_type())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        // A constant that makes no sense is told here, at planning, not by the first batch.
        if let Some(Some(argument)) = args.scalar_arguments.get(1)
            && let Some(Some(argument)) = argument.try_as_str()
        {
            F::prepare(argument)?;
        }
        let nullable = F::OF_NULL.is_none();
        Ok(Arc::new(Field::new(F::NAME, F::GIVES.data_type(), nullable)))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        if arg_types.len() != F::ARGUMENTS.len() {
            let (needed, given) = (F::ARGUMENTS.len(), arg_types.len());
            return plan_err!("{} takes {needed} argument(s), not {given}", F::NAME);
        }
        arg_types
            .iter()
            .map(|given| match given {
                DataType::Null => Ok(DataType::Utf8View),
                text if is_text(text) => Ok(text.clone()),
                other => plan_err!("{} takes text, not {other}", F::NAME),
            })
            .collect()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let mut values = args.args.into_iter();
        let Some(texts) = values.next() else {
            return exec_err!("{} without an argument", F::NAME);
        };
        let texts = texts.into_array(rows)?;
        let answers = match values.next() {
            None => evaluate_all::<F>(self.prepared("")?.as_ref(), &texts)?,
            Some(ColumnarValue::Scalar(argument)) => match argument.try_as_str() {
                Some(Some(argument)) => {
                    evaluate_all::<F>(self.prepared(argument)?.as_ref(), &texts)?
                }
                Some(None) => new_null_array(&F::GIVES.data_type(), rows),
                None => return exec_err!("{} takes text, not {argument}", F::NAME),
            },
            Some(ColumnarValue::Array(arguments)) => {
                evaluate_pairs::<F>(&self.addresses, &texts, &arguments)?
            }
        };
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answers, 0)?));
        }
        Ok(ColumnarValue::Array(answers))
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// One prepared argument for all rows.
fn evaluate_all<F: TextFunction>(prepared: &F::Prepared, column: &ArrayRef) -> Result<ArrayRef> {
    let column = Column::new(column)?;
    let mut answers = Answers::new(F::GIVES);
    let of_null = F::OF_NULL;
    let Some(slots) = &column.slots else {
        for row in 0..column.rows {
            answers.append(match column.texts.get(row) {
                Some(text) => F::evaluate(prepared, text),
                None => of_null.into(),
            });
        }
        return Ok(answers.finish());
    };
    // A filtered batch keeps its whole dictionary, so values are computed when first met, not
    // ahead: never more of them than there are rows.
    answers.append(of_null.into());
    let mut answer_of_slot: Vec<Option<u32>> = vec![None; column.texts.len()];
    let mut answer_of_row = Vec::with_capacity(column.rows);
    for slot in slots {
        let Some((memo, text)) =
            slot.and_then(|slot| Some((answer_of_slot.get_mut(slot)?, column.texts.get(slot)?)))
        else {
            answer_of_row.push(0);
            continue;
        };
        let answer = *memo.get_or_insert_with(|| {
            answers.append(F::evaluate(prepared, text));
            answers.last()
        });
        answer_of_row.push(answer);
    }
    Ok(take(&answers.finish(), &UInt32Array::from(answer_of_row), None)?)
}

/// An argument of its own for every row; a run of equal arguments is prepared once.
fn evaluate_pairs<F: TextFunction>(
    addresses: &Addresses,
    texts: &ArrayRef,
    arguments: &ArrayRef,
) -> Result<ArrayRef> {
    let texts = Column::new(texts)?;
    let arguments = Column::new(arguments)?;
    let mut answers = Answers::new(F::GIVES);
    let mut last: Option<(&str, Option<F::Prepared>)> = None;
    for row in 0..texts.rows {
        let Some(argument) = arguments.get(row) else {
            answers.append(Value::Null);
            continue;
        };
        if last.as_ref().is_none_or(|(known, _)| *known != argument) {
            last = Some((argument, F::prepare_over(addresses, argument).ok()));
        }
        let prepared = last.as_ref().and_then(|(_, prepared)| prepared.as_ref());
        answers.append(match (prepared, texts.get(row)) {
            (Some(prepared), Some(text)) => F::evaluate(prepared, text),
            (Some(_), None) => F::OF_NULL.into(),
            (None, _) => Value::Null,
        });
    }
    Ok(answers.finish())
}
