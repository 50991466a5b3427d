//! The engine of windows against a model of it: slow, simple and by the definition.
//!
//! The model runs a detection's query with plain DataFusion over the events of each window
//! `[k·S − W, k·S)` and makes findings of the rows by the words of the definition: key, bucket of
//! the window's end, the row of the window with the most events, the earliest three and the latest
//! two events. The engine gets the same events in any order, in any batches, some of them twice,
//! in one go or live while time passes. Both must say the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use auditmill::detect::catalog::Catalog;
use auditmill::detect::engine::{Engine, EngineSettings, Outcome, Pace};
use auditmill::detect::evidence::EventRef;
use auditmill::detect::finding::{Finding, Status};
use auditmill::detect::value::Value;
use auditmill::event::schema::events_schema;
use auditmill::event::seen::Seen;
use auditmill::event::time::parse_rfc3339;
use auditmill::event::{EventRow, Rows};
use auditmill::sql::context::session;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sha2::{Digest as _, Sha256};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// A detection, and what the model must know of it besides its text.
struct Subject {
    id: &'static str,
    window: i64,
    slide: i64,
    dedup: i64,
    /// Key columns, without the cluster.
    key: &'static [&'static str],
    /// Verbs of the events that the query reads.
    verbs: &'static [&'static str],
    /// Its findings must not wait for the end of windows.
    fires_at_once: bool,
    /// Front matter that is not above, then the query.
    front: &'static str,
    query: &'static str,
}

const LIMIT: i64 = 3;

const SUBJECTS: [Subject; 6] = [
    Subject {
        id: "O-COUNT",
        window: 10 * MINUTE,
        slide: 5 * MINUTE,
        dedup: 20 * MINUTE,
        key: &["user_name"],
        verbs: &["get"],
        fires_at_once: true,
        front: "params: {limit: 3}",
        query: "SELECT cluster, user_name, count(*) AS n, min(event_time) AS since,
                  max(name) AS last_name
                FROM events WHERE verb = 'get'
                GROUP BY cluster, user_name HAVING count(*) >= $limit",
    },
    Subject {
        id: "O-DISTINCT",
        window: 6 * MINUTE,
        slide: 2 * MINUTE,
        dedup: HOUR,
        key: &["user_name", "verb"],
        verbs: &["get", "create", "delete"],
        fires_at_once: true,
        front: "params: {limit: 3}",
        query: "SELECT verb, count(DISTINCT name) AS n, user_name, count(*) AS requests
                FROM events
                GROUP BY user_name, verb HAVING count(DISTINCT name) >= $limit",
    },
    Subject {
        id: "O-SEQUENCE",
        window: 9 * MINUTE,
        slide: 3 * MINUTE,
        dedup: 9 * MINUTE,
        key: &["user_name", "name"],
        verbs: &["create", "delete"],
        fires_at_once: true,
        front: "",
        query: "SELECT user_name, name, count(*) AS n,
                  min(event_time) FILTER (WHERE verb = 'create') AS made
                FROM events WHERE verb IN ('create', 'delete')
                GROUP BY user_name, name
                HAVING min(event_time) FILTER (WHERE verb = 'create')
                  < max(event_time) FILTER (WHERE verb = 'delete')",
    },
    Subject {
        id: "O-FEW",
        window: 4 * MINUTE,
        slide: 2 * MINUTE,
        dedup: 6 * MINUTE,
        key: &["user_name"],
        verbs: &["get"],
        fires_at_once: false,
        front: "",
        query: "SELECT user_name, count(*) AS n, max(event_time) AS latest
                FROM events WHERE verb = 'get'
                GROUP BY user_name HAVING count(*) <= 2",
    },
    Subject {
        id: "O-WITHOUT",
        window: 10 * MINUTE,
        slide: 5 * MINUTE,
        dedup: 15 * MINUTE,
        key: &["user_name"],
        verbs: &["create", "delete"],
        fires_at_once: false,
        front: "",
        query: "SELECT user_name, count(*) AS n
                FROM events WHERE verb IN ('create', 'delete')
                GROUP BY user_name
                HAVING count(*) FILTER (WHERE verb = 'create') >= 1
                  AND count(*) FILTER (WHERE verb = 'delete') = 0",
    },
    Subject {
        id: "O-JOIN",
        window: 10 * MINUTE,
        slide: 5 * MINUTE,
        dedup: 20 * MINUTE,
        key: &["user_name"],
        verbs: &["create", "delete"],
        fires_at_once: false,
        front: "key: [user_name]",
        query: "SELECT a.user_name AS user_name, count(*) AS n
                FROM events a JOIN events b ON a.user_name = b.user_name AND a.name = b.name
                WHERE a.verb = 'create' AND b.verb = 'delete' AND a.event_time < b.event_time
                GROUP BY a.user_name",
    },
];

