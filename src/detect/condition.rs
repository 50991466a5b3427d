//! What a condition says of a row of which some columns are known.
//!
//! Promise: an answer "cannot hold" is right for every row. Where the condition is more than can be
//! seen through (patterns, functions of columns that are not known), the answer is "can hold".
//!
//! How: known columns become literals, the query engine folds what follows from them, and what is
//! left is judged in three-valued logic. A column that is only compared with literals has few
//! values that make a difference; with each of them put in, contradictions show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef, ExprSchema as _, ScalarValue};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::compared::{Uses, is_comparison, literal_text};

/// What is known of a column's value.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// This text.
    Text(String),
    /// This number.
    Integer(i64),
    /// This truth value.
    Truth(bool),
    /// No value.
    Null,
    /// Some value.
    Present,
}

impl Known {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Columns by name, and what is known of them.
pub(crate) type KnownRow = BTreeMap<String, Known>;

/// A text that no condition names.
pub(crate) const OTHER: &str = "\u{1}other";

/// Values of one column beyond which a condition is not taken apart.
const VALUES_MAX: usize = 64;

/// A condition over the columns of one input; of no conjuncts, it always holds.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    conjuncts: Vec<Conjunct>,
    schema: DFSchemaRef,
}

#[derive(Clone, Debug)]
struct Conjunct {
    expr: Expr,
    columns: BTreeSet<String>,
}

impl Condition {
    /// The condition of an expression over this input, with its types settled.
    pub(crate) fn new(expr: Expr, schema: &DFSchemaRef) -> Self {
        let conjuncts = split_conjunction_owned(expr).into_iter().map(Conjunct::new).collect();
        Self { conjuncts, schema: Arc::clone(schema) }
    }

    /// The condition that every row fulfils.
    pub(crate) fn always(schema: &DFSchemaRef) -> Self {
        Self { conjuncts: Vec::new(), schema: Arc::clone(schema) }
    }

    /// This one and another, over the same input.
    pub(crate) fn and(&self, expr: &Expr) -> Self {
        let mut both = self.clone();
        both.conjuncts.extend(split_conjunction_owned(expr.clone()).into_iter().map(Conjunct::new));
        both
    }

    /// Whether it can hold for a row of which this is known.
    pub(crate) fn can_hold(&self, row: &KnownRow) -> bool {
        self.concerned(row).all(|conjunct| can_be(&self.fold(&conjunct.expr, row), Truth::True))
    }

    /// Whether it holds for every row of which this is known.
    fn must_hold(&self, row: &KnownRow) -> bool {
        self.conjuncts.iter().all(|conjunct| {
            let folded = self.fold(&conjunct.expr, row);
            !can_be(&folded, Truth::False) && !can_be(&folded, Truth::Null)
        })
    }

    /// The column by which it can never hold; the first of all where it is constant.
    pub(crate) fn contradiction(&self) -> Option<Contradiction> {
        let nothing = KnownRow::new();
        for conjunct in &self.conjuncts {
            if !can_be(&self.fold(&conjunct.expr, &nothing), Truth::True) {
                return Some(self.contradiction_by(conjunct.columns.first().cloned()));
            }
        }
        let columns: BTreeSet<&String> = self.conjuncts.iter().flat_map(|c| &c.columns).collect();
        let name = columns.into_iter().find(|name| {
            self.values(name).is_some_and(|values| {
                values.into_iter().all(|value| !self.can_hold(&known(name, value)))
            })
        });
        name.map(|name| self.contradiction_by(Some(name.clone())))
    }

    /// Alternatives of its conjuncts that can never hold.
    pub(crate) fn dead_alternatives(&self) -> Vec<Contradiction> {
        let mut dead = Vec::new();
        for conjunct in &self.conjuncts {
            let alternatives = split_disjunction(&conjunct.expr);
            if alternatives.len() < 2 {
                continue;
            }
            for alternative in alternatives {
                let alone = Self::new(alternative.clone(), &self.schema);
                dead.extend(alone.contradiction());
            }
        }
        dead
    }

    /// Whether it holds for all rows, as far as can be seen.
    pub(crate) fn is_always_true(&self) -> bool {
        let columns: BTreeSet<&String> = self.conjuncts.iter().flat_map(|c| &c.columns).collect();
        self.must_hold(&KnownRow::new())
            || columns.into_iter().any(|name| {
                self.values(name).is_some_and(|values| {
                    values.into_iter().all(|value| self.must_hold(&known(name, value)))
                })
            })
    }

