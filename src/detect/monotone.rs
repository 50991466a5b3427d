//! Whether a HAVING that has become true stays true while more events come.
//!
//! If so, a window fires on the batch that crosses it; if not, only once the watermark closed it.
//! What is not understood is taken for what may turn false again.

use datafusion::logical_expr::expr::{AggregateFunction, Cast};
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, ExprSchemable as _, Operator};

/// How a group's value moves while events are added; where it is NULL, it becomes a value once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// Never goes down: `count`, `max`, a `sum` of what is not negative.
    Up,
    /// Never goes up: `min`.
    Down,
    /// Does not move: literals, group columns.
    Still,
}

impl Direction {
    /// Of the sum of two values.
    fn with(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Still, moves) | (moves, Self::Still) => Some(moves),
            (Self::Up, Self::Up) => Some(Self::Up),
            (Self::Down, Self::Down) => Some(Self::Down),
            (Self::Up, Self::Down) | (Self::Down, Self::Up) => None,
        }
    }

    fn reversed(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
            Self::Still => Self::Still,
        }
    }
}

/// True when no further event can make `having` false again for a group.
pub(crate) fn is_monotone(having: &Expr, aggregate: &Aggregate) -> bool {
    match having {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            is_monotone(left, aggregate) && is_monotone(right, aggregate)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (Some(left), Some(right)) =
                (direction(left, aggregate), direction(right, aggregate))
            else {
                return false;
            };
            match op {
                Operator::Gt | Operator::GtEq => left != Direction::Down && right != Direction::Up,
                Operator::Lt | Operator::LtEq => left != Direction::Up && right != Direction::Down,
                _ => left == Direction::Still && right == Direction::Still,
            }
        }
        // Of what moves, too: it is NULL until its first value, and never again.
        Expr::IsNotNull(inner) => direction(inner, aggregate).is_some(),
        other => match aggregated(other, aggregate) {
            Some(function) => function.func.name() == "bool_or",
            None => direction(other, aggregate) == Some(Direction::Still),
        },
    }
}