/// An odd query that gives a key several rows in one window.
const SEVERAL_ROWS: [Subject; 1] = [Subject {
    id: "O-PAIRS",
    window: 10 * MINUTE,
    slide: 5 * MINUTE,
    dedup: 20 * MINUTE,
    key: &["user_name"],
    verbs: &["create", "delete"],
    fires_at_once: false,
    front: "key: [user_name]",
    query: "SELECT a.user_name AS user_name, a.event_time AS made, b.event_time AS unmade,
              b.name AS n
            FROM events a JOIN events b ON a.user_name = b.user_name AND a.name = b.name
            WHERE a.verb = 'create' AND b.verb = 'delete' AND a.event_time < b.event_time",
}];

impl Subject {
    fn text(&self) -> String {
        let Self { id, window, slide, dedup, front, query, .. } = self;
        let seconds = |micros: &i64| format!("{}s", micros / SECOND);
        format!(
            "/*\nid: {id}\ntitle: t\nseverity: low\nwindow: {}\nslide: {}\ndedup: {}\n\
             describe: \"{{{{user_name}}}} {{{{n}}}} times\"\n{front}\n*/\n{query}",
            seconds(window),
            seconds(slide),
            seconds(dedup)
        )
    }
}

/// An event as far as the subjects care.
#[derive(Clone, Debug)]
struct Event {
    cluster: &'static str,
    user: Option<&'static str>,
    verb: &'static str,
    name: &'static str,
    time: i64,
    id: String,
}

impl Event {
    fn column(&self, name: &str) -> Value {
        match name {
            "user_name" => self.user.map_or(Value::Null, |user| Value::Text(user.to_owned())),
            "verb" => Value::Text(self.verb.to_owned()),
            "name" => Value::Text(self.name.to_owned()),
            other => panic!("the model does not know `{other}`"),
        }
    }

    fn reference(&self) -> EventRef {
        let audit_id = Some(format!("audit-{}", self.id));
        EventRef { event_time: self.time, event_id: self.id.clone(), audit_id }
    }
}

fn batch<'a>(events: impl IntoIterator<Item = &'a Event>) -> RecordBatch {
    let mut rows = Rows::new();
    for event in events {
        let audit_id = format!("audit-{}", event.id);
        rows.push(&EventRow {
            cluster: event.cluster,
            event_id: &event.id,
            event_time: event.time,
            audit_id: Some(&audit_id),
            verb: Some(event.verb),
            user_name: event.user,
            name: Some(event.name),
            source: "test",
            ..EventRow::default()
        });
    }
    rows.finish()
}

/// One row of a query's result: column names and values.
type Row = Vec<(String, Value)>;

/// The windows, by their ends, in which a key was found within one bucket, earliest first.
struct Fired {
    key: Vec<Value>,
    bucket: i64,
    rows: Vec<(i64, Row)>,
}

/// What a finding says, by id.
type Said = BTreeMap<String, Told>;

#[derive(Clone, Debug, PartialEq)]
struct Told {
    detection: String,
    cluster: String,
    key: Row,
    row: Row,
    summary: String,
    count: u64,
    shown: Vec<EventRef>,
    first: Option<EventRef>,
    last: Option<EventRef>,
    incomplete: bool,
}

/// The definition, word for word.
#[derive(Default)]
struct Model {
    /// What a query says of a set of events: many windows hold the same ones.
    answers: HashMap<(&'static str, Vec<String>), Vec<Row>>,
}

impl Model {
    fn findings(&mut self, subject: &'static Subject, events: &[Event]) -> Said {
        let clusters: BTreeSet<&str> = events.iter().map(|event| event.cluster).collect();
        let mut said = Said::new();
        for cluster in clusters {
            let events: Vec<&Event> = events.iter().filter(|e| e.cluster == cluster).collect();
            said.extend(self.of_cluster(subject, cluster, &events));
        }
        said
    }

