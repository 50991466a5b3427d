//! The same tables over PostgreSQL's wire: psql, what Grafana and DBeaver ask, a JDBC driver, and
//! clients that mean harm.

mod client;
mod hostile;
mod java;

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use self::client::Client;
use super::events::{list, read, repository};
use super::program::{Ended, LIMIT};
use super::server::{TestServer, refused};

const ENDLESS: &str = "SELECT max(a.value + b.value) FROM generate_series(1, 1000000) a, \
                       generate_series(1, 100000) b";

impl TestServer {
    /// Where clients of PostgreSQL are served, `127.0.0.1:PORT`.
    pub(crate) fn postgres(&self) -> String {
        let log = self.log();
        let line = log.lines().rfind(|line| line.contains("clients of PostgreSQL are served"));
        let line: serde_json::Value = serde_json::from_str(line.unwrap()).unwrap();
        line["address"].as_str().unwrap().to_owned()
    }
}

/// What psql says to these commands, each as with `-c`.
fn psql(server: &TestServer, commands: &[&str]) -> Ended {
    psql_with(server, "", commands)
}

pub(crate) fn psql_with(server: &TestServer, parameters: &str, commands: &[&str]) -> Ended {
    let address = server.postgres();
    let (host, port) = address.rsplit_once(':').unwrap();
    let mut psql = Command::new("psql");
    psql.env("PGCONNECT_TIMEOUT", "60").env_remove("PGPASSWORD");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]);
    psql.arg(format!("host={host} port={port} dbname=auditmill user=ann {parameters}"));
    for command in commands {
        psql.args(["-c", command]);
    }
    let output = psql.output().expect("run psql, which `tests/tools.sh` sets up");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    Ended { code: output.status.code(), stdout, stderr }
}

fn said(server: &TestServer, commands: &[&str]) -> String {
    let ended = psql(server, commands);
    assert_eq!(ended.code, Some(0), "{commands:?}: {}", ended.stderr);
    ended.stdout
}

async fn filled() -> TestServer {
    let server = TestServer::start("");
    assert_eq!(server.post("default", list(&[read(1), read(2)])).await, 200);
    server.quiesce().await;
    server
}

#[tokio::test]
async fn psql_asks_and_describes() {
    let server = filled().await;
    let rows = said(
        &server,
        &[
            r"\pset format unaligned",
            r"\timing on",
            "SELECT name, response_code, truncated, event_time, subresource FROM events ORDER BY 1",
        ],
    );
    assert!(rows.contains("c1|200|f|2026-"), "{rows}");
    assert!(rows.contains("(2 rows)") && rows.contains("Time: "), "{rows}");
    for (command, expected) in [
        (r"\d", &["public | events ", "| view ", "public | requests", "auditmill"][..]),
        (r"\dt", &["public | events ", "| table"]),
        (r"\dv", &["public | requests", "| view"]),
        (r"\d events", &["Table \"public.events\"", "event_time ", "timestamp with time zone"]),
        (r"\d+ requests", &["View \"public.requests\"", "View definition:", "FROM events"]),
        (r"\l", &["auditmill", "UTF8"]),
        (r"\dn", &["public"]),
        (r"\du", &["auditmill"]),
        (r"\df", &["Name"]),
        (r"\di", &["List of relations"]),
        (r"\dT", &["List of data types"]),
        (r"\dx", &["List of installed extensions"]),
        (r"\dp", &["Access privileges"]),
        (r"\l+", &["auditmill"]),
        (r"\dn+", &["public"]),
        (r"\d+ events", &["response_code ", "integer"]),
        (r"\dS pg_class", &["relname ", "oid"]),
        (r"\conninfo", &["database \"auditmill\""]),
    ] {
        let ended = psql(&server, &[command]);
        assert_eq!(ended.code, Some(0), "{command}: {}", ended.stderr);
        for part in expected {
            let all = ended.stdout.clone() + &ended.stderr;
            assert!(all.contains(part), "{command}: no `{part}` in {all}");
        }
    }
    let tables = said(&server, &[r"\dt"]);
    assert!(!tables.contains("pg_class"), "{tables}");
}

