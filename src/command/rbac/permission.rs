//! From requests to permissions: what a role must say so that they are allowed again.

use std::collections::{BTreeMap, BTreeSet};

use super::usage::{Identity, Impersonated, NAMES_MAX, Used};

/// Where a permission holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    Cluster,
    Namespace(String),
}

/// One verb on one resource, or on one path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Permission {
    pub(super) group: String,
    /// `pods/exec`; a path begins with `/`.
    pub(super) resource: String,
    pub(super) verb: String,
    /// Only these objects; empty for all.
    pub(super) names: Vec<String>,
}

/// What shows that it is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) requests: u64,
    pub(super) done: u64,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) audit_ids: Vec<String>,
    /// Why it is needed although no request asked for this verb.
    pub(super) because: Option<&'static str>,
}

/// What is needed, and what was left out and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needed {
    pub(super) permissions: BTreeMap<Scope, BTreeMap<Permission, Proof>>,
    pub(super) notes: Vec<String>,
}

/// Verbs that the API server has; others are words of clients.
const VERBS: [&str; 8] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// Whose objects get names that nobody chose.
const GENERATED: [&str; 9] = [
    "pods",
    "replicasets",
    "jobs",
    "events",
    "endpointslices",
    "controllerrevisions",
    "certificatesigningrequests",
    "tokenreviews",
    "subjectaccessreviews",
];

const WEBSOCKET: &str = "a session by WebSocket (get) is asked for as create too, since 1.35";
const CREATES: &str = "an object was made by update or apply";
const ACTED: &str = "it acted as others";

/// The permissions behind these requests.
pub(super) fn needed(used: &[Used], acted: &[Impersonated], identity: &Identity) -> Needed {
    let mut needed = Needed::default();
    let mut everybodys = 0;
    for one in used {
        if is_everybodys(one, identity) {
            everybodys += one.requests;
            continue;
        }
        if let Err(note) = is_plain(one) {
            needed.notes.push(note);
            continue;
        }
        let scope = one.namespace.clone().map_or(Scope::Cluster, Scope::Namespace);
        let names = names(one, used);
        let proof = proof(one);
        let resource = one.path.clone().unwrap_or_else(|| one.resource.clone());
        let permission = |verb: &str, names: Vec<String>| Permission {
            group: one.group.clone(),
            resource: resource.clone(),
            verb: verb.to_owned(),
            names,
        };
        needed.add(&scope, permission(&one.verb, names.clone()), proof.clone());
        let session =
            matches!(one.resource.as_str(), "pods/exec" | "pods/attach" | "pods/portforward");
        if session && one.verb == "get" {
            let proof = Proof { because: Some(WEBSOCKET), ..proof.clone() };
            needed.add(&scope, permission("create", names), proof);
        }
        if one.created && matches!(one.verb.as_str(), "update" | "patch") {
            let proof = Proof { because: Some(CREATES), ..proof };
            needed.add(&scope, permission("create", Vec::new()), proof);
        }
    }
    impersonations(&mut needed, acted);
    needed.drop_what_the_cluster_covers();
    warn_of_escalation(&mut needed, used);
    if everybodys > 0 {
        needed.notes.push(format!(
            "{everybodys} requests need no role of their own: system:discovery, system:basic-user \
             and their like give them to everybody"
        ));
    }
    needed
}

impl Needed {
    fn add(&mut self, scope: &Scope, permission: Permission, proof: Proof) {
        let permissions = self.permissions.entry(scope.clone()).or_default();
        match permissions.get_mut(&permission) {
            // What was asked for itself says more than what follows from something else.
            Some(known) if known.because.is_none() => {}
            Some(known) => *known = proof,
            None => drop(permissions.insert(permission, proof)),
        }
    }

    fn drop_what_the_cluster_covers(&mut self) {
        let cluster = self.permissions.get(&Scope::Cluster).cloned().unwrap_or_default();
        for (scope, permissions) in &mut self.permissions {
            if *scope != Scope::Cluster {
                permissions.retain(|permission, _| {
                    let whole = Permission { names: Vec::new(), ..permission.clone() };
                    !cluster.contains_key(&whole)
                });
            }
            // The same for all objects makes a list of some superfluous.
            let all: BTreeSet<Permission> =
                permissions.keys().filter(|of| of.names.is_empty()).cloned().collect();
            permissions.retain(|permission, _| {
                permission.names.is_empty()
                    || !all.contains(&Permission { names: Vec::new(), ..permission.clone() })
            });
        }
        self.permissions.retain(|_, permissions| !permissions.is_empty());
    }
}

