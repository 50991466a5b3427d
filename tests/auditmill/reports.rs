//! Reports over recorded events: what they tell, and what they refuse.

use serde_json::Value;

use super::events::repository;
use super::program::{Ended, run};

fn recorded() -> Vec<String> {
    let folder = repository("testdata/events/apiserver");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|of| of == "jsonl"));
    let mut files: Vec<String> = files.map(|path| path.display().to_string()).collect();
    files.sort();
    files
}

fn report(arguments: &[&str]) -> Ended {
    let arguments = arguments.iter().map(|text| (*text).to_owned());
    run(["report".to_owned()].into_iter().chain(arguments).chain(recorded()))
}

fn rows(arguments: &[&str]) -> Vec<Value> {
    let ended = report(&[arguments, &["--format", "json"]].concat());
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn every_report_answers_in_every_format() {
    let listed = run(["report", "list", "--format", "json"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    let listed: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap();
    assert!(listed.len() >= 14);
    for about in &listed {
        let name = about["name"].as_str().unwrap();
        let needs_one = !about["requires_one"].as_array().unwrap().is_empty();
        let who: &[&str] = if needs_one { &["--user", "mallory"] } else { &[] };
        let rows = rows(&[&[name], who].concat());
        let ended = report(&[&[name, "--format", "csv"], who].concat());
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
        let ended = report(&[&[name], who].concat());
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
        // Nobody acted as another in this recording, nor changed a policy but by its labels.
        let may_be_empty = matches!(name, "impersonation" | "policy-changes");
        assert!(may_be_empty || !rows.is_empty(), "{name}");
    }
}

#[test]
fn they_tell_what_happened() {
    let sessions = rows(&["exec-sessions"]);
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0]["user_name"], "mallory");
    assert_eq!(sessions[0]["command"], "sh -c echo harmless");
    assert!(sessions[0]["seconds"].as_f64().unwrap() > 0.0, "{}", sessions[0]);
    let read = rows(&["secrets-read", "--user", "mallory", "--namespace", "dev"]);
    assert_eq!(read.iter().filter(|row| row["verb"] == "get").count(), 20);
    let admins = rows(&["new-admins"]);
    assert!(admins.iter().any(|row| row["subject_name"] == "mallory"
        && row["role_name"] == "cluster-admin"
        && row["granted_by"] == "kubernetes-admin"));
    let logins = rows(&["failed-logins"]);
    assert_eq!(logins[0]["requests"], 31);
    let lineage = rows(&["token-lineage"]);
    assert!(lineage.iter().any(|row| row["issued_at"].is_string() && row["uses"].is_number()));
    let story = rows(&["actor", "--user", "mallory"]);
    let times: Vec<&str> = story.iter().map(|row| row["event_time"].as_str().unwrap()).collect();
    assert!(times.len() > 60 && times.is_sorted());
    assert!(story.iter().any(|row| row["command"] == "sh -c echo harmless"));
    assert_eq!(rows(&["actor", "--user", "mallory", "--ip", "192.0.2.1"]).len(), 0);
    assert_eq!(rows(&["denied", "--limit", "3"]).len(), 3);
    assert_eq!(rows(&["denied", "--since", "2200-01-01"]).len(), 0);
}

#[test]
fn values_are_values_and_mistakes_are_told() {
    for hostile in ["' OR 1=1 --", "\\' OR ''='", "$$; DROP TABLE events", "x') OR ('1'='1"] {
        assert_eq!(rows(&["actor", "--user", hostile]).len(), 0, "{hostile}");
    }
    for (arguments, expected) in [
        (&["nonsense"][..], "no report `nonsense`: there are actor,"),
        (&["actor"], "needs one of `user`, `ip`, `pod`, `credential`"),
        (&["clients", "--pod", "x"], "report `clients` has no `pod`"),
        (&["clients", "--since", "soon"], "--since: `soon`"),
    ] {
        let ended = report(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
    let ended = run(["report", "clients", "no-such-file.jsonl"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("no-such-file.jsonl"), "{}", ended.stderr);
}

#[test]
fn a_data_directory_answers_as_files_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let import = ["history", "import", "--data", &data].map(str::to_owned);
    let ended = run(import.into_iter().chain(recorded()));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for name in ["denied", "rbac-changes", "permissions-used"] {
        let ended = run(["report", name, "--format", "csv", "--data", &data]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.stdout, report(&[name, "--format", "csv"]).stdout, "{name}");
    }
    let grants = "SELECT binding, subject_name, known FROM rbac_grants() \
                  WHERE binding = 'mallory-admin'";
    let ended = run(["sql", "--data", &data, "--format", "csv", grants]);
    assert_eq!(ended.stdout, "binding,subject_name,known\nmallory-admin,mallory,false\n");
    // Before it was written.
    let before = grants.replace("()", "('2026-11-21T09:52:40Z')");
    let ended = run(["sql", "--data", &data, "--format", "csv", &before]);
    assert_eq!(ended.stdout, "binding,subject_name,known\n", "{}", ended.stderr);
}
