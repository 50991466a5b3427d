//! The same tables over Flight SQL: a stock ADBC client, and clients that mean harm.
//!
//! The former needs `AUDITMILL_READERS`, the Python environment that `tests/readers/build.sh` sets
//! up; without it those tests pass without looking.

#![expect(clippy::print_stdout, reason = "what a test prints is its report, seen with --nocapture")]

mod hostile;

use std::env;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt as _;
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};

use super::auth::{Pki, client_with_role};
use super::events::{list, read, repository};
use super::program::LIMIT;
use super::server::{TestServer, refused};

const ENDLESS: &str = "SELECT max(a.value + b.value) FROM generate_series(1, 1000000) a, \
                       generate_series(1, 100000) b";

impl TestServer {
    /// Where clients of Flight SQL are served, `127.0.0.1:PORT`.
    pub(crate) fn flight(&self) -> String {
        let log = self.log();
        let line = log.lines().rfind(|line| line.contains("clients of Flight SQL are served"));
        let line: Value = serde_json::from_str(line.unwrap()).unwrap();
        line["address"].as_str().unwrap().to_owned()
    }
}

type Client = FlightSqlServiceClient<Channel>;

async fn connect(server: &TestServer) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.flight())).unwrap();
    let channel = endpoint.connect_timeout(LIMIT).timeout(LIMIT).connect().await.unwrap();
    FlightSqlServiceClient::new(channel)
}

/// How many rows an answer has, or what is said instead.
async fn rows(client: &mut Client, sql: &str) -> Result<usize, String> {
    let info = client.execute(sql.to_owned(), None).await.map_err(|error| error.to_string())?;
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let batches = client.do_get(ticket).await.map_err(|error| error.to_string())?;
    let batches: Vec<_> = batches.try_collect().await.map_err(|error| error.to_string())?;
    Ok(batches.iter().map(arrow::array::RecordBatch::num_rows).sum())
}

async fn filled(settings: &str) -> TestServer {
    let server = TestServer::start(settings);
    assert_eq!(server.post("default", list(&[read(1), read(2)])).await, 200);
    server.quiesce().await;
    server
}

