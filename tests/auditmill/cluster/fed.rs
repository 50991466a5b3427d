//! `policy check` beside a real API server. One attacker walks through a cluster, and does whatever
//! else shipped detections look for: first under the smallest policy, then under policies without
//! the rules that feed some of them, so that each that fired is blind once. What the check says can
//! never fire does not, and what it says is fed fires.
//!
//! `AUDITMILL_POLICIES` is in how many rounds rules of resources are taken out: a few by default,
//! more when there is time (`make soak`), then reads and writes as such, too.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use auditmill::detect::catalog::Catalog;
use auditmill::detect::detection::Needs;
use auditmill::policy::coverage::{Coverage, coverage, feeders};
use auditmill::policy::document::{GroupResources, Level, Policy, Rule, Stage};
use auditmill::policy::smallest;
use serde_json::Value;

use super::apiserver::Cluster;
use super::attack_steps::{STEPS, prepare};
use super::audit_log::text;
use super::deeds;
use super::drive;
use super::pki::Pki;
use crate::program::run;

/// In so many rounds rules of resources are taken out, without another wish.
const ROUNDS: usize = 2;
/// What cannot be produced here, and why. Detections that need lists of addresses are those of
/// [`super::networks`].
const UNSEEN: [(&str, &str); 12] = [
    ("K8A-121", "needs public addresses: `networks` has them"),
    ("K8A-127", "nobody is away for 30 days"),
    ("K8A-130", "a token is used after its time only within an hour's grace of a pod's"),
    ("K8A-422", "no session lasts an hour"),
    ("K8A-514", "the kubelet here only pretends, and has no static pods"),
    ("K8A-623", "no cluster is silent for so long"),
    ("K8A-624", "no sensor is silent for so long"),
    ("K8A-625", "the audit policy does not change meanwhile"),
    ("K8A-626", "no request is known that makes this API server panic"),
    ("K8A-628", "the API server is not overloaded"),
    ("K8A-630", "this release serves no API that the next ones remove"),
    ("K8A-639", "the smallest policy records the bodies without which it fires"),
];

/// Compares what the check says with what fires.
pub(crate) fn tell(bin: &Path) {
    let needs = needs();
    let all = fired(bin, &written());
    let unfound: Vec<&str> = STEPS
        .iter()
        .filter(|step| !step.found_by.iter().any(|id| all.contains(*id)))
        .map(|step| step.name)
        .collect();
    assert!(unfound.is_empty(), "not found under the smallest policy: {unfound:?}; {all:?}");

    let plain = by_resource(&needs);
    let mut compared = Compared::default();
    for without in rounds(&plain, &needs, &all) {
        compared.round("some rules", &needs, &all, &left(&plain, &without), bin);
    }
    // Who reads whatever there is has no rule of its own: what it reads of it is left out.
    let everything = smallest::smallest(needs.values());
    compared.round("ends", &needs, &all, &without_ends(&everything), bin);
    if wanted().is_some() {
        for (what, verbs) in [("writes", &WRITES[..]), ("reads", &READS)] {
            compared.round(what, &needs, &all, &without_verbs(&everything, verbs), bin);
        }
    }
    compared.report(&needs, &all);
}

/// The grant that it tells of counts when it was used, for whatever that is.
const TOLD_BY_USES: &str = "K8A-318";

