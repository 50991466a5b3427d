//! The DataFusion session that every query of ours is planned in.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::functions::{self, bounded};
use super::guard::GuardExec;

/// The most memory that one detection may use while it runs.
const DETECTION_MEMORY_BYTES: usize = 512 << 20;

/// A session for planning and running detections: one partition, so that runs neither spawn
/// tasks nor depend on the number of cores.
///
/// # Errors
/// Only when a function cannot be registered.
pub fn session() -> Result<SessionContext> {
    session_with(SessionConfig::new().with_target_partitions(1), DETECTION_MEMORY_BYTES)
}

/// A session for analysts' queries, which together may use up to `memory_bytes`.
///
/// # Errors
/// Only when a function cannot be registered.
pub fn analyst_session(memory_bytes: usize) -> Result<SessionContext> {
    let config = SessionConfig::new()
        .with_information_schema(true)
        // It moves functions of JSON below conditions: bodies would be parsed of every event.
        .set_bool("datafusion.optimizer.enable_leaf_expression_pushdown", false);
    let context = session_with(config, memory_bytes)?;
    let state = SessionStateBuilder::new_from_existing(context.state());
    let state = state.with_physical_optimizer_rule(Arc::new(Guards));
    let context = SessionContext::new_with_state(state.build());
    bounded::bound(&context);
    Ok(context)
}

/// Puts guards into plans. Joins are made to give way: one of little input and endless output
/// would hold its thread, so that no time limit could stop it. What windows hold is counted, and
/// batches that a projection makes are bounded.
#[derive(Debug)]
struct Guards;

impl PhysicalOptimizerRule for Guards {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let guarded = plan.transform_up(|node| {
            let name = node.name();
            if ["Join", "Projection", "Unnest"].iter().any(|part| name.contains(part)) {
                return Ok(Transformed::yes(Arc::new(GuardExec::of_batches(node)) as _));
            }
            if name.contains("Window") {
                let inputs: Vec<_> = node.children().into_iter().map(Arc::clone).collect();
                let inputs = inputs.into_iter();
                let inputs = inputs.map(|input| Arc::new(GuardExec::of_held_rows(input)) as _);
                let inputs = inputs.collect();
                return Ok(Transformed::yes(replace_children_if_necessary(node, inputs)?));
            }
            Ok(Transformed::no(node))
        });
        guarded.data()
    }

    fn name(&self) -> &'static str {
        "guards"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn session_with(config: SessionConfig, memory_bytes: usize) -> Result<SessionContext> {
    // Spans put a line into errors. The generic dialect takes `, cluster` for `, CLUSTER BY`.
    let config = config
        .set_bool("datafusion.sql_parser.collect_spans", true)
        .set_str("datafusion.sql_parser.dialect", "PostgreSQL");
    // Nothing spills to disk: what has no room in memory fails, and says so. With spilling, a
    // DISTINCT over a cross join with 4 MiB was seen to hang instead of failing.
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime: RuntimeEnv = RuntimeEnvBuilder::new()
        .with_memory_limit(memory_bytes, 1.0)
        .with_disk_manager_builder(disk)
        .build()?;
    let context = SessionContext::new_with_config_rt(config, Arc::new(runtime));
    functions::register(&context)?;
    Ok(context)
}
