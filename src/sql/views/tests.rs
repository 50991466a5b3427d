//! What the views show, and that conditions on them reach the scan.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use futures::FutureExt as _;
use serde_json::{Value, json};

use crate::decode::{Decoder, Delivery};
use crate::event::Rows;
use crate::event::schema::events_schema;
use crate::sql::context::analyst_session;
use crate::sql::snapshot::SnapshotTable;

/// A session over these events, with the views.
fn session(events: &[Value]) -> SessionContext {
    let body: Vec<String> = events.iter().map(Value::to_string).collect();
    let body = body.join("\n");
    let mut rows = Rows::new();
    let delivery = Delivery { cluster: "c", source: "file", received_at: 0, body: body.as_bytes() };
    let mut quarantined = Vec::new();
    Decoder::new().decode(&delivery, &mut rows, &mut quarantined);
    assert!(quarantined.is_empty());
    let batch = rows.finish();
    let context = analyst_session(64 << 20).unwrap();
    let table = SnapshotTable::new(events_schema(), move || Ok(vec![batch.clone()]));
    context.register_table("events", Arc::new(Pruning(table))).unwrap();
    super::register(&context).unwrap();
    context
}

/// A table that may leave out rows by a condition, as one of files does.
#[derive(Debug)]
struct Pruning(SnapshotTable);

#[async_trait::async_trait]
impl TableProvider for Pruning {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        self.0.table_type()
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.scan(state, projection, filters, limit).await
    }
}

#[track_caller]
fn table(context: &SessionContext, sql: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let batches = runtime.block_on(async { context.sql(sql).await?.collect().await });
    let batches = batches.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let table = pretty_format_batches(&batches).unwrap().to_string();
    let rows = table.lines().filter(|line| !line.starts_with('+'));
    rows.map(|row| row.replace('|', "│")).collect::<Vec<_>>().join("\n")
}

