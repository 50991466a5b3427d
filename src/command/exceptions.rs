//! `auditmill exceptions list`: what is exempt, who says so, until when, and what that hid.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context as _, Result};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde_json::Value as Json;

use super::{BadDetections, Verdict, sql};
use crate::cli::{ExceptionsArgs, Format, ServerArgs};
use crate::clock::now_micros;
use crate::detect::catalog::Catalog;
use crate::detect::exception::{Detections, Exception};
use crate::event::time::rfc3339;

/// What exceptions hid, by their names.
const HIDDEN: &str = "SELECT item, sum(count) AS hidden, CAST(max(hour) AS VARCHAR) AS latest \
     FROM ledger WHERE kind = 'exempted' GROUP BY item ORDER BY item";

/// Shows all exceptions, also those that have expired, and those that are gone but hid something.
///
/// # Errors
/// When the folder cannot be read, or who is asked does not answer.
pub fn list(args: &ExceptionsArgs) -> Result<Verdict> {
    let dir = match &args.dir {
        Some(dir) => Some(dir.clone()),
        None => args.config.settings()?.detect.dir,
    };
    let dir = dir.context("no folder: give `--dir`, or `--config` with `[detect] dir`")?;
    let catalog = Catalog::load(Some(&dir)).map_err(BadDetections)?;
    let hidden = if is_named(&args.server) { Some(hidden(&args.server)?) } else { None };
    let rows = rows(&catalog, hidden.as_ref(), now_micros());
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => rows.iter().try_for_each(|row| writeln!(out, "{}", json(row)))?,
        Format::Table if rows.is_empty() => {}
        Format::Table => writeln!(out, "{}", table(&rows))?,
    }
    if hidden.is_none() && args.format == Format::Table {
        eprintln!("what they hid is told by a server (`--url`) or a data directory (`--data`)");
    }
    Ok(Verdict::Done)
}

fn is_named(server: &ServerArgs) -> bool {
    let variable = std::env::var("AUDITMILL_URL").is_ok_and(|url| !url.is_empty());
    server.url.is_some() || server.data.is_some() || variable
}

/// How much an exception hid, and the start of the latest hour in which it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hidden {
    count: u64,
    latest: Option<String>,
}

fn hidden(server: &ServerArgs) -> Result<BTreeMap<String, Hidden>> {
    let rows = sql::rows(server, HIDDEN).context("ask what exceptions hid")?;
    let read = |row: &serde_json::Map<String, Json>| {
        let name = row.get("item")?.as_str()?.to_owned();
        let count = row.get("hidden")?.as_u64()?;
        let latest = row.get("latest").and_then(Json::as_str).map(str::to_owned);
        Some((name, Hidden { count, latest }))
    };
    rows.iter().map(read).collect::<Option<_>>().context("read what exceptions hid")
}

/// What is shown of an exception; of one that is gone only its name and what it hid.
struct Row<'a> {
    name: &'a str,
    exception: Option<&'a Exception>,
    state: &'static str,
    hidden: Option<Hidden>,
}

fn rows<'a>(
    catalog: &'a Catalog,
    hidden: Option<&'a BTreeMap<String, Hidden>>,
    now: i64,
) -> Vec<Row<'a>> {
    let of = |name: &str| hidden.map(|hidden| hidden.get(name).cloned().unwrap_or_default());
    let mut rows: Vec<Row<'a>> = Vec::new();
    for exception in catalog.exceptions() {
        let state = if exception.is_expired(now) { "expired" } else { "active" };
        let (name, hidden) = (exception.name.as_str(), of(&exception.name));
        rows.push(Row { name, exception: Some(exception), state, hidden });
    }
    let known = |name: &str| catalog.exceptions().iter().any(|exception| exception.name == name);
    for name in hidden.into_iter().flat_map(BTreeMap::keys).filter(|name| !known(name)) {
        rows.push(Row { name, exception: None, state: "removed", hidden: of(name) });
    }
    rows
}

fn json(row: &Row<'_>) -> Json {
    let exception = row.exception;
    serde_json::json!({
        "name": row.name,
        "state": row.state,
        "detections": exception.map(|e| ids(&e.detections)),
        "condition": exception.map(|e| &e.condition),
        "owner": exception.map(|e| &e.owner),
        "reason": exception.map(|e| &e.reason),
        "expires": exception.map(|e| rfc3339(e.expires)),
        "clusters": exception.map(|e| &e.clusters),
        "hidden": row.hidden.as_ref().map(|hidden| hidden.count),
        "latest": row.hidden.as_ref().and_then(|hidden| hidden.latest.as_ref()),
    })
}

/// `2027-06-30 12:00` of microseconds since 1970, UTC.
pub(super) fn minute(micros: i64) -> String {
    let text = rfc3339(micros);
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

fn ids(detections: &Detections) -> Vec<&str> {
    match detections {
        Detections::All => vec!["*"],
        Detections::Ids(_) => detections.ids().collect(),
    }
}

fn table(rows: &[Row<'_>]) -> Table {
    let header = [
        "name",
        "state",
        "expires (UTC)",
        "owner",
        "detections",
        "clusters",
        "hidden",
        "condition",
    ];
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    for row in rows {
        let exception = row.exception;
        let text = |text: Option<String>| text.unwrap_or_default();
        let clusters = exception.map(|e| e.clusters.iter().cloned().collect::<Vec<_>>().join(", "));
        let hidden = row.hidden.as_ref().map(|hidden| hidden.count.to_string());
        let expires = exception.map(|e| minute(e.expires));
        table.add_row([
            row.name.to_owned(),
            row.state.to_owned(),
            text(expires),
            text(exception.map(|e| e.owner.clone())),
            text(exception.map(|e| ids(&e.detections).join(", "))),
            text(clusters),
            hidden.unwrap_or_else(|| "?".to_owned()),
            text(exception.map(|e| e.condition.clone())),
        ]);
    }
    if let Some(column) = table.column_mut(6) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
