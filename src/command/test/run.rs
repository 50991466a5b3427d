//! Runs the test files and reports.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use serde_json::Value as Json;

use super::case::{Case, Expected, TestFile};
use super::files::{beside, missing, shipped, stem};
use super::junit::{self, Done};
use crate::cli::TestArgs;
use crate::command::{BadDetections, Verdict};
use crate::decode::{Decoder, Delivery};
use crate::detect::catalog::Catalog;
use crate::detect::detection::{Detection, Kind};
use crate::detect::engine::{Engine, EngineSettings, Pace};
use crate::detect::finding::Status;
use crate::detect::lint::{Level, lint};
use crate::detect::outcome::Outcome;
use crate::event::Rows;
use crate::event::seen::Seen;
use crate::event::time::parse_rfc3339;
use crate::findings::record::FindingRecord;

/// Runs the tests of the shipped detections, or of those below a folder.
///
/// # Errors
/// When a detection or a file cannot be read.
pub fn run(args: &TestArgs) -> Result<Verdict> {
    let (catalog, tests) = match args.dir.as_deref() {
        None => (Catalog::load(None), shipped()),
        Some(dir) => (Catalog::load_dir(dir), beside(dir)?),
    };
    let catalog = catalog.map_err(BadDetections)?;
    let wanted = |id: &str| args.detection.as_deref().is_none_or(|wanted| wanted == id);
    if let Some(id) = args.detection.as_deref().filter(|id| catalog.any(id).is_none()) {
        anyhow::bail!("no detection `{id}`");
    }
    let mut report = Report::default();
    let all = catalog.detections().chain(catalog.disabled());
    for detection in all.filter(|detection| wanted(&detection.id)) {
        report.lint(detection);
        match tests.get(stem(&detection.path)) {
            Some(text) => report.file(&catalog, detection, text),
            None => report.line(&detection.id, "has a test file", Err(missing(detection))),
        }
    }
    if let Some(path) = &args.junit {
        let xml = junit::report(&report.cases);
        std::fs::write(path, xml).with_context(|| format!("write `{}`", path.display()))?;
    }
    report.close()
}

#[derive(Default)]
struct Report {
    passed: usize,
    failed: usize,
    cases: Vec<Done>,
    /// Of all detections, once one needs them.
    whole: Option<Engines>,
}

/// What runs a case: in order, and disturbed.
struct Engines {
    in_order: Engine,
    disturbed: Engine,
}

impl Report {
    /// Errors fail; warnings are told beside. What does not load is told by its cases.
    fn lint(&mut self, detection: &Detection) {
        for complaint in lint(detection).iter().filter(|complaint| complaint.rule != "load") {
            match complaint.level {
                Level::Error => self.line(&detection.id, "lint", Err(complaint.to_string())),
                Level::Warning => eprintln!("{complaint}"),
            }
        }
    }

    fn file(&mut self, catalog: &Catalog, detection: &Detection, text: &str) {
        let file = match TestFile::parse(text) {
            Ok(file) if file.id == detection.id => file,
            Ok(file) => {
                let message = format!("it is of `{}`", file.id);
                return self.line(&detection.id, "test file", Err(message));
            }
            Err(message) => return self.line(&detection.id, "test file", Err(message)),
        };
        let fires = file.cases.iter().any(|case| !case.fires.is_empty());
        let quiet = file.cases.iter().any(|case| case.quiet);
        if !(fires && quiet) {
            let message = "needs a case that fires and one that is quiet".to_owned();
            self.line(&detection.id, "test file", Err(message));
        }
        let changed = match file.applied(detection) {
            Ok(changed) => changed,
            Err(message) => return self.line(&detection.id, "params", Err(message)),
        };
        // All are planned once for those that judge what others find: that takes a second.
        let is_whole =
            changed.kind == Kind::OverFindings && changed == *detection && changed.enabled;
        let planned = if is_whole { self.whole.take() } else { None };
        let ready = planned.map_or_else(|| Engines::new(catalog, &changed), Ok);
        let mut engines = match ready {
            Ok(engines) => engines,
            Err(message) => return self.line(&detection.id, "query", Err(message)),
        };
        for case in &file.cases {
            let result = check(&mut engines, &file, case);
            self.line(&detection.id, &case.name, result);
        }
        if is_whole {
            self.whole = Some(engines);
        }
    }

    fn line(&mut self, id: &str, name: &str, result: Result<(), String>) {
        let (colour, reset) =
            if std::io::stdout().is_terminal() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        let mut out = std::io::stdout().lock();
        let failure = result.as_ref().err().cloned();
        self.cases.push(Done { detection: id.to_owned(), name: name.to_owned(), failure });
        let written = match result {
            Ok(()) => {
                self.passed += 1;
                writeln!(out, "ok    {id}  {name}")
            }
            Err(message) => {
                self.failed += 1;
                let message = message.trim_end().replace('\n', "\n      ");
                writeln!(out, "{colour}FAIL{reset}  {id}  {name}\n      {message}")
            }
        };
        // A closed pipe ends in `close`.
        drop(written);
    }

    fn close(&self) -> Result<Verdict> {
        let (passed, failed) = (self.passed, self.failed);
        writeln!(std::io::stdout(), "{passed} passed, {failed} failed")?;
        Ok(if failed == 0 { Verdict::Done } else { Verdict::No })
    }
}

