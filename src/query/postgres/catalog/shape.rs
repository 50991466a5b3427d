//! The tables of `pg_catalog` and `information_schema`: their columns, and rows for them.
//!
//! Columns are those that clients ask for; a letter says of which type each is: `o` a number of the
//! catalogue, `i` an integer, `h` a small one, `b` a flag, `t` a text, `f` a real number, `a`
//! a list of texts, which is always NULL.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int16Array, Int32Array, RecordBatch, StringArray,
    new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::query::postgres::column::OID;

/// Name and columns of each table of `pg_catalog`.
pub(super) const PG_CATALOG: [(&str, &str); 46] = [
    ("pg_aggregate", "o:aggfnoid t:aggkind"),
    ("pg_am", "o:oid t:amname o:amhandler t:amtype"),
    ("pg_attrdef", "o:oid o:adrelid h:adnum t:adbin"),
    (
        "pg_attribute",
        "o:attrelid t:attname o:atttypid i:attstattarget h:attlen h:attnum i:attndims \
         i:attcacheoff i:atttypmod b:attbyval t:attstorage t:attalign t:attcompression \
         b:attnotnull b:atthasdef b:atthasmissing t:attidentity t:attgenerated b:attisdropped \
         b:attislocal i:attinhcount o:attcollation a:attacl a:attoptions a:attfdwoptions",
    ),
    ("pg_auth_members", "o:roleid o:member o:grantor b:admin_option"),
    ("pg_available_extensions", "t:name t:default_version t:installed_version t:comment"),
    ("pg_cast", "o:oid o:castsource o:casttarget o:castfunc t:castcontext t:castmethod"),
    (
        "pg_class",
        "o:oid t:relname o:relnamespace o:reltype o:reloftype o:relowner o:relam o:relfilenode \
         o:reltablespace i:relpages f:reltuples i:relallvisible o:reltoastrelid b:relhasindex \
         b:relisshared t:relpersistence t:relkind h:relnatts h:relchecks b:relhasrules \
         b:relhastriggers b:relhassubclass b:relrowsecurity b:relforcerowsecurity \
         b:relispopulated t:relreplident b:relispartition o:relrewrite a:relacl a:reloptions \
         t:relpartbound",
    ),
    ("pg_collation", "o:oid t:collname o:collnamespace t:collprovider t:collcollate t:collctype"),
    (
        "pg_constraint",
        "o:oid t:conname o:connamespace t:contype b:condeferrable b:condeferred b:convalidated \
         o:conrelid o:contypid o:conindid o:conparentid o:confrelid t:confupdtype t:confdeltype \
         t:confmatchtype b:conislocal a:conkey a:confkey t:conbin",
    ),
    ("pg_conversion", "o:oid t:conname o:connamespace o:conowner i:conforencoding i:contoencoding"),
    (
        "pg_database",
        "o:oid t:datname o:datdba i:encoding t:datlocprovider b:datistemplate b:datallowconn \
         i:datconnlimit o:dattablespace t:datcollate t:datctype t:daticulocale t:datcollversion \
         a:datacl",
    ),
    ("pg_default_acl", "o:oid o:defaclrole o:defaclnamespace t:defaclobjtype a:defaclacl"),
    ("pg_depend", "o:classid o:objid i:objsubid o:refclassid o:refobjid i:refobjsubid t:deptype"),
    ("pg_description", "o:objoid o:classoid i:objsubid t:description"),
    ("pg_enum", "o:oid o:enumtypid f:enumsortorder t:enumlabel"),
    ("pg_event_trigger", "o:oid t:evtname t:evtevent o:evtowner o:evtfoid t:evtenabled a:evttags"),
    (
        "pg_extension",
        "o:oid t:extname o:extowner o:extnamespace b:extrelocatable t:extversion a:extconfig \
         a:extcondition",
    ),
    (
        "pg_foreign_data_wrapper",
        "o:oid t:fdwname o:fdwowner o:fdwhandler o:fdwvalidator a:fdwoptions",
    ),
    ("pg_foreign_server", "o:oid t:srvname o:srvowner o:srvfdw a:srvoptions"),
    ("pg_foreign_table", "o:ftrelid o:ftserver a:ftoptions"),
    (
        "pg_index",
        "o:indexrelid o:indrelid h:indnatts h:indnkeyatts b:indisunique b:indisprimary \
         b:indisexclusion b:indimmediate b:indisclustered b:indisvalid b:indisready b:indislive \
         b:indisreplident t:indkey t:indcollation t:indclass t:indoption t:indexprs t:indpred",
    ),
    ("pg_inherits", "o:inhrelid o:inhparent i:inhseqno b:inhdetachpending"),
    (
        "pg_language",
        "o:oid t:lanname o:lanowner b:lanispl b:lanpltrusted o:lanplcallfoid o:laninline \
         o:lanvalidator a:lanacl",
    ),
    ("pg_locks", "t:locktype o:database o:relation i:pid t:mode b:granted"),
    ("pg_matviews", "t:schemaname t:matviewname t:matviewowner t:definition"),
    ("pg_namespace", "o:oid t:nspname o:nspowner a:nspacl"),
    ("pg_operator", "o:oid t:oprname o:oprnamespace o:oprleft o:oprright o:oprresult"),
    ("pg_partitioned_table", "o:partrelid t:partstrat h:partnatts o:partdefid"),
    (
        "pg_policy",
        "o:oid t:polname o:polrelid t:polcmd b:polpermissive a:polroles t:polqual t:polwithcheck",
    ),
    (
        "pg_proc",
        "o:oid t:proname o:pronamespace o:proowner o:prolang t:prokind b:proretset o:prorettype \
         h:pronargs t:proargtypes a:proargnames a:proargmodes a:proallargtypes t:prosrc \
         o:provariadic t:proargdefaults a:proacl b:proisstrict t:provolatile t:proparallel \
         b:prosecdef b:proleakproof f:procost f:prorows t:probin a:proconfig t:prosqlbody",
    ),
    ("pg_publication", "o:oid t:pubname o:pubowner b:puballtables"),
    ("pg_publication_namespace", "o:oid o:pnpubid o:pnnspid"),
    ("pg_publication_rel", "o:oid o:prpubid o:prrelid t:prqual t:prattrs"),
    ("pg_range", "o:rngtypid o:rngsubtype"),
    ("pg_rewrite", "o:oid t:rulename o:ev_class t:ev_type t:ev_enabled b:is_instead"),
    (
        "pg_roles",
        "o:oid t:rolname b:rolsuper b:rolinherit b:rolcreaterole b:rolcreatedb b:rolcanlogin \
         b:rolreplication i:rolconnlimit t:rolpassword t:rolvaliduntil b:rolbypassrls a:rolconfig",
    ),
    ("pg_sequence", "o:seqrelid o:seqtypid i:seqstart i:seqincrement"),
    (
        "pg_settings",
        "t:name t:setting t:unit t:category t:short_desc t:extra_desc t:context t:vartype t:source \
         t:min_val t:max_val a:enumvals t:boot_val t:reset_val t:sourcefile i:sourceline \
         b:pending_restart",
    ),
    ("pg_shdescription", "o:objoid o:classoid t:description"),
    ("pg_stat_activity", "o:datid t:datname i:pid t:usename t:application_name t:state t:query"),
    (
        "pg_statistic_ext",
        "o:oid o:stxrelid t:stxname o:stxnamespace o:stxowner a:stxkind t:stxkeys i:stxstattarget",
    ),
    ("pg_tablespace", "o:oid t:spcname o:spcowner a:spcacl a:spcoptions"),
    (
        "pg_trigger",
        "o:oid o:tgrelid t:tgname o:tgfoid t:tgenabled b:tgisinternal o:tgconstraint o:tgparentid",
    ),
    (
        "pg_type",
        "o:oid t:typname o:typnamespace o:typowner h:typlen b:typbyval t:typtype t:typcategory \
         b:typispreferred b:typisdefined t:typdelim o:typrelid o:typelem o:typarray t:typinput \
         t:typoutput t:typalign t:typstorage b:typnotnull o:typbasetype i:typtypmod i:typndims \
         o:typcollation t:typdefault a:typacl",
    ),
    ("pg_user", "t:usename o:usesysid b:usecreatedb b:usesuper t:passwd t:valuntil"),
];

