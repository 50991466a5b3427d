//! What a detection costs, for `auditmill detections explain`: as a server counts it, or over
//! audit logs.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytesize::ByteSize;
use serde_json::{Map, Value as Json};

use super::explain::each_batch;
use super::{BadDetections, sql};
use crate::cli::{ExplainArgs, ServerArgs};
use crate::clock::now_micros;
use crate::detect::catalog::Catalog;
use crate::detect::detection::{Detection, Kind};
use crate::detect::measured::{Measured, Measuring, Passed};
use crate::event::seen::Seen;

/// How many events are remembered to leave out repeats.
const SEEN_MAX: usize = 1_000_000;

/// A name and what is said under it.
type Fact = (&'static str, String);

/// What the detection costs: over the files that are named, else on the server that is, else where
/// to look.
pub(super) fn costs(
    args: &ExplainArgs,
    catalog: &Catalog,
    detection: &Detection,
) -> Result<Vec<Fact>> {
    if args.server.data.is_some() {
        bail!("only a server that runs knows what detections cost: give `--url`, or audit logs");
    }
    if !args.files.is_empty() {
        return of_files(args, catalog, detection);
    }
    let variable = std::env::var("AUDITMILL_URL").is_ok_and(|url| !url.is_empty());
    if args.server.url.is_some() || variable {
        return of_server(&args.server, detection);
    }
    let metrics = "of a server with `--url`, over audit logs with FILE; auditmill_detection_*";
    Ok(vec![("costs", metrics.to_owned())])
}

fn of_server(server: &ServerArgs, detection: &Detection) -> Result<Vec<Fact>> {
    let id = detection.id.replace('\'', "''");
    let query = format!(
        "SELECT sql, class, candidates, busy_seconds, keys, state_bytes FROM detections \
         WHERE id = '{id}'"
    );
    let rows = sql::rows(server, &query).context("ask what it costs")?;
    let Some(row) = rows.first() else {
        return Ok(vec![("on the server", "it has no detection of this id".to_owned())]);
    };
    let mut facts = Vec::new();
    if row.get("sql").and_then(Json::as_str) != Some(&detection.sql) {
        let note = "another text of it: what is said above is of the one here";
        facts.push(("on the server", note.to_owned()));
    }
    match figures(row) {
        Some(figures) => facts.extend(figures),
        None => facts.push(("on the server", "it does not run, or not yet".to_owned())),
    }
    Ok(facts)
}

/// The figures of a server's row; `None` where nothing runs.
fn figures(row: &Map<String, Json>) -> Option<[Fact; 3]> {
    let number = |name: &str| row.get(name)?.as_u64();
    let (rows, keys, bytes) = (number("candidates")?, number("keys")?, number("state_bytes")?);
    let busy = Duration::try_from_secs_f64(row.get("busy_seconds")?.as_f64()?).ok()?;
    Some([
        ("candidates", format!("{rows} events since the server started")),
        ("time", format!("{busy:.3?}{}", per(busy, rows, "candidate"))),
        ("state", state(keys, bytes)),
    ])
}

/// `, 850 ns a candidate`; nothing where there was none.
fn per(took: Duration, number: u64, what: &str) -> String {
    match took.as_nanos().checked_div(u128::from(number)) {
        Some(nanos) => format!(", {nanos} ns a {what}"),
        None => String::new(),
    }
}

fn state(keys: u64, bytes: u64) -> String {
    format!("{keys} keys, {}", ByteSize::b(bytes))
}

fn of_files(args: &ExplainArgs, catalog: &Catalog, detection: &Detection) -> Result<Vec<Fact>> {
    if detection.kind == Kind::OverFindings {
        bail!("`{}` reads what others find: audit logs alone say nothing of it", detection.id);
    }
    let only = catalog.with(detection.clone(), |_| false);
    let mut measuring = Measuring::new(&only).map_err(BadDetections)?;
    let mut seen = Seen::new(SEEN_MAX, i64::MAX);
    for path in &args.files {
        let read = each_batch(args.cluster.as_str(), path, |rows| {
            // The horizon is by number alone: a file says nothing about arrival.
            let new = seen.keep_new(rows, 0).unwrap_or_else(|_| rows.clone());
            measuring.take(&new, now_micros());
        });
        read.with_context(|| format!("read `{}`", path.display()))?;
    }
    Ok(told(measuring.finish()))
}

fn told(measured: Measured) -> Vec<Fact> {
    let Measured { events, conditions, hidden, findings, cost, took, faults } = measured;
    let mut facts = vec![("events", format!("{events} in these files"))];
    facts.extend(conditions.into_iter().map(|(sql, Passed { alone, left })| {
        ("passes", format!("{alone}, {left} with those above: {sql}"))
    }));
    facts.push(("candidates", format!("{} events, {hidden} of them exempt", cost.rows)));
    facts.push(("time", format!("{took:.3?}{}", per(took, events, "event"))));
    facts.push(("state", state(cost.keys as u64, cost.bytes as u64)));
    facts.push(("findings", findings.to_string()));
    facts.extend(faults.into_iter().map(|fault| ("failed", fault)));
    facts
}
