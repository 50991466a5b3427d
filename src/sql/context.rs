//! The DataFusion session that every query of ours is planned in.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use datafusion::catalog::MemoryCatalogProviderList;
use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, GreedyMemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::functions::{self, bounded};
use super::guarded::Guards;
use super::meter::Meter;
use super::spill::Spill;

/// The most memory that one detection may use while it runs.
const DETECTION_MEMORY_BYTES: usize = 512 << 20;

/// How many are named that hold the most when there is no more.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(5).expect("five");

/// The most that one part of a sort keeps for that.
const MERGE_BYTES: usize = 10 << 20;

/// A session for planning and running detections: one partition, so that runs neither spawn
/// tasks nor depend on the number of cores. Each has tables of its own; functions, rules and the
/// memory to run in are those of all.
///
/// # Errors
/// Only when a function cannot be registered.
pub fn session() -> Result<SessionContext> {
    static FIRST: OnceLock<SessionState> = OnceLock::new();
    let first = if let Some(first) = FIRST.get() {
        first
    } else {
        let config = SessionConfig::new().with_target_partitions(1);
        let context = session_with(config, runtime(DETECTION_MEMORY_BYTES, None)?)?;
        let state = guarded(&context, DETECTION_MEMORY_BYTES).state();
        FIRST.get_or_init(|| state)
    };
    let config = first.config().clone().with_create_default_catalog_and_schema(true);
    let state = SessionStateBuilder::new_from_existing(first.clone())
        .with_config(config)
        .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
    Ok(SessionContext::new_with_state(state.build()))
}

/// A session for analysts' queries, which together may use up to `memory_bytes`.
///
/// # Errors
/// Only when a function cannot be registered.
pub fn analyst_session(memory_bytes: usize) -> Result<SessionContext> {
    analyst_session_with(memory_bytes, None)
}

/// As [`analyst_session`]; what has no room in memory goes to the disk, where there is one for it.
///
/// # Errors
/// When a function cannot be registered, or the disk not be used.
pub fn analyst_session_with(memory_bytes: usize, spill: Option<Spill>) -> Result<SessionContext> {
    // What a sort keeps for reading back what it has written, of each of its parts.
    let merge_bytes = MERGE_BYTES.min(memory_bytes / 16);
    let config = SessionConfig::new()
        .with_sort_spill_reservation_bytes(merge_bytes)
        .with_information_schema(true)
        // It moves functions of JSON below conditions: bodies would be parsed of every event.
        .set_bool("datafusion.optimizer.enable_leaf_expression_pushdown", false);
    // Sorts take what there is and spill the rest: functions need a part that is left to them.
    let functions_bytes = memory_bytes / 4;
    let runtime = runtime(memory_bytes - functions_bytes, spill)?;
    let meter = Arc::new(Meter::new(Arc::new(GreedyMemoryPool::new(functions_bytes))));
    let config = config.with_extension(Arc::clone(&meter));
    let context = session_with(config, runtime)?;
    let context = guarded(&context, memory_bytes);
    bounded::bound(&context, &meter)?;
    Ok(context)
}

/// The same session, whose plans are watched and give way.
fn guarded(context: &SessionContext, memory_bytes: usize) -> SessionContext {
    let state = SessionStateBuilder::new_from_existing(context.state());
    let state = state.with_physical_optimizer_rule(Arc::new(Guards::new(memory_bytes)));
    SessionContext::new_with_state(state.build())
}

fn runtime(memory_bytes: usize, spill: Option<Spill>) -> Result<Arc<RuntimeEnv>> {
    let builder = RuntimeEnvBuilder::new();
    let builder = match spill {
        // Each that can spill has an equal part: the first would take all, and the next, which
        // has nothing yet that it could write, fail.
        Some(spill) => {
            let pool = FairSpillPool::new(memory_bytes);
            let pool = TrackConsumersPool::new(pool, CONSUMERS_NAMED);
            builder.with_memory_pool(Arc::new(pool)).with_disk_manager_builder(spill.builder()?)
        }
        // What has no room in memory fails, and says so.
        None => builder.with_memory_limit(memory_bytes, 1.0).with_disk_manager_builder(
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
        ),
    };
    Ok(Arc::new(builder.build()?))
}

fn session_with(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> Result<SessionContext> {
    // Spans put a line into errors. The generic dialect takes `, cluster` for `, CLUSTER BY`.
    let config = config
        .set_bool("datafusion.sql_parser.collect_spans", true)
        // The engine's plans and its own check of them differ in what may be NULL below FILTER.
        .set_bool("datafusion.execution.skip_physical_aggregate_schema_check", true)
        .set_str("datafusion.sql_parser.dialect", "PostgreSQL");
    let context = SessionContext::new_with_config_rt(config, runtime);
    functions::register(&context)?;
    Ok(context)
}
