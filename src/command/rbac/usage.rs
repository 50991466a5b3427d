//! What an identity was allowed, as the log tells.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::{Map, Value as Json};

use crate::command::sql::{Asked, failed};
use crate::question::control::Period;
use crate::question::text::{Value, quoted};

/// Objects that a rule names at most.
pub(super) const NAMES_MAX: u64 = 5;
/// Groups of requests that are looked at.
const GROUPS_MAX: usize = 20_000;

/// Whom a role is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    User(String),
    ServiceAccount { namespace: String, name: String },
}

impl Identity {
    /// As the API server knows it.
    pub(super) fn user_name(&self) -> String {
        match self {
            Self::User(name) => name.clone(),
            Self::ServiceAccount { namespace, name } => {
                format!("system:serviceaccount:{namespace}:{name}")
            }
        }
    }
}

/// Requests of one verb on one kind of thing in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) verb: String,
    pub(super) group: String,
    /// `pods`, `pods/exec`; empty for a path.
    pub(super) resource: String,
    pub(super) namespace: Option<String>,
    pub(super) path: Option<String>,
    /// Requests that were allowed.
    pub(super) requests: u64,
    /// Of these, answered without an error.
    pub(super) done: u64,
    /// Whether one of them made an object, whatever its verb.
    pub(super) created: bool,
    /// Whether some named no object.
    pub(super) nameless: bool,
    pub(super) names: BTreeSet<String>,
    pub(super) names_count: u64,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) audit_ids: Vec<String>,
}

/// Who acted as whom, by whom it may act as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Impersonated {
    pub(super) user: String,
    pub(super) groups: Vec<String>,
    pub(super) requests: u64,
    pub(super) audit_id: String,
}

/// The condition for requests of an identity that were allowed.
fn allowed(identity: &Identity, namespace: Option<&str>, period: Period) -> String {
    let place = namespace
        .map_or_else(String::new, |namespace| format!(" AND namespace = {}", quoted(namespace)));
    format!(
        "event_time >= {} AND event_time < {} AND stage <> 'RequestReceived' \
         AND decision = 'allow' AND coalesce(impersonated_user, user_name) = {}{place}",
        Value::Time(period.since).sql(),
        Value::Time(period.until).sql(),
        quoted(&identity.user_name())
    )
}

const KIND: &str = "verb, api_group, concat_ws('/', resource, subresource) AS what, namespace, \
                    CASE WHEN resource IS NULL THEN split_part(request_uri, '?', 1) END AS path";

/// What was used, in the order of places, resources and verbs.
///
/// # Errors
/// When nobody answers.
pub(super) fn used(
    asked: &Asked,
    identity: &Identity,
    namespace: Option<&str>,
    period: Period,
) -> Result<Vec<Used>> {
    let allowed = allowed(identity, namespace, period);
    let sql = format!(
        "SELECT {KIND}, count(DISTINCT audit_id) AS requests, \
         count(DISTINCT CASE WHEN response_code < 400 THEN audit_id END) AS done, \
         bool_or(response_code = 201) AS created, count(DISTINCT name) AS names, \
         bool_or(name IS NULL) AS nameless, min(event_time) AS first_time, \
         max(event_time) AS last_time, min(audit_id) AS an_audit_id, max(audit_id) AS audit_id \
         FROM events WHERE {allowed} GROUP BY 1, 2, 3, 4, 5 \
         ORDER BY namespace, api_group, what, path, verb LIMIT {GROUPS_MAX}"
    );
    let mut all: Vec<Used> = asked.rows(&sql).map_err(failed)?.iter().map(read).collect();
    let sql = format!(
        "SELECT verb, api_group, what, namespace, path, name FROM (SELECT {KIND}, name, \
         count(*) AS times FROM events WHERE {allowed} AND name IS NOT NULL \
         GROUP BY 1, 2, 3, 4, 5, 6) AS each_name \
         JOIN (SELECT verb AS v, coalesce(api_group, '') AS g, \
           concat_ws('/', resource, subresource) AS w, coalesce(namespace, '') AS n \
           FROM events WHERE {allowed} AND name IS NOT NULL GROUP BY 1, 2, 3, 4 \
           HAVING count(DISTINCT name) <= {NAMES_MAX}) AS few \
         ON verb = v AND coalesce(api_group, '') = g AND what = w AND coalesce(namespace, '') = n \
         LIMIT {GROUPS_MAX}"
    );
    let mut names: BTreeMap<[String; 4], BTreeSet<String>> = BTreeMap::new();
    for row in asked.rows(&sql).map_err(failed)? {
        let key = ["verb", "api_group", "what", "namespace"].map(|name| word(&row, name));
        names.entry(key).or_default().insert(word(&row, "name"));
    }
    for one in &mut all {
        let namespace = one.namespace.clone().unwrap_or_default();
        let key = [one.verb.clone(), one.group.clone(), one.resource.clone(), namespace];
        one.names = names.get(&key).cloned().unwrap_or_default();
    }
    Ok(all)
}

