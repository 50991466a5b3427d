//! The DataFusion session that every query of ours is planned in.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::functions::{self, bounded};
use super::guarded::Guards;
use super::meter::Meter;

/// The most memory that one detection may use while it runs.
const DETECTION_MEMORY_BYTES: usize = 512 << 20;

/// A session for planning and running detections: one partition, so that runs neither spawn
/// tasks nor depend on the number of cores.
///
/// # Errors
/// Only when a function cannot be registered.
pub fn session() -> Result<SessionContext> {
    let config = SessionConfig::new().with_target_partitions(1);
    session_with(config, runtime(DETECTION_MEMORY_BYTES)?)
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
    let runtime = runtime(memory_bytes)?;
    let meter = Arc::new(Meter::new(Arc::clone(&runtime.memory_pool)));
    let config = config.with_extension(Arc::clone(&meter));
    let context = session_with(config, runtime)?;
    let state = SessionStateBuilder::new_from_existing(context.state());
    let state = state.with_physical_optimizer_rule(Arc::new(Guards::new(memory_bytes)));
    let context = SessionContext::new_with_state(state.build());
    bounded::bound(&context, &meter)?;
    Ok(context)
}

fn runtime(memory_bytes: usize) -> Result<Arc<RuntimeEnv>> {
    // Nothing spills to disk: what has no room in memory fails, and says so. With spilling, a
    // DISTINCT over a cross join with 4 MiB was seen to hang instead of failing.
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(memory_bytes, 1.0)
        .with_disk_manager_builder(disk)
        .build()?;
    Ok(Arc::new(runtime))
}

fn session_with(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> Result<SessionContext> {
    // Spans put a line into errors. The generic dialect takes `, cluster` for `, CLUSTER BY`.
    let config = config
        .set_bool("datafusion.sql_parser.collect_spans", true)
        .set_str("datafusion.sql_parser.dialect", "PostgreSQL");
    let context = SessionContext::new_with_config_rt(config, runtime);
    functions::register(&context)?;
    Ok(context)
}
