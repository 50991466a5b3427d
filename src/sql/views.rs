//! Views over `events`: what an analyst would otherwise write again and again.
//!
//! Each is a text of SQL, planned over the registered tables; its columns are told in the text.
//!
//! Promise: a condition on the columns that identify a view's row, its time among them, reaches
//! the scan of `events`, so that a question about an hour reads an hour. Never: a view holds no
//! rows and guesses nothing; what `events` does not say is NULL.

use std::sync::Arc;

use datafusion::catalog::view::ViewTable;
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use futures::FutureExt as _;

use super::grants;

/// Name and text of each view.
pub const VIEWS: [(&str, &str); 3] =
    [("requests", REQUESTS), ("pod_specs", POD_SPECS), ("role_grants", ROLE_GRANTS)];

/// One row per request, over its events: a request has up to three of them.
///
/// `request_time` is the one time that all events of a request share: ask for it, rather than for
/// `first_time` or `last_time`, and only its events are read. The other columns before `first_time`
/// are the same in all of them as well, and belong to what identifies a request, because its
/// `audit_id` is any client's to choose.
pub const REQUESTS: &str = "
SELECT
  cluster,
  audit_id,
  request_time,      -- when the request arrived
  verb,
  request_uri,
  user_name,         -- who authenticated
  source_ip,
  user_agent,
  api_group,
  resource,
  subresource,
  namespace,
  min(event_time) AS first_time,                -- of its events
  max(event_time) AS last_time,
  CAST(CAST(max(event_time) AS BIGINT) - CAST(request_time AS BIGINT) AS DOUBLE) / 1000.0
    AS duration_ms,                             -- from its arrival to its last event so far
  count(*) AS stages,                           -- how many of its events are known
  coalesce(bool_or(stage IN ('ResponseComplete', 'Panic')), false)
    AS complete,                                -- whether the one that ends it is among them
  max(name) AS name,                            -- a generated name shows in its last event only
  max(impersonated_user) AS impersonated_user,
  max(decision) AS decision,                    -- of authorization: allow or forbid
  max(decision_reason) AS decision_reason,
  coalesce(max(response_code) FILTER (WHERE stage IN ('ResponseComplete', 'Panic')),
    max(response_code)) AS response_code,       -- of its last stage that has one
  coalesce(max(response_reason) FILTER (WHERE stage IN ('ResponseComplete', 'Panic')),
    max(response_reason)) AS response_reason,
  max(event_id) FILTER (WHERE stage IN ('ResponseComplete', 'Panic'))
    AS final_event_id                           -- of the event that ends it
FROM events
GROUP BY cluster, audit_id, request_time, verb, request_uri, user_name, source_ip, user_agent,
  api_group, resource, subresource, namespace";

/// One row per write of a pod, or of a workload that makes pods, whose body was logged: audit level
/// Request or above. A JSON patch is a list of changes and shows no pod: it is not here.
pub const POD_SPECS: &str = r#"
SELECT
  cluster,
  event_time,
  event_id,
  audit_id,
  user_name,         -- who wrote it: a controller for most pods, a person for a workload
  verb,              -- create, update or patch; of a patch only what it sets shows
  api_group,
  resource,
  subresource,
  namespace,
  name,
  response_code,     -- 2xx: it was done
  decision,
  json_query(spec, '$["initContainers","containers","ephemeralContainers"][*].image')
    AS images,                                  -- JSON list of all containers' images
  json_exists(spec, '$["initContainers","containers","ephemeralContainers"]'
    || '[?@.securityContext.privileged == true]') AS privileged,
  coalesce(json_value(spec, '$.hostPID') = 'true', false) AS host_pid,
  coalesce(json_value(spec, '$.hostNetwork') = 'true', false) AS host_network,
  coalesce(json_value(spec, '$.hostIPC') = 'true', false) AS host_ipc,
  json_query(spec, '$.volumes[*].hostPath.path')
    AS host_paths,                              -- JSON list of paths of the node that it mounts
  json_query(spec, '$["initContainers","containers","ephemeralContainers"][*]'
    || '.securityContext.capabilities.add[*]') AS capabilities, -- JSON list of those added
  coalesce(json_value(spec, '$.serviceAccountName'), json_value(spec, '$.serviceAccount'))
    AS service_account,
  json_value(spec, '$.nodeName') AS node,       -- set by who wants this node and no other
  coalesce(url_param(request_uri, 'dryRun') = 'All', false) AS dry_run, -- tried, not done
  spec                                          -- the pod's spec, JSON
