//! The command: events, questions, lines, and where they go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::html::print_html;
use super::judge::{Found, Judge, SERIOUS, number, sum_up, text};
use super::line::{Line, Posture, Summary, Verdict};
use super::print::{print_json, print_table};
use crate::cli::{FailOn, PostureArgs, PostureFormat};
use crate::clock::now_micros;
use crate::command::catalogue::catalog;
use crate::command::report::period;
use crate::command::scan;
use crate::command::sql::{Asked, Read, failed};
use crate::command::{self, BadDetections};
use crate::detect::catalog::Catalog;
use crate::detect::detection::Kind;
use crate::detect::finding::{Finding, Status};
use crate::event::time::rfc3339;
use crate::policy::document::Policy;
use crate::question::control::{self, BENCHMARK, Control, Known, Period};
use crate::question::text::Value;

/// Tells which controls hold.
///
/// # Errors
/// When a flag is wrong, files cannot be read, or nobody can be asked.
pub fn run(args: &PostureArgs) -> Result<command::Verdict> {
    let period = period(&args.period)?;
    let controls = selected(args)?;
    let known = known(&args.known, &controls)?;
    let policy = args.policy.as_deref().map(command::policy::read).transpose()?;
    let catalog = catalog(args.dir.as_deref(), &args.addresses.files())?;
    let catalog = behind(catalog, &args.controls);
    let mut judge =
        if args.place.files.is_empty() { None } else { Some(scan::Judge::new(&catalog)?) };
    let asked = Asked::open(&args.place, &mut |rows| {
        if let Some(judge) = &mut judge {
            judge.rows(rows);
        }
    })?;
    let found = match judge {
        Some(judge) => counted(&judge.finish().findings, period),
        None => asked_for(&asked, period)?,
    };
    let posture = posture(&asked, &catalog, policy.as_ref(), (period, &known, &found), &controls)?;
    let mut text = Vec::new();
    match args.format {
        PostureFormat::Table => print_table(&mut text, &posture)?,
        PostureFormat::Json => print_json(&mut text, &posture)?,
        PostureFormat::Html => print_html(&mut text, &posture)?,
    }
    match &args.output {
        None => io::stdout().lock().write_all(&text)?,
        Some(path) => {
            fs::write(path, &text).with_context(|| format!("write `{}`", path.display()))?;
        }
    }
    if let Some(Read { events, repeated, unreadable }) = asked.read {
        eprintln!("{events} events read, {repeated} repeated, {unreadable} pieces not readable");
    }
    let failed = match args.fail_on {
        None => false,
        Some(FailOn::Fail) => posture.worst() == Verdict::Fail,
        Some(FailOn::NoEvidence) => posture.worst() >= Verdict::NoEvidence,
    };
    Ok(if failed { command::Verdict::No } else { command::Verdict::Done })
}

/// The detections that are behind these controls, and whatever those over findings may read.
fn behind(catalog: Catalog, controls: &[String]) -> Catalog {
    let named: BTreeSet<String> = catalog
        .detections()
        .filter(|detection| detection.controls.iter().any(|id| controls.contains(id)))
        .map(|detection| detection.id.clone())
        .collect();
    let over =
        |id: &String| catalog.get(id).is_some_and(|detection| detection.kind == Kind::OverFindings);
    if controls.is_empty() || named.iter().any(over) {
        return catalog;
    }
    catalog.selected(|id| named.contains(id))
}

fn selected(args: &PostureArgs) -> Result<Vec<Control>> {
    let mut controls = control::shipped().map_err(BadDetections)?;
    if let Some(id) =
        args.controls.iter().find(|id| !controls.iter().any(|control| control.id == **id))
    {
        let ids: Vec<&str> = controls.iter().map(|control| control.id.as_str()).collect();
        bail!("no control `{id}`: there are {}", ids.join(", "));
    }
    if !args.controls.is_empty() {
        controls.retain(|control| args.controls.contains(&control.id));
    }
    Ok(controls)
}

