//! Detections with all that the definition names, written by hand.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::compare::check;
use super::event::{Event, plain_event, rows};
use super::model::Model;
use super::subject::{Draft, Subject};
use super::way::{Way, way};
use super::{HOUR, MINUTE};

/// A detection, as it is written down here.
pub(super) struct Fixed {
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

const SUBJECTS: [Fixed; 6] = [
    Fixed {
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
    Fixed {
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
    Fixed {
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
    Fixed {
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
    Fixed {
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
    Fixed {
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
const SEVERAL_ROWS: [Fixed; 1] = [Fixed {
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

impl Fixed {
    fn subject(&self) -> Subject {
        let Self { id, window, slide, dedup, key, fires_at_once, front, query, .. } = self;
        let describe = "{{user_name}} {{n}} times";
        let window = Some((*window, *slide));
        let draft = Draft { id, window, dedup: *dedup, describe, front, query };
        let numbered = |from: &str| {
            let columns = key.iter().enumerate().map(|(at, c)| format!("{from}{c} AS __key_{at}"));
            columns.collect::<Vec<_>>().join(", ")
        };
        let verbs = self.verbs.iter().map(|verb| format!("'{verb}'")).collect::<Vec<_>>().join(",");
        // All of them show their keys.
        let query = query.replace("$limit", "3");
        Subject {
            id: (*id).to_owned(),
            text: draft.text(),
            window,
            dedup: *dedup,
            describe: describe.to_owned(),
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            query: format!("SELECT *, {} FROM ({query}) AS q", numbered("q.")),
            hits: format!("SELECT event_id, {} FROM events WHERE verb IN ({verbs})", numbered("")),
            fires_at_once: *fires_at_once,
            ..Subject::default()
        }
    }
}

/// The detections above that give a key one row.
pub(super) fn subjects() -> Vec<Subject> {
    SUBJECTS.iter().map(Fixed::subject).collect()
}

pub(super) fn story() -> impl Strategy<Value = (Vec<Event>, Way)> {
    prop::collection::vec(plain_event(), 12..32).prop_flat_map(|events| {
        let way = way(events.len());
        (Just(events), way)
    })
}

/// As many as a minute allows; `PROPTEST_CASES` says more.
pub(super) fn config() -> Config {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { None } else { Some(3) };
    let config = Config { max_shrink_iters: 200, ..Config::default() };
    Config { cases: cases.unwrap_or(config.cases), ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn engine_and_model_say_the_same((events, way) in story()) {
        check(&mut Model::default(), &subjects(), &rows(&events), &way);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn of_several_rows_of_a_key_always_the_same_is_shown((events, way) in story()) {
        let subjects: Vec<Subject> = SEVERAL_ROWS.iter().map(Fixed::subject).collect();
        check(&mut Model::default(), &subjects, &rows(&events), &way);
    }
}

/// The same stories each time, most of which must have something to tell.
#[test]
fn stories_of_a_fixed_seed_find_something() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut model = Model::default();
    let subjects = subjects();
    let stories = 12;
    let mut finds: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..stories {
        let (events, _) = story().new_tree(&mut runner).unwrap().current();
        let said = model.all(&subjects, &rows(&events));
        for subject in &subjects {
            let found = said.values().any(|told| told.detection == subject.id);
            *finds.entry(&subject.id).or_default() += usize::from(found);
        }
    }
    for (id, found) in &finds {
        assert!(found * 10 >= stories * 3, "{id} finds something in {found} of {stories}");
    }
    assert!(finds.values().any(|found| *found < stories), "nothing is ever quiet: {finds:?}");
}
