//! What there is to ask, as Flight SQL lists it.
//!
//! Promise: one catalogue with one schema, the names that statements may put before a table's, and
//! in it all that has events and findings. What a list is narrowed down by is bounded: a pattern
//! or a list of names from outside is never worked on for long.

use std::sync::{Arc, LazyLock};

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTables,
    CommandGetXdbcTypeInfo, SqlInfo, SqlSupportedTransaction,
};
use tonic::Status;

use super::rows::told;
use crate::query::postgres::catalog::{DATABASE, SCHEMA};
use crate::query::service::Listed;

/// Longest pattern of names, bytes.
const PATTERN_BYTES_MAX: usize = 1 << 10;

/// Most names, numbers and types that a list is narrowed down to.
const CHOICES_MAX: usize = 1_000;

const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";

type Listing = Result<RecordBatch, Status>;

/// What every client may know of this server.
static ABOUT: LazyLock<Result<SqlInfoData, String>> = LazyLock::new(|| {
    let mut about = SqlInfoDataBuilder::new();
    about.append(SqlInfo::FlightSqlServerName, "auditmill");
    about.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    // Of the columnar format, not of a library.
    about.append(SqlInfo::FlightSqlServerArrowVersion, "1.5");
    about.append(SqlInfo::FlightSqlServerReadOnly, true);
    about.append(SqlInfo::FlightSqlServerSql, true);
    about.append(SqlInfo::FlightSqlServerSubstrait, false);
    about.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    about.append(SqlInfo::FlightSqlServerCancel, false);
    about.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    about.append(SqlInfo::SqlDdlCatalog, false);
    about.append(SqlInfo::SqlDdlSchema, false);
    about.append(SqlInfo::SqlDdlTable, false);
    about.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    about.append(SqlInfo::SqlAllTablesAreSelectable, true);
    about.append(SqlInfo::SqlSchemaTerm, "schema");
    about.append(SqlInfo::SqlCatalogTerm, "database");
    about.append(SqlInfo::SqlCatalogAtStart, true);
    about.build().map_err(|error| error.to_string())
});

/// The only catalogue.
pub(super) fn catalogs(command: CommandGetCatalogs) -> Listing {
    let mut found = command.into_builder();
    found.append(DATABASE);
    Ok(found.build()?)
}

/// The only schema.
pub(super) fn schemas(command: CommandGetDbSchemas) -> Listing {
    check_patterns([&command.catalog, &command.db_schema_filter_pattern])?;
    let mut found = command.into_builder();
    found.append(DATABASE, SCHEMA);
    Ok(found.build()?)
}

/// The tables and views, with their columns where that is asked for.
pub(super) fn tables(command: CommandGetTables, listed: &[Listed]) -> Listing {
    check_patterns([
        &command.catalog,
        &command.db_schema_filter_pattern,
        &command.table_name_filter_pattern,
    ])?;
    check_choices(command.table_types.len())?;
    let mut found = command.into_builder();
    for table in listed {
        let kind = if table.is_view { VIEW } else { TABLE };
        found.append(DATABASE, SCHEMA, &table.name, kind, &told(&table.schema))?;
    }
    Ok(found.build()?)
}

