//! Questions over HTTP and on the command line.

use serde_json::{Value, json};

use super::events::{exec, list, read};
use super::program::{Ended, run, run_with_input};
use super::server::{TestServer, refused, text};

/// More rows than parts of an answer that wait for their reader, made while they are read.
const MANY: &str = "SELECT value, 'some text that makes the rows longer' AS t \
                    FROM generate_series(1, 3000000)";
const ENDLESS: &str = "SELECT max(a.value + b.value) FROM generate_series(1, 1000000) a, \
                       generate_series(1, 100000) b";

async fn ask(server: &TestServer, question: Value, accept: &str) -> reqwest::Response {
    let request = server.client().post(server.url("/v1/sql")).header("accept", accept);
    request.json(&question).send().await.unwrap()
}

#[tokio::test]
async fn an_answer_comes_in_the_format_that_is_asked_for() {
    let server = TestServer::start("");
    assert_eq!(server.post("default", list(&[read(1), read(2)])).await, 200);
    server.quiesce().await;
    let query = "SELECT name, subresource, response_code FROM events ORDER BY name";
    let json = "[{\"name\":\"c1\",\"subresource\":null,\"response_code\":200},\
                {\"name\":\"c2\",\"subresource\":null,\"response_code\":200}]";
    let csv = "name,subresource,response_code\nc1,,200\nc2,,200\n";
    let csv_type = "text/csv; charset=utf-8; header=present";
    for (format, accept, media_type, body) in [
        (None, "*/*", "application/json", Some(json)),
        (None, "text/html, text/csv;q=0.5", csv_type, Some(csv)),
        (Some("json"), "text/csv", "application/json", Some(json)),
        (Some("csv"), "*/*", csv_type, Some(csv)),
        (Some("arrow"), "*/*", "application/vnd.apache.arrow.stream", None),
        (Some("parquet"), "*/*", "application/vnd.apache.parquet", None),
    ] {
        let question = format.map_or_else(
            || json!({ "query": query }),
            |format| json!({ "query": query, "format": format }),
        );
        let response = ask(&server, question, accept).await;
        assert_eq!(response.status(), 200, "{format:?} {accept}");
        assert_eq!(response.headers()["content-type"], media_type, "{format:?} {accept}");
        let bytes = response.bytes().await.unwrap();
        match (format, body) {
            (_, Some(body)) => assert_eq!(bytes, body, "{format:?} {accept}"),
            (Some("parquet"), _) => {
                assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
            }
            _ => assert!(bytes.starts_with(&[0xFF; 4]), "an Arrow stream begins with a marker"),
        }
    }
    assert_eq!(server.sql("SELECT 1 FROM events WHERE verb = 'x'").await, json!([]));
    let wrong = ask(&server, json!({ "query": query, "format": "xml" }), "*/*").await;
    let (status, body) = text(wrong).await;
    assert_eq!(status, 400);
    assert!(body.contains("expected one of `json`, `csv`, `arrow`, `parquet`"), "{body}");
}

/// With one slot and hours to run, only the client's leaving can make room for the next.
#[tokio::test]
async fn a_query_is_stopped_when_its_client_leaves() {
    let server = TestServer::start("[query]\nconcurrent_max = 1\ntimeout = \"1h\"\nqueue_max = 1");
    let mut sessions = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let request = server.client().post(server.url("/v1/sql")).json(&json!({"query": ENDLESS}));
        sessions.spawn(request.send());
    }
    // One runs, one waits, the third is turned away.
    let turned_away = sessions.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(turned_away.status(), 429);
    assert_eq!(turned_away.headers()["retry-after"], "2");
    sessions.shutdown().await;
    let deadline = std::time::Instant::now() + super::program::LIMIT;
    while server.try_sql("SELECT 1 AS n").await.0 != 200 {
        assert!(std::time::Instant::now() < deadline, "the slot never became free");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // One that has read a part of its answer.
    let mut response = ask(&server, json!({"query": MANY, "format": "csv"}), "*/*").await;
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    assert_eq!(server.number("SELECT 1 AS n").await, 1);
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_told_from_a_whole_one() {
    let server = TestServer::start("[query]\nrows_max = 1000000");
    for format in ["json", "csv", "arrow", "parquet"] {
        let response = ask(&server, json!({"query": MANY, "format": format}), "*/*").await;
        // Parquet has nothing to hand on before its first row group is full.
        if response.status() == 200 {
            let read = response.bytes().await;
            assert!(read.is_err(), "{format}: a whole answer of more rows than there may be");
        } else {
            assert_eq!(format, "parquet");
        }
    }
    let (status, answer) = server.try_sql("SELECT 1 / 0").await;
    assert_eq!((status, answer["error"].is_string()), (400, true), "{answer}");
    let whole = format!("SELECT count(*) FROM ({MANY})");
    assert_eq!(server.number(&whole).await, 3_000_000);
}

#[tokio::test]
async fn views_and_descriptions_are_there() {
    let server = TestServer::start("");
    let mut received = exec(7);
    received["stage"] = json!("RequestReceived");
    received.as_object_mut().unwrap().shift_remove("responseStatus");
    assert_eq!(server.post("default", list(&[received, exec(7), read(1)])).await, 200);
    server.quiesce().await;
    let requests = "SELECT user_name, stages, response_code FROM requests \
                    WHERE request_time >= TIMESTAMP '2026-03-01T00:00:00Z' ORDER BY 1";
    let expected = json!([
        {"user_name": "alice", "stages": 1, "response_code": 200},
        {"user_name": "mallory", "stages": 2, "response_code": 101}
    ]);
    assert_eq!(server.sql(requests).await, expected);
    for view in ["pod_specs", "role_grants"] {
        assert_eq!(server.number(&format!("SELECT count(*) FROM {view}")).await, 0);
    }
    let columns = server.sql("DESCRIBE requests").await;
    assert_eq!(columns[0]["column_name"], "cluster");
    let tables = server.sql("SHOW TABLES").await.to_string();
    for table in ["events", "findings", "quarantine", "requests", "pod_specs", "role_grants"] {
        assert!(tables.contains(&format!("\"{table}\"")), "{tables}");
    }
    let plan = server.sql("EXPLAIN SELECT * FROM requests").await.to_string();
    assert!(plan.contains("TableScan: events"), "{plan}");
    assert_eq!(server.try_sql("EXPLAIN ANALYZE SELECT count(*) FROM requests").await.0, 200);
}

fn sql(server: &TestServer, arguments: &[&str], input: &str) -> Ended {
    let url = server.url("");
    let mut all = vec!["sql", "--url", &url];
    all.extend(arguments);
    run_with_input(all, input.as_bytes())
}

#[tokio::test]
async fn the_command_asks_a_server() {
    let server = TestServer::start("");
    assert_eq!(server.post("default", list(&[read(1), read(2)])).await, 200);
    server.quiesce().await;
    let query = "SELECT name, response_code, subresource FROM events ORDER BY name";
    let json = sql(&server, &[query, "--format", "json"], "");
    assert_eq!(json.code, Some(0), "{}", json.stderr);
    let rows: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(rows[1], json!({"name": "c2", "response_code": 200, "subresource": null}));
    let table = sql(&server, &[query], "");
    insta::assert_snapshot!(table.stdout, @r"
    ┌──────┬───────────────┬─────────────┐
    │ name ┆ response_code ┆ subresource │
    ╞══════╪═══════════════╪═════════════╡
    │ c1   ┆           200 ┆ NULL        │
    │ c2   ┆           200 ┆ NULL        │
    └──────┴───────────────┴─────────────┘
    ");
    let wrong = sql(&server, &["SELECT nmae FROM events"], "");
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("error: ") && wrong.stderr.contains("nmae"), "{}", wrong.stderr);

    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("rows.csv").display().to_string();
    assert_eq!(sql(&server, &[query, "--output", &path], "").code, Some(0));
    let csv = std::fs::read_to_string(&path).unwrap();
    assert_eq!(csv, "name,response_code,subresource\nc1,200,\nc2,200,\n");
    assert_eq!(sql(&server, &["SELECT 1 / 0", "--output", &path], "").code, Some(1));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), csv, "a failed answer replaced a whole");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 1, "a part was left behind");
}