    fn of_cluster(
        &mut self,
        subject: &'static Subject,
        cluster: &str,
        events: &[&Event],
    ) -> Vec<(String, Told)> {
        let mut fired: Vec<Fired> = Vec::new();
        for end in window_ends(subject, events) {
            let start = end - subject.window;
            let within: Vec<&Event> =
                events.iter().filter(|e| start <= e.time && e.time < end).copied().collect();
            for row in self.ask(subject, &within) {
                let value = |name: &&str| {
                    row.iter().find(|(column, _)| column == name).expect("a key column").1.clone()
                };
                let key: Vec<Value> = subject.key.iter().map(value).collect();
                let bucket = end.div_euclid(subject.dedup);
                match fired.iter_mut().find(|fired| fired.key == key && fired.bucket == bucket) {
                    Some(fired) => fired.rows.push((end, row)),
                    None => fired.push(Fired { key, bucket, rows: vec![(end, row)] }),
                }
            }
        }
        fired.into_iter().map(|fired| tell(subject, cluster, events, fired)).collect()
    }

    fn ask(&mut self, subject: &'static Subject, events: &[&Event]) -> Vec<Row> {
        let mut ids: Vec<String> =
            events.iter().map(|e| format!("{} {} {:?}", e.id, e.time, e.user)).collect();
        ids.sort();
        let ask = || run_query(subject, events);
        self.answers.entry((subject.id, ids)).or_insert_with(ask).clone()
    }
}

fn window_ends(subject: &Subject, events: &[&Event]) -> BTreeSet<i64> {
    let slide = subject.slide;
    let ends = events.iter().flat_map(|event| {
        let first = (event.time.div_euclid(slide) + 1) * slide;
        (0..subject.window / slide).map(move |k| first + k * slide)
    });
    ends.collect()
}

fn tell(subject: &Subject, cluster: &str, events: &[&Event], fired: Fired) -> (String, Told) {
    let Fired { key, bucket, rows } = fired;
    let counts = |event: &&&Event| {
        let agrees = subject.key.iter().zip(&key).all(|(name, value)| event.column(name) == *value);
        agrees && subject.verbs.contains(&event.verb)
    };
    let mine: Vec<EventRef> = events.iter().filter(counts).map(|event| event.reference()).collect();
    let within = |end: i64| {
        let start = end - subject.window;
        mine.iter().filter(move |event| start <= event.event_time && event.event_time < end)
    };
    let mut all: BTreeSet<EventRef> = BTreeSet::new();
    let mut shown: Option<(usize, Row)> = None;
    for (end, row) in rows {
        all.extend(within(end).cloned());
        let count = within(end).count();
        if shown.as_ref().is_none_or(|(most, _)| count > *most) {
            shown = Some((count, row));
        }
    }
    let (_, row) = shown.expect("a finding has a window");
    let text = |name: &str| {
        row.iter().find(|(column, _)| column == name).expect("a column to show").1.to_string()
    };
    let evidence: BTreeSet<EventRef> =
        all.iter().take(3).chain(all.iter().rev().take(2)).cloned().collect();
    let told = Told {
        detection: subject.id.to_owned(),
        cluster: cluster.to_owned(),
        key: subject.key.iter().map(|name| (*name).to_owned()).zip(key.iter().cloned()).collect(),
        summary: format!("{} {} times", text("user_name"), text("n")),
        row,
        count: all.len() as u64,
        shown: evidence.into_iter().collect(),
        first: all.first().cloned(),
        last: all.last().cloned(),
        incomplete: false,
    };
    (identity(subject.id, cluster, &key, bucket), told)
}

/// The id of a finding: written here again, because it must never change.
fn identity(detection: &str, cluster: &str, key: &[Value], bucket: i64) -> String {
    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.push(4);
        bytes.extend((text.len() as u64).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    let mut bytes = Vec::new();
    text(&mut bytes, detection);
    text(&mut bytes, cluster);
    for value in key {
        match value {
            Value::Null => bytes.push(0),
            Value::Text(value) => text(&mut bytes, value),
            other => panic!("no subject has such a key: {other:?}"),
        }
    }
    bytes.push(2);
    bytes.extend(bucket.to_be_bytes());
    let digest: Vec<u8> = Sha256::digest(&bytes).iter().take(16).copied().collect();
    let digest: [u8; 16] = digest.try_into().unwrap();
    format!("{:032x}", u128::from_be_bytes(digest))
}

/// Plain DataFusion over just these events.
fn run_query(subject: &Subject, events: &[&Event]) -> Vec<Row> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let rows = batch(events.iter().copied());
    let results = runtime.block_on(async {
        let context = session().unwrap();
        let table = MemTable::try_new(events_schema(), vec![vec![rows]]).unwrap();
        context.register_table("events", Arc::new(table)).unwrap();
        let mut query = context.sql(subject.query).await.unwrap();
        if subject.front.contains("limit") {
            query = query.with_param_values(vec![("limit", ScalarValue::from(LIMIT))]).unwrap();
        }
        query.collect().await.unwrap()
    });
    let named = |batch: &RecordBatch, row: usize| {
        let schema = batch.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        names.zip(Value::row(batch, row)).collect()
    };
    let mut rows: Vec<Row> = results
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(move |row| named(batch, row)))
        .collect();
    // Of several rows of a key in one window the smallest is shown: the order in which a query
    // happens to give them must not matter.
    rows.sort_by(|a, b| a.partial_cmp(b).expect("no subject shows a fraction"));
    rows
}

