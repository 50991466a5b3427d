//! Detections change while the program runs: added, changed, removed, exempt, broken; and what a
//! restart or an event that is very late makes of their findings.

use std::path::Path;
use std::time::{Duration, Instant};

use auditmill::clock::now_micros;
use auditmill::event::time::rfc3339;
use serde_json::{Value, json};

use super::events::{list, read, time};
use super::program::LIMIT;
use super::server::TestServer;

/// One finding of each user.
const EACH: &str = "/*
id: R-EACH
title: Reads
severity: low
key: [user_name]
describe: \"{{user_name}} read {{name}}\"
*/
SELECT user_name, name FROM events WHERE verb = 'get'
";

/// Of a user's reads within an hour.
const MANY: &str = "/*
id: R-MANY
title: Many reads
severity: low
window: 1h
slide: 10m
params: {least: 10}
describe: \"{{user_name}} read {{n}}\"
*/
SELECT user_name, count(*) AS n FROM events WHERE verb = 'get'
GROUP BY user_name HAVING count(*) >= $least
";

/// A server whose detections lie in a folder.
struct Reloading {
    server: TestServer,
    dir: tempfile::TempDir,
}

impl Reloading {
    fn start(files: &[(&str, &str)]) -> Self {
        Self::start_with(files, "")
    }