#[tokio::test]
async fn the_command_follows_a_script() {
    let server = TestServer::start("");
    assert_eq!(server.post("default", list(&[read(1)])).await, 200);
    server.quiesce().await;
    let ended = sql(&server, &[], "\\d\n\\d quarantine\n\\df\n");
    for expected in ["│ requests          ┆ view", "received_at", "exec_command"] {
        assert!(ended.stdout.contains(expected), "{}", ended.stdout);
    }
    let script = "SELECT 'a;b' AS text,\n  count(*) AS n -- all; of them\n\
                  FROM events;\n\\x\nSELECT user_name, verb FROM events;\nSELECT 2 AS last";
    let ended = sql(&server, &[], script);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    insta::assert_snapshot!(ended.stdout, @r"
    ┌──────┬───┐
    │ text ┆ n │
    ╞══════╪═══╡
    │ a;b  ┆ 1 │
    └──────┴───┘
    -[ row 1 ]---------
    user_name | alice
    verb      | get
    -[ row 1 ]----
    last | 2
    ");
    let ended = sql(&server, &["--format", "csv"], "SELECT 1 AS a;\nSELEC;\nSELECT 3 AS c;\n");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "a\n1\n"), "{}", ended.stderr);
    let ended = sql(&server, &[], "\\nope\n");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("`\\nope` is no order"), "{}", ended.stderr);
    let ended = sql(&server, &[], "\\?\n\\q\nSELECT 1;");
    assert!(ended.stdout.contains("\\timing") && !ended.stdout.contains("│"), "{}", ended.stdout);
}

#[tokio::test]
async fn the_command_reads_a_data_directory_that_no_server_uses() {
    let mut server = TestServer::start("");
    assert_eq!(server.post("east", "[broken".to_owned()).await, 200);
    server.quiesce().await;
    let data = server.data().display().to_string();
    let query = "SELECT cluster, reason FROM quarantine";
    let busy = run(["sql", "--data", &data, query]);
    assert_eq!(busy.code, Some(2));
    assert!(busy.stderr.contains("--url"), "{}", busy.stderr);
    assert!(server.stop().success());
    let ended = run(["sql", "--data", &data, "--format", "csv", query]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout, "cluster,reason\neast,malformed_json\n");
}

#[test]
fn what_cannot_be_asked_is_a_usage_error() {
    for (arguments, expected) in [
        (&["sql", "--url", "http://127.0.0.1:9", "SELECT 1"][..], "ask http://127.0.0.1:9/v1/sql"),
        (&["sql", "--url", "nowhere", "SELECT 1"], "is not a URL such as"),
        (&["sql", "--data", "/no/such/folder", "SELECT 1"], "is not a data directory"),
        (&["sql", "--format", "xml", "SELECT 1"], "invalid value"),
        (&["sql", "--output", "x.csv"], "QUERY"),
    ] {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{arguments:?}: {}", ended.stderr);
    }
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "secret").unwrap();
    let path = token.path().display().to_string();
    let ended = run(["sql", "--url", "http://other.example", "--token-file", &path, "SELECT 1"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("is not sent unencrypted"), "{}", ended.stderr);
    let ended = refused("[query]\nqueue_max = -1");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}
