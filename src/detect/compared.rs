//! What an expression compares columns with.

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{Between, Case, InList};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// How an expression uses one column.
#[derive(Debug)]
pub(super) struct Uses {
    column: String,
    /// Literals that it is compared with.
    pub(super) values: Vec<ScalarValue>,
    /// It is used otherwise, too: in a function, a pattern, against another column.
    pub(super) is_open: bool,
    /// It is compared by order, not only for equality.
    pub(super) is_ordered: bool,
}

impl Uses {
    pub(super) fn of(column: &str) -> Self {
        let (values, column) = (Vec::new(), column.to_owned());
        Self { column, values, is_open: false, is_ordered: false }
    }

    /// Looks at a condition.
    pub(super) fn visit(&mut self, expr: &Expr) {
        match expr {
            Expr::Alias(alias) => self.visit(&alias.expr),
            Expr::Not(inner)
            | Expr::IsTrue(inner)
            | Expr::IsFalse(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsNotUnknown(inner) => self.visit(inner),
            Expr::IsNull(inner) | Expr::IsNotNull(inner) => {
                if !self.is_it(inner) {
                    self.visit(inner);
                }
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
                self.visit(left);
                self.visit(right);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.compare(left, *op, right),
            Expr::InList(InList { expr, list, .. }) => {
                if self.is_it(expr) {
                    for value in list {
                        self.value(value);
                    }
                } else {
                    self.other(expr);
                    for value in list {
                        self.other(value);
                    }
                }
            }
            Expr::Between(Between { expr, low, high, .. }) => {
                self.compare(expr, Operator::GtEq, low);
                self.compare(expr, Operator::LtEq, high);
            }
            Expr::Case(case) => self.case(case, true),
            // A column of truth values by itself.
            Expr::Column(_) => {}
            other => self.other(other),
        }
    }

    fn compare(&mut self, left: &Expr, op: Operator, right: &Expr) {
        let equality = matches!(
            op,
            Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom
        );
        let ordered = matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
        match (self.is_it(left), self.is_it(right)) {
            (true, true) => self.is_open = true,
            (true, false) | (false, true) if !equality && !ordered => self.is_open = true,
            (true, false) => {
                self.is_ordered |= ordered;
                self.value(right);
            }
            (false, true) => {
                self.is_ordered |= ordered;
                self.value(left);
            }
            (false, false) => {
                self.other(left);
                self.other(right);
            }
        }
    }

    /// What the column is compared with.
    fn value(&mut self, expr: &Expr) {
        match expr {
            Expr::Literal(value, _) => {
                if !value.is_null() {
                    self.values.push(value.clone());
                }
            }
            Expr::Cast(cast) => self.value(&cast.expr),
            Expr::Case(case) => {
                self.case(case, false);
                let results = case.when_then_expr.iter().map(|(_, then)| then);
                results.chain(&case.else_expr).for_each(|result| self.value(result));
            }
            _ => self.is_open = true,
        }
    }

    /// What has to do with the column only if it mentions it.
    fn other(&mut self, expr: &Expr) {
        match expr {
            Expr::Case(case) => self.case(case, true),
            _ => self.is_open |= self.mentions(expr),
        }
    }

    fn case(&mut self, case: &Case, with_results: bool) {
        match &case.expr {
            Some(base) if self.is_it(base) => {
                case.when_then_expr.iter().for_each(|(when, _)| self.value(when));
            }
            Some(base) => {
                self.other(base);
                case.when_then_expr.iter().for_each(|(when, _)| self.other(when));
            }
            None => case.when_then_expr.iter().for_each(|(when, _)| self.visit(when)),
        }
        if with_results {
            let results = case.when_then_expr.iter().map(|(_, then)| then);
            results.chain(&case.else_expr).for_each(|result| self.other(result));
        }
    }

    fn is_it(&self, expr: &Expr) -> bool {
        column(expr).is_some_and(|column| column.name == self.column)
    }

    fn mentions(&self, expr: &Expr) -> bool {
        expr.column_refs().iter().any(|column| column.name == self.column)
    }
}

/// A column compared with a literal, `None` for NULL's place in a list.
pub(super) struct Comparison<'a> {
    pub(super) column: &'a Column,
    pub(super) op: Operator,
    pub(super) value: &'a ScalarValue,
}

/// Every comparison of a column with a literal in an expression, at any depth.
pub(super) fn comparisons(expr: &Expr) -> Vec<Comparison<'_>> {
    let mut found = Vec::new();
    let _ = expr.apply(|expr| {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => {
                pair(left, *op, right, &mut found);
                pair(right, *op, left, &mut found);
            }
            Expr::InList(InList { expr, list, .. }) => {
                for value in list {
                    pair(expr, Operator::Eq, value, &mut found);
                }
            }
            Expr::Between(Between { expr, low, high, .. }) => {
                pair(expr, Operator::GtEq, low, &mut found);
                pair(expr, Operator::LtEq, high, &mut found);
            }
            Expr::Case(Case { expr: Some(base), when_then_expr, .. }) => {
                for (when, _) in when_then_expr {
                    pair(base, Operator::Eq, when, &mut found);
                }
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

fn pair<'a>(left: &'a Expr, op: Operator, right: &'a Expr, found: &mut Vec<Comparison<'a>>) {
    let Some(column) = column(left) else { return };
    match right {
        Expr::Literal(value, _) => found.push(Comparison { column, op, value }),
        Expr::Cast(cast) => pair(left, op, &cast.expr, found),
        Expr::Case(case) => {
            let results = case.when_then_expr.iter().map(|(_, then)| then);
            results.chain(&case.else_expr).for_each(|result| pair(left, op, result, found));
        }
        _ => {}
    }
}

/// The column that an expression is, whatever its type is made.
pub(super) fn column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => column(&alias.expr),
        Expr::Cast(cast) => column(&cast.expr),
        Expr::TryCast(cast) => column(&cast.expr),
        _ => None,
    }
}

/// Whether an operator compares two values.
pub(super) fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// A literal's text.
pub(super) fn literal_text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}
