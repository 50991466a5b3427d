//! The rows of the catalogue's tables.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::Field;
use pgwire::api::Type;

use super::shape::{Cell, Row};
use super::{DATABASE, DATABASE_NUMBER, ROLE_NUMBER, SCHEMA, SCHEMAS, Table};
use crate::query::postgres::{column, function, reply};

/// Types, their names in SQL and their categories.
const TYPES: [(Type, &str, &str); 22] = [
    (Type::BOOL, "boolean", "B"),
    (Type::BYTEA, "bytea", "U"),
    (Type::CHAR, "\"char\"", "Z"),
    (Type::NAME, "name", "S"),
    (Type::INT8, "bigint", "N"),
    (Type::INT2, "smallint", "N"),
    (Type::INT4, "integer", "N"),
    (Type::REGPROC, "regproc", "N"),
    (Type::TEXT, "text", "S"),
    (Type::OID, "oid", "N"),
    (Type::JSON, "json", "U"),
    (Type::FLOAT4, "real", "N"),
    (Type::FLOAT8, "double precision", "N"),
    (Type::UNKNOWN, "unknown", "X"),
    (Type::BPCHAR, "character", "S"),
    (Type::VARCHAR, "character varying", "S"),
    (Type::DATE, "date", "D"),
    (Type::TIME, "time without time zone", "D"),
    (Type::TIMESTAMP, "timestamp without time zone", "D"),
    (Type::TIMESTAMPTZ, "timestamp with time zone", "D"),
    (Type::INTERVAL, "interval", "T"),
    (Type::NUMERIC, "numeric", "N"),
];

/// Lists, and what is in them.
const ARRAYS: [(Type, Type); 14] = [
    (Type::BOOL_ARRAY, Type::BOOL),
    (Type::BYTEA_ARRAY, Type::BYTEA),
    (Type::INT8_ARRAY, Type::INT8),
    (Type::INT2_ARRAY, Type::INT2),
    (Type::INT4_ARRAY, Type::INT4),
    (Type::TEXT_ARRAY, Type::TEXT),
    (Type::FLOAT4_ARRAY, Type::FLOAT4),
    (Type::FLOAT8_ARRAY, Type::FLOAT8),
    (Type::DATE_ARRAY, Type::DATE),
    (Type::TIME_ARRAY, Type::TIME),
    (Type::TIMESTAMP_ARRAY, Type::TIMESTAMP),
    (Type::TIMESTAMPTZ_ARRAY, Type::TIMESTAMPTZ),
    (Type::INTERVAL_ARRAY, Type::INTERVAL),
    (Type::NUMERIC_ARRAY, Type::NUMERIC),
];

/// A type's name in SQL, `None` for one that no column has.
pub(in super::super) fn type_name(number: i64) -> Option<String> {
    let number = u32::try_from(number).ok()?;
    if let Some((_, name, _)) = TYPES.iter().find(|(found, ..)| found.oid() == number) {
        return Some((*name).to_owned());
    }
    let (_, item) = ARRAYS.iter().find(|(found, _)| found.oid() == number)?;
    type_name(item.oid().into()).map(|name| format!("{name}[]"))
}

/// The number of a type of this name, its own or SQL's.
pub(super) fn type_number(name: &str, sql: &str) -> Option<i64> {
    let mut types = TYPES.iter();
    let found = types.find(|(found, of_sql, _)| found.name() == name || *of_sql == sql);
    found.map(|(found, ..)| found.oid().into())
}

