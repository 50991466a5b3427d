//! The engine under test, and what it has said last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use auditmill::detect::again::{Again, parted};
use auditmill::detect::catalog::Catalog;
use auditmill::detect::detection::Kind;
use auditmill::detect::engine::{Engine, EngineSettings, Outcome, Pace, Seen as SeenKey};
use auditmill::detect::finding::{Finding, Status};
use auditmill::detect::value::Value;
use auditmill::event::lookback::Lookback;
use auditmill::event::schema::events_schema;
use auditmill::event::seen::Seen;
use auditmill::history::recall::Recall;
use datafusion::datasource::MemTable;

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
        let new = self.seen.keep_new(&arrived_at(rows, now), now).unwrap();
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

    /// A new engine, of what a start reads again, some deliveries at once, at the time of the last
    /// of them.
    pub(super) fn restart(&mut self, at_once: usize) {
        self.engine = engine(self.catalog, self.settings);
        let last = self.history.last().map_or(0, |(now, _)| *now);
        let mut latest: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for (cluster, event, arrival) in self.history.iter().flat_map(|(_, rows)| times(rows)) {
            let of = latest.entry(cluster).or_insert((event, arrival));
            *of = (of.0.max(event), of.1.max(arrival));
        }
        let watermarks = latest.iter().map(|(cluster, (event, arrival))| {
            (cluster.as_str(), self.settings.patience.watermark(*event, *arrival, last))
        });
        let lookback = self.engine.looks_back(None, last, watermarks);
        let wanted = |rows: &RecordBatch| {
            let wanted = times(rows)
                .map(|(cluster, event, arrival)| Some(lookback.has(&cluster, event, arrival)));
            filter_record_batch(rows, &wanted.collect()).unwrap()
        };
        let read = self.history.iter().map(|(now, rows)| (*now, wanted(rows)));
        let read: Vec<_> = read.filter(|(_, rows)| rows.num_rows() > 0).collect();
        for chunk in read.chunks(at_once) {
            let rows = concat_batches(&events_schema(), chunk.iter().map(|(_, rows)| rows));
            let now = chunk.last().expect("chunks are not empty").0;
            let outcome = self.engine.on_batch(&rows.unwrap(), now);
            assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
        }
        if self.history.first().is_some_and(|(now, _)| *now < lookback.since) {
            self.engine.remembered(lookback.clone());
        }
        self.recall_keys(&lookback);
        // Before anything new comes time is looked at.
        self.pass(self.now);
    }

    /// What is new is asked of all that has come, as the service does.
    fn recall_keys(&mut self, taken: &Lookback) {
        let memories = self.engine.long_memories();
        if memories.is_empty() {
            return;
        }
        let all = self.history.iter().map(|(_, rows)| rows.clone()).collect();
        let table = Arc::new(MemTable::try_new(events_schema(), vec![all]).unwrap());
        let recall = Recall::new(Arc::clone(&table) as _, table);
        let number = |rows: &RecordBatch, name: &str, row: usize| {
            rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row)
        };
        let engine = &mut self.engine;
        let earliest = |rows: &RecordBatch| {
            for row in 0..rows.num_rows() {
                let cluster = Value::at(rows.column_by_name("cluster").unwrap(), row).to_string();
                engine.reaches(&cluster, number(rows, "first", row));
            }
        };
        recall.earliest().unwrap().each(earliest).unwrap();
        for memory in memories {
            let keys = |rows: &RecordBatch| {
                for row in 0..rows.num_rows() {
                    let value = |name: &str| Value::at(rows.column_by_name(name).unwrap(), row);
                    let key = (0..memory.key.len()).map(|at| value(&format!("key_{at}"))).collect();
                    let (first, last) = (number(rows, "first", row), number(rows, "last", row));
                    let cluster = value("cluster").to_string();
                    engine.recall(&memory, &cluster, &SeenKey { key, first, last });
                }
            };
            let found = recall.keys(&memory.conditions, &memory.key, memory.lookback, taken);
            found.unwrap().each(keys).unwrap();
        }
    }

    fn listen(&mut self, outcome: Outcome) {
        assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
        for finding in outcome.findings {
            self.said.insert(finding.id.clone(), finding);
        }
        for asked in parted(outcome.beyond.into_iter().collect(), self.catalog) {
            let again = Again::new(self.catalog, self.settings, &asked).unwrap();
            let mut again = again.expect("the detections are there");
            let cluster = &asked[0].cluster;
            if let Some(began) = self.engine.began(cluster) {
                again.reaches(cluster, began);
            }
            let arrived = again.arrived();
            for is_late in [true, false] {
                for (_, rows) in &self.history {
                    let rows = arrivals(rows, |arrival| (arrival >= arrived) == is_late);
                    if is_late { again.take_late(&rows) } else { again.take_in(&rows) }
                }
            }
            let findings = again.findings().unwrap();
            for finding in &findings {
                self.said.insert(finding.id.clone(), finding.clone());
            }
            let more = self.engine.found_elsewhere(&findings, self.now);
            self.listen(more);
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
        let longest = self.catalog.detections().map(|detection| match detection.kind {
            Kind::Absent(length) => length,
            _ => detection.window.map_or(0, |window| window.length),
        });
        self.pass(now + 6 * HOUR + longest.max().unwrap_or(0));
        let rest = self.engine.finish();
        assert!(rest.findings.is_empty(), "time left something to say: {:?}", rest.findings);
        self.stands(|_| true)
    }
}

