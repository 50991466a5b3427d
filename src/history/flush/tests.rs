//! A history in a folder: what is written is there once, in order, after a restart too.

use std::collections::BTreeSet;
use std::sync::Mutex;

use datafusion::prelude::SessionContext;

use super::*;
use crate::decode::{Decoder, Delivery};
use crate::event::Rows;
use crate::event::lookback::Lookback;

/// An event of a cluster at a second of 2026-01-01, or of the next days.
fn event(cluster: &str, second: i64, user: &str) -> (String, String) {
    let time = crate::event::time::rfc3339(1_767_225_600_000_000 + second * 1_000_000);
    let text = format!(
        r#"{{"auditID":"{cluster}-{second}-{user}","stage":"ResponseComplete","verb":"get",
            "user":{{"username":"{user}"}},"stageTimestamp":"{time}"}}"#
    )
    .replace('\n', "");
    (cluster.to_owned(), text)
}

fn rows(events: &[(String, String)], arrival: i64) -> RecordBatch {
    let mut rows = Rows::new();
    for (cluster, text) in events {
        let body = text.as_bytes();
        let delivery = Delivery { cluster, source: "webhook", received_at: arrival, body };
        Decoder::new().decode(&delivery, &mut rows, &mut Vec::new());
    }
    rows.finish()
}

fn around(calls: &Arc<Mutex<Vec<String>>>) -> Around {
    let say = |word: &'static str| {
        let calls = Arc::clone(calls);
        move |position: Position| calls.lock().unwrap().push(format!("{word} {position}"))
    };
    let (before, after) = (say("before"), say("after"));
    Around {
        before: Box::new(move |position| {
            before(position);
            Ok(())
        }),
        after: Box::new(move |position| {
            after(position);
            Ok(())
        }),
        urgent: Box::new(|| false),
        wrote: Box::new(|_, _| {}),
        signed: Box::new(|_| {}),
        failed: Box::new(|| {}),
    }
}

fn settings(age: Duration) -> FlushSettings {
    let redactor = Redactor::default();
    let late = 900_000_000;
    let upkeep = UpkeepSettings::default();
    FlushSettings { bytes: 1 << 30, age, late, redactor, upkeep, key: None }
}

fn open(folder: &std::path::Path) -> (History, Arc<Hot>) {
    let hot = Arc::new(Hot::new(1 << 30));
    let location = Location::folder(folder).unwrap();
    (History::open(location, "test", Arc::clone(&hot)).unwrap(), hot)
}

/// The rows of a query, as text.
fn ask(history: &History, sql: &str) -> String {
    let context = SessionContext::new();
    context.register_table("events", Arc::new(history.table())).unwrap();
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(async { context.sql(sql).await?.collect().await });
    arrow::util::pretty::pretty_format_batches(&rows.unwrap()).unwrap().to_string()
}

const BY_USER: &str = "SELECT cluster, user_name, count(*) AS n, min(event_time) AS first \
     FROM events GROUP BY cluster, user_name ORDER BY cluster, user_name";

#[test]
fn rows_move_to_files_and_a_question_sees_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let (history, hot) = open(&folder.path().join("history"));
    let day = 86_400;
    let events = [
        event("a", 5, "ann"),
        event("a", 1, "ann"),
        event("b", 3, "bob"),
        event("a", day + 1, "ann"),
    ];
    hot.push(rows(&events, 10));
    hot.complete(4);
    let before = ask(&history, BY_USER);
    assert!(before.contains("| a       | ann       | 3 | 2026-01-01T00:00:01Z |"), "{before}");
    let calls = Arc::default();
    hot.close();
    history.run(&settings(Duration::ZERO), around(&calls)).unwrap();
    assert_eq!(*calls.lock().unwrap(), ["before 4", "after 4"]);
    assert_eq!(hot.size(), (0, 0));

    let (history, hot) = open(&folder.path().join("history"));
    assert_eq!(history.position(), 4);
    assert_eq!(hot.kept().files.len(), 3, "a file for each cluster and day");
    assert_eq!(ask(&history, BY_USER), before);
    hot.push(rows(&[event("a", 7, "ann")], 20));
    let both = ask(&history, BY_USER);
    assert!(both.contains("| a       | ann       | 4 |"), "{both}");
    let one = ask(&history, "SELECT user_name FROM events WHERE audit_id = 'a-5-ann'");
    assert!(one.contains("| ann       |"), "{one}");
}

#[test]
fn time_and_cluster_choose_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let (history, hot) = open(folder.path());
    hot.push(rows(&[event("a", 5, "ann"), event("b", 3, "bob"), event("a", 90_000, "cat")], 1));
    hot.complete(1);
    hot.close();
    let table = history.table();
    history.run(&settings(Duration::ZERO), around(&Arc::default())).unwrap();
    let context = SessionContext::new();
    context.register_table("events", Arc::new(table)).unwrap();
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let files = |filter: &str| {
        let sql = format!("EXPLAIN SELECT count(user_name) FROM events WHERE {filter}");
        let plan = runtime.block_on(async { context.sql(&sql).await?.collect().await });
        let plan = arrow::util::pretty::pretty_format_batches(&plan.unwrap()).unwrap();
        plan.to_string().matches(".parquet").count()
    };
    assert_eq!(files("verb = 'get'"), 3);
    assert_eq!(files("cluster = 'a'"), 2);
    assert_eq!(files("event_time >= '2026-01-02T00:00:00Z'"), 1);
    assert_eq!(files("event_time < '2026-01-02T00:00:00Z' AND cluster IN ('b', 'c')"), 1);
    assert_eq!(files("event_time > '2027-01-02T00:00:00Z'"), 0);
}

