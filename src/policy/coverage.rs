//! Whether a policy records what detections and controls need.

use super::demand::{Demand, demands};
use super::document::{Level, Policy, Request, Ruling, Target};
use crate::detect::detection::Needs;

/// Whether what is needed is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// All of it, of ordinary people and service accounts.
    Whole,
    /// Some of it; of the rest, why not.
    Partly(Vec<Gap>),
    /// Nothing of it, whoever asks.
    Never(Vec<Gap>),
}

/// A kind of request that is not recorded well enough, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// The request: `create deployments`.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// Somebody whom no rule knows, and everybody else that rules may know.
struct Asker {
    user: Option<String>,
    groups: Vec<String>,
    /// Whether the cluster is full of such.
    ordinary: bool,
}

/// What a policy gives of these needs.
#[must_use]
pub fn coverage(policy: &Policy, needs: &Needs) -> Coverage {
    let askers = askers(policy);
    let (mut gaps, mut any) = (Vec::new(), false);
    for demand in demands(needs) {
        let (met, gap) = judge(policy, &askers, &demand);
        any |= met;
        gaps.extend(gap);
    }
    gaps.sort();
    gaps.dedup();
    if !any {
        Coverage::Never(gaps)
    } else if gaps.is_empty() {
        Coverage::Whole
    } else {
        Coverage::Partly(gaps)
    }
}

/// Whether anybody's request is recorded well enough, and what is missing of ordinary ones.
fn judge(policy: &Policy, askers: &[Asker], demand: &Demand) -> (bool, Option<Gap>) {
    let (mut met, mut gap) = (false, None);
    for target in targets(policy, demand) {
        for asker in askers {
            let request = Request {
                user: asker.user.as_deref(),
                groups: &asker.groups,
                verb: if demand.verb.is_empty() { "get" } else { &demand.verb },
                target: target.as_target(),
            };
            let ruling = policy.ruling(&request);
            met |= reason(&ruling, demand, demand.least).is_none();
            match reason(&ruling, demand, demand.level) {
                Some(why) if asker.ordinary && target.ordinary && gap.is_none() => {
                    gap = Some(Gap { what: demand.words(), why });
                }
                _ => {}
            }
        }
    }
    if !met && gap.is_none() {
        let why = "no rule records it".to_owned();
        gap = Some(Gap { what: demand.words(), why });
    }
    (met, gap)
}

/// Why this is not enough for what is needed at a level, if it is not.
fn reason(ruling: &Ruling, demand: &Demand, level: Level) -> Option<String> {
    let by = ruling.rule.map_or_else(|| "no rule matches".to_owned(), |n| format!("rule {n}"));
    if ruling.level == Level::None {
        let what = if ruling.rule.is_some() { format!("{by} records nothing of it") } else { by };
        return Some(what);
    }
    if ruling.level < level {
        return Some(format!("{by} records it at {} only, not at {level}", ruling.level));
    }
    let stages = &demand.stages;
    if !stages.is_empty() && stages.iter().all(|stage| ruling.omitted.contains(stage)) {
        let stages: Vec<String> = stages.iter().map(|stage| format!("{stage:?}")).collect();
        return Some(format!("{} is left out (omitStages)", stages.join(", ")));
    }
    None
}

fn askers(policy: &Policy) -> Vec<Asker> {
    let groups = |groups: &[&str]| groups.iter().map(|group| (*group).to_owned()).collect();
    let asker = |user: Option<&str>, of: &[&str], ordinary| Asker {
        user: user.map(str::to_owned),
        groups: groups(of),
        ordinary,
    };
    let account = ["system:serviceaccounts", "system:serviceaccounts:somewhere", AUTHENTICATED];
    let mut askers = vec![
        asker(Some("somebody"), &[AUTHENTICATED], true),
        asker(Some("system:serviceaccount:somewhere:something"), &account, true),
        asker(Some("system:anonymous"), &["system:unauthenticated"], false),
        asker(Some("system:node:somewhere"), &["system:nodes", AUTHENTICATED], false),
        asker(None, &[], false),
    ];
    for rule in &policy.rules {
        for user in &rule.users {
            askers.push(asker(Some(user), &[AUTHENTICATED], false));
        }
        for group in &rule.user_groups {
            askers.push(asker(Some("somebody"), &[group, AUTHENTICATED], false));
        }
    }
    askers
}

