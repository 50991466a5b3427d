//! From a real API server to findings: everything arrives, attacks are found, work is not.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::apiserver::{Cluster, Webhook, mark_path};
use super::audit_log::text;
use super::drive;
use super::pki::Pki;
use super::process::until;
use super::service::Service;

const LIMIT: Duration = Duration::from_mins(1);
/// What the webhook calls the cluster.
pub(crate) const CLUSTER: &str = "prod-eu";

/// What an attack must leave behind.
struct Expected {
    detection: &'static str,
    /// At least this many events stand behind the finding.
    count_min: usize,
    /// What every piece of its evidence is.
    evidence: fn(&Value) -> bool,
}

const EXPECTED: [Expected; 9] = [
    Expected {
        detection: "K8A-101",
        count_min: 1,
        evidence: |event| user(event) == "system:anonymous" && code(event) == 200,
    },
    Expected {
        detection: "K8A-106",
        count_min: drive::BURST,
        evidence: |event| user(event).is_empty() && code(event) == 401,
    },
    Expected {
        detection: "K8A-108",
        count_min: drive::BURST,
        evidence: |event| user(event) == "mallory" && code(event) == 403,
    },
    Expected {
        detection: "K8A-203",
        count_min: 1,
        evidence: |event| {
            user(event) == "mallory" && code(event) == 200 && is(event, "list", "secrets")
        },
    },
    Expected {
        detection: "K8A-205",
        count_min: drive::SECRETS,
        evidence: |event| user(event) == "mallory" && is(event, "get", "secrets"),
    },
    Expected {
        detection: "K8A-301",
        count_min: 1,
        evidence: |event| name(event) == "mallory-admin",
    },
    Expected {
        detection: "K8A-309",
        count_min: 1,
        evidence: |event| name(event) == "support" && is(event, "create", "clusterroles"),
    },
    Expected { detection: "K8A-401", count_min: 1, evidence: drive::is_exec },
    Expected {
        detection: "K8A-501",
        count_min: 1,
        evidence: |event| name(event) == "toolbox" && is(event, "create", "pods"),
    },
];

/// Runs the whole story.
pub(crate) fn tell(bin: &Path) {
    let dir = tempfile::tempdir().expect("create a folder");
    let pki = Pki::new(&dir.path().join("pki"));
    let service = Service::start(dir.path(), &pki);
    let sender = pki.client("kube-apiserver-audit", None);
    let webhook = Webhook { url: &service.ingest_url(CLUSTER), identity: &sender };
    let mut cluster = Cluster::start(bin, dir.path(), &pki, Some(&webhook));
    assert!(!service.answers_strangers(), "a client without a certificate got an answer");

    drive::set_up(&cluster);
    drive::ordinary_work(&cluster);
    cluster.mark("ordinary_work");
    let quiet = wait_until_all_arrived(&service, &cluster);
    assert_quiet(&service.findings());

    for (_, attack) in drive::ATTACKS {
        attack(&cluster);
    }
    cluster.mark("attacks");
    let lost = cluster.audit_errors();
    assert!(lost == 0.0, "the API server could not deliver {lost} events");
    // With nobody left who makes requests on their own, the two counts can be equal for good.
    cluster.stop_background();
    let total = wait_until_all_arrived(&service, &cluster);
    assert!(quiet < total, "events keep coming: {quiet}, then {total}");

    let log = EventsById::new(cluster.audit_log.events());
    let findings = wait_for_findings(&service, &log);
    assert_exec_counted_once(&findings, &log);
    assert_no_finding_is_all_ordinary(&findings, &cluster);
    cluster.stop_apiserver();
    service.stop();
}

/// Waits until the service has every event that the API server logged itself and has finished with
/// them. Gives how many.
pub(crate) fn wait_until_all_arrived(service: &Service, cluster: &Cluster) -> usize {
    let query = format!("select count(*) as n from events where cluster = '{CLUSTER}'");
    let mut seen = (0, 0);
    until("the service to have as many events as the API server's log", LIMIT, || {
        let logged = cluster.audit_log.lines().len();
        let stored = service.sql(&query).first().and_then(|row| row["n"].as_u64());
        let stored = usize::try_from(stored.expect("a count")).expect("a small count");
        if seen != (stored, logged) {
            println!("{stored} of {logged} events");
            seen = (stored, logged);
        }
        (stored == logged).then_some(())
    });
    until("the pipeline to be empty", LIMIT, || {
        (service.metric("auditmill_pipeline_pending_records") == 0.0).then_some(())
    });
    seen.0
}

/// Ordinary work may be remarked on, not alarmed about.
fn assert_quiet(findings: &[Value]) {
    let loud: Vec<&Value> = findings.iter().filter(|finding| is_loud(finding)).collect();
    assert!(loud.is_empty(), "ordinary work was found: {loud:#?}");
}

