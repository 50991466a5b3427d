//! Detections over logs and history: the findings of `scan`, from a time on, and against another
//! version.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use auditmill::clock::now_micros;
use auditmill::event::time::rfc3339;
use serde_json::Value;

use super::events::{exec, list, read, repository, secret};
use super::program::{Ended, LIMIT, run, run_with_input};
use super::server::TestServer;

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A folder of logs, of detections, of a history.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        text(&self.0.path().join(name))
    }

    fn log(&self, name: &str, events: impl IntoIterator<Item = Value>) -> String {
        let lines: Vec<String> = events.into_iter().map(|event| event.to_string()).collect();
        std::fs::write(self.0.path().join(name), lines.join("\n") + "\n").unwrap();
        self.path(name)
    }

    /// A folder of detections with these overrides.
    fn overrides(&self, name: &str, overrides: &str) -> String {
        let dir = self.0.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("overrides.yaml"), overrides).unwrap();
        text(&dir)
    }

    /// Puts logs into a history.
    fn history(&self, logs: &[String]) -> String {
        let data = self.path("data");
        let fixed = ["history", "import", "--cluster", "default", "--data", &data];
        let ended = run(fixed.iter().map(|text| (*text).to_owned()).chain(logs.iter().cloned()));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        data
    }
}

fn backtest(arguments: &[&str]) -> Ended {
    run(["backtest"].iter().chain(arguments))
}

