//! The DataFusion session that every query of ours is planned in.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
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
    session_with(SessionConfig::new().with_information_schema(true), memory_bytes)
}

fn session_with(config: SessionConfig, memory_bytes: usize) -> Result<SessionContext> {
    // Spans put a line into errors.
    let config = config.set_bool("datafusion.sql_parser.collect_spans", true);
    let runtime: RuntimeEnv =
        RuntimeEnvBuilder::new().with_memory_limit(memory_bytes, 1.0).build()?;
    let context = SessionContext::new_with_config_rt(config, Arc::new(runtime));
    functions::register(&context)?;
    Ok(context)
}
