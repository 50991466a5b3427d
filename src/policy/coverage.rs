//! Whether a policy records what detections and controls need, and which of its rules do.

use std::collections::BTreeSet;

use super::demand::{Demand, VERBS, demands};
use super::document::{GroupResources, Level, Policy, Request, Rule, Ruling, Stage, Target};
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

/// The rules, from 1, that record something of these needs well enough to be of use.
#[must_use]
pub fn feeders(policy: &Policy, needs: &Needs) -> BTreeSet<usize> {
    let askers = askers(policy);
    let mut feeders = BTreeSet::new();
    for demand in demands(needs) {
        for target in targets(policy, &demand) {
            for verb in target.verbs(&demand) {
                let rulings = askers.iter().map(|asker| asked(policy, asker, verb, &target));
                let enough = rulings.filter(|ruling| useless(ruling, &demand).is_none());
                feeders.extend(enough.filter_map(|ruling| ruling.rule));
            }
        }
    }
    feeders
}

/// Whether anybody's request is recorded well enough, and what is missing of ordinary ones.
fn judge(policy: &Policy, askers: &[Asker], demand: &Demand) -> (bool, Option<Gap>) {
    let (mut met, mut gap) = (false, None);
    for target in targets(policy, demand) {
        if met && !target.ordinary {
            continue;
        }
        for verb in target.verbs(demand) {
            for asker in askers {
                let ruling = asked(policy, asker, verb, &target);
                met |= useless(&ruling, demand).is_none();
                match lacking(&ruling, demand) {
                    Some(why) if asker.ordinary && target.ordinary && gap.is_none() => {
                        gap = Some(Gap { what: demand.words(), why });
                    }
                    _ => {}
                }
            }
        }
    }
    if !met && gap.is_none() {
        let why = "no rule records it".to_owned();
        gap = Some(Gap { what: demand.words(), why });
    }
    (met, gap)
}

fn asked(policy: &Policy, asker: &Asker, verb: &str, target: &Tried) -> Ruling {
    let (user, groups) = (asker.user.as_deref(), asker.groups.as_slice());
    policy.ruling(&Request { user, groups, verb, target: target.as_target() })
}

/// Why nothing of this is of use, if it is not.
fn useless(ruling: &Ruling, demand: &Demand) -> Option<String> {
    unrecorded(ruling, demand.least).or_else(|| {
        let missing = missing(ruling, demand);
        (!missing.is_empty() && missing.len() == demand.stages.len()).then(|| left_out(&missing))
    })
}

/// Why this is not all that is needed, if it is not.
fn lacking(ruling: &Ruling, demand: &Demand) -> Option<String> {
    unrecorded(ruling, demand.level).or_else(|| {
        let missing = missing(ruling, demand);
        (!missing.is_empty()).then(|| left_out(&missing))
    })
}

fn unrecorded(ruling: &Ruling, level: Level) -> Option<String> {
    let by = ruling.rule.map_or_else(|| "no rule matches".to_owned(), |n| format!("rule {n}"));
    if ruling.level == Level::None {
        let what = if ruling.rule.is_some() { format!("{by} records nothing of it") } else { by };
        return Some(what);
    }
    (ruling.level < level)
        .then(|| format!("{by} records it at {} only, not at {level}", ruling.level))
}

/// The stages that are needed and left out. Who names several reads some requests at one of them,
/// others at another.
fn missing(ruling: &Ruling, demand: &Demand) -> Vec<Stage> {
    let stages = demand.stages.iter().filter(|stage| ruling.omitted.contains(stage));
    stages.copied().collect()
}