FROM (
  SELECT *, pod_spec(request_object) AS spec FROM events
  WHERE verb IN ('create', 'update', 'patch') AND stage IN ('ResponseComplete', 'Panic')
    AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
) AS written
WHERE spec IS NOT NULL"#;

/// Who granted what to whom: one row per subject of a written binding, one per written role. A
/// binding whose subjects were not logged has one row with NULL for them.
pub const ROLE_GRANTS: &str = r"
SELECT
  cluster,
  event_time,
  event_id,
  audit_id,
  user_name,         -- who granted
  verb,
  resource,          -- roles, clusterroles, rolebindings, clusterrolebindings
  namespace,         -- NULL: in the whole cluster
  name,              -- of the role or the binding
  response_code,     -- 2xx: it was done
  decision,
  json_value(body, '$.roleRef.kind') AS role_kind,   -- what a binding gives
  json_value(body, '$.roleRef.name') AS role_name,
  json_value(subject, '$.kind') AS subject_kind,     -- User, Group or ServiceAccount
  json_value(subject, '$.name') AS subject_name,
  json_value(subject, '$.namespace') AS subject_namespace,
  CAST(NULL AS VARCHAR) AS rules,                    -- of a role: JSON list of its rules
  coalesce(url_param(request_uri, 'dryRun') = 'All', false) AS dry_run -- tried, not done
FROM (
  SELECT *, unnest(coalesce(nullif(json_get_array(body, 'subjects'), []), [NULL])) AS subject
  FROM (
    SELECT *, CASE WHEN json_exists(response_object, '$.roleRef') THEN response_object
      ELSE request_object END AS body
    FROM events
    WHERE resource IN ('rolebindings', 'clusterrolebindings')
      AND api_group = 'rbac.authorization.k8s.io' AND verb IN ('create', 'update', 'patch')
      AND stage IN ('ResponseComplete', 'Panic')
  ) AS written
) AS bound
UNION ALL
SELECT cluster, event_time, event_id, audit_id, user_name, verb, resource, namespace,
  coalesce(name, json_value(body, '$.metadata.name')), response_code, decision,
  CASE WHEN resource = 'roles' THEN 'Role' ELSE 'ClusterRole' END,
  coalesce(name, json_value(body, '$.metadata.name')), NULL, NULL, NULL,
  json_query(body, '$.rules[*]'), coalesce(url_param(request_uri, 'dryRun') = 'All', false)
FROM (
  SELECT *, CASE WHEN json_exists(response_object, '$.rules') THEN response_object
    ELSE request_object END AS body
  FROM events
  WHERE resource IN ('roles', 'clusterroles') AND api_group = 'rbac.authorization.k8s.io'
    AND verb IN ('create', 'update', 'patch') AND stage IN ('ResponseComplete', 'Panic')
) AS written";

/// Registers the views, and the table function beside them, when there is a table `events`.
///
/// # Errors
/// When one cannot be planned over the tables that are there.
pub fn register(context: &SessionContext) -> Result<()> {
    if !context.table_exist("events")? {
        return Ok(());
    }
    for (name, text) in VIEWS {
        // Tables of this process are there at once: nothing is waited for.
        let plan = context.sql(text).now_or_never();
        let plan =
            plan.ok_or_else(|| exec_datafusion_err!("view `{name}` waits for a table"))??;
        let view = ViewTable::new(plan.into_unoptimized_plan(), Some(text.trim().to_owned()));
        context.register_table(name, Arc::new(view))?;
    }
    grants::register(context)
}

#[cfg(test)]
mod tests;
