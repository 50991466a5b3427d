//! The detections that are shipped, and folders of an operator's own.

use std::path::Path;

use super::events::{exec, list, read};
use super::program::run;
use super::server::{TestServer, refused};

/// A detection that fires on each `get` by alice.
const GOOD: &str = "/*
id: OWN-1
title: Alice reads
severity: low
key: [user_name]
describe: \"{{user_name}} read {{name}}\"
*/
SELECT user_name, name
FROM events
WHERE user_name = 'alice' AND verb = 'get'
";

/// Of a detection `OWN-1` of what alice gets.
pub(crate) const GOOD_TEST: &str = "id: OWN-1
templates:
  read: {stage: ResponseComplete, verb: get, user: {username: alice}, objectRef: {name: x}}
cases:
  - name: alice
    events: [{like: read}]
    fires: [{key: {user_name: alice}, count: 1, summary: alice read x}]
  - name: somebody else
    events: [{like: read, set: {user: {username: bob}}}]
    quiet: true
";

#[test]
fn shipped_detections_pass_their_tests() {
    let ended = run(["test"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    let (cases, summary) = ended.stdout.trim_end().rsplit_once('\n').unwrap();
    assert!(cases.lines().all(|line| line.starts_with("ok    K8A-")), "{}", ended.stdout);
    assert_eq!(summary, format!("{} passed, 0 failed", cases.lines().count()));
    for id in [101, 106, 108, 203, 205, 301, 309, 401, 501] {
        let id = format!("  K8A-{id}  ");
        assert!(cases.lines().filter(|line| line.contains(&id)).count() >= 2, "{id}");
    }
}

#[test]
fn a_wrong_detection_is_named_with_file_line_and_hint() {
    check_refused(
        &GOOD.replace("FROM events", "FORM events"),
        "error: 1 detection cannot be loaded\n\
         DIR/own.sql:9: Expected: end of statement, found: events at Line: 9, Column: 6\n  \
         hint: see the SQL near that place\n",
    );
    check_refused(
        &GOOD.replace("user_name = 'alice'", "usr_name = 'alice'"),
        "error: 1 detection cannot be loaded\n\
         DIR/own.sql:10: column 'usr_name' not found\n  hint: did you mean `user_name`?\n",
    );
    check_refused(
        &GOOD.replace("user_name = 'alice'", "colour_of_hat = 'red'"),
        "error: 1 detection cannot be loaded\n\
         DIR/own.sql:10: column 'colour_of_hat' not found\n  \
         hint: `SELECT * FROM events LIMIT 1` shows all columns\n",
    );
    check_refused(
        &GOOD.replace("title:", "titel:"),
        "error: 1 detection cannot be loaded\n\
         DIR/own.sql:3: front matter: line 3 column 1: unknown field `titel`, expected one of \
         id, title, severity, attack, controls, window, slide, dedup, first_seen, absent, silent, \
         over, key, params, needs, describe, false_positives, respond, exempt, enabled\n",
    );
    check_refused(
        &GOOD.replace("read {{name}}", "read {{nmae}}"),
        "error: 1 detection cannot be loaded\n\
         DIR/own.sql:6: describe: `{{nmae}}` is not a column of the query\n  \
         hint: the query gives: user_name, name\n",
    );
    check_refused(
        &GOOD.replace("'get'", "$verb"),
        "error: 1 detection cannot be loaded\nDIR/own.sql:10: no value for `$verb`\n  \
         hint: add `verb` to `params:` in the front matter\n",
    );
    check_refused(
        &GOOD.replace("SELECT user_name", "SELECT now() AS t, user_name"),
        "error: 1 detection cannot be loaded\n\
         DIR/own.sql:8: `now()` has no place in a detection: its value changes\n  \
         hint: compare with event_time, or use a window\n",
    );
    check_refused(
        &GOOD.replace("user_name = 'alice'", "verb IS DISTINCT FROM 'get' AND user_name = 'a'"),
        "error: 1 detection cannot be loaded\n\
         DIR/own.sql:10: `IS DISTINCT FROM` takes the `AND` behind it for its right side\n  \
         hint: put the comparison in parentheses: `(a IS DISTINCT FROM 'x')`\n",
    );
    check_refused(
        "SELECT 1\n",
        "error: 1 detection cannot be loaded\nDIR/own.sql:1: no front matter\n  \
         hint: start the file with a /* ... */ comment that holds `id:`, `title:`, ...\n",
    );
}

#[test]
fn all_wrong_detections_are_named_at_once() {
    let dir = folder(&[
        ("a.sql", &GOOD.replace("severity: low", "severity: huge")),
        ("b/c.sql", &GOOD.replace("id: OWN-1", "id: OWN 1")),
        ("d.sql", GOOD),
        ("e.sql", GOOD),
    ]);
    let stderr = serve_refused(dir.path());
    assert_eq!(
        stderr,
        "error: 3 detections cannot be loaded\n\
         DIR/a.sql:4: front matter: line 4 column 11: unknown variant `huge`, expected one of \
         informational, low, medium, high, critical\n\
         DIR/b/c.sql:2: id: use letters, digits and `-` only\n\
         DIR/e.sql:2: id `OWN-1` is taken by `DIR/d.sql`\n  hint: choose another id\n"
    );
    // What only planning shows is told once all files are read.
    let dir = folder(&[
        ("a.sql", &GOOD.replace("key: [user_name]\n", "")),
        ("b.sql", &GOOD.replace("OWN-1", "OWN-2").replace("'get'", "'get' ORDER BY name")),
    ]);
    let stderr = serve_refused(dir.path());
    assert_eq!(
        stderr,
        "error: 2 detections cannot be loaded\n\
         DIR/a.sql: no `key`\n  \
         hint: add `key: [columns]`, for example `key: [user_name]`\n\
         DIR/b.sql: the query is more than a filter over single events\n  \
         hint: without `window:` a query is SELECT ... FROM events WHERE ..., nothing more; to \
         group, join or sort events, name a `window:`\n"
    );
}

#[test]
fn a_folder_that_is_not_there_refuses_to_start() {
    let dir = folder(&[]);
    let missing = dir.path().join("missing");
    let stderr = serve_refused(&missing);
    assert_eq!(
        stderr,
        "error: 1 detection cannot be loaded\n\
         DIR: read: No such file or directory (os error 2)\n  \
         hint: `[detect] dir` names a folder of .sql files\n"
    );
}

#[tokio::test]
async fn a_folder_adds_and_overrides_by_id() {
    let shipped = std::fs::read_to_string(super::events::repository(
        "queries/detections/execution/exec_into_pod.sql",
    ));
    let milder = shipped.unwrap().replace("severity: informational", "severity: low");
    let dir = folder(&[("own.sql", GOOD), ("deeper/exec.sql", &milder)]);
    let server = TestServer::start(&format!("[detect]\ndir = \"{}\"", dir.path().display()));
    assert_eq!(server.post("default", list(&[exec(1), read(2)])).await, 200);
    server.quiesce().await;
    let found = "SELECT detection, severity, summary FROM findings ORDER BY detection";
    let expected = serde_json::json!([
        {"detection": "K8A-401", "severity": "low",
            "summary": "mallory ran `sh` in pod dev/p1 from 10.0.0.1"},
        {"detection": "OWN-1", "severity": "low", "summary": "alice read c2"},
    ]);
    assert_eq!(server.sql(found).await, expected);
}

#[test]
fn a_good_folder_passes_its_tests() {
    let dir = folder(&[("own.sql", GOOD), ("own.yaml", GOOD_TEST)]);
    let ended = run(["test".as_ref(), dir.path()]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    let expected = "ok    OWN-1  alice\nok    OWN-1  somebody else\n2 passed, 0 failed\n";
    assert_eq!(ended.stdout, expected);
}

#[test]
fn a_wrong_case_fails_and_is_named() {
    let check = |old: &str, new: &str, expected: &str| {
        assert!(GOOD_TEST.contains(old), "{old}");
        let test = GOOD_TEST.replace(old, new);
        let dir = folder(&[("own.sql", GOOD), ("own.yaml", &test)]);
        let ended = run(["test".as_ref(), dir.path()]);
        assert_eq!(ended.code, Some(1), "{}\n{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.contains(expected), "{}\nexpected: {expected}", ended.stdout);
        assert!(ended.stdout.ends_with(" failed\n"), "{}", ended.stdout);
    };
    check("count: 1", "count: 2", "FAIL  OWN-1  alice\n      missing: ");
    check("alice read x", "alice wrote x", "count 1: alice read x\n");
    check("username: bob", "username: alice", "FAIL  OWN-1  somebody else\n      not expected: ");
    check(
        "fires: [{key: {user_name: alice}, count: 1, summary: alice read x}]",
        "quiet: true",
        "FAIL  OWN-1  test file\n      needs a case that fires and one that is quiet\n",
    );
    check("id: OWN-1", "id: OWN-2", "FAIL  OWN-1  test file\n      it is of `OWN-2`\n");
    check("like: read, set", "like: raed, set", "event 1: no template `raed`\n");
    check("    quiet: true\n", "", "say either `fires:` or `quiet: true`\n");

    let dir = folder(&[("own.sql", GOOD)]);
    let ended = run(["test".as_ref(), dir.path()]);
    let expected = format!("write `{}/own.yaml` with a case", dir.path().display());
    assert_eq!(ended.code, Some(1), "a detection without tests");
    assert!(ended.stdout.contains(&expected), "{}", ended.stdout);
}

/// A folder of these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

/// What `serve` says of a folder that it must refuse, the folder's path as `DIR`.
fn serve_refused(dir: &Path) -> String {
    let ended = refused(&format!("[detect]\ndir = \"{}\"", dir.display()));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    ended.stderr.replace(&dir.display().to_string(), "DIR")
}

fn check_refused(sql: &str, expected: &str) {
    let dir = folder(&[("own.sql", sql)]);
    assert_eq!(serve_refused(dir.path()), expected);
}
