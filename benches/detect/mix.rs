//! Detections as a large catalogue has them, made from a fixed seed: most of their conditions hold
//! for no event of a quiet cluster, or for a few in a thousand.

use fastrand::Rng;

/// A detection.
#[derive(Clone, Debug)]
pub(crate) struct Mixed {
    pub(crate) id: String,
    /// Its WHERE.
    pub(crate) filter: String,
    /// Window, slide and what is counted; `None` looks at each event alone.
    counts: Option<Counts>,
}

#[derive(Clone, Debug)]
struct Counts {
    window: &'static str,
    slide: &'static str,
    group: &'static str,
    what: &'static str,
    least: u32,
}

impl Mixed {
    /// One whose keys are as many as the events.
    pub(crate) fn endless() -> Self {
        let counts = Counts {
            window: "10m",
            slide: "1m",
            group: "user_name, name",
            what: "count(*)",
            least: 5,
        };
        let filter = "verb = 'get' AND NOT is_system_user(user_name)".to_owned();
        Self { id: "MIX-KEYS".to_owned(), filter, counts: Some(counts) }
    }

    /// The detection's file.
    pub(crate) fn text(&self) -> String {
        let Self { id, filter, counts } = self;
        let (front, query) = match counts {
            None => (
                "key: [user_name, resource]".to_owned(),
                format!(
                    "SELECT cluster, user_name, impersonated_user, source_ip, user_agent, verb, \
                     resource, namespace, name\nFROM events\nWHERE {filter}"
                ),
            ),
            Some(Counts { window, slide, group, what, least }) => (
                format!("window: {window}\nslide: {slide}"),
                format!(
                    "SELECT cluster, {group}, {what} AS n, count(*) AS requests, \
                     min(user_agent) AS user_agent\nFROM events\nWHERE {filter}\n\
                     GROUP BY cluster, {group}\nHAVING {what} >= {least}"
                ),
            ),
        };
        format!(
            "/*\nid: {id}\ntitle: One of many\nseverity: low\n{front}\n\
             describe: \"{{{{user_name}}}} did something\"\n*/\n{query}\n"
        )
    }
}

const SEED: u64 = 20_260_301;

/// What detections are about: resource, and whether objects of it carry pods.
const RESOURCES: [&str; 36] = [
    "secrets",
    "pods",
    "clusterrolebindings",
    "rolebindings",
    "clusterroles",
    "roles",
    "nodes",
    "serviceaccounts",
    "deployments",
    "daemonsets",
    "statefulsets",
    "jobs",
    "cronjobs",
    "configmaps",
    "namespaces",
    "services",
    "networkpolicies",
    "ingresses",
    "persistentvolumes",
    "persistentvolumeclaims",
    "storageclasses",
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "certificatesigningrequests",
    "customresourcedefinitions",
    "apiservices",
    "leases",
    "events",
    "endpoints",
    "endpointslices",
    "tokenreviews",
    "subjectaccessreviews",
    "resourcequotas",
    "limitranges",
    "priorityclasses",
    "runtimeclasses",
];
const WORKLOADS: &str = "resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', \
     'replicasets', 'jobs', 'cronjobs', 'podtemplates')";
const SUBRESOURCES: [&str; 11] = [
    "exec",
    "attach",
    "portforward",
    "proxy",
    "log",
    "token",
    "status",
    "approval",
    "ephemeralcontainers",
    "eviction",
    "scale",
];
const VERBS: [&str; 8] = [
    "verb IN ('create', 'update', 'patch')",
    "verb IN ('list', 'watch')",
    "verb = 'get'",
    "verb = 'delete'",
    "verb IN ('delete', 'deletecollection')",
    "verb = 'create'",
    "verb IN ('update', 'patch')",
    "verb = 'deletecollection'",
];
/// What the answer was.
const ANSWERS: [&str; 5] = [
    "response_code BETWEEN 200 AND 299",
    "response_code BETWEEN 200 AND 299 AND stage = 'ResponseComplete'",
    "response_code = 403 AND stage = 'ResponseComplete' AND (decision IS DISTINCT FROM 'allow')",
    "response_code = 404",
    "stage = 'ResponseStarted' AND response_code < 300",
];
/// Who does not count, and what makes it worse.
const REMARKS: [&str; 16] = [
    "NOT is_system_user(user_name)",
    "NOT is_system_user(user_name)",
    "NOT is_system_user(user_name) AND user_name NOT LIKE 'system:serviceaccount:kube-system:%'",
    "(user_name LIKE 'system:serviceaccount:kube-system:%' \
     AND user_agent LIKE 'kube-controller-manager/%') IS NOT TRUE \
     AND NOT is_system_user(user_name)",
    "user_name LIKE 'system:serviceaccount:%' AND pod_name IS NULL",
    "has_group(user_groups, 'system:masters')",
    "has_group(user_groups, 'system:unauthenticated')",
    "user_name = 'system:anonymous'",
    "impersonated_user IS NOT NULL",
    "user_agent LIKE 'curl/%'",
    "user_agent LIKE 'python-requests/%'",
    "(user_agent LIKE 'kubectl/%' AND user_name LIKE 'system:serviceaccount:%')",
    "NOT private_ip(source_ip)",
    "cidr_match(source_ip, '203.0.113.0/24')",
    "namespace = 'kube-system' AND NOT is_system_user(user_name)",
    "namespace IN ('prod', 'payments') AND NOT is_system_user(user_name)",
];
/// What needs a look at the URI.
const ADDRESSES: [&str; 5] = [
    "(url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')",
    "url_param(request_uri, 'labelSelector') IS NULL",
    "regexp_like(request_uri, '/proxy/(exec|run|pods)')",
    "exec_command(request_uri) LIKE '%/bin/%sh%'",
    "url_param(request_uri, 'fieldManager') = 'kubectl-edit'",
];
/// What needs a look at a body.
const BODIES: [&str; 8] = [
    "json_exists(request_object, '$..[?@.securityContext.privileged == true]')",
    "json_exists(request_object, '$..[?@.hostPath]')",
    "json_exists(request_object, '$..[?@.hostNetwork == true]')",
    "json_exists(request_object, '$..[?@.hostPID == true]')",
    "json_exists(request_object, '$..capabilities.add[?@ == \"SYS_ADMIN\"]')",
    "json_exists(request_object, '$..[?@.serviceAccountName == \"default\"]')",
    "json_exists(request_object, '$..[?search(@.image, \":latest$\")]')",
    "json_exists(request_object, '$..[?@.verbs[?@ == \"*\"]]')",
];
const WINDOWS: [(&str, &str); 4] = [("10m", "1m"), ("5m", "30s"), ("10m", "2m"), ("30m", "3m")];
const GROUPS: [&str; 4] =
    ["user_name", "user_name, source_ip", "user_name, namespace", "user_name, verb"];
