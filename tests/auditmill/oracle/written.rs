//! A shipped detection as the model has to know it: its text taken apart by SQL's parser alone.

use std::ops::ControlFlow;

use auditmill::detect::catalog::Catalog;
use auditmill::detect::detection::{Detection, Kind, Param};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, Select, SelectItem, SetExpr, Statement, Value,
    VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::HOUR;
use super::event::start;
use super::subject::{Asks, Subject};

/// Thresholds of windows are lowered to this, so that stories stay short.
const THRESHOLD_MAX: i64 = 4;

/// A detection as the model has to know it, or in a word what the model does not know.
pub(super) fn subject(catalog: &Catalog, shipped: &Detection) -> Result<Subject, &'static str> {
    let text = lowered(shipped);
    let detection = Detection::parse(&shipped.path, &text).unwrap();
    let asks = match &detection.kind {
        Kind::Plain => Asks::Plain,
        Kind::FirstSeen(novelty) => {
            Asks::New { key: novelty.key.clone(), lookback: novelty.lookback, learn: novelty.learn }
        }
        Kind::Absent(length) => Asks::Gone { length: *length },
        Kind::Silent(_) => return Err("clock"),
        Kind::OverFindings => return Err("findings"),
    };
    let select = parsed(&detection)?;
    let of_text = Subject {
        id: detection.id.clone(),
        window: detection.window.map(|window| (window.length, window.slide)),
        dedup: detection.dedup,
        describe: detection.describe.clone(),
        asks,
        exempt: exempt(catalog, &detection.id),
        text,
        ..Subject::default()
    };
    if detection.window.is_some() {
        return grouped(of_text, select);
    }
    let key = detection.key_names();
    let keyed = key.iter().enumerate().map(|(at, name)| format!(", q.{name} AS __key_{at}"));
    let keyed: String = keyed.collect();
    let with_id = with(select, [named(column("event_id"), "__event_id")]);
    let query = format!("SELECT q.*{keyed} FROM ({with_id}) AS q");
    let fires_at_once = matches!(of_text.asks, Asks::Plain);
    Ok(Subject { key, query, fires_at_once, ..of_text })
}

/// GROUP BY with or without HAVING, whose groups are the key.
fn grouped(of_text: Subject, select: Select) -> Result<Subject, &'static str> {
    let GroupByExpr::Expressions(groups, modifiers) = &select.group_by else {
        return Err("groups");
    };
    if groups.is_empty() || !modifiers.is_empty() || select.distinct.is_some() {
        return Err("shape");
    }
    let mut key = Vec::new();
    let mut keyed = Vec::new();
    for group in groups {
        let name = name_of(&select, group).ok_or("unnamed")?;
        if name != "cluster" {
            keyed.push(named(group.clone(), &format!("__key_{}", key.len())));
            key.push(name);
        }
    }
    let mut hits = with(Select { projection: Vec::new(), ..select.clone() }, []);
    hits.projection.push(SelectItem::UnnamedExpr(column("event_id")));
    hits.projection.extend(keyed.iter().cloned());
    hits.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    hits.having = None;
    let fires_at_once = select.having.as_ref().is_none_or(stays);
    let query = with(select, keyed).to_string();
    let reads_hits = true;
    Ok(Subject { query, key, hits: hits.to_string(), fires_at_once, reads_hits, ..of_text })
}

/// The SELECT of a detection, with values for what is left open.
fn parsed(detection: &Detection) -> Result<Select, &'static str> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, &detection.sql).unwrap();
    let _ = VisitMut::visit(&mut statements, &mut Given(detection));
    let [Statement::Query(query)] = &statements[..] else { return Err("statement") };
    let is_plain = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none();
    match query.body.as_ref() {
        SetExpr::Select(select) if is_plain && select.from.iter().all(|of| of.joins.is_empty()) => {
            Ok(select.as_ref().clone())
        }
        _ => Err("shape"),
    }
}

/// Puts the values of a detection's parameters in their places.
struct Given<'a>(&'a Detection);

impl VisitorMut for Given<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
        {
            value.value = match &self.0.params[name.trim_start_matches('$')] {
                Param::Bool(given) => Value::Boolean(*given),
                Param::Int(given) => Value::Number(given.to_string(), false),
                Param::Float(given) => Value::Number(given.to_string(), false),
                Param::Text(given) => Value::SingleQuotedString(given.clone()),
            };
        }
        ControlFlow::Continue(())
    }
}

fn column(name: &str) -> Expr {
    Expr::Identifier(Ident::new(name))
}

fn named(expr: Expr, name: &str) -> SelectItem {
    SelectItem::ExprWithAlias { expr, alias: Ident::new(name) }
}

fn with(mut select: Select, items: impl IntoIterator<Item = SelectItem>) -> Select {
    select.projection.extend(items);
    select
}

/// The name of a group: the column's, or what the SELECT calls it.
fn name_of(select: &Select, group: &Expr) -> Option<String> {
    if let Expr::Identifier(column) = group {
        return Some(column.value.clone());
    }
    select.projection.iter().find_map(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } if expr.to_string() == group.to_string() => {
            Some(alias.value.clone())
        }
        _ => None,
    })
}

/// How the value of a group moves while events are added.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moves {
    Up,
    Down,
    Not,
}

/// Whether further events never make a HAVING false again.
fn stays(having: &Expr) -> bool {
    let Expr::BinaryOp { left, op, right } = having else {
        return matches!(having, Expr::Nested(inner) if stays(inner));
    };
    let rises = |low: &Expr, high: &Expr| {
        matches!(moves(low), Some(Moves::Down | Moves::Not))
            && matches!(moves(high), Some(Moves::Up | Moves::Not))
    };
    match op {
        BinaryOperator::And | BinaryOperator::Or => stays(left) && stays(right),
        BinaryOperator::Lt | BinaryOperator::LtEq => rises(left, right),
        BinaryOperator::Gt | BinaryOperator::GtEq => rises(right, left),
        _ => false,
    }
}

fn moves(expr: &Expr) -> Option<Moves> {
    match expr {
        Expr::Nested(inner) => moves(inner),
        Expr::Value(_) => Some(Moves::Not),
        Expr::Function(function) => match function.name.to_string().as_str() {
            "count" | "max" => Some(Moves::Up),
            "min" => Some(Moves::Down),
            _ => None,
        },
        _ => None,
    }
}

/// What is true of the events that the lists exempt.
fn exempt(catalog: &Catalog, id: &str) -> Option<String> {
    let conditions: Vec<String> = catalog
        .exceptions_of(id)
        .map(|exception| {
            assert!(exception.clusters.is_empty(), "{}: of some clusters", exception.name);
            assert!(!exception.is_expired(start() + HOUR), "{}: expired", exception.name);
            format!("({})", exception.condition)
        })
        .collect();
    (!conditions.is_empty()).then(|| conditions.join(" OR "))
}

/// The file, with thresholds that few events reach.
fn lowered(detection: &Detection) -> String {
    if detection.window.is_none() || detection.params.is_empty() {
        return detection.sql.clone();
    }
    let values = detection.params.iter().map(|(name, value)| {
        let value = match value {
            Param::Bool(value) => serde_json::json!(value),
            Param::Int(value) => serde_json::json!((*value).min(THRESHOLD_MAX)),
            Param::Float(value) => serde_json::json!(value),
            Param::Text(value) => serde_json::json!(value),
        };
        (name.clone(), value)
    });
    let values = serde_json::Value::Object(values.collect());
    let line = detection.sql.lines().find(|line| line.starts_with("params: ")).expect("one line");
    detection.sql.replacen(line, &format!("params: {values}"), 1)
}
