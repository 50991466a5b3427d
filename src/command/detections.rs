//! `auditmill detections list` and `explain`: what is looked for, and how.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use comfy_table::Table;

use super::catalogue::catalog;
use super::costs::costs;
use super::exceptions::minute;
use super::table::styled;
use super::{BadDetections, Verdict};
use crate::cli::{ExplainArgs, Format, ListArgs};
use crate::clock::now_micros;
use crate::detect::catalog::Catalog;
use crate::detect::detection::{Detection, Needs};
use crate::detect::explained::explained;
use crate::detect::overrides::{Override, shown};

/// Shows all detections, those turned off too.
///
/// # Errors
/// When a detection cannot be read.
pub fn list(args: &ListArgs) -> Result<Verdict> {
    let catalog = catalog(args.dir.as_deref(), &args.addresses.files())?;
    let mut all: Vec<&Arc<Detection>> = catalog.detections().chain(catalog.disabled()).collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => {
            for detection in all {
                writeln!(out, "{}", json(&catalog, detection))?;
            }
        }
        Format::Table => writeln!(out, "{}", table(&catalog, &all))?,
    }
    Ok(Verdict::Done)
}

fn json(catalog: &Catalog, detection: &Detection) -> serde_json::Value {
    let changed = changes(catalog, detection);
    serde_json::json!({
        "id": detection.id,
        "severity": detection.severity.as_str(),
        "window": detection.window.map(|window| duration(window.length)),
        "title": detection.title,
        "attack": detection.attack,
        "controls": detection.controls,
        "origin": catalog.origin(&detection.id).as_str(),
        "changed": changed,
        "enabled": catalog.get(&detection.id).is_some(),
        "lacks": catalog.lacks(&detection.id),
        "file": detection.path,
    })
}

fn table(catalog: &Catalog, all: &[&Arc<Detection>]) -> Table {
    let mut table = styled();
    table.set_header(["id", "severity", "window", "title", "attack", "controls", "origin", "file"]);
    for detection in all {
        table.add_row([
            detection.id.clone(),
            detection.severity.to_string(),
            detection.window.map(|window| duration(window.length)).unwrap_or_default(),
            detection.title.clone(),
            detection.attack.join(", "),
            detection.controls.join(", "),
            origin(catalog, detection),
            detection.path.to_string(),
        ]);
    }
    table
}

/// What `overrides.yaml` changes of it.
fn changes(catalog: &Catalog, detection: &Detection) -> Vec<&'static str> {
    catalog.overrides_of(&detection.id).map(Override::changes).unwrap_or_default()
}

/// `shipped`, `own (severity, params changed)`, `shipped (off)`, `shipped (cannot be ...)`.
fn origin(catalog: &Catalog, detection: &Detection) -> String {
    let origin = catalog.origin(&detection.id).as_str();
    let changes = changes(catalog, detection);
    let changes: Vec<&str> = changes.into_iter().filter(|change| *change != "enabled").collect();
    let mut notes = Vec::new();
    if let Some(lacks) = catalog.lacks(&detection.id) {
        notes.push(lacks.to_owned());
    } else if catalog.get(&detection.id).is_none() {
        notes.push("off".to_owned());
    }
    if !changes.is_empty() {
        notes.push(format!("{} changed", changes.join(", ")));
    }
    if notes.is_empty() { origin.to_owned() } else { format!("{origin} ({})", notes.join("; ")) }
}

/// Shows one detection.
///
/// # Errors
/// When there is none of this id, or a detection cannot be read.
pub fn explain(args: &ExplainArgs) -> Result<Verdict> {
    let catalog = catalog(args.dir.as_deref(), &args.addresses.files())?;
    let mut all = catalog.detections().chain(catalog.disabled());
    let Some(detection) = all.find(|detection| detection.id == args.id) else {
        bail!("no detection `{}`: `auditmill detections list` shows all", args.id);
    };
    let explained = explained(detection).map_err(|error| BadDetections(vec![error]))?;
    let mut facts = facts(&catalog, detection);
    facts.extend(explained.facts);
    facts.extend(costs(args, &catalog, detection)?);
    let mut out = io::stdout().lock();
    writeln!(out, "{}  {}", detection.id, detection.title)?;
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, text) in facts.iter().filter(|(_, text)| !text.is_empty()) {
        writeln!(out, "{name:width$}  {}", text.trim())?;
    }
    writeln!(out, "\nquery\n{}\n\nplan\n{}", query(detection), explained.plan)?;
    Ok(Verdict::Done)
}

/// What the front matter says, and what was changed of it, by name; empty where it says nothing.
fn facts(catalog: &Catalog, detection: &Detection) -> Vec<(&'static str, String)> {
    let window = detection
        .window
        .map(|window| format!("{}, every {}", duration(window.length), duration(window.slide)));
    let key = detection.key.join(", ");
    let params: Vec<String> =
        detection.params.iter().map(|(name, value)| format!("{name} = {}", shown(value))).collect();
    let placeholders: Vec<&str> = detection.placeholders().collect();
    let now = now_micros();
    let exceptions = catalog.exceptions_of(&detection.id).map(|exception| {
        let until = if exception.is_expired(now) { "expired" } else { "until" };
        format!("{} ({until} {})", exception.name, minute(exception.expires))
    });
    vec![
        ("severity", detection.severity.to_string()),
        ("window", window.unwrap_or_else(|| "none: each event by itself".to_owned())),
        ("key", if key.is_empty() { "the GROUP BY columns".to_owned() } else { key }),
        ("one finding per", format!("key and {}", duration(detection.dedup))),
        ("parameters", params.join(", ")),
        ("attack", detection.attack.join(", ")),
        ("controls", detection.controls.join(", ")),
        ("needs", needs(&detection.needs)),
        ("says", detection.describe.clone()),
        ("placeholders", placeholders.join(", ")),
        ("false positives", detection.false_positives.clone()),
        ("respond", detection.respond.clone()),
        ("origin", origin(catalog, detection)),
        ("file", detection.path.to_string()),
        ("exceptions", exceptions.collect::<Vec<_>>().join(", ")),
    ]
}

fn needs(needs: &Needs) -> String {
    let lists =
        [("resources", &needs.resources), ("verbs", &needs.verbs), ("stages", &needs.stages)];
    let level = needs.level.iter().map(|level| format!("level {level}"));
    let lists = lists.into_iter().filter(|(_, words)| !words.is_empty());
    let lists = lists.map(|(name, words)| format!("{name} {}", words.join(", ")));
    level.chain(lists).chain(needs.of_addresses()).collect::<Vec<_>>().join("; ")
}

/// The file behind its leading comment.
fn query(detection: &Detection) -> &str {
    let query = detection.sql.split_once("*/").map(|(_, query)| query);
    query.unwrap_or(&detection.sql).trim()
}

/// `10m`, `1h` of microseconds.
fn duration(micros: i64) -> String {
    let duration = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    humantime::format_duration(duration).to_string()
}
