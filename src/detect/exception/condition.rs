//! The condition of an exception: SQL over the columns of `events`, asked of one event at a time.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{
    Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion,
};
use datafusion::common::{Column, DFSchema, DFSchemaRef, DataFusionError};
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable as _, Operator, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::super::condition::Condition;
use super::super::mistake::{Told, told};
use crate::event::schema::events_schema;
use crate::sql::context::session;

/// The columns that a condition may name.
fn schema() -> DFSchemaRef {
    static SCHEMA: LazyLock<DFSchemaRef> = LazyLock::new(|| {
        let schema = DFSchema::try_from_qualified_schema("events", &events_schema());
        Arc::new(schema.expect("the names of columns are unique"))
    });
    Arc::clone(&SCHEMA)
}

/// A condition as an expression over columns of `events`, without a qualifier, whose types are
/// settled.
///
/// # Errors
/// When it does not parse, or names what is not there.
pub fn planned(condition: &str) -> Result<Expr, DataFusionError> {
    let unqualified = settled(parsed(condition)?)?.transform_up(|expr| match expr {
        Expr::Column(column) => {
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column.name))))
        }
        _ => Ok(Transformed::no(expr)),
    });
    unqualified.data()
}

fn parsed(condition: &str) -> Result<Expr, DataFusionError> {
    // One for all: to make a session takes longer than to read a condition.
    static SESSION: LazyLock<Option<SessionState>> =
        LazyLock::new(|| session().ok().map(|session| session.state()));
    match SESSION.as_ref() {
        Some(session) => session.create_logical_expr(condition, &schema()),
        None => session()?.state().create_logical_expr(condition, &schema()),
    }
}

fn settled(expr: Expr) -> Result<Expr, DataFusionError> {
    let schema = schema();
    let context = SimplifyContext::builder().with_schema(Arc::clone(&schema)).build();
    ExprSimplifier::new(context).coerce(expr, &schema)
}

/// What is wrong with a condition.
pub(in super::super) fn check(condition: &str) -> Result<(), Told> {
    let wrong = |message: &str, hint: &str| Told {
        line: None,
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
    };
    let expr = parsed(condition).map_err(|error| told(&error))?;
    if let Some((message, hint)) = beyond_a_row(&expr) {
        return Err(wrong(message, hint));
    }
    let expr = settled(expr).map_err(|error| told(&error))?;
    if expr.get_type(schema().as_ref()).ok() != Some(DataType::Boolean) {
        let hint = "write a comparison, as in `user_name = 'backup'`";
        return Err(wrong("not true or false", hint));
    }
    let condition = Condition::new(expr, &schema());
    if condition.is_always_true() {
        let hint = "it would hide everything: turn the detection off in overrides.yaml instead";
        return Err(wrong("true of every event", hint));
    }
    if condition.contradiction().is_some() {
        return Err(wrong("true of no event", "look at what AND joins, and at NULL"));
    }
    Ok(())
}

/// Functions whose answers come and go with files: an exception must hide the same today and
/// tomorrow.
const ASKS_ADDRESSES: [&str; 4] = ["listed_ip", "ip_asn", "ip_as_org", "ip_country"];

/// What in a condition needs more than one row, or changes while the row does not.
fn beyond_a_row(expr: &Expr) -> Option<(&'static str, &'static str)> {
    const ROW: &str = "a condition is asked of one event at a time";
    let judge = |expr: &Expr| match expr {
        Expr::AggregateFunction(_) | Expr::WindowFunction(_) => Some(("it counts events", ROW)),
        Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::ScalarSubquery(_)
        | Expr::SetComparison(_) => Some(("it asks another query", ROW)),
        Expr::Placeholder(_) => Some(("a placeholder has no value here", "write the value itself")),
        Expr::ScalarFunction(function)
            if function.func.signature().volatility != Volatility::Immutable =>
        {
            Some(("a function's value changes by itself", "`expires` says until when"))
        }
        Expr::ScalarFunction(function) if ASKS_ADDRESSES.contains(&function.name()) => Some((
            "what is supplied about addresses is for detections alone",
            "name the network: `cidr_match(source_ip, '192.0.2.0/24')`",
        )),
        Expr::BinaryExpr(BinaryExpr {
            op: Operator::IsDistinctFrom | Operator::IsNotDistinctFrom,
            right,
            ..
        }) => match right.as_ref() {
            Expr::BinaryExpr(right) if matches!(right.op, Operator::And | Operator::Or) => Some((
                "`IS DISTINCT FROM` takes what is behind it for its right side",
                "put the comparison in parentheses: `(a IS DISTINCT FROM 'x')`",
            )),
            _ => None,
        },
        _ => None,
    };
    let mut found = None;
    // Nothing that is judged fails.
    let _ = expr.apply(|expr| {
        found = judge(expr);
        let next =
            if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue };
        Ok(next)
    });
    // Beneath, the engine gives names of its own.
    let named =
        matches!(expr, Expr::Alias(_)).then_some(("AS has no meaning here", "leave it out"));
    found.or(named)
}
