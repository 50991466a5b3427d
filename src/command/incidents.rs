//! `auditmill incidents list`, `show`: incidents for people, and for machines.

use std::io::{self, Write};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value as Json};

use super::table::styled;
use super::{Verdict, sql};
use crate::cli::{Format, IncidentArgs, IncidentsArgs};

const COLUMNS: &str = "id, title, severity, score, state, reason, assignee, merged_into, cluster, \
     actors, namespaces, tactics, controls, detections, findings, events, \
     CAST(first_seen AS VARCHAR) AS first_seen, CAST(last_seen AS VARCHAR) AS last_seen, pages, \
     revision";

/// Shows incidents that are not closed, or all.
///
/// # Errors
/// When who is asked does not answer.
pub fn list(args: &IncidentsArgs) -> Result<Verdict> {
    let which = if args.all { "" } else { " WHERE state <> 'closed'" };
    let question = format!("SELECT {COLUMNS} FROM incidents{which} ORDER BY last_seen DESC, id");
    let rows = sql::rows(&args.server, &question).context("ask for incidents")?;
    let mut out = io::stdout().lock();
    if args.format == Format::Json {
        for row in rows {
            writeln!(out, "{}", with_lists(row))?;
        }
        return Ok(Verdict::Done);
    }
    let mut table = styled();
    let header =
        ["id", "severity", "score", "state", "assignee", "last (UTC)", "findings", "tactics"];
    table.set_header(header.into_iter().chain(["title"]));
    for row in &rows {
        let text = |name: &str| match row.get(name) {
            None | Some(Json::Null) => String::new(),
            Some(Json::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let last = text("last_seen");
        let last = last.get(..16).unwrap_or(&last).replace('T', " ");
        let tactics: Vec<String> = serde_json::from_str(&text("tactics")).unwrap_or_default();
        table.add_row([
            text("id"),
            text("severity"),
            text("score"),
            text("state"),
            text("assignee"),
            last,
            text("findings"),
            tactics.join(" "),
            text("title"),
        ]);
    }
    if !rows.is_empty() {
        writeln!(out, "{table}")?;
    }
    Ok(Verdict::Done)
}

/// A row whose lists are lists, as in `GET /v1/incidents`.
fn with_lists(mut row: Map<String, Json>) -> Json {
    for name in ["actors", "namespaces", "tactics", "controls", "detections"] {
        if let Some(Json::String(text)) = row.get(name)
            && let Ok(list) = serde_json::from_str::<Json>(text)
        {
            row.insert(name.to_owned(), list);
        }
    }
    Json::Object(row)
}

/// Shows the whole story of one.
///
/// # Errors
/// When there is none of this id, or the server does not answer.
pub fn show(args: &IncidentArgs) -> Result<Verdict> {
    let path = ["v1", "incidents", args.id.as_str()];
    let (status, answer) = sql::call(&args.server, "GET", &path, None)?;
    if status != 200 {
        bail!("{}", answer.get("error").and_then(Json::as_str).unwrap_or("no such incident"));
    }
    let mut out = io::stdout().lock();
    if args.format == Format::Json {
        writeln!(out, "{answer}")?;
        return Ok(Verdict::Done);
    }
    let text = |value: &Json, name: &str| match value.get(name) {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    writeln!(out, "{}", text(&answer, "text"))?;
    let state = [text(&answer, "state"), text(&answer, "reason"), text(&answer, "assignee")];
    let state: Vec<String> = state.into_iter().filter(|part| !part.is_empty()).collect();
    writeln!(out, "State: {}\n\nTimeline", state.join(", "))?;
    let list = |name: &str| answer.get(name).and_then(Json::as_array).cloned().unwrap_or_default();
    for moment in list("timeline") {
        let part = |name: &str| text(&moment, name);
        let (at, severity, tactic) = (part("first_seen"), part("severity"), part("tactic"));
        writeln!(out, "{at} {severity} {} {tactic} {}", part("detection"), part("summary"))?;
    }
    for done in list("triage") {
        let part = |name: &str| text(&done, name);
        writeln!(out, "{} {} {} {}", part("at"), part("who"), part("action"), part("detail"))?;
    }
    Ok(Verdict::Done)
}