    /// Texts that it compares this column with.
    pub(crate) fn named(&self, column: &str) -> BTreeSet<String> {
        let uses = self.uses(column);
        uses.values.iter().filter_map(literal_text).map(str::to_owned).collect()
    }

    /// Whether it lets pass only values of this column that it names.
    pub(crate) fn is_closed(&self, column: &str) -> bool {
        !self.uses(column).is_open
            && !self.can_hold(&known(column, Known::text(OTHER)))
            && !self.can_hold(&known(column, Known::Null))
    }

    /// Whether it speaks of this column.
    pub(crate) fn mentions(&self, column: &str) -> bool {
        self.conjuncts.iter().any(|conjunct| conjunct.columns.contains(column))
    }

    /// An expression over the same input with what is known put in, as far as it folds.
    pub(crate) fn fold(&self, expr: &Expr, row: &KnownRow) -> Expr {
        let put_in = expr.clone().transform_down(|expr| Ok(self.put_in(expr, row)));
        let Ok(put_in) = put_in else { return expr.clone() };
        let context = SimplifyContext::builder().with_schema(Arc::clone(&self.schema)).build();
        let simplifier = ExprSimplifier::new(context).with_canonicalize(false);
        let put_in = put_in.data;
        simplifier.simplify(put_in.clone()).unwrap_or(put_in)
    }

    fn put_in(&self, expr: Expr, row: &KnownRow) -> Transformed<Expr> {
        let truth = |value: bool| Expr::Literal(ScalarValue::Boolean(Some(value)), None);
        let is_present = |inner: &Expr| match inner {
            Expr::Column(column) => matches!(row.get(&column.name), Some(Known::Present)),
            _ => false,
        };
        match &expr {
            Expr::IsNull(inner) if is_present(inner) => Transformed::yes(truth(false)),
            Expr::IsNotNull(inner) if is_present(inner) => Transformed::yes(truth(true)),
            Expr::Column(column) => match self.literal(column, row) {
                Some(value) => Transformed::yes(Expr::Literal(value, None)),
                None => Transformed::no(expr),
            },
            _ => Transformed::no(expr),
        }
    }

    /// What is known of a column, as a value of its type.
    fn literal(&self, column: &Column, row: &KnownRow) -> Option<ScalarValue> {
        let known = row.get(&column.name)?;
        let kind = self.schema.as_ref().data_type(column).ok()?;
        let value = match known {
            Known::Text(text) => ScalarValue::from(text.as_str()),
            Known::Integer(number) => ScalarValue::from(*number),
            Known::Truth(value) => ScalarValue::from(*value),
            Known::Null => ScalarValue::Null,
            Known::Present => return None,
        };
        value.cast_to(kind).ok()
    }

    fn concerned<'a>(&'a self, row: &'a KnownRow) -> impl Iterator<Item = &'a Conjunct> {
        self.conjuncts.iter().filter(|c| row.keys().any(|name| c.columns.contains(name)))
    }

    fn uses(&self, column: &str) -> Uses {
        let mut uses = Uses::of(column);
        self.conjuncts.iter().for_each(|conjunct| uses.visit(&conjunct.expr));
        uses
    }

    /// The values of a column that make a difference; `None` when there is no telling.
    fn values(&self, column: &str) -> Option<Vec<Known>> {
        let uses = self.uses(column);
        let field = self.schema.fields().iter().find(|field| field.name() == column)?;
        if uses.is_open || uses.values.len() > VALUES_MAX {
            return None;
        }
        let is_text = |value: &ScalarValue| literal_text(value).is_some();
        let mut values: Vec<Known> = match field.data_type() {
            // Numbers as text have another order.
            DataType::Int32 | DataType::Int64
                if uses.is_ordered && uses.values.iter().any(is_text) =>
            {
                return None;
            }
            DataType::Boolean => vec![Known::Truth(true), Known::Truth(false)],
            DataType::Int32 | DataType::Int64 => {
                let whole = uses.values.iter().map(whole_number).collect::<Option<Vec<_>>>()?;
                let near =
                    whole.iter().flat_map(|n| [n.saturating_sub(1), *n, n.saturating_add(1)]);
                near.map(Known::Integer).collect()
            }
            DataType::Timestamp(..) => return None,
            _ if uses.is_ordered => return None,
            _ => {
                let texts = uses.values.iter().filter_map(literal_text);
                texts.chain([OTHER]).map(Known::text).collect()
            }
        };
        if field.is_nullable() {
            values.push(Known::Null);
        }
        Some(values)
    }

