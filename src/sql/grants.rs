//! `rbac_grants(as_of)`: who had which rights at a time, rebuilt from writes of roles and bindings.
//!
//! Promise: one row per subject of each binding that existed at that time as far as events tell;
//! what they do not tell is NULL, and `known` is false with the reason in `unknown`. Never: a
//! binding that was written before the first event is left out in silence where a request was
//! allowed by it: the API server names the binding in its reason.
//!
//! `rbac_grants()` is the latest state. The time is a constant: `'2026-03-01T12:00:00Z'`,
//! `now() - INTERVAL '7 days'`.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{ParamValues, exec_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use futures::FutureExt as _;

/// Its name in SQL.
pub const NAME: &str = "rbac_grants";

/// The last time that there is: year 2255, microseconds since 1970.
const LATEST: i64 = 9_000_000_000_000_000;

/// The text behind it; `$as_of` is the time.
pub const GRANTS: &str = r#"
WITH written AS (
  -- Writes that were done, each with the whole object where it was logged.
  SELECT
    cluster, event_time, event_id, audit_id, user_name, verb, resource, namespace, request_uri,
    coalesce(name, json_value(request_object, '$.metadata.name'),
      json_value(response_object, '$.metadata.name')) AS name,
    CASE
      WHEN json_exists(response_object, '$["roleRef","rules"]') THEN response_object
      WHEN verb IN ('create', 'update') THEN request_object
    END AS body
  FROM events
  WHERE event_time <= $as_of AND api_group = 'rbac.authorization.k8s.io'
    AND resource IN ('roles', 'clusterroles', 'rolebindings', 'clusterrolebindings')
    AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
    AND stage IN ('ResponseComplete', 'Panic') AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
), latest AS (
  SELECT cluster, resource, namespace, name, max(event_time) AS event_time,
    last_value(event_id ORDER BY event_time, event_id) AS event_id,
    last_value(audit_id ORDER BY event_time, event_id) AS audit_id,
    last_value(user_name ORDER BY event_time, event_id) AS user_name,
    last_value(verb ORDER BY event_time, event_id) AS verb,
    last_value(body ORDER BY event_time, event_id) AS body
  FROM written WHERE verb <> 'deletecollection'
  GROUP BY cluster, resource, namespace, name
), swept AS (
  -- All of a namespace at once: with a selector nobody knows which.
  SELECT cluster, resource, namespace, max(event_time) AS swept_at,
    bool_and(url_param(request_uri, 'labelSelector') IS NULL
      AND url_param(request_uri, 'fieldSelector') IS NULL) AS whole
  FROM written WHERE verb = 'deletecollection'
  GROUP BY cluster, resource, namespace
), standing AS (
  SELECT latest.*, swept.swept_at
  FROM latest LEFT JOIN swept ON latest.cluster = swept.cluster
    AND latest.resource = swept.resource
    AND (latest.namespace IS NOT DISTINCT FROM swept.namespace)
    AND swept.swept_at > latest.event_time
  WHERE latest.verb <> 'delete' AND (swept.whole IS NOT TRUE)
), roles AS (
  SELECT cluster, CASE WHEN resource = 'roles' THEN 'Role' ELSE 'ClusterRole' END AS kind,
    CASE WHEN resource = 'roles' THEN namespace END AS namespace, name,
    CASE WHEN swept_at IS NULL AND json_exists(body, '$.rules') THEN json_query(body, '$.rules[*]')
    END AS rules
  FROM standing WHERE resource IN ('roles', 'clusterroles')
), bindings AS (
  SELECT
    cluster, CASE WHEN resource = 'rolebindings' THEN 'RoleBinding' ELSE 'ClusterRoleBinding' END
      AS kind,
    namespace, name, event_time, event_id, audit_id, user_name, swept_at,
    json_value(body, '$.roleRef.kind') AS role_kind,
    json_value(body, '$.roleRef.name') AS role_name,
    unnest(coalesce(nullif(json_get_array(body, 'subjects'), []), [NULL])) AS subject
  FROM standing WHERE resource IN ('rolebindings', 'clusterrolebindings')
), named AS (
  -- Bindings that the API server gave as its reason to allow a request.
  SELECT cluster,
    regexp_match(decision_reason, concat('^RBAC: allowed by (ClusterRoleBinding|RoleBinding) ',
      '"([^"]*)" of (ClusterRole|Role) "([^"]*)" to (User|Group|ServiceAccount) "([^"]*)"$'))
      AS words,
    max(event_time) AS event_time, max(event_id) AS event_id, max(audit_id) AS audit_id
  FROM (SELECT cluster, decision_reason, max(event_time) AS event_time, max(event_id) AS event_id,
      max(audit_id) AS audit_id
    FROM events
    WHERE event_time <= $as_of AND decision_reason LIKE 'RBAC: allowed by %'
    GROUP BY cluster, decision_reason) AS reasons
  GROUP BY 1, 2
), used AS (
  SELECT cluster, words[1] AS kind,
    CASE WHEN words[1] = 'RoleBinding' THEN split_part(words[2], '/', 2) END AS namespace,
    CASE WHEN words[1] = 'RoleBinding' THEN split_part(words[2], '/', 1) ELSE words[2] END AS name,
    words[3] AS role_kind, words[4] AS role_name, words[5] AS subject_kind,
    CASE WHEN words[5] = 'ServiceAccount' THEN split_part(words[6], '/', 2) END
      AS subject_namespace,
    CASE WHEN words[5] = 'ServiceAccount' THEN split_part(words[6], '/', 1) ELSE words[6] END
      AS subject_name,
    event_time, event_id, audit_id
  FROM named WHERE words IS NOT NULL
), seen AS (
  SELECT DISTINCT cluster, resource, namespace, name FROM written
  WHERE resource IN ('rolebindings', 'clusterrolebindings')
)
SELECT
  bindings.cluster,
  bindings.kind,                             -- RoleBinding or ClusterRoleBinding
  bindings.namespace,                        -- NULL: in the whole cluster
  bindings.name AS binding,
  bindings.role_kind, bindings.role_name,
  json_value(subject, '$.kind') AS subject_kind,
  json_value(subject, '$.namespace') AS subject_namespace,
  json_value(subject, '$.name') AS subject_name,
  roles.rules,                               -- JSON list; NULL: the role was not seen
  bindings.event_time AS granted_at,         -- its last write; NULL: before the first event
  bindings.user_name AS granted_by,
  bindings.event_id, bindings.audit_id,
  bindings.swept_at IS NULL AND role_name IS NOT NULL AND roles.rules IS NOT NULL AS known,
  CASE
    WHEN bindings.swept_at IS NOT NULL THEN 'some of its kind were deleted by a selector since'
    WHEN role_name IS NULL THEN 'its body was not logged'
    WHEN roles.rules IS NULL THEN 'the role was not written, or its body not logged, until then'
  END AS unknown                             -- why the past is not known