/// How the engine gets the events.
#[derive(Clone, Debug)]
struct Way {
    /// Which event comes next; some come twice.
    order: Vec<usize>,
    /// After which of them a delivery ends.
    cuts: Vec<bool>,
    /// How many minutes pass after each delivery.
    pauses: Vec<i64>,
}

impl Way {
    fn deliveries<'a>(&'a self, events: &'a [Event]) -> Vec<Vec<&'a Event>> {
        let mut deliveries = vec![Vec::new()];
        for (position, index) in self.order.iter().enumerate() {
            deliveries.last_mut().expect("never empty").extend(events.get(*index));
            if self.cuts[position % self.cuts.len()] {
                deliveries.push(Vec::new());
            }
        }
        deliveries
    }
}

/// The engine under test and what it has said last.
struct Run {
    engine: Engine,
    seen: Seen,
    said: BTreeMap<String, Finding>,
}

impl Run {
    fn new(subjects: &'static [Subject], pace: Pace) -> Self {
        let texts = subjects.iter().map(|subject| (format!("{}.sql", subject.id), subject.text()));
        let catalog = Catalog::from_texts(texts).unwrap();
        let settings = EngineSettings { pace, hold: 24 * HOUR, ..EngineSettings::default() };
        let engine = Engine::new(&catalog, settings).unwrap();
        Self { engine, seen: Seen::new(1_000, i64::MAX), said: BTreeMap::new() }
    }

    fn deliver(&mut self, events: &[&Event], now: i64) {
        let rows = batch(events.iter().copied());
        let new = self.seen.keep_new(&rows, now).unwrap();
        let outcome = self.engine.on_batch(&new, now);
        self.listen(outcome);
    }

    fn listen(&mut self, outcome: Outcome) {
        assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
        for finding in outcome.findings {
            self.said.insert(finding.id.clone(), finding);
        }
    }

    /// What stands, of these detections.
    fn stands(&self, of: impl Fn(&Finding) -> bool) -> Said {
        let open = self.said.values().filter(|f| f.status == Status::Open && of(f));
        open.map(|finding| (finding.id.clone(), told(finding))).collect()
    }
}

fn told(finding: &Finding) -> Told {
    Told {
        detection: finding.detection.id.clone(),
        cluster: finding.cluster.clone(),
        key: finding.key.clone(),
        row: finding.row.clone(),
        summary: finding.summary.clone(),
        count: finding.evidence.count(),
        shown: finding.evidence.shown(),
        first: finding.evidence.first(),
        last: finding.evidence.last(),
        incomplete: finding.incomplete,
    }
}

/// All at once, closed by the end of the input.
fn replayed(subjects: &'static [Subject], deliveries: &[Vec<&Event>]) -> Said {
    let mut run = Run::new(subjects, Pace::Replay);
    for delivery in deliveries {
        run.deliver(delivery, 0);
        assert!(run.stands(|_| true).is_empty(), "a replay speaks at its end");
    }
    let outcome = run.engine.finish();
    run.listen(outcome);
    run.stands(|_| true)
}

/// As events come, closed by time. `at_once` must hold before time closes anything more.
fn live(
    subjects: &'static [Subject],
    deliveries: &[Vec<&Event>],
    pauses: &[i64],
    at_once: &Said,
) -> Said {
    let mut run = Run::new(subjects, Pace::Live);
    let mut now = start() + HOUR / 2;
    for (position, delivery) in deliveries.iter().enumerate() {
        run.deliver(delivery, now);
        now += pauses[position % pauses.len()] * MINUTE;
        let outcome = run.engine.on_time(now);
        run.listen(outcome);
    }
    let ids: BTreeSet<&str> =
        subjects.iter().filter(|subject| subject.fires_at_once).map(|s| s.id).collect();
    let now_stands = run.stands(|finding| ids.contains(finding.detection.id.as_str()));
    assert_same(at_once, &now_stands, "live, before time has passed");
    let outcome = run.engine.on_time(now + 6 * HOUR);
    run.listen(outcome);
    let rest = run.engine.finish();
    assert!(rest.findings.is_empty(), "time left something to say: {:?}", rest.findings);
    run.stands(|_| true)
}

