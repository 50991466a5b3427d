//! Statements as clients of PostgreSQL write them, as the engine reads them.
//!
//! Questions to the catalogue use words that the engine does not have. Promise: what is taken out
//! says nothing about rows (`COLLATE`, a schema before a function's name), and what is put in means
//! the same. Never: a question that names no table of the catalogue gets other rows by it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, JoinOperator,
    ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins,
    Value, VisitMut as _, VisitorMut,
};

use super::catalog::{Names, SCHEMA};

/// Rewrites a statement; `names` are those of the catalogue.
pub(crate) fn rewrite(statement: &mut Parsed, names: &Names) {
    match statement {
        Parsed::Statement(statement) => {
            let _ = statement.visit(&mut Rewriter { names });
        }
        Parsed::Explain(explain) => rewrite(&mut explain.statement, names),
        _ => {}
    }
}

struct Rewriter<'a> {
    names: &'a Names,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = query.body.as_ref()
            && self.is_empty(select)
        {
            // No rows have no order, by columns that are not there any more.
            query.order_by = None;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if self.is_empty(select) {
            empty(select);
        }
        twice(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            // The schemas of `search_path`, which some clients take apart by themselves.
            Expr::InSubquery { expr: asked, subquery, negated } if asks_search_path(subquery) => {
                let schema = Expr::value(Value::SingleQuotedString(SCHEMA.to_owned()));
                *expr = Expr::InList {
                    expr: Box::new(taken(asked)),
                    list: vec![schema],
                    negated: *negated,
                };
            }
            Expr::Subquery(subquery) => self.one_row(subquery),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        let [part] = relation.0.as_slice() else { return ControlFlow::Continue(()) };
        if part.as_ident().is_some_and(|name| self.names.has(&name.value.to_ascii_lowercase())) {
            relation.0.insert(0, ObjectNamePart::Identifier(Ident::new("pg_catalog")));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.expression(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        // Functions in FROM are named there like tables.
        let (TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. }) =
            factor
        else {
            return ControlFlow::Continue(());
        };
        unqualify(name);
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    fn expression(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Collate { expr: inner, .. } => *expr = taken(inner),
            Expr::Function(function) => {
                unqualify(&mut function.name);
                let name = function.name.to_string().to_ascii_lowercase();
                match (name.as_str(), &function.args) {
                    ("array_upper", _) => {
                        function.name = ObjectName::from(vec![Ident::new("array_length")]);
                    }
                    // `ARRAY(SELECT ...)`: of what has no rows here, or belongs to what has none.
                    ("array", FunctionArguments::Subquery(_)) => {
                        *expr = null(DataType::Array(ArrayElemTypeDef::SquareBracket(
                            Box::new(DataType::Text),
                            None,
                        )));
                    }
                    _ => {}
                }
            }
            Expr::BinaryOp { op, .. } => {
                if let BinaryOperator::PGCustomBinaryOperator(parts) = op
                    && let Some(known) = parts.last().and_then(|sign| operator(sign))
                {
                    *op = known;
                }
            }
            Expr::Cast { expr: inner, data_type, .. } => {
                if let Some(instead) = self.cast(inner, data_type) {
                    *expr = instead;
                }
            }
            // `'{a,b}'` is a list where a list is asked for.
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => list(right),
            _ => {}
        }
    }

    /// Casts to types that only a catalogue knows.
    fn cast(&self, inner: &mut Expr, data_type: &mut DataType) -> Option<Expr> {
        let name = match data_type {
            DataType::Regclass => "regclass".to_owned(),
            DataType::Custom(name, _) => name.0.last()?.as_ident()?.value.to_ascii_lowercase(),
            _ => return None,
        };
        let literal = match inner {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) => Some(text.as_str()),
                _ => None,
            },
            _ => None,
        };
        match name.as_str() {
            "regclass" | "regtype" | "regnamespace" | "regproc" | "regrole" | "oid" => {
                let Some(text) = literal else {
                    if name == "oid" {
                        *data_type = DataType::Int(None);
                        return None;
                    }
                    // As a text, what has such a number is its name; nothing has more than one.
                    return Some(taken(inner));
                };
                let number = self.names.number(&name, text);
                Some(number.map_or(Expr::value(Value::Null), |number| {
                    Expr::value(Value::Number(number.to_string(), false))
                }))
            }
            "name" | "text" | "char" | "sql_identifier" | "character_data" | "yes_or_no"
            | "pg_node_tree" | "xid" | "aclitem" | "cstring" | "varchar" | "bpchar" => {
                *data_type = DataType::Text;
                None
            }
            "int2" => retyped(data_type, DataType::SmallInt(None)),
            "int4" | "cardinal_number" => retyped(data_type, DataType::Int(None)),
            "int8" => retyped(data_type, DataType::BigInt(None)),
            "bool" => retyped(data_type, DataType::Boolean),
            "oidvector" | "int2vector" | "json" | "jsonb" => retyped(data_type, DataType::Text),
            _ => None,
        }
    }

    /// Whether all rows of a SELECT are made with those of a catalogue's table that has none.
    fn is_empty(&self, select: &Select) -> bool {
        let is_empty = |factor: &TableFactor| match factor {
            TableFactor::Table { name, args: None, .. } => self.names.is_empty(name),
            _ => false,
        };
        select.from.iter().any(|from| {
            let joined = from.joins.iter().any(|join| {
                let is_inner = matches!(
                    join.join_operator,
                    JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
                );
                is_inner && is_empty(&join.relation)
            });
            is_empty(&from.relation) || joined
        })
    }

    /// A value that is asked of the catalogue by a key: it has one row, which the engine does not
    /// know.
    fn one_row(&self, query: &mut Query) {
        let SetExpr::Select(select) = query.body.as_mut() else { return };
        let is_catalog = |from: &TableWithJoins| match &from.relation {
            TableFactor::Table { name, args: None, .. } => {
                let name = name.0.last().and_then(|part| part.as_ident());
                from.joins.is_empty() && name.is_some_and(|name| self.names.has(&name.value))
            }
            _ => false,
        };
        if select.from.is_empty()
            || !select.from.iter().all(is_catalog)
            || query.limit_clause.is_some()
        {
            return;
        }
        let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] =
            select.projection.as_mut_slice()
        else {
            return;
        };
        if has_aggregate(expr) {
            return;
        }
        let list = FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(taken(expr)))],
            clauses: vec![],
        };
        *expr = Expr::Function(Function {
            name: ObjectName::from(vec![Ident::new("max")]),
            uses_odbc_syntax: false,
            parameters: FunctionArguments::None,
            args: FunctionArguments::List(list),
            filter: None,
            null_treatment: None,
            over: None,
            within_group: vec![],
        });
        query.order_by = None;
    }
}

