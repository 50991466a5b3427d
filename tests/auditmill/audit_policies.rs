//! `policy check` of the shipped policies and of bad ones.

use auditmill::policy::document::{Level, Request, Target};
use serde_json::Value;

use super::events::repository;
use super::program::run;

fn check(arguments: &[&str]) -> (Option<i32>, Value) {
    let ended = run(["policy", "check", "--format", "json"].iter().chain(arguments));
    let told = serde_json::from_str(&ended.stdout);
    (ended.code, told.unwrap_or_else(|error| panic!("{error}: {}", ended.stderr)))
}

fn shipped(name: &str) -> String {
    repository(&format!("deployments/{name}")).display().to_string()
}

fn ids(told: &Value, list: &str) -> Vec<String> {
    let list = told[list].as_array().unwrap().iter();
    list.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_recommended_policy_feeds_everything() {
    let (code, told) = check(&[&shipped("audit-policy.yaml")]);
    assert_eq!(ids(&told, "never"), Vec::<String>::new(), "{told}");
    assert_eq!(code, Some(0));
}

#[test]
fn the_lean_policy_says_what_it_gives_up() {
    let (code, told) = check(&[&shipped("audit-policy-lean.yaml")]);
    assert_eq!(code, Some(1));
    let never = ids(&told, "never");
    // Bodies of workloads are most of the bytes: what is in them is what it gives up.
    for id in ["WL-1", "WL-2", "IMG-1", "K8A-501"] {
        assert!(never.contains(&id.to_owned()), "{id}: {never:?}");
    }
    for id in ["SEC-1", "RBAC-1", "RBAC-2", "WL-9", "K8A-203", "K8A-301", "K8A-401"] {
        assert!(!never.contains(&id.to_owned()), "{id}: {never:?}");
    }
    for one in told["never"].as_array().unwrap() {
        let gaps = one["gaps"].as_array().unwrap();
        assert!(!gaps.is_empty() && gaps[0]["why"].as_str().unwrap().contains("rule"), "{one}");
    }
}

#[test]
fn the_smallest_policy_feeds_all_and_records_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("smallest.yaml").display().to_string();
    let (code, _) = check(&["--write", &path, &shipped("audit-policy-lean.yaml")]);
    assert_eq!(code, Some(1));
    let (code, told) = check(&[&path]);
    assert_eq!((code, &told["whole"]), (Some(0), &told["checked"]), "{told}");
    let text = std::fs::read_to_string(&path).unwrap();
    let policy = auditmill::policy::document::Policy::parse(&text).unwrap();
    for (resource, subresource) in
        [("secrets", ""), ("configmaps", ""), ("serviceaccounts", "token")]
    {
        for verb in ["get", "list", "create", "update", "patch"] {
            let (group, namespace, name) = ("", "dev", "x");
            let target = Target::Resource { group, resource, subresource, namespace, name };
            let groups = ["system:authenticated".to_owned()];
            let request = Request { user: Some("eve"), groups: &groups, verb, target };
            let most = if subresource == "token" { Level::Request } else { Level::Metadata };
            assert!(policy.ruling(&request).level <= most, "{verb} {resource}/{subresource}");
        }
    }
}

#[test]
fn a_policy_that_records_nothing_feeds_nothing() {
    let policy = tempfile::NamedTempFile::new().unwrap();
    let none = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None}]\n";
    std::fs::write(policy.path(), none).unwrap();
    let (code, told) = check(&[&policy.path().display().to_string()]);
    assert_eq!((code, &told["whole"]), (Some(1), &0.into()));
    assert_eq!(told["never"].as_array().unwrap().len() as u64, told["checked"].as_u64().unwrap());
    let staged = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [ResponseComplete]\n\
                  rules: [{level: RequestResponse}]\n";
    std::fs::write(policy.path(), staged).unwrap();
    let (_, told) = check(&[&policy.path().display().to_string()]);
    let never = told["never"].as_array().unwrap();
    let binding = never.iter().find(|one| one["id"] == "K8A-301").unwrap();
    let why = binding["gaps"][0]["why"].as_str().unwrap();
    assert_eq!(why, "ResponseComplete is left out (omitStages)");
}

#[test]
fn rules_say_whom_they_feed() {
    let policy = tempfile::NamedTempFile::new().unwrap();
    let rules = "rules:\n- {level: None, verbs: [watch]}\n\
                 - {level: Metadata, resources: [{resources: [secrets]}]}\n\
                 - {level: Metadata, resources: [{resources: [secrets]}], verbs: [get]}\n";
    let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}");
    std::fs::write(policy.path(), text).unwrap();
    let path = policy.path().display().to_string();
    let (_, told) = check(&[&path]);
    let feeds = told["feeds"].as_array().unwrap();
    let [second, third] = feeds.as_slice() else { panic!("{told}") };
    assert_eq!((&second["rule"], &second["level"]), (&2.into(), &"Metadata".into()));
    let fed = second["feeds"].as_array().unwrap();
    // Secrets by name, whatever there is, and nobody who reads only something else.
    for (id, is_fed) in [("K8A-203", true), ("SEC-1", true), ("K8A-641", true), ("K8A-401", false)]
    {
        assert_eq!(fed.contains(&id.into()), is_fed, "{id}: {fed:?}");
    }
    // The rule before it takes all that it would record.
    assert_eq!((&third["rule"], &third["feeds"]), (&3.into(), &serde_json::json!([])));
    let ended = run(["policy", "check", &path]);
    assert!(ended.stdout.contains("rules that record and feed nothing: 3\n"), "{}", ended.stdout);
}

#[test]
fn figures_are_near_what_was_recorded() {
    let events = repository("testdata/events/apiserver/background.jsonl");
    let bytes = std::fs::metadata(&events).unwrap().len();
    let events = events.display().to_string();
    let policy = shipped("audit-policy.yaml");
    let (_, told) = check(&["--events", &events, &policy]);
    let forecast = &told["forecast"];
    assert_eq!(forecast["seen"], forecast["events"], "it was recorded under this policy");
    let said = forecast["bytes"].as_u64().unwrap();
    assert!(said.abs_diff(bytes) < bytes / 10, "{said} of {bytes}");
    let (_, lean) = check(&["--events", &events, &shipped("audit-policy-lean.yaml")]);
    assert!(lean["forecast"]["bytes"].as_u64().unwrap() < said, "{lean}");
}

#[test]
fn what_is_no_policy_is_told_with_its_place() {
    for (text, expected) in [
        ("", "audit policy"),
        ("kind: Pod\napiVersion: v1", "Policy of audit.k8s.io/v1"),
        ("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: All\n", "line 4"),
        ("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []\n", "no rules"),
        ("a: &a [*a, *a]", "audit policy"),
    ] {
        let policy = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(policy.path(), text).unwrap();
        let ended = run(["policy", "check", &policy.path().display().to_string()]);
        assert_eq!(ended.code, Some(2), "{text}");
        assert!(ended.stderr.contains(expected), "{text}: {}", ended.stderr);
    }
    assert_eq!(run(["policy", "check", "no-such-file"]).code, Some(2));
}