impl Engines {
    fn new(catalog: &Catalog, detection: &Detection) -> Result<Self, String> {
        Ok(Self {
            in_order: engine(catalog, detection, Pace::Replay)?,
            disturbed: engine(catalog, detection, Pace::Live)?,
        })
    }
}

/// An engine of one detection, planned once, used for every case; of all where it judges what
/// others find.
fn engine(catalog: &Catalog, detection: &Detection, pace: Pace) -> Result<Engine, String> {
    let is_chain = detection.kind == Kind::OverFindings;
    let catalog = catalog.with(detection.clone(), |_| is_chain);
    // Silence is a matter of the clock, which stands still in a replay.
    let pace = if matches!(detection.kind, Kind::Silent(_)) { Pace::Live } else { pace };
    let settings = EngineSettings { pace, ..EngineSettings::default() };
    Engine::new(&catalog, settings).map_err(|errors| BadDetections(errors).to_string())
}

fn check(engines: &mut Engines, file: &TestFile, case: &Case) -> Result<(), String> {
    let Engines { in_order, disturbed } = engines;
    if case.quiet != case.fires.is_empty() {
        return Err("say either `fires:` or `quiet: true`".to_owned());
    }
    let events = file.events(case)?;
    let wait = case.wait()?;
    let forwards = findings(in_order, &file.id, std::slice::from_ref(&events), wait)?;
    let mut backwards = events;
    backwards.reverse();
    let deliveries: Vec<Vec<Json>> =
        backwards.chunks(7).flat_map(|chunk| [chunk.to_vec(), chunk.to_vec()]).collect();
    let backwards = findings(disturbed, &file.id, &deliveries, wait)?;
    if forwards != backwards {
        let show =
            |found: &[FindingRecord]| serde_json::to_string_pretty(found).unwrap_or_default();
        return Err(format!(
            "the order of events changes what is found\nin order: {}\nbackwards, twice: {}",
            show(&forwards),
            show(&backwards)
        ));
    }
    compare(&case.fires, &forwards)
}

/// What a detection finds in these deliveries, after which nothing comes for so long, in the order
/// of ids.
fn findings(
    engine: &mut Engine,
    detection: &str,
    deliveries: &[Vec<Json>],
    wait: i64,
) -> Result<Vec<FindingRecord>, String> {
    engine.clear();
    let mut decoder = Decoder::new();
    let mut seen = Seen::new(1_000_000, i64::MAX);
    let mut latest = BTreeMap::new();
    let now = parse_rfc3339("2026-01-01T01:00:00Z").unwrap_or_default();
    for delivery in deliveries {
        let body = serde_json::json!({ "kind": "EventList", "items": delivery }).to_string();
        let mut rows = Rows::new();
        let mut quarantined = Vec::new();
        let delivery = Delivery {
            cluster: "test",
            source: "webhook",
            received_at: now,
            body: body.as_bytes(),
        };
        decoder.decode(&delivery, &mut rows, &mut quarantined);
        if let Some(piece) = quarantined.first() {
            return Err(format!("not an audit event: {}", piece.detail));
        }
        let batch = seen.keep_new(&rows.finish(), 0).map_err(|error| error.to_string())?;
        gather(engine.on_batch(&batch, now), &mut latest)?;
    }
    if wait > 0 {
        gather(engine.on_time(now.saturating_add(wait)), &mut latest)?;
    }
    gather(engine.finish(), &mut latest)?;
    Ok(latest.into_values().filter(|finding| finding.detection == detection).collect())
}

fn gather(outcome: Outcome, latest: &mut BTreeMap<String, FindingRecord>) -> Result<(), String> {
    if let Some(fault) = outcome.faults.first() {
        return Err(format!("the query failed: {}", fault.message));
    }
    for finding in outcome.findings {
        if finding.status == Status::Withdrawn {
            latest.remove(&finding.id);
        } else {
            latest.insert(finding.id.clone(), FindingRecord::new(&finding, 1));
        }
    }
    Ok(())
}

fn compare(expected: &[Expected], found: &[FindingRecord]) -> Result<(), String> {
    let mut rest: Vec<&FindingRecord> = found.iter().collect();
    for expected in expected {
        let position = rest.iter().position(|finding| matches(expected, finding));
        match position {
            Some(position) => {
                rest.remove(position);
            }
            None => return Err(format!("missing: {expected:?}\nfound: {}", list(found))),
        }
    }
    if rest.is_empty() {
        Ok(())
    } else {
        let rest: Vec<FindingRecord> = rest.into_iter().cloned().collect();
        Err(format!("not expected: {}", list(&rest)))
    }
}

fn matches(expected: &Expected, finding: &FindingRecord) -> bool {
    let has = |(name, value): (&String, &Json)| finding.key.get(name) == Some(value);
    expected.key.as_ref().is_none_or(|key| key.iter().all(has))
        && expected.count.is_none_or(|count| count == finding.count)
        && expected.summary.as_ref().is_none_or(|summary| *summary == finding.summary)
}

fn list(found: &[FindingRecord]) -> String {
    if found.is_empty() {
        return "nothing".to_owned();
    }
    let line = |finding: &FindingRecord| {
        let key = serde_json::to_string(&finding.key).unwrap_or_default();
        format!("\n- key {key}, count {}: {}", finding.count, finding.summary)
    };
    found.iter().map(line).collect()
}