#[tokio::test]
async fn statements_are_prepared_and_orders_answered() {
    let server = filled().await;
    let answer = said(
        &server,
        &[
            r"\pset format unaligned",
            r"\pset tuples_only on",
            "PREPARE one (text) AS SELECT name FROM events WHERE name = $1",
            "EXECUTE one('c2')",
            "BEGIN; SELECT 1; COMMIT",
            "SET application_name = 'me'",
            "SHOW application_name",
            "SHOW server_version",
            "SELECT ';' AS a; SELECT 'b'",
            "COPY (SELECT name, subresource FROM events ORDER BY 1) TO STDOUT (FORMAT csv, HEADER)",
            "SELECT ARRAY['a', 'b'], true, 5::bigint, NULL, '{\"a\": 1}' AS j",
            "DEALLOCATE one",
            "DISCARD ALL",
        ],
    );
    for expected in [
        "c2\n",
        "\n1\n",
        "me\n",
        "15.0 (auditmill",
        ";\nb\n",
        "name,subresource\nc1,\nc2,\n",
        "{a,b}|t|5||{\"a\": 1}",
    ] {
        assert!(answer.contains(expected), "no {expected:?} in {answer}");
    }
}

#[tokio::test]
async fn errors_have_codes_and_hints() {
    let server = filled().await;
    for (sql, code, message) in [
        ("SELECT nmae FROM events", "42703", "nmae"),
        ("SELECT 1 FROM nowhere", "42P01", "SHOW TABLES"),
        ("SELEC 1", "42601", "SELEC"),
        ("SELECT 1 / 0", "22012", "zero"),
        ("DROP TABLE events", "25006", "only questions are answered"),
        ("DELETE FROM events", "25006", "only questions are answered"),
        ("COPY events FROM STDIN", "0A000", "COPY (SELECT ...) TO STDOUT"),
        ("SHOW nothing_known", "42704", "pg_settings"),
        ("EXECUTE nobody", "26000", "does not exist"),
    ] {
        let ended = psql(&server, &[sql]);
        assert_eq!(ended.code, Some(1), "{sql}: {}", ended.stdout);
        assert!(ended.stderr.contains(&format!("ERROR:  {code}")), "{sql}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{sql}: {}", ended.stderr);
    }
    let mut client = Client::connect(&server);
    client.query("BEGIN");
    assert!(client.query("SELECT 1 / 0").code.is_some());
    assert_eq!(client.query("SELECT 1").code.as_deref(), Some("25P02"));
    assert_eq!(client.query("COMMIT").tag, "ROLLBACK");
    assert_eq!(client.query("SELECT 1").code, None);
    let other = psql_with(&server, "dbname=other", &["SELECT 1"]);
    assert!(other.stderr.contains("the only database is `auditmill`"), "{}", other.stderr);
}

#[tokio::test]
async fn a_session_keeps_its_statements_to_itself() {
    let server = filled().await;
    let (mut one, mut other) = (Client::connect(&server), Client::connect(&server));
    assert_eq!(one.query("PREPARE mine AS SELECT 1").code, None);
    assert_eq!(one.query("SET application_name = 'one'").code, None);
    assert_eq!(other.query("EXECUTE mine").code.as_deref(), Some("26000"));
    assert_eq!(other.query("SHOW application_name").rows, [[Some(String::new())]]);
    assert_eq!(one.query("EXECUTE mine").rows, [[Some("1".to_owned())]]);
    assert_eq!(one.query("DISCARD ALL").tag, "DISCARD ALL");
    assert_eq!(one.query("EXECUTE mine").code.as_deref(), Some("26000"));
}

