//! How a detection runs, for `auditmill detections explain`.

use std::sync::Arc;

use futures::FutureExt as _;

use datafusion::common::{Result, exec_datafusion_err};

use super::compiled::Slot;
use super::detection::{Detection, LoadError};
use super::mistake::located;
use super::plan::{bind, plan_over};
use crate::event::schema::events_schema;

/// How a detection runs.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Facts as name and text, in the order in which they are shown.
    pub facts: Vec<(&'static str, String)>,
    /// The query as it is planned: a node a line, the last ones first.
    pub plan: String,
}

/// Says how a detection runs.
///
/// # Errors
/// When its query cannot be planned.
pub fn explained(detection: &Detection) -> Result<Explained, LoadError> {
    let class = match detection.window {
        None => "a filter over each event",
        Some(_) => "windows, asked again when their events change",
    };
    let plan = plan(detection).map_err(|error| located(detection, &error))?;
    Ok(Explained { facts: vec![("runs as", class.to_owned())], plan })
}

fn plan(detection: &Detection) -> Result<String> {
    let slot: Arc<Slot> = Slot::new(events_schema());
    // The one table is there at once: nothing is waited for.
    let planned = plan_over(detection, &slot).now_or_never();
    let (context, logical) =
        planned.ok_or_else(|| exec_datafusion_err!("planning waits for a table"))??;
    let optimized = context.state().optimize(&bind(detection, logical)?)?;
    Ok(optimized.display_indent().to_string())
}
