//! A report for people, and as lines of JSON for machines.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use serde_json::{Map, Value as Json, json};

use super::super::table::styled;
use super::report::{Change, Diff, Report, key};
use crate::detect::finding::Finding;
use crate::findings::record::FindingRecord;

/// How many keys are loud.
const LOUDEST: usize = 10;
/// How many findings of each kind of change are shown to people.
const CHANGES_MAX: usize = 100;

/// Lines of JSON: findings, days, the summary; `kind` says which.
pub(super) fn print_json(out: &mut impl Write, report: &Report) -> Result<()> {
    let changes = report.changes();
    for finding in &report.findings {
        let change = changes.as_ref().and_then(|changes| changes.get(finding.id.as_str()));
        line(out, &finding_line(report, finding, change.copied())?)?;
    }
    for finding in report.diff.iter().flat_map(|diff| &diff.removed) {
        line(out, &finding_line(report, finding, Some(Change::Removed))?)?;
    }
    for day in report.days() {
        line(
            out,
            &json!({
                "kind": "day", "day": day.date, "detection": day.detection,
                "severity": day.severity.as_str(), "findings": day.findings,
            }),
        )?;
    }
    let severities = report.severities().into_iter();
    let severities: Map<String, Json> =
        severities.map(|(severity, count)| (severity.to_string(), count.into())).collect();
    let mut summary = json!({
        "kind": "summary",
        "events": report.read.events,
        "repeated": report.read.repeated,
        "unreadable": report.read.unreadable,
        "findings": report.findings.len(),
        "severities": severities,
        "faults": report.faults,
    });
    if let (Some(diff), Some(summary)) = (&report.diff, summary.as_object_mut()) {
        summary.insert("added".to_owned(), diff.added.len().into());
        summary.insert("removed".to_owned(), diff.removed.len().into());
        summary.insert("changed".to_owned(), diff.changed.len().into());
    }
    line(out, &summary)
}

fn finding_line(report: &Report, finding: &Finding, change: Option<Change>) -> Result<Json> {
    let mut object = Map::new();
    object.insert("kind".to_owned(), "finding".into());
    object.insert("day".to_owned(), report.period.day(finding).into());
    if let Some(change) = change {
        object.insert("change".to_owned(), change.as_str().into());
    }
    if let Json::Object(record) = serde_json::to_value(FindingRecord::new(finding, 1))? {
        object.extend(record);
    }
    Ok(Json::Object(object))
}

fn line(out: &mut impl Write, value: &Json) -> Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    Ok(out.write_all(b"\n")?)
}

/// Tables, then what is different.
pub(super) fn print_table(out: &mut impl Write, report: &Report, show: usize) -> Result<()> {
    if !report.findings.is_empty() {
        let days = report.days().into_iter().map(|day| {
            [day.date, day.detection.to_owned(), day.severity.to_string(), day.findings.to_string()]
        });
        table(out, ["day (UTC)", "detection", "severity", "findings"], days)?;
        let severities = report.severities().into_iter();
        let severities: Vec<String> =
            severities.map(|(severity, count)| format!("{count} {severity}")).collect();
        writeln!(out, "{}\n", severities.join(", "))?;
        let loudest = report.loudest(LOUDEST).into_iter().map(|loud| {
            [
                loud.detection.to_owned(),
                loud.key,
                loud.findings.to_string(),
                loud.events.to_string(),
            ]
        });
        table(out, ["detection", "loudest keys", "findings", "events"], loudest)?;
    }
    let shown = report.findings.get(..show.min(report.findings.len())).unwrap_or_default();
    for finding in shown {
        writeln!(out, "{}", sentence(finding))?;
    }
    if let Some(diff) = &report.diff {
        print_diff(out, diff)?;
    }
    Ok(())
}

fn print_diff(out: &mut impl Write, diff: &Diff) -> Result<()> {
    let kinds = [("added", &diff.added), ("removed", &diff.removed), ("changed", &diff.changed)];
    let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for (at, (_, findings)) in kinds.iter().enumerate() {
        for finding in *findings {
            if let Some(count) = counts.entry(&finding.detection.id).or_default().get_mut(at) {
                *count += 1;
            }
        }
    }
    if counts.is_empty() {
        writeln!(out, "both versions find the same")?;
        return Ok(());
    }
    let rows = counts.into_iter().map(|(id, [added, removed, changed])| {
        [id.to_owned(), added.to_string(), removed.to_string(), changed.to_string()]
    });
    writeln!(out)?;
    table(out, ["detection", "added", "removed", "changed"], rows)?;
    for ((name, findings), sign) in kinds.into_iter().zip(["+", "-", "~"]) {
        for finding in findings.iter().take(CHANGES_MAX) {
            writeln!(out, "{sign} {} [{}]", sentence(finding), key(finding))?;
        }
        if findings.len() > CHANGES_MAX {
            let more = findings.len() - CHANGES_MAX;
            writeln!(out, "{sign} and {more} more {name}: `--format json` tells all")?;
        }
    }
    Ok(())
}

/// `2026-03-01 00:00:01 K8A-205 high alice read 15 secrets`.
fn sentence(finding: &Finding) -> String {
    let record = FindingRecord::new(finding, 1);
    let time = record.first_seen.get(..19).unwrap_or_default().replace('T', " ");
    format!("{time} {} {} {}", record.detection, record.severity, record.summary)
}

fn table(
    out: &mut impl Write,
    header: [&str; 4],
    rows: impl Iterator<Item = [String; 4]>,
) -> Result<()> {
    let mut table = styled();
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    Ok(writeln!(out, "{table}")?)
}
