//! The engine under test, and what it has said last.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use auditmill::detect::again::Again;
use auditmill::detect::catalog::Catalog;
use auditmill::detect::engine::{Engine, EngineSettings, Outcome, Pace};
use auditmill::detect::finding::{Finding, Status};
use auditmill::event::schema::events_schema;
use auditmill::event::seen::Seen;

use super::event::start;
use super::plain::Events;
use super::subject::Subject;
use super::told::{Said, Told};
use super::way::Way;
use super::{HOUR, MINUTE};

/// Detections as the engine loads them.
pub(super) fn catalog(subjects: &[Subject]) -> Catalog {
    let texts =
        subjects.iter().map(|subject| (format!("{}.sql", subject.id), subject.text.clone()));
    Catalog::from_texts(texts).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// An engine with all that a service has around it: it is told no repeats, what it says is kept,
/// and what arrives is there to be read again.
pub(super) struct Run<'a> {
    catalog: &'a Catalog,
    settings: EngineSettings,
    engine: Engine,
    seen: Seen,
    said: BTreeMap<String, Finding>,
    /// All that was new, in the order of arrival.
    history: Vec<(i64, RecordBatch)>,
    /// When time was last looked at.
    now: i64,
}

impl<'a> Run<'a> {
    pub(super) fn new(catalog: &'a Catalog, pace: Pace, hold: i64) -> Self {
        let settings = EngineSettings { pace, hold, ..EngineSettings::default() };
        Self {
            catalog,
            settings,
            engine: engine(catalog, settings),
            seen: Seen::new(10_000, i64::MAX),
            said: BTreeMap::new(),
            history: Vec::new(),
            now: 0,
        }
    }

    pub(super) fn deliver(&mut self, rows: &RecordBatch, now: i64) {
        let new = self.seen.keep_new(rows, now).unwrap();
        self.deliver_untold(new, now);
    }

    /// Repeats are not left out.
    pub(super) fn deliver_untold(&mut self, rows: RecordBatch, now: i64) {
        let outcome = self.engine.on_batch(&rows, now);
        self.history.push((now, rows));
        self.now = self.now.max(now);
        self.listen(outcome);
    }

    /// Time passes without events.
    pub(super) fn pass(&mut self, now: i64) {
        let outcome = self.engine.on_time(now);
        self.now = self.now.max(now);
        self.listen(outcome);
    }

    /// A new engine, of what a start reads again: what arrived since the look-back, some
    /// deliveries at once, at the time of the last of them.
    pub(super) fn restart(&mut self, at_once: usize) {
        self.engine = engine(self.catalog, self.settings);
        let last = self.history.last().map_or(0, |(now, _)| *now);
        let since = last.saturating_sub(self.engine.lookback());
        let first = self.history.partition_point(|(now, _)| *now < since);
        for chunk in self.history[first..].chunks(at_once) {
            let rows = concat_batches(&events_schema(), chunk.iter().map(|(_, rows)| rows));
            let now = chunk.last().expect("chunks are not empty").0;
            let outcome = self.engine.on_batch(&rows.unwrap(), now);
            assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
        }
        if first > 0 {
            self.engine.remembered(since);
        }
        // Before anything new comes time is looked at.
        self.pass(self.now);
    }

    fn listen(&mut self, outcome: Outcome) {
        assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
        for finding in outcome.findings {
            self.said.insert(finding.id.clone(), finding);
        }
        for beyond in outcome.beyond {
            let again = Again::new(self.catalog, self.settings, beyond).unwrap();
            let mut again = again.expect("the detection is there");
            self.history.iter().for_each(|(_, rows)| again.take_in(rows));
            for finding in again.findings().unwrap() {
                self.said.insert(finding.id.clone(), finding);
            }
        }
    }

    /// The input has ended.
    pub(super) fn finish(&mut self) {
        let outcome = self.engine.finish();
        self.listen(outcome);
    }

    /// What stands, of these detections.
    pub(super) fn stands(&self, of: impl Fn(&Finding) -> bool) -> Said {
        let open = self.said.values().filter(|f| f.status == Status::Open && of(f));
        open.map(|finding| (finding.id.clone(), Told::of(finding))).collect()
    }

    /// Time closes all that is open; the end of the input then has nothing to add.
    pub(super) fn close(mut self, now: i64) -> Said {
        self.pass(now + 6 * HOUR);
        let rest = self.engine.finish();
        assert!(rest.findings.is_empty(), "time left something to say: {:?}", rest.findings);
        self.stands(|_| true)
    }
}

fn engine(catalog: &Catalog, settings: EngineSettings) -> Engine {
    let refused = |errors: Vec<_>| panic!("refused: {errors:?}");
    Engine::new(catalog, settings).unwrap_or_else(refused)
}

/// All at once, closed by the end of the input.
pub(super) fn replayed(catalog: &Catalog, events: &Events, way: &Way) -> Said {
    let windowed: BTreeSet<&str> =
        catalog.detections().filter(|d| d.window.is_some()).map(|d| d.id.as_str()).collect();
    let mut run = Run::new(catalog, Pace::Replay, 24 * HOUR);
    for delivery in way.shuffled(0) {
        run.deliver(&events.pick(&delivery.events), 0);
        let early = run.stands(|finding| windowed.contains(finding.detection.id.as_str()));
        assert!(early.is_empty(), "windows of a replay speak at its end");
    }
    run.finish();
    run.stands(|_| true)
}

/// As events come in any order, closed by time, with restarts: what stood before time closed
/// anything more, and in the end.
pub(super) fn live(catalog: &Catalog, events: &Events, way: &Way) -> (Said, Said) {
    let deliveries = way.shuffled(start() + HOUR / 2);
    let mut run = Run::new(catalog, Pace::Live, 24 * HOUR);
    let mut last = 0;
    for (position, delivery) in deliveries.iter().enumerate() {
        run.deliver(&events.pick(&delivery.events), delivery.now);
        let now = deliveries.get(position + 1).map_or(delivery.now, |next| next.now);
        run.pass(now);
        if delivery.restart {
            run.restart(way.reread);
        }
        last = now;
    }
    let stood = run.stands(|_| true);
    (stood, run.close(last))
}

/// As events come at their times, not too late, into an engine that forgets what is over, with
/// restarts.
pub(super) fn prompt(catalog: &Catalog, events: &Events, way: &Way) -> Said {
    let mut run = Run::new(catalog, Pace::Live, way.hold * MINUTE);
    let mut last = 0;
    for delivery in way.prompt(events) {
        // Time is looked at all the while.
        run.pass(delivery.now - 1);
        let rows = events.pick(&delivery.events);
        run.deliver(&rows, delivery.now);
        if delivery.restart {
            run.restart(way.reread);
        }
        last = delivery.now;
    }
    run.close(last)
}