/// What `--set` says, by name.
fn known(given: &[String], controls: &[Control]) -> Result<Known> {
    let mut known = Known::new();
    let mut names: Vec<&str> =
        controls.iter().flat_map(|control| control.lists.keys()).map(String::as_str).collect();
    names.sort_unstable();
    for one in given {
        let Some((name, values)) = one.split_once('=') else {
            bail!("--set: `{one}` is no NAME=VALUE,...");
        };
        if !names.contains(&name) {
            bail!("--set: nothing is called `{name}`: there are {}", names.join(", "));
        }
        let values = values.split(',').map(str::trim).filter(|value| !value.is_empty());
        known.entry(name.to_owned()).or_default().extend(values.map(str::to_owned));
    }
    Ok(known)
}

/// The lines, with progress on standard error.
fn posture(
    asked: &Asked,
    catalog: &Catalog,
    policy: Option<&Policy>,
    (period, known, found): (Period, &Known, &BTreeMap<String, Found>),
    controls: &[Control],
) -> Result<Posture> {
    let bounds = bounds(period);
    let sql = format!(
        "SELECT count(*) AS events, min(event_time) AS first_event, max(event_time) AS last_event \
         FROM events WHERE {bounds}"
    );
    let all = asked.rows(&sql).map_err(failed)?.into_iter().next().unwrap_or_default();
    let events = number(&all, "events");
    let judge = Judge { asked, catalog, policy, period, known, found, events };
    let mut progress = Progress::start();
    let mut lines: Vec<Line> = Vec::new();
    for (done, control) in controls.iter().enumerate() {
        progress.tell(done, controls.len(), &control.id);
        lines.push(judge.line(control)?);
    }
    progress.end();
    for (place, _) in controls.iter().enumerate().filter(|(_, control)| control.summary) {
        let others = lines.clone();
        if let Some(line) = lines.get_mut(place) {
            sum_up(line, &others);
        }
    }
    let told = |time: i64, open: i64| (time != open).then(|| rfc3339(time));
    Ok(Posture {
        benchmark: BENCHMARK,
        at: rfc3339(now_micros()),
        since: told(period.since, i64::MIN),
        until: told(period.until, i64::MAX),
        events,
        first_event: text(&all, "first_event"),
        last_event: text(&all, "last_event"),
        summary: Summary::of(&lines),
        controls: lines,
    })
}

fn bounds(period: Period) -> String {
    let (since, until) = (Value::Time(period.since).sql(), Value::Time(period.until).sql());
    format!("event_time >= {since} AND event_time < {until}")
}

/// Findings of files in the period.
fn counted(findings: &[Finding], period: Period) -> BTreeMap<String, Found> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.status == Status::Open) {
        let last = finding.evidence.last().map_or(i64::MAX, |event| event.event_time);
        let first = finding.evidence.first().map_or(i64::MIN, |event| event.event_time);
        if last >= period.since && first < period.until {
            let of = found.entry(finding.detection.id.clone()).or_default();
            of.all += 1;
            of.serious += u64::from(finding.detection.severity >= SERIOUS);
        }
    }
    found
}

/// Findings that are stored, in the period.
fn asked_for(asked: &Asked, period: Period) -> Result<BTreeMap<String, Found>> {
    let (since, until) = (Value::Time(period.since).sql(), Value::Time(period.until).sql());
    let sql = format!(
        "SELECT detection, count(*) AS findings, \
         count(*) FILTER (WHERE severity IN ('medium', 'high', 'critical')) AS serious \
         FROM findings WHERE status <> 'withdrawn' AND last_seen >= {since} \
         AND first_seen < {until} GROUP BY detection"
    );
    let mut found = BTreeMap::new();
    for row in asked.rows(&sql).map_err(failed)? {
        if let Some(detection) = text(&row, "detection") {
            let of = Found { all: number(&row, "findings"), serious: number(&row, "serious") };
            found.insert(detection, of);
        }
    }
    Ok(found)
}

/// Which control it is at.
struct Progress {
    told: Instant,
    terminal: bool,
}

/// How often lines tell it.
const EVERY: Duration = Duration::from_secs(10);

impl Progress {
    fn start() -> Self {
        Self { told: Instant::now(), terminal: io::stderr().is_terminal() }
    }

    fn tell(&mut self, done: usize, all: usize, id: &str) {
        // What is told is lost when nobody can read it: the work goes on.
        if self.terminal {
            let _ = write!(io::stderr(), "\rcontrol {} of {all}: {id}\x1b[K", done + 1);
        } else if self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            let _ = writeln!(io::stderr(), "control {} of {all}: {id}", done + 1);
        }
    }

    fn end(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