fn row<const N: usize>(cells: [(&'static str, Cell); N]) -> Row {
    HashMap::from(cells)
}

/// The rows of a table of `pg_catalog`.
pub(super) fn pg_rows(name: &str, tables: &[Table]) -> Vec<Row> {
    let owner = || Cell::from(ROLE_NUMBER);
    let ours = || tables.iter().filter(|table| table.schema.0 == SCHEMA);
    match name {
        "pg_namespace" => SCHEMAS
            .iter()
            .map(|(name, number)| {
                row([("oid", (*number).into()), ("nspname", (*name).into()), ("nspowner", owner())])
            })
            .collect(),
        "pg_database" => vec![row([
            ("oid", DATABASE_NUMBER.into()),
            ("datname", DATABASE.into()),
            ("datdba", owner()),
            ("encoding", 6.into()),
            ("datlocprovider", "c".into()),
            ("datallowconn", true.into()),
            ("datconnlimit", (-1).into()),
            ("dattablespace", 1663.into()),
            ("datcollate", "C".into()),
            ("datctype", "C".into()),
        ])],
        "pg_tablespace" => {
            vec![row([
                ("oid", 1663.into()),
                ("spcname", "pg_default".into()),
                ("spcowner", owner()),
            ])]
        }
        "pg_roles" => vec![row([
            ("oid", owner()),
            ("rolname", DATABASE.into()),
            ("rolinherit", true.into()),
            ("rolcanlogin", true.into()),
            ("rolconnlimit", (-1).into()),
        ])],
        "pg_user" => vec![row([("usename", DATABASE.into()), ("usesysid", owner())])],
        "pg_am" => {
            vec![row([("oid", 2.into()), ("amname", "heap".into()), ("amtype", "t".into())])]
        }
        "pg_settings" => function::SETTINGS
            .iter()
            .map(|(name, setting)| {
                let text = |text: &str| Cell::from(text);
                row([
                    ("name", text(name)),
                    ("setting", text(setting)),
                    ("vartype", "string".into()),
                    ("boot_val", text(setting)),
                    ("reset_val", text(setting)),
                ])
            })
            .collect(),
        "pg_class" => tables.iter().map(class).collect(),
        "pg_attribute" => tables.iter().flat_map(attributes).collect(),
        "pg_type" => types(),
        "pg_tables" => ours().filter(|table| !table.is_view).map(table_row).collect(),
        "pg_views" => ours().filter(|table| table.is_view).map(view_row).collect(),
        _ => Vec::new(),
    }
}

fn table_row(table: &Table) -> Row {
    row([
        ("schemaname", SCHEMA.into()),
        ("tablename", table.name.as_str().into()),
        ("tableowner", DATABASE.into()),
    ])
}

fn view_row(table: &Table) -> Row {
    row([
        ("schemaname", SCHEMA.into()),
        ("viewname", table.name.as_str().into()),
        ("viewowner", DATABASE.into()),
        ("definition", table.definition.as_deref().unwrap_or_default().into()),
    ])
}

fn class(table: &Table) -> Row {
    row([
        ("oid", table.number.into()),
        ("relname", table.name.as_str().into()),
        ("relnamespace", table.schema.1.into()),
        ("relowner", ROLE_NUMBER.into()),
        ("relam", if table.is_view { 0 } else { 2 }.into()),
        ("reltuples", (-1).into()),
        ("relpersistence", "p".into()),
        ("relkind", if table.is_view { "v" } else { "r" }.into()),
        ("relnatts", i32::try_from(table.columns.fields().len()).unwrap_or(i32::MAX).into()),
        ("relispopulated", true.into()),
        ("relreplident", "d".into()),
    ])
}

fn attributes(table: &Table) -> Vec<Row> {
    let attribute = |(at, field): (i32, &Arc<Field>)| {
        let found = column::type_of(field);
        row([
            ("attrelid", table.number.into()),
            ("attname", field.name().as_str().into()),
            ("atttypid", i32::try_from(found.oid()).unwrap_or(0).into()),
            ("attstattarget", (-1).into()),
            ("attlen", i32::from(reply::length(&found)).into()),
            ("attnum", at.into()),
            ("attcacheoff", (-1).into()),
            ("atttypmod", (-1).into()),
            ("attstorage", "p".into()),
            ("attalign", "i".into()),
            ("attcompression", "".into()),
            ("attnotnull", (!field.is_nullable()).into()),
            ("attidentity", "".into()),
            ("attgenerated", "".into()),
            ("attislocal", true.into()),
        ])
    };
    (1..).zip(table.columns.fields()).map(attribute).collect()
}

fn types() -> Vec<Row> {
    let number = |number: u32| Cell::Number(number.into());
    let array_of = |found: &Type| ARRAYS.iter().find(|(_, item)| item == found);
    let one = |found: &Type, category: &str, item: u32, array: u32, is_array: bool| {
        row([
            ("oid", number(found.oid())),
            ("typname", found.name().into()),
            ("typnamespace", SCHEMAS[0].1.into()),
            ("typowner", ROLE_NUMBER.into()),
            ("typlen", i32::from(reply::length(found)).into()),
            ("typbyval", (reply::length(found) > 0).into()),
            ("typtype", "b".into()),
            ("typcategory", category.into()),
            ("typisdefined", true.into()),
            ("typdelim", ",".into()),
            ("typelem", number(item)),
            ("typarray", number(array)),
            ("typinput", if is_array { "array_in" } else { found.name() }.into()),
            ("typalign", "i".into()),
            ("typstorage", "p".into()),
            ("typtypmod", (-1).into()),
        ])
    };
    let plain = TYPES.iter().map(|(found, _, category)| {
        one(found, category, 0, array_of(found).map_or(0, |(array, _)| array.oid()), false)
    });
    let arrays = ARRAYS.iter().map(|(found, item)| one(found, "A", item.oid(), 0, true));
    plain.chain(arrays).collect()
}

/// The rows of a table of `information_schema`.
pub(super) fn rows(name: &str, tables: &[Table]) -> Vec<Row> {
    let text = |text: &str| Cell::from(text);
    let of = |table: &Table| {
        row([
            ("table_catalog", DATABASE.into()),
            ("table_schema", table.schema.0.into()),
            ("table_name", text(&table.name)),
        ])
    };
    match name {
        "schemata" => SCHEMAS
            .iter()
            .map(|(name, _)| {
                row([
                    ("catalog_name", DATABASE.into()),
                    ("schema_name", text(name)),
                    ("schema_owner", DATABASE.into()),
                ])
            })
            .collect(),
        "tables" => tables
            .iter()
            .map(|table| {
                let mut row = of(table);
                let kind = if table.is_view { "VIEW" } else { "BASE TABLE" };
                row.extend([("table_type", kind.into()), ("is_insertable_into", "NO".into())]);
                row
            })
            .collect(),
        "views" => tables
            .iter()
            .filter(|table| table.is_view)
            .map(|table| {
                let mut row = of(table);
                row.extend(table.definition.as_deref().map(|sql| ("view_definition", text(sql))));
                row
            })
            .collect(),
        "columns" => tables
            .iter()
            .flat_map(|table| {
                (1..).zip(table.columns.fields()).map(|(at, field)| {
                    let found = column::type_of(field);
                    let nullable = if field.is_nullable() { "YES" } else { "NO" };
                    let is_array = found.name().starts_with('_');
                    let sql = type_name(found.oid().into()).filter(|_| !is_array);
                    let mut row = of(table);
                    row.extend([
                        ("column_name", text(field.name())),
                        ("ordinal_position", Cell::Number(at)),
                        ("is_nullable", nullable.into()),
                        ("data_type", text(sql.as_deref().unwrap_or("ARRAY"))),
                        ("udt_catalog", DATABASE.into()),
                        ("udt_schema", "pg_catalog".into()),
                        ("udt_name", text(found.name())),
                        ("is_identity", "NO".into()),
                        ("is_generated", "NEVER".into()),
                        ("is_updatable", "NO".into()),
                    ]);
                    row
                })
            })
            .collect(),
        _ => Vec::new(),
    }
}