fn event(id: &str, stage: &str, second: u32, changes: &Value) -> Value {
    let mut event = json!({
        "level": "RequestResponse", "auditID": id, "stage": stage, "verb": "create",
        "requestURI": "/x", "user": {"username": "eve"}, "sourceIPs": ["10.0.0.9"],
        "requestReceivedTimestamp": "2026-03-01T10:00:00.000000Z",
        "stageTimestamp": format!("2026-03-01T10:00:{second:02}.500000Z"),
    });
    for (name, value) in changes.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

#[test]
fn a_request_is_one_row_whatever_stages_are_known() {
    let exec = json!({"objectRef": {"resource": "pods", "subresource": "exec", "name": "p"}});
    let mut started = exec.clone();
    started["responseStatus"] = json!({"code": 101});
    started["annotations"] = json!({"authorization.k8s.io/decision": "allow"});
    let mut complete = started.clone();
    complete["responseStatus"] = json!({"code": 200, "reason": "Done"});
    let mut foreign = started.clone();
    foreign["user"] = json!({"username": "mallory"});
    let context = session(&[
        event("a", "RequestReceived", 0, &exec),
        event("a", "ResponseStarted", 1, &started),
        event("a", "ResponseComplete", 9, &complete),
        event("b", "ResponseStarted", 1, &started),
        // Somebody else's request under an id that was used before.
        event("a", "ResponseStarted", 2, &foreign),
    ]);
    let sql = "SELECT audit_id, user_name, request_time, first_time, last_time, duration_ms, \
               stages, complete, response_code, response_reason, decision, name \
               FROM requests ORDER BY 1, 2";
    insta::assert_snapshot!(table(&context, sql), @r"
    │ audit_id │ user_name │ request_time         │ first_time               │ last_time                │ duration_ms │ stages │ complete │ response_code │ response_reason │ decision │ name │
    │ a        │ eve       │ 2026-03-01T10:00:00Z │ 2026-03-01T10:00:00.500Z │ 2026-03-01T10:00:09.500Z │ 9500.0      │ 3      │ true     │ 200           │ Done            │ allow    │ p    │
    │ a        │ mallory   │ 2026-03-01T10:00:00Z │ 2026-03-01T10:00:02.500Z │ 2026-03-01T10:00:02.500Z │ 2500.0      │ 1      │ false    │ 101           │                 │ allow    │ p    │
    │ b        │ eve       │ 2026-03-01T10:00:00Z │ 2026-03-01T10:00:01.500Z │ 2026-03-01T10:00:01.500Z │ 1500.0      │ 1      │ false    │ 101           │                 │ allow    │ p    │
    ");
    let count = "SELECT count(*) FROM requests WHERE user_name = 'eve'";
    assert!(table(&context, count).contains("│ 2 "));
}

#[test]
fn a_pod_is_seen_in_every_kind_of_workload() {
    let pod = json!({
        "hostPID": true, "serviceAccountName": "robot", "nodeName": "n1",
        "initContainers": [{"image": "setup:1"}],
        "containers": [{"image": "app:2", "securityContext":
            {"privileged": true, "capabilities": {"add": ["SYS_ADMIN"]}}}],
        "volumes": [{"hostPath": {"path": "/"}}, {"emptyDir": {}}]
    });
    let write = |resource: &str, body: Value| {
        json!({"objectRef": {"resource": resource, "namespace": "dev", "name": "w"},
            "requestObject": body, "responseStatus": {"code": 201}})
    };
    let template = |pod: &Value| json!({"spec": {"template": {"spec": pod}}});
    let plain = json!({"containers": [{"image": "web"}]});
    let mut status = write("pods", json!({"kind": "Pod", "spec": plain}));
    status["objectRef"]["subresource"] = json!("status");
    let context = session(&[
        event("1", "RequestReceived", 1, &json!({"objectRef": {"resource": "deployments"}})),
        event("1", "ResponseComplete", 1, &write("deployments", template(&pod))),
        event("2", "ResponseComplete", 2, &write("pods", json!({"kind": "Pod", "spec": plain}))),
        event("3", "ResponseComplete", 3, &status),
        event("4", "ResponseComplete", 4, &write("pods", json!([{"op": "add", "path": "/x"}]))),
        event("5", "ResponseComplete", 5, &write("services", json!({"spec": {"ports": []}}))),
    ]);
    let sql = "SELECT audit_id, resource, images, privileged, host_pid, host_network, host_ipc, \
               host_paths, capabilities, service_account, node, response_code, \
               json_contains(spec, 'containers') AS spec FROM pod_specs ORDER BY 1";
    insta::assert_snapshot!(table(&context, sql), @r#"
    │ audit_id │ resource    │ images              │ privileged │ host_pid │ host_network │ host_ipc │ host_paths │ capabilities  │ service_account │ node │ response_code │ spec │
    │ 1        │ deployments │ ["setup:1","app:2"] │ true       │ true     │ false        │ false    │ ["/"]      │ ["SYS_ADMIN"] │ robot           │ n1   │ 201           │ true │
    │ 2        │ pods        │ ["web"]             │ false      │ false    │ false        │ false    │ []         │ []            │                 │      │ 201           │ true │
    "#);
}

#[test]
fn a_grant_names_who_gave_what_to_whom() {
    let rbac = |resource: &str, member: &str, body: Value| {
        let reference = json!({"resource": resource, "name": "g",
            "apiGroup": "rbac.authorization.k8s.io"});
        json!({"objectRef": reference, member: body, "responseStatus": {"code": 201}})
    };
    let binding = json!({
        "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "mallory"},
            {"kind": "ServiceAccount", "name": "robot", "namespace": "dev"}]
    });
    let role = json!({"metadata": {"name": "g"}, "rules": [{"verbs": ["*"]}]});
    let patch = json!([{"op": "add", "path": "/subjects/-", "value": {}}]);
    let reading = json!({"verb": "get", "objectRef": {"resource": "clusterrolebindings",
        "apiGroup": "rbac.authorization.k8s.io"}});
    let bindings = "clusterrolebindings";
    let context = session(&[
        event("1", "ResponseComplete", 1, &rbac(bindings, "requestObject", binding.clone())),
        event("2", "ResponseComplete", 2, &rbac("rolebindings", "responseObject", binding)),
        event("3", "ResponseComplete", 3, &rbac(bindings, "requestObject", patch)),
        event("4", "ResponseComplete", 4, &rbac("roles", "requestObject", role)),
        event("5", "ResponseComplete", 5, &reading),
    ]);
    let sql = "SELECT audit_id, user_name, resource, name, role_kind, role_name, subject_kind, \
               subject_name, subject_namespace, rules FROM role_grants ORDER BY 1, 7 DESC";
    insta::assert_snapshot!(table(&context, sql), @r#"
    │ audit_id │ user_name │ resource            │ name │ role_kind   │ role_name     │ subject_kind   │ subject_name │ subject_namespace │ rules             │
    │ 1        │ eve       │ clusterrolebindings │ g    │ ClusterRole │ cluster-admin │ User           │ mallory      │                   │                   │
    │ 1        │ eve       │ clusterrolebindings │ g    │ ClusterRole │ cluster-admin │ ServiceAccount │ robot        │ dev               │                   │
    │ 2        │ eve       │ rolebindings        │ g    │ ClusterRole │ cluster-admin │ User           │ mallory      │                   │                   │
    │ 2        │ eve       │ rolebindings        │ g    │ ClusterRole │ cluster-admin │ ServiceAccount │ robot        │ dev               │                   │
    │ 3        │ eve       │ clusterrolebindings │ g    │             │               │                │              │                   │                   │
    │ 4        │ eve       │ roles               │ g    │ Role        │ g             │                │              │                   │ [{"verbs":["*"]}] │
    "#);
}

/// History is long: a view's time must choose what is read.
#[test]
fn a_condition_on_time_reaches_the_scan() {
    let context = session(&[event("1", "ResponseComplete", 1, &json!({}))]);
    for (view, column) in
        [("requests", "request_time"), ("pod_specs", "event_time"), ("role_grants", "event_time")]
    {
        let sql = format!(
            "SELECT * FROM {view} WHERE {column} >= TIMESTAMP '2026-03-01T10:00:00Z' \
             AND cluster = 'c' AND user_name = 'eve'"
        );
        let plan = context.sql(&sql).now_or_never().unwrap().unwrap();
        let plan = plan.into_optimized_plan().unwrap().display_indent().to_string();
        let scans: Vec<&str> =
            plan.lines().filter(|line| line.contains("TableScan: events")).collect();
        assert!(!scans.is_empty(), "{plan}");
        for scan in scans {
            for part in [&format!("{column} >= "), "cluster = ", "user_name = "] {
                assert!(scan.contains(part), "{view}: `{part}` is not at the scan:\n{plan}");
            }
        }
    }
}

#[test]
fn every_column_of_a_view_is_told_by_describe() {
    let context = session(&[]);
    for (view, _) in super::VIEWS {
        let columns = table(&context, &format!("DESCRIBE {view}"));
        assert!(columns.contains("cluster") && columns.contains("user_name"), "{columns}");
        let tables = table(&context, "SHOW TABLES");
        assert!(tables.contains(view), "{tables}");
    }
}

/// Bindings and roles come, change and go; what is not told is said to be unknown.
#[test]
fn rights_are_those_of_the_time() {
    let write = |verb: &str, resource: &str, name: &str, body: Value| {
        json!({"verb": verb, "responseStatus": {"code": 200}, "requestObject": body,
            "objectRef": {"resource": resource, "name": name, "namespace": "dev",
                "apiGroup": "rbac.authorization.k8s.io"}})
    };
    let binding = |role: &str| {
        json!({"roleRef": {"kind": "Role", "name": role},
            "subjects": [{"kind": "User", "name": "mallory"}]})
    };
    let role = |verb: &str| json!({"rules": [{"verbs": [verb]}]});
    let reason = |binding: &str| {
        let words = format!(
            "RBAC: allowed by RoleBinding \"{binding}/dev\" of Role \"r\" to User \"mallory\""
        );
        json!({"verb": "get", "annotations": {"authorization.k8s.io/decision": "allow",
            "authorization.k8s.io/reason": words}})
    };
    let mut tried = write("delete", "rolebindings", "b", Value::Null);
    tried["requestURI"] = json!("/x?dryRun=All");
    let mut swept = write("deletecollection", "rolebindings", "", Value::Null);
    swept["requestURI"] = json!("/x?labelSelector=a");
    let end = "ResponseComplete";
    let context = session(&[
        event("1", end, 1, &write("create", "roles", "r", role("get"))),
        event("2", end, 2, &write("create", "rolebindings", "b", binding("r"))),
        event("3", end, 3, &reason("b")),
        event("4", end, 4, &reason("older")),
        event("5", end, 5, &write("update", "roles", "r", role("delete"))),
        event("6", end, 6, &tried),
        event("7", end, 7, &write("create", "rolebindings", "c", binding("unseen"))),
        event("8", end, 8, &swept),
        event("9", end, 9, &write("delete", "rolebindings", "b", Value::Null)),
    ]);
    let at = |time: &str| {
        let sql = format!(
            "SELECT concat_ws(' ', binding, role_name, subject_name, rules, \
             CAST(known AS VARCHAR), left(unknown, 12)) AS words \
             FROM rbac_grants({time}) ORDER BY 1"
        );
        let table = table(&context, &sql);
        let rows = table.lines().skip(1).map(|row| row.trim_matches(['│', ' ']).to_owned());
        rows.collect::<Vec<_>>()
    };
    assert!(at("'2026-03-01T10:00:02Z'").is_empty());
    assert_eq!(at("'2026-03-01T10:00:03Z'"), [r#"b r mallory [{"verbs":["get"]}] true"#]);
    let older = r#"older r mallory [{"verbs":["delete"]}] false it was writt"#;
    let now = r#"b r mallory [{"verbs":["delete"]}] true"#;
    assert_eq!(at("'2026-03-01T10:00:07Z'"), [now, older]);
    let unseen = "c unseen mallory false the role was";
    assert_eq!(at("TIMESTAMP '2026-03-01T10:00:08Z'"), [now, unseen, older]);
    // With a selector nobody knows which of them went; one that was deleted is gone.
    assert_eq!(at(""), ["c unseen mallory false some of its", older]);
    assert_eq!(at("NULL"), at(""));
}
