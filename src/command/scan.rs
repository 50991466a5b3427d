//! `auditmill scan FILE...`: files through decode and detect to the terminal.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use comfy_table::{Cell, Color};

use super::catalogue::catalog;
use super::input::Input;
use super::table::styled;
use super::{BadDetections, Verdict};
use crate::cli::{Format, ScanArgs};
use crate::clock::now_micros;
use crate::decode::{Decoder, Delivery, Quarantined};
use crate::detect::catalog::Catalog;
use crate::detect::detection::Severity;
use crate::detect::engine::{Engine, EngineSettings, Pace};
use crate::detect::finding::Finding;
use crate::detect::outcome::Outcome;
use crate::detect::rows::event_times;
use crate::event::Rows;
use crate::event::seen::Seen;
use crate::findings::record::FindingRecord;

/// Events among which a repeat is told.
const SEEN_MAX: usize = 4_000_000;
/// Rows that are evaluated together.
const ROWS_MAX: usize = 16_384;

/// Scans files and prints what was found.
///
/// # Errors
/// When a detection or a file cannot be read.
pub fn run(args: &ScanArgs) -> Result<Verdict> {
    let catalog = catalog(args.detections.as_deref(), &args.addresses.files())?;
    let catalog = catalog.limited(&args.shipped.patterns());
    let mut scan = Scan::new(&catalog)?;
    for path in &args.files {
        scan.file(args.cluster.as_str(), path)
            .with_context(|| format!("read `{}`", path.display()))?;
    }
    let tally = scan.finish();
    let mut shown = tally.findings;
    shown.retain(|finding| finding.detection.severity >= args.min_severity);
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => print_json(&mut out, &shown)?,
        Format::Table => print_table(&mut out, &shown)?,
    }
    for piece in tally.quarantined.iter().take(QUARANTINED_SHOWN) {
        eprintln!("warning: not read: {}: {}", piece.reason.as_str(), piece.detail);
    }
    for fault in &tally.faults {
        eprintln!("warning: {fault}");
    }
    eprintln!(
        "{} events read, {} repeated, {} pieces not readable; {} findings",
        tally.events,
        tally.repeated,
        tally.quarantined.len(),
        shown.len()
    );
    let worst = shown.iter().map(|finding| finding.detection.severity).max();
    let failed = matches!((args.fail_on, worst), (Some(limit), Some(worst)) if worst >= limit);
    Ok(if failed { Verdict::No } else { Verdict::Done })
}

const QUARANTINED_SHOWN: usize = 5;

/// Files on their way through decode and detect.
pub struct Scan {
    decoder: Decoder,
    rows: Rows,
    quarantined: Vec<Quarantined>,
    judge: Judge,
}

/// Rows on their way through detect.
pub(super) struct Judge {
    engine: Engine,
    seen: Seen,
    /// Its `quarantined` is filled at the end.
    tally: Tally,
    latest: BTreeMap<String, Finding>,
    /// The latest event time that is not of the future.
    clock: i64,
}

/// What a scan came to.
#[derive(Debug, Default)]
pub struct Tally {
    /// What was found, worst first, then in the order of time.
    pub findings: Vec<Finding>,
    /// Events read, repeats included.
    pub events: usize,
    /// Events that had been read before.
    pub repeated: usize,
    /// What could not be read.
    pub quarantined: Vec<Quarantined>,
    /// Detections that failed, in words.
    pub faults: Vec<String>,
}

impl Scan {
    /// A scan with these detections.
    ///
    /// # Errors
    /// When a detection cannot be planned.
    pub fn new(catalog: &Catalog) -> Result<Self, BadDetections> {
        let judge = Judge::new(catalog)?;
        Ok(Self { decoder: Decoder::new(), rows: Rows::new(), quarantined: Vec::new(), judge })
    }

