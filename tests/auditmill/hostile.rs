//! Bodies and queries that mean harm: they get an answer, their neighbours are kept, and the
//! service goes on.

#![expect(clippy::print_stdout, reason = "what a test prints is its report, seen with --nocapture")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use super::events::{exec, list, read};
use super::program::LIMIT;
use super::server::TestServer;

/// A body, how many events of it are good, and the reasons for which pieces of it are set aside.
struct Hostile {
    name: &'static str,
    body: Vec<u8>,
    events: i64,
    quarantined: &'static [(&'static str, i64)],
}

const MALFORMED: &[(&str, i64)] = &[("malformed_json", 1)];
const NO_EVENT: &[(&str, i64)] = &[("not_an_event", 1)];
const WRONG_TYPE: &[(&str, i64)] = &[("wrong_type", 1)];

#[tokio::test]
async fn bodies_of_any_content_are_taken_and_good_neighbours_kept() {
    let server = TestServer::start("");
    let bodies: Vec<Hostile> = [broken(), odd(), enormous()].into_iter().flatten().collect();
    let mut good = 0;
    for Hostile { name, body, events, quarantined } in bodies {
        assert_eq!(server.post(name, body).await, 200, "{name}");
        good += events;
        server.quiesce().await;
        let of = format!("WHERE cluster = '{name}'");
        let kept = server.number(&format!("SELECT count(*) FROM events {of}")).await;
        assert_eq!(kept, events, "{name}");
        let reasons = format!("SELECT reason, count(*) AS n FROM quarantine {of} GROUP BY reason");
        let reasons = server.sql(&reasons).await;
        let found: BTreeMap<&str, i64> = reasons
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["reason"].as_str().unwrap(), row["n"].as_i64().unwrap()))
            .collect();
        assert_eq!(found, quarantined.iter().copied().collect(), "{name}");
        for (reason, pieces) in quarantined {
            let metric = "auditmill_decode_quarantined_total";
            let metric = format!("{metric}{{cluster=\"{name}\",reason=\"{reason}\"}}");
            #[expect(clippy::cast_precision_loss, reason = "a handful")]
            let expected = *pieces as f64;
            assert!(server.metric(&metric).await == expected, "{metric}");
        }
    }
    // Nobody's harm came to the rest.
    assert_eq!(server.number("SELECT count(*) FROM events").await, good);
    assert_eq!(server.post("after", list(&[exec(1)])).await, 200);
    server.quiesce().await;
    assert_eq!(server.findings("cluster=after").await.len(), 1);
}

/// A good event before and after `item`, as the webhook sends them.
fn between(item: &str) -> Vec<u8> {
    list(&[read(1).to_string(), item.to_owned(), read(2).to_string()]).into_bytes()
}

/// A good event with `"old"` in its text replaced.
fn with(old: &str, new: &str) -> String {
    let event = read(3).to_string();
    assert!(event.contains(old), "{old} is not in {event}");
    event.replace(old, new)
}

fn broken() -> Vec<Hostile> {
    let whole = list(&[read(1), read(2), read(3)]);
    let cut = whole.len() - 40;
    let lines = [read(1).to_string(), "{\"auditID\":\"x\",".to_owned(), read(2).to_string()];
    let mut not_utf8 = between(&with("read-3", "read-\u{1}"));
    not_utf8.iter_mut().filter(|byte| **byte == 1).for_each(|byte| *byte = 0xFF);
    let garbage = (0..50_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80);
    let body = |name, body, events, quarantined| Hostile { name, body, events, quarantined };
    vec![
        body("unbalanced", between(&with("\"objectRef\":{", "\"objectRef\":")), 2, MALFORMED),
        body("bad-number", between(&with(":200", ":0200")), 2, MALFORMED),
        body("bad-escape", between(&with("alice", "al\\xice")), 2, MALFORMED),
        body("broken-line", lines.join("\n").into_bytes(), 2, MALFORMED),
        body("cut", whole.as_bytes()[..cut].to_vec(), 2, MALFORMED),
        body("not-utf8", not_utf8, 2, MALFORMED),
        body("garbage", garbage.collect(), 0, MALFORMED),
        body("text", b"<html>502 Bad Gateway</html>".to_vec(), 0, MALFORMED),
        body("nul", vec![0; 4096], 0, MALFORMED),
        body("gzip", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0], 0, MALFORMED),
    ]
}