/// Views of `pg_catalog` whose rows say the same once more.
pub(super) const LISTS: [(&str, &str); 4] = [
    (
        "pg_tables",
        "t:schemaname t:tablename t:tableowner t:tablespace b:hasindexes b:hasrules \
         b:hastriggers b:rowsecurity",
    ),
    ("pg_views", "t:schemaname t:viewname t:viewowner t:definition"),
    ("pg_indexes", "t:schemaname t:tablename t:indexname t:tablespace t:indexdef"),
    ("pg_stat_user_tables", "o:relid t:schemaname t:relname i:n_live_tup"),
];

/// Name and columns of each table of `information_schema`.
pub(super) const INFORMATION_SCHEMA: [(&str, &str); 8] = [
    (
        "columns",
        "t:table_catalog t:table_schema t:table_name t:column_name i:ordinal_position \
         t:column_default t:is_nullable t:data_type i:character_maximum_length \
         i:character_octet_length i:numeric_precision i:numeric_precision_radix i:numeric_scale \
         i:datetime_precision t:udt_catalog t:udt_schema t:udt_name t:is_identity \
         t:is_generated t:is_updatable",
    ),
    (
        "constraint_column_usage",
        "t:table_catalog t:table_schema t:table_name t:column_name t:constraint_catalog \
         t:constraint_schema t:constraint_name",
    ),
    (
        "key_column_usage",
        "t:constraint_catalog t:constraint_schema t:constraint_name t:table_catalog \
         t:table_schema t:table_name t:column_name i:ordinal_position \
         i:position_in_unique_constraint",
    ),
    (
        "referential_constraints",
        "t:constraint_catalog t:constraint_schema t:constraint_name t:unique_constraint_schema \
         t:unique_constraint_name t:update_rule t:delete_rule",
    ),
    ("schemata", "t:catalog_name t:schema_name t:schema_owner"),
    (
        "table_constraints",
        "t:constraint_catalog t:constraint_schema t:constraint_name t:table_catalog \
         t:table_schema t:table_name t:constraint_type",
    ),
    ("tables", "t:table_catalog t:table_schema t:table_name t:table_type t:is_insertable_into"),
    ("views", "t:table_catalog t:table_schema t:table_name t:view_definition"),
];

