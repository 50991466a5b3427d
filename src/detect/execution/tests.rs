//! What detections keep of what clients send: counted as it is, bounded, and said of findings only
//! where what was given up can matter.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::super::catalog::Catalog;
use super::super::engine::{Engine, EngineSettings};
use super::super::finding::Finding;
use crate::event::rows::{EventRow, Rows};

const MINUTE: i64 = 60_000_000;
const TEXT: usize = 20_000;

const PER_EVENT: &str = "key: [user_name]
describe: \"{{user_name}}\"
*/
SELECT user_name, request_object FROM events WHERE verb = 'get'";
const FIRST_SEEN: &str = "first_seen: {key: [user_name], lookback: 10m, learn: 1s}
dedup: 5m
describe: \"{{user_name}}\"
*/
SELECT user_name, request_object FROM events WHERE verb = 'get'";
const ABSENT: &str = "absent: {key: [user_name], for: 1m}
dedup: 5m
describe: \"{{user_name}}\"
*/
SELECT user_name, request_object FROM events WHERE verb = 'get'";
const WINDOWED: &str = "window: 10m
describe: \"{{user_name}} {{n}}\"
*/
SELECT cluster, user_name, count(*) AS n, lpad(user_name, 20000, '-') AS text FROM events
WHERE verb = 'get' GROUP BY cluster, user_name";

/// An engine of one detection, and how many events it was given.
struct Kept {
    engine: Engine,
    events: u64,
}

impl Kept {
    fn new(of: &str, state_bytes_max: usize) -> Self {
        let text = format!("/*\nid: T\ntitle: Kept\nseverity: low\n{of}");
        let catalog = Catalog::from_texts([("t.sql".to_owned(), text)]).unwrap();
        let settings = EngineSettings { state_bytes_max, ..EngineSettings::default() };
        Self { engine: Engine::new(&catalog, settings).unwrap(), events: 0 }
    }

    /// An event of each of these users, with bodies of some length.
    fn deliver(
        &mut self,
        time: i64,
        users: impl IntoIterator<Item = String>,
        body: usize,
    ) -> Vec<Finding> {
        let mut rows = Rows::new();
        let mut id = String::new();
        for user in users {
            self.events += 1;
            id.clear();
            write!(id, "{:032x}", self.events).unwrap();
            let object = "b".repeat(body);
            rows.push(&EventRow {
                cluster: "c",
                event_id: &id,
                event_time: time,
                ingest_time: time,
                verb: Some("get"),
                user_name: Some(&user),
                request_object: Some(&object),
                ..EventRow::default()
            });
        }
        let outcome = self.engine.on_batch(&rows.finish(), time);
        assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
        outcome.findings
    }

    fn bytes(&self) -> usize {
        self.engine.costs().map(|(_, cost)| cost.bytes).sum()
    }
}

fn names(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{prefix}-{number}"))
}

#[test]
fn long_texts_are_counted_and_bounded() {
    const MAX: usize = 2 << 20;
    // What windows find is given up with the batch that follows.
    let batch = 10 * TEXT * 3;
    for (of, body) in [(PER_EVENT, TEXT), (FIRST_SEEN, TEXT), (ABSENT, TEXT), (WINDOWED, 0)] {
        let mut kept = Kept::new(of, MAX);
        // Something is learned from.
        kept.deliver(0, names("before", 1), 0);
        kept.deliver(MINUTE, names("few", 20), body);
        let bytes = kept.bytes();
        assert!((20 * TEXT..60 * TEXT).contains(&bytes), "{of}: {bytes} bytes");
        for round in 0..30 {
            kept.deliver(2 * MINUTE + round, names(&format!("many-{round}"), 10), body);
            assert!(kept.bytes() < MAX + batch, "{of}: {} bytes", kept.bytes());
        }
        kept.deliver(3 * MINUTE, names("last", 1), 0);
        assert!(kept.bytes() < MAX, "{of}: {} bytes", kept.bytes());
        assert!(kept.bytes() > MAX / 8, "{of}: not all of it goes, {} bytes", kept.bytes());
    }
}

#[test]
fn who_is_over_goes_before_who_is_watched() {
    const MAX: usize = 1 << 20;
    let mut kept = Kept::new(ABSENT, MAX);
    let long = |name: String| format!("{name}-{}", "u".repeat(1_000));
    for round in 0..20 {
        kept.deliver(round, names(&format!("over-{round}"), 40).map(long), 0);
        assert!(kept.bytes() < MAX, "{} bytes", kept.bytes());
    }
    assert!(!kept.deliver(30 * MINUTE, names("some", 1), 0).is_empty());
    for round in 0..10 {
        kept.deliver(31 * MINUTE + round, names(&format!("watched-{round}"), 8).map(long), 0);
        assert!(kept.bytes() < MAX, "{} bytes", kept.bytes());
    }
    let found = kept.deliver(60 * MINUTE, names("some", 1), 0);
    let watched: BTreeSet<String> = found
        .iter()
        .filter_map(|finding| finding.key.get("user_name").map(ToString::to_string))
        .filter(|name| name.starts_with("watched"))
        .collect();
    assert_eq!(watched.len(), 80);
}

#[test]
fn only_what_may_miss_something_is_incomplete() {
    for of in [FIRST_SEEN, ABSENT] {
        let mut kept = Kept::new(of, 1 << 18);
        kept.deliver(0, names("before", 1), 0);
        let mut found = Vec::new();
        for round in 0..40 {
            found.extend(kept.deliver(MINUTE + round, names(&format!("{round}"), 50), 1_000));
        }
        found.extend(kept.deliver(9 * MINUTE, names("now", 1), 0));
        assert!(found.iter().any(|finding| finding.incomplete), "{of}");
        // Whatever was given up is longer ago than what is asked.
        kept.deliver(40 * MINUTE, names("later", 1), 0);
        let found = kept.deliver(60 * MINUTE, names("last", 1), 0);
        assert!(!found.is_empty(), "{of}");
        let told = |of: &Finding| (of.key.get("user_name").map(ToString::to_string), of.incomplete);
        assert!(found.iter().all(|finding| !finding.incomplete), "{:?}", found.iter().map(told));
    }
}

#[test]
fn what_is_given_up_makes_room_for_more_than_a_batch() {
    const MAX: usize = 4 << 20;
    let mut kept = Kept::new(WINDOWED, MAX);
    kept.deliver(MINUTE, names("found", 600), 0);
    assert!(kept.bytes() > MAX, "{} bytes", kept.bytes());
    kept.deliver(MINUTE, names("one", 1), 0);
    assert!(kept.bytes() < MAX / 16 * 15, "{} bytes", kept.bytes());
    assert!(kept.bytes() > MAX / 2, "{} bytes", kept.bytes());
}
