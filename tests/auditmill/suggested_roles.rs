//! `rbac suggest` over recorded events.

use serde_json::Value;

use super::events::repository;
use super::program::run;

fn suggest(arguments: &[&str]) -> super::program::Ended {
    let file =
        |name: &str| repository(&format!("testdata/events/apiserver/{name}")).display().to_string();
    let files = [file("background.jsonl"), file("privileged_pod.jsonl"), file("exec.jsonl")];
    let arguments = arguments.iter().map(|text| (*text).to_owned());
    run(["rbac".to_owned(), "suggest".to_owned()].into_iter().chain(arguments).chain(files))
}

#[test]
fn what_was_used_is_covered_and_no_more() {
    let ended = suggest(&["--user", "alice", "--format", "json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    let roles = told["roles"].as_array().unwrap();
    assert_eq!(roles.len(), 1, "{told}");
    assert_eq!((&roles[0]["kind"], &roles[0]["namespace"]), (&"Role".into(), &"dev".into()));
    let written = serde_json::to_string(&roles[0]["rules"]).unwrap();
    assert!(written.contains("credential-00") && !written.contains("delete"), "{written}");
    assert!(!written.contains("\"*\""), "{written}");
    let granted = told["granted"].as_array().unwrap();
    let known = granted.iter().any(|of| of["binding"] == "alice-edit");
    assert!(known, "{told}");
    for rule in roles[0]["rules"].as_array().unwrap() {
        for proof in rule["proof"].as_array().unwrap() {
            assert!(!proof["audit_ids"].as_array().unwrap().is_empty(), "{proof}");
        }
    }
}

#[test]
fn a_session_needs_create_too() {
    let ended = suggest(&["--user", "mallory", "--namespace", "dev"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let exec = "  resources: [pods, pods/exec]\n  verbs: [create, get]\n";
    assert!(ended.stdout.contains(exec), "{}", ended.stdout);
    assert!(ended.stdout.contains("create pods/exec: 1 requests, 1 done"), "{}", ended.stdout);
}

#[test]
fn nobody_and_nonsense_are_told() {
    let ended = suggest(&["--user", "nobody"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("nothing was allowed to `nobody`"), "{}", ended.stderr);
    let ended = suggest(&["--serviceaccount", "cart"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("NAMESPACE/NAME"), "{}", ended.stderr);
    assert_eq!(suggest(&[]).code, Some(2));
    assert_eq!(suggest(&["--user", "a", "--serviceaccount", "b/c"]).code, Some(2));
}

#[test]
fn words_of_clients_stay_words() {
    let text = std::fs::read_to_string(repository("testdata/events/apiserver/background.jsonl"));
    let text = text.unwrap();
    let line = text.lines().find(|line| line.contains("\"username\":\"alice\"")).unwrap();
    let mut lines = Vec::new();
    for (verb, resource, name) in [
        ("get", "*", "x"),
        ("*", "pods", "x"),
        ("get", "secrets", "x\nrules: [{verbs: ['all']}]"),
        ("get", "pods\n- verbs", "x"),
    ] {
        let mut event: Value = serde_json::from_str(line).unwrap();
        event["verb"] = verb.into();
        event["objectRef"] = serde_json::json!({
            "resource": resource, "namespace": "dev", "name": name, "apiVersion": "v1"
        });
        event["auditID"] = format!("id\n- {verb}{resource}").into();
        event["stage"] = "ResponseComplete".into();
        event["responseStatus"]["code"] = 200.into();
        lines.push(event.to_string());
    }
    let log = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(log.path(), lines.join("\n")).unwrap();
    let ended = run(["rbac", "suggest", "--user", "alice", &log.path().display().to_string()]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let yaml: Vec<&str> = ended.stdout.lines().filter(|line| !line.starts_with('#')).collect();
    let yaml = yaml.join("\n");
    assert!(!yaml.contains('*'), "{yaml}");
    let rules = yaml.lines().filter(|line| line.starts_with("  verbs:"));
    assert_eq!(rules.count(), 1, "{yaml}");
    assert!(yaml.contains("\\u000arules: [{verbs: ['"), "{yaml}");
}