fn assert_same(expected: &Said, found: &Said, way: &str) {
    let ids: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for id in ids {
        assert_eq!(expected.get(id), found.get(id), "model (left) and engine (right), {way}");
    }
}

/// Compares engine and model; gives what both say.
fn check(model: &mut Model, subjects: &'static [Subject], events: &[Event], way: &Way) -> Said {
    let mut expected = Said::new();
    let mut at_once = Said::new();
    for subject in subjects {
        let said = model.findings(subject, events);
        if subject.fires_at_once {
            at_once.extend(said.clone());
        }
        expected.extend(said);
    }
    let deliveries = way.deliveries(events);
    assert_same(&expected, &replayed(subjects, &deliveries), "replayed");
    let found = live(subjects, &deliveries, &way.pauses, &at_once);
    assert_same(&expected, &found, "live");
    expected
}

/// Half past: the edge of every bucket lies within the hour that follows.
fn start() -> i64 {
    parse_rfc3339("2026-03-01T11:30:00Z").unwrap()
}

/// Times of an hour: many on an edge or next to one, and close to each other.
fn time() -> impl Strategy<Value = i64> {
    let edge = (0_i64..=60, -1_i64..=1).prop_map(|(minute, micros)| minute * MINUTE + micros);
    let busy = (28_i64..=32, 0_i64..60).prop_map(|(m, s)| m * MINUTE + s * SECOND);
    let any = (0_i64..3_600).prop_map(|second| second * SECOND);
    prop_oneof![2 => edge, 5 => busy, 1 => any].prop_map(|offset| start() + offset)
}

fn event() -> impl Strategy<Value = Event> {
    let cluster = prop_oneof![8 => Just("east"), 1 => Just("west")];
    let user = prop_oneof![6 => Just(Some("eve")), 2 => Just(Some("bob")), 1 => Just(None)];
    let verb = prop_oneof![2 => Just("get"), 2 => Just("create"), 2 => Just("delete")];
    let name = prop_oneof![Just("a"), Just("b"), Just("c")];
    (cluster, user, verb, name, time(), any::<u128>()).prop_map(
        |(cluster, user, verb, name, time, id)| Event {
            cluster,
            user,
            verb,
            name,
            time,
            id: format!("{id:032x}"),
        },
    )
}

fn story() -> impl Strategy<Value = (Vec<Event>, Way)> {
    prop::collection::vec(event(), 8..28).prop_flat_map(|events| {
        let count = events.len();
        let again = prop::collection::vec(any::<Index>(), 0..5);
        let order = again.prop_flat_map(move |again| {
            let repeats = again.into_iter().map(|index| index.index(count));
            Just((0..count).chain(repeats).collect::<Vec<_>>()).prop_shuffle()
        });
        let cuts = prop::collection::vec(any::<bool>(), 1..8);
        let pauses = prop::collection::vec(prop_oneof![Just(0), 0_i64..20], 1..8);
        let way = (order, cuts, pauses);
        let way = way.prop_map(|(order, cuts, pauses)| Way { order, cuts, pauses });
        (Just(events), way)
    })
}

/// As many as a minute allows; `PROPTEST_CASES` says more.
fn config() -> Config {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { None } else { Some(10) };
    let config = Config { max_shrink_iters: 200, ..Config::default() };
    Config { cases: cases.unwrap_or(config.cases), ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn engine_and_model_say_the_same((events, way) in story()) {
        check(&mut Model::default(), &SUBJECTS, &events, &way);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn of_several_rows_of_a_key_always_the_same_is_shown((events, way) in story()) {
        check(&mut Model::default(), &SEVERAL_ROWS, &events, &way);
    }
}

/// The same stories each time, most of which must have something to tell.
#[test]
fn stories_of_a_fixed_seed_find_something() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut model = Model::default();
    let stories = 12;
    let mut finds: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..stories {
        let (events, way) = story().new_tree(&mut runner).unwrap().current();
        let said = check(&mut model, &SUBJECTS, &events, &way);
        for subject in &SUBJECTS {
            let found = said.values().any(|told| told.detection == subject.id);
            *finds.entry(subject.id).or_default() += usize::from(found);
        }
    }
    for (id, found) in &finds {
        assert!(found * 10 >= stories * 3, "{id} finds something in {found} of {stories}");
    }
    assert!(finds.values().any(|found| *found < stories), "nothing is ever quiet: {finds:?}");
}