/// With one slot and an hour to run, only the request to cancel can make room for the next.
#[tokio::test]
async fn a_query_is_stopped_when_its_client_asks_or_leaves() {
    let server = TestServer::start("[query]\nconcurrent_max = 1\ntimeout = \"1h\"\nqueue_max = 0");
    let mut client = Client::connect(&server);
    occupy(&server, &mut client).await;
    let key = client.key.clone();
    Client::cancel(&server, &[&key[..4], &[0; 4]].concat());
    assert_eq!(server.try_sql("SELECT 1 AS n").await.0, 429, "a wrong secret stopped a query");
    Client::cancel(&server, &key);
    assert_eq!(client.answer().code.as_deref(), Some("57014"));
    occupy(&server, &mut client).await;
    drop(client);
    let deadline = Instant::now() + LIMIT;
    while server.try_sql("SELECT 1 AS n").await.0 != 200 {
        assert!(Instant::now() < deadline, "the slot never became free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks what takes the only slot, and waits until it is taken.
async fn occupy(server: &TestServer, client: &mut Client) {
    let deadline = Instant::now() + LIMIT;
    client.send_query(ENDLESS);
    client.stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    loop {
        assert!(Instant::now() < deadline, "the slot was never taken");
        if client.stream.peek(&mut [0]).is_ok() {
            // Whoever looked whether the slot is free had it.
            client.stream.set_read_timeout(Some(LIMIT)).unwrap();
            assert_eq!(client.answer().code.as_deref(), Some("53000"));
            client.send_query(ENDLESS);
            client.stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        }
        if server.try_sql("SELECT 1 AS n").await.0 == 429 && client.stream.peek(&mut [0]).is_err() {
            break;
        }
    }
    client.stream.set_read_timeout(Some(LIMIT)).unwrap();
}

/// Each statement of `testdata/clients` is answered, with the lines that its comments name.
#[tokio::test]
async fn what_grafana_and_dbeaver_ask_is_answered() {
    let server = filled().await;
    let mut wrong = Vec::new();
    for name in ["grafana", "dbeaver"] {
        let path = repository(&format!("testdata/clients/{name}.sql"));
        let text = std::fs::read_to_string(path).unwrap();
        for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
            let mut client = Client::connect(&server);
            let answer = client.query(block);
            if let Some(code) = answer.code {
                wrong.push(format!("{name}: {block}\n   {code} {}", answer.message));
                continue;
            }
            let lines: Vec<String> = answer
                .rows
                .iter()
                .map(|row| {
                    let values: Vec<&str> =
                        row.iter().map(|value| value.as_deref().unwrap_or("")).collect();
                    values.join("|")
                })
                .collect();
            for expected in block.lines().filter_map(|line| line.strip_prefix("-- has: ")) {
                if !lines.iter().any(|line| line == expected) {
                    wrong.push(format!("{name}: {block}\n   no `{expected}` in {lines:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} statements:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn limits_are_those_of_all_queries() {
    let server = TestServer::start("[query]\nrows_max = 1000\ntimeout = \"2s\"\n");
    let many = "SELECT value FROM generate_series(1, 100000)";
    let ended = psql(&server, &[many]);
    assert!(
        ended.stderr.contains("54000") && ended.stderr.contains("rows_max"),
        "{}",
        ended.stderr
    );
    let ended = psql(&server, &[ENDLESS]);
    assert!(ended.stderr.contains("57014") && ended.stderr.contains("timeout"), "{}", ended.stderr);
}

#[tokio::test]
async fn it_can_be_turned_off_and_is_counted() {
    let server = TestServer::start("[query]\npostgres_listen = \"\"");
    assert!(!server.log().contains("clients of PostgreSQL"), "{}", server.log());
    // The usual port may be somebody else's.
    let _taken = TcpListener::bind("127.0.0.1:5433");
    let server = TestServer::start("[query]\npostgres_listen = \"127.0.0.1:5433\"");
    assert!(server.log().contains("no clients of PostgreSQL"), "{}", server.log());
    let server = filled().await;
    let open = "auditmill_query_sessions{wire=\"postgres\"}";
    let mut client = Client::connect(&server);
    client.query("SELECT 1");
    assert_eq!(server.metric(open).await, 1.0);
    client.query("SELECT nothing");
    for (outcome, expected) in [("answered", 1.0), ("failed", 1.0)] {
        let name =
            format!("auditmill_query_queries_total{{wire=\"postgres\",outcome=\"{outcome}\"}}");
        assert_eq!(server.metric(&name).await, expected, "{outcome}");
    }
    drop(client);
    let deadline = Instant::now() + LIMIT;
    while server.metric(open).await > 0.0 {
        assert!(Instant::now() < deadline, "the session never ended");
    }
}

#[tokio::test]
async fn cursors_in_sql_give_rows_in_parts() {
    let server = TestServer::start("");
    // psql makes a cursor of its own, and closes it.
    let rows = said(&server, &["\\set FETCH_COUNT 2", "SELECT value FROM generate_series(1, 5)"]);
    let values: Vec<&str> =
        rows.lines().map(str::trim).filter(|line| line.parse::<u32>().is_ok()).collect();
    assert_eq!(values, ["1", "2", "3", "4", "5"], "{rows}");
    let mut client = Client::connect(&server);
    let outside = client.query("DECLARE c CURSOR FOR SELECT 1");
    assert_eq!(outside.code.as_deref(), Some("25P01"));
    client.query("BEGIN");
    client.query("DECLARE c CURSOR FOR SELECT value FROM generate_series(1, 5)");
    assert_eq!(client.query("DECLARE c CURSOR FOR SELECT 1").code.as_deref(), Some("42P03"));
    client.query("ROLLBACK");
    client.query("BEGIN");
    client.query("DECLARE c CURSOR FOR SELECT value FROM generate_series(1, 5)");
    for (fetch, expected) in [
        ("FETCH 2 FROM c", 2),
        ("FETCH c", 1),
        ("FETCH 0 FROM c", 0),
        ("FETCH ALL FROM c", 2),
        ("FETCH 7 FROM c", 0),
    ] {
        let answer = client.query(fetch);
        assert_eq!((answer.code, answer.rows.len()), (None, expected), "{fetch}");
    }
    client.query("CLOSE c");
    assert_eq!(client.query("FETCH c").code.as_deref(), Some("34000"));
    client.query("COMMIT");
}

#[tokio::test]
async fn a_cursor_gives_rows_in_parts() {
    let server = filled().await;
    let mut client = Client::connect(&server);
    let sql = "SELECT value FROM generate_series(1, 200000)";
    client.send(b'P', &[b"s\0", sql.as_bytes(), b"\0\0\0"].concat());
    client.send(b'B', b"p\0s\0\0\0\0\0\0\0");
    let mut seen = 0;
    for rows_max in [3_u32, 70_000, 0] {
        client.send(b'E', &[&b"p\0"[..], &rows_max.to_be_bytes()].concat());
        client.send(b'H', b"");
        let answer = client.until(b"sCE");
        seen += answer.rows.len();
        let expected = if rows_max == 0 { 200_000 } else { seen };
        assert_eq!((answer.code, seen), (None, expected));
        if rows_max > 0 {
            assert_eq!(answer.rows.len(), usize::try_from(rows_max).unwrap());
        }
    }
    client.send(b'S', b"");
    client.until(b"Z");
    assert_eq!(client.query("SELECT 1").code, None);
}

#[test]
fn an_open_address_needs_tls_and_credentials() {
    let ended = refused("[query]\npostgres_listen = \"0.0.0.0:0\"");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let expected = "`[query] postgres_listen` is 0.0.0.0:0, which others can reach";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    let ended = refused("[query]\npostgres_listen = \"nowhere\"");
    assert!(ended.stderr.contains("is not an address such as 127.0.0.1:5433"), "{}", ended.stderr);
    assert_eq!(json!(ended.code), json!(2));
}