/// The kinds of tables.
pub(super) fn table_types() -> Listing {
    let kinds = Arc::new(StringArray::from(vec![TABLE, VIEW]));
    let schema = Schema::new(vec![Field::new("table_type", DataType::Utf8, false)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![kinds]);
    Ok(batch.map_err(FlightError::from)?)
}

/// What this server is and can do.
pub(super) fn sql_info(command: &CommandGetSqlInfo) -> Listing {
    check_choices(command.info.len())?;
    let about = ABOUT.as_ref().map_err(Status::internal)?;
    Ok(about.record_batch(command.info.iter().copied())?)
}

/// None: the types are Arrow's own.
pub(super) fn xdbc_types(command: CommandGetXdbcTypeInfo) -> Listing {
    Ok(XdbcTypeInfoDataBuilder::new().build()?.record_batch(command.data_type)?)
}

/// There are no keys.
pub(super) fn no_primary_keys() -> RecordBatch {
    empty(&[
        ("catalog_name", DataType::Utf8, true),
        ("db_schema_name", DataType::Utf8, true),
        ("table_name", DataType::Utf8, false),
        ("column_name", DataType::Utf8, false),
        ("key_sequence", DataType::Int32, false),
        ("key_name", DataType::Utf8, true),
    ])
}

/// Nor does one refer to another.
pub(super) fn no_foreign_keys() -> RecordBatch {
    empty(&[
        ("pk_catalog_name", DataType::Utf8, true),
        ("pk_db_schema_name", DataType::Utf8, true),
        ("pk_table_name", DataType::Utf8, false),
        ("pk_column_name", DataType::Utf8, false),
        ("fk_catalog_name", DataType::Utf8, true),
        ("fk_db_schema_name", DataType::Utf8, true),
        ("fk_table_name", DataType::Utf8, false),
        ("fk_column_name", DataType::Utf8, false),
        ("key_sequence", DataType::Int32, false),
        ("fk_key_name", DataType::Utf8, true),
        ("pk_key_name", DataType::Utf8, true),
        ("update_rule", DataType::UInt8, false),
        ("delete_rule", DataType::UInt8, false),
    ])
}

fn empty(columns: &[(&str, DataType, bool)]) -> RecordBatch {
    let field = |(name, data_type, nullable): &(&str, DataType, bool)| {
        Field::new(*name, data_type.clone(), *nullable)
    };
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::new_empty(Arc::new(schema))
}

fn check_patterns<const N: usize>(patterns: [&Option<String>; N]) -> Result<(), Status> {
    let longest = patterns.into_iter().flatten().map(String::len).max();
    if longest.is_some_and(|longest| longest > PATTERN_BYTES_MAX) {
        let message = format!("a pattern of names has at most {PATTERN_BYTES_MAX} bytes");
        return Err(Status::invalid_argument(message));
    }
    Ok(())
}

fn check_choices(count: usize) -> Result<(), Status> {
    if count > CHOICES_MAX {
        let message = format!("a list is narrowed down to at most {CHOICES_MAX} choices");
        return Err(Status::invalid_argument(message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(command: CommandGetTables) -> Vec<String> {
        let schema = Arc::new(Schema::new(vec![Field::new("verb", DataType::Utf8View, false)]));
        let listed = ["events", "requests"].map(|name| Listed {
            name: name.to_owned(),
            is_view: name == "requests",
            schema: Arc::clone(&schema),
        });
        let batch = tables(command, &listed).unwrap();
        let names = batch.column(2).as_any().downcast_ref::<StringArray>().unwrap();
        names.iter().flatten().map(str::to_owned).collect()
    }

    #[test]
    fn tables_are_narrowed_down() {
        assert_eq!(names(CommandGetTables::default()), ["events", "requests"]);
        let views =
            CommandGetTables { table_types: vec![VIEW.to_owned()], ..CommandGetTables::default() };
        assert_eq!(names(views), ["requests"]);
        let pattern = Some("ev%".to_owned());
        let some = CommandGetTables {
            table_name_filter_pattern: pattern,
            include_schema: true,
            ..CommandGetTables::default()
        };
        assert_eq!(names(some), ["events"]);
        let other =
            CommandGetTables { catalog: Some("other".to_owned()), ..CommandGetTables::default() };
        assert!(names(other).is_empty());
    }

    #[test]
    fn what_narrows_down_is_bounded() {
        let long = CommandGetTables {
            table_name_filter_pattern: Some("_%".repeat(PATTERN_BYTES_MAX)),
            ..CommandGetTables::default()
        };
        assert!(tables(long, &[]).is_err());
        assert!(sql_info(&CommandGetSqlInfo { info: vec![8; CHOICES_MAX + 1] }).is_err());
        let one = sql_info(&CommandGetSqlInfo { info: vec![8, 4_000] }).unwrap();
        assert_eq!(one.num_rows(), 1);
    }
}