FROM bindings LEFT JOIN roles ON bindings.cluster = roles.cluster
  AND bindings.role_kind = roles.kind AND bindings.role_name = roles.name
  AND (bindings.role_kind = 'ClusterRole' OR bindings.namespace = roles.namespace)
UNION ALL
SELECT
  used.cluster, used.kind, used.namespace, used.name, used.role_kind, used.role_name,
  used.subject_kind, used.subject_namespace, used.subject_name, roles.rules, NULL, NULL,
  used.event_id, used.audit_id, false,
  'it was written before the first event, and is known by what it allowed only'
FROM used LEFT JOIN roles ON used.cluster = roles.cluster AND used.role_kind = roles.kind
  AND used.role_name = roles.name
  AND (used.role_kind = 'ClusterRole' OR used.namespace = roles.namespace)
LEFT JOIN seen ON used.cluster = seen.cluster AND used.name = seen.name
  AND (used.namespace IS NOT DISTINCT FROM seen.namespace)
  AND seen.resource = concat(lower(used.kind), 's')
WHERE seen.name IS NULL"#;

/// The function, with what it is made of.
#[derive(Debug)]
struct Grants(LogicalPlan);

impl TableFunctionImpl for Grants {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let as_of = match args.exprs() {
            [] => ScalarValue::TimestampMicrosecond(Some(LATEST), Some(Arc::from("UTC"))),
            [Expr::Literal(value, _)] if value.is_null() => {
                ScalarValue::TimestampMicrosecond(Some(LATEST), Some(Arc::from("UTC")))
            }
            [Expr::Literal(value, _)] => {
                let time = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")));
                value.cast_to(&time)?
            }
            _ => return plan_err!("{NAME} takes one time that is a constant"),
        };
        let values = vec![("as_of".to_owned(), as_of)];
        let plan = self.0.clone().with_param_values(ParamValues::from(values))?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}

/// Registers the function, when there is a table `events` for it.
///
/// # Errors
/// When its text cannot be planned over the tables that are there.
pub fn register(context: &SessionContext) -> Result<()> {
    if !context.table_exist("events")? {
        return Ok(());
    }
    // Tables of this process are there at once: nothing is waited for.
    let plan = context.sql(GRANTS).now_or_never();
    let plan = plan.ok_or_else(|| exec_datafusion_err!("`{NAME}` waits for a table"))??;
    context.register_udtf(NAME, Arc::new(Grants(plan.into_unoptimized_plan())));
    Ok(())
}