const READS: [&str; 3] = ["get", "list", "watch"];
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// What came of the policies that leave something out.
#[derive(Default)]
struct Compared {
    /// Who could never fire under one of them, and did not.
    blind: BTreeSet<String>,
    /// Who was fed by one of them, and fired.
    fed: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Compared {
    fn round(
        &mut self,
        what: &str,
        needs: &BTreeMap<String, Needs>,
        all: &BTreeSet<String>,
        policy: &Policy,
        bin: &Path,
    ) {
        let now = fired(bin, policy);
        for (id, needs) in needs {
            match coverage(policy, needs) {
                Coverage::Never(_) if now.contains(id) => {
                    self.wrong.push(format!("{id} can never fire without {what}, and did"));
                }
                Coverage::Never(_) => drop(self.blind.insert(id.clone())),
                Coverage::Whole if now.contains(id) => drop(self.fed.insert(id.clone())),
                // Of bodies of whatever there is those that others name are all.
                Coverage::Whole
                    if all.contains(id) && !reads_any_body(needs) && id != TOLD_BY_USES =>
                {
                    self.wrong.push(format!("{id} is fed without {what}, and did not fire"));
                }
                Coverage::Whole | Coverage::Partly(_) => {}
            }
        }
    }

    fn report(&self, needs: &BTreeMap<String, Needs>, all: &BTreeSet<String>) {
        let quiet: Vec<&String> = needs.keys().filter(|id| !all.contains(*id)).collect();
        println!("{} detections fired under the smallest policy", all.len());
        println!("{} did not: {quiet:?}", quiet.len());
        let of = |set: &BTreeSet<String>| all.intersection(set).count();
        println!("{} fired, and not without their rules", of(&self.blind));
        println!("{} fired without the rules of others", of(&self.fed));
        // They read requests of every kind, at whatever stage: only no policy at all blinds them.
        let sighted: Vec<&String> = all.iter().filter(|id| !self.blind.contains(*id)).collect();
        println!("never blind: {sighted:?}");
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        let excused = |id: &&String| UNSEEN.iter().any(|(unseen, _)| unseen == id);
        let missed: Vec<&String> = quiet.into_iter().filter(|id| !excused(id)).collect();
        assert!(missed.is_empty(), "a deed that fires them, or a reason: {missed:?}");
        let of_resources =
            |id: &&String| needs.get(id.as_str()).is_some_and(|needs| !needs.resources.is_empty());
        let never_blind: Vec<&String> = sighted.into_iter().filter(of_resources).collect();
        assert!(never_blind.is_empty(), "fed by every policy: {never_blind:?}");
    }
}

fn reads_any_body(needs: &Needs) -> bool {
    needs.resources.is_empty() && needs.level.as_deref() != Some("Metadata")
}

/// What detections need that read events; chains read findings.
fn needs() -> BTreeMap<String, Needs> {
    let catalog = Catalog::load(None).expect("the shipped detections load");
    let reading = catalog.detections().filter(|detection| !is_chain(&detection.id));
    reading.map(|detection| (detection.id.clone(), detection.needs.clone())).collect()
}

fn is_chain(id: &str) -> bool {
    id.starts_with("K8A-8")
}

/// What the command writes.
fn written() -> Policy {
    let dir = tempfile::tempdir().expect("create a folder");
    let (path, recommended) = (dir.path().join("smallest.yaml"), "deployments/audit-policy.yaml");
    let recommended = Path::new(env!("CARGO_MANIFEST_DIR")).join(recommended);
    let arguments = ["policy".as_ref(), "check".as_ref(), "--write".as_ref(), path.as_os_str()];
    let ended = run(arguments.into_iter().chain([recommended.as_os_str()]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    Policy::parse(&fs::read_to_string(path).expect("it was written")).expect("a policy")
}

/// The smallest policy for those that name resources, with a rule for each resource: what one of
/// them is fed by can be taken out, and no rule for everything takes its place.
fn by_resource(needs: &BTreeMap<String, Needs>) -> Policy {
    let mut policy = smallest::smallest(needs.values().filter(|needs| !needs.resources.is_empty()));
    policy.rules = policy.rules.iter().flat_map(split).collect();
    policy
}

fn split(rule: &Rule) -> Vec<Rule> {
    if rule.level == Level::None {
        return vec![rule.clone()];
    }
    let alone = |group: &GroupResources, resource: &String| {
        let group = GroupResources { resources: vec![resource.clone()], ..group.clone() };
        Rule { resources: vec![group], ..rule.clone() }
    };
    let of = |group: &GroupResources| -> Vec<Rule> {
        group.resources.iter().map(|resource| alone(group, resource)).collect()
    };
    rule.resources.iter().flat_map(of).collect()
}

/// The rules to take out, a set for each round: each detection that fired loses all of its own in
/// one of them.
fn rounds(
    policy: &Policy,
    needs: &BTreeMap<String, Needs>,
    all: &BTreeSet<String>,
) -> Vec<BTreeSet<usize>> {
    let fired = needs.iter().filter(|(id, of)| all.contains(*id) && !of.resources.is_empty());
    // Those with rules in common come after each other.
    let sets: BTreeSet<BTreeSet<usize>> = fired.map(|(_, of)| rules_of(policy, of)).collect();
    let sets: Vec<_> = sets.into_iter().collect();
    let rounds = sets.len().div_ceil(wanted().unwrap_or(ROUNDS)).max(1);
    sets.chunks(rounds).map(|sets| sets.iter().flatten().copied().collect()).collect()
}

/// In how many rounds, when somebody has a wish.
fn wanted() -> Option<usize> {
    env::var("AUDITMILL_POLICIES").ok()?.parse().ok().filter(|rounds| 0 < *rounds)
}

/// The rules, from 0, without which nothing feeds these needs: with the first gone, others may.
fn rules_of(policy: &Policy, needs: &Needs) -> BTreeSet<usize> {
    let mut out = BTreeSet::new();
    loop {
        let places: Vec<usize> =
            (0..policy.rules.len()).filter(|place| !out.contains(place)).collect();
        let feeding = feeders(&left(policy, &out), needs);
        if feeding.is_empty() {
            return out;
        }
        out.extend(feeding.into_iter().filter_map(|rule| places.get(rule - 1)));
    }
}

/// The policy without these rules.
fn left(policy: &Policy, without: &BTreeSet<usize>) -> Policy {
    let mut policy = policy.clone();
    let mut place = 0..;
    policy.rules.retain(|_| place.next().is_some_and(|place| !without.contains(&place)));
    policy
}

fn without_verbs(policy: &Policy, verbs: &[&str]) -> Policy {
    let mut policy = policy.clone();
    let verbs = verbs.iter().map(|verb| (*verb).to_owned()).collect();
    policy.rules.insert(0, Rule { verbs, ..Rule::of(Level::None) });
    policy
}

/// Without the events that end a request.
fn without_ends(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    policy.omit_stages.push(Stage::ResponseComplete);
    policy
}

/// The detections that fire when everything is done under a policy.
fn fired(bin: &Path, policy: &Policy) -> BTreeSet<String> {
    let dir = tempfile::tempdir().expect("create a folder");
    let pki = Pki::new(&dir.path().join("pki"));
    let path = dir.path().join("policy.yaml");
    fs::write(&path, smallest::yaml(policy, "a test's")).expect("write the policy");
    let mut cluster = Cluster::start_under(&path, bin, dir.path(), &pki, None);
    drive::set_up(&cluster);
    prepare(&cluster);
    drive::ordinary_work(&cluster);
    let habits = cluster.audit_log.lines().len();
    for step in &STEPS {
        (step.act)(&cluster);
    }
    deeds::act(&cluster);
    cluster.stop_background();
    cluster.stop_apiserver();
    let log = dir.path().join("told.jsonl");
    cluster.audit_log.write_with_habits(habits, &log);
    let arguments = ["scan", "--shipped", "*", "--format", "json"].map(OsStr::new);
    let ended = run(arguments.into_iter().chain([log.as_os_str()]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let finding = |line: &str| serde_json::from_str::<Value>(line).expect("a finding a line");
    let findings = ended.stdout.lines().map(finding);
    let ids = findings.map(|finding| text(&finding, "/detection").to_owned());
    ids.filter(|id| !is_chain(id)).collect()
}
