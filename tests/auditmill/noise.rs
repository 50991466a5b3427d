//! An hour of an ordinary cluster, recorded: what the shipped detections say when nothing is wrong.
//!
//! The recording is what a fleet of strangers' clusters does all day (its README says what), so a
//! detection that is loud over it is wrong, whatever its own tests say.

#![expect(clippy::print_stdout, reason = "what a test prints is its report, seen with --nocapture")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::events::repository;
use super::program::run;

/// What the hour may have of them, over all detections.
const LOW_MAX: usize = 5;
/// What the hour is rightly loud about: its administrator takes a log forwarder away again. Only
/// she knows that it was a trial.
const RIGHTLY: [(&str, &str); 1] = [("K8A-622", "daemonsets kube-system/fluent-bit")];

#[test]
fn an_hour_of_an_ordinary_cluster_is_quiet() {
    let findings = scan(&["hour.jsonl.zst"]);
    let by_severity = count(&findings);
    println!("{by_severity:?}");
    let (rightly, loud): (Vec<&Value>, Vec<&Value>) =
        findings.iter().filter(|finding| is_loud(finding)).partition(|finding| {
            let summary = finding["summary"].as_str().unwrap();
            RIGHTLY.iter().any(|(id, what)| finding["detection"] == *id && summary.contains(what))
        });
    assert!(loud.is_empty(), "nothing was wrong: {loud:#?}");
    assert_eq!(rightly.len(), RIGHTLY.len(), "{rightly:#?}");
    let low: Vec<&Value> = findings.iter().filter(|finding| severity(finding) == "low").collect();
    assert!(low.len() <= LOW_MAX, "{} are low: {low:#?}", low.len());
    // Quiet, not blind: facts are told.
    assert!(by_severity.contains_key("informational"), "{by_severity:?}");
}

#[test]
fn setting_a_cluster_up_is_quiet() {
    let findings = scan(&["set-up.jsonl.zst"]);
    println!("{:?}", count(&findings));
    let loud: Vec<&Value> = findings.iter().filter(|finding| is_loud(finding)).collect();
    assert!(loud.is_empty(), "nothing was wrong: {loud:#?}");
}

/// What exempts the programs of an ordinary cluster does not exempt who comes between them.
#[test]
fn attacks_are_not_lost_in_the_noise() {
    let attacks = [
        ("secret_list.jsonl", "K8A-203"),
        ("role_escalate.jsonl", "K8A-309"),
        ("privileged_pod.jsonl", "K8A-501"),
        ("secret_reads.jsonl", "K8A-205"),
    ];
    let mut files = files(&["set-up.jsonl.zst"]);
    files
        .extend(attacks.iter().map(|(name, _)| repository("testdata/events/apiserver").join(name)));
    let findings = scan_files(&files);
    for (name, detection) in attacks {
        let found = findings.iter().any(|finding| {
            finding["detection"] == detection
                && is_loud(finding)
                && finding["row"]["user_name"] == "mallory"
        });
        assert!(found, "{detection} over {name} and an ordinary cluster");
    }
}

fn files(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| repository("testdata/events/noise").join(name)).collect()
}

fn scan(names: &[&str]) -> Vec<Value> {
    scan_files(&files(names))
}

fn scan_files(files: &[PathBuf]) -> Vec<Value> {
    let arguments = ["scan", "--shipped", "*", "--format", "json"].map(PathBuf::from);
    let ended = run(arguments.into_iter().chain(files.iter().cloned()));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn count(findings: &[Value]) -> BTreeMap<&str, usize> {
    let mut by_severity = BTreeMap::new();
    for finding in findings {
        *by_severity.entry(severity(finding)).or_insert(0) += 1;
    }
    by_severity
}

fn severity(finding: &Value) -> &str {
    finding["severity"].as_str().unwrap()
}

fn is_loud(finding: &Value) -> bool {
    !matches!(severity(finding), "informational" | "low")
}
