//! Words that audit events never say: verbs, stages and levels that do not exist, names of
//! resources as nobody writes them, an empty text where there is NULL.
//!
//! Verbs are those of `RequestInfo` (kubernetes/apiserver, `pkg/endpoints/request`): a resource's,
//! and the lower-case HTTP method elsewhere.

use std::collections::BTreeSet;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};

use super::reading::{Reading, for_each_expression, for_each_node};
use super::{Complaint, Level};
use crate::detect::compared::{Comparison, comparisons, literal_text};
use crate::detect::detection::Detection;
use crate::event::schema::{COLUMNS, Form};

const RULE: &str = "unknown-word";

/// Verbs of requests for resources.
pub(super) const VERBS: [&str; 8] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
/// Verbs that only requests off resources have, beside get, patch and delete.
pub(super) const METHODS: [&str; 6] = ["post", "put", "head", "options", "trace", "connect"];
/// The stages of a request.
pub(super) const STAGES: [&str; 4] =
    ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];
/// The levels of an event that is there.
pub(super) const LEVELS: [&str; 3] = ["Metadata", "Request", "RequestResponse"];
const DECISIONS: [&str; 2] = ["allow", "forbid"];
const SUBRESOURCES: [&str; 9] = [
    "exec",
    "attach",
    "portforward",
    "proxy",
    "log",
    "eviction",
    "binding",
    "approval",
    "ephemeralcontainers",
];

/// Resources of Kubernetes itself whose singular is a likely slip.
const RESOURCES: [&str; 42] = [
    "secrets",
    "configmaps",
    "pods",
    "nodes",
    "namespaces",
    "services",
    "serviceaccounts",
    "endpoints",
    "events",
    "persistentvolumes",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
    "limitranges",
    "podtemplates",
    "bindings",
    "deployments",
    "daemonsets",
    "statefulsets",
    "replicasets",
    "controllerrevisions",
    "jobs",
    "cronjobs",
    "roles",
    "clusterroles",
    "rolebindings",
    "clusterrolebindings",
    "networkpolicies",
    "ingresses",
    "ingressclasses",
    "poddisruptionbudgets",
    "podsecuritypolicies",
    "storageclasses",
    "volumeattachments",
    "leases",
    "apiservices",
    "customresourcedefinitions",
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "certificatesigningrequests",
    "tokenreviews",
    "subjectaccessreviews",
];

/// Judges the words of the query.
pub(super) fn judge(reading: &Reading<'_>) -> Vec<Complaint> {
    let derived = derived(&reading.written);
    let mut complaints = Vec::new();
    for_each_expression(&reading.written, |_, expr| {
        for comparison in comparisons(expr) {
            let column = comparison.column;
            if derived.contains(&column.name) {
                continue;
            }
            if let Some((rule, message, hint)) = slip(&comparison) {
                let span = column.spans.first().map(|span| span.start.line);
                let text = literal_text(comparison.value);
                let by_text = || reading.line_of_text(&format!("'{}'", text?));
                let line = by_text().or(span);
                complaints.push(reading.error(rule, line, message, &hint));
            }
        }
    });
    complaints
}

/// Judges the words of `needs:`.
pub(super) fn judge_needs(detection: &Detection) -> Vec<Complaint> {
    let needs = &detection.needs;
    let known = |word: &str, words: &[&str]| words.contains(&word);
    let mut slips = Vec::new();
    if let Some(level) = needs.level.as_deref().filter(|level| !known(level, &LEVELS)) {
        slips.push((format!("needs: `{level}` is not a level that records"), one_of(&LEVELS)));
    }
    let verbs = needs.verbs.iter().filter(|verb| verb_slip(verb).is_some());
    slips.extend(verbs.map(|verb| {
        let hint = verb_slip(verb).unwrap_or_default();
        (format!("needs: `{verb}` is not a verb of audit events"), hint)
    }));
    let stages = needs.stages.iter().filter(|stage| !known(stage, &STAGES));
    slips.extend(stages.map(|stage| (format!("needs: `{stage}` is not a stage"), one_of(&STAGES))));
    for resource in &needs.resources {
        let name = resource.split('/').next().unwrap_or_default();
        slips.extend(resource_slip(name).map(|hint| (format!("needs: resource `{name}`"), hint)));
    }
    let line = detection.line_of("needs");
    let complain = |(message, hint): (String, String)| {
        Complaint::of(detection, (RULE, Level::Error), line, message, &hint)
    };
    slips.into_iter().map(complain).collect()
}

