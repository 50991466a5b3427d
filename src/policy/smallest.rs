//! The least policy that gives all that is needed, and how policies are written.
//!
//! Promise: what it leaves out nobody needs of people and service accounts; a body is recorded only
//! where somebody needs it. Secrets, config maps and what holds tokens come first, so that no later
//! rule records more of them than is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::demand::{Demand, demands};
use super::document::{GroupResources, Level, Policy, Rule, Stage};
use crate::detect::detection::Needs;

/// What may hold credentials in its body.
const GUARDED: [(&str, &str); 4] = [
    ("", "secrets"),
    ("", "configmaps"),
    ("authentication.k8s.io", "tokenreviews"),
    ("", "serviceaccounts/token"),
];

/// The parts of the control plane that read all of the cluster all of the time.
const CONTROL_PLANE: [&str; 4] = [
    "system:apiserver",
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:kube-proxy",
];

/// A resource as rules name it, and its group.
type Named = (String, String);

/// The least policy for all of these.
#[must_use]
pub fn smallest<'a>(all: impl IntoIterator<Item = &'a Needs>) -> Policy {
    let demands: Vec<Demand> = all.into_iter().flat_map(demands).collect();
    let mut levels: BTreeMap<(Named, String), Level> = BTreeMap::new();
    let mut everything: Option<Level> = None;
    for demand in &demands {
        if demand.resource.is_empty() {
            // Bodies of everything are nobody's need: those of what others name will do.
            everything = Some(Level::Metadata);
            continue;
        }
        for group in &demand.groups {
            let named = (group.clone(), demand.named());
            let level = levels.entry((named, demand.verb.clone())).or_insert(Level::Metadata);
            *level = (*level).max(demand.level);
        }
    }
    let (guarded, open): (Levels, Levels) =
        levels.into_iter().partition(|((named, _), _)| is_guarded(named));
    let mut rules = guards(&guarded);
    rules.extend(noise());
    for level in [Level::RequestResponse, Level::Request] {
        rules.extend(grouped(&open, level));
    }
    match everything {
        Some(level) => rules.push(Rule::of(level)),
        None => rules.extend(grouped(&open, Level::Metadata)),
    }
    let needed = |stage| demands.iter().any(|demand| demand.stages.contains(&stage));
    // Of an event that needs no stage in particular a later one says more.
    let omitted =
        if needed(Stage::RequestReceived) { vec![] } else { vec![Stage::RequestReceived] };
    let mut policy = Policy::of(rules, omitted);
    policy.omit_managed_fields = true;
    policy
}

type Levels = BTreeMap<(Named, String), Level>;

