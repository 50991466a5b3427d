//! What analysts see who may see some clusters only, over each wire, and what is known of them.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::auth::client_with_role;
use super::events::{grant, list, read};
use super::postgres::psql_with;
use super::program::LIMIT;
use super::server::TestServer;

const ADMIN: &str = "admin-token";
const EAST: &str = "east-token";
const RESPONDER: &str = "responder-token";

fn settings() -> String {
    client_with_role("root", "[\"*\"]", ADMIN, "admin")
        + &client_with_role("ann", "[\"east\"]", EAST, "viewer")
        + &client_with_role("bob", "[\"east\"]", RESPONDER, "responder")
}

/// What a request with a token gives: its status and its body.
async fn send(
    server: &TestServer,
    token: &str,
    method: Method,
    path: &str,
    body: Option<String>,
) -> (u16, Value) {
    let mut request = server.client().request(method, server.url(path)).bearer_auth(token);
    if let Some(body) = body {
        request = request.body(body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn sql(server: &TestServer, token: &str, query: &str) -> (u16, Value) {
    let body = json!({ "query": query }).to_string();
    send(server, token, Method::POST, "/v1/sql", Some(body)).await
}

async fn get(server: &TestServer, token: &str, path: &str) -> (u16, Value) {
    send(server, token, Method::GET, path, None).await
}

/// A server with findings of east and of west.
async fn filled() -> TestServer {
    let server = TestServer::start(&settings());
    for (cluster, numbers) in [("east", 1..3), ("west", 3..7)] {
        let mut events: Vec<Value> = numbers.clone().map(grant).collect();
        events.extend(numbers.map(read));
        let path = format!("/v1/audit/{cluster}");
        let (status, body) = send(&server, ADMIN, Method::POST, &path, Some(list(&events))).await;
        assert_eq!(status, 200, "{body}");
    }
    let question = "SELECT count(DISTINCT incident) AS n FROM incident_findings";
    let deadline = Instant::now() + LIMIT;
    while sql(&server, ADMIN, question).await.1[0]["n"] != 6 {
        assert!(Instant::now() < deadline, "no findings: {}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server
}

#[tokio::test]
async fn an_analyst_of_one_cluster_sees_nothing_of_another() {
    let server = filled().await;
    for (table, some) in [
        ("events", true),
        ("requests", true),
        ("role_grants", true),
        ("pod_specs", false),
        ("rbac_grants()", true),
        ("findings", true),
        ("incidents", true),
        ("incident_findings", true),
        ("events_per_minute", true),
        ("clusters", true),
        ("ledger", false),
        ("quarantine", false),
        ("dead_letters", false),
        ("(SELECT * FROM events UNION ALL SELECT * FROM events)", true),
        ("(WITH e AS (SELECT * FROM events) SELECT e.* FROM e JOIN e f ON true)", true),
    ] {
        let query = format!("SELECT DISTINCT cluster FROM {table} AS t ORDER BY 1");
        let (status, rows) = sql(&server, EAST, &query).await;
        let expected = if some { json!([{"cluster": "east"}]) } else { json!([]) };
        assert_eq!((status, rows), (200, expected), "{table}");
    }
    // Of what says of no row whose it is, nothing; of what is of no cluster, all.
    for (table, some) in
        [("triage", false), ("sinks", false), ("exceptions", false), ("detections", true)]
    {
        let (status, rows) = sql(&server, EAST, &format!("SELECT * FROM {table} LIMIT 1")).await;
        assert_eq!((status, rows.as_array().unwrap().is_empty()), (200, !some), "{table}");
    }
    // Neither counts nor extremes nor errors tell of other rows.
    let (_, rows) =
        sql(&server, EAST, "SELECT count(*) AS n, max(user_name) AS u FROM events").await;
    assert_eq!(rows, json!([{"n": 4, "u": "p2"}]));
    for condition in [
        "cluster = 'west' AND CAST(user_name AS BIGINT) > 0",
        "CASE WHEN user_name = 'p4' THEN 1 / 0 ELSE 0 END = 1",
    ] {
        let query = format!("SELECT user_name FROM events WHERE {condition}");
        let (status, rows) = sql(&server, EAST, &query).await;
        assert_eq!((status, rows), (200, json!([])), "{condition}");
        let (status, _) = sql(&server, ADMIN, &query).await;
        assert_eq!(status, 400, "it does fail over all rows: {condition}");
    }
    // A dictionary has no values but those of its rows: not for who casts all of it, not for who
    // reads the bytes.
    let query = "SELECT CAST(user_name AS BIGINT) FROM events WHERE user_name IS NULL";
    assert_eq!(sql(&server, EAST, query).await, (200, json!([])));
    let body = json!({ "query": "SELECT * FROM events", "format": "arrow" }).to_string();
    let request = server.client().post(server.url("/v1/sql")).bearer_auth(EAST).body(body);
    let bytes = request.send().await.unwrap().bytes().await.unwrap();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|found| found == text);
    assert!(has(b"grant-2") && has(b"p2") && !has(b"p4") && !has(b"west"));
    for explain in ["EXPLAIN SELECT 1 FROM findings", "EXPLAIN ANALYZE SELECT 1 FROM events"] {
        let (status, said) = sql(&server, EAST, explain).await;
        assert_eq!(status, 400, "{said}");
        assert_eq!(sql(&server, ADMIN, explain).await.0, 200);
    }
    let learned = "SELECT count(learned) AS n FROM detections";
    assert_eq!(sql(&server, EAST, learned).await, (200, json!([{"n": 0}])));
    let psql = psql_with(
        &server,
        &format!("password={EAST}"),
        &["SELECT DISTINCT 'of ' || cluster AS whose FROM events", "\\dt"],
    );
    assert!(psql.stdout.contains("of east") && psql.stdout.contains("| events"), "{psql:?}");
    assert!(!psql.stdout.contains("of west") && !psql.stdout.contains("questions"), "{psql:?}");
}

#[tokio::test]
async fn findings_incidents_and_silences_of_other_clusters_are_out_of_reach() {
    let server = filled().await;
    let (_, all) = get(&server, ADMIN, "/v1/findings").await;
    let of = |cluster: &str| {
        let all = all["findings"].as_array().unwrap().iter();
        let mut of = all.filter(|finding| finding["cluster"] == cluster);
        of.next().unwrap()["id"].as_str().unwrap().to_owned()
    };
    let (east, west) = (of("east"), of("west"));
    for (path, list) in [("/v1/findings", "findings"), ("/v1/incidents", "incidents")] {
        for query in ["", "?cluster=west", "?cluster=east"] {
            let (status, page) = get(&server, EAST, &format!("{path}{query}")).await;
            assert_eq!(status, 200);
            let found = page[list].as_array().unwrap();
            assert_eq!(found.is_empty(), query.contains("west"), "{path}{query}");
            assert!(found.iter().all(|one| one["cluster"] == "east"), "{path}{query}");
        }
    }
    let incident = async |finding: &str| {
        let (_, whole) = get(&server, ADMIN, &format!("/v1/findings/{finding}")).await;
        whole["incident"].as_str().unwrap().to_owned()
    };
    let triage = || Some(json!({ "state": "acknowledged" }).to_string());
    let patch =
        async |token: &str, path: &str| send(&server, token, Method::PATCH, path, triage()).await.0;
    for (finding, seen) in [(&east, 200), (&west, 404)] {
        let incident = incident(finding).await;
        for path in [format!("/v1/findings/{finding}"), format!("/v1/incidents/{incident}")] {
            assert_eq!(get(&server, EAST, &path).await.0, seen, "{path}");
            assert_eq!(patch(EAST, &path).await, 403, "a viewer looks on");
            assert_eq!(patch(RESPONDER, &path).await, seen, "{path}");
            assert_eq!(patch(ADMIN, &path).await, 200, "{path}");
        }
    }
    let silence = async |token: &str, clusters: Value| {
        let body = json!({
            "name": "work", "owner": "ops", "reason": "nodes are replaced", "expires": "1h",
            "match": {"cluster": clusters, "detection": ["K8A-301"]}
        });
        send(&server, token, Method::POST, "/v1/silences", Some(body.to_string())).await.0
    };
    assert_eq!(silence(EAST, json!(["east"])).await, 403);
    for clusters in [json!([]), json!(["*"]), json!(["west"]), json!(["east", "west"])] {
        assert_eq!(silence(RESPONDER, clusters.clone()).await, 403, "{clusters}");
    }
    assert_eq!(silence(ADMIN, json!(["west"])).await, 200);
    assert_eq!(silence(RESPONDER, json!(["east"])).await, 409, "the name is another's");
    let names = async |token: &str| get(&server, token, "/v1/silences").await.1["silences"].clone();
    assert_eq!(names(EAST).await, json!([]));
    let end =
        async |token: &str| send(&server, token, Method::DELETE, "/v1/silences/work", None).await.0;
    assert_eq!((end(RESPONDER).await, end(ADMIN).await), (404, 200));
    assert_eq!((silence(RESPONDER, json!(["east"])).await, end(RESPONDER).await), (200, 200));
}

#[tokio::test]
async fn who_asked_what_is_written_down_for_admins() {
    let mut server = filled().await;
    sql(&server, EAST, "SELECT 'by http' FROM events").await;
    sql(&server, EAST, "SELECT nothing FROM events").await;
    psql_with(&server, &format!("password={RESPONDER}"), &["SELECT 'by psql'"]);
    server.kill_and_restart();
    let question = "SELECT client, wire, query, outcome, rows FROM questions \
                    WHERE client <> 'root' ORDER BY time";
    let (status, rows) = sql(&server, ADMIN, question).await;
    let asked = |client: &str, wire: &str, query: &str, outcome: &str, rows: u32| {
        json!({
            "client": client, "wire": wire, "query": query, "outcome": outcome, "rows": rows
        })
    };
    let expected = json!([
        asked("ann", "http", "SELECT 'by http' FROM events", "answered", 4),
        asked("ann", "http", "SELECT nothing FROM events", "failed", 0),
        asked("bob", "postgres", "SELECT 'by psql'", "answered", 1),
    ]);
    assert_eq!((status, rows), (200, expected));
    for token in [EAST, RESPONDER] {
        let (status, said) = sql(&server, token, "SELECT * FROM questions").await;
        assert_eq!(status, 400, "{said}");
    }
}
