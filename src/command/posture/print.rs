//! Lines for people and for machines.

use std::io::{IsTerminal as _, Write};

use anyhow::Result;
use comfy_table::{Cell, CellAlignment, Color};
use serde_json::Value as Json;

use super::line::{Line, Posture, Verdict};
use crate::command::table::styled;

/// The latest failures that a table names.
const SHOWN: usize = 2;

pub(super) fn print_json(out: &mut impl Write, posture: &Posture) -> Result<()> {
    serde_json::to_writer(&mut *out, posture)?;
    out.write_all(b"\n")?;
    Ok(())
}

pub(super) fn print_table(out: &mut impl Write, posture: &Posture) -> Result<()> {
    let mut table = styled();
    table.set_header(["control", "what it demands", "verdict", "events", "failing", "why"]);
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for line in &posture.controls {
        let verdict = Cell::new(line.verdict.words());
        let verdict = if colours { verdict.fg(colour(line.verdict)) } else { verdict };
        let count = |count: u64| Cell::new(count).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(&line.id),
            Cell::new(&line.title),
            verdict,
            count(line.seen),
            count(line.failing),
            Cell::new(why(line)),
        ]);
    }
    writeln!(out, "{table}")?;
    let summary = posture.summary;
    let reach = match (&posture.first_event, &posture.last_event) {
        (Some(first), Some(last)) => format!(" from {} to {}", brief(first), brief(last)),
        _ => String::new(),
    };
    writeln!(
        out,
        "{} pass, {} fail, {} without evidence; {} events{reach}",
        summary.pass, summary.fail, summary.no_evidence, posture.events
    )?;
    Ok(())
}

/// The reason, and the latest events that show it.
fn why(line: &Line) -> String {
    let mut why = vec![shown(&line.reason)];
    for row in line.evidence.iter().take(SHOWN) {
        let word = |name: &str| row.get(name).and_then(Json::as_str).unwrap_or_default();
        why.push(format!("{}  {}", brief(word("event_time")), shown(word("what"))));
    }
    why.join("\n")
}

fn colour(verdict: Verdict) -> Color {
    match verdict {
        Verdict::Pass => Color::Green,
        Verdict::NoEvidence => Color::Yellow,
        Verdict::Fail => Color::Red,
    }
}

/// A time to the second.
pub(super) fn brief(time: &str) -> String {
    time.get(..19).unwrap_or(time).replace('T', " ")
}

/// Text on one line, without what steers a terminal: events are an attacker's words.
fn shown(text: &str) -> String {
    let harmless = |c: char| !c.is_control() && !is_steering(c);
    text.chars()
        .flat_map(|c| {
            let escaped: Vec<char> =
                if harmless(c) { vec![c] } else { c.escape_default().collect() };
            escaped
        })
        .collect()
}

/// What turns the order of letters, or hides.
fn is_steering(c: char) -> bool {
    let hides = matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}');
    hides || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(shown("a\u{1b}[31m\nb\u{202e}c é"), "a\\u{1b}[31m\\nb\\u{202e}c é");
        assert_eq!(brief("2026-03-01T10:00:00.000001Z"), "2026-03-01 10:00:00");
        assert_eq!(brief("x"), "x");
    }
}
