//! What a server or a data directory knows besides an event, for `auditmill explain`: which
//! findings it can count in are there, and how a server's detections differ from those that judge.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value as Json};

use super::sql;
use crate::cli::ExplainEventArgs;
use crate::detect::explain::{Considered, Place, Verdict};

/// What who is asked knows besides the event.
#[derive(Default)]
pub(super) struct Known {
    /// How each detection of a server differs from the one that judged here, by its id; `None` when
    /// no server was asked.
    served: Option<BTreeMap<String, &'static str>>,
    /// Findings by their ids; `None` when nobody was asked.
    findings: Option<BTreeMap<String, Found>>,
}

/// A finding that is there.
pub(super) struct Found {
    pub(super) status: String,
    pub(super) count: u64,
}

impl Known {
    /// Asks for the findings that an event can count in, and once what a server runs.
    ///
    /// # Errors
    /// When nobody answers.
    pub(super) fn of(self, args: &ExplainEventArgs, considered: &[Considered]) -> Result<Self> {
        let served = match self.served {
            None if args.server.data.is_none() => Some(served(args, considered)?),
            served => served,
        };
        let ids = considered.iter().filter_map(|of| match &of.verdict {
            Verdict::Matched(place) => Some(&place.findings),
            _ => None,
        });
        let ids: Vec<String> = ids.flatten().map(|id| format!("'{id}'")).collect();
        if ids.is_empty() {
            return Ok(Self { served, findings: Some(BTreeMap::new()) });
        }
        let query =
            format!("SELECT id, status, count FROM findings WHERE id IN ({})", ids.join(", "));
        let rows = sql::rows(&args.server, &query).context("ask what was found")?;
        let read = |row: &Map<String, Json>| {
            let text = |name: &str| Some(row.get(name)?.as_str()?.to_owned());
            let found = Found { status: text("status")?, count: row.get("count")?.as_u64()? };
            Some((text("id")?, found))
        };
        let found = rows.iter().map(read).collect::<Option<_>>();
        Ok(Self { served, findings: Some(found.context("read what was found")?) })
    }

    /// The findings that are there of those an event can count in; `None` when that is not known.
    pub(super) fn found<'a>(&'a self, place: &'a Place) -> Option<Vec<(&'a str, &'a Found)>> {
        let findings = self.findings.as_ref().filter(|_| !place.findings.is_empty())?;
        let ids = place.findings.iter();
        Some(ids.filter_map(|id| Some((id.as_str(), findings.get(id)?))).collect())
    }

    /// What is different on the server.
    pub(super) fn note(&self, of: &Considered) -> Option<&'static str> {
        self.served.as_ref()?.get(&of.detection.id).copied()
    }
}

/// What is different on a server, by detection. Parameters and exceptions are not compared.
fn served(
    args: &ExplainEventArgs,
    considered: &[Considered],
) -> Result<BTreeMap<String, &'static str>> {
    let rows = sql::rows(&args.server, "SELECT id, sql, enabled FROM detections")
        .context("ask which detections run")?;
    let read = |row: &Map<String, Json>| {
        let text = |name: &str| Some(row.get(name)?.as_str()?.to_owned());
        Some((text("id")?, (text("sql")?, row.get("enabled")?.as_bool()?)))
    };
    let there: BTreeMap<String, (String, bool)> = rows.iter().filter_map(read).collect();
    let differ = considered.iter().filter_map(|of| {
        let note = match there.get(&of.detection.id) {
            None => "the server has no such detection",
            Some((_, false)) => "the server does not run it",
            Some((text, true)) if *text != of.detection.sql => "the server runs another text of it",
            Some(_) => return None,
        };
        Some((of.detection.id.clone(), note))
    });
    let differ = differ.collect();
    let is_here = |id: &String| considered.iter().any(|of| of.detection.id == *id);
    let only: Vec<&str> = there
        .iter()
        .filter(|(id, (_, runs))| *runs && args.detection.is_none() && !is_here(id))
        .map(|(id, _)| id.as_str())
        .collect();
    if !only.is_empty() {
        let only = only.join(", ");
        eprintln!("the server also runs {only}: give their folder with `--dir`");
    }
    Ok(differ)
}
