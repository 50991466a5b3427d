//! What policies say of requests, compared with another way of saying it.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
metadata: {name: x}
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: ["system:anonymous"]
  nonResourceURLs: ["/healthz*", "/version"]
- level: Metadata
  resources:
  - group: ""
    resources: ["secrets", "configmaps/*"]
    resourceNames: []
  - group: apps
    resources: ["*/scale"]
- level: RequestResponse
  verbs: ["create"]
  userGroups: ["ops"]
  namespaces: ["dev", ""]
  omitStages: [ResponseStarted]
  omitManagedFields: false
- level: Request
  resources: [{group: "", resources: ["pods"], resourceNames: ["a"]}, {group: batch}]
- level: Metadata
  nonResourceURLs: ["*"]
"#;

fn check(user: Option<&str>, groups: &[&str], verb: &str, target: Target<'_>, rule: Option<usize>) {
    let policy = Policy::parse(POLICY).unwrap();
    let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    let ruling = policy.ruling(&Request { user, groups: &groups, verb, target });
    assert_eq!(ruling.rule, rule, "{user:?} {verb} {target:?}");
}

fn object<'a>(of: &'a str, namespace: &'a str, name: &'a str) -> Target<'a> {
    let (group, rest) = of.split_once(':').unwrap_or(("", of));
    let (resource, subresource) = rest.split_once('/').unwrap_or((rest, ""));
    Target::Resource { group, resource, subresource, namespace, name }
}

#[test]
fn the_first_rule_that_matches_decides() {
    check(Some("system:anonymous"), &[], "get", Target::Path("/healthz/etcd"), Some(1));
    check(Some("system:anonymous"), &[], "get", Target::Path("/version/x"), Some(5));
    // A refused credential has no user: no rule with users is about it.
    check(None, &[], "get", Target::Path("/healthz"), Some(5));
    check(Some("a"), &[], "get", object("secrets", "dev", "x"), Some(2));
    check(Some("a"), &[], "get", object("secrets/x", "dev", "x"), None);
    // `configmaps/*` is the resource itself too.
    check(Some("a"), &[], "get", object("configmaps", "dev", "x"), Some(2));
    check(Some("a"), &[], "get", object("configmaps/status", "dev", "x"), Some(2));
    check(Some("a"), &[], "update", object("apps:deployments/scale", "dev", "x"), Some(2));
    check(Some("a"), &[], "update", object("deployments/scale", "dev", "x"), None);
    check(Some("a"), &["dev", "ops"], "create", object("services", "dev", ""), Some(3));
    check(Some("a"), &["ops"], "create", object("nodes", "", ""), Some(3));
    check(Some("a"), &["ops"], "create", object("services", "prod", ""), None);
    check(Some("a"), &["ops"], "create", Target::Path("/x"), Some(5));
    check(None, &["ops"], "create", object("services", "dev", ""), None);
    check(Some("a"), &[], "get", object("pods", "dev", "a"), Some(4));
    check(Some("a"), &[], "get", object("pods", "dev", "b"), None);
    check(Some("a"), &[], "get", object("pods/log", "dev", "a"), None);
    check(Some("a"), &[], "get", object("batch:jobs/status", "dev", "b"), Some(4));
}

#[test]
fn stages_and_fields_are_left_out_by_both() {
    let policy = Policy::parse(POLICY).unwrap();
    let groups = ["ops".to_owned()];
    let request = |verb, target| Request { user: Some("a"), groups: &groups, verb, target };
    let ruling = policy.ruling(&request("create", object("services", "dev", "")));
    assert_eq!(ruling.omitted, [Stage::RequestReceived, Stage::ResponseStarted]);
    assert!(!ruling.omit_managed_fields);
    let ruling = policy.ruling(&request("get", object("secrets", "dev", "")));
    assert_eq!(ruling.omitted, [Stage::RequestReceived]);
    assert!(ruling.omit_managed_fields);
}