/// The rows, arrived at a time.
pub(super) fn arrived_at(rows: &RecordBatch, now: i64) -> RecordBatch {
    let at = rows.schema().index_of("ingest_time").unwrap();
    let mut columns = rows.columns().to_vec();
    let arrivals = TimestampMicrosecondArray::from(vec![now; rows.num_rows()]);
    columns[at] = Arc::new(arrivals.with_timezone("UTC"));
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

/// The rows whose arrival is one of these.
fn arrivals(rows: &RecordBatch, wanted: impl Fn(i64) -> bool) -> RecordBatch {
    let column = rows.column_by_name("ingest_time").unwrap();
    let times = column.as_primitive::<TimestampMicrosecondType>().values();
    let wanted = times.iter().map(|time| Some(wanted(*time))).collect();
    filter_record_batch(rows, &wanted).unwrap()
}

/// Cluster, event time and arrival of each row.
fn times(rows: &RecordBatch) -> impl Iterator<Item = (String, i64, i64)> {
    let time = |name: &str| {
        let column = rows.column_by_name(name).unwrap();
        column.as_primitive::<TimestampMicrosecondType>().clone()
    };
    let (clusters, events) = (rows.column_by_name("cluster").unwrap(), time("event_time"));
    let arrivals = time("ingest_time");
    (0..rows.num_rows()).map(move |row| {
        (Value::at(clusters, row).to_string(), events.value(row), arrivals.value(row))
    })
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
    // What came in any order is held, however long ago it was.
    let times = || (0..events.len()).map(|event| events.time(event));
    let span = times().max().unwrap_or(0) - times().min().unwrap_or(0);
    let mut run = Run::new(catalog, Pace::Live, 24 * HOUR + span);
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

/// As [`live`], of what is asked only when it closes.
pub(super) fn past(catalog: &Catalog, events: &Events, way: &Way) -> Said {
    let times = || (0..events.len()).map(|event| events.time(event));
    let span = times().max().unwrap_or(0) - times().min().unwrap_or(0);
    let mut run = Run::new(catalog, Pace::Past, 24 * HOUR + span);
    let mut last = 0;
    for delivery in way.shuffled(start() + HOUR / 2) {
        run.deliver(&events.pick(&delivery.events), delivery.now);
        run.pass(delivery.now);
        last = delivery.now;
    }
    run.pass(last + 6 * HOUR);
    run.finish();
    run.stands(|_| true)
}

/// As events come in any order into an engine that forgets what is over, with restarts: much comes
/// for what is forgotten.
pub(super) fn late(catalog: &Catalog, events: &Events, way: &Way) -> Said {
    let mut run = Run::new(catalog, Pace::Live, way.hold * MINUTE);
    let mut last = 0;
    for (number, delivery) in (0..).zip(way.shuffled(start() + HOUR / 2)) {
        // No two arrive at one time: what was told between them is told from their arrivals.
        let now = delivery.now + number;
        run.pass(now);
        run.deliver(&events.pick(&delivery.events), now);
        if delivery.restart {
            run.restart(way.reread);
        }
        last = now;
    }
    run.close(last)
}

/// Whether time is looked at while nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    AllTheWhile,
    WhenSomethingComes,
}

/// As events come at their times, not too late, into an engine that forgets what is over, with
/// restarts.
pub(super) fn prompt(catalog: &Catalog, events: &Events, way: &Way, looks: Looks) -> Said {
    let mut run = Run::new(catalog, Pace::Live, way.hold * MINUTE);
    let mut last = 0;
    for delivery in way.prompt(events) {
        if looks == Looks::AllTheWhile {
            run.pass(delivery.now - 1);
        }
        let rows = events.pick(&delivery.events);
        run.deliver(&rows, delivery.now);
        if delivery.restart {
            // A service looks at the time each second.
            run.pass(delivery.now);
            run.restart(way.reread);
        }
        last = delivery.now;
    }
    run.close(last)
}