/// Names of objects, where they are few and will be the same again.
fn names(one: &Used, all: &[Used]) -> Vec<String> {
    let base = |resource: &str| resource.split('/').next().unwrap_or_default().to_owned();
    let made = all.iter().any(|other| {
        other.namespace == one.namespace
            && other.group == one.group
            && base(&other.resource) == base(&one.resource)
            && (other.resource == base(&one.resource) && other.verb == "create" || other.created)
    });
    let listed = one.verb == "get"
        && all.iter().any(|other| {
            other.namespace == one.namespace
                && other.group == one.group
                && other.resource == one.resource
                && matches!(other.verb.as_str(), "list" | "watch")
        });
    let by_name = match one.verb.as_str() {
        "get" | "update" | "patch" | "delete" => true,
        "create" => one.resource.contains('/'),
        _ => false,
    };
    let few = one.names_count > 0
        && one.names_count <= NAMES_MAX
        && one.names.len() as u64 == one.names_count;
    let generated = GENERATED.contains(&base(&one.resource).as_str());
    if by_name && few && !one.nameless && !made && !listed && !generated && one.path.is_none() {
        one.names.iter().cloned().collect()
    } else {
        Vec::new()
    }
}

fn proof(one: &Used) -> Proof {
    Proof {
        requests: one.requests,
        done: one.done,
        first: one.first.clone(),
        last: one.last.clone(),
        audit_ids: one.audit_ids.clone(),
        because: None,
    }
}

