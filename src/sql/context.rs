//! The DataFusion session that every query of ours is planned in.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::functions;

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
    let context = session_with(SessionConfig::new().with_information_schema(true), memory_bytes)?;
    let state = SessionStateBuilder::new_from_existing(context.state());
    let state = state.with_physical_optimizer_rule(Arc::new(YieldingJoins));
    Ok(SessionContext::new_with_state(state.build()))
}

/// Makes joins give way: a join of little input and endless output would hold its thread, so that
/// no time limit could stop it.
#[derive(Debug)]
struct YieldingJoins;

impl PhysicalOptimizerRule for YieldingJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wrapped = plan.transform_up(|node| {
            Ok(if node.name().contains("Join") {
                Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)
            } else {
                Transformed::no(node)
            })
        });
        wrapped.data()
    }

    fn name(&self) -> &'static str {
        "yielding_joins"
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
    // Nothing spills to disk: what has no room in memory fails, and says so.
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime: RuntimeEnv = RuntimeEnvBuilder::new()
        .with_memory_limit(memory_bytes, 1.0)
        .with_disk_manager_builder(disk)
        .build()?;
    let context = SessionContext::new_with_config_rt(config, Arc::new(runtime));
    functions::register(&context)?;
    Ok(context)
}
