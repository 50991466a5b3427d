//! A condition in pieces: as far as it speaks of single columns of few values, bits can tell it.

use datafusion::logical_expr::{BinaryExpr, Expr, Operator, not};

use super::column::is_indexable;
use crate::event::schema::events_schema;

/// Beyond this many alternatives a condition is left as it is.
const ALTERNATIVES_MAX: usize = 16;

/// A piece of a condition; all of its pieces together are as true as it is.
#[derive(Debug, PartialEq)]
pub(crate) enum Clause {
    /// Speaks of one column.
    Column(usize, Expr),
    /// True when any of these is, each of which speaks of one column.
    Any(Vec<(usize, Expr)>),
    /// Anything else.
    Rest(Expr),
}

/// The position of a column of the events table that has bits.
pub(crate) fn indexed(name: &str) -> Option<usize> {
    let schema = events_schema();
    schema.index_of(name).ok().filter(|at| is_indexable(schema.field(*at).data_type()))
}

/// Takes a condition apart; `column` gives the position of columns that have bits.
pub(crate) fn clauses(condition: &Expr, column: &impl Fn(&str) -> Option<usize>) -> Vec<Clause> {
    let single = |expr: &Expr| {
        let columns = expr.column_refs();
        let mut columns = columns.iter();
        let only = columns.next().filter(|_| columns.next().is_none())?;
        column(&only.name)
    };
    let mut pieces = Vec::new();
    let mut rest = 0;
    for alternatives in conjunctive(condition).unwrap_or_else(|| vec![vec![condition.clone()]]) {
        let placed: Option<Vec<(usize, Expr)>> =
            alternatives.iter().map(|expr| Some((single(expr)?, expr.clone()))).collect();
        if let Some(placed) = placed {
            pieces.push(joined(placed));
        } else {
            rest += 1;
            pieces.extend(alternatives.into_iter().reduce(Expr::or).map(Clause::Rest));
        }
    }
    if rest > 1 {
        // Once as a whole is cheaper than several times in parts.
        pieces.retain(|piece| !matches!(piece, Clause::Rest(_)));
        pieces.push(Clause::Rest(condition.clone()));
    }
    pieces
}

/// Alternatives over the same column are one condition on it.
fn joined(alternatives: Vec<(usize, Expr)>) -> Clause {
    let mut by_column: Vec<(usize, Expr)> = Vec::new();
    for (column, expr) in alternatives {
        match by_column.iter_mut().find(|(other, _)| *other == column) {
            Some((_, joined)) => *joined = joined.clone().or(expr),
            None => by_column.push((column, expr)),
        }
    }
    match by_column.pop() {
        Some((column, expr)) if by_column.is_empty() => Clause::Column(column, expr),
        last => {
            by_column.extend(last);
            Clause::Any(by_column)
        }
    }
}

/// The condition as an AND of ORs that is true for the same rows: whether it is false or unknown
/// for the others makes no difference to a filter. `None` when there would be too many.
fn conjunctive(expr: &Expr) -> Option<Vec<Vec<Expr>>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            let mut all = conjunctive(left)?;
            all.extend(conjunctive(right)?);
            Some(all)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (left, right) = (conjunctive(left)?, conjunctive(right)?);
            let all = left.iter().flat_map(|left| {
                right.iter().map(move |right| [left.as_slice(), right.as_slice()].concat())
            });
            let all: Vec<Vec<Expr>> = all.collect();
            (all.iter().map(Vec::len).sum::<usize>() <= ALTERNATIVES_MAX).then_some(all)
        }
        Expr::IsTrue(inner) => conjunctive(inner),
        Expr::Not(inner) => match inner.as_ref() {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                conjunctive(&not(*left.clone()).or(not(*right.clone())))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                conjunctive(&not(*left.clone()).and(not(*right.clone())))
            }
            Expr::IsNotTrue(inner) => conjunctive(inner),
            _ => Some(vec![vec![expr.clone()]]),
        },
        Expr::IsNotTrue(inner) => match inner.as_ref() {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                conjunctive(&not_true(left).or(not_true(right)))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                conjunctive(&not_true(left).and(not_true(right)))
            }
            _ => Some(vec![vec![expr.clone()]]),
        },
        _ => Some(vec![vec![expr.clone()]]),
    }
}

fn not_true(expr: &Expr) -> Expr {
    Expr::IsNotTrue(Box::new(expr.clone()))
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn taken_apart(condition: &Expr) -> Vec<Clause> {
        clauses(condition, &|name| ["verb", "code", "user"].iter().position(|at| *at == name))
    }

    #[test]
    fn what_speaks_of_one_column_is_found_wherever_it_stands() {
        let (get, code) = (col("verb").eq(lit("get")), col("code").eq(lit(200)));
        let (list, uri) = (col("verb").eq(lit("list")), col("uri").eq(lit("/")));
        let both = get.clone().and(code.clone());
        assert_eq!(
            taken_apart(&both),
            [Clause::Column(0, get.clone()), Clause::Column(1, code.clone())]
        );
        let either = get.clone().or(list.clone());
        assert_eq!(taken_apart(&either), [Clause::Column(0, either.clone())]);
        let exempt = not_true(&both);
        let parts = vec![(0, not_true(&get)), (1, not_true(&code))];
        assert_eq!(taken_apart(&exempt), [Clause::Any(parts)]);
        let mixed = both.or(list.clone());
        let parts = vec![(1, code.clone()), (0, list.clone())];
        assert_eq!(
            taken_apart(&mixed),
            [Clause::Column(0, get.clone().or(list)), Clause::Any(parts)]
        );
        let rest = uri.clone().or(get.clone());
        assert_eq!(taken_apart(&rest), [Clause::Rest(rest.clone())]);
        assert_eq!(taken_apart(&uri), [Clause::Rest(uri.clone())]);
        let several = uri.clone().and(get).or(code.clone().and(uri));
        assert_eq!(taken_apart(&several).pop(), Some(Clause::Rest(several.clone())));
    }
}
