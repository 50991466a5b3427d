//! The store against a model that is a few maps, over steps, new starts and crashes.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::detect::detection::Detection;
use crate::detect::evidence::{EventRef, Evidence};
use crate::detect::finding::{Finding, Status};
use crate::detect::outcome::Beyond;
use crate::detect::row::Row;
use crate::detect::value::Value;
use crate::event::time::rfc3339;
use crate::findings::reading::Filter;
use crate::findings::sinks::{Begin, DeadLetter, SetAside, Settled};
use crate::findings::step::LedgerKind;

const SETTINGS: StoreSettings = StoreSettings { findings_max: 1_000, keep: 1_000_000_000 };

struct Fixture {
    folder: TempDir,
    settings: StoreSettings,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), settings: SETTINGS }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("findings.db")
    }

    fn open(&self) -> Store {
        Store::open(&self.path(), self.settings).unwrap()
    }
}

fn detection(id: &str, severity: &str) -> Arc<Detection> {
    let text = format!(
        "/*\nid: {id}\ntitle: A test\nseverity: {severity}\nkey: [user_name]\n\
         describe: \"{{{{user_name}}}}\"\n*/\nSELECT cluster, user_name FROM events\n"
    );
    Arc::new(Detection::parse("test.sql", &text).unwrap())
}

/// Finding number `id` as it looks after `events` events, one a second from `start` (in seconds).
fn finding(id: u8, start: i64, events: i64) -> Finding {
    let mut evidence = Evidence::default();
    for number in 0..events {
        let event_time = (start + number) * 1_000_000;
        let event_id = format!("{number:032x}");
        evidence.add(&EventRef { event_time, event_id, audit_id: None });
    }
    let severities = ["low", "high", "critical"];
    let user = format!("finding {id} \u{1f600}\0");
    Finding {
        id: format!("{id:032x}"),
        detection: detection(&format!("T-{}", id % 2), severities[usize::from(id % 3)]),
        status: if events % 3 == 0 { Status::Withdrawn } else { Status::Open },
        cluster: format!("cluster-{}", id % 2),
        key: Row::default(),
        bucket: 0,
        row: Row::new(&vec!["user_name".to_owned()].into(), vec![Value::Text(user)]),
        evidence,
        incomplete: false,
    }
}

fn commit(store: &Store, next: u64, findings: &[Finding]) -> usize {
    store.commit(&Step { next, findings, ..Step::default() }).unwrap().len()
}

fn changes(store: &Store, after: Change) -> Vec<(Change, String, u64)> {
    let changes = store.changes_after(after, &Filter::default(), 1_000).unwrap();
    let plain = |(change, record): (Change, Arc<FindingRecord>)| {
        (change, record.id.trim_start_matches('0').to_owned(), record.revision)
    };
    changes.findings.into_iter().map(plain).collect()
}

/// One step as data.
#[derive(Clone, Debug)]
struct Plan {
    records: u64,
    findings: Vec<(u8, i64)>,
    late: u64,
    events: u64,
    deliveries: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Action {
    Step(Plan),
    Reopen,
    /// The last so many steps are read again, as after a crash.
    Repeat(usize),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let plan = (
        1_u64..4,
        proptest::collection::vec((0_u8..5, 1_i64..6), 0..4),
        0_u64..3,
        0_u64..3,
        proptest::collection::vec(0_u8..9, 0..3),
    );
    let step = plan.prop_map(|(records, findings, late, events, deliveries)| {
        Action::Step(Plan { records, findings, late, events, deliveries })
    });
    let action = prop_oneof![
        6 => step,
        1 => Just(Action::Reopen),
        2 => (1_usize..4).prop_map(Action::Repeat),
    ];
    proptest::collection::vec(action, 1..20)
}

#[derive(Debug, Default, PartialEq)]
struct Model {
    position: u64,
    change: Change,
    /// Events, revision and change of a finding.
    findings: BTreeMap<u8, (i64, u64, Change)>,
    late: u64,
    events: u64,
    deliveries: BTreeMap<u8, i64>,
}

impl Model {
    fn commit(&mut self, next: u64, plan: &Plan) {
        for (id, events) in &plan.findings {
            let before = self.findings.get(id).copied();
            match before {
                Some((same, _, _)) if same == *events => {}
                Some((_, revision, _)) => {
                    self.change += 1;
                    self.findings.insert(*id, (*events, revision + 1, self.change));
                }
                None => {
                    self.change += 1;
                    self.findings.insert(*id, (*events, 1, self.change));
                }
            }
        }
        self.late += plan.late;
        self.events += plan.events;
        for hash in &plan.deliveries {
            self.deliveries.insert(*hash, i64::try_from(next).unwrap());
        }
        self.position = next;
    }

