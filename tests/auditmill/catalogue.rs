//! The detections listed, explained and judged; overrides and exceptions of an operator's folder.

use std::path::Path;

use auditmill::findings::step::{LedgerEntry, LedgerKind, Step};
use auditmill::findings::store::{Store, StoreSettings};
use serde_json::Value;

use super::detections::GOOD_TEST;
use super::events::{list, read};
use super::program::{Ended, run};
use super::server::TestServer;

/// Of an operator: clean.
const OWN: &str = "/*
id: OWN-1
title: Alice reads
severity: low
key: [user_name]
needs: {level: Metadata, verbs: [get], stages: [ResponseComplete]}
describe: \"{{user_name}} read {{name}}\"
*/
SELECT user_name, name
FROM events
WHERE user_name = 'alice' AND verb = 'get' AND stage = 'ResponseComplete'
";

const OVERRIDES: &str = "K8A-205: {severity: medium, params: {distinct_secrets: 40}}
K8A-401: {enabled: false}
";

const EXCEPTIONS: &str = "- name: backup
  detection: [K8A-203, OWN-1]
  condition: user_name = 'backup' AND user_agent LIKE 'velero/%'
  owner: platform
  reason: it reads everything
  expires: 2199-06-30
- name: old scanner
  detection: \"*\"
  condition: cidr_match(source_ip, '10.9.0.0/16')
  owner: network
  reason: gone since
  expires: 2020-01-01
  clusters: [prod-eu]