fn left_out(stages: &[Stage]) -> String {
    let stages: Vec<String> = stages.iter().map(|stage| format!("{stage:?}")).collect();
    match stages.as_slice() {
        [stage] => format!("{stage} is left out (omitStages)"),
        stages => format!("{} are left out (omitStages)", stages.join(", ")),
    }
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
#[derive(Clone, Debug)]
struct Tried {
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    path: Option<String>,
    ordinary: bool,
    /// What may be asked of it, where the demand leaves that open.
    verbs: Vec<String>,
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

    /// What is asked of it: what the demand says, or what there is.
    fn verbs<'a>(&'a self, demand: &'a Demand) -> impl Iterator<Item = &'a str> {
        let wanted = std::slice::from_ref(&demand.verb);
        let verbs = if demand.verb.is_empty() { self.verbs.as_slice() } else { wanted };
        verbs.iter().map(String::as_str)
    }

    fn path(path: &str, ordinary: bool) -> Self {
        let of = tried(("", "", ""), ("", ""), ordinary);
        Self { path: Some(path.to_owned()), verbs: vec!["get".to_owned()], ..of }
    }
}

/// So many namespaces and names of rules are tried.
const TRIED_MAX: usize = 20;

/// What is asked for: in a namespace and under a name that no rule knows, and in those they know.
fn targets(policy: &Policy, demand: &Demand) -> Vec<Tried> {
    if demand.resource.is_empty() {
        // Whatever it is: what rules name feeds it too, as far as that goes.
        let mut targets: Vec<Tried> = policy.rules.iter().flat_map(named).collect();
        // Of bodies that is all: nobody needs those of everything.
        let whole = demand.level <= Level::Metadata;
        let unknown = ("example.com", "somethings", "");
        targets.push(tried(unknown, ("somewhere", "something"), whole));
        if whole {
            targets.push(Tried::path("/somewhere", true));
        }
        return targets;
    }
    let mut namespaces = vec![("somewhere".to_owned(), true)];
    let mut names = vec![("something".to_owned(), true)];
    for rule in &policy.rules {
        namespaces.extend(rule.namespaces.iter().map(|namespace| (namespace.clone(), false)));
        let of = rule.resources.iter().flat_map(|group| &group.resource_names);
        names.extend(of.map(|name| (name.clone(), false)));
    }
    namespaces.truncate(TRIED_MAX);
    names.truncate(TRIED_MAX);
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

/// What one rule names.
fn named(rule: &Rule) -> Vec<Tried> {
    if !rule.non_resource_urls.is_empty() {
        let stem = |url: &String| Tried::path(url.trim_end_matches('*'), false);
        return rule.non_resource_urls.iter().map(stem).collect();
    }
    let first = |words: &[String], other: &str| -> String {
        words.first().map_or(other, String::as_str).to_owned()
    };
    let namespace = first(&rule.namespaces, "somewhere");
    let mut targets = Vec::new();
    let mut push = |group: &GroupResources, resource: &str| {
        let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let known = |word: &str, other: &str| if word == "*" { other } else { word }.to_owned();
        let (of, resource) = (known(&group.group, "example.com"), known(resource, "somethings"));
        let (sub, name) = (known(sub, ""), first(&group.resource_names, "something"));
        let mut target = tried((&of, &resource, &sub), (&namespace, &name), false);
        if !rule.verbs.is_empty() {
            target.verbs.clone_from(&rule.verbs);
        }
        targets.push(target);
    };
    for group in &rule.resources {
        group.resources.iter().for_each(|resource| push(group, resource));
        if group.resources.is_empty() {
            push(group, "*");
        }
    }
    if rule.resources.is_empty() {
        let any = GroupResources {
            group: "*".to_owned(),
            resources: Vec::new(),
            resource_names: Vec::new(),
        };
        push(&any, "*");
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
        verbs: VERBS.map(str::to_owned).to_vec(),
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n";

    fn policy(rules: &str) -> Policy {
        Policy::parse(&format!("{HEAD}{rules}")).unwrap()
    }

    fn needs(level: &str, resources: &[&str], verbs: &[&str]) -> Needs {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let (resources, verbs) = (owned(resources), owned(verbs));
        Needs { level: Some(level.to_owned()), resources, verbs, ..Needs::default() }
    }

    fn check(rules: &str, needs: &Needs, expected: &str, fed_by: &[usize]) {
        let policy = policy(rules);
        let found = match coverage(&policy, needs) {
            Coverage::Whole => "whole",
            Coverage::Partly(gaps) => {
                assert!(!gaps.is_empty());
                "partly"
            }
            Coverage::Never(_) => "never",
        };
        let feeders: Vec<usize> = feeders(&policy, needs).into_iter().collect();
        assert_eq!((found, feeders.as_slice()), (expected, fed_by), "{rules}");
    }

    #[test]
    fn whoever_names_no_resource_is_fed_by_what_rules_name() {
        let pods = "- {level: Metadata, verbs: [create], resources: [{resources: [pods]}]}\n";
        let (any, create) = (needs("Metadata", &[], &[]), needs("Metadata", &[], &["create"]));
        check(pods, &any, "partly", &[1]);
        check(pods, &create, "partly", &[1]);
        check(pods, &needs("Metadata", &[], &["delete"]), "never", &[]);
        check(pods, &needs("Request", &[], &["create"]), "never", &[]);
        for rule in [
            "namespaces: [prod]",
            "users: [eve], resources: [{group: apps, resources: [\"*/scale\"]}]",
            "resources: [{resources: [secrets], resourceNames: [key]}]",
            "resources: [{group: \"*\", resources: [\"*\"]}]",
            "nonResourceURLs: [\"/metrics*\"]",
        ] {
            check(&format!("- {{level: Metadata, {rule}}}\n"), &any, "partly", &[1]);
        }
        let all = "- {level: None, verbs: [watch]}\n- level: Metadata\n";
        check(all, &any, "partly", &[2]);
        check(all, &create, "whole", &[2]);
        check("- level: Metadata\n", &any, "whole", &[1]);
        check("- level: None\n", &any, "never", &[]);
    }

    #[test]
    fn of_several_stages_each_has_its_requests() {
        let mut both = needs("Metadata", &["secrets"], &["watch"]);
        both.stages = ["ResponseStarted", "ResponseComplete"].map(str::to_owned).to_vec();
        let omit = |stages: &str| format!("- {{level: Metadata, omitStages: [{stages}]}}\n");
        check(&omit("RequestReceived"), &both, "whole", &[1]);
        check(&omit("ResponseComplete"), &both, "partly", &[1]);
        check(&omit("ResponseStarted"), &both, "partly", &[1]);
        check(&omit("ResponseStarted, ResponseComplete"), &both, "never", &[]);
    }

    #[test]
    fn the_rules_that_feed_are_told() {
        let rules = "- {level: None, users: [robot]}\n\
                     - {level: Request, verbs: [create], resources: [{resources: [pods]}]}\n\
                     - {level: Metadata, namespaces: [prod], resources: [{resources: [pods]}]}\n\
                     - {level: Metadata, resources: [{resources: [secrets]}]}\n";
        check(rules, &needs("Metadata", &["pods"], &["create", "delete"]), "partly", &[2, 3]);
        check(rules, &needs("Metadata", &["secrets"], &["get"]), "whole", &[4]);
        check(rules, &needs("Request", &["pods"], &["create"]), "whole", &[2]);
        check(rules, &needs("Metadata", &["nodes"], &[]), "never", &[]);
    }
}