/// The lines of one kind of a backtest that ends well, without what says so.
fn lines(arguments: &[&str], kind: &str) -> Vec<Value> {
    let ended = backtest(&[&["--format", "json"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    of_kind(&ended, kind)
}

fn of_kind(ended: &Ended, kind: &str) -> Vec<Value> {
    let lines = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut lines: Vec<Value> = lines.filter(|line: &Value| line["kind"] == kind).collect();
    for line in &mut lines {
        line.as_object_mut().unwrap().shift_remove("kind");
    }
    lines
}

fn findings(arguments: &[&str]) -> Vec<Value> {
    let mut lines = lines(arguments, "finding");
    for line in &mut lines {
        line.as_object_mut().unwrap().shift_remove("day");
    }
    lines
}

fn scan(files: &[String]) -> Vec<Value> {
    let fixed = ["scan", "--format", "json"].map(str::to_owned);
    let ended = run(fixed.iter().chain(files));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn recordings() -> Vec<String> {
    let mut paths: Vec<PathBuf> = vec![repository("testdata/events/realcluster/audit.jsonl")];
    let folder = std::fs::read_dir(repository("testdata/events/apiserver")).unwrap();
    let logs = folder.map(|entry| entry.unwrap().path());
    paths.extend(logs.filter(|path| path.extension().is_some_and(|of| of == "jsonl")));
    paths.sort();
    paths.iter().map(|path| text(path)).collect()
}

fn ids(findings: &[Value]) -> Vec<&str> {
    findings.iter().map(|finding| finding["detection"].as_str().unwrap()).collect()
}

#[test]
fn files_and_history_give_the_findings_of_a_scan() {
    let files = recordings();
    let expected = scan(&files);
    assert!(expected.len() >= 10, "{}", expected.len());
    let arguments: Vec<&str> = files.iter().map(String::as_str).collect();
    assert_eq!(findings(&arguments), expected);
    let folder = Folder::new();
    let data = folder.history(&files);
    assert_eq!(findings(&["--data", &data]), expected);
    // All that is counted is what is told.
    let days = lines(&["--data", &data], "day");
    let counted: i64 = days.iter().map(|day| day["findings"].as_i64().unwrap()).sum();
    let summary = lines(&["--data", &data], "summary").remove(0);
    assert_eq!(summary["findings"], counted);
    assert_eq!(summary["findings"], expected.len());
    let events = lines(&arguments, "summary").remove(0)["events"].clone();
    assert_eq!(summary["events"], events);
}

#[test]
fn files_far_out_of_order_give_the_same() {
    let folder = Folder::new();
    let (odd, even): (Vec<u32>, Vec<u32>) = (1..=15).partition(|number| number % 2 == 1);
    let hour = 3_600;
    // The last one begins late and goes back, further in than its beginning is looked for: what
    // that belongs to was over for hours.
    let mut long = read(10 * hour + 1);
    long["requestObject"] = serde_json::json!({"data": "x".repeat(9 << 20)});
    let files = [
        folder.log("a.log", odd.into_iter().map(secret)),
        folder.log("b.log", [read(6 * hour), exec(7 * hour)]),
        folder
            .log("c.log", [read(10 * hour), long].into_iter().chain(even.into_iter().map(secret))),
    ];
    let expected = scan(&files);
    assert_eq!(ids(&expected), ["K8A-205", "K8A-401"]);
    let mut given: Vec<&str> = files.iter().map(String::as_str).collect();
    given.reverse();
    let ended = backtest(&[&["--format", "json"], given.as_slice()].concat());
    assert!(ended.stderr.contains("they are read once more"), "{}", ended.stderr);
    assert_eq!(findings(&given), expected);
    assert_eq!(findings(&["--data", &folder.history(&files)]), expected);
    // What can be read once only may miss something, and says so.
    let bytes = std::fs::read(&files[2]).unwrap();
    let ended = run_with_input(["backtest", &files[0], &files[1], "-"], &bytes);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("findings of K8A-205 may miss some"), "{}", ended.stderr);
}

#[test]
fn only_what_reaches_into_the_period_is_told_and_whole() {
    let folder = Folder::new();
    // Before midnight of the second day and after it: a burst across it, and a shell on each side.
    let midnight = 24 * 3_600;
    let burst = (midnight - 10..midnight + 5).map(|second| at(secret(second), second));
    let shells = [midnight - 7_200, midnight + 60].map(|second| at(exec(second), second));
    let log = folder.log("a.log", burst.chain(shells));
    let data = folder.history(std::slice::from_ref(&log));
    for input in [[log.as_str()].as_slice(), &["--data", &data]] {
        assert_eq!(ids(&findings(input)), ["K8A-205", "K8A-401", "K8A-401"]);
        let since = [&["--since", "2026-03-02"], input].concat();
        let told = findings(&since);
        assert_eq!(ids(&told), ["K8A-205", "K8A-401"]);
        assert_eq!(told[0]["count"], 15, "what lies before is part of it");
        assert_eq!(told[0]["first_seen"], "2026-03-01T23:59:50.000000Z");
        assert_eq!(told[1]["key"]["name"], format!("p{}", midnight + 60));
        let days = lines(&since, "day");
        let days: Vec<_> = days.iter().map(|day| day["day"].as_str().unwrap()).collect();
        assert_eq!(days, ["2026-03-02", "2026-03-02"]);
        let until = [&["--until", "2026-03-02T00:00:00Z"], input].concat();
        assert_eq!(ids(&findings(&until)), ["K8A-401"], "ten secrets are no finding");
        let only = [&["--detection", "K8A-205", "--since", "2026-03-02"], input].concat();
        assert_eq!(ids(&findings(&only)), ["K8A-205"]);
        let later = [&["--since", "2026-03-02T00:02:00Z"], input].concat();
        assert_eq!(ids(&findings(&later)), [""; 0]);
    }
}

/// The event at another time, which may be on another day.
fn at(mut event: Value, second: u32) -> Value {
    let (day, second) = (second / 86_400 + 1, second % 86_400);
    let (hours, minutes, seconds) = (second / 3_600, second / 60 % 60, second % 60);
    let time = format!("2026-03-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.000000Z");
    event["requestReceivedTimestamp"] = time.clone().into();
    event["stageTimestamp"] = time.into();
    event
}

#[test]
fn another_version_differs_by_exactly_what_it_finds() {
    let folder = Folder::new();
    let events = (1..=15).map(secret).chain([exec(90)]);
    let log = folder.log("a.log", events);
    let strict = folder.overrides("strict", "K8A-205: {params: {distinct_secrets: 40}}\n");
    let shipped = folder.overrides("shipped", "");
    let data = folder.history(std::slice::from_ref(&log));
    for input in [[log.as_str()].as_slice(), &["--data", &data]] {
        let added = [&["--diff", &strict], input].concat();
        let changes = |arguments: &[&str]| -> Vec<(String, String)> {
            let told = findings(arguments).into_iter();
            let word = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
            told.map(|finding| (word(&finding, "detection"), word(&finding, "change"))).collect()
        };
        let pair = |id: &str, change: &str| (id.to_owned(), change.to_owned());
        assert_eq!(changes(&added), [pair("K8A-205", "added"), pair("K8A-401", "same")]);
        let removed = [&["--dir", &strict, "--diff", &shipped], input].concat();
        assert_eq!(changes(&removed), [pair("K8A-401", "same"), pair("K8A-205", "removed")]);
        let same = [&["--dir", &strict, "--diff", &strict], input].concat();
        assert_eq!(changes(&same), [pair("K8A-401", "same")]);
        // Only what is added fails.
        let code =
            |arguments: &[&str]| backtest(&[&["--fail-on", "high"], arguments].concat()).code;
        assert_eq!([code(input), code(&added), code(&removed)], [Some(1), Some(1), Some(0)]);
    }
    let milder =
        folder.overrides("milder", "K8A-205: {severity: low}\nK8A-401: {enabled: false}\n");
    let ended = backtest(&["--dir", &milder, "--diff", &strict, &log]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (tables, changes) = ended.stdout.split_once("\n+ ").unwrap();
    insta::assert_snapshot!(tables, @"
    ┌────────────┬───────────┬──────────┬──────────┐
    │ day (UTC)  ┆ detection ┆ severity ┆ findings │
    ╞════════════╪═══════════╪══════════╪══════════╡
    │ 2026-03-01 ┆ K8A-205   ┆ low      ┆ 1        │
    └────────────┴───────────┴──────────┴──────────┘
    0 critical, 0 high, 0 medium, 1 low, 0 informational

    ┌───────────┬────────────────────────────────────────────┬──────────┬────────┐
    │ detection ┆ loudest keys                               ┆ findings ┆ events │
    ╞═══════════╪════════════════════════════════════════════╪══════════╪════════╡
    │ K8A-205   ┆ default user_name=alice source_ip=10.0.0.1 ┆ 1        ┆ 15     │
    └───────────┴────────────────────────────────────────────┴──────────┴────────┘
    2026-03-01 00:00:01 K8A-205 low alice read 15 secrets in 1 namespaces from 10.0.0.1

    ┌───────────┬───────┬─────────┬─────────┐
    │ detection ┆ added ┆ removed ┆ changed │
    ╞═══════════╪═══════╪═════════╪═════════╡
    │ K8A-205   ┆ 1     ┆ 0       ┆ 0       │
    │ K8A-401   ┆ 0     ┆ 1       ┆ 0       │
    └───────────┴───────┴─────────┴─────────┘
    ");
    let alice =
        "2026-03-01 00:00:01 K8A-205 low alice read 15 secrets in 1 namespaces from 10.0.0.1";
    let mallory =
        "2026-03-01 00:01:30 K8A-401 informational mallory ran `sh` in pod dev/p90 from 10.0.0.1";
    let expected = format!(
        "{alice} [default user_name=alice source_ip=10.0.0.1]\n\
         - {mallory} [default user_name=mallory namespace=dev name=p90]\n"
    );
    assert_eq!(changes, expected);
    assert_eq!(
        ended.stderr,
        "16 events read, 0 repeated, 0 pieces not readable; 1 findings\n\
         1 added, 1 removed, 0 changed\n"
    );
    // Against the shipped ones: the one is milder, the other is off.
    let ended = backtest(&["--dir", &milder, "--diff", &shipped, "--show", "0", &log]);
    assert!(ended.stderr.ends_with("0 added, 1 removed, 1 changed\n"), "{}", ended.stderr);
    assert!(ended.stdout.contains("\n~ 2026-03-01 00:00:01 K8A-205 low"), "{}", ended.stdout);
    let ended = backtest(&["--diff", &shipped, &log]);
    assert!(ended.stdout.ends_with("both versions find the same\n"), "{}", ended.stdout);
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = Folder::new();
    let log = folder.log("a.log", [read(1)]);
    let check = |arguments: &[&str], why: &str| {
        let ended = backtest(arguments);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    };
    check(&[], "required arguments were not provided");
    check(&["--data", "x", &log], "cannot be used with");
    check(&["--detection", "K8A-999", &log], "no detection `K8A-999`");
    check(&["--since", "soon", &log], "--since: `soon` is no time: write 2026-03-01");
    check(&["--since", "2026-03-02", "--until", "2026-03-01", &log], "is not before --until");
    check(&["/nowhere/a.log"], "read `/nowhere/a.log`");
    check(&["/nowhere/a.log", &log], "read `/nowhere/a.log`");
    check(&["--data", "/nowhere"], "`/nowhere` has no history");
    let server = TestServer::start_over(&folder.0.path().join("data"), "");
    check(&["--data", &folder.path("data")], "a history is read while no server holds it");
    drop(server);
}

const NEW: &str = "/*
id: R-NEW
title: New
severity: low
dedup: 10m
first_seen: {key: [user_name], lookback: 30d, learn: 10m}
describe: \"{{user_name}} is new\"
*/
SELECT user_name FROM events WHERE verb = 'get'
";

const GONE: &str = "/*
id: R-GONE
title: Gone
severity: low
dedup: 10m
absent: {key: [user_name], for: 10m}
describe: \"{{user_name}} is gone\"
*/
SELECT user_name FROM events WHERE verb = 'get'
";

const CHAIN: &str = "/*
id: R-CHAIN
title: Came and went
severity: low
window: 1h
slide: 10m
over: findings
describe: \"{{user_name}} {{n}}\"
*/
SELECT user_name, count(*) AS n FROM findings WHERE detection IN ('R-NEW', 'R-GONE')
GROUP BY user_name HAVING count(*) >= 2
";

#[tokio::test]
async fn what_is_new_missing_and_chained_is_as_it_was_live() {
    let folder = Folder::new();
    let dir = folder.overrides("dir", "");
    let ids = ["R-NEW", "R-GONE", "R-CHAIN"];
    for (id, text) in ids.iter().zip([NEW, GONE, CHAIN]) {
        std::fs::write(Path::new(&dir).join(format!("{id}.sql")), text).unwrap();
    }
    let now = now_micros();
    let ago = |user: &str, seconds: u32| {
        let mut event = read(seconds);
        event["user"]["username"] = user.into();
        let time = rfc3339(now - i64::from(seconds) * 1_000_000);
        event["requestReceivedTimestamp"] = time.clone().into();
        event["stageTimestamp"] = time.into();
        event
    };
    let mut events = vec![ago("old", 7_200), ago("ann", 3_000), ago("ann", 2_990)];
    events.extend((1..=400).rev().step_by(60).map(|part| ago("bob", part * 5)));
    let log = folder.log("a.log", events.clone());
    let data = folder.path("data");
    let mut server =
        TestServer::start_over(Path::new(&data), &format!("[detect]\ndir = \"{dir}\"\n"));
    for part in events.chunks(2) {
        assert_eq!(server.post("default", list(part)).await, 200);
        server.quiesce().await;
    }
    let deadline = Instant::now() + LIMIT;
    let expected = loop {
        let mut told = Vec::new();
        for id in ids {
            told.extend(server.findings(&format!("detection={id}")).await);
        }
        told.retain(|finding| finding["status"] == "open");
        let shown = |id: &str| self::ids(&told).iter().filter(|of| **of == id).count();
        if ids.map(shown).iter().zip([2, 2, 1]).all(|(shown, least)| *shown >= least) {
            break told;
        }
        assert!(Instant::now() < deadline, "not all is found: {told:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(server.stop().success());
    let known = |findings: &[Value]| {
        let known = |finding: &Value| {
            ["id", "detection", "count", "first_seen", "last_seen", "summary"]
                .map(|name| finding[name].to_string())
        };
        let mut known: Vec<_> = findings.iter().map(known).collect();
        known.sort();
        known
    };
    let mut wanted = vec!["--dir", dir.as_str()];
    wanted.extend(ids.iter().flat_map(|id| ["--detection", *id]));
    for input in [["--data", data.as_str()].as_slice(), &[log.as_str()]] {
        let found = findings(&[&wanted, input].concat());
        assert_eq!(known(&found), known(&expected), "{input:?}");
    }
}

#[test]
fn an_event_of_the_future_does_not_make_the_present_missing() {
    let folder = Folder::new();
    let dir = folder.overrides("dir", "");
    std::fs::write(Path::new(&dir).join("R-GONE.sql"), GONE).unwrap();
    let mut ahead = read(3);
    ahead["user"]["username"] = "zoe".into();
    for field in ["requestReceivedTimestamp", "stageTimestamp"] {
        ahead[field] = "2099-01-01T00:00:00.000000Z".into();
    }
    let last = |minutes: u32| read(minutes * 60);
    let present = folder.log("present.log", [read(1), ahead.clone(), last(5)]);
    let past = folder.log("past.log", [read(1), ahead, last(16)]);
    for (log, expected) in [(&present, 0), (&past, 1)] {
        let found = lines(&["--dir", &dir, "--detection", "R-GONE", log], "finding");
        assert_eq!(found.len(), expected, "backtest {log}: {found:?}");
        let ended =
            run(["scan", "--detections", &dir, "--shipped", "R-*", "--format", "json", log]);
        assert_eq!(ended.stdout.lines().count(), expected, "scan {log}: {}", ended.stdout);
    }
}

#[test]
fn a_history_tells_what_was_seen_before_the_period() {
    let folder = Folder::new();
    let dir = folder.overrides("dir", "");
    std::fs::write(Path::new(&dir).join("R-NEW.sql"), NEW).unwrap();
    let of = |user: &str, day: u32| {
        let mut event = read(day);
        event["user"]["username"] = user.into();
        for field in ["requestReceivedTimestamp", "stageTimestamp"] {
            event[field] = format!("2026-03-{day:02}T00:00:00.000000Z").into();
        }
        event
    };
    let log = folder.log("log", [of("eve", 1), of("ann", 3), of("ann", 20), of("bob", 21)]);
    let data = folder.history(std::slice::from_ref(&log));
    let news = |source: &[&str]| -> Vec<String> {
        let fixed = ["--dir", &dir, "--detection", "R-NEW", "--since", "2026-03-19"];
        let arguments: Vec<&str> = fixed.iter().chain(source).copied().collect();
        let found = lines(&arguments, "finding");
        found.iter().map(|of| of["summary"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(news(&["--data", &data]), ["bob is new"]);
    assert_eq!(news(&[&log]), ["bob is new"]);
}