    fn of(store: &Store) -> Self {
        let all = store.changes_after(0, &Filter::default(), 1_000).unwrap();
        let number = |id: &str| u8::from_str_radix(id, 16).unwrap();
        let findings = all.findings.iter().map(|(change, record)| {
            let events = i64::try_from(record.count).unwrap();
            let mut expected = FindingRecord::new(&finding(number(&record.id), 0, events), 0);
            expected.revision = record.revision;
            assert_eq!(**record, expected);
            (number(&record.id), (events, record.revision, *change))
        });
        let findings = findings.collect();
        let ledger = store.ledger().unwrap();
        let deliveries = store.deliveries_since(0, u64::MAX >> 1).unwrap();
        let deliveries = deliveries.into_iter().map(|(hash, at)| (u8::try_from(hash).unwrap(), at));
        Self {
            position: store.position().unwrap(),
            change: store.follow().borrow().change,
            findings,
            late: ledger.iter().map(|row| row.count).sum(),
            events: store.clusters().unwrap().iter().map(|seen| seen.events).sum(),
            deliveries: deliveries.collect(),
        }
    }
}

/// Commits a plan that ends at `next`; what only adds up is counted above the store's position.
fn run(store: &Store, next: u64, plan: &Plan) {
    let findings: Vec<_> =
        plan.findings.iter().map(|(id, events)| finding(*id, 0, *events)).collect();
    let at = i64::try_from(next).unwrap();
    let deliveries: Vec<_> = plan.deliveries.iter().map(|hash| (u128::from(*hash), at)).collect();
    let late = LedgerEntry {
        kind: LedgerKind::Late,
        cluster: "c".to_owned(),
        item: String::new(),
        at: 7_200_000_000 * at,
        count: plan.late,
    };
    let seen = ClusterSeen {
        cluster: "c".to_owned(),
        last_event: at,
        last_arrival: at,
        events: plan.events,
        duplicates: 0,
    };
    let step = Step {
        next,
        findings: &findings,
        ledger: &[late],
        clusters: &[seen],
        deliveries: &deliveries,
        owed: None,
    };
    let above = store.position().unwrap() < next;
    let step = if above { step } else { Step { ledger: &[], clusters: &[], ..step } };
    store.commit(&step).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn steps_new_starts_and_repeats_are_as_a_few_maps(actions in actions()) {
        let fixture = Fixture::new();
        let mut store = fixture.open();
        let mut model = Model::default();
        let mut done: Vec<(u64, Plan)> = Vec::new();
        for action in actions {
            match action {
                Action::Step(plan) => {
                    let next = model.position + plan.records;
                    model.commit(next, &plan);
                    run(&store, next, &plan);
                    done.push((next, plan));
                }
                Action::Reopen => {
                    drop(store);
                    store = fixture.open();
                }
                Action::Repeat(steps) => {
                    drop(store);
                    store = fixture.open();
                    for (next, plan) in done.iter().skip(done.len().saturating_sub(steps)) {
                        run(&store, *next, plan);
                    }
                }
            }
            // A version within a step that a later one replaced leaves no trace but its revision;
            // repeated as the last step, it would: both are looked at below.
            let seen = Model::of(&store);
            prop_assert_eq!(&seen.late, &model.late);
            prop_assert_eq!(&seen.events, &model.events);
            prop_assert_eq!(&seen.position, &model.position);
            prop_assert_eq!(&seen.deliveries, &model.deliveries);
            let content = |model: &Model| -> Vec<(u8, i64)> {
                model.findings.iter().map(|(id, (events, _, _))| (*id, *events)).collect()
            };
            prop_assert_eq!(content(&seen), content(&model));
            let versions = |plan: &Plan, id: u8| {
                plan.findings.iter().filter(|(found, _)| *found == id).count()
            };
            let several = |id: u8| done.last().is_some_and(|(_, plan)| versions(plan, id) > 1);
            for (id, expected) in &mut model.findings {
                let found = seen.findings[id];
                prop_assert!(found.1 >= expected.1 && found.2 >= expected.2);
                if !several(*id) {
                    prop_assert_eq!(&found, &*expected);
                }
                *expected = found;
            }
            model.change = seen.change;
        }
    }
}

#[test]
fn what_is_repeated_below_the_position_changes_nothing() {
    let fixture = Fixture::new();
    let store = fixture.open();
    assert_eq!(commit(&store, 10, &[finding(1, 0, 1)]), 1);
    assert_eq!(commit(&store, 20, &[finding(1, 0, 2)]), 0);
    assert_eq!(commit(&store, 20, &[finding(1, 0, 2)]), 0);
    assert_eq!(changes(&store, 0), [(2, "1".to_owned(), 2)]);
    let mut tip = store.follow();
    // The first step again: its version is older, but a finding that is missing is put in.
    assert_eq!(commit(&store, 10, &[finding(1, 0, 1), finding(2, 0, 1)]), 1);
    assert_eq!(changes(&store, 0), [(2, "1".to_owned(), 2), (3, "2".to_owned(), 1)]);
    assert!(tip.has_changed().unwrap());
    assert_eq!(tip.borrow_and_update().change, 3);
    assert_eq!(store.position().unwrap(), 20);
    // At the position itself time may pass without records: those are new versions.
    commit(&store, 20, &[finding(1, 0, 3)]);
    assert_eq!(changes(&store, 3), [(4, "1".to_owned(), 3)]);
    store.sync().unwrap();
    store.sync_change(4).unwrap();
    drop(store);
    assert_eq!(changes(&fixture.open(), 2).len(), 2);
}

#[test]
fn lists_have_filters_and_pages() {
    let store = Fixture::new();
    let store = store.open();
    let findings: Vec<_> = (0..10).map(|id| finding(id, i64::from(id / 3), 2)).collect();
    commit(&store, 1, &findings);
    let list = |filter: &Filter, limit| -> Vec<String> {
        let (mut ids, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = store.list(filter, limit, cursor.as_deref()).unwrap();
            assert!(page.findings.len() <= limit);
            ids.extend(page.findings.iter().map(|f| f.id.trim_start_matches('0').to_owned()));
            cursor = page.next;
            if cursor.is_none() {
                return ids;
            }
        }
    };
    let all = Filter::default();
    let expected = ["9", "8", "7", "6", "5", "4", "3", "2", "1", ""];
    for limit in [1, 3, 10, 100] {
        assert_eq!(list(&all, limit), expected);
    }
    let check = |filter: Filter, expected: &[&str]| assert_eq!(list(&filter, 2), expected);
    check(Filter { since: Some(rfc3339(3_000_000)), ..all.clone() }, &["9", "8", "7", "6"]);
    check(Filter { detection: Some("T-1".to_owned()), ..all.clone() }, &["9", "7", "5", "3", "1"]);
    check(Filter { cluster: Some("cluster-2".to_owned()), ..all.clone() }, &[]);
    let severities = vec!["high".to_owned(), "critical".to_owned()];
    check(Filter { severities, ..all }, &["8", "7", "5", "4", "2", "1"]);
    assert_eq!(store.get(&findings[3].id).unwrap().unwrap().count, 2);
    assert!(store.get("none").unwrap().is_none());
}

#[test]
fn changes_come_in_parts_and_past_what_a_filter_leaves_out() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let findings: Vec<_> = (0..10).map(|id| finding(id, 0, 1)).collect();
    commit(&store, 1, &findings);
    let even = Filter { detection: Some("T-0".to_owned()), ..Filter::default() };
    let first = store.changes_after(0, &even, 3).unwrap();
    assert_eq!((first.findings.len(), first.next), (3, 5));
    let second = store.changes_after(5, &even, 3).unwrap();
    assert_eq!((second.findings.len(), second.next), (2, 10));
    assert_eq!(store.changes_after(10, &even, 3).unwrap().next, 10);
    let mut seen = 0;
    let count = |records: &[Arc<FindingRecord>]| {
        seen += records.len();
        std::ops::ControlFlow::Continue(())
    };
    store.scan(4, count).unwrap();
    assert_eq!(seen, 10);
}