/// A value of a row.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Number(i64),
    Flag(bool),
    Text(String),
}

impl From<i32> for Cell {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A row: the columns that have a value. Others are 0 or false, texts NULL.
pub(super) type Row = HashMap<&'static str, Cell>;

/// The schema that a list of columns describes.
pub(super) fn schema(columns: &str) -> SchemaRef {
    let fields = columns.split_whitespace().filter_map(|column| {
        let (kind, name) = column.split_once(':')?;
        let field = |data_type| Field::new(name, data_type, true);
        Some(match kind {
            "o" => {
                let mark = [(OID.0.to_owned(), OID.1.to_owned())];
                field(DataType::Int32).with_metadata(HashMap::from(mark))
            }
            "i" => field(DataType::Int32),
            "h" => field(DataType::Int16),
            "b" => field(DataType::Boolean),
            "f" => field(DataType::Float64),
            "a" => field(DataType::new_list(DataType::Utf8, true)),
            _ => field(DataType::Utf8),
        })
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The rows as a batch.
///
/// # Errors
/// Never in practice: each column is as long as there are rows.
pub(super) fn batch(schema: &SchemaRef, rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let cells = || rows.iter().map(|row| row.get(field.name().as_str()));
        let numbers = || {
            cells().map(|cell| match cell {
                Some(Cell::Number(number)) => *number,
                _ => 0,
            })
        };
        match field.data_type() {
            DataType::Int32 => {
                let number = |number| i32::try_from(number).unwrap_or(i32::MAX);
                Arc::new(Int32Array::from_iter_values(numbers().map(number)))
            }
            DataType::Int16 => {
                let number = |number| i16::try_from(number).unwrap_or(i16::MAX);
                Arc::new(Int16Array::from_iter_values(numbers().map(number)))
            }
            DataType::Float64 => {
                let number = |number| f64::from(i32::try_from(number).unwrap_or(i32::MAX));
                Arc::new(Float64Array::from_iter_values(numbers().map(number)))
            }
            DataType::Boolean => {
                let flags = cells().map(|cell| Some(matches!(cell, Some(Cell::Flag(true)))));
                Arc::new(flags.collect::<BooleanArray>())
            }
            DataType::List(_) => new_null_array(field.data_type(), rows.len()),
            _ => {
                let texts = cells().map(|cell| match cell {
                    Some(Cell::Text(text)) => Some(text.as_str()),
                    _ => None,
                });
                Arc::new(texts.collect::<StringArray>())
            }
        }
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect())
}