impl Demand {
    fn named(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

fn is_guarded((group, resource): &Named) -> bool {
    GUARDED.iter().any(|(of, guarded)| {
        of == group && (guarded == resource || resource.split('/').next() == Some(*guarded))
    })
}

/// Bodies of what is guarded where they are needed, then never.
fn guards(levels: &Levels) -> Vec<Rule> {
    let mut rules = grouped(levels, Level::RequestResponse);
    rules.extend(grouped(levels, Level::Request));
    let mut rule = Rule::of(Level::Metadata);
    let mut by_group: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (group, resource) in GUARDED {
        let all = if resource == "secrets" { Some("secrets/*".to_owned()) } else { None };
        by_group.entry(group).or_default().extend([resource.to_owned()].into_iter().chain(all));
    }
    rule.resources =
        by_group.into_iter().map(|(group, resources)| group_resources(group, resources)).collect();
    rules.push(rule);
    rules
}

/// What the control plane and nodes do all the time about themselves.
fn noise() -> Vec<Rule> {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let none = || Rule::of(Level::None);
    let events =
        vec![group_resources("", owned(&["events"])), group_resources("events.k8s.io", vec![])];
    let leases = vec![group_resources("coordination.k8s.io", owned(&["leases"]))];
    let mut probed = owned(&["system:anonymous"]);
    probed.extend(owned(&CONTROL_PLANE[..3]));
    vec![
        Rule {
            users: probed,
            non_resource_urls: owned(&["/healthz*", "/livez*", "/readyz*"]),
            ..none()
        },
        Rule { users: owned(&CONTROL_PLANE), verbs: owned(&["get", "list", "watch"]), ..none() },
        Rule { users: owned(&CONTROL_PLANE), resources: leases.clone(), ..none() },
        Rule {
            user_groups: owned(&["system:nodes"]),
            resources: [leases, vec![group_resources("", owned(&["nodes/status", "pods/status"]))]]
                .concat(),
            ..none()
        },
        Rule {
            user_groups: owned(&["system:nodes", "system:serviceaccounts:kube-system"]),
            verbs: owned(&["create", "update", "patch"]),
            resources: events,
            ..none()
        },
    ]
}

/// Rules of one level, one for each set of verbs.
fn grouped(levels: &Levels, level: Level) -> Vec<Rule> {
    let mut verbs: BTreeMap<&Named, BTreeSet<&str>> = BTreeMap::new();
    for ((named, verb), _) in levels.iter().filter(|(_, of)| **of == level) {
        verbs.entry(named).or_default().insert(verb);
    }
    let mut by_verbs: BTreeMap<BTreeSet<&str>, BTreeMap<&str, Vec<String>>> = BTreeMap::new();
    for ((group, resource), verbs) in verbs {
        let groups = by_verbs.entry(verbs).or_default();
        groups.entry(group.as_str()).or_default().push(resource.clone());
    }
    let rule = |(verbs, groups): (BTreeSet<&str>, BTreeMap<&str, Vec<String>>)| Rule {
        verbs: verbs.into_iter().map(str::to_owned).collect(),
        resources: groups.into_iter().map(|(group, of)| group_resources(group, of)).collect(),
        ..Rule::of(level)
    };
    by_verbs.into_iter().map(rule).collect()
}

fn group_resources(group: &str, resources: Vec<String>) -> GroupResources {
    GroupResources { group: group.to_owned(), resources, resource_names: Vec::new() }
}

/// The rule that would give what is needed, as text.
#[must_use]
pub fn rule_for(needs: &Needs) -> String {
    let level = needs.level.as_deref().and_then(Level::named).unwrap_or(Level::Metadata);
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in &needs.resources {
        let of = resource.split('/').next().unwrap_or(resource);
        for group in super::demand::groups(of) {
            groups.entry(group).or_default().push(resource.clone());
        }
    }
    let rule = Rule {
        verbs: needs.verbs.clone(),
        resources: groups.iter().map(|(group, of)| group_resources(group, of.clone())).collect(),
        ..Rule::of(level)
    };
    let mut text = String::new();
    write_rule(&rule, &mut text);
    text
}

/// A policy as YAML, with a line above it.
#[must_use]
pub fn yaml(policy: &Policy, about: &str) -> String {
    let mut text = String::new();
    for line in about.lines() {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "# {line}");
    }
    text.push_str("apiVersion: audit.k8s.io/v1\nkind: Policy\n");
    if !policy.omit_stages.is_empty() {
        let stages: Vec<String> = policy.omit_stages.iter().map(|s| format!("{s:?}")).collect();
        let _ = writeln!(text, "omitStages: [{}]", stages.join(", "));
    }
    if policy.omit_managed_fields {
        text.push_str("omitManagedFields: true\n");
    }
    text.push_str("rules:\n");
    for rule in &policy.rules {
        write_rule(rule, &mut text);
    }
    text
}

fn write_rule(rule: &Rule, text: &mut String) {
    let list = |words: &[String]| -> String {
        words.iter().map(|word| word_of(word)).collect::<Vec<_>>().join(", ")
    };
    let _ = writeln!(text, "- level: {}", rule.level);
    for (name, words) in [
        ("users", &rule.users),
        ("userGroups", &rule.user_groups),
        ("verbs", &rule.verbs),
        ("namespaces", &rule.namespaces),
        ("nonResourceURLs", &rule.non_resource_urls),
    ] {
        if !words.is_empty() {
            let _ = writeln!(text, "  {name}: [{}]", list(words));
        }
    }
    if rule.resources.is_empty() {
        return;
    }
    text.push_str("  resources:\n");
    for group in &rule.resources {
        let _ = writeln!(text, "  - group: {}", word_of(&group.group));
        if !group.resources.is_empty() {
            let _ = writeln!(text, "    resources: [{}]", list(&group.resources));
        }
        if !group.resource_names.is_empty() {
            let _ = writeln!(text, "    resourceNames: [{}]", list(&group.resource_names));
        }
    }
}

/// A word in a flow list: quoted unless it is nothing but a plain word.
fn word_of(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/');
    if !word.is_empty()
        && word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(plain)
    {
        return word.to_owned();
    }
    serde_json::Value::String(word.to_owned()).to_string()
}