/// Whom it acted as.
///
/// # Errors
/// When nobody answers.
pub(super) fn impersonated(
    asked: &Asked,
    identity: &Identity,
    period: Period,
) -> Result<Vec<Impersonated>> {
    let sql = format!(
        "SELECT impersonated_user, impersonated_groups, count(*) AS requests, \
         max(audit_id) AS audit_id FROM events WHERE event_time >= {} AND event_time < {} \
         AND stage = 'ResponseComplete' AND user_name = {} AND impersonated_user IS NOT NULL \
         AND response_code < 400 GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 1000",
        Value::Time(period.since).sql(),
        Value::Time(period.until).sql(),
        quoted(&identity.user_name())
    );
    let rows = asked.rows(&sql).map_err(failed)?;
    let read = |row: &Map<String, Json>| Impersonated {
        user: word(row, "impersonated_user"),
        groups: serde_json::from_str(&word(row, "impersonated_groups")).unwrap_or_default(),
        requests: number(row, "requests"),
        audit_id: word(row, "audit_id"),
    };
    Ok(rows.iter().map(read).collect())
}

/// The groups that it came with.
///
/// # Errors
/// When nobody answers.
pub(super) fn groups(
    asked: &Asked,
    identity: &Identity,
    period: Period,
) -> Result<BTreeSet<String>> {
    let sql = format!(
        "SELECT DISTINCT user_groups FROM events WHERE event_time >= {} AND event_time < {} \
         AND user_name = {} AND impersonated_user IS NULL LIMIT 100",
        Value::Time(period.since).sql(),
        Value::Time(period.until).sql(),
        quoted(&identity.user_name())
    );
    let rows = asked.rows(&sql).map_err(failed)?;
    let lists = rows.iter().map(|row| {
        serde_json::from_str::<Vec<String>>(&word(row, "user_groups")).unwrap_or_default()
    });
    Ok(lists.flatten().collect())
}

fn read(row: &Map<String, Json>) -> Used {
    let optional = |name: &str| row.get(name).and_then(Json::as_str).map(str::to_owned);
    let truth = |name: &str| row.get(name).and_then(Json::as_bool).unwrap_or(false);
    let mut audit_ids = vec![word(row, "an_audit_id"), word(row, "audit_id")];
    audit_ids.dedup();
    Used {
        verb: word(row, "verb"),
        group: word(row, "api_group"),
        resource: word(row, "what"),
        namespace: optional("namespace"),
        path: optional("path"),
        requests: number(row, "requests"),
        done: number(row, "done"),
        created: truth("created"),
        nameless: truth("nameless"),
        names: BTreeSet::new(),
        names_count: number(row, "names"),
        first: word(row, "first_time"),
        last: word(row, "last_time"),
        audit_ids,
    }
}

pub(super) fn word(row: &Map<String, Json>, name: &str) -> String {
    row.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn number(row: &Map<String, Json>, name: &str) -> u64 {
    row.get(name).and_then(Json::as_u64).unwrap_or(0)
}
