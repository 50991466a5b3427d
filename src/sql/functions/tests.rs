//! `check` for the tests of the functions, and what holds for all of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, LargeStringArray, RecordBatch, StringArray};
use arrow::array::{StringViewArray, UInt8Array};
use arrow::datatypes::{Int32Type, UInt8Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::SessionContext;

use crate::sql::address::Addresses;

/// Evaluates `expression` over these rows, `{}` standing for the column, in every form a text
/// column has, and expects these answers (booleans and text; `NULL`).
#[track_caller]
pub(super) fn check(rows: &[Option<&str>], expression: &str, expected: &[&str]) {
    check_over(&Addresses::default(), rows, expression, expected);
}

/// [`check`] with what is supplied about addresses.
#[track_caller]
pub(super) fn check_over(
    addresses: &Addresses,
    rows: &[Option<&str>],
    expression: &str,
    expected: &[&str],
) {
    let context = context(rows);
    super::register_addresses(&context, addresses);
    for column in ["plain", "large", "view", "dictionary", "small_dictionary", "wide_dictionary"] {
        let query = format!("SELECT {} FROM t", expression.replace("{}", column));
        let answers = run(&context, &query).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(answers, expected, "{query}");
    }
}

/// [`check`] with one row.
#[track_caller]
pub(super) fn check_one(row: &str, expression: &str, expected: &str) {
    check(&[Some(row)], expression, &[expected]);
}

/// Expects an error at planning with this in its text; `column1` is a column of text.
#[track_caller]
pub(super) fn check_error(expression: &str, expected: &str) {
    let query = format!("SELECT {expression} FROM (VALUES ('{{}}'))");
    let error = plan(&context(&[]), &query).expect_err(expression);
    assert!(error.contains(expected), "{query}: {error}");
}

fn context(rows: &[Option<&str>]) -> SessionContext {
    let dictionary: DictionaryArray<Int32Type> = rows.iter().copied().collect();
    let small: DictionaryArray<UInt8Type> = rows.iter().copied().collect();
    let columns: [(&str, ArrayRef); 6] = [
        ("plain", Arc::new(StringArray::from(rows.to_vec()))),
        ("large", Arc::new(LargeStringArray::from(rows.to_vec()))),
        ("view", Arc::new(StringViewArray::from(rows.to_vec()))),
        ("dictionary", Arc::new(dictionary)),
        ("small_dictionary", Arc::new(small)),
        ("wide_dictionary", Arc::new(wide_dictionary(rows))),
    ];
    let context = SessionContext::new();
    super::register(&context).unwrap();
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.map(|(name, column)| (name, column, true)),
    );
    context.register_batch("t", batch.unwrap()).unwrap();
    context
}

/// A dictionary as a filter leaves it: values nobody uses, a NULL among the values, values twice.
fn wide_dictionary(rows: &[Option<&str>]) -> DictionaryArray<UInt8Type> {
    let mut values = vec![Some("unused"), None];
    values.extend(rows);
    values.extend(rows);
    let keys = (0..rows.len()).map(|row| {
        let offset = if row % 2 == 0 { 2 } else { 2 + rows.len() };
        rows[row].map_or((row % 2 == 0).then_some(1), |_| Some(u8::try_from(offset + row).unwrap()))
    });
    let keys: UInt8Array = keys.collect();
    DictionaryArray::try_new(keys, Arc::new(StringViewArray::from(values))).unwrap()
}

fn plan(context: &SessionContext, query: &str) -> Result<(), String> {
    runtime().block_on(context.sql(query)).map(|_| ()).map_err(|error| error.to_string())
}

/// The rows of a query of one column, as text.
fn run(context: &SessionContext, query: &str) -> Result<Vec<String>, String> {
    let batches = runtime().block_on(async {
        let rows = context.sql(query).await.map_err(|error| error.to_string())?;
        rows.collect().await.map_err(|error| error.to_string())
    })?;
    let options = FormatOptions::default().with_null("NULL");
    let mut answers = Vec::new();
    for batch in batches {
        let column = ArrayFormatter::try_new(batch.column(0), &options).unwrap();
        answers.extend((0..batch.num_rows()).map(|row| column.value(row).to_string()));
    }
    Ok(answers)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn constants_are_folded() {
    let context = context(&[]);
    let cases = [
        ("SELECT is_system_user(NULL)", "false"),
        ("SELECT is_system_user('system:apiserver')", "true"),
        ("SELECT json_value('{\"a\":\"b\"}', '$.a')", "b"),
        ("SELECT json_exists(NULL, '$.a')", "NULL"),
        ("SELECT json_exists('{}', NULL)", "NULL"),
        ("SELECT cidr_match('10.0.0.1', '10.0.0.0/8')", "true"),
        ("SELECT has_group(arrow_cast('[\"a\"]', 'Dictionary(Int32, Utf8)'), 'a')", "true"),
    ];
    for (query, expected) in cases {
        assert_eq!(run(&context, query).unwrap(), [expected], "{query}");
    }
}

#[test]
fn columns_without_rows_give_no_rows() {
    check(&[], "json_exists({}, '$.a')", &[]);
    check(&[], "pod_spec({})", &[]);
}

#[test]
fn columns_of_null_alone_give_null() {
    check(&[None, None, None], "url_param({}, 'a')", &["NULL"; 3]);
    check(&[None, None, None], "is_system_user({})", &["false"; 3]);
}

#[test]
fn wrong_arguments_are_told_at_planning() {
    check_error("pod_spec()", "pod_spec");
    check_error("has_group(column1)", "has_group takes 2 argument(s), not 1");
    check_error("glob(column1, 5)", "glob takes text, not Int64");
}

#[test]
fn the_json_functions_and_operators_of_the_library_are_there() {
    let row = r#"{"a":{"b":"c"}}"#;
    check_one(row, "json_get_str({}, 'a', 'b')", "c");
    check_one(row, "{}->'a'->>'b'", "c");
    check_one(row, "json_contains({}, 'a')", "true");
}

#[test]
fn each_function_is_documented_and_works_as_its_example_shows() {
    let context = context(&[]);
    let columns = "'{}' AS request_object, '{}' AS annotations, '[]' AS user_groups, \
        'u' AS user_name, '/x' AS request_uri, '::1' AS source_ip";
    let of_addresses = super::address::functions(&Addresses::default());
    for function in super::functions().into_iter().chain(of_addresses) {
        let documentation = function.documentation().unwrap();
        assert!(documentation.description.ends_with('.'), "{}", function.name());
        let example = documentation.sql_example.as_deref().unwrap();
        let example = example.trim_start_matches("```sql\n").trim_end_matches("\n```");
        let query = format!("SELECT {example} FROM (SELECT {columns})");
        assert_eq!(run(&context, &query).unwrap().len(), 1, "{query}");
    }
}
