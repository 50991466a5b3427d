//! The index: built once for a set of detections, asked for every batch.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::prelude::SessionContext;

use super::super::intake::Expressions;
use super::super::unwound::unwound;
use super::clause::{Clause, clauses, indexed};
use super::column::{Column, Condition, Layout, Resolved};
use super::rest::Rest;

/// The conditions of all detections.
#[derive(Debug)]
pub(crate) struct Index {
    layout: Layout,
    columns: Vec<Column>,
    /// Alternatives of which one must be true, by detection.
    alternatives: Vec<Vec<usize>>,
    /// Cheap ones first.
    rest: Vec<Rest>,
    /// A bit for each detection that any row can matter to.
    all: Vec<u64>,
    /// Detections that are not asked about.
    aside: Vec<usize>,
}

/// The rows of a batch that each detection can use.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// By detection; they ascend.
    pub(crate) rows: Vec<Vec<u32>>,
    /// What came of asking.
    pub(crate) report: Report,
}

/// What is told of detections while their conditions are worked out.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Detections whose conditions failed on some rows, with what was said first.
    pub(crate) faults: HashMap<usize, String>,
    /// What conditions took that are not looked up, by detection; what is shared counts in parts.
    pub(crate) took: HashMap<usize, Duration>,
}

impl Report {
    pub(crate) fn fault(&mut self, detection: usize, error: &DataFusionError) {
        self.faults.entry(detection).or_insert_with(|| error.strip_backtrace());
    }

    pub(crate) fn took(&mut self, detections: &[usize], begun: Instant) {
        let parts = u32::try_from(detections.len().max(1)).unwrap_or(u32::MAX);
        let part = begun.elapsed() / parts;
        for detection in detections {
            *self.took.entry(*detection).or_default() += part;
        }
    }
}

/// A condition on a column, the detections that it decides for and the alternatives it is one of.
type Spoken = (Expr, Vec<usize>, Vec<usize>);

/// Conditions as they are gathered: equal ones once.
#[derive(Default)]
struct Gathered {
    columns: HashMap<usize, Vec<Spoken>>,
    rest: Vec<(Expr, Vec<usize>)>,
    alternatives: Vec<Vec<(usize, Expr)>>,
}

impl Gathered {
    fn condition(&mut self, column: usize, expr: Expr) -> &mut Spoken {
        let conditions = self.columns.entry(column).or_default();
        let place = conditions.iter().position(|(known, ..)| *known == expr);
        let place = place.unwrap_or_else(|| {
            conditions.push((expr, Vec::new(), Vec::new()));
            conditions.len() - 1
        });
        conditions.get_mut(place).expect("it is there or was put there")
    }

    fn alternative(&mut self, alternatives: Vec<(usize, Expr)>) -> usize {
        if let Some(known) = self.alternatives.iter().position(|known| *known == alternatives) {
            return known;
        }
        let number = self.alternatives.len();
        for (column, expr) in alternatives.clone() {
            self.condition(column, expr).2.push(number);
        }
        self.alternatives.push(alternatives);
        number
    }

    fn rest(&mut self, expr: Expr, detection: usize) {
        match self.rest.iter_mut().find(|(known, _)| *known == expr) {
            Some((_, detections)) => detections.push(detection),
            None => self.rest.push((expr, vec![detection])),
        }
    }
}