const WHATS: [&str; 5] = [
    "count(*)",
    "count(DISTINCT name)",
    "count(DISTINCT namespace || '/' || name)",
    "count(DISTINCT resource)",
    "count(DISTINCT namespace)",
];

fn one<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    *rng.choice(of).expect("never empty")
}

/// So many detections, a quarter of them windowed; a smaller mix is the beginning of a larger one.
pub(crate) fn mix(number: usize) -> Vec<Mixed> {
    let mut rng = Rng::with_seed(SEED);
    (0..number)
        .map(|number| {
            let is_burst = number % 8 == 7;
            let filter = if is_burst { burst(&mut rng) } else { filter(&mut rng) };
            let (window, slide) = one(&mut rng, &WINDOWS);
            let counts = Counts {
                window,
                slide,
                group: one(&mut rng, &GROUPS),
                what: one(&mut rng, &WHATS),
                least: rng.u32(10..40),
            };
            let counts = (number % 4 == 3).then_some(counts);
            Mixed { id: format!("MIX-{number}"), filter, counts }
        })
        .collect()
}

/// Half of what is windowed looks at how often something is answered, whatever it is about.
fn burst(rng: &mut Rng) -> String {
    let parts = [one(rng, &ANSWERS[2..4]), one(rng, &REMARKS[..4]), one(rng, &VERBS)];
    parts.join("\n  AND ")
}

/// Conditions in the order in which people write them: what, how, came to what, by whom.
fn filter(rng: &mut Rng) -> String {
    let mut parts = Vec::new();
    if rng.u8(..8) == 0 {
        parts.push(WORKLOADS.to_owned());
        parts.push("verb IN ('create', 'update', 'patch')".to_owned());
        parts.push(one(rng, &ANSWERS[..2]).to_owned());
        parts.push(one(rng, &REMARKS[..4]).to_owned());
        parts.push(one(rng, &BODIES).to_owned());
        return parts.join("\n  AND ");
    }
    match rng.u8(..6) {
        0 => {
            let (one_of, other) = (one(rng, &RESOURCES), one(rng, &RESOURCES));
            parts.push(format!("resource IN ('{one_of}', '{other}')"));
        }
        1 => {
            parts.push(format!("resource = '{}'", one(rng, &["pods", "nodes", "services"])));
            parts.push(format!("subresource = '{}'", one(rng, &SUBRESOURCES)));
        }
        _ => {
            parts.push(format!("resource = '{}'", one(rng, &RESOURCES)));
            parts.push("subresource IS NULL".to_owned());
        }
    }
    parts.push(one(rng, &VERBS).to_owned());
    parts.push(one(rng, &ANSWERS).to_owned());
    parts.push(one(rng, &REMARKS).to_owned());
    if rng.u8(..3) == 0 {
        parts.push(one(rng, &ADDRESSES).to_owned());
    }
    parts.join("\n  AND ")
}

/// Detections whose conditions hold for every event, each another; a quarter of them windowed.
pub(crate) fn worst(number: usize) -> Vec<Mixed> {
    let columns = ["resource", "verb", "user_name", "user_agent", "namespace", "request_uri"];
    (0..number)
        .map(|number| {
            let column = columns.get(number % columns.len()).expect("a rest");
            let filter = format!(
                "({column} IS DISTINCT FROM 'none-{number}') AND verb IS NOT NULL \
                 AND (response_code IS DISTINCT FROM {number})"
            );
            let counts = Counts {
                window: "10m",
                slide: "1m",
                group: "user_name",
                what: "count(*)",
                least: 1_000_000_000,
            };
            let counts = (number % 4 == 3).then_some(counts);
            Mixed { id: format!("WORST-{number}"), filter, counts }
        })
        .collect()
}
