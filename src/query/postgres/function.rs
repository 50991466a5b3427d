//! Functions and parameters that clients of PostgreSQL ask about: most have one answer here.
//!
//! Never: a function that changes something, or tells more than the catalogue.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, ListBuilder, StringArray, StringBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionImplementation, ScalarUDF, Signature, SimpleScalarUDF,
    TypeSignature, Volatility,
};
use datafusion::prelude::SessionContext;

use super::catalog::{DATABASE, SCHEMA, type_name};

/// The version of PostgreSQL whose catalogue this is: clients choose their questions by it.
pub(super) const SERVER_VERSION: &str = concat!("15.0 (auditmill ", env!("CARGO_PKG_VERSION"), ")");

/// Parameters and their values, in the order of their names; those that `SET` changes are kept by
/// each session for itself.
pub(super) const SETTINGS: [(&str, &str); 24] = [
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("is_superuser", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("search_path", SCHEMA),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "150000"),
    ("standard_conforming_strings", "on"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
];

/// The value of a parameter, whatever the case of its name.
pub(super) fn setting(name: &str) -> Option<(&'static str, &'static str)> {
    SETTINGS.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).copied()
}

/// What a function answers, whatever it is asked.
const ANSWERS: [(&[&str], Answer); 8] = [
    (&["current_catalog", "current_database"], Answer::Text(DATABASE)),
    (
        &["current_role", "current_user", "pg_get_userbyid", "session_user", "user"],
        Answer::Text(DATABASE),
    ),
    (&["current_schema"], Answer::Text(SCHEMA)),
    (&["pg_encoding_to_char"], Answer::Text("UTF8")),
    (
        &[
            "has_any_column_privilege",
            "has_column_privilege",
            "has_database_privilege",
            "has_function_privilege",
            "has_schema_privilege",
            "has_table_privilege",
            "pg_collation_is_visible",
            "pg_function_is_visible",
            "pg_opclass_is_visible",
            "pg_operator_is_visible",
            "pg_table_is_visible",
            "pg_type_is_visible",
        ],
        Answer::Flag(true),
    ),
    (
        &[
            "pg_has_role",
            "pg_is_in_recovery",
            "pg_is_other_temp_schema",
            "pg_relation_is_publishable",
        ],
        Answer::Flag(false),
    ),
    (
        &[
            "inet_server_port",
            "pg_backend_pid",
            "pg_database_size",
            "pg_indexes_size",
            "pg_my_temp_schema",
            "pg_relation_size",
            "pg_stat_get_numscans",
            "pg_table_size",
            "pg_total_relation_size",
            "txid_current",
        ],
        Answer::Zero,
    ),
    (
        &[
            "col_description",
            "inet_client_addr",
            "inet_server_addr",
            "obj_description",
            "pg_get_constraintdef",
            "pg_get_expr",
            "pg_get_function_arguments",
            "pg_get_function_identity_arguments",
            "pg_get_function_result",
            "pg_get_functiondef",
            "pg_get_indexdef",
            "pg_get_partition_constraintdef",
            "pg_get_partkeydef",
            "pg_get_ruledef",
            "pg_get_serial_sequence",
            "pg_get_triggerdef",
            "pg_relation_filenode",
            "pg_tablespace_location",
            "shobj_description",
            "to_regclass",
        ],
        Answer::Nothing,
    ),
];

#[derive(Clone, Copy)]
enum Answer {
    Text(&'static str),
    Flag(bool),
    Zero,
    Nothing,
}

impl Answer {
    fn value(self) -> ScalarValue {
        match self {
            Self::Text(text) => ScalarValue::from(text),
            Self::Flag(flag) => ScalarValue::from(flag),
            Self::Zero => ScalarValue::from(0_i64),
            Self::Nothing => ScalarValue::Utf8(None),
        }
    }
}

/// Gives a session its functions; `views` are the texts of views by their numbers.
pub(super) fn register(context: &SessionContext, views: HashMap<i64, String>) {
    for (names, answer) in ANSWERS {
        for name in names {
            let value = answer.value();
            let returns = value.data_type();
            let work = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.clone()));
            define(context, name, returns, Arc::new(work));
        }
    }
    let version = format!("PostgreSQL {SERVER_VERSION}");
    let version = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(version.as_str().into()));
    define(context, "version", DataType::Utf8, Arc::new(version));
    define(context, "quote_ident", DataType::Utf8, texts(|name| Some(quote_ident(name))));
    define(
        context,
        "current_setting",
        DataType::Utf8,
        texts(|name| setting(name).map(|(_, value)| value.to_owned())),
    );
    define(context, "pg_size_pretty", DataType::Utf8, texts(|size| Some(format!("{size} bytes"))));
    define(context, "set_config", DataType::Utf8, Arc::new(second));
    define(context, "format_type", DataType::Utf8, Arc::new(format_type));
    define(context, "pg_get_viewdef", DataType::Utf8, viewdef(views));
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    define(context, "parse_ident", list.clone(), Arc::new(parse_ident));
    define(context, "current_schemas", list, Arc::new(current_schemas));
    let one = |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(1_i32.into()));
    define(context, "array_lower", DataType::Int32, Arc::new(one));
}