/// A late finding about ordinary work alone is as wrong as an early one. One that began in it may
/// be right: a burst counts the mistyped token before it.
fn assert_no_finding_is_all_ordinary(findings: &[Value], cluster: &Cluster) {
    let path = mark_path("ordinary_work");
    let mark =
        cluster.audit_log.wait_for("the mark", 1, |event| event["requestURI"] == path.as_str());
    let attacks_began = time(&mark, "/stageTimestamp");
    for finding in findings.iter().filter(|finding| is_loud(finding)) {
        assert!(
            attacks_began < time(finding, "/last_seen"),
            "ordinary work was found: {finding:#}"
        );
    }
}

/// Waits for each expected finding and checks its form; gives all findings.
fn wait_for_findings(service: &Service, log: &EventsById) -> Vec<Value> {
    let mut findings = service.findings();
    for expected in &EXPECTED {
        let what =
            format!("a finding of {} over {} events", expected.detection, expected.count_min);
        until(&what, LIMIT, || {
            findings = service.findings();
            let mut found = findings.iter().filter(|finding| {
                finding["detection"] == expected.detection && expected.count_min <= count(finding)
            });
            found.any(|finding| log.evidence(finding).all(expected.evidence)).then_some(())
        });
    }
    for finding in &findings {
        assert_form(finding);
        println!("{} x{}: {}", text(finding, "/detection"), count(finding), finding["summary"]);
    }
    findings
}

/// The fields that every finding has, whatever found it.
fn assert_form(finding: &Value) {
    for field in ["id", "detection", "title", "severity", "status", "summary"] {
        let filled = finding[field].as_str().is_some_and(|text| !text.is_empty());
        assert!(filled, "`{field}` is missing: {finding:#}");
    }
    assert_eq!(finding["cluster"], CLUSTER, "{finding:#}");
    assert!(finding["key"].is_object() || finding["key"].is_array(), "{finding:#}");
    assert!(time(finding, "/first_seen") <= time(finding, "/last_seen"), "{finding:#}");
    for field in ["attack", "controls"] {
        assert!(finding[field].is_array(), "`{field}` is no list: {finding:#}");
    }
    let evidence = finding["evidence"].as_array().expect("`evidence` is a list");
    assert!((1..=5).contains(&evidence.len()), "{finding:#}");
    for event in evidence {
        assert!(event["event_id"].is_string(), "{finding:#}");
        let _ = time(event, "/event_time");
    }
}

/// One exec gives two events, at its start and at its end, and is one thing that happened.
fn assert_exec_counted_once(findings: &[Value], log: &EventsById) {
    let stages = log.0.values().flatten().filter(|event| drive::is_exec(event)).count();
    assert_eq!(stages, 2, "the API server logged both stages");
    let execs: Vec<&Value> =
        findings.iter().filter(|finding| finding["detection"] == "K8A-401").collect();
    let counts: Vec<usize> = execs.iter().map(|finding| count(finding)).collect();
    assert_eq!(counts, [1], "one exec, one finding, one event: {execs:#?}");
}

/// The log's events by audit id, which several stages of one request share.
struct EventsById(HashMap<String, Vec<Value>>);

impl EventsById {
    fn new(events: Vec<Value>) -> Self {
        let mut by_id: HashMap<String, Vec<Value>> = HashMap::new();
        for event in events {
            by_id.entry(text(&event, "/auditID").to_owned()).or_default().push(event);
        }
        Self(by_id)
    }

    /// The events that a finding names as evidence.
    fn evidence<'a>(&'a self, finding: &'a Value) -> impl Iterator<Item = &'a Value> {
        finding["evidence"].as_array().expect("`evidence` is a list").iter().map(move |evidence| {
            let events = self.0.get(text(evidence, "/audit_id"));
            events.and_then(|events| events.first()).unwrap_or_else(|| {
                panic!("evidence that the API server never logged: {finding:#}");
            })
        })
    }
}

/// Does a finding want somebody to look at it now?
pub(crate) fn is_loud(finding: &Value) -> bool {
    !["informational", "info", "low"].map(Value::from).contains(&finding["severity"])
}

fn count(finding: &Value) -> usize {
    let count = finding["count"].as_u64().unwrap_or_else(|| panic!("no count: {finding:#}"));
    usize::try_from(count).expect("a small count")
}

fn time(value: &Value, pointer: &str) -> Timestamp {
    let text = text(value, pointer);
    text.parse().unwrap_or_else(|error| panic!("{pointer} `{text}`: {error} in {value:#}"))
}

fn user(event: &Value) -> &str {
    text(event, "/user/username")
}

fn name(event: &Value) -> &str {
    text(event, "/objectRef/name")
}

fn is(event: &Value, verb: &str, resource: &str) -> bool {
    text(event, "/verb") == verb && text(event, "/objectRef/resource") == resource
}

fn code(event: &Value) -> u64 {
    event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default()
}
