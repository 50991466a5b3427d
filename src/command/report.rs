//! `auditmill report NAME`: an investigator's first questions, answered by a server, a data
//! directory or files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};

use anyhow::{Context as _, Result, bail};
use comfy_table::Cell;
use serde_json::json;

use super::backtest::Period as Stretch;
use super::sql::{AskError, Asked};
use super::table::styled;
use super::{BadDetections, Verdict};
use crate::cli::{PeriodArgs, ReportArgs, ReportFormat, SqlFormat};
use crate::clock::now_micros;
use crate::question::control::Period;
use crate::question::report::{self, Report};

/// Answers one report, or lists them.
///
/// # Errors
/// When there is no such report, a value is missing or none of its, or nobody can be asked.
pub fn run(args: &ReportArgs) -> Result<Verdict> {
    let reports = report::shipped().map_err(BadDetections)?;
    let mut out = io::stdout().lock();
    if args.name == "list" {
        list(&reports, args.format, &mut out)?;
        return Ok(Verdict::Done);
    }
    let Some(report) = reports.get(&args.name) else {
        let names: Vec<&str> = reports.keys().map(String::as_str).collect();
        bail!("no report `{}`: there are {}", args.name, names.join(", "));
    };
    let sql = report.asked(period(&args.period)?, &given(args))?;
    let asked = Asked::open(&args.place, &mut |_| {})?;
    asked.supply(&args.addresses)?;
    let told = match &args.output {
        None => asked.print(&sql, format(args.format), &mut out),
        Some(path) => {
            let file = File::create(path).with_context(|| format!("write `{}`", path.display()));
            file.map_err(AskError::from)
                .and_then(|mut file| asked.print(&sql, format(args.format), &mut file))
        }
    };
    match told {
        Ok(()) => Ok(Verdict::Done),
        Err(AskError::Wrong(message)) => {
            writeln!(io::stderr(), "error: {message}")?;
            Ok(Verdict::No)
        }
        Err(AskError::Failed(error)) => Err(error),
    }
}

/// The time that the flags name.
///
/// # Errors
/// When one of them is none.
pub(super) fn period(args: &PeriodArgs) -> Result<Period> {
    let stretch = Stretch::of(args.since.as_deref(), args.until.as_deref(), now_micros())?;
    Ok(Period { since: stretch.since, until: stretch.until })
}

/// The values that the flags give, by the names of params.
fn given(args: &ReportArgs) -> BTreeMap<String, String> {
    let limit = args.limit.map(|limit| limit.to_string());
    let all = [
        ("user", &args.user),
        ("ip", &args.ip),
        ("pod", &args.pod),
        ("credential", &args.credential),
        ("namespace", &args.namespace),
        ("limit", &limit),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))).collect()
}

fn format(format: ReportFormat) -> SqlFormat {
    match format {
        ReportFormat::Table => SqlFormat::Table,
        ReportFormat::Json => SqlFormat::Json,
        ReportFormat::Csv => SqlFormat::Csv,
    }
}

fn list(
    reports: &BTreeMap<String, Report>,
    format: ReportFormat,
    out: &mut impl Write,
) -> Result<()> {
    let flags = |report: &Report| -> Vec<String> { report.about.params.keys().cloned().collect() };
    match format {
        ReportFormat::Json => {
            let rows = reports.values().map(|report| {
                let about = &report.about;
                json!({
                    "name": about.name, "title": about.title, "describe": about.describe,
                    "params": about.params, "requires_one": about.requires_one,
                    "controls": about.controls, "level": about.needs.level, "sql": report.sql,
                })
            });
            serde_json::to_writer(&mut *out, &rows.collect::<Vec<_>>())?;
            out.write_all(b"\n")?;
        }
        ReportFormat::Csv => {
            writeln!(out, "name,title,params")?;
            for report in reports.values() {
                let title = report.about.title.replace('"', "\"\"");
                writeln!(out, "{},\"{title}\",{}", report.about.name, flags(report).join(" "))?;
            }
        }
        ReportFormat::Table => {
            let mut table = styled();
            table.set_header(["report", "what it tells", "flags"]);
            for report in reports.values() {
                let flags =
                    flags(report).iter().map(|flag| format!("--{flag}")).collect::<Vec<_>>();
                let about = &report.about;
                table.add_row([&about.name, &about.title, &flags.join(" ")].map(Cell::new));
            }
            writeln!(out, "{table}")?;
        }
    }
    Ok(())
}
