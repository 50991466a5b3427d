//! `auditmill exceptions list`: what is exempt, who says so, until when, and what that hid.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context as _, Result, bail};
use comfy_table::{CellAlignment, Table};
use serde_json::{Map, Value as Json};

use super::table::styled;
use super::{BadDetections, Verdict, sql};
use crate::cli::{ExceptionsArgs, Format, ServerArgs};
use crate::clock::now_micros;
use crate::detect::catalog::Catalog;
use crate::detect::exception::Detections;
use crate::event::time::rfc3339;

/// What exceptions hid, by their names.
const HIDDEN: &str = "SELECT item, sum(count) AS hidden, CAST(max(hour) AS VARCHAR) AS latest \
     FROM ledger WHERE kind = 'exempted' GROUP BY item ORDER BY item";

/// The exceptions of a server, in the order of its file.
const IN_USE: &str = "SELECT name, state, list, detections, condition, owner, reason, clusters, \
     hidden, \
     CAST(expires AS VARCHAR) AS expires, CAST(latest AS VARCHAR) AS latest FROM exceptions";

/// Shows all exceptions, with `--lists` those of lists too, also those that have expired, and those
/// that are gone but hid something:
/// of a folder, else those that a server uses, else those that are shipped.
///
/// # Errors
/// When the folder cannot be read, or who is asked does not answer.
pub fn list(args: &ExceptionsArgs) -> Result<Verdict> {
    let dir = match &args.dir {
        Some(dir) => Some(dir.clone()),
        None => args.config.settings()?.detect.dir,
    };
    let is_named = is_named(&args.server);
    let mut rows = match dir {
        None if is_named && args.server.data.is_none() => of_server(&args.server)?,
        None if !args.lists => bail!(
            "no folder: give `--dir`, `--config` with `[detect] dir`, or `--url` of a server; \
             `--lists` shows what is shipped"
        ),
        dir => {
            let catalog = Catalog::load(dir.as_deref()).map_err(BadDetections)?;
            let hidden = if is_named { Some(hidden(&args.server)?) } else { None };
            of_folder(&catalog, hidden.as_ref(), now_micros())
        }
    };
    rows.retain(|row| args.lists || row.list.is_none());
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => rows.iter().try_for_each(|row| writeln!(out, "{}", json(row)))?,
        Format::Table if rows.is_empty() => {}
        Format::Table => writeln!(out, "{}", table(&rows))?,
    }
    if !is_named && args.format == Format::Table {
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
    let read =
        |row: &Map<String, Json>| Some((row.get("item")?.as_str()?.to_owned(), hidden_of(row)?));
    rows.iter().map(read).collect::<Option<_>>().context("read what exceptions hid")
}

fn hidden_of(row: &Map<String, Json>) -> Option<Hidden> {
    let latest = row.get("latest").and_then(Json::as_str).map(str::to_owned);
    Some(Hidden { count: row.get("hidden")?.as_u64()?, latest })
}

/// What is shown of an exception; of one that is gone only its name and what it hid.
struct Row {
    name: String,
    state: String,
    /// The list that it is of.
    list: Option<String>,
    exempts: Option<Exempts>,
    hidden: Option<Hidden>,
}

/// What an exception says of itself.
struct Exempts {
    detections: Vec<String>,
    condition: String,
    owner: String,
    reason: String,
    /// RFC 3339.
    expires: String,
    clusters: Vec<String>,
}

fn of_folder(catalog: &Catalog, hidden: Option<&BTreeMap<String, Hidden>>, now: i64) -> Vec<Row> {
    let of = |name: &str| hidden.map(|hidden| hidden.get(name).cloned().unwrap_or_default());
    let mut rows: Vec<Row> = Vec::new();
    for exception in catalog.exceptions() {
        let state = if exception.is_expired(now) { "expired" } else { "active" };
        let exempts = Exempts {
            detections: match &exception.detections {
                Detections::All => vec!["*".to_owned()],
                Detections::Ids(ids) => ids.iter().cloned().collect(),
            },
            condition: exception.condition.clone(),
            owner: exception.owner.clone(),
            reason: exception.reason.clone(),
            expires: rfc3339(exception.expires),
            clusters: exception.clusters.iter().cloned().collect(),
        };
        rows.push(Row {
            name: exception.name.clone(),
            state: state.to_owned(),
            list: exception.list.clone(),
            exempts: Some(exempts),
            hidden: of(&exception.name),
        });
    }
    let known = |name: &str| catalog.exceptions().iter().any(|exception| exception.name == name);
    for name in hidden.into_iter().flat_map(BTreeMap::keys).filter(|name| !known(name)) {
        let (name, state, hidden) = (name.clone(), "removed".to_owned(), of(name));
        rows.push(Row { name, state, list: None, exempts: None, hidden });
    }
    rows
}

fn of_server(server: &ServerArgs) -> Result<Vec<Row>> {
    let rows = sql::rows(server, IN_USE).context("ask for exceptions")?;
    let read = |row: &Map<String, Json>| {
        let text = |name: &str| Some(row.get(name)?.as_str()?.to_owned());
        let list = |name: &str| serde_json::from_str(row.get(name)?.as_str()?).ok();
        let exempts = || {
            Some(Exempts {
                detections: list("detections")?,
                condition: text("condition")?,
                owner: text("owner")?,
                reason: text("reason")?,
                expires: text("expires")?,
                clusters: list("clusters")?,
            })
        };
        let (exempts, hidden) = (exempts(), hidden_of(row));
        let (name, state, list) = (text("name")?, text("state")?, text("list"));
        Some(Row { name, state, list, exempts, hidden })
    };
    rows.iter().map(read).collect::<Option<_>>().context("read what a server exempts")
}

fn json(row: &Row) -> Json {
    let exempts = row.exempts.as_ref();
    serde_json::json!({
        "name": row.name,
        "state": row.state,
        "list": row.list,
        "detections": exempts.map(|of| &of.detections),
        "condition": exempts.map(|of| &of.condition),
        "owner": exempts.map(|of| &of.owner),
        "reason": exempts.map(|of| &of.reason),
        "expires": exempts.map(|of| &of.expires),
        "clusters": exempts.map(|of| &of.clusters),
        "hidden": row.hidden.as_ref().map(|hidden| hidden.count),
        "latest": row.hidden.as_ref().and_then(|hidden| hidden.latest.as_ref()),
    })
}

/// `2027-06-30 12:00` of microseconds since 1970, UTC.
pub(super) fn minute(micros: i64) -> String {
    minute_of(&rfc3339(micros))
}

/// The same of a time as text; what is listed without an end has this one.
fn minute_of(text: &str) -> String {
    if text.starts_with("9999-") {
        return "never".to_owned();
    }
    text.get(..16).unwrap_or(text).replace('T', " ")
}

fn table(rows: &[Row]) -> Table {
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
    let mut table = styled();
    table.set_header(header);
    for row in rows {
        let text =
            |of: &dyn Fn(&Exempts) -> String| row.exempts.as_ref().map(of).unwrap_or_default();
        let hidden = row.hidden.as_ref().map(|hidden| hidden.count.to_string());
        table.add_row([
            row.name.clone(),
            row.state.clone(),
            text(&|of| minute_of(&of.expires)),
            text(&|of| of.owner.clone()),
            text(&|of| of.detections.join(", ")),
            text(&|of| of.clusters.join(", ")),
            hidden.unwrap_or_else(|| "?".to_owned()),
            text(&|of| of.condition.clone()),
        ]);
    }
    if let Some(column) = table.column_mut(6) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