fn direction(expr: &Expr, aggregate: &Aggregate) -> Option<Direction> {
    match expr {
        Expr::Literal(..) => Some(Direction::Still),
        Expr::Cast(cast) => {
            let of = direction(&cast.expr, aggregate)?;
            (of == Direction::Still || keeps_order(cast, aggregate)).then_some(of)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (left, right) = (direction(left, aggregate)?, direction(right, aggregate)?);
            match op {
                Operator::Plus => left.with(right),
                Operator::Minus => left.with(right.reversed()),
                _ => left.with(right).filter(|moves| *moves == Direction::Still),
            }
        }
        Expr::Column(column) => {
            let position = aggregate.schema.maybe_index_of_column(column)?;
            if position < aggregate.group_expr.len() {
                return Some(Direction::Still);
            }
            let function = aggregated(expr, aggregate)?;
            match function.func.name() {
                "count" | "max" | "approx_distinct" => Some(Direction::Up),
                "sum" if function.params.args.iter().all(|of| is_not_negative(of, aggregate)) => {
                    Some(Direction::Up)
                }
                "min" => Some(Direction::Down),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The aggregate that a column of the groups is.
fn aggregated(expr: &Expr, aggregate: &Aggregate) -> Option<AggregateFunction> {
    let Expr::Column(column) = expr else { return None };
    let position = aggregate.schema.maybe_index_of_column(column)?;
    let position = position.checked_sub(aggregate.group_expr.len())?;
    match aggregate.aggr_expr.get(position)?.clone().unalias() {
        Expr::AggregateFunction(function) => Some(function),
        _ => None,
    }
}

/// A whole number as another number keeps its place among others; as text it need not ('9' > '15').
fn keeps_order(cast: &Cast, aggregate: &Aggregate) -> bool {
    let from = cast.expr.get_type(aggregate.schema.as_ref());
    from.is_ok_and(|from| from.is_integer()) && cast.field.data_type().is_numeric()
}

/// Whether it is never below zero, of any event; NULL adds nothing.
fn is_not_negative(expr: &Expr, aggregate: &Aggregate) -> bool {
    let is_good = |expr: &Expr| is_not_negative(expr, aggregate);
    match expr {
        Expr::Alias(alias) => is_good(&alias.expr),
        Expr::Literal(value, _) => {
            let zero = datafusion::common::ScalarValue::new_zero(&value.data_type());
            value.is_null() || zero.is_ok_and(|zero| *value >= zero)
        }
        Expr::Cast(cast) => is_good(&cast.expr),
        Expr::Case(case) => {
            let branches = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
            branches.chain(case.else_expr.as_deref()).all(is_good)
        }
        Expr::ScalarFunction(function) => matches!(
            function.name(),
            "character_length" | "char_length" | "length" | "octet_length" | "bit_length"
        ),
        other => {
            let of = other.get_type(aggregate.input.schema().as_ref());
            of.is_ok_and(|of| of.is_unsigned_integer() || of == arrow::datatypes::DataType::Boolean)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::detect::catalog::Catalog;
    use crate::detect::detection::Detection;
    use crate::detect::engine::{Engine, EngineSettings};
    use crate::detect::execution::Execution;

    fn check(having: &str, expected: bool) {
        let text = format!(
            "/*\nid: T-1\ntitle: t\nseverity: low\nwindow: 10m\nparams: {{n: 3, half: 0.5}}\n\
             describe: d\n*/\nSELECT user_name, count(*) AS c FROM events WHERE verb = 'get' \
             AND $n > 0 AND $half > 0 GROUP BY user_name HAVING {having}"
        );
        let catalog = Catalog::of(Detection::parse("t.sql", &text).unwrap());
        let engine = Engine::new(&catalog, EngineSettings::default());
        let engine = engine.unwrap_or_else(|errors| panic!("{having}: {errors:?}"));
        let monotone = engine.running().iter().map(|running| match &running.execution {
            Execution::Windowed(of) => of.plan().monotone,
            Execution::Requery(of) => of.plans().monotone,
            _ => panic!("{having}: no windows"),
        });
        assert_eq!(monotone.collect::<Vec<_>>(), [expected], "{having}");
    }

    #[test]
    fn what_can_only_become_true() {
        for having in [
            "count(*) >= $n",
            "count(*) > 3 OR max(response_code) >= 500",
            "min(event_time) < max(event_time)",
            "count(*) >= $half",
            "CAST(count(*) AS double) >= $half",
            "count(*) + count(DISTINCT name) > $n + 1",
            "count(*) - 2 > $n",
            "$n < count(*)",
            "$n - count(*) < 0",
            "max(event_time) IS NOT NULL",
            "bool_or(name = 'x')",
            "bool_or(name = 'x') AND count(*) > 1",
            "sum(CASE WHEN verb = 'get' THEN 1 ELSE 0 END) >= $n",
            "sum(length(name)) > 100",
            "user_name = 'alice' OR count(*) > 3",
        ] {
            check(having, true);
        }
    }

    #[test]
    fn what_can_become_false_again() {
        for having in [
            "count(*) < $n",
            "count(*) = 3",
            "count(*) > count(DISTINCT name)",
            "count(*) - count(DISTINCT name) > 1",
            "$n - count(*) > 0",
            "count(*) * -1 > -5",
            "CAST(count(*) AS varchar) > '15'",
            "sum(response_code) > $n",
            "sum(CASE WHEN verb = 'get' THEN 1 ELSE -1 END) > $n",
            "avg(response_code) > 400",
            "max(event_time) IS NULL",
            "bool_and(name = 'x')",
            "NOT bool_or(name = 'x')",
            "min(name) > 'a'",
        ] {
            check(having, false);
        }
    }
}
