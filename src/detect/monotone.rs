//! Whether a HAVING that has become true stays true while more events come.
//!
//! If so, a window fires on the batch that crosses it; if not, only once the watermark closed it.

use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, Operator};

/// How a group's value moves while events are added.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// Never goes down: `count`, `max`.
    Up,
    /// Never goes up: `min`.
    Down,
    /// Does not move: literals, group columns.
    Still,
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
        other => direction(other, aggregate) == Some(Direction::Still),
    }
}

fn direction(expr: &Expr, aggregate: &Aggregate) -> Option<Direction> {
    match expr {
        Expr::Literal(..) => Some(Direction::Still),
        // A cast need not keep the order of what moves ('9' > '15' as text).
        Expr::Cast(cast) => {
            direction(&cast.expr, aggregate).filter(|direction| *direction == Direction::Still)
        }
        Expr::Column(column) => {
            let position = aggregate.schema.maybe_index_of_column(column)?;
            let groups = aggregate.group_expr.len();
            if position < groups {
                return Some(Direction::Still);
            }
            match aggregate.aggr_expr.get(position - groups)?.clone().unalias() {
                Expr::AggregateFunction(function) => match function.func.name() {
                    "count" | "max" | "approx_distinct" => Some(Direction::Up),
                    "min" => Some(Direction::Down),
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    }
}
