//! What came of a check, for people and for machines.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use bytesize::ByteSize;
use comfy_table::Cell;
use serde_json::{Value as Json, json};

use super::check::{Checked, Needy};
use crate::command::table::styled;
use crate::policy::coverage::{Coverage, Gap};
use crate::policy::document::{Level, Rule};
use crate::policy::forecast::Forecast;

/// Requests that a line of a table names.
const NAMED: usize = 4;

pub(super) fn print_table(out: &mut impl Write, checked: &Checked) -> Result<()> {
    let never: Vec<(&Needy, &[Gap])> = of(checked, true);
    let partly: Vec<(&Needy, &[Gap])> = of(checked, false);
    for (words, rows) in [("can never fire or tell", &never), ("is fed in part", &partly)] {
        if rows.is_empty() {
            continue;
        }
        let mut table = styled();
        table.set_header(["id", &format!("what {words}"), "why"]);
        for (needy, gaps) in rows {
            table.add_row([&needy.id, &needy.title, &reasons(gaps)].map(Cell::new));
        }
        writeln!(out, "{table}")?;
    }
    let all = checked.all.len();
    writeln!(
        out,
        "{} rules; of {all} detections and controls {} are fed, {} in part, {} never",
        checked.policy.rules.len(),
        all - never.len() - partly.len(),
        partly.len(),
        never.len()
    )?;
    let idle: Vec<String> = recording(checked)
        .filter(|(rule, _)| !checked.feeds.contains_key(rule))
        .map(|(rule, _)| rule.to_string())
        .collect();
    if !idle.is_empty() {
        writeln!(out, "rules that record and feed nothing: {}", idle.join(", "))?;
    }
    if let Some((now, least)) = &checked.forecasts {
        writeln!(out, "this policy:     {}", rates(now))?;
        writeln!(out, "smallest policy: {}", rates(least))?;
        writeln!(out, "Of events that the recording's own policy left out nothing is known.")?;
    }
    Ok(())
}

pub(super) fn print_json(out: &mut impl Write, checked: &Checked) -> Result<()> {
    let told = |never| -> Vec<Json> {
        of(checked, never)
            .into_iter()
            .map(|(needy, gaps)| {
                let gaps: Vec<Json> =
                    gaps.iter().map(|gap| json!({ "what": gap.what, "why": gap.why })).collect();
                json!({ "kind": needy.kind, "id": needy.id, "title": needy.title, "gaps": gaps })
            })
            .collect()
    };
    let (never, partly) = (told(true), told(false));
    let (now, least) = match &checked.forecasts {
        Some((now, least)) => (forecast(now), forecast(least)),
        None => (Json::Null, Json::Null),
    };
    let feeds: Vec<Json> = recording(checked)
        .map(|(number, rule)| {
            let fed = checked.feeds.get(&number).map_or(&[][..], Vec::as_slice);
            json!({ "rule": number, "level": rule.level.as_str(), "feeds": fed })
        })
        .collect();
    let whole = checked.all.len() - never.len() - partly.len();
    let answer = json!({
        "rules": checked.policy.rules.len(),
        "checked": checked.all.len(),
        "whole": whole,
        "partly": partly,
        "never": never,
        "feeds": feeds,
        "forecast": now,
        "smallest": { "rules": checked.smallest.rules.len(), "forecast": least },
    });
    serde_json::to_writer(&mut *out, &answer)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Rules that record something, by their numbers.
fn recording(checked: &Checked) -> impl Iterator<Item = (usize, &Rule)> {
    (1..).zip(&checked.policy.rules).filter(|(_, rule)| rule.level > Level::None)
}

/// Those that are never fed, or those that are in part.
fn of(checked: &Checked, never: bool) -> Vec<(&Needy, &[Gap])> {
    let gaps = checked.all.iter().filter_map(|(needy, coverage)| match coverage {
        Coverage::Never(gaps) if never => Some((needy, gaps.as_slice())),
        Coverage::Partly(gaps) if !never => Some((needy, gaps.as_slice())),
        _ => None,
    });
    gaps.collect()
}

/// Gaps on a line each reason.
fn reasons(gaps: &[Gap]) -> String {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for gap in gaps {
        by_reason.entry(&gap.why).or_default().push(&gap.what);
    }
    let lines = by_reason.into_iter().map(|(why, requests)| {
        let more = requests.len().saturating_sub(NAMED);
        let mut named = requests.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
        if more > 0 {
            named = format!("{named} and {more} more");
        }
        format!("{why}: {named}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn rates(forecast: &Forecast) -> String {
    let seconds = forecast.seconds();
    let per_second = |count: u64| rate(count, seconds);
    let bytes = ByteSize::b(forecast.bytes).display().iec();
    let unknown = match forecast.guessed + forecast.unknown {
        0 => String::new(),
        _ => format!(
            "; {} bodies are taken for as long as others, {} are not counted",
            forecast.guessed, forecast.unknown
        ),
    };
    format!(
        "{} of {} events, {:.2} events/s, {:.0} bytes/s, {bytes} in all{unknown}",
        forecast.events,
        forecast.seen,
        per_second(forecast.events),
        per_second(forecast.bytes)
    )
}

#[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

fn forecast(forecast: &Forecast) -> Json {
    let seconds = forecast.seconds();
    json!({
        "seen": forecast.seen,
        "events": forecast.events,
        "bytes": forecast.bytes,
        "seconds": seconds,
        "events_per_second": rate(forecast.events, seconds),
        "bytes_per_second": rate(forecast.bytes, seconds),
        "bodies_guessed": forecast.guessed,
        "bodies_unknown": forecast.unknown,
        "events_by_rule": forecast.by_rule,
    })
}
