//! What clients ask about tables: `pg_catalog` and `information_schema`, made once of the tables
//! that there are.
//!
//! Promise: all that can be asked is in it, with its columns in order and the types that answers
//! have. Never: an index, a constraint or a default that is not there. Tables of it that have no
//! rows here are known as such (`rewrite.rs`).

mod row;
mod shape;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
    SchemaProvider, TableProvider,
};
use datafusion::datasource::{MemTable, TableType};
use datafusion::error::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::ObjectName;
use futures::FutureExt as _;

pub(super) use self::row::type_name;
use super::function;
use crate::sql::views::VIEWS;

/// The only database.
pub(crate) const DATABASE: &str = "auditmill";

/// The schema of all tables that have events and findings.
pub(crate) const SCHEMA: &str = "public";

/// Schemas and their numbers; the first two numbers are PostgreSQL's.
const SCHEMAS: [(&str, i32); 3] =
    [("pg_catalog", 11), (SCHEMA, 2200), ("information_schema", 13_000)];

/// The number of the only role, which owns everything, and of the only database.
const ROLE_NUMBER: i32 = 10;
const DATABASE_NUMBER: i32 = 5;
/// The number of the first of our tables, as in PostgreSQL, and of the first of the catalogue's.
const FIRST_TABLE: i32 = 16_384;
const FIRST_CATALOG_TABLE: i32 = 12_000;

/// Those of the catalogue's tables whose numbers clients know by heart.
const KNOWN: [(&str, i32); 6] = [
    ("pg_type", 1247),
    ("pg_attribute", 1249),
    ("pg_proc", 1255),
    ("pg_class", 1259),
    ("pg_database", 1262),
    ("pg_namespace", 2615),
];

/// The names of the catalogue.
#[derive(Debug, Default)]
pub(crate) struct Names {
    tables: HashMap<String, i32>,
    without_rows: BTreeSet<String>,
}

impl Names {
    /// Whether `pg_catalog` has this table.
    pub(super) fn has(&self, name: &str) -> bool {
        name.starts_with("pg_") && self.tables.contains_key(name)
    }

    /// Whether this is a table of the catalogue that has no rows.
    pub(super) fn is_empty(&self, name: &ObjectName) -> bool {
        let parts: Vec<_> = name.0.iter().filter_map(|part| part.as_ident()).collect();
        match parts.as_slice() {
            [table] => self.without_rows.contains(&table.value),
            [schema, table] => schema.value != SCHEMA && self.without_rows.contains(&table.value),
            _ => false,
        }
    }

    /// The number that a name stands for in a cast such as `'events'::regclass`.
    pub(super) fn number(&self, kind: &str, text: &str) -> Option<i64> {
        if let Ok(number) = text.parse() {
            return Some(number);
        }
        let name = text.rsplit('.').next().unwrap_or(text).trim_matches('"');
        match kind {
            "regclass" => self.tables.get(name).map(|number| i64::from(*number)),
            "regnamespace" => SCHEMAS
                .iter()
                .find(|(schema, _)| *schema == name)
                .map(|(_, number)| (*number).into()),
            "regtype" => row::type_number(name, text),
            "regrole" => Some(ROLE_NUMBER.into()),
            _ => None,
        }
    }
}

/// A table of any schema.
struct Table {
    number: i32,
    schema: (&'static str, i32),
    name: String,
    columns: SchemaRef,
    is_view: bool,
    definition: Option<String>,
}

/// A session for clients of PostgreSQL, over these tables and the views of `context`, with its
/// limits and memory.
///
/// # Errors
/// When a table cannot be registered.
pub(crate) fn session(
    context: &SessionContext,
    tables: Vec<(&'static str, Arc<dyn TableProvider>)>,
) -> Result<(SessionContext, Names)> {
    let mut tables = tables;
    for (name, _) in VIEWS {
        // Without events there are no views; those that there are are there at once.
        if let Some(Ok(view)) = context.table_provider(name).now_or_never() {
            tables.push((name, view));
        }
    }
    tables.sort_by_key(|(name, _)| *name);
    let list = MemoryCatalogProviderList::new();
    let state = context.state();
    let mut config = state.config().clone().with_default_catalog_and_schema(DATABASE, SCHEMA);
    config = config.with_create_default_catalog_and_schema(false).with_information_schema(false);
    let database = Arc::new(MemoryCatalogProvider::new());
    let public = Arc::new(MemorySchemaProvider::new());
    for (name, table) in &tables {
        public.register_table((*name).to_owned(), Arc::clone(table))?;
    }
    database.register_schema(SCHEMA, public)?;
    let tables = listed(&tables);
    let (schemas, names) = schemas(&tables)?;
    for (name, schema) in schemas {
        database.register_schema(name, schema)?;
    }
    datafusion::catalog::CatalogProviderList::register_catalog(
        &list,
        DATABASE.to_owned(),
        database,
    );
    let state = SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .with_catalog_list(Arc::new(list));
    let session = SessionContext::new_with_state(state.build());
    let view = |table: &Table| Some((table.number.into(), table.definition.clone()?));
    function::register(&session, tables.iter().filter_map(view).collect());
    Ok((session, names))
}

/// All tables with their numbers.
fn listed(tables: &[(&'static str, Arc<dyn TableProvider>)]) -> Vec<Table> {
    let mut found = Vec::new();
    for (number, (name, table)) in (FIRST_TABLE..).zip(tables) {
        let definition = table.get_table_definition().map(str::to_owned);
        found.push(Table {
            number,
            schema: SCHEMAS[1],
            name: (*name).to_owned(),
            columns: table.schema(),
            is_view: table.table_type() == TableType::View,
            definition,
        });
    }
    let catalog = shape::PG_CATALOG.iter().chain(&shape::LISTS).map(|table| (SCHEMAS[0], table));
    let information = shape::INFORMATION_SCHEMA.iter().map(|table| (SCHEMAS[2], table));
    for (number, (schema, (name, columns))) in
        (FIRST_CATALOG_TABLE..).zip(catalog.chain(information))
    {
        let known = KNOWN.iter().find(|(known, _)| known == name).map(|(_, number)| *number);
        found.push(Table {
            number: known.unwrap_or(number),
            schema,
            name: (*name).to_owned(),
            columns: shape::schema(columns),
            is_view: schema == SCHEMAS[2],
            definition: None,
        });
    }
    found
}

type Schemas = Vec<(&'static str, Arc<dyn SchemaProvider>)>;

fn schemas(tables: &[Table]) -> Result<(Schemas, Names)> {
    let mut names = Names::default();
    for table in tables {
        names.tables.insert(table.name.clone(), table.number);
    }
    let mut schemas: Schemas = Vec::new();
    for (schema, shapes) in [
        ("pg_catalog", [&shape::PG_CATALOG[..], &shape::LISTS[..]].concat()),
        ("information_schema", shape::INFORMATION_SCHEMA.to_vec()),
    ] {
        let provider = Arc::new(MemorySchemaProvider::new());
        for (name, columns) in shapes {
            let columns = shape::schema(columns);
            let rows = if schema == "pg_catalog" {
                row::pg_rows(name, tables)
            } else {
                row::rows(name, tables)
            };
            if rows.is_empty() {
                names.without_rows.insert(name.to_owned());
            }
            let rows = shape::batch(&columns, &rows)?;
            let table = MemTable::try_new(columns, vec![vec![rows]])?;
            provider.register_table(name.to_owned(), Arc::new(table))?;
        }
        schemas.push((schema, provider));
    }
    Ok((schemas, names))
}