/// What every authenticated identity has by the default bindings.
fn is_everybodys(one: &Used, identity: &Identity) -> bool {
    if let Some(path) = &one.path {
        let open = ["/api", "/apis", "/openapi", "/healthz", "/livez", "/readyz", "/version"];
        let below = |stem: &str| {
            path.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let tree = open.iter().take(3).any(|stem| below(stem));
        let flat = open.iter().skip(3).any(|stem| path == stem) || path == "/version/";
        let issuer = matches!(identity, Identity::ServiceAccount { .. })
            && matches!(path.as_str(), "/.well-known/openid-configuration" | "/openid/v1/jwks");
        return one.verb == "get" && (tree || flat || issuer);
    }
    one.verb == "create"
        && one.namespace.is_none()
        && matches!(
            (one.group.as_str(), one.resource.as_str()),
            ("authorization.k8s.io", "selfsubjectaccessreviews" | "selfsubjectrulesreviews")
                | ("authentication.k8s.io", "selfsubjectreviews")
        )
}

/// Whether its words mean themselves in a role. A client may ask for any: `*` in a role is
/// everything.
fn is_plain(one: &Used) -> Result<(), String> {
    let skipped = |why: &str| {
        let what = one.path.as_ref().unwrap_or(&one.resource);
        Err(format!("left out {} {}: {why}", one.verb, what))
    };
    let dns = |text: &str| {
        text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    };
    if let Some(path) = &one.path {
        if !path.starts_with('/') || path.contains('*') {
            return skipped("a role would read it as a pattern");
        }
        let verb = one.verb.bytes().all(|b| b.is_ascii_lowercase());
        return if verb { Ok(()) } else { skipped("it is no verb") };
    }
    if !VERBS.contains(&one.verb.as_str()) {
        return skipped("it is no verb of objects");
    }
    let parts: Vec<&str> = one.resource.split('/').collect();
    let resource = parts.len() <= 2 && parts.iter().all(|part| !part.is_empty() && dns(part));
    if !resource || !dns(&one.group) || one.namespace.as_deref().is_some_and(|of| !dns(of)) {
        return skipped("no resource has such a name");
    }
    let unnamed = matches!(one.verb.as_str(), "list" | "watch" | "create" | "deletecollection");
    if unnamed && one.done == 0 {
        return skipped("it was allowed, and always failed");
    }
    Ok(())
}

fn impersonations(needed: &mut Needed, acted: &[Impersonated]) {
    let mut add = |scope: Scope, resource: &str, name: &str, one: &Impersonated| {
        let permission = Permission {
            group: String::new(),
            resource: resource.to_owned(),
            verb: "impersonate".to_owned(),
            names: vec![name.to_owned()],
        };
        let proof = Proof {
            requests: one.requests,
            done: one.requests,
            audit_ids: vec![one.audit_id.clone()],
            because: Some(ACTED),
            ..Proof::default()
        };
        needed.add(&scope, permission, proof);
    };
    for one in acted {
        let account =
            one.user.strip_prefix("system:serviceaccount:").and_then(|r| r.split_once(':'));
        match account {
            Some((namespace, name)) => {
                add(Scope::Namespace(namespace.to_owned()), "serviceaccounts", name, one);
            }
            None => add(Scope::Cluster, "users", &one.user, one),
        }
        let implied = |group: &str| {
            group == "system:authenticated" || group.starts_with("system:serviceaccounts")
        };
        for group in one.groups.iter().filter(|group| !implied(group)) {
            add(Scope::Cluster, "groups", group, one);
        }
    }
}

fn warn_of_escalation(needed: &mut Needed, used: &[Used]) {
    let wrote = |one: &&Used| {
        one.group == "rbac.authorization.k8s.io"
            && matches!(one.verb.as_str(), "create" | "update" | "patch")
            && one.done > 0
    };
    if used.iter().any(|one| wrote(&one)) {
        needed.notes.push(
            "it wrote roles or bindings: who does so must hold what it grants, or have escalate \
             and bind, which the log does not show. Decide that yourself"
                .to_owned(),
        );
    }
    if used.iter().any(|one| one.resource == "certificatesigningrequests/approval") {
        needed
            .notes
            .push("it approved certificates: that needs `approve` on its signer too".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> Used {
        Used {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            requests: 2,
            done: 2,
            nameless: true,
            ..Used::default()
        }
    }

    fn named(verb: &str, resource: &str, names: &[&str]) -> Used {
        Used {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            names_count: names.len() as u64,
            nameless: false,
            ..one(verb, "", resource, Some("dev"))
        }
    }

    fn check(used: &[Used], expected: &[&str]) -> Needed {
        let needed = needed(used, &[], &Identity::User("alice".to_owned()));
        let words = |(scope, permissions): (&Scope, &BTreeMap<Permission, Proof>)| -> Vec<String> {
            let place = match scope {
                Scope::Cluster => "*",
                Scope::Namespace(namespace) => namespace,
            };
            permissions
                .keys()
                .map(|of| format!("{place} {} {} {:?}", of.verb, of.resource, of.names))
                .collect()
        };
        let mut found: Vec<String> = needed.permissions.iter().flat_map(words).collect();
        found.sort();
        assert_eq!(found, expected);
        needed
    }

    #[test]
    fn few_objects_are_named_and_many_or_made_ones_are_not() {
        check(&[named("get", "secrets", &["a", "b"])], &["dev get secrets [\"a\", \"b\"]"]);
        check(&[named("get", "pods", &["a"])], &["dev get pods []"]);
        let made =
            [named("get", "configmaps", &["a"]), one("create", "", "configmaps", Some("dev"))];
        check(&made, &["dev create configmaps []", "dev get configmaps []"]);
        let listed = [named("get", "secrets", &["a"]), one("list", "", "secrets", Some("dev"))];
        check(&listed, &["dev get secrets []", "dev list secrets []"]);
        let many = Used { names_count: 6, ..named("delete", "secrets", &["a"]) };
        check(&[many], &["dev delete secrets []"]);
    }

    #[test]
    fn what_follows_from_a_request_is_there_too() {
        let exec = named("get", "pods/exec", &["web-1"]);
        check(&[exec], &["dev create pods/exec []", "dev get pods/exec []"]);
        let applied = Used { created: true, ..named("patch", "services", &["a"]) };
        check(&[applied], &["dev create services []", "dev patch services []"]);
    }

    #[test]
    fn the_cluster_covers_its_namespaces() {
        let used = [one("list", "", "pods", None), one("list", "", "pods", Some("dev"))];
        check(&used, &["* list pods []"]);
    }

    #[test]
    fn words_of_clients_do_not_become_patterns() {
        let path = |path: &str| Used { path: Some(path.to_owned()), ..one("get", "", "", None) };
        let used = [
            one("get", "", "*", Some("dev")),
            one("*", "", "pods", Some("dev")),
            one("get", "*", "pods", Some("dev")),
            one("get", "", "pods/*", Some("dev")),
            one("get", "", "pods\n- x", Some("dev")),
            one("get", "", "pods", Some("d*")),
            path("/metrics*"),
            path("*"),
        ];
        let needed = check(&used, &[]);
        assert_eq!(needed.notes.len(), used.len(), "{:?}", needed.notes);
        check(&[path("/metrics")], &["* get /metrics []"]);
    }

    #[test]
    fn what_everybody_has_is_left_out() {
        let path = |path: &str| Used { path: Some(path.to_owned()), ..one("get", "", "", None) };
        let review = one("create", "authorization.k8s.io", "selfsubjectaccessreviews", None);
        let used = [path("/api"), path("/apis/apps/v1"), path("/version"), review];
        assert_eq!(check(&used, &[]).notes.len(), 1);
        check(&[path("/apisx")], &["* get /apisx []"]);
    }

    #[test]
    fn acting_as_others_is_named() {
        let acted = Impersonated {
            user: "bob".to_owned(),
            groups: vec!["ops".to_owned(), "system:authenticated".to_owned()],
            ..Impersonated::default()
        };
        let needed = needed(&[], &[acted], &Identity::User("alice".to_owned()));
        let found: Vec<String> = needed.permissions[&Scope::Cluster]
            .keys()
            .map(|of| format!("{} {} {:?}", of.verb, of.resource, of.names))
            .collect();
        assert_eq!(found, ["impersonate groups [\"ops\"]", "impersonate users [\"bob\"]"]);
    }
}