    /// `detect` is more of that section.
    fn start_with(files: &[(&str, &str)], detect: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let server = TestServer::start(&settings(dir.path(), detect));
        Self { server, dir }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    async fn reloads(&self, outcome: &str) -> f64 {
        let name = format!("auditmill_detections_reloads_total{{outcome=\"{outcome}\"}}");
        self.server.metric(&name).await
    }

    /// Asks it to read the files, and waits for what comes of it.
    async fn reload(&self, outcome: &str) {
        let before = self.reloads(outcome).await;
        self.server.signal("HUP");
        until("the files are read", async || self.reloads(outcome).await > before).await;
    }

    async fn deliver(&self, events: &[Value]) {
        deliver(&self.server, events).await;
    }

    /// Whether each finding of a detection, and there are some, has so many events: windows that
    /// overlap may lie in two buckets.
    async fn finds(&self, detection: &str, events: u64) -> bool {
        let counts = self.counts(detection).await;
        !counts.is_empty() && counts.iter().all(|count| *count == events)
    }

    /// How many events the findings of a detection have.
    async fn counts(&self, detection: &str) -> Vec<u64> {
        let findings = self.server.findings(&format!("detection={detection}")).await;
        findings.iter().map(|finding| finding["count"].as_u64().unwrap()).collect()
    }
}

fn settings(dir: &Path, detect: &str) -> String {
    format!("[detect]\ndir = \"{}\"\n{detect}", dir.display())
}

async fn deliver(server: &TestServer, events: &[Value]) {
    assert_eq!(server.post("east", list(events)).await, 200);
    server.quiesce().await;
}

pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn reads(numbers: std::ops::Range<u32>) -> Vec<Value> {
    numbers.map(read).collect()
}

/// A user's read.
fn read_by(user: &str, number: u32) -> Value {
    let mut event = read(number);
    event["user"]["username"] = json!(user);
    event
}

/// What R-EACH finds.
const CHAIN: &str = "/*
id: R-CHAIN
title: Chain
severity: low
window: 1h
over: findings
describe: \"{{user_name}} {{n}}\"
*/
SELECT user_name, count(*) AS n FROM findings WHERE detection = 'R-EACH' GROUP BY user_name
";

#[tokio::test]
async fn who_reads_findings_reads_what_a_new_file_finds_of_the_past() {
    let at = Reloading::start(&[("chain.sql", CHAIN)]);
    at.deliver(&reads(0..3)).await;
    at.write("each.sql", EACH);
    at.reload("taken").await;
    until("what came before is found", async || at.counts("R-EACH").await == [3]).await;
    until("and read", async || at.finds("R-CHAIN", 1).await).await;
}

#[tokio::test]
async fn a_file_that_is_added_changed_and_removed_finds_otherwise() {
    let at = Reloading::start(&[]);
    at.deliver(&reads(0..3)).await;
    at.write("each.sql", EACH);
    at.reload("taken").await;
    until("what came before is found", async || at.counts("R-EACH").await == [3]).await;
    at.deliver(&reads(3..4)).await;
    assert_eq!(at.counts("R-EACH").await, [4], "the past and what is new are one finding");

    at.write("many.sql", MANY);
    at.reload("taken").await;
    let class = "SELECT class, source, enabled FROM detections WHERE id = 'R-MANY'";
    let row = json!([{"class": "incremental windows", "source": "own", "enabled": true}]);
    until("it is shown", async || at.server.sql(class).await == row).await;
    assert!(at.counts("R-MANY").await.is_empty());
    // Nobody says so: it is seen.
    let before = at.reloads("taken").await;
    at.write("many.sql", &MANY.replace("least: 10", "least: 2"));
    until("the change is seen", async || at.reloads("taken").await > before).await;
    until("the threshold is lower", async || at.finds("R-MANY", 4).await).await;

    std::fs::remove_file(at.dir.path().join("each.sql")).unwrap();
    at.reload("taken").await;
    at.deliver(&reads(4..5)).await;
    assert_eq!(at.counts("R-EACH").await, [4], "what was found stays, nothing is added");
    assert!(at.finds("R-MANY", 5).await);
    let left = "SELECT count(*) FROM detections WHERE id = 'R-EACH'";
    assert_eq!(at.server.number(left).await, 0);
    assert_eq!(at.server.metric("auditmill_detection_rows{detection=\"R-EACH\"}").await, 0.0);
}

#[tokio::test]
async fn a_bad_file_is_told_of_and_what_ran_goes_on() {
    let at = Reloading::start(&[("each.sql", EACH), ("many.sql", MANY)]);
    at.deliver(&reads(0..1)).await;
    at.write("each.sql", &EACH.replace("user_name, name FROM", "user_name, nmae AS name FROM"));
    at.write("new.sql", "SELECT 1");
    at.reload("rejected").await;
    assert_eq!(at.server.metric("auditmill_detections_rejected").await, 2.0);
    at.server.logged("no front matter", 1);
    let wrong = "SELECT id, path, error FROM detections WHERE error IS NOT NULL ORDER BY path";
    let rows = at.server.sql(wrong).await;
    assert_eq!((rows.as_array().unwrap().len(), &rows[1]["id"]), (2, &Value::Null), "{rows}");
    assert!(rows[1]["path"].as_str().unwrap().ends_with("new.sql"), "{rows}");
    std::fs::remove_file(at.dir.path().join("new.sql")).unwrap();
    at.reload("rejected").await;
    at.server.logged("did you mean `name`?", 2);
    let rows = at.server.sql(wrong).await;
    assert_eq!(rows[0]["id"], "R-EACH", "{rows}");
    let error = rows[0]["error"].as_str().unwrap();
    assert!(error.contains("each.sql:8: column 'nmae' not found"), "{error}");
    at.deliver(&reads(1..2)).await;
    assert_eq!(at.counts("R-EACH").await, [2], "the old version goes on");

    // What changes beside it is taken.
    at.write("many.sql", &MANY.replace("{least: 10}", "{least: 3}"));
    at.reload("taken").await;
    assert_eq!(at.server.metric("auditmill_detections_rejected").await, 1.0);
    at.deliver(&reads(2..3)).await;
    until("the new version finds", async || at.finds("R-MANY", 3).await).await;
    assert_eq!(at.counts("R-EACH").await, [3], "the old version goes on");
    assert_eq!(at.server.sql(wrong).await[0]["id"], "R-EACH");

    at.write("each.sql", EACH);
    at.reload("taken").await;
    assert_eq!(at.server.metric("auditmill_detections_rejected").await, 0.0);
    assert_eq!(at.server.sql(wrong).await, json!([]));
}

#[tokio::test]
async fn a_window_that_is_half_full_stays_so_while_others_change() {
    let at = Reloading::start(&[("many.sql", MANY)]);
    at.deliver(&reads(0..5)).await;
    at.write("each.sql", EACH);
    at.reload("taken").await;
    at.deliver(&reads(5..9)).await;
    assert!(at.counts("R-MANY").await.is_empty());
    at.deliver(&reads(9..10)).await;
    assert!(at.finds("R-MANY", 10).await);
    let kept = "auditmill_detection_rows{detection=\"R-MANY\"}";
    until("its work is told", async || at.server.metric(kept).await == 10.0).await;
}

#[tokio::test]
async fn what_becomes_exempt_is_counted_and_not_found() {
    let at = Reloading::start(&[("each.sql", EACH)]);
    at.write(
        "exceptions.yaml",
        "- {name: alices, detection: R-EACH, condition: user_name = 'alice', owner: o,
            reason: r, expires: 2199-01-01}",
    );
    at.reload("taken").await;
    at.deliver(&[read(0), read(1), read_by("bob", 2)]).await;
    let findings = at.server.findings("detection=R-EACH").await;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0]["key"], json!({"user_name": "bob"}));
    let hidden = "SELECT sum(count) FROM ledger WHERE kind = 'exempted' AND item = 'alices'";
    assert_eq!(at.server.number(hidden).await, 2);
    let from = "SELECT sum(count) FROM ledger WHERE item = 'R-EACH alices'
        AND kind = 'exempted_from'";
    assert_eq!(at.server.number(from).await, 2);
    assert_eq!(
        at.server.metric("auditmill_detect_exempted_events_total{exception=\"alices\"}").await,
        2.0
    );
    let listed = super::program::run(
        ["exceptions", "list", "--format", "json", "--url"]
            .map(str::to_owned)
            .into_iter()
            .chain([at.server.url("")]),
    );
    let listed: Value = serde_json::from_str(listed.stdout.trim()).unwrap();
    let shown = ["name", "state", "hidden", "detections"].map(|name| listed[name].clone());
    assert_eq!(shown, [json!("alices"), json!("active"), json!(2), json!(["R-EACH"])]);
    let counted = "SELECT exceptions FROM detections WHERE id = 'R-EACH'";
    assert_eq!(at.server.number(counted).await, 1);
    // It is gone, what it hid is known.
    std::fs::remove_file(at.dir.path().join("exceptions.yaml")).unwrap();
    at.reload("taken").await;
    let gone = "SELECT name, state, owner, hidden FROM exceptions WHERE list IS NULL";
    let row = json!([{"name": "alices", "state": "removed", "owner": null, "hidden": 2}]);
    until("it is gone", async || at.server.sql(gone).await == row).await;
    until("what it hid is found", async || at.counts("R-EACH").await.len() == 2).await;
}

