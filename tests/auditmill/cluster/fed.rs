//! `policy check` beside a real API server: one attacker walks through a cluster under the smallest
//! policy, then under the same without its rules for bodies, then without the others. What the
//! check says can never fire does not, what it says is fed fires.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use auditmill::detect::catalog::Catalog;
use auditmill::policy::coverage::{Coverage, coverage};
use auditmill::policy::document::{GroupResources, Level, Policy, Rule};
use auditmill::policy::smallest::yaml;
use serde_json::Value;

use super::apiserver::Cluster;
use super::attack_steps::{STEPS, prepare};
use super::audit_log::text;
use super::drive;
use super::pki::Pki;
use crate::program::run;

/// Compares what the check says with what fires.
pub(crate) fn tell(bin: &Path) {
    let smallest = smallest();
    let all = fired(bin, &smallest);
    let unfound: Vec<&str> = STEPS
        .iter()
        .filter(|step| !step.found_by.iter().any(|id| all.contains(*id)))
        .map(|step| step.name)
        .collect();
    assert!(unfound.is_empty(), "not found under the smallest policy: {unfound:?}; {all:?}");

    let (mut never, mut left, mut wrong) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (what, policy) in [("bodies", without_bodies(&smallest)), ("the rest", bodies(&smallest))] {
        let said = said(&policy);
        let now = fired(bin, &policy);
        let silent: BTreeSet<&str> =
            said.iter().filter(|(_, of)| **of == Said::Never).map(|(id, _)| id.as_str()).collect();
        let fired = silent.iter().filter(|id| now.contains(**id) && names_resources(id));
        wrong.extend(fired.map(|id| format!("{id} can never fire without {what}, and did")));
        // What steps are known to be found by: the rest may depend on how long a step took.
        let known = STEPS.iter().flat_map(|step| step.found_by);
        let fed = known.filter(|id| all.contains(**id) && said.get(**id) == Some(&Said::Whole));
        let fed: BTreeSet<&str> = fed.copied().collect();
        let missing = fed.iter().filter(|id| !now.contains(**id));
        wrong.extend(missing.map(|id| format!("{id} is fed without {what}, and did not fire")));
        never.extend(silent.into_iter().filter(|id| all.contains(*id)).map(str::to_owned));
        left.extend(fed.into_iter().map(str::to_owned));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("fired, and not without their rule: {never:?}; without another: {left:?}");
    // Some are fed by either kind of rule: no policy here leaves them blind.
    assert!(BLIND_MIN <= never.len(), "of so few the other side was seen: {never:?}");
}

/// So many detections fire, and do not under another policy, as the check says.
const BLIND_MIN: usize = 30;

#[derive(PartialEq, Eq)]
enum Said {
    Whole,
    Partly,
    Never,
}

/// What the check says of each detection that reads events.
fn said(policy: &Policy) -> BTreeMap<String, Said> {
    let catalog = Catalog::load(None).expect("the shipped detections load");
    let reading = catalog.detections().filter(|detection| reads_events(&detection.id));
    let told = reading.map(|detection| {
        let said = match coverage(policy, &detection.needs) {
            Coverage::Whole => Said::Whole,
            Coverage::Partly(_) => Said::Partly,
            Coverage::Never(_) => Said::Never,
        };
        (detection.id.clone(), said)
    });
    told.collect()
}

/// Chains read findings.
fn reads_events(id: &str) -> bool {
    !id.starts_with("K8A-8")
}

/// Whoever reads whatever there is finds something in whatever is recorded; the check looks at what
/// no rule names.
fn names_resources(id: &str) -> bool {
    let catalog = Catalog::load(None).expect("the shipped detections load");
    catalog.get(id).is_some_and(|detection| !detection.needs.resources.is_empty())
}

/// What the command writes.
fn smallest() -> Policy {
    let dir = tempfile::tempdir().expect("create a folder");
    let (path, recommended) = (dir.path().join("smallest.yaml"), "deployments/audit-policy.yaml");
    let recommended = Path::new(env!("CARGO_MANIFEST_DIR")).join(recommended);
    let arguments = ["policy".as_ref(), "check".as_ref(), "--write".as_ref(), path.as_os_str()];
    let ended = run(arguments.into_iter().chain([recommended.as_os_str()]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    Policy::parse(&fs::read_to_string(path).expect("it was written")).expect("a policy")
}

/// Without the rules that record more than who did what.
fn without_bodies(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    policy.rules.retain(|rule| rule.level <= Level::Metadata);
    policy
}

/// Without those that record just that, but for what tells these tests where they are.
fn bodies(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    policy.rules.retain(|rule| rule.level != Level::Metadata);
    let sessions = GroupResources {
        group: String::new(),
        resources: vec!["pods/exec".to_owned()],
        resource_names: Vec::new(),
    };
    policy.rules.push(Rule { resources: vec![sessions], ..Rule::of(Level::Metadata) });
    let marks = vec!["/version*".to_owned()];
    policy.rules.push(Rule { non_resource_urls: marks, ..Rule::of(Level::Metadata) });
    policy
}

/// The detections that fire when the walk is made under a policy.
fn fired(bin: &Path, policy: &Policy) -> BTreeSet<String> {
    let dir = tempfile::tempdir().expect("create a folder");
    let pki = Pki::new(&dir.path().join("pki"));
    let path = dir.path().join("policy.yaml");
    fs::write(&path, yaml(policy, "a test's")).expect("write the policy");
    let mut cluster = Cluster::start_under(&path, bin, dir.path(), &pki, None);
    drive::set_up(&cluster);
    prepare(&cluster);
    drive::ordinary_work(&cluster);
    for step in &STEPS {
        (step.act)(&cluster);
    }
    cluster.mark("walked");
    cluster.stop_background();
    cluster.stop_apiserver();
    let log = dir.path().join("audit.jsonl");
    let arguments = ["scan", "--shipped", "*", "--format", "json"].map(OsStr::new);
    let ended = run(arguments.into_iter().chain([log.as_os_str()]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let finding = |line: &str| serde_json::from_str::<Value>(line).expect("a finding a line");
    let findings = ended.stdout.lines().map(finding);
    findings.map(|finding| text(&finding, "/detection").to_owned()).collect()
}