fn odd() -> Vec<Hostile> {
    let body = |name, body, events, quarantined| Hostile { name, body, events, quarantined };
    let list_of = |items: &str| format!(r#"{{"kind":"EventList","items":{items}}}"#).into_bytes();
    let nulls = read(1).to_string().replace(r#""2026-03-01T00:00:01.000000Z""#, "null");
    let mut no_times = read(2);
    for member in ["stageTimestamp", "requestReceivedTimestamp"] {
        no_times.as_object_mut().unwrap().shift_remove(member);
    }
    let times = format!("[{nulls},{no_times}]");
    vec![
        body("wrong-verb", between(&with(r#""verb":"get""#, r#""verb":5"#)), 2, WRONG_TYPE),
        body("wrong-code", between(&with(":200", ":\"200\"")), 2, WRONG_TYPE),
        body("wrong-user", between(&with(r#""user":{"#, r#""user":5,"x":{"#)), 2, WRONG_TYPE),
        body("wrong-ips", between(&with(r#"["10.0.0.1"]"#, r#""10.0.0.1""#)), 2, WRONG_TYPE),
        body("wrong-time", between(&with("T00:00:03.", "T25:00:03.")), 2, WRONG_TYPE),
        body("null-item", between("null"), 2, NO_EVENT),
        body("number-item", between("17"), 2, NO_EVENT),
        body("no-audit-id", between(r#"{"verb":"get"}"#), 2, NO_EVENT),
        body("empty-audit-id", between(&with("read-3", "")), 2, NO_EVENT),
        body("empty", Vec::new(), 0, &[]),
        body("blank", b" \n\n\t ".to_vec(), 0, &[]),
        body("empty-list", list_of("[]"), 0, &[]),
        body("null-list", list_of("null"), 0, &[]),
        body("no-times", list_of(&times), 2, &[]),
        body("no-json-event", b"\"a text\"".to_vec(), 0, NO_EVENT),
    ]
}

fn enormous() -> Vec<Hostile> {
    let body = |name, body, events, quarantined| Hostile { name, body, events, quarantined };
    let huge = with("alice", &"a".repeat(20 << 20));
    let deep = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        read(3).to_string().replacen('{', &format!(r#"{{"requestObject":{open}{close},"#), 1)
    };
    vec![
        body("huge-text", between(&huge), 3, &[]),
        body("deep", between(&deep(900)), 3, &[]),
        body("very-deep", between(&deep(100_000)), 3, &[]),
        body("open-brackets", "[".repeat(100_000).into_bytes(), 0, MALFORMED),
    ]
}

#[tokio::test]
async fn what_is_set_aside_is_kept_whole() {
    let server = TestServer::start("");
    let bad = with(r#""verb":"get""#, r#""verb":5"#);
    let body = between(&bad);
    let offset = String::from_utf8_lossy(&body).find(&bad).unwrap();
    assert_eq!(server.post("east", body).await, 200);
    server.quiesce().await;
    let row = "SELECT cluster, source, reason, detail, \"offset\", bytes FROM quarantine";
    let detail = "`verb` is not a text";
    let rows = server.sql(row).await;
    let expected = json!([{"cluster": "east", "source": "webhook", "reason": "wrong_type",
        "detail": detail, "offset": offset, "bytes": bad}]);
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn unknown_fields_are_kept_in_other() {
    let server = TestServer::start("");
    let mut event = read(1);
    event["newInV2"] = json!({"a": [1, null, "x"]});
    event["user"]["home"] = json!("/root");
    event["objectRef"]["resourceVersion"] = json!("12");
    assert_eq!(server.post("default", list(&[event])).await, 200);
    server.quiesce().await;
    let rows = server.sql("SELECT other, user_name FROM events").await;
    let other: Value = serde_json::from_str(rows[0]["other"].as_str().unwrap()).unwrap();
    let expected = json!({"newInV2": {"a": [1, null, "x"]}, "user": {"home": "/root"},
        "objectRef": {"resourceVersion": "12"}, "responseStatus": {"metadata": {}}});
    assert_eq!(other, expected);
    assert_eq!(rows[0]["user_name"], "alice");
}

#[tokio::test]
async fn queries_that_would_change_anything_are_refused() {
    let server = TestServer::start("");
    assert_eq!(server.post("default", list(&[read(1), read(2)])).await, 200);
    server.quiesce().await;
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("out.csv").display().to_string();
    for query in [
        "DROP TABLE events".to_owned(),
        "CREATE TABLE mine AS SELECT * FROM events".to_owned(),
        "CREATE VIEW mine AS SELECT * FROM events".to_owned(),
        "CREATE EXTERNAL TABLE mine STORED AS CSV LOCATION '/etc/passwd'".to_owned(),
        "CREATE DATABASE mine".to_owned(),
        format!("COPY events TO '{file}'"),
        format!("COPY (SELECT 1) TO '{file}' STORED AS CSV"),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "RESET datafusion.execution.batch_size".to_owned(),
        "INSERT INTO events SELECT * FROM events".to_owned(),
        "UPDATE events SET verb = 'x'".to_owned(),
        "DELETE FROM events".to_owned(),
        "TRUNCATE TABLE events".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
        "BEGIN".to_owned(),
        "EXPLAIN ANALYZE INSERT INTO events SELECT * FROM events".to_owned(),
        "SELECT 1; DROP TABLE events".to_owned(),
        "SELECT * FROM '/etc/passwd'".to_owned(),
        "SELECT * FROM read_csv('/etc/passwd')".to_owned(),
        "SELEC 1".to_owned(),
        "SELECT no_such_column FROM events".to_owned(),
        String::new(),
    ] {
        let (status, answer) = server.try_sql(&query).await;
        assert_eq!(status, 400, "{query}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|error| !error.is_empty()), "{query}");
    }
    assert!(std::fs::read_dir(out.path()).unwrap().next().is_none(), "nothing was written");
    let kept = "SELECT count(*) FROM events WHERE verb = 'get'";
    assert_eq!(server.number(kept).await, 2);
    let size = "SELECT CAST(value AS BIGINT) FROM information_schema.df_settings \
                WHERE name = 'datafusion.execution.batch_size'";
    assert_eq!(server.number(size).await, 8192);
    for wrong in ["", "{}", "[]", r#"{"query": 5}"#, r#"{"query": "SELECT 1", "x": 1}"#] {
        let request = server.client().post(server.url("/v1/sql")).body(wrong);
        assert_eq!(request.send().await.unwrap().status(), 400, "{wrong}");
    }
}

#[tokio::test]
async fn endless_queries_are_stopped_and_hold_nobody_up() {
    let server = TestServer::start("[query]\ntimeout = \"3s\"\nconcurrent_max = 4");
    let events: Vec<Value> = (0..1_000).map(read).collect();
    assert_eq!(server.post("default", list(&events)).await, 200);
    server.quiesce().await;
    let endless = "SELECT max(a.event_id || b.event_id || c.event_id) \
                   FROM events a, events b, events c";
    let server = std::sync::Arc::new(server);
    let queries: Vec<_> = (0..6)
        .map(|_| {
            let server = std::sync::Arc::clone(&server);
            tokio::spawn(async move { server.try_sql(endless).await })
        })
        .collect();
    deliver_meanwhile(&server).await;
    let over = queries.iter().filter(|query| query.is_finished()).count();
    assert_eq!(over, 0, "deliveries had to wait for queries to end");
    for query in queries {
        let (status, answer) = query.await.unwrap();
        // Two of them had to wait, perhaps as long as a query may run.
        let expected = match status {
            429 => "too many queries at once: ask again later, or raise `[query] queue_max`",
            _ => "stopped after 3s, the limit of `[query] timeout`",
        };
        assert_eq!(answer["error"], expected, "{status}");
    }
    assert_eq!(number_once_there_is_room(&server, "SELECT count(*) FROM events").await, 1_020);
}

/// Deliveries are taken and judged as if nobody asked anything.
async fn deliver_meanwhile(server: &TestServer) {
    for delivery in 0..20 {
        assert_eq!(server.post("meanwhile", list(&[exec(delivery)])).await, 200);
    }
    server.quiesce().await;
    assert_eq!(server.findings("cluster=meanwhile").await.len(), 20);
}

/// Waits for the queries that were stopped to notice it.
async fn number_once_there_is_room(server: &TestServer, query: &str) -> i64 {
    let deadline = Instant::now() + LIMIT;
    while server.try_sql(query).await.0 == 429 {
        assert!(Instant::now() < deadline, "queries that were stopped hold their places");
    }
    server.number(query).await
}

#[tokio::test]
async fn a_query_beyond_its_memory_fails_alone() {
    let server = TestServer::start("[query]\nmemory = \"4MiB\"");
    let events: Vec<Value> = (0..1_000).map(read).collect();
    assert_eq!(server.post("default", list(&events)).await, 200);
    server.quiesce().await;
    let greedy = "SELECT count(*) FROM (SELECT DISTINCT a.event_id, b.event_id AS other \
                  FROM events a, events b)";
    let (status, answer) = server.try_sql(greedy).await;
    assert_eq!(status, 400, "{answer}");
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains("all queries together have 4.0 MiB (`[query] memory`)"), "{error}");
    assert_eq!(server.number("SELECT count(DISTINCT event_id) FROM events").await, 1_000);
    assert_eq!(server.post("default", list(&[read(5_000)])).await, 200);
}

/// Each is refused or bounded, and says what to do; findings come all the while, and memory stays.
#[tokio::test]
async fn hostile_queries_are_refused_or_bounded_and_harm_nobody() {
    let server = TestServer::start("[query]\ntimeout = \"5s\"\nmemory = \"64MiB\"");
    let events: Vec<Value> = (0..1_000).map(read).collect();
    assert_eq!(server.post("default", list(&events)).await, 200);
    server.quiesce().await;
    server.number("SELECT count(*) FROM events WHERE name || 'x' LIKE 'c%'").await;
    let rest = server.memory("VmHWM");
    let queries = [greedy(), refused(), bounded()].concat();
    let asked = queries.len();
    for (number, (name, query, statuses, expected)) in (0..).zip(queries) {
        let (status, answer) = server.try_sql(&query).await;
        assert!(statuses.contains(&status), "{name}: {status} {answer}");
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(error.contains(expected) || [200, 408].contains(&status), "{name}: {error}");
        assert_eq!(server.post("meanwhile", list(&[exec(number)])).await, 200, "{name}");
        server.quiesce().await;
        let found = server.findings("cluster=meanwhile").await.len();
        assert_eq!(found, usize::try_from(number).unwrap() + 1, "{name}");
        assert_eq!(server.get("/healthz").await.0, 200, "{name}");
        let more = server.memory("VmHWM").saturating_sub(rest) >> 20;
        println!("{name}: {status}, {more} MiB more at most so far");
        assert!(more < MEMORY_MIB_MAX, "{name}: {more} MiB more than at rest");
    }
    let count = "SELECT count(*) FROM events WHERE verb = 'get'";
    let kept = 1_000 + i64::try_from(asked).unwrap();
    assert_eq!(number_once_there_is_room(&server, count).await, kept);
}

/// What a server with 64 MiB for queries may take more than at rest: theirs, a batch for each of
/// its threads on its way, and what an allocator keeps.
const MEMORY_MIB_MAX: u64 = 256;

type Case = (&'static str, String, &'static [u16], &'static str);

/// What is told at once.
fn refused() -> Vec<Case> {
    let chain = |link: &str, links: usize| vec![link; links].join(" ");
    let case = |name, query: String, expected| (name, query, &[400_u16][..], expected);
    let nested = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    vec![
        ("10 MB", format!("SELECT '{}'", "x".repeat(10 << 20)), &[413][..], "2097152"),
        ("2 MB", format!("SELECT '{}'", "x".repeat(1_500_000)), &[413][..], "more than the"),
        case("long text", format!("SELECT '{}'", "x".repeat(100_000)), "shorten it"),
        case("nested", nested, "nest it less deeply"),
        case("long chain", format!("SELECT 1 {}", chain("+ 1", 5_000)), "more than the"),
        case("many tables", format!("SELECT 1 FROM events {}", chain(", events", 60)), "tables"),
        case("long repeat", "SELECT repeat('x', 2000000000)".into(), "smaller arguments"),
        case("long list", "SELECT range(0, 1000000000000)".into(), "smaller arguments"),
        case("file", "SELECT * FROM '/etc/passwd'".into(), "not found"),
        case("file function", "SELECT * FROM read_parquet('/x')".into(), "read_parquet"),
        case("url", "SELECT * FROM 'http://127.0.0.1/x.csv'".into(), "not found"),
        case("copy", "COPY events TO '/tmp/x.csv'".into(), "only questions are answered"),
        case(
            "external table",
            "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'".into(),
            "only questions are answered",
        ),
        case("set", "SET datafusion.execution.batch_size = 1".into(), "only questions"),
        case("insert", "INSERT INTO events SELECT * FROM events".into(), "only questions"),
        case(
            "cube",
            format!("SELECT count(*) FROM events GROUP BY CUBE ({})", COLUMNS.join(", ")),
            "more than the 64 of one query",
        ),
    ]
}

/// Twenty columns.
const COLUMNS: [&str; 20] = [
    "cluster",
    "audit_id",
    "stage",
    "level",
    "verb",
    "request_uri",
    "user_name",
    "user_uid",
    "source_ip",
    "user_agent",
    "api_group",
    "api_version",
    "resource",
    "subresource",
    "namespace",
    "name",
    "response_code",
    "decision",
    "pod_name",
    "node_name",
];

/// What makes much of little.
fn greedy() -> Vec<Case> {
    const ANY: &[u16] = &[200, 400, 408];
    let calls: Vec<_> = (0..200).map(|n| format!("repeat(name, {})", 9_000 + n)).collect();
    let calls = calls.join(", ");
    let numbered = |item: &dyn Fn(usize) -> String, items: usize| {
        (0..items).map(|n| format!("{} AS c{n}", item(n))).collect::<Vec<_>>().join(", ")
    };
    let case = |name, query: String, expected| (name, query, ANY, expected);
    let text = "x".repeat(16_000);
    let choice = |n| format!("max(CASE WHEN name > 'c{n}' THEN '{n}{text}' ELSE '{text}{n}' END)");
    let written = numbered(&choice, 30);
    let constants = numbered(&|n| format!("repeat('{n}', 4000)"), 900);
    let repeats = numbered(&|n| format!("repeat(name, {})", 9_000 + n), 900);
    let chains = numbered(&|n| format!("repeat(name, 300) || '{n}' || request_uri"), 90);
    let often = numbered(&|_| "a".into(), 1_900);
    let long = vec!["a"; 250].join(" || ");
    vec![
        case("written constants", format!("SELECT {written} FROM events"), ""),
        case("made constants", format!("SELECT {constants} FROM events"), "`[query] memory`"),
        case(
            "one constant, often",
            format!("SELECT {often} FROM (SELECT '{text}' AS a FROM events)"),
            "that are worked on at once",
        ),
        case("many repeats", format!("SELECT {repeats} FROM events"), "`[query] memory`"),
        case("many chains", format!("SELECT {chains} FROM events"), "`[query] memory`"),
        case(
            "long chain",
            format!("SELECT max({long}) FROM (SELECT repeat(name, 90) AS a FROM events)"),
            "`[query] memory`",
        ),
        case(
            "nested calls",
            format!("SELECT max(length(concat({calls}))) FROM events"),
            "`[query] memory`",
        ),
        case(
            "condition",
            format!("SELECT count(*) FROM events WHERE name IN ({calls})"),
            "`[query] memory`",
        ),
        case("sorted by", format!("SELECT name FROM events ORDER BY {calls}"), "`[query] memory`"),
        case(
            "wide rows, joined",
            "SELECT max(length(x)) FROM (SELECT array_repeat(name, 20000) AS x FROM events \
             LIMIT 1) a, events b"
                .into(),
            "too wide to be joined",
        ),
        case(
            "wide rows, unnested",
            "SELECT max(l[1]) FROM (SELECT array_repeat(name, 20000) AS l, unnest(range(0, 9000)) \
             FROM events LIMIT 20000)"
                .into(),
            "",
        ),
    ]
}

/// What runs into a limit.
fn bounded() -> Vec<Case> {
    const EITHER: &[u16] = &[400, 408];
    let case = |name, query: &str| (name, query.to_owned(), EITHER, "`[query] memory`");
    let doubled: Vec<String> =
        (1..30).map(|n| format!("c{n} AS (SELECT a || a AS a FROM c{})", n - 1)).collect();
    let doubled = format!(
        "WITH c0 AS (SELECT name AS a FROM events), {} SELECT max(length(a)) FROM c29",
        doubled.join(", ")
    );
    let series = "generate_series(1, 1000000000000)";
    vec![
        case("series", &format!("SELECT max(value) FROM {series}")),
        case("sorted series", &format!("SELECT value FROM {series} ORDER BY value DESC")),
        case("distinct series", &format!("SELECT count(DISTINCT value) FROM {series}")),
        case("gathered series", &format!("SELECT array_agg(value) FROM {series}")),
        case("windowed series", &format!("SELECT sum(value) OVER () FROM {series}")),
        case(
            "cross join",
            "SELECT max(a.name || b.name || c.name || d.name) \
             FROM events a, events b, events c, events d",
        ),
        case(
            "endless recursion",
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) \
             SELECT max(n) FROM r",
        ),
        case("doubling", &doubled),
        case(
            "joined series",
            &format!("SELECT count(*) FROM {series} a JOIN {series} b ON a.value < b.value"),
        ),
    ]
}

#[tokio::test]
async fn a_crowd_of_sessions_is_turned_away_and_holds_nobody_up() {
    const SESSIONS: usize = 900;
    let settings = "[query]\ntimeout = \"2s\"\nconcurrent_max = 2\nqueue_max = 10";
    let server = std::sync::Arc::new(TestServer::start(settings));
    let endless = "SELECT max(value) FROM generate_series(1, 1000000000000)";
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let server = std::sync::Arc::clone(&server);
            tokio::spawn(async move { server.try_sql(endless).await })
        })
        .collect();
    deliver_meanwhile(&server).await;
    let mut turned_away = 0;
    for session in sessions {
        let (status, answer) = session.await.unwrap();
        assert!([408, 429].contains(&status), "{status} {answer}");
        turned_away += usize::from(status == 429);
    }
    assert!(turned_away >= SESSIONS / 2, "{turned_away} of {SESSIONS}");
    assert_eq!(number_once_there_is_room(&server, "SELECT 1 AS n").await, 1);
}

/// As `nice -n 10` has it: who takes events in goes first.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn threads_of_queries_give_way_to_all_others() {
    let server = TestServer::start("");
    server.number("SELECT 1 AS n").await;
    let priorities = server.priorities();
    let of = |name: &str| {
        let found = priorities.iter().filter(|(thread, _)| thread == name);
        found.map(|(_, nice)| *nice).collect::<Vec<i64>>()
    };
    assert!(of("query").len() >= 2 && of("query").iter().all(|nice| *nice == 10), "{priorities:?}");
    for name in ["journal", "pipeline", "history"] {
        assert!(of(name).iter().all(|nice| *nice == 0), "{name}: {priorities:?}");
    }
    assert!(!of("journal").is_empty() && !of("history").is_empty(), "{priorities:?}");
}

/// More rows than memory are sorted and grouped on the disk, as much as that may have.
#[tokio::test]
async fn what_has_no_room_in_memory_goes_to_the_disk_within_bounds() {
    const ROWS: usize = 600_000;
    let settings = |spill: &str| {
        format!("[query]\nmemory = \"64MiB\"\nspill = \"{spill}\"\n[journal]\nreserve = \"1MiB\"\n")
    };
    let sorted = format!(
        "SELECT lpad(CAST(value AS VARCHAR), 90, 'x') AS t FROM generate_series(1, {ROWS}) \
         ORDER BY t DESC"
    );
    let grouped = format!(
        "SELECT count(*) FROM (SELECT lpad(CAST(value AS VARCHAR), 90, 'x') AS t \
         FROM generate_series(1, {ROWS}) GROUP BY t)"
    );
    let mut server = TestServer::start(&settings("1GiB"));
    let question = json!({ "query": sorted, "format": "csv" });
    let answer = server.client().post(server.url("/v1/sql")).json(&question).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let answer = answer.text().await.unwrap();
    let lines: Vec<&str> = answer.lines().skip(1).collect();
    assert_eq!(lines.len(), ROWS);
    assert!(lines.is_sorted_by(|a, b| a > b), "not sorted");
    assert_eq!(server.number(&grouped).await, i64::try_from(ROWS).unwrap());
    // Nothing of it stays, and what a crash left is gone after a start.
    let files = |server: &TestServer| {
        let folders = std::fs::read_dir(server.data().join("spill")).unwrap();
        let count = |folder: PathBuf| std::fs::read_dir(folder).unwrap().count();
        folders.map(|folder| count(folder.unwrap().path())).sum::<usize>()
    };
    let deadline = Instant::now() + LIMIT;
    while files(&server) > 0 {
        assert!(Instant::now() < deadline, "files stay");
        tokio::task::yield_now().await;
    }
    let left = server.data().join("spill/left");
    std::fs::write(&left, "x").unwrap();
    server.kill_and_restart();
    assert!(!left.exists());

    for (settings, expected) in [
        (settings("8MiB"), "as much as they may (`[query] spill`)"),
        (settings("0"), "(`[query] memory`)"),
        (settings("1GiB").replace("1MiB", "1EiB"), "down to its reserve (`[journal] reserve`)"),
    ] {
        let server = TestServer::start(&settings);
        for query in [&sorted, &grouped] {
            let (status, answer) = server.try_sql(query).await;
            assert_eq!(status, 400, "{answer}");
            assert!(answer["error"].as_str().unwrap().contains(expected), "{answer}");
        }
        assert_eq!(server.number("SELECT 1 AS n").await, 1);
    }
}