/// Everything is over after seconds.
const QUICK: &str = "hold = \"1s\"\nlateness = \"1s\"\nskew = \"1s\"\nidle_after = \"1s\"\n";

#[tokio::test]
async fn what_was_seen_before_a_restart_is_not_new_after_it() {
    let new = "/*
id: R-NEW
title: New
severity: low
dedup: 1s
first_seen: {key: [user_name], lookback: 30d, learn: 1m}
describe: \"{{user_name}} is new\"
*/
SELECT user_name FROM events WHERE verb = 'get'
";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("new.sql"), new).unwrap();
    let data = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), &QUICK.replace("hold = \"1s\"", "hold = \"10s\""));
    let ago = |user: &str, seconds: i64| {
        let mut event = read_by(user, 0);
        event["stageTimestamp"] = json!(rfc3339(now_micros() - seconds * 1_000_000));
        event
    };
    let names = async |server: &TestServer| -> Vec<String> {
        let findings = server.findings("detection=R-NEW").await;
        let name = |of: &Value| of["key"]["user_name"].as_str().unwrap().to_owned();
        let mut names: Vec<String> = findings.iter().map(name).collect();
        names.sort();
        names
    };
    let mut server = TestServer::start_over(data.path(), &settings);
    // Within the time to learn.
    deliver(&server, &[ago("ann", 90), ago("bob", 80)]).await;
    assert!(names(&server).await.is_empty());
    let learned = "auditmill_detection_learned_ratio{detection=\"R-NEW\",cluster=\"east\"}";
    until("it has learned", async || server.metric(learned).await == 1.0).await;
    let shown = "SELECT learned FROM detections WHERE id = 'R-NEW'";
    assert_eq!(server.sql(shown).await, json!([{"learned": "{\"east\":1.0}"}]));
    // Further back in arrival than what a start reads again.
    let old = "SELECT count(*) FROM events WHERE ingest_time < now() - INTERVAL '17 seconds'";
    until("that is long ago", async || server.number(old).await == 2).await;
    deliver(&server, &[ago("cid", 0)]).await;
    assert_eq!(names(&server).await, ["cid"]);
    assert!(server.stop().success());
    let server = TestServer::start_over(data.path(), &settings);
    deliver(&server, &["ann", "bob", "cid", "dan"].map(|user| ago(user, 0))).await;
    assert_eq!(names(&server).await, ["cid", "dan"]);
    until("it knows what it has learned", async || server.metric(learned).await == 1.0).await;
}

#[tokio::test]
async fn later_than_anything_is_held_is_found_all_the_same() {
    let few = MANY.replace("R-MANY", "R-FEW").replace(">= $least", "<= $least");
    let few = few.replace("least: 10", "least: 2");
    let many = MANY.replace("least: 10", "least: 3");
    let files = [("each.sql", EACH), ("many.sql", many.as_str()), ("few.sql", few.as_str())];
    let at = Reloading::start_with(&files, QUICK);
    at.deliver(&reads(0..2)).await;
    until("two are few", async || !at.counts("R-FEW").await.is_empty()).await;
    for id in ["R-EACH", "R-MANY", "R-FEW"] {
        let keys = format!("auditmill_detection_keys{{detection=\"{id}\"}}");
        let rows = format!("auditmill_detection_rows{{detection=\"{id}\"}}");
        until("it is forgotten", async || {
            at.server.metric(&rows).await == 2.0 && at.server.metric(&keys).await == 0.0
        })
        .await;
    }
    let mut late = read(2);
    late["stageTimestamp"] = json!(time(1));
    at.deliver(&[late]).await;
    until("each is found", async || at.counts("R-EACH").await == [3]).await;
    until("three are many", async || at.finds("R-MANY", 3).await).await;
    until("three are not few", async || {
        let few = at.server.findings("detection=R-FEW").await;
        few.iter().all(|finding| finding["status"] == "withdrawn")
    })
    .await;
    for id in ["R-EACH", "R-MANY", "R-FEW"] {
        let asked = format!("SELECT count FROM ledger WHERE kind = 'beyond' AND item = '{id}'");
        assert!(at.server.number(&asked).await >= 1);
    }
}