/// A function of any arguments.
fn define(
    context: &SessionContext,
    name: &str,
    returns: DataType,
    work: ScalarFunctionImplementation,
) {
    let forms = vec![TypeSignature::VariadicAny, TypeSignature::Nullary];
    let signature = Signature::one_of(forms, Volatility::Immutable);
    let function = SimpleScalarUDF::new_with_signature(name, signature, returns, work);
    context.register_udf(ScalarUDF::new_from_impl(function));
}

/// The first argument as text, row by row.
fn first(arguments: &[ColumnarValue]) -> Result<ArrayRef> {
    let array = match arguments.first() {
        Some(ColumnarValue::Array(array)) => Arc::clone(array),
        Some(ColumnarValue::Scalar(value)) => value.to_array()?,
        None => ScalarValue::Utf8(None).to_array()?,
    };
    Ok(cast(&array, &DataType::Utf8)?)
}

/// An array of one row is a constant where all arguments are.
fn answered(arguments: &[ColumnarValue], rows: ArrayRef) -> Result<ColumnarValue> {
    let is_array = |argument: &ColumnarValue| matches!(argument, ColumnarValue::Array(_));
    if matches!(arguments.first(), Some(first) if is_array(first)) {
        return Ok(ColumnarValue::Array(rows));
    }
    Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&rows, 0)?))
}

fn texts(work: fn(&str) -> Option<String>) -> ScalarFunctionImplementation {
    Arc::new(move |arguments| {
        let found = first(arguments)?;
        let texts = found.as_string::<i32>().iter().map(|text| text.and_then(work));
        answered(arguments, Arc::new(texts.collect::<StringArray>()))
    })
}

fn second(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let rest = arguments.get(1..).unwrap_or_default();
    answered(rest, first(rest)?)
}

fn quote_ident(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let quoted = || format!("\"{}\"", name.replace('"', "\"\""));
    if is_plain { name.to_owned() } else { quoted() }
}

fn format_type(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let numbers = cast(&first(arguments)?, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>().iter();
    let unknown = || "???".to_owned();
    let names =
        numbers.map(|number| number.map(|number| type_name(number).unwrap_or_else(unknown)));
    answered(arguments, Arc::new(names.collect::<StringArray>()))
}

/// The text of a view, by its number.
fn viewdef(views: HashMap<i64, String>) -> ScalarFunctionImplementation {
    Arc::new(move |arguments| {
        let numbers = cast(&first(arguments)?, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>().iter();
        let texts = numbers.map(|number| views.get(&number?).cloned());
        answered(arguments, Arc::new(texts.collect::<StringArray>()))
    })
}

/// `a.b`, `"A".b` as a list of names.
fn parse_ident(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let found = first(arguments)?;
    let mut lists = ListBuilder::new(StringBuilder::new());
    for name in found.as_string::<i32>() {
        for part in name.into_iter().flat_map(|name| name.split('.')) {
            match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
                Some(quoted) => lists.values().append_value(quoted.replace("\"\"", "\"")),
                None => lists.values().append_value(part.to_lowercase()),
            }
        }
        lists.append(name.is_some());
    }
    answered(arguments, Arc::new(lists.finish()))
}

fn current_schemas(_: &[ColumnarValue]) -> Result<ColumnarValue> {
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.values().append_value("pg_catalog");
    lists.values().append_value(SCHEMA);
    lists.append(true);
    let list: ArrayRef = Arc::new(lists.finish());
    Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&list, 0)?))
}