const AUTHENTICATED: &str = "system:authenticated";

/// A target that owns its words.
struct Tried {
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    path: Option<String>,
    ordinary: bool,
}

impl Tried {
    fn as_target(&self) -> Target<'_> {
        match &self.path {
            Some(path) => Target::Path(path),
            None => Target::Resource {
                group: &self.group,
                resource: &self.resource,
                subresource: &self.subresource,
                namespace: &self.namespace,
                name: &self.name,
            },
        }
    }
}

/// What is asked for: in a namespace and under a name that no rule knows, and in those they know.
fn targets(policy: &Policy, demand: &Demand) -> Vec<Tried> {
    let mut namespaces = vec![("somewhere".to_owned(), true)];
    let mut names = vec![("something".to_owned(), true)];
    for rule in &policy.rules {
        namespaces.extend(rule.namespaces.iter().map(|namespace| (namespace.clone(), false)));
        let of = rule.resources.iter().flat_map(|group| &group.resource_names);
        names.extend(of.map(|name| (name.clone(), false)));
    }
    namespaces.truncate(20);
    names.truncate(20);
    if demand.resource.is_empty() && demand.level > Level::Metadata {
        // Bodies of whatever is recorded with its body: any resource that a rule names will do.
        return named(policy);
    }
    if demand.resource.is_empty() {
        // Whatever it is: something that nobody has a rule for, and a path.
        let group = "example.com".to_owned();
        return vec![
            tried((&group, "somethings", ""), ("somewhere", "something"), true),
            Tried { path: Some("/somewhere".to_owned()), ..tried(("", "", ""), ("", ""), true) },
        ];
    }
    let mut targets = Vec::new();
    for group in &demand.groups {
        for (namespace, usual_place) in &namespaces {
            for (name, usual_name) in &names {
                let ordinary = *usual_place && *usual_name;
                let of = (group.as_str(), demand.resource.as_str(), demand.subresource.as_str());
                targets.push(tried(of, (namespace, name), ordinary));
            }
        }
    }
    targets
}

/// The resources that rules name.
fn named(policy: &Policy) -> Vec<Tried> {
    let mut targets =
        vec![tried(("example.com", "somethings", ""), ("somewhere", "something"), false)];
    for group in policy.rules.iter().flat_map(|rule| &rule.resources) {
        if group.resources.is_empty() {
            targets.push(tried(
                (&group.group, "somethings", ""),
                ("somewhere", "something"),
                false,
            ));
        }
        for resource in group.resources.iter().filter(|resource| !resource.contains('*')) {
            let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
            let of = (group.group.as_str(), resource, sub);
            targets.push(tried(of, ("somewhere", "something"), false));
        }
    }
    targets
}

fn tried(of: (&str, &str, &str), (namespace, name): (&str, &str), ordinary: bool) -> Tried {
    Tried {
        group: of.0.to_owned(),
        resource: of.1.to_owned(),
        subresource: of.2.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        path: None,
        ordinary,
    }
}

impl Demand {
    /// In words: `create deployments`.
    #[must_use]
    pub fn words(&self) -> String {
        let verb = if self.verb.is_empty() { "any" } else { &self.verb };
        match (self.resource.as_str(), self.subresource.as_str()) {
            ("", _) => format!("{verb} request"),
            (resource, "") => format!("{verb} {resource}"),
            (resource, sub) => format!("{verb} {resource}/{sub}"),
        }
    }
}
