//! The command: detections, events, what came of them.

use std::collections::BTreeSet;
use std::io;

use anyhow::Result;
use arrow::array::RecordBatch;

use super::input::{Input, Read};
use super::period::Period;
use super::print::{print_json, print_table};
use super::report::Report;
use super::trial::{Found, Trial};
use super::versions::Versions;
use crate::cli::{BacktestArgs, Format};
use crate::clock::now_micros;
use crate::command::Verdict;
use crate::detect::engine::Pace;

/// Runs detections over events of the past, and tells what they find.
///
/// # Errors
/// When a detection or the events cannot be read, or a time is none.
pub fn run(args: &BacktestArgs) -> Result<Verdict> {
    let period = Period::of(args.since.as_deref(), args.until.as_deref(), now_micros())?;
    let versions = Versions::load(args)?;
    let trial = |catalog| Trial::new(catalog, period, Pace::Past);
    let mut trials = vec![trial(&versions.now)?];
    trials.extend(versions.before.as_ref().map(trial).transpose()?);
    let input = Input::open(args)?;
    let read = judge(&input, &mut trials, period)?;
    again(&input, &mut trials, period)?;
    let mut found = trials.into_iter().map(Trial::found);
    let now = found.next().unwrap_or_else(Found::default);
    let report = Report::new(&versions, period, read, now, found.next());
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => print_json(&mut out, &report)?,
        Format::Table => print_table(&mut out, &report, args.show)?,
    }
    tell(&report);
    let failed = matches!(
        (args.fail_on, report.worst()), (Some(limit), Some(worst)) if worst >= limit
    );
    Ok(if failed { Verdict::No } else { Verdict::Done })
}

/// Reads the events once, for all trials.
fn judge(input: &Input, trials: &mut [Trial], period: Period) -> Result<Read> {
    let lookback = trials.iter().map(Trial::lookback).max().unwrap_or(0);
    let from = period.since.saturating_sub(lookback);
    for (cluster, begin) in input.beginnings() {
        for trial in trials.iter_mut() {
            trial.reaches(&cluster, begin);
        }
    }
    let mut wanted = BTreeSet::new();
    for trial in trials.iter_mut() {
        input.recall(trial, from)?;
        wanted.extend(trial.columns());
    }
    let read = input.read((from, period.until), &wanted, |rows: &RecordBatch| {
        for trial in trials.iter_mut() {
            trial.take_in(rows);
        }
    })?;
    trials.iter_mut().for_each(Trial::finish);
    Ok(read)
}

/// Reads the events once more for detections that an event came for after its windows had been
/// forgotten, as in files out of order: then everything is kept to the end.
fn again(input: &Input, trials: &mut [Trial], period: Period) -> Result<()> {
    let mut later = Vec::new();
    for (number, trial) in trials.iter().enumerate() {
        if !input.is_there_again() && trial.beyond().next().is_some() {
            let ids: Vec<&str> = trial.beyond().collect();
            eprintln!(
                "warning: events came long after later ones: findings of {} may miss some; give \
                 files instead of standard input",
                ids.join(", ")
            );
            continue;
        }
        later.extend(trial.again()?.map(|again| (number, again)));
    }
    if later.is_empty() {
        return Ok(());
    }
    eprintln!("events are far out of order: they are read once more");
    let (numbers, mut others): (Vec<usize>, Vec<Trial>) = later.into_iter().unzip();
    judge(input, &mut others, period)?;
    for (number, other) in numbers.into_iter().zip(others) {
        if let Some(trial) = trials.get_mut(number) {
            trial.replace(other);
        }
    }
    Ok(())
}

fn tell(report: &Report) {
    for fault in &report.faults {
        eprintln!("warning: {fault}");
    }
    let incomplete = report.findings.iter().filter(|finding| finding.incomplete).count();
    if incomplete > 0 {
        eprintln!("warning: {incomplete} findings may miss events: their state was too large");
    }
    let Read { events, repeated, unreadable } = report.read;
    eprintln!(
        "{events} events read, {repeated} repeated, {unreadable} pieces not readable; {} findings",
        report.findings.len()
    );
    if let Some(diff) = &report.diff {
        let (added, removed, changed) = (diff.added.len(), diff.removed.len(), diff.changed.len());
        eprintln!("{added} added, {removed} removed, {changed} changed");
    }
}