#[test]
fn the_number_and_the_age_of_findings_are_bounded_and_what_sinks_missed_is_counted() {
    let mut fixture = Fixture::new();
    fixture.settings.findings_max = 4;
    let store = fixture.open();
    assert_eq!(store.open_sink("told", Begin::Now, 0).unwrap(), 0);
    store.open_sink("untold", Begin::Now, 0).unwrap();
    for id in 0..4 {
        commit(&store, u64::from(id) + 1, &[finding(id, 0, 1)]);
    }
    commit(&store, 5, &[finding(0, 0, 2)]);
    store.settle("told", &Settled { cursor: 5, ..Settled::default() }, 0).unwrap();
    // 0 changed after 1: 1 goes first.
    let arrival = SETTINGS.keep + 4_000_000_000;
    let seen = ClusterSeen {
        cluster: "cluster-1".to_owned(),
        last_event: 0,
        last_arrival: arrival,
        events: 1,
        duplicates: 0,
    };
    let findings = [finding(9, 50_000, 1)];
    let step = Step { next: 6, findings: &findings, clusters: &[seen], ..Step::default() };
    store.commit(&step).unwrap();
    let ids = |store: &Store| -> Vec<String> {
        changes(store, 0).into_iter().map(|(_, id, _)| id).collect()
    };
    assert_eq!(ids(&store), ["2", "3", "", "9"]);
    let given_up = |store: &Store| -> Vec<(String, String, u64)> {
        let ledger = store.ledger().unwrap().into_iter();
        ledger.filter(|row| row.kind == "given_up").map(|r| (r.item, r.cluster, r.count)).collect()
    };
    let untold = |cluster: &str, count| ("untold".to_owned(), cluster.to_owned(), count);
    assert_eq!(given_up(&store), [untold("cluster-1", 1)]);
    let lags = store.lags().unwrap();
    assert_eq!(
        lags.into_iter().collect::<Vec<_>>(),
        [("told".to_owned(), 1), ("untold".to_owned(), 4)]
    );
    // They happened long ago, and changed just now.
    store.retain(arrival).unwrap();
    assert_eq!(ids(&store).len(), 4);
    let arrival = arrival + SETTINGS.keep + 2 * 3_600_000_000;
    store.retain(arrival).unwrap();
    assert_eq!(ids(&store), ["9"]);
    let store = {
        drop(store);
        fixture.open()
    };
    assert_eq!(ids(&store), ["9"], "a new start finds the same");
    commit(&store, 7, &[finding(5, 50_000, 1)]);
    assert_eq!(ids(&store), ["9", "5"]);
    // The ledger of the first hour is past its time, too.
    assert_eq!(given_up(&store), [untold("cluster-0", 2), untold("cluster-1", 1)]);
}