#[test]
fn the_past_comes_in_the_order_of_arrival() {
    let folder = tempfile::tempdir().unwrap();
    let (history, hot) = open(folder.path());
    // Long after they happened.
    let at = |micros: i64| 1_800_000_000_000_000 + micros;
    for nth in 1..=3 {
        hot.push(rows(&[event("a", 100 - nth, "ann"), event("b", nth, "bob")], at(nth)));
    }
    hot.complete(1);
    hot.close();
    history.run(&settings(Duration::ZERO), around(&Arc::default())).unwrap();
    let (history, _) = open(folder.path());
    let past = history.past();
    assert_eq!(past.last_arrival(), Some(at(999)), "the log has milliseconds");
    let mut arrivals = Vec::new();
    let take = |rows: &RecordBatch, last| {
        // As detections do.
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { arrivals.push((rows.num_rows(), last)) });
    };
    let latest = past.latest();
    assert_eq!(latest.keys().copied().collect::<Vec<_>>(), ["a", "b"]);
    let second = |micros: i64| micros.div_euclid(1_000_000) % 60;
    assert_eq!(
        latest.values().map(|of| (second(of.0), of.1)).collect::<Vec<_>>(),
        [(39, at(999)), (3, at(999))]
    );
    let further = [("b".to_owned(), 1_767_225_601_000_000)].into();
    let lookback = Lookback { since: at(2), further };
    let replayed = past.replay(&lookback, &BTreeSet::new(), take).unwrap();
    assert_eq!((replayed, arrivals), (5, vec![(2, at(3)), (3, at(3))]));
}

/// Eight files of one cluster and day.
fn write_small_files(folder: &std::path::Path) {
    let mut position = 0;
    for second in 0..8 {
        let (history, hot) = open(folder);
        position += 1;
        hot.push(rows(&[event("a", 100 - second, "ann"), event("a", second, "bob")], second));
        hot.complete(position);
        hot.close();
        history.run(&settings(Duration::ZERO), around(&Arc::default())).unwrap();
    }
}

#[test]
fn files_that_two_join_at_once_are_joined_once() {
    let folder = tempfile::tempdir().unwrap();
    write_small_files(folder.path());
    let (mut one, _) = open(folder.path());
    let (mut other, hot) = open(folder.path());
    let before = ask(&one, BY_USER);
    let mut upkeeps = [(); 2].map(|()| Upkeep::new(UpkeepSettings::default()));
    for upkeep in &mut upkeeps {
        one.look_after(upkeep, &settings(Duration::ZERO)).unwrap();
    }
    one.look_after(&mut upkeeps[0], &settings(Duration::ZERO)).unwrap();
    other.look_after(&mut upkeeps[1], &settings(Duration::ZERO)).unwrap_err();
    other.refresh().unwrap();
    assert_eq!(hot.kept().files.len(), 1);
    for history in [one, other] {
        assert_eq!(ask(&history, BY_USER), before);
    }
}

#[test]
fn small_files_are_joined_and_nothing_else_changes() {
    let folder = tempfile::tempdir().unwrap();
    write_small_files(folder.path());
    let (mut history, hot) = open(folder.path());
    let before = ask(&history, BY_USER);
    assert_eq!(hot.kept().files.len(), 8);
    let mut upkeep = Upkeep::new(UpkeepSettings::default());
    history.look_after(&mut upkeep, &settings(Duration::ZERO)).unwrap();
    history.look_after(&mut upkeep, &settings(Duration::ZERO)).unwrap();
    assert_eq!(hot.kept().files.len(), 1);
    assert_eq!(ask(&history, BY_USER), before);
    let ordered = ask(&history, "SELECT event_time FROM events");
    let mut sorted: Vec<&str> = ordered.lines().collect();
    sorted.sort_unstable();
    let (ordered, history) = (ordered.clone(), open(folder.path()).0);
    let times = |lines: Vec<&str>| -> Vec<String> {
        let is_time = |line: &&str| line.contains("2026");
        lines.into_iter().filter(is_time).map(str::to_owned).collect()
    };
    assert_eq!(times(ordered.lines().collect()), times(sorted));
    assert_eq!(ask(&history, BY_USER), before);
    assert_eq!(history.position(), 8, "the position stays where it was");
}

#[test]
fn what_comes_again_long_after_its_time_is_not_kept_twice() {
    let folder = tempfile::tempdir().unwrap();
    let noon = 1_767_225_600_000_000 + 43_200_000_000;
    for (position, arrival) in [(1, noon), (2, noon + 7_200_000_000)] {
        let (history, hot) = open(folder.path());
        hot.push(rows(&[event("a", 5, "ann"), event("b", 5, "ann")], arrival));
        hot.push(rows(&[event("a", 43_200, "new"), event("a", 6 + position, "ann")], arrival));
        hot.complete(u64::try_from(position).unwrap());
        hot.close();
        history.run(&settings(Duration::ZERO), around(&Arc::default())).unwrap();
    }
    let (history, _) = open(folder.path());
    let all = ask(&history, "SELECT count(*), count(DISTINCT event_id) FROM events");
    assert!(all.contains("| 5        | 5                               |"), "{all}");
}