#[test]
fn what_the_api_server_refuses_is_refused() {
    let wrong = |from: &str, to: &str, expected: &str| {
        let error = Policy::parse(&POLICY.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    wrong("kind: Policy", "kind: Police", "Police");
    wrong("audit.k8s.io/v1", "audit.k8s.io/v1beta1", "v1beta1");
    wrong("level: None", "level: Nothing", "line ");
    wrong("users:", "user:", "line ");
    wrong("/healthz*", "/*/healthz", "no path with");
    wrong("/healthz*", "healthz", "no path with");
    wrong("namespaces: [\"dev\", \"\"]", "namespaces: [x]\n  nonResourceURLs: [/x]", "both paths");
    wrong("resources: [\"pods\"], ", "", "resourceNames without");
    let none = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []";
    assert!(Policy::parse(none).unwrap_err().to_string().contains("no rules"));
    for text in ["", "null", "[]", "a: &a [*a]", "{{", "kind: Policy"] {
        assert!(Policy::parse(text).is_err(), "{text}");
    }
}

fn words(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    vec(select(of).prop_map(str::to_owned), 0..3)
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let resources = (
        select(&["", "apps", "*"][..]),
        words(&["pods", "pods/log", "pods/*", "*/log", "*", "nodes"]),
        words(&["a", "b"]),
    )
        .prop_map(|(group, resources, resource_names)| GroupResources {
            group: group.to_owned(),
            resources,
            resource_names,
        });
    let rule = (
        select(&[Level::None, Level::Metadata, Level::Request, Level::RequestResponse][..]),
        words(&["u", "v"]),
        words(&["g", "h"]),
        words(&["get", "create"]),
        vec(resources, 0..3),
        words(&["n", "m", ""]),
        words(&["/a", "/a*", "*", "/"]),
    );
    let rule =
        rule.prop_map(|(level, users, user_groups, verbs, resources, namespaces, urls)| Rule {
            users,
            user_groups,
            verbs,
            resources,
            namespaces,
            non_resource_urls: urls,
            ..Rule::of(level)
        });
    vec(rule, 0..5)
}

/// The same by sets: each pattern is spelled out into all that it means among the few words there
/// are.
fn means(rule: &Rule, request: &Request<'_>) -> bool {
    let user = request.user.map(str::to_owned);
    let user_fits = rule.users.is_empty() || user.as_ref().is_some_and(|u| rule.users.contains(u));
    let both = request.groups.iter().filter(|group| rule.user_groups.contains(group)).count();
    let groups_fit = rule.user_groups.is_empty() || (user.is_some() && both > 0);
    let verb_fits = rule.verbs.is_empty() || rule.verbs.contains(&request.verb.to_owned());
    let scoped = !rule.resources.is_empty() || !rule.namespaces.is_empty();
    let target_fits = match request.target {
        Target::Path(path) => {
            let open = rule.non_resource_urls.is_empty() && !scoped;
            let spelled = |url: &String| -> Vec<&str> {
                ["/a", "/ab", "/a/c", "/x", "/"]
                    .into_iter()
                    .filter(|known| match url.as_str() {
                        "*" => true,
                        "/a*" => known.as_bytes().get(1) == Some(&b'a'),
                        exact => exact == *known,
                    })
                    .collect()
            };
            open || (!scoped && rule.non_resource_urls.iter().any(|u| spelled(u).contains(&path)))
        }
        Target::Resource { group, resource, subresource, namespace, name } => {
            let full = format!("{resource}/{subresource}");
            let spelled = |pattern: &str| -> Vec<String> {
                let all = ["pods/", "pods/log", "nodes/", "nodes/log"];
                let kept = all.into_iter().filter(|known| match pattern {
                    "*" => true,
                    "pods/*" => known.starts_with("pods/"),
                    "*/log" => known.ends_with("/log"),
                    "pods/log" => *known == "pods/log",
                    plain => *known == format!("{plain}/"),
                });
                kept.map(str::to_owned).collect()
            };
            let fits = |of: &GroupResources| {
                [group, "*"].contains(&of.group.as_str())
                    && (of.resources.is_empty()
                        || ((of.resource_names.is_empty()
                            || of.resource_names.contains(&name.to_owned()))
                            && of.resources.iter().any(|p| spelled(p).contains(&full))))
            };
            let resources_fit = rule.resources.is_empty() || rule.resources.iter().any(fits);
            let place =
                rule.namespaces.is_empty() || rule.namespaces.contains(&namespace.to_owned());
            if scoped { resources_fit && place } else { rule.non_resource_urls.is_empty() }
        }
    };
    user_fits && groups_fit && verb_fits && target_fits
}

proptest! {
    #[test]
    fn rulings_are_those_of_the_rules_spelled_out(
        rules in rules(),
        user in option::of(select(&["u", "v", "w"][..])),
        groups in words(&["g", "h", "i"]),
        verb in select(&["get", "create", "list"][..]),
        path in option::of(select(&["/a", "/ab", "/a/c", "/x", "/"][..])),
        group in select(&["", "apps", "batch"][..]),
        resource in select(&["pods", "nodes"][..]),
        subresource in select(&["", "log"][..]),
        namespace in select(&["n", "m", ""][..]),
        name in select(&["a", "b", ""][..]),
    ) {
        let target = path.map_or(
            Target::Resource { group, resource, subresource, namespace, name },
            Target::Path,
        );
        let request = Request { user, groups: &groups, verb, target };
        let expected = (1..).zip(&rules).find(|(_, rule)| means(rule, &request));
        let expected = expected.map(|(number, rule)| (number, rule.level));
        let ruling = Policy::of(rules.clone(), Vec::new()).ruling(&request);
        prop_assert_eq!(ruling.rule.map(|number| (number, ruling.level)), expected);
        // A rule behind changes nothing for what matched before.
        let mut more = rules;
        more.push(Rule::of(Level::RequestResponse));
        let later = Policy::of(more, Vec::new()).ruling(&request);
        prop_assert_eq!(later.level, expected.map_or(Level::RequestResponse, |(_, level)| level));
    }
}
