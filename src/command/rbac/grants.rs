//! What an identity was granted and did not use, as far as bodies of roles and bindings tell.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::usage::{Identity, Used, word};
use crate::command::sql::{AskError, Asked};
use crate::question::control::Period;
use crate::question::text::{Value, quoted};

/// A binding of the identity, and what of it was not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Granted {
    /// `RoleBinding` or `ClusterRoleBinding`.
    pub(super) kind: String,
    pub(super) binding: String,
    pub(super) namespace: Option<String>,
    pub(super) role: String,
    pub(super) subject: String,
    /// Why it is not known what it grants.
    pub(super) unknown: Option<String>,
    /// Whether anything of it was used.
    pub(super) used: bool,
    /// `delete pods`; `*` as the role says it.
    pub(super) unused: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    api_groups: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    paths: Vec<String>,
}

/// Its bindings; the inner error is why nobody could tell.
///
/// # Errors
/// When nobody answers.
pub(super) fn granted(
    asked: &Asked,
    identity: &Identity,
    groups: &BTreeSet<String>,
    used: &[Used],
    period: Period,
) -> Result<Result<Vec<Granted>, String>> {
    let subject = match identity {
        Identity::User(name) => {
            format!("(subject_kind = 'User' AND subject_name = {})", quoted(name))
        }
        Identity::ServiceAccount { namespace, name } => format!(
            "(subject_kind = 'ServiceAccount' AND subject_name = {} AND subject_namespace = {})",
            quoted(name),
            quoted(namespace)
        ),
    };
    let of_groups: Vec<String> = groups.iter().map(|group| quoted(group)).collect();
    let of_groups = if of_groups.is_empty() {
        String::new()
    } else {
        format!(" OR (subject_kind = 'Group' AND subject_name IN ({}))", of_groups.join(", "))
    };
    let sql = format!(
        "SELECT kind, binding, namespace, role_kind, role_name, subject_kind, subject_name, rules, \
         unknown FROM rbac_grants({}) WHERE {subject}{of_groups} \
         ORDER BY kind, namespace, binding LIMIT 1000",
        Value::Time(period.until).sql()
    );
    let rows = match asked.rows(&sql) {
        Ok(rows) => rows,
        Err(AskError::Wrong(message)) => return Ok(Err(message)),
        Err(AskError::Failed(error)) => return Err(error),
    };
    // What everybody has is nobody's to give up.
    let own = rows.iter().filter(|row| word(row, "subject_name") != "system:authenticated");
    let granted = own.map(|row| {
        let namespace = row.get("namespace").and_then(serde_json::Value::as_str);
        let rules: Option<Vec<Rule>> = serde_json::from_str(&word(row, "rules")).ok();
        let (any, unused) =
            rules.as_deref().map_or((false, Vec::new()), |rules| unused(rules, used, namespace));
        let unknown = word(row, "unknown");
        Granted {
            kind: word(row, "kind"),
            binding: word(row, "binding"),
            namespace: namespace.map(str::to_owned),
            role: format!("{} {}", word(row, "role_kind"), word(row, "role_name")),
            subject: format!("{} {}", word(row, "subject_kind"), word(row, "subject_name")),
            unknown: (rules.is_none() && !unknown.is_empty()).then_some(unknown),
            used: any,
            unused,
        }
    });
    Ok(Ok(granted.collect()))
}

/// Whether anything was used, and each verb on each resource that was not.
fn unused(rules: &[Rule], used: &[Used], namespace: Option<&str>) -> (bool, Vec<String>) {
    let (mut any, mut unused) = (false, BTreeSet::new());
    let fits = |word: &str, used: &str| word == "*" || word == used;
    for rule in rules {
        for verb in &rule.verbs {
            for path in &rule.paths {
                let was = used.iter().any(|one| {
                    let asked = one.path.as_deref().unwrap_or_default();
                    let stem = path.strip_suffix('*');
                    fits(verb, &one.verb)
                        && (path == asked || stem.is_some_and(|stem| asked.starts_with(stem)))
                });
                any |= was;
                if !was {
                    unused.insert(format!("{verb} {path}"));
                }
            }
            for resource in &rule.resources {
                let was = used.iter().any(|one| {
                    let place = namespace.is_none() || one.namespace.as_deref() == namespace;
                    let group = rule.api_groups.iter().any(|group| fits(group, &one.group));
                    one.path.is_none()
                        && place
                        && group
                        && fits(verb, &one.verb)
                        && fits(resource, &one.resource)
                });
                any |= was;
                if !was {
                    let group = rule.api_groups.join(", ");
                    let of = if group.is_empty() { String::new() } else { format!(" ({group})") };
                    unused.insert(format!("{verb} {resource}{of}"));
                }
            }
        }
    }
    (any, unused.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_is_told_verb_by_verb() {
        let json = r#"[{"apiGroups":[""],"resources":["pods","secrets"],"verbs":["get","delete"]},
                       {"nonResourceURLs":["/metrics","/debug*"],"verbs":["get"]}]"#;
        let rules: Vec<Rule> = serde_json::from_str(json).unwrap();
        let pod = Used {
            verb: "get".to_owned(),
            resource: "pods".to_owned(),
            namespace: Some("dev".to_owned()),
            ..Used::default()
        };
        let path =
            Used { path: Some("/debug/x".to_owned()), verb: "get".into(), ..Used::default() };
        let (any, left) = unused(&rules, &[pod.clone(), path], Some("dev"));
        assert!(any);
        assert_eq!(left, ["delete pods", "delete secrets", "get /metrics", "get secrets"]);
        assert!(!unused(&rules, &[pod], Some("prod")).0);
    }
}
