//! Which steps of an analyst's plan are watched, and how.
//!
//! Joins are made to give way: one of little input and endless output would hold its thread, so
//! that no time limit could stop it. What windows hold is counted, batches that a projection makes
//! are bounded, rows that a join repeats must not be wide, and where constants stand in every row
//! there are few rows at a time.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{
    Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion,
};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::expressions::{InListExpr, Literal};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr, replace_children_if_necessary};

use super::functions::bounded::is_bounded;
use super::guard::{BATCH_ROWS, GuardExec, Watch};

/// No batch is larger, whatever memory there is.
const BATCH_BYTES_MAX: u64 = 256 << 20;

/// What constants may take of a batch.
const CONSTANTS_BYTES_MAX: u64 = 16 << 20;

/// Puts guards into plans.
#[derive(Debug)]
pub(super) struct Guards {
    batch_bytes_max: u64,
    constants_bytes_max: u64,
}

impl Guards {
    /// For queries that together have so much memory.
    pub(super) fn new(memory_bytes: usize) -> Self {
        let share = |parts: u64| (memory_bytes as u64 / parts).max(1);
        Self {
            batch_bytes_max: BATCH_BYTES_MAX.min(share(2)),
            constants_bytes_max: CONSTANTS_BYTES_MAX.min(share(16)),
        }
    }

    fn guard(&self, node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
        let name = node.name().to_owned();
        let is = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let work = Work::of(&node)?;
        let rows_max = self.rows_at_once(&work, node.children().is_empty())?;
        let before = if is(&["Join", "Unnest"]) {
            Some(Watch::Repeated)
        } else if is(&["Window"]) {
            Some(Watch::Held)
        } else {
            (work.makes || rows_max.is_some()).then_some(Watch::Batches)
        };
        let after = work.makes || is(&["Join", "Projection", "Unnest"]);
        if before.is_none() && !after {
            return Ok(Transformed::no(node));
        }
        let node = match before {
            None => node,
            Some(watch) => {
                let guarded = |input: &Arc<dyn ExecutionPlan>| {
                    let guard = GuardExec::new(Arc::clone(input), watch, self.batch_bytes_max);
                    Arc::new(guard.in_slices(rows_max)) as _
                };
                let inputs = node.children().into_iter().map(guarded).collect();
                replace_children_if_necessary(node, inputs)?
            }
        };
        if !after {
            return Ok(Transformed::yes(node));
        }
        let guard = GuardExec::new(node, Watch::Batches, self.batch_bytes_max);
        Ok(Transformed::yes(Arc::new(guard) as _))
    }

    /// How many rows there may be at once for constants not to take too much; `None` when they
    /// are as short as they mostly are.
    fn rows_at_once(&self, work: &Work, is_leaf: bool) -> Result<Option<usize>> {
        let (bytes, bytes_max) = (work.constant_bytes, self.constants_bytes_max);
        if bytes.saturating_mul(BATCH_ROWS as u64) <= bytes_max {
            return Ok(None);
        }
        if bytes > bytes_max || is_leaf {
            return exec_err!(
                "the constants of one step have {bytes} bytes, which would stand in every row: \
                 make them shorter, or fewer"
            );
        }
        Ok(usize::try_from(bytes_max / bytes).ok())
    }
}

impl PhysicalOptimizerRule for Guards {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| self.guard(node)).data()
    }

    fn name(&self) -> &'static str {
        "guards"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// What the expressions of a step do.
#[derive(Debug, Default)]
struct Work {
    /// Bytes of constants that may be written out for each row.
    constant_bytes: u64,
    /// Whether a function makes much of little.
    makes: bool,
}

impl Work {
    fn of(node: &Arc<dyn ExecutionPlan>) -> Result<Self> {
        let mut work = Self::default();
        node.apply_expressions(&mut |expression| {
            work.add(expression);
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(work)
    }

    fn add(&mut self, expression: &Arc<dyn PhysicalExpr>) {
        if let Some(literal) = expression.downcast_ref::<Literal>() {
            self.constant_bytes = self.constant_bytes.saturating_add(long_bytes(literal.value()));
        } else if let Some(list) = expression.downcast_ref::<InListExpr>() {
            // What is in its list is looked up, not written out.
            self.add(list.expr());
        } else {
            let call = expression.downcast_ref::<ScalarFunctionExpr>();
            self.makes |= call.is_some_and(|call| is_bounded(call.fun().name()));
            expression.children().into_iter().for_each(|child| self.add(child));
        }
    }
}

/// The length of a constant of any length; the others are as long as a number.
fn long_bytes(value: &ScalarValue) -> u64 {
    let fixed = value.data_type().is_primitive() || value.is_null();
    if fixed { 0 } else { value.size().saturating_sub(size_of::<ScalarValue>()) as u64 }
}