";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn in_folder(arguments: &[&str], dir: &Path) -> Ended {
    let dir = dir.to_str().unwrap();
    let mut ended = run(arguments.iter().copied().chain(["--dir", dir]));
    ended.stdout = ended.stdout.replace(dir, "DIR");
    ended.stderr = ended.stderr.replace(dir, "DIR");
    ended
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn shipped_detections_are_listed() {
    let ended = run(["detections", "list", "--format", "json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let listed = lines(&ended.stdout);
    assert!(listed.len() >= 9);
    assert!(listed.is_sorted_by_key(|detection| detection["id"].to_string()));
    let found = listed.iter().find(|detection| detection["id"] == "K8A-205").unwrap();
    let expected = serde_json::json!({
        "id": "K8A-205",
        "severity": "high",
        "window": "10m",
        "title": "One identity reads many secrets",
        "attack": ["T1552.007"],
        "controls": ["SEC-1"],
        "origin": "shipped",
        "changed": [],
        "enabled": true,
        "lacks": null,
        "file": "queries/detections/credentials/many_secrets_read.sql",
    });
    assert_eq!(*found, expected);
    let table = run(["detections", "list"]);
    assert_eq!(table.stdout.lines().count(), listed.len() + 4, "{}", table.stdout);
}

#[test]
fn a_folder_adds_overrides_and_changes() {
    let replaced = OWN.replace("OWN-1", "K8A-101");
    let files = [("own.sql", OWN), ("k.sql", &replaced), ("overrides.yaml", OVERRIDES)];
    let dir = folder(&files);
    let ended = in_folder(&["detections", "list", "--format", "json"], dir.path());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let listed = lines(&ended.stdout);
    let of = |id: &str| listed.iter().find(|detection| detection["id"] == id).unwrap();
    let facts = |id: &str| {
        let found = of(id);
        format!(
            "{} {} {} {} {}",
            found["severity"], found["origin"], found["changed"], found["enabled"], found["file"]
        )
    };
    assert_eq!(facts("OWN-1"), r#""low" "own" [] true "DIR/own.sql""#);
    assert_eq!(facts("K8A-101"), r#""low" "overrides" [] true "DIR/k.sql""#);
    let shipped = "queries/detections";
    let changed = r#""medium" "shipped" ["severity","params"] true"#;
    let expected = format!(r#"{changed} "{shipped}/credentials/many_secrets_read.sql""#);
    assert_eq!(facts("K8A-205"), expected);
    assert!(facts("K8A-401").starts_with(r#""informational" "shipped" ["enabled"] false"#));

    // What is turned off does not run.
    let server = TestServer::start(&format!("[detect]\ndir = {:?}\n", dir.path()));
    let running = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = running.block_on(server.sql("SELECT id, severity, enabled FROM detections"));
    for (id, severity, is_on) in [("K8A-205", "medium", true), ("K8A-401", "informational", false)]
    {
        let row = serde_json::json!({"id": id, "severity": severity, "enabled": is_on});
        assert!(table.as_array().unwrap().contains(&row), "{table}");
    }
}

#[test]
fn one_detection_is_explained() {
    let files = [("own.sql", OWN), ("exceptions.yaml", EXCEPTIONS), ("overrides.yaml", OVERRIDES)];
    let dir = folder(&files);
    let ended = in_folder(&["detections", "explain", "OWN-1"], dir.path());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (told, plan) = ended.stdout.split_once("\n\nplan\n").unwrap();
    assert!(plan.starts_with("Projection: events.user_name, events.name\n  Filter: "), "{plan}");
    insta::assert_snapshot!(told, @r"
    OWN-1  Alice reads
    severity         low
    window           none: each event by itself
    key              user_name
    one finding per  key and 1h
    needs            level Metadata; verbs get; stages ResponseComplete
    says             {{user_name}} read {{name}}
    placeholders     user_name, name
    origin           own
    file             DIR/own.sql
    exceptions       backup (until 2199-07-01 00:00), old scanner (expired 2020-01-02 00:00)
    runs as          per event
    by bits          stage: stage = 'ResponseComplete'
    by bits          user_name: user_name = 'alice'
    by bits          verb: verb = 'get'
    reads            audit_id, event_id, event_time, name, stage, user_name, verb
    fires            at once
    costs            of a server with `--url`, over audit logs with FILE; auditmill_detection_*

    query
    SELECT user_name, name
    FROM events
    WHERE user_name = 'alice' AND verb = 'get' AND stage = 'ResponseComplete'
    ");
    let ended = in_folder(&["detections", "explain", "K8A-205"], dir.path());
    assert!(ended.stdout.contains("distinct_secrets = 40"), "{}", ended.stdout);
    // As it runs, from the number that was changed on.
    let told = |name: &str| {
        let line = ended.stdout.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no `{name}` in {}", ended.stdout)).trim().to_owned()
    };
    assert_eq!(told("runs as"), "incremental windows");
    assert_eq!(told("fires"), "at once: further events of the window take nothing back");
    assert_eq!(told("groups by"), "user_name, source_ip");
    let expected = "count(DISTINCT namespace || '/' || name) >= 40";
    assert_eq!(told("must reach first"), expected);
    let ended = run(["detections", "explain", "K8A-999"]);
    assert_eq!(ended.code, Some(2));
    insta::assert_snapshot!(ended.stderr, @r"
    error: no detection `K8A-999`: `auditmill detections list` shows all
    ");
}

#[test]
fn shipped_detections_are_clean() {
    let ended = run(["detections", "lint"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
    assert!(ended.stderr.ends_with(" detections: 0 errors, 0 warnings\n"), "{}", ended.stderr);
}

#[test]
fn a_folder_is_judged_with_all_that_lies_in_it() {
    let bad = OWN.replace("OWN-1", "K8A-101").replace("'ResponseComplete'", "'Complete'");
    let broken = OWN.replace("OWN-1", "OWN 3");
    let unplanned = OWN.replace("OWN-1", "OWN-4").replace("key: [user_name]\n", "");
    let dir = folder(&[
        ("a.sql", &bad),
        ("b.sql", OWN),
        ("b.yaml", GOOD_TEST),
        ("c.sql", &broken),
        ("d.sql", &unplanned),
        ("d.yaml", GOOD_TEST),
    ]);
    let ended = in_folder(&["detections", "lint"], dir.path());
    assert_eq!(ended.code, Some(1));
    insta::assert_snapshot!(ended.stdout, @r"
    DIR/a.sql: error: no test file [test-missing]
      hint: write `DIR/a.yaml` with a case that fires and one that does not
    DIR/a.sql:11: error: `Complete` is not a stage [unknown-word]
      hint: use one of: RequestReceived, ResponseStarted, ResponseComplete, Panic
    DIR/a.sql:2: warning: `K8A-101` replaces a shipped detection of another title [duplicate-id]
      hint: choose another id, or keep the title of what it replaces
    DIR/a.sql:6: warning: needs: stages name `ResponseComplete`, which is never read [needs]
      hint: remove it, or mend the query
    DIR/c.sql:2: error: id: use letters, digits and `-` only [load]
    DIR/d.sql: error: no `key` [load]
      hint: add `key: [columns]`, for example `key: [user_name]`
    ");
    insta::assert_snapshot!(ended.stderr, @r"
    3 detections: 4 errors, 2 warnings
    ");
    let one = in_folder(&["detections", "lint", "--format", "json", "K8A-101"], dir.path());
    let rules: Vec<Value> =
        lines(&one.stdout).into_iter().map(|line| line["rule"].clone()).collect();
    assert!(rules.contains(&"unknown-word".into()) && rules.contains(&"test-missing".into()));
    let clean = in_folder(&["detections", "lint", "OWN-1"], dir.path());
    assert_eq!((clean.code, clean.stdout.as_str()), (Some(0), ""));
    assert_eq!(in_folder(&["detections", "lint", "OWN-9"], dir.path()).code, Some(2));

    let tested = run(["test", dir.path().to_str().unwrap(), "--detection", "OWN-4"]);
    assert_eq!(tested.code, Some(2), "a file that does not load ends the test");
}

#[test]
fn twins_unknown_columns_and_what_has_expired_are_told() {
    let unknown = OWN.replace("OWN-1", "OWN-2").replace("AND verb =", "AND vreb =");
    let dir = folder(&[
        ("a.sql", OWN),
        ("a.yaml", GOOD_TEST),
        ("b.sql", OWN),
        ("c.sql", &unknown),
        ("c.yaml", GOOD_TEST),
    ]);
    let ended = in_folder(&["detections", "lint"], dir.path());
    assert_eq!(ended.code, Some(1));
    insta::assert_snapshot!(ended.stdout, @r"
    DIR/b.sql:2: error: id `OWN-1` is taken by `DIR/a.sql` [load]
      hint: choose another id
    DIR/c.sql:11: error: column 'vreb' not found [load]
      hint: did you mean `verb`?
    ");
    let dir = folder(&[("a.sql", OWN), ("a.yaml", GOOD_TEST), ("exceptions.yaml", EXCEPTIONS)]);
    let ended = in_folder(&["detections", "lint"], dir.path());
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert!(ended.stdout.contains("`old scanner` has expired"), "{}", ended.stdout);
    assert!(ended.stdout.contains("[expired]"), "{}", ended.stdout);
}

#[test]
fn an_exception_of_what_reads_findings_is_refused() {
    let chain = "/*
id: OWN-5
title: t
severity: low
window: 1h
exempt: [cloud]
describe: \"{{user_name}}\"
over: findings
*/
SELECT cluster, user_name, count(*) AS n FROM findings GROUP BY cluster, user_name
";
    let exempt = EXCEPTIONS.replace("OWN-1", "OWN-5");
    let plain = chain.replace("exempt: [cloud]\n", "");
    for (files, expected) in [
        (
            [("c.sql", plain.as_str()), ("exceptions.yaml", exempt.as_str())],
            "exceptions.yaml:1: `OWN-5` reads",
        ),
        ([("c.sql", chain), ("exceptions.yaml", "")], "c.sql:6: exempt: it reads findings"),
    ] {
        let dir = folder(&files);
        let ended = in_folder(&["detections", "list"], dir.path());
        assert_eq!(ended.code, Some(2), "{}", ended.stdout);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("exempt events from the detections whose"),
            "{}",
            ended.stderr
        );
    }
}

/// A log of two reads of alice's in a folder, one of them told twice.
fn reads_in(dir: &Path) -> String {
    let path = dir.join("reads.log");
    let events: Vec<String> = [read(0), read(0), read(1)].iter().map(Value::to_string).collect();
    std::fs::write(&path, events.join("\n") + "\n").unwrap();
    path.display().to_string()
}

#[test]
fn files_say_what_a_detection_costs() {
    let dir = folder(&[("own.sql", OWN)]);
    let log = reads_in(dir.path());
    let ended = in_folder(&["detections", "explain", "OWN-1", &log], dir.path());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let told = |name: &str| {
        let told = lines.iter().filter_map(|line| line.strip_prefix(name)).map(str::trim);
        told.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(told("events "), ["2 in these files"], "a repeat is one event");
    let passes = told("passes");
    assert_eq!(passes.len(), 3, "{passes:?}");
    assert!(passes.iter().any(|line| line.ends_with("verb = 'get'")), "{passes:?}");
    assert_eq!(told("candidates"), ["2 events, 0 of them exempt"]);
    assert!(told("time")[0].ends_with(" ns a event"), "{:?}", told("time"));
    assert!(told("state")[0].starts_with("1 keys, "), "{:?}", told("state"));
    assert_eq!(told("findings"), ["1"]);
    let ended = in_folder(&["detections", "explain", "OWN-1", "--data", "/nowhere"], dir.path());
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("only a server that runs knows"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_server_says_what_a_detection_costs() {
    let dir = folder(&[("own.sql", OWN)]);
    let settings = format!("[detect]\ndir = \"{}\"\n", dir.path().display());
    let server = TestServer::start(&settings);
    assert_eq!(server.post("east", list(&[read(0), read(1)])).await, 200);
    server.quiesce().await;
    let url = server.url("");
    let counted = "SELECT candidates FROM detections WHERE id = 'OWN-1'";
    super::reload::until("it is counted", async || server.number(counted).await == 2).await;
    let ended = in_folder(&["detections", "explain", "OWN-1", "--url", &url], dir.path());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("2 events since the server started"), "{}", ended.stdout);
    assert!(ended.stdout.contains(" ns a candidate"), "{}", ended.stdout);
    assert!(ended.stdout.contains("1 keys, "), "{}", ended.stdout);
    assert!(!ended.stdout.contains("on the server"), "{}", ended.stdout);
    let other = OWN.replace("user_name, name\n", "user_name, name, verb\n");
    let here = folder(&[("own.sql", &other)]);
    let ended = in_folder(&["detections", "explain", "OWN-1", "--url", &url], here.path());
    assert!(ended.stdout.contains("another text of it"), "{}", ended.stdout);
}

#[test]
fn errors_of_the_lint_fail_the_test() {
    let never = OWN.replace("AND verb = 'get'", "AND verb = 'get' AND verb IS NULL");
    let dir = folder(&[("a.sql", &never), ("a.yaml", GOOD_TEST)]);
    let ended = run(["test", dir.path().to_str().unwrap()]);
    assert_eq!(ended.code, Some(1));
    let told = "FAIL  OWN-1  lint\n      ";
    assert!(ended.stdout.contains(told), "{}", ended.stdout);
    assert!(ended.stdout.contains("can never be true: no value of `verb`"), "{}", ended.stdout);
}

#[test]
fn wrong_overrides_and_exceptions_are_refused_all_at_once() {
    let overrides = "K8A-906: {enabled: false}\nK8A-205: {params: {secrets: 3}}\n";
    let exceptions = EXCEPTIONS.replace("OWN-1", "OWN-2").replace("  owner: network\n", "");
    let dir = folder(&[
        ("own.sql", OWN),
        ("overrides.yaml", overrides),
        ("exceptions.yaml", &exceptions.replace("  owner: platform\n", "")),
    ]);
    let ended = in_folder(&["detections", "list"], dir.path());
    assert_eq!(ended.code, Some(2));
    insta::assert_snapshot!(ended.stderr, @r"
    error: 4 mistakes in detections, overrides or exceptions
    DIR/overrides.yaml:1: no detection `K8A-906`
      hint: did you mean `K8A-106`? `auditmill detections list` shows all
    DIR/overrides.yaml:2: K8A-205: no parameter `secrets`
      hint: it has: distinct_secrets
    DIR/exceptions.yaml:1: no `owner`
      hint: say who answers for it: a person or a team
    DIR/exceptions.yaml:6: no `owner`
      hint: say who answers for it: a person or a team
    ");
    std::fs::write(dir.path().join("overrides.yaml"), "").unwrap();
    std::fs::write(dir.path().join("exceptions.yaml"), EXCEPTIONS.replace("OWN-1", "OWN-2"))
        .unwrap();
    let ended = in_folder(&["detections", "list"], dir.path());
    insta::assert_snapshot!(ended.stderr, @r"
    error: 1 mistake in detections, overrides or exceptions
    DIR/exceptions.yaml:1: no detection `OWN-2`
      hint: did you mean `OWN-1`? `auditmill detections list` shows all
    ");
}

#[test]
fn exceptions_are_listed_with_what_they_hid() {
    let dir = folder(&[("own.sql", OWN), ("exceptions.yaml", EXCEPTIONS)]);
    let alone = in_folder(&["exceptions", "list"], dir.path());
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    insta::assert_snapshot!(alone.stdout, @r"
    ┌─────────────┬─────────┬──────────────────┬──────────┬────────────────┬──────────┬────────┬─────────────────────────────────────────────────────┐
    │ name        ┆ state   ┆ expires (UTC)    ┆ owner    ┆ detections     ┆ clusters ┆ hidden ┆ condition                                           │
    ╞═════════════╪═════════╪══════════════════╪══════════╪════════════════╪══════════╪════════╪═════════════════════════════════════════════════════╡
    │ backup      ┆ active  ┆ 2199-07-01 00:00 ┆ platform ┆ K8A-203, OWN-1 ┆          ┆      ? ┆ user_name = 'backup' AND user_agent LIKE 'velero/%' │
    │ old scanner ┆ expired ┆ 2020-01-02 00:00 ┆ network  ┆ *              ┆ prod-eu  ┆      ? ┆ cidr_match(source_ip, '10.9.0.0/16')                │
    └─────────────┴─────────┴──────────────────┴──────────┴────────────────┴──────────┴────────┴─────────────────────────────────────────────────────┘
    ");
    assert!(alone.stderr.contains("`--url`"), "{}", alone.stderr);

    let settings = format!("[detect]\ndir = {:?}\n", dir.path());
    let mut server = TestServer::start(&settings);
    server.logged("exception has expired", 1);
    let running = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    running.block_on(async {
        assert_eq!(server.post("prod-eu", list::<Value>(&[])).await, 200);
        server.quiesce().await;
    });
    let url = server.url("");
    let asked = in_folder(&["exceptions", "list", "--format", "json", "--url", &url], dir.path());
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
    assert!(lines(&asked.stdout).iter().all(|line| line["hidden"] == 0), "{}", asked.stdout);
    server.stop();

    let data = server.data();
    let entry = |item: &str, at: i64, count: u64| LedgerEntry {
        kind: LedgerKind::Exempted,
        cluster: "prod-eu".to_owned(),
        item: item.to_owned(),
        at,
        count,
    };
    {
        let keep_all = StoreSettings { findings_max: u64::MAX, keep: i64::MAX };
        let store = Store::open(&data.join("findings.db"), keep_all).unwrap();
        let hour = 3_600_000_000;
        let ledger = [entry("backup", hour, 3), entry("backup", 5 * hour, 4), entry("gone", 0, 2)];
        let step = Step { next: store.position().unwrap() + 1, ledger: &ledger, ..Step::default() };
        store.commit(&step).unwrap();
    }
    let data = data.to_str().unwrap();
    let asked = in_folder(&["exceptions", "list", "--data", data], dir.path());
    insta::assert_snapshot!(asked.stdout, @r"
    ┌─────────────┬─────────┬──────────────────┬──────────┬────────────────┬──────────┬────────┬─────────────────────────────────────────────────────┐
    │ name        ┆ state   ┆ expires (UTC)    ┆ owner    ┆ detections     ┆ clusters ┆ hidden ┆ condition                                           │
    ╞═════════════╪═════════╪══════════════════╪══════════╪════════════════╪══════════╪════════╪═════════════════════════════════════════════════════╡
    │ backup      ┆ active  ┆ 2199-07-01 00:00 ┆ platform ┆ K8A-203, OWN-1 ┆          ┆      7 ┆ user_name = 'backup' AND user_agent LIKE 'velero/%' │
    │ old scanner ┆ expired ┆ 2020-01-02 00:00 ┆ network  ┆ *              ┆ prod-eu  ┆      0 ┆ cidr_match(source_ip, '10.9.0.0/16')                │
    │ gone        ┆ removed ┆                  ┆          ┆                ┆          ┆      2 ┆                                                     │
    └─────────────┴─────────┴──────────────────┴──────────┴────────────────┴──────────┴────────┴─────────────────────────────────────────────────────┘
    ");
    let asked = in_folder(&["exceptions", "list", "--format", "json", "--data", data], dir.path());
    let facts = |line: &Value| {
        format!("{} {} {} {}", line["name"], line["state"], line["hidden"], line["latest"])
    };
    let told: Vec<String> = lines(&asked.stdout).iter().map(facts).collect();
    let expected = [
        r#""backup" "active" 7 "1970-01-01T05:00:00Z""#,
        r#""old scanner" "expired" 0 null"#,
        r#""gone" "removed" 2 "1970-01-01T00:00:00Z""#,
    ];
    assert_eq!(told, expected);
    let none = run(["exceptions", "list"]);
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("give `--dir`"), "{}", none.stderr);
}