/// The rule that a comparison breaks, what is wrong, and what to do.
fn slip(comparison: &Comparison<'_>) -> Option<(&'static str, String, String)> {
    let Comparison { column, op, value } = comparison;
    let name = column.name.as_str();
    let distinct = matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom);
    if value.is_null() && !distinct {
        let message = format!("`{name} {op} NULL` is never true");
        return Some(("null-comparison", message, format!("write `{name} IS NULL`")));
    }
    if name == "response_code" {
        let code = number(value).filter(|code| !(100..=599).contains(code))?;
        // Ends of ranges may lie outside.
        let exact = matches!(op, Operator::Eq) || distinct;
        let message = format!("no response has the code {code}");
        return exact.then(|| (RULE, message, "HTTP's codes are 100 to 599".to_owned()));
    }
    let text = literal_text(value)?;
    if text.is_empty() {
        let column = COLUMNS.iter().find(|column| column.name == name && !column.required)?;
        let is_text = matches!(column.form, Form::Text | Form::Repeating);
        let message =
            format!("`{name}` is never an empty text: what an event does not say is NULL");
        let finds_nothing = is_text && matches!(op, Operator::Eq);
        return finds_nothing.then(|| (RULE, message, format!("write `{name} IS NULL`")));
    }
    let (what, hint) = match name {
        "verb" => ("not a verb of audit events", verb_slip(text)?),
        "stage" => ("not a stage", unless(&STAGES, text)?),
        "level" => ("not a level", unless(&LEVELS, text)?),
        "decision" => ("not a decision of authorization", unless(&DECISIONS, text)?),
        "resource" => ("not a resource's name", resource_slip(text)?),
        "subresource" if text.contains('/') => {
            ("not a subresource", "`resource` is a column of its own".to_owned())
        }
        "api_group" => ("not an API group", group_slip(text)?),
        "user_name" if text == "system:masters" || text.starts_with("system:serviceaccounts") => {
            ("a group", format!("write `has_group(user_groups, '{text}')`"))
        }
        _ => return None,
    };
    Some((RULE, format!("`{text}` is {what}"), hint))
}

fn verb_slip(verb: &str) -> Option<String> {
    if VERBS.contains(&verb) || METHODS.contains(&verb) {
        return None;
    }
    let hint = match verb {
        "read" => "reading is `get`, `list` and `watch`".to_owned(),
        "write" | "modify" | "edit" => {
            "writing is `create`, `update`, `patch`, `delete` and `deletecollection`".to_owned()
        }
        "impersonate" => "look at `impersonated_user IS NOT NULL`".to_owned(),
        "bind" | "escalate" | "use" | "approve" | "sign" | "attest" => {
            "it is asked of authorization only, never a request's verb: look at the resource that \
             is written"
                .to_owned()
        }
        _ if SUBRESOURCES.contains(&verb) => {
            format!("it is a subresource: `subresource = '{verb}'`, with verbs create and get")
        }
        _ if VERBS.contains(&verb.to_lowercase().as_str()) => "verbs are lower case".to_owned(),
        _ => one_of(&VERBS),
    };
    Some(hint)
}

fn resource_slip(resource: &str) -> Option<String> {
    if let Some((resource, subresource)) = resource.split_once('/') {
        return Some(format!("write `resource = '{resource}' AND subresource = '{subresource}'`"));
    }
    let lower = resource.to_lowercase();
    let stem = lower.strip_suffix('y').map(|stem| format!("{stem}ies"));
    let plurals = [Some(format!("{lower}s")), Some(format!("{lower}es")), stem];
    let known = |name: &&String| RESOURCES.contains(&name.as_str());
    if let Some(plural) = plurals.iter().flatten().find(known) {
        return Some(format!("write the plural: `{plural}`"));
    }
    (lower != resource).then(|| format!("resources are lower case: `{lower}`"))
}

fn group_slip(group: &str) -> Option<String> {
    match group {
        "core" | "v1" => Some("the core group is NULL: `api_group IS NULL`".to_owned()),
        "rbac" => Some("write `rbac.authorization.k8s.io`".to_owned()),
        _ => group.contains('/').then(|| "`api_version` is a column of its own".to_owned()),
    }
}

fn unless(words: &[&str], text: &str) -> Option<String> {
    (!words.contains(&text)).then(|| one_of(words))
}

fn one_of(words: &[&str]) -> String {
    format!("use one of: {}", words.join(", "))
}

fn number(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int64(number) => *number,
        ScalarValue::Int32(number) => number.map(i64::from),
        _ => None,
    }
}

/// Names that the query gives to values of its own: they are not columns of `events`.
fn derived(plan: &LogicalPlan) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for_each_node(plan, |node| {
        let LogicalPlan::Projection(projection) = node else { return };
        for expr in &projection.expr {
            if let Expr::Alias(alias) = expr {
                let is_same = matches!(&*alias.expr, Expr::Column(c) if c.name == alias.name);
                if !is_same {
                    names.insert(alias.name.clone());
                }
            }
        }
    });
    names
}
