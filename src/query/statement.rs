//! What is asked of a statement before it is planned, and what is said about errors.
//!
//! Planning does not give way, and takes longer than a statement is long: its size is bounded
//! here, because no time limit could stop it.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Value, visit_expressions, visit_relations,
};

use super::service::QueryError;

/// Longest statement.
pub(super) const BYTES_MAX: usize = 1 << 20;

/// Most operators, calls and columns: `a OR b OR ...` is a tree as deep as the chain is long, and
/// planning goes through it again and again.
const TERMS_MAX: usize = 2_000;

/// Most operators that make a value of two, such as `+` and `||`: only chains of AND and OR are
/// planned as lists.
const SUMS_MAX: usize = 300;

/// Most constants, as in `IN (...)` and VALUES.
const CONSTANTS_MAX: usize = 20_000;

/// Longest constant: it stands in every row of a batch.
const CONSTANT_BYTES_MAX: usize = 16 << 10;

/// Most combinations of columns that a query groups by: each is an aggregate over all rows, and
/// `CUBE` of 20 columns makes a million of them.
const GROUPINGS_MAX: usize = 64;

/// Most tables and views, each time that one is named.
const RELATIONS_MAX: usize = 50;

/// Refuses what is too long to be read.
pub(super) fn check_length(sql: &str) -> Result<(), QueryError> {
    if sql.len() > BYTES_MAX { Err(QueryError::TooLong { bytes: sql.len() }) } else { Ok(()) }
}

/// Refuses what would take too long to plan.
pub(super) fn check(statement: &Statement) -> Result<(), QueryError> {
    let statement = match statement {
        Statement::Statement(statement) => statement,
        Statement::Explain(explain) => return check(&explain.statement),
        // What is none of SQL's own is refused when it is planned.
        _ => return Ok(()),
    };
    let (mut terms, mut sums, mut constants, mut longest, mut relations) = (0, 0, 0, 0, 0);
    let mut groupings = 1_usize;
    let _ = visit_expressions(statement, |expression| {
        match expression {
            Expr::Value(value) => {
                constants += 1;
                if let Value::SingleQuotedString(text) = &value.value {
                    longest = longest.max(text.len());
                }
            }
            Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. } => terms += 1,
            Expr::BinaryOp { .. } => {
                terms += 1;
                sums += usize::from(!is_comparison(expression));
            }
            Expr::Cube(sets) => {
                let sets = u32::try_from(sets.len()).unwrap_or(u32::MAX);
                groupings = groupings.saturating_mul(2_usize.saturating_pow(sets));
            }
            Expr::Rollup(sets) => groupings = groupings.saturating_mul(sets.len() + 1),
            Expr::GroupingSets(sets) => groupings = groupings.saturating_mul(sets.len().max(1)),
            _ => terms += 1,
        }
        ControlFlow::<()>::Continue(())
    });
    let _ = visit_relations(statement, |_| {
        relations += 1;
        ControlFlow::<()>::Continue(())
    });
    let refuse = |what: &str, count: usize, max: usize, instead: &str| {
        Err(QueryError::Wrong(format!(
            "{count} {what}, more than the {max} of one query: {instead}"
        )))
    };
    if terms > TERMS_MAX {
        let instead = "write `column IN (...)` or a join with VALUES instead of a chain";
        return refuse("operators, calls and columns", terms, TERMS_MAX, instead);
    }
    if sums > SUMS_MAX {
        return refuse("operators between values", sums, SUMS_MAX, "use an aggregate or concat");
    }
    if groupings > GROUPINGS_MAX {
        let instead = "name those that are needed in GROUPING SETS";
        return refuse("combinations to group by", groupings, GROUPINGS_MAX, instead);
    }
    if constants > CONSTANTS_MAX {
        let instead = "ask for a range or a pattern, or ask several times";
        return refuse("constants", constants, CONSTANTS_MAX, instead);
    }
    if longest > CONSTANT_BYTES_MAX {
        return refuse("bytes in a constant", longest, CONSTANT_BYTES_MAX, "shorten it");
    }
    if relations > RELATIONS_MAX {
        return refuse("tables", relations, RELATIONS_MAX, "ask several times");
    }
    Ok(())
}

fn is_comparison(expression: &Expr) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(expression, Expr::BinaryOp { op: Eq | NotEq | Lt | LtEq | Gt | GtEq, .. })
}

/// An error with what to do about it, where it does not say so itself.
pub(super) fn explained(message: &str) -> String {
    let hints = [
        ("DDL not supported", "only questions are answered: SELECT, EXPLAIN, SHOW, DESCRIBE"),
        ("DML not supported", "only questions are answered: SELECT, EXPLAIN, SHOW, DESCRIBE"),
        ("Statement not supported", "only questions are answered: SELECT, EXPLAIN, SHOW, DESCRIBE"),
        ("RecursionLimitExceeded", "nest it less deeply"),
        ("recursion limit", "nest it less deeply"),
        ("table 'auditmill", "SHOW TABLES lists what there is"),
        ("table 'datafusion", "SHOW TABLES lists what there is"),
        ("Invalid function", "SHOW FUNCTIONS lists what there is"),
        ("JSON encoding: Union", "use `->>`, json_get_str or a CAST instead of `->` or json_get"),
    ];
    let hint = hints.iter().find(|(part, _)| message.contains(part));
    hint.map_or_else(|| message.to_owned(), |(_, hint)| format!("{message}: {hint}"))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn checked(sql: &str) -> Result<(), String> {
        let mut statements = DFParser::parse_sql(sql).unwrap();
        check(&statements.pop_front().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn long_lists_pass_and_long_chains_do_not() {
        let list = vec!["'x'"; 10_000].join(", ");
        checked(&format!("SELECT 1 FROM events WHERE name IN ({list})")).unwrap();
        let refused = |sql: &str, expected: &str| {
            let error = checked(sql).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        let chain = vec!["name = 'x'"; 1_000].join(" OR ");
        refused(&format!("SELECT 1 FROM events WHERE {chain}"), "IN (...)");
        refused(&format!("EXPLAIN SELECT 1 FROM events WHERE {chain}"), "IN (...)");
        refused(&format!("SELECT 1 WHERE 'x' IN ({list}, {list}, {list})"), "constants");
        refused(&format!("SELECT {}", vec!["1"; 500].join(" + ")), "between values");
        refused(&format!("SELECT '{}'", "x".repeat(70_000)), "bytes in a constant");
        refused(&format!("SELECT 1 FROM {}", vec!["events"; 51].join(", ")), "51 tables");
        checked("SELECT a, b, count(*) FROM t GROUP BY CUBE (a, b, c), ROLLUP (d, e)").unwrap();
        let cube = "SELECT a FROM t GROUP BY CUBE (a, b, c, d, e), ROLLUP (f, g)";
        refused(cube, "96 combinations to group by");
        refused("SELECT a FROM t GROUP BY CUBE (a, b, c, d, e, f, g)", "GROUPING SETS");
    }

    #[test]
    fn too_long_is_told_by_bytes() {
        assert!(check_length(&"x".repeat(BYTES_MAX)).is_ok());
        assert!(check_length(&"x".repeat(BYTES_MAX + 1)).is_err());
    }
}