/// What the Python client says; none without an environment for it.
fn adbc(arguments: &[&str]) -> Option<Value> {
    let Some(environment) = env::var_os("AUDITMILL_READERS").map(PathBuf::from) else {
        assert!(env::var_os("CI").is_none(), "AUDITMILL_READERS is not set, but CI is");
        println!("skipped: AUDITMILL_READERS is not set (tests/readers/build.sh sets it up)");
        return None;
    };
    let mut python = Command::new(environment.join("bin/python"));
    python.arg(repository("tests/readers/flight.py")).args(arguments);
    let output = python.output().expect("run Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("its output is JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn adbc_lists_tables_and_asks() {
    let server = filled("[query]\nconcurrent_max = 1\ntimeout = \"1h\"").await;
    let Some(seen) = adbc(&[&format!("grpc://{}", server.flight())]) else { return };
    let events = &seen["objects"]["auditmill.public.events"];
    assert_eq!(events[0], "TABLE");
    let columns = server.sql("SELECT * FROM events LIMIT 1").await;
    let columns: Vec<&str> = columns[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(events[1], json!(columns));
    assert_eq!(seen["objects"]["auditmill.public.requests"][0], "VIEW");
    assert_eq!(seen["kinds"], json!(["TABLE", "VIEW"]));
    assert_eq!(seen["vendor"], "auditmill");
    for (column, expected) in
        [("verb", "string"), ("event_time", "timestamp[us, tz=UTC]"), ("response_code", "int32")]
    {
        assert_eq!(seen["schema"][column], expected, "{column}");
        assert_eq!(seen["types"][column], expected, "{column}");
    }
    assert_eq!(seen["types"]["list"], "list<item: string>");
    let row = &seen["rows"][1];
    assert_eq!(
        [&row["name"], &row["verb"], &row["subresource"]],
        ["c2", "get", ""]
            .map(|text| { if text.is_empty() { Value::Null } else { json!(text) } })
            .each_ref()
    );
    assert_eq!(row["list"], json!(["a", null]));
    assert_eq!((&row["nothing"], &row["number"]), (&Value::Null, &json!(1.5)));
    assert!(row["event_time"].as_str().unwrap().starts_with("2026-"), "{row}");
    assert_eq!(seen["frame"], json!([["c1", "c2"], [200, 200]]));
    assert_eq!(seen["many"], json!([300_000, 45_000_150_000_i64]));
    assert_eq!(seen["none"], json!([0, "string"]));
    assert_eq!(seen["named"], 2);
    assert!(seen["listed"].as_u64().unwrap() >= 10, "{}", seen["listed"]);
    assert_eq!(seen["prepared"], json!([["c2"]]));
    assert_eq!(seen["null"], json!([[true]]));
    for (name, code, message) in [
        ("column", "INVALID_ARGUMENT", "nmae"),
        ("table", "INVALID_ARGUMENT", "SHOW TABLES"),
        ("syntax", "INVALID_ARGUMENT", "SELEC"),
        ("division", "INVALID_ARGUMENT", "zero"),
        ("change", "INVALID_ARGUMENT", "only questions are answered"),
        ("late", "INVALID_ARGUMENT", "zero"),
    ] {
        let error = &seen["wrong"][name];
        assert_eq!(error[1], code, "{name}: {error}");
        assert!(error[2].as_str().unwrap().contains(message), "{name}: {error}");
    }
    let missing = seen["missing"][2].as_str().unwrap();
    assert!(missing.contains("the statement asks for 2"), "{missing}");
    let update = seen["update"][2].as_str().unwrap();
    assert!(update.contains("only questions are answered"), "{update}");
    assert_eq!(seen["cancelled"][1], "CANCELLED");
    becomes_free(&server).await;
}

/// Waits until the only slot is free.
async fn becomes_free(server: &TestServer) {
    let deadline = Instant::now() + LIMIT;
    while server.try_sql("SELECT 1 AS n").await.0 != 200 {
        assert!(Instant::now() < deadline, "the slot never became free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn adbc_shows_a_token_over_tls() {
    let pki = Pki::new();
    let token = "a-token-of-thirty-two-characters";
    let client = client_with_role("ann", "[\"*\"]", token, "viewer");
    let server = TestServer::start(&(pki.tls("127.0.0.1:0") + &client));
    let authority = pki.authority();
    let uri = format!("grpc+tls://{}", server.flight());
    let Some(seen) = adbc(&[&uri, authority.to_str().unwrap(), token]) else { return };
    assert_eq!((&seen["token"], &seen["password"]), (&json!(7), &json!(7)));
    for name in ["nothing", "wrong token", "wrong password"] {
        assert_eq!(seen[name][1], "UNAUTHENTICATED", "{name}: {}", seen[name]);
        let message = seen[name][2].as_str().unwrap();
        assert!(message.contains("[[auth.client]]"), "{name}: {message}");
    }
    let metrics = pki.client().build().unwrap().get(server.url("/metrics")).bearer_auth(token);
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    let refused = "auditmill_query_sessions_refused_total{wire=\"flight\",reason=\"refused\"}";
    assert!(metrics.contains(refused), "{metrics}");
}

#[tokio::test]
async fn limits_are_those_of_all_queries_and_answers_are_counted() {
    let server = filled("[query]\nrows_max = 1000\ntimeout = \"2s\"\n").await;
    let mut client = connect(&server).await;
    assert_eq!(rows(&mut client, "SELECT * FROM events").await, Ok(2));
    let many = rows(&mut client, "SELECT value FROM generate_series(1, 100000)").await;
    assert!(many.unwrap_err().contains("`[query] rows_max`"));
    let endless = rows(&mut client, ENDLESS).await.unwrap_err();
    assert!(endless.contains("`[query] timeout`"), "{endless}");
    for (outcome, expected) in [("answered", 1.0), ("failed", 2.0)] {
        let name =
            format!("auditmill_query_queries_total{{wire=\"flight\",outcome=\"{outcome}\"}}");
        assert_eq!(server.metric(&name).await, expected, "{outcome}");
    }
    let open = "auditmill_query_sessions{wire=\"flight\"}";
    assert_eq!(server.metric(open).await, 1.0);
    drop(client);
    let deadline = Instant::now() + LIMIT;
    while server.metric(open).await > 0.0 {
        assert!(Instant::now() < deadline, "the session never ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// With one slot and an hour to run, only who leaves can make room for the next.
#[tokio::test]
async fn a_query_is_stopped_when_its_client_leaves() {
    let settings = "[query]\nconcurrent_max = 1\ntimeout = \"1h\"\nqueue_max = 0";
    let server = TestServer::start(settings);
    let mut client = connect(&server).await;
    let info = client.execute(ENDLESS.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    // Whoever looks whether the slot is free has it meanwhile: then it is asked again.
    let asking = tokio::spawn(async move {
        while client.do_get(ticket.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let deadline = Instant::now() + LIMIT;
    while server.try_sql("SELECT 1 AS n").await.0 != 429 {
        assert!(Instant::now() < deadline, "the slot was never taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    asking.abort();
    becomes_free(&server).await;
}

#[tokio::test]
async fn it_can_be_turned_off_and_stops_in_order() {
    let server = TestServer::start("[query]\nflight_listen = \"\"");
    assert!(!server.log().contains("clients of Flight SQL"), "{}", server.log());
    // The usual port may be somebody else's.
    let _taken = TcpListener::bind("127.0.0.1:5434");
    let server = TestServer::start("[query]\nflight_listen = \"127.0.0.1:5434\"");
    assert!(server.log().contains("no clients of Flight SQL"), "{}", server.log());
    let mut server = TestServer::start("");
    let mut client = connect(&server).await;
    assert_eq!(rows(&mut client, "SELECT 1").await, Ok(1));
    // A client that is only there does not hold up the stop.
    assert!(server.stop().success(), "{}", server.log());
    assert!(!server.log().contains("gave up waiting"), "{}", server.log());
}

#[test]
fn an_open_address_needs_tls_and_credentials() {
    let ended = refused("[query]\nflight_listen = \"0.0.0.0:0\"");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let expected = "`[query] flight_listen` is 0.0.0.0:0, which others can reach";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
}