#[test]
fn what_is_forgotten_is_given_back_to_the_disk() {
    let mut fixture = Fixture::new();
    fixture.settings.findings_max = 1_000;
    let store = fixture.open();
    let findings: Vec<Finding> = (0..200).map(|id| finding(id, 0, 4)).collect();
    commit(&store, 1, &findings);
    let pages = || -> i64 {
        let count = |state: &Connection| state.pragma_query_value(None, "page_count", |r| r.get(0));
        store.readers.read("count pages", count).unwrap()
    };
    let full = pages();
    store.retain(0).unwrap();
    assert_eq!(pages(), full);
    store.retain(3 * SETTINGS.keep + 20_000_000_000).unwrap();
    assert!(changes(&store, 0).is_empty());
    assert!(pages() < full / 2, "{} of {full} pages are left", pages());
}

#[test]
fn a_sink_keeps_its_place_what_is_set_aside_and_what_it_refused() {
    let fixture = Fixture::new();
    let store = fixture.open();
    commit(&store, 1, &[finding(1, 0, 1), finding(2, 0, 1)]);
    assert_eq!(store.open_sink("new", Begin::Now, 0).unwrap(), 2);
    assert_eq!(store.open_sink("all", Begin::Start, 0).unwrap(), 0);
    let aside = |finding: &str, next_at| SetAside {
        finding: finding.to_owned(),
        failures: 3,
        next_at,
        why: "503".to_owned(),
    };
    let letter = DeadLetter {
        at: 3_600_000_001,
        sink: "all".to_owned(),
        finding: "1".to_owned(),
        revision: 1,
        cluster: "c".to_owned(),
        why: "400".to_owned(),
    };
    let settled = Settled {
        cursor: 1,
        refused: vec![letter.clone()],
        set_aside: vec![aside("7", 20), aside("8", 10), aside("9", 99)],
        cleared: vec!["7".to_owned()],
    };
    store.settle("all", &settled, 0).unwrap();
    store
        .settle("all", &Settled { cleared: vec!["7".to_owned()], ..Settled::default() }, 0)
        .unwrap();
    drop(store);
    let store = fixture.open();
    assert_eq!(store.open_sink("all", Begin::Now, 0).unwrap(), 1);
    assert_eq!(store.set_aside("all", 5).unwrap(), (None, 2));
    assert_eq!(store.set_aside("all", 50).unwrap(), (Some(aside("8", 10)), 2));
    assert_eq!(store.dead_letters().unwrap(), [letter]);
    let ledger = store.ledger().unwrap();
    assert_eq!((ledger[0].kind.as_str(), ledger[0].item.as_str()), ("undeliverable", "all"));
    assert_eq!((ledger[0].hour, ledger[0].count), (3_600_000_000, 1));
    // A month later a sink that nobody uses is forgotten.
    let later = 31 * 86_400_000_000;
    store.open_sink("new", Begin::Start, later).unwrap();
    assert_eq!(store.open_sink("new", Begin::Start, later).unwrap(), 2);
    store.forget_sinks(later).unwrap();
    assert_eq!(store.open_sink("new", Begin::Start, later).unwrap(), 2);
    assert_eq!(store.open_sink("all", Begin::Start, later).unwrap(), 0);
    assert_eq!(store.set_aside("all", 50).unwrap().1, 0);
}

