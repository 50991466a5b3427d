//! Permissions as roles and bindings.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::permission::{Needed, Permission, Proof, Scope};
use super::usage::Identity;

/// A rule of a role, with what proves it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Rule {
    #[serde(rename = "apiGroups", skip_serializing_if = "Vec::is_empty")]
    pub(super) groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) resources: Vec<String>,
    #[serde(rename = "resourceNames", skip_serializing_if = "Vec::is_empty")]
    pub(super) names: Vec<String>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub(super) paths: Vec<String>,
    pub(super) verbs: Vec<String>,
    #[serde(rename = "proof")]
    pub(super) proofs: Vec<Proved>,
}

/// What shows that one verb on one resource is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Proved {
    pub(super) verb: String,
    pub(super) resource: String,
    pub(super) requests: u64,
    pub(super) done: u64,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) audit_ids: Vec<String>,
    pub(super) because: Option<&'static str>,
}

/// A role and where it is bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Role {
    /// `Role` or `ClusterRole`.
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// Of a Role.
    pub(super) namespace: Option<String>,
    pub(super) rules: Vec<Rule>,
    /// Namespaces of its bindings; none for one of the whole cluster.
    pub(super) bound_in: Vec<String>,
}

/// The roles for what is needed: one for the cluster, one for each namespace; namespaces that need
/// the same share one.
pub(super) fn roles(needed: &Needed, identity: &Identity) -> Vec<Role> {
    let base = base_name(identity);
    let mut roles = Vec::new();
    let mut alike: BTreeMap<Vec<Permission>, Vec<&str>> = BTreeMap::new();
    for (scope, permissions) in &needed.permissions {
        match scope {
            Scope::Cluster => roles.push(Role {
                kind: "ClusterRole",
                name: base.clone(),
                namespace: None,
                rules: rules(&[permissions]),
                bound_in: Vec::new(),
            }),
            Scope::Namespace(namespace) => {
                let same = permissions.keys().cloned().collect();
                alike.entry(same).or_default().push(namespace);
            }
        }
    }
    let mut shared = 0;
    for namespaces in alike.values() {
        let of: Vec<&BTreeMap<Permission, Proof>> = namespaces
            .iter()
            .filter_map(|namespace| {
                needed.permissions.get(&Scope::Namespace((*namespace).to_owned()))
            })
            .collect();
        let bound_in: Vec<String> = namespaces.iter().map(|name| (*name).to_owned()).collect();
        let merged = rules(&of);
        roles.push(if let [only] = bound_in.as_slice() {
            let (name, namespace) = (base.clone(), Some(only.clone()));
            Role { kind: "Role", name, namespace, rules: merged, bound_in }
        } else {
            shared += 1;
            let name = format!("{base}-namespaces-{shared}");
            Role { kind: "ClusterRole", name, namespace: None, rules: merged, bound_in }
        });
    }
    roles
}

/// What rules are told apart by: whether of paths, group, names of objects, verbs.
type Apart<'a> = (bool, &'a str, &'a [String], Vec<&'a str>);

/// Rules: resources of a group with the same verbs and names are one.
fn rules(of: &[&BTreeMap<Permission, Proof>]) -> Vec<Rule> {
    let Some(first) = of.first() else { return Vec::new() };
    let mut verbs: BTreeMap<(&str, &str, &[String]), BTreeSet<&str>> = BTreeMap::new();
    for permission in first.keys() {
        let key =
            (permission.group.as_str(), permission.resource.as_str(), permission.names.as_slice());
        verbs.entry(key).or_default().insert(&permission.verb);
    }
    let mut merged: BTreeMap<Apart<'_>, Vec<&str>> = BTreeMap::new();
    for ((group, resource, names), verbs) in verbs {
        let key = (resource.starts_with('/'), group, names, verbs.into_iter().collect());
        merged.entry(key).or_default().push(resource);
    }
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let rule = |((path, group, names, verbs), resources): (Apart<'_>, Vec<&str>)| {
        let proofs = of.iter().flat_map(|permissions| permissions.iter());
        let proofs = proofs.filter(|(permission, _)| {
            permission.group == group
                && permission.names == names
                && resources.contains(&permission.resource.as_str())
                && verbs.contains(&permission.verb.as_str())
        });
        Rule {
            groups: if path { Vec::new() } else { vec![group.to_owned()] },
            resources: if path { Vec::new() } else { owned(&resources) },
            names: names.to_vec(),
            paths: if path { owned(&resources) } else { Vec::new() },
            verbs: owned(&verbs),
            proofs: proofs.map(|(permission, proof)| proved(permission, proof)).collect(),
        }
    };
    merged.into_iter().map(rule).collect()
}

fn proved(permission: &Permission, proof: &Proof) -> Proved {
    Proved {
        verb: permission.verb.clone(),
        resource: permission.resource.clone(),
        requests: proof.requests,
        done: proof.done,
        first: proof.first.clone(),
        last: proof.last.clone(),
        audit_ids: proof.audit_ids.clone(),
        because: proof.because,
    }
}

/// A name that objects may have, and that nobody else's is.
fn base_name(identity: &Identity) -> String {
    let user = identity.user_name();
    let plain = match identity {
        Identity::User(name) => name.clone(),
        Identity::ServiceAccount { namespace, name } => format!("{namespace}-{name}"),
    };
    let kept = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let mut name: String = plain.chars().map(|c| if kept(c) { c } else { '-' }).take(60).collect();
    if name != plain {
        let hash: [u8; 32] = Sha256::digest(user.as_bytes()).into();
        let hash = hash.first_chunk().map_or(0, |start| u32::from_be_bytes(*start));
        name = format!("{}-{hash:08x}", name.trim_matches('-'));
    }
    format!("{}-used", name.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_of_objects() {
        let user = |name: &str| base_name(&Identity::User(name.to_owned()));
        assert_eq!(user("alice"), "alice-used");
        let odd = user("Alice/../x@example.com");
        assert!(odd.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        assert_ne!(user("a/b"), user("a:b"));
        assert!(user(&"x".repeat(400)).len() < 80);
        let account = Identity::ServiceAccount { namespace: "shop".into(), name: "cart".into() };
        assert_eq!(base_name(&account), "shop-cart-used");
    }

    #[test]
    fn resources_with_the_same_verbs_are_one_rule_and_namespaces_share_a_role() {
        let permission = |resource: &str, verb: &str| Permission {
            group: String::new(),
            resource: resource.to_owned(),
            verb: verb.to_owned(),
            names: Vec::new(),
        };
        let both = ["pods", "services"].map(|r| ["get", "list"].map(|v| permission(r, v)));
        let permissions: BTreeMap<Permission, Proof> =
            both.concat().into_iter().map(|of| (of, Proof::default())).collect();
        let mut needed = Needed::default();
        for namespace in ["a", "b"] {
            let scope = Scope::Namespace(namespace.to_owned());
            needed.permissions.insert(scope, permissions.clone());
        }
        let roles = roles(&needed, &Identity::User("alice".to_owned()));
        assert_eq!(roles.len(), 1);
        assert_eq!(
            (roles[0].kind, &roles[0].bound_in[..]),
            ("ClusterRole", &["a", "b"].map(String::from)[..])
        );
        assert_eq!(roles[0].rules.len(), 1);
        assert_eq!(roles[0].rules[0].resources, ["pods", "services"]);
        assert_eq!(roles[0].rules[0].verbs, ["get", "list"]);
    }
}