    /// Reads a file, `-` for standard input.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn file(&mut self, cluster: &str, path: &Path) -> io::Result<()> {
        let mut input = Input::open(path)?;
        while let Some(chunk) = input.next_chunk()? {
            self.bytes(cluster, &chunk);
        }
        Ok(())
    }

    /// Takes in bytes that end where an event ends.
    pub fn bytes(&mut self, cluster: &str, body: &[u8]) {
        let delivery = Delivery { cluster, source: "file", received_at: now_micros(), body };
        let Self { decoder, rows, quarantined, judge } = self;
        decoder.decode_in_parts(&delivery, rows, quarantined, |rows| judge.rows(&rows.finish()));
        if rows.len() >= ROWS_MAX {
            judge.rows(&rows.finish());
        }
    }

    /// Closes every window and says what was found.
    #[must_use]
    pub fn finish(mut self) -> Tally {
        self.judge.rows(&self.rows.finish());
        Tally { quarantined: self.quarantined, ..self.judge.finish() }
    }
}

impl Judge {
    /// With these detections.
    ///
    /// # Errors
    /// When a detection cannot be planned.
    pub(super) fn new(catalog: &Catalog) -> Result<Self, BadDetections> {
        let settings = EngineSettings { pace: Pace::Replay, ..EngineSettings::default() };
        Ok(Self {
            engine: Engine::new(catalog, settings).map_err(BadDetections)?,
            seen: Seen::new(SEEN_MAX, i64::MAX),
            tally: Tally::default(),
            latest: BTreeMap::new(),
            clock: i64::MIN,
        })
    }

    /// Takes in rows, repeats among them.
    pub(super) fn rows(&mut self, decoded: &RecordBatch) {
        self.tally.events += decoded.num_rows();
        // The horizon is by number alone: a file says nothing about arrival.
        let batch = self.seen.keep_new(decoded, 0).unwrap_or_else(|_| decoded.clone());
        self.tally.repeated += decoded.num_rows() - batch.num_rows();
        let now = now_micros();
        let times = event_times(&batch).unwrap_or_default().iter().copied();
        self.clock = times.filter(|time| *time <= now).fold(self.clock, i64::max);
        let outcome = self.engine.on_batch(&batch, now);
        self.gather(outcome);
    }

    /// Closes every window and says what was found.
    pub(super) fn finish(mut self) -> Tally {
        let outcome = self.engine.finish_by(self.clock);
        self.gather(outcome);
        self.tally.findings = self.latest.into_values().collect();
        self.tally.findings.sort_by(|a, b| {
            let time = |finding: &Finding| finding.evidence.first().map(|event| event.event_time);
            let by_severity = b.detection.severity.cmp(&a.detection.severity);
            by_severity.then(time(a).cmp(&time(b))).then(a.id.cmp(&b.id))
        });
        self.tally
    }

    fn gather(&mut self, outcome: Outcome) {
        for finding in outcome.findings {
            self.latest.insert(finding.id.clone(), finding);
        }
        for fault in outcome.faults {
            let words = format!("{} failed: {}", fault.detection, fault.message);
            if !self.tally.faults.contains(&words) {
                self.tally.faults.push(words);
            }
        }
    }
}

fn print_json(out: &mut impl Write, findings: &[Finding]) -> Result<()> {
    for finding in findings {
        serde_json::to_writer(&mut *out, &FindingRecord::new(finding, 1))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn print_table(out: &mut impl Write, findings: &[Finding]) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    let mut table = styled();
    table.set_header(["severity", "detection", "first seen (UTC)", "events", "what happened"]);
    let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for finding in findings {
        let record = FindingRecord::new(finding, 1);
        let severity = Cell::new(record.severity);
        let severity = match colour(finding.detection.severity) {
            Some(colour) if colours => severity.fg(colour),
            _ => severity,
        };
        let first_seen = record.first_seen.get(..19).unwrap_or_default().replace('T', " ");
        table.add_row([
            severity,
            Cell::new(&record.detection),
            Cell::new(first_seen),
            Cell::new(record.count),
            Cell::new(format!("{}: {}", record.title, record.summary)),
        ]);
    }
    writeln!(out, "{table}")?;
    Ok(())
}

fn colour(severity: Severity) -> Option<Color> {
    match severity {
        Severity::Critical | Severity::High => Some(Color::Red),
        Severity::Medium => Some(Color::Yellow),
        Severity::Low => Some(Color::Cyan),
        Severity::Informational => None,
    }
}