#[test]
fn a_step_that_found_no_room_is_as_if_it_had_never_been() {
    let fixture = Fixture::new();
    let store = fixture.open();
    commit(&store, 1, &[finding(1, 0, 1)]);
    let pages = |limit: i64| {
        let connection = &store.lock().connection;
        connection.pragma_update_and_check(None, "max_page_count", limit, |_| Ok(())).unwrap();
    };
    let many: Vec<_> = (2..200).map(|id| finding(id, 0, 5)).collect();
    let entry = LedgerEntry {
        kind: LedgerKind::Fault,
        cluster: String::new(),
        item: "T".to_owned(),
        at: 0,
        count: 1,
    };
    let step = Step { next: 2, findings: &many, ledger: &[entry], ..Step::default() };
    pages(1);
    let error = store.commit(&step).unwrap_err();
    assert!(matches!(error, StoreError::Failed { what: "commit a step", .. }), "{error}");
    assert_eq!((changes(&store, 0).len(), store.position().unwrap()), (1, 1));
    assert_eq!(store.follow().borrow().change, 1);
    pages(1 << 30);
    assert_eq!(store.commit(&step).unwrap().len(), 198);
    assert_eq!(store.ledger().unwrap()[0].count, 1);
    assert_eq!(changes(&store, 0).last().unwrap().0, 199);
}

#[test]
fn files_are_their_owners_and_of_a_known_format() {
    let fixture = Fixture::new();
    let store = fixture.open();
    commit(&store, 1, &[finding(1, 0, 1)]);
    let mut files = 0;
    for entry in std::fs::read_dir(fixture.folder.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        files += 1;
    }
    assert_eq!(files, 3, "the file, its log, the index of the log");
    store.lock().connection.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let error = Store::open(&fixture.path(), SETTINGS).unwrap_err().to_string();
    assert!(error.contains("format 99") && error.contains("use the newer program"), "{error}");
    std::fs::write(fixture.path(), b"no database, for a good many bytes of a page".repeat(9))
        .unwrap();
    let error = Store::open(&fixture.path(), SETTINGS).unwrap_err().to_string();
    assert!(error.contains("restore it from a backup"), "{error}");
}

#[test]
fn what_is_owed_stays_until_a_later_step_says_otherwise() {
    let fixture = Fixture::new();
    let beyond = |from: i64| Beyond {
        cluster: "c".to_owned(),
        detection: "D".to_owned(),
        from,
        to: from + 10,
        arrived: from + 1_000,
    };
    let commit = |next: u64, owed: Option<&[Beyond]>| {
        fixture.open().commit(&Step { next, owed, ..Step::default() }).unwrap();
        fixture.open().owed().unwrap()
    };
    let (one, two) = (vec![beyond(0)], vec![beyond(0), beyond(20)]);
    assert_eq!(commit(5, Some(&two)), two);
    assert_eq!(commit(5, None), two);
    assert_eq!(commit(4, Some(&one)), two, "what is read again does not know of all");
    assert_eq!(commit(5, Some(&one)), one);
    assert_eq!(commit(6, Some(&[])), []);
}
