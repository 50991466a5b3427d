//! The command: a policy, what needs it, what came of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::events::forecast;
use super::print::{print_json, print_table};
use crate::cli::{CheckArgs, Format};
use crate::command::{BadDetections, Verdict};
use crate::detect::catalog::Catalog;
use crate::detect::detection::{Detection, Kind, Needs};
use crate::policy::coverage::{Coverage, coverage, feeders};
use crate::policy::document::Policy;
use crate::policy::forecast::Forecast;
use crate::policy::smallest::{smallest, yaml};
use crate::question::control;

/// Whoever needs the policy.
pub(super) struct Needy {
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) title: String,
    pub(super) needs: Needs,
}

/// What is told.
pub(super) struct Checked {
    pub(super) policy: Policy,
    pub(super) all: Vec<(Needy, Coverage)>,
    /// By rule, from 1: the ids of whom it feeds.
    pub(super) feeds: BTreeMap<usize, Vec<String>>,
    pub(super) smallest: Policy,
    /// Of the policy and of the smallest, when there are events.
    pub(super) forecasts: Option<(Forecast, Forecast)>,
}

/// Tells what an audit policy leaves out.
///
/// # Errors
/// When the policy, a detection or a file cannot be read, or the smallest not be written.
pub fn check(args: &CheckArgs) -> Result<Verdict> {
    let policy = read(&args.policy)?;
    let needy = needy(args.dir.as_deref())?;
    let smallest = smallest(needy.iter().map(|one| &one.needs));
    let mut feeds: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for one in &needy {
        for rule in feeders(&policy, &one.needs) {
            feeds.entry(rule).or_default().push(one.id.clone());
        }
    }
    let all: Vec<(Needy, Coverage)> = needy
        .into_iter()
        .map(|one| {
            let coverage = coverage(&policy, &one.needs);
            (one, coverage)
        })
        .collect();
    let forecasts = if args.events.is_empty() {
        None
    } else {
        Some(forecast(&args.events, &policy, &smallest)?)
    };
    if let Some(path) = &args.write {
        let about = "The smallest audit policy that feeds all detections and controls of\n\
                     auditmill, made by `auditmill policy check --write`.";
        fs::write(path, yaml(&smallest, about))
            .with_context(|| format!("write `{}`", path.display()))?;
    }
    let checked = Checked { policy, all, feeds, smallest, forecasts };
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => print_json(&mut out, &checked)?,
        Format::Table => print_table(&mut out, &checked)?,
    }
    let blind = checked.all.iter().any(|(_, coverage)| matches!(coverage, Coverage::Never(_)));
    Ok(if blind { Verdict::No } else { Verdict::Done })
}

/// Reads a policy.
///
/// # Errors
/// When there is none, or the API server would not take it.
pub(in crate::command) fn read(path: &Path) -> Result<Policy> {
    let fail = || format!("read audit policy `{}`", path.display());
    let text = fs::read_to_string(path).with_context(fail)?;
    Policy::parse(&text).with_context(fail)
}

/// All detections that read events, and all controls that ask of them.
fn needy(dir: Option<&Path>) -> Result<Vec<Needy>> {
    let catalog = Catalog::load(dir).map_err(BadDetections)?;
    let reads_events =
        |detection: &&std::sync::Arc<Detection>| !matches!(detection.kind, Kind::OverFindings);
    let of = |detection: &std::sync::Arc<Detection>| Needy {
        kind: "detection",
        id: detection.id.clone(),
        title: detection.title.clone(),
        needs: detection.needs.clone(),
    };
    // Address lists may be supplied any time; what the log must show stays the same.
    let lacking = catalog.lacking().map(|(detection, _)| detection);
    let detections = catalog.detections().chain(lacking);
    let mut all: Vec<Needy> = detections.filter(reads_events).map(of).collect();
    for control in control::shipped().map_err(BadDetections)? {
        if control.evidence.is_some() {
            let (id, title, needs) = (control.id, control.title, control.needs);
            all.push(Needy { kind: "control", id, title, needs });
        }
    }
    Ok(all)
}
