//! One attacker walks through a real cluster while its people work, and the shipped detections
//! follow: each step is found, the steps are seen as one attack, and nobody else is suspected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::apiserver::{Cluster, Webhook};
use super::attack_steps::{MALLORY, STEPS, Step, prepare};
use super::audit_log::text;
use super::drive;
use super::first_finding::{CLUSTER, is_loud, wait_until_all_arrived};
use super::pki::Pki;
use super::process::until;
use super::service::Service;

/// All detections look at every event, in a debug build on a machine that does other things.
const LIMIT: Duration = Duration::from_mins(5);
/// Findings of several tactics by one identity.
const CHAIN: &str = "K8A-801";
/// It shows at least this many steps of them as its evidence.
const LINKS_MIN: usize = 2;

/// Runs the whole story.
pub(crate) fn tell(bin: &Path) {
    let dir = tempfile::tempdir().expect("create a folder");
    let pki = Pki::new(&dir.path().join("pki"));
    let service = Service::start(dir.path(), &pki);
    let sender = pki.client("kube-apiserver-audit", None);
    let webhook = Webhook { url: &service.ingest_url(CLUSTER), identity: &sender };
    let mut cluster = Cluster::start(bin, dir.path(), &pki, Some(&webhook));

    drive::set_up(&cluster);
    prepare(&cluster);
    drive::ordinary_work(&cluster);
    let mut ends = vec![cluster.audit_log.lines().len()];
    for step in &STEPS {
        println!("{}", step.name);
        (step.act)(&cluster);
        cluster.mark(&step.name.replace(' ', "-"));
        ends.push(cluster.audit_log.lines().len());
    }
    cluster.kubectl("ops", &["get", "pods", "--all-namespaces"]);
    cluster.stop_background();
    wait_until_all_arrived(&service, &cluster);

    let walked = Walked::new(&cluster.audit_log.events(), &ends);
    let mut missing = Vec::new();
    let findings = until("every step to be found, and the chain of them", LIMIT, || {
        let findings = service.findings();
        let now = walked.missing(&findings);
        if now != missing {
            println!("not found yet: {now:?}");
            for finding in &findings {
                let steps = walked.steps_of(finding, &findings);
                println!("{} {steps:?} {}", text(finding, "/detection"), finding["summary"]);
            }
        }
        missing = now;
        missing.is_empty().then_some(findings)
    });
    let others: Vec<&Value> = findings
        .iter()
        .filter(|finding| is_loud(finding) && !walked.explains(finding, &findings))
        .collect();
    assert!(others.is_empty(), "loud, and not the attacker: {others:#?}");
    cluster.stop_apiserver();
    service.stop();
}

/// Which step an event belongs to and whose it is, by audit id.
struct Walked(BTreeMap<String, (usize, String)>);

impl Walked {
    /// `ends` has the length of the log before the first step and after each.
    fn new(events: &[Value], ends: &[usize]) -> Self {
        let mut by_id = BTreeMap::new();
        for (step, bounds) in ends.windows(2).enumerate() {
            let [start, end] = bounds else { unreachable!("windows of two") };
            for event in events.iter().take(*end).skip(*start) {
                let user = text(event, "/user/username").to_owned();
                // The first line of a request that is logged at two stages decides.
                by_id.entry(text(event, "/auditID").to_owned()).or_insert((step, user));
            }
        }
        Self(by_id)
    }

    /// The steps, by their actors, that a finding's evidence belongs to; evidence may be findings.
    fn steps_of(&self, finding: &Value, all: &[Value]) -> BTreeSet<&'static str> {
        let own = |step: &Step, user: &str| step.actor == user;
        self.steps_where(finding, all, own)
    }

    /// Is a finding about the attack? One identity that was taken may take part in others' steps.
    fn explains(&self, finding: &Value, all: &[Value]) -> bool {
        let attacks = |step: &Step, user: &str| {
            let taken = || STEPS.iter().any(|step| step.actor == user);
            step.actor == user || (user != drive::ADMIN && taken())
        };
        !self.steps_where(finding, all, attacks).is_empty()
    }

    fn steps_where(
        &self,
        finding: &Value,
        all: &[Value],
        counts: fn(&Step, &str) -> bool,
    ) -> BTreeSet<&'static str> {
        let evidence = finding["evidence"].as_array().expect("`evidence` is a list");
        let of = evidence.iter().flat_map(|piece| {
            let id = text(piece, "/event_id");
            if let Some(below) = all.iter().find(|finding| text(finding, "/id") == id) {
                return self.steps_where(below, all, counts);
            }
            let event = self.0.get(text(piece, "/audit_id"));
            let step = event.and_then(|(step, user)| {
                STEPS.get(*step).filter(|step| counts(step, user)).map(|step| step.name)
            });
            step.into_iter().collect()
        });
        of.collect()
    }

    /// Steps that no finding of the wanted detections is about, and the chain unless it is there.
    fn missing(&self, findings: &[Value]) -> Vec<&'static str> {
        let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for finding in findings {
            for step in self.steps_of(finding, findings) {
                found.entry(step).or_default().insert(text(finding, "/detection"));
            }
        }
        let is_found = |step: &Step| {
            let by = found.get(step.name);
            step.found_by.iter().any(|wanted| by.is_some_and(|by| by.contains(wanted)))
        };
        let mut missing: Vec<&str> =
            STEPS.iter().filter(|step| !is_found(step)).map(|step| step.name).collect();
        let chained = findings.iter().any(|finding| {
            text(finding, "/detection") == CHAIN
                && text(finding, "/key/user_name") == MALLORY
                && LINKS_MIN <= self.steps_of(finding, findings).len()
        });
        if !chained {
            missing.push(CHAIN);
        }
        missing
    }
}