impl Index {
    /// Of the conditions of each detection, in their order.
    ///
    /// # Errors
    /// When DataFusion cannot plan one.
    pub(crate) fn new(context: &SessionContext, conditions: &[&[Expr]]) -> Result<Self> {
        let mut gathered = Gathered::default();
        let mut alternatives = vec![Vec::new(); conditions.len()];
        let mut all = vec![0_u64; conditions.len().div_ceil(64)];
        for (detection, conditions) in conditions.iter().enumerate() {
            let is_never = |expr: &Expr| matches!(expr, Expr::Literal(value, _) if !is_true(value));
            if conditions.iter().any(is_never) {
                continue;
            }
            if let Some(word) = all.get_mut(detection / 64) {
                *word |= 1 << (detection % 64);
            }
            for clause in conditions.iter().flat_map(|condition| clauses(condition, &indexed)) {
                match clause {
                    Clause::Column(column, expr) => {
                        gathered.condition(column, expr).1.push(detection);
                    }
                    Clause::Any(any) => {
                        let number = gathered.alternative(any);
                        alternatives.get_mut(detection).expect("one each").push(number);
                    }
                    Clause::Rest(expr) => gathered.rest(expr, detection),
                }
            }
        }
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); gathered.alternatives.len()];
        for (detection, needed) in alternatives.iter().enumerate() {
            for number in needed {
                if let Some(users) = users.get_mut(*number) {
                    users.push(detection);
                }
            }
        }
        let layout =
            Layout { detections: conditions.len(), alternatives: gathered.alternatives.len() };
        // Those that speak for most detections first: they leave the fewest.
        let mut by_weight: Vec<_> = gathered.columns.into_iter().collect();
        by_weight.sort_by_key(|(at, conditions)| {
            let weight: usize = conditions.iter().map(|(_, detections, _)| detections.len()).sum();
            (std::cmp::Reverse(weight), *at)
        });
        let mut columns = Vec::new();
        for (at, conditions) in by_weight {
            let conditions = conditions.into_iter().map(|(expr, detections, alternatives)| {
                let expression = Expressions::new(context, &[expr])?;
                let of_alternatives = alternatives.iter().filter_map(|number| users.get(*number));
                let mut users: Vec<usize> = of_alternatives.flatten().copied().collect();
                users.extend(&detections);
                users.sort_unstable();
                users.dedup();
                Ok(Condition { expression, detections, alternatives, users })
            });
            columns.push(Column::new(at, conditions.collect::<Result<_>>()?, layout));
        }
        gathered.rest.sort_by_key(|(expr, _)| cost(expr));
        let rest = gathered.rest.into_iter().map(|(expr, detections)| {
            Ok(Rest { expression: Expressions::new(context, &[expr])?, detections })
        });
        let rest = rest.collect::<Result<_>>()?;
        Ok(Self { layout, columns, alternatives, rest, all, aside: Vec::new() })
    }

    /// From here on no row is found for these detections, and their conditions are not worked out.
    pub(crate) fn set_aside(&mut self, detections: Vec<usize>) {
        if self.aside == detections {
            return;
        }
        // What was not worked out of values that came meanwhile is not known.
        let columns = std::mem::take(&mut self.columns).into_iter();
        self.columns = columns.map(|column| column.without(&detections)).collect();
        self.aside = detections;
    }

    /// The rows of a batch of the events table that each detection can use.
    ///
    /// # Errors
    /// When the batch is not of the events table.
    pub(crate) fn select(&mut self, batch: &RecordBatch) -> Result<Selection> {
        self.select_of(batch, 0..batch.num_rows(), |_| ())
    }

    /// The same of some rows only, for each detection those that are wanted: they ascend.
    ///
    /// # Errors
    /// When the batch is not of the events table.
    pub(crate) fn select_among(
        &mut self,
        batch: &RecordBatch,
        wanted: &[&[u32]],
    ) -> Result<Selection> {
        let mut is_wanted = vec![false; batch.num_rows()];
        for row in wanted.iter().copied().flatten() {
            if let Some(is_wanted) = is_wanted.get_mut(*row as usize) {
                *is_wanted = true;
            }
        }
        let any = is_wanted.iter().enumerate().filter(|(_, is_wanted)| **is_wanted);
        self.select_of(batch, any.map(|(row, _)| row), |rows| {
            for (rows, wanted) in rows.iter_mut().zip(wanted) {
                rows.retain(|row| wanted.binary_search(row).is_ok());
            }
        })
    }

    /// Of these rows; `narrow` may leave out some before what is dear is worked out.
    fn select_of(
        &mut self,
        batch: &RecordBatch,
        of: impl Iterator<Item = usize>,
        narrow: impl FnOnce(&mut [Vec<u32>]),
    ) -> Result<Selection> {
        let mut report = Report::default();
        let mut resolved = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            resolved.push(column.resolve(batch, &mut report)?);
        }
        let mut rows = self.by_bits(of, &resolved);
        narrow(&mut rows);
        for rest in &self.rest {
            // Those that are set aside have no rows. A panic is the fault of the detections that
            // ask for it, and of no other.
            let kept = unwound(|| {
                rest.keep(batch, &mut rows, &mut report);
                Ok(())
            });
            if let Err(error) = kept {
                for detection in &rest.detections {
                    report.fault(*detection, &error);
                    rows.get_mut(*detection).map(Vec::clear);
                }
            }
        }
        Ok(Selection { rows, report })
    }

    fn by_bits(&self, of: impl Iterator<Item = usize>, resolved: &[Resolved<'_>]) -> Vec<Vec<u32>> {
        let mut rows = vec![Vec::new(); self.layout.detections];
        let split = self.layout.split();
        let mut all = self.all.clone();
        for detection in &self.aside {
            if let Some(word) = all.get_mut(detection / 64) {
                *word &= !(1 << (detection % 64));
            }
        }
        let mut left = all.clone();
        let mut any = vec![0_u64; self.layout.width() - split];
        for row in of {
            left.copy_from_slice(&all);
            let mut some = true;
            for (column, resolved) in self.columns.iter().zip(resolved) {
                let bits = column.bits(resolved.set(row));
                let mut union = 0;
                for (left, bits) in left.iter_mut().zip(bits) {
                    *left &= bits;
                    union |= *left;
                }
                some = union != 0;
                if !some {
                    break;
                }
            }
            if !some {
                continue;
            }
            let mut gathered = false;
            for (word, bits) in left.iter().enumerate() {
                let mut bits = *bits;
                while bits != 0 {
                    let detection = word * 64 + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let needed = self.alternatives.get(detection);
                    if let Some(needed) = needed.filter(|needed| !needed.is_empty()) {
                        if !gathered {
                            self.gather(row, resolved, &mut any);
                            gathered = true;
                        }
                        if !needed.iter().all(|alternative| is_set(&any, *alternative)) {
                            continue;
                        }
                    }
                    if let (Some(rows), Ok(row)) = (rows.get_mut(detection), u32::try_from(row)) {
                        rows.push(row);
                    }
                }
            }
        }
        rows
    }

    /// The alternatives that a row makes true.
    fn gather(&self, row: usize, resolved: &[Resolved<'_>], any: &mut [u64]) {
        any.fill(0);
        for (column, resolved) in self.columns.iter().zip(resolved) {
            let bits = column.bits(resolved.set(row));
            for (any, bits) in any.iter_mut().zip(bits.iter().skip(self.layout.split())) {
                *any |= bits;
            }
        }
    }
}

fn is_true(value: &ScalarValue) -> bool {
    matches!(value, ScalarValue::Boolean(Some(true)))
}

fn is_set(bits: &[u64], at: usize) -> bool {
    bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
}

/// A guess at what a row costs: bodies are long, and functions of them dear.
fn cost(expr: &Expr) -> usize {
    let columns = expr.column_refs();
    let bodies = columns.iter().filter(|column| column.name.ends_with("_object")).count();
    columns.len() + 100 * bodies
}