/// Takes the files of a history away, or brings them back.
fn move_files(data: &Path, (from, to): (&str, &str)) {
    let mut folders = vec![data.join("history")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(name) = path.to_str().unwrap().strip_suffix(from) {
                std::fs::rename(&path, format!("{name}{to}")).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn what_history_could_not_be_asked_is_asked_after_kill_9() {
    let few = MANY.replace("R-MANY", "R-FEW").replace(">= $least", "<= $least");
    let few = few.replace("least: 10", "least: 2");
    let files = [("each.sql", EACH), ("few.sql", few.as_str())];
    let settings = format!("{QUICK}[history]\nflush_after = \"50ms\"\n");
    let mut at = Reloading::start_with(&files, &settings);
    at.deliver(&reads(0..2)).await;
    let is_open = |finding: &Value| finding["status"] == "open";
    until("two are few", async || !at.counts("R-FEW").await.is_empty()).await;
    for id in ["R-EACH", "R-FEW"] {
        let keys = format!("auditmill_detection_keys{{detection=\"{id}\"}}");
        let rows = format!("auditmill_detection_rows{{detection=\"{id}\"}}");
        until("it is forgotten", async || {
            at.server.metric(&rows).await == 2.0 && at.server.metric(&keys).await == 0.0
        })
        .await;
    }
    let written = "auditmill_history_rows_total";
    until("they are in files", async || at.server.metric(written).await == 2.0).await;
    move_files(&at.server.data(), (".parquet", ".away"));
    let mut late = read(2);
    late["stageTimestamp"] = json!(time(30));
    at.deliver(&[late]).await;
    at.server.logged("history not asked about late events", 1);
    until("it is in a file", async || at.server.metric(written).await == 3.0).await;
    at.server.signal("KILL");
    until("it has ended", async || at.server.has_ended()).await;
    move_files(&at.server.data(), (".away", ".parquet"));
    at.server.kill_and_restart();
    until("each is found", async || at.counts("R-EACH").await == [3]).await;
    until("three are not few", async || {
        !at.server.findings("detection=R-FEW").await.iter().any(is_open)
    })
    .await;
}

#[tokio::test]
async fn what_was_new_is_not_when_it_shows_later_that_it_was_there_before() {
    let new = "/*
id: R-NEW
title: New
severity: low
dedup: 1s
first_seen: {key: [user_name], lookback: 30d, learn: 1m}
describe: \"{{user_name}} is new\"
*/
SELECT user_name FROM events WHERE verb = 'get'
";
    let gone = "/*
id: R-GONE
title: Gone
severity: low
dedup: 1s
absent: {key: [user_name], for: 20s}
describe: \"{{user_name}} is gone\"
*/
SELECT user_name FROM events WHERE verb = 'get' AND user_name = 'bob'
";
    let at = Reloading::start_with(&[("new.sql", new), ("gone.sql", gone)], QUICK);
    let now = now_micros();
    let ago = |user: &str, seconds: i64| {
        let mut event = read_by(user, 0);
        event["stageTimestamp"] = json!(rfc3339(now - seconds * 1_000_000));
        event
    };
    let firsts = async |detection: &str| -> Vec<String> {
        let findings = at.server.findings(&format!("detection={detection}")).await;
        let open = findings.iter().filter(|finding| finding["status"] == "open");
        let first = |finding: &Value| finding["first_seen"].as_str().unwrap().to_owned();
        open.map(first).collect()
    };
    let time = |seconds: i64| rfc3339(now - seconds * 1_000_000);
    at.deliver(&[ago("old", 900), ago("bob", 800), ago("ann", 100)]).await;
    until("ann is new", async || firsts("R-NEW").await.contains(&time(100))).await;
    until("bob is gone", async || firsts("R-GONE").await == [time(800)]).await;
    let over = "SELECT count(*) FROM events WHERE ingest_time < now() - INTERVAL '8 seconds'";
    until("that is forgotten", async || at.server.number(over).await == 3).await;
    at.deliver(&[ago("ann", 300), ago("bob", 790)]).await;
    until("ann was new before", async || {
        let firsts = firsts("R-NEW").await;
        firsts.contains(&time(300)) && !firsts.contains(&time(100))
    })
    .await;
    until("bob went later", async || firsts("R-GONE").await == [time(790)]).await;
}