    fn contradiction_by(&self, column: Option<String>) -> Contradiction {
        let line = self.conjuncts.iter().find_map(|conjunct| {
            let concerned = column.as_ref().is_none_or(|name| conjunct.columns.contains(name));
            if concerned { line(&conjunct.expr, column.as_deref()) } else { None }
        });
        Contradiction { column, line }
    }
}

impl Conjunct {
    fn new(expr: Expr) -> Self {
        let columns = expr.column_refs().into_iter().map(|column| column.name.clone()).collect();
        Self { expr, columns }
    }
}

/// Why a condition can never hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction {
    /// The column that would need two values at once, or a value that there is not.
    pub(crate) column: Option<String>,
    /// One-based line of the text, where known.
    pub(crate) line: Option<u64>,
}

/// A row of which one column is known.
pub(crate) fn known(column: &str, value: Known) -> KnownRow {
    KnownRow::from([(column.to_owned(), value)])
}

/// The line of an expression's first column, or of the first of this name.
pub(crate) fn line(expr: &Expr, name: Option<&str>) -> Option<u64> {
    let mut first = None;
    let _ = expr.apply(|expr| {
        if let Expr::Column(column) = expr
            && name.is_none_or(|name| column.name == name)
            && let Some(span) = column.spans.first()
        {
            first = Some(span.start.line);
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    first
}

fn split_disjunction(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let mut parts = split_disjunction(left);
            parts.extend(split_disjunction(right));
            parts
        }
        _ => vec![expr],
    }
}

fn whole_number(value: &ScalarValue) -> Option<i64> {
    match value.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(number)) => number,
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    True,
    False,
    Null,
}

/// Whether a condition can come to this; yes where there is no telling.
fn can_be(expr: &Expr, wanted: Truth) -> bool {
    use Truth::{False, Null, True};
    match expr {
        Expr::Literal(ScalarValue::Boolean(Some(value)), _) => {
            wanted == if *value { True } else { False }
        }
        Expr::Literal(value, _) if value.is_null() => wanted == Null,
        Expr::Alias(alias) => can_be(&alias.expr, wanted),
        Expr::Not(inner) => match wanted {
            True => can_be(inner, False),
            False => can_be(inner, True),
            Null => can_be(inner, Null),
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => match wanted {
            True => can_be(left, True) && can_be(right, True),
            False => can_be(left, False) || can_be(right, False),
            Null => null_beside(left, right, True),
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => match wanted {
            True => can_be(left, True) || can_be(right, True),
            False => can_be(left, False) && can_be(right, False),
            Null => null_beside(left, right, False),
        },
        Expr::IsTrue(inner) => is(inner, &[True], &[False, Null], wanted),
        Expr::IsFalse(inner) => is(inner, &[False], &[True, Null], wanted),
        Expr::IsUnknown(inner) => is(inner, &[Null], &[True, False], wanted),
        Expr::IsNotTrue(inner) => is(inner, &[False, Null], &[True], wanted),
        Expr::IsNotFalse(inner) => is(inner, &[True, Null], &[False], wanted),
        Expr::IsNotUnknown(inner) => is(inner, &[True, False], &[Null], wanted),
        // `NULL = x` and its like.
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if is_comparison(*op)
                && !matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
                && (is_null(left) || is_null(right)) =>
        {
            wanted == Null
        }
        _ => true,
    }
}

fn is(inner: &Expr, when_true: &[Truth], when_false: &[Truth], wanted: Truth) -> bool {
    match wanted {
        Truth::True => when_true.iter().any(|truth| can_be(inner, *truth)),
        Truth::False => when_false.iter().any(|truth| can_be(inner, *truth)),
        Truth::Null => false,
    }
}

fn null_beside(left: &Expr, right: &Expr, neutral: Truth) -> bool {
    let one = |a: &Expr, b: &Expr| {
        can_be(a, Truth::Null) && (can_be(b, Truth::Null) || can_be(b, neutral))
    };
    one(left, right) || one(right, left)
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.is_null())
}