/// Whether a query gives the parts of `search_path`.
fn asks_search_path(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    select.from.iter().any(|from| {
        let relation = from.relation.to_string();
        relation.contains("generate_series") && relation.contains("'search_path'")
    })
}

fn has_aggregate(expr: &Expr) -> bool {
    let text = expr.to_string().to_ascii_lowercase();
    ["count(", "max(", "min(", "sum(", "agg(", "array("].iter().any(|name| text.contains(name))
}

fn retyped(data_type: &mut DataType, to: DataType) -> Option<Expr> {
    *data_type = to;
    None
}

fn taken(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::value(Value::Null))
}

/// The same SELECT, from nothing: names of its columns, and no rows.
fn empty(select: &mut Select) {
    let is_plain = select
        .projection
        .iter()
        .all(|item| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }));
    if !is_plain {
        // `*` needs its tables; they are simple then.
        return;
    }
    let mut names = BTreeSet::new();
    for item in &mut select.projection {
        let alias = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.clone(),
            SelectItem::UnnamedExpr(expr) => Ident::with_quote('"', column_name(expr)),
            _ => continue,
        };
        let mut alias = alias;
        while !names.insert(alias.value.clone()) {
            alias.value.push('_');
        }
        *item = SelectItem::ExprWithAlias { expr: null(DataType::Text), alias };
    }
    select.distinct = None;
    select.from.clear();
    select.selection = Some(Expr::value(Value::Boolean(false)));
    select.group_by = GroupByExpr::Expressions(vec![], vec![]);
    select.having = None;
    select.named_window.clear();
}

fn null(data_type: DataType) -> Expr {
    let (kind, expr) = (CastKind::DoubleColon, Box::new(Expr::value(Value::Null)));
    Expr::Cast { kind, expr, data_type, array: false, format: None }
}

/// `t.a, t.*` has a column twice, which the engine takes for a mistake: the first gets a name of
/// its own.
fn twice(select: &mut Select) {
    let is_wildcard = |item: &SelectItem| {
        matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
    };
    if !select.projection.iter().any(is_wildcard) {
        return;
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && let Expr::Identifier(_) | Expr::CompoundIdentifier(_) = expr
        {
            let alias = Ident::with_quote('"', column_name(expr) + "_");
            *item = SelectItem::ExprWithAlias { expr: taken(expr), alias };
        }
    }
}

/// What PostgreSQL calls a column that nobody named.
fn column_name(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(names) => {
            names.last().map_or_else(String::new, |name| name.value.clone())
        }
        Expr::Function(function) => {
            function.name.0.last().map_or_else(String::new, ToString::to_string)
        }
        Expr::Cast { expr, .. } => column_name(expr),
        Expr::Case { .. } => "case".to_owned(),
        _ => "?column?".to_owned(),
    }
}

fn unqualify(name: &mut ObjectName) {
    if let [schema, _] = name.0.as_slice()
        && schema.as_ident().is_some_and(|schema| schema.value.eq_ignore_ascii_case("pg_catalog"))
    {
        name.0.remove(0);
    }
}

fn operator(sign: &str) -> Option<BinaryOperator> {
    Some(match sign {
        "~" => BinaryOperator::PGRegexMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        ">" => BinaryOperator::Gt,
        "<=" => BinaryOperator::LtEq,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "||" => BinaryOperator::StringConcat,
        _ => return None,
    })
}

/// `'{a,b}'`, with a cast or without, as a list of texts.
fn list(expr: &mut Expr) {
    let text = match expr {
        Expr::Nested(inner) => return list(inner),
        Expr::Cast { expr: inner, data_type: DataType::Array(_), .. } => match inner.as_ref() {
            Expr::Value(value) => value.clone(),
            _ => return,
        },
        Expr::Value(value) => value.clone(),
        _ => return,
    };
    let Value::SingleQuotedString(text) = text.value else { return };
    let Some(items) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
        return;
    };
    let item = |item: &str| {
        let text = item.trim().trim_matches('"').to_owned();
        Expr::value(Value::SingleQuotedString(text))
    };
    let elem = items.split(',').filter(|item| !item.is_empty()).map(item).collect();
    *expr = Expr::Array(Array { elem, named: true });
}
