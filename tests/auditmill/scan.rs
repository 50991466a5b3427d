//! The command line: what people see and what machines read.

use serde_json::Value;

use super::events::{exec, list, read, secret};
use super::program::{Ended, run};

/// A small log with two findings and a broken line.
fn log() -> tempfile::NamedTempFile {
    let mut lines: Vec<String> = (1..=15).map(|number| secret(number).to_string()).collect();
    lines.push(read(60).to_string());
    lines.push(exec(90).to_string());
    lines.push("{\"auditID\":\"x\",".to_owned());
    lines.push(read(60).to_string());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines.join("\n")).unwrap();
    file
}

fn scan(arguments: &[&str]) -> Ended {
    let log = log();
    let path = log.path().display().to_string();
    run(["scan"].iter().chain(arguments).map(|text| (*text).to_owned()).chain([path]))
}

#[test]
fn people_see_a_table() {
    let ended = scan(&[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    insta::assert_snapshot!(ended.stdout, @"
    ┌───────────────┬───────────┬─────────────────────┬────────┬──────────────────────────────────────────────────────────────────────────────────────┐
    │ severity      ┆ detection ┆ first seen (UTC)    ┆ events ┆ what happened                                                                        │
    ╞═══════════════╪═══════════╪═════════════════════╪════════╪══════════════════════════════════════════════════════════════════════════════════════╡
    │ high          ┆ K8A-205   ┆ 2026-03-01 00:00:01 ┆ 15     ┆ One identity reads many secrets: alice read 15 secrets in 1 namespaces from 10.0.0.1 │
    │ informational ┆ K8A-401   ┆ 2026-03-01 00:01:30 ┆ 1      ┆ Command run inside a pod: mallory ran `sh` in pod dev/p90 from 10.0.0.1              │
    └───────────────┴───────────┴─────────────────────┴────────┴──────────────────────────────────────────────────────────────────────────────────────┘
    ");
    insta::assert_snapshot!(ended.stderr, @"
    warning: not read: malformed_json: the body ends in a value at byte 9377 of the body
    18 events read, 1 repeated, 1 pieces not readable; 2 findings
    ");
}

#[test]
fn machines_read_a_finding_per_line() {
    let ended = scan(&["--format", "json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let findings: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(findings.len(), 2);
    let fields = [
        "id",
        "detection",
        "title",
        "severity",
        "status",
        "cluster",
        "key",
        "count",
        "first_seen",
        "last_seen",
        "summary",
        "evidence",
        "attack",
        "controls",
    ];
    for finding in &findings {
        let found: Vec<&str> = finding.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(found.starts_with(&fields), "{found:?}");
        for event in finding["evidence"].as_array().unwrap() {
            let fields: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(fields, ["event_id", "audit_id", "event_time"]);
        }
    }
    // The worst first.
    assert_eq!(findings[0]["severity"], "high");
    assert_eq!(findings[0]["count"], 15);
    assert_eq!(findings[0]["evidence"].as_array().unwrap().len(), 5);
    assert_eq!(findings[1]["severity"], "informational");
    // Ids and hashes are made of the events alone: they never change.
    let mut medium = findings[1].clone();
    for column in ["row", "respond"] {
        assert!(medium.as_object_mut().unwrap().shift_remove(column).is_some());
    }
    insta::assert_snapshot!(medium, @r#"{"id":"27c801ec259e8f3e6fdb62926ac9dcdd","detection":"K8A-401","title":"Command run inside a pod","severity":"informational","status":"open","cluster":"default","key":{"user_name":"mallory","namespace":"dev","name":"p90"},"count":1,"first_seen":"2026-03-01T00:01:30.000000Z","last_seen":"2026-03-01T00:01:30.000000Z","summary":"mallory ran `sh` in pod dev/p90 from 10.0.0.1","evidence":[{"event_id":"2dbc1fbed4fcefd5d4c0573b6eb36644","audit_id":"exec-90","event_time":"2026-03-01T00:01:30.000000Z"}],"attack":["T1609"],"controls":["WL-9"],"incomplete":false,"revision":1}"#);
}

#[test]
fn a_least_severity_hides_the_rest() {
    let count = |severity: &str| {
        let ended = scan(&["--format", "json", "--min-severity", severity]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout.lines().count()
    };
    let severities = ["informational", "low", "medium", "high", "critical"];
    assert_eq!(severities.map(count), [2, 1, 1, 1, 0]);
}

#[test]
fn the_exit_code_says_whether_anything_is_that_bad() {
    let code = |arguments: &[&str]| scan(arguments).code;
    assert_eq!(code(&["--fail-on", "medium"]), Some(1));
    assert_eq!(code(&["--fail-on", "high"]), Some(1));
    assert_eq!(code(&["--fail-on", "critical"]), Some(0));
    assert_eq!(code(&["--fail-on", "low", "--min-severity", "critical"]), Some(0));
    assert_eq!(code(&["--fail-on", "terrible"]), Some(2));
    assert_eq!(code(&["--cluster", "NOT A NAME"]), Some(2));
}

#[test]
fn a_cluster_can_be_named() {
    let ended = scan(&["--format", "json", "--cluster", "east"]);
    let finding: Value = serde_json::from_str(ended.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(finding["cluster"], "east");
}

#[test]
fn detections_of_a_folder_are_added() {
    let dir = tempfile::tempdir().unwrap();
    let own = "/*\nid: OWN-1\ntitle: t\nseverity: critical\nkey: [name]\ndescribe: x\n*/\n\
               SELECT name FROM events WHERE resource = 'configmaps'";
    std::fs::write(dir.path().join("own.sql"), own).unwrap();
    let dir = dir.path().display().to_string();
    let ended = scan(&["--format", "json", "--detections", &dir]);
    assert_eq!(ended.stdout.lines().count(), 3, "{}", ended.stderr);
    assert!(ended.stdout.starts_with("{\"id\":\""));
    assert!(ended.stdout.lines().next().unwrap().contains("\"detection\":\"OWN-1\""));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let ended = run(["scan", "/no/such/audit.log"]);
    assert_eq!(ended.code, Some(2));
    let expected = "error: read `/no/such/audit.log`: No such file or directory (os error 2)\n";
    assert_eq!(ended.stderr, expected);
    assert_eq!(ended.stdout, "");
    assert_eq!(run(["scan"]).code, Some(2), "no file is a usage error");
}

#[test]
fn a_file_without_findings_prints_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), list(&[read(1)])).unwrap();
    for format in ["table", "json"] {
        let ended =
            run(["scan".as_ref(), "--format".as_ref(), format.as_ref(), file.path().as_os_str()]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
        let tally = "1 events read, 0 repeated, 0 pieces not readable; 0 findings\n";
        assert_eq!(ended.stderr, tally);
    }
}

#[test]
fn help_shows_examples() {
    for command in ["serve", "scan", "test"] {
        let ended = run([command, "--help"]);
        assert_eq!(ended.code, Some(0));
        let (_, examples) = ended.stdout.split_once("\nExamples:\n").unwrap();
        assert!(examples.contains(&format!("auditmill {command}")), "{}", ended.stdout);
    }
    let ended = run(["--help"]);
    assert!(ended.stdout.contains("Exit codes: 0 done; 1 the answer is no"), "{}", ended.stdout);
    assert_eq!(run(["no-such-command"]).code, Some(2));
}
