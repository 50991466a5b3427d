//! Clients that mean harm: each is told so, or let go, and the service goes on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::client::{Client, open, start};
use super::{ENDLESS, filled, psql_with};
use crate::auth::{Pki, client_with_role};
use crate::program::LIMIT;
use crate::server::TestServer;

/// Whether the other end closed the connection, rather than let it wait.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => {
            !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        }
    }
}

/// The service goes on, for others on this wire and over HTTP.
async fn serves(server: &TestServer) {
    let counted = Client::connect(server).query("SELECT count(*) FROM events");
    assert_eq!(counted.rows, [[Some("2".to_owned())]], "{counted:?}");
    // A connection that was open before may have been idle for too long.
    let answer = crate::server::client().get(server.url("/readyz")).send().await;
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let server = filled().await;
    let tls = b"\0\0\0\x08\x04\xD2\x16\x2F";
    let start = start();
    let mut streams: Vec<TcpStream> = [&b""[..], b"\0", tls, &start[..9]]
        .map(|bytes| {
            let mut stream = open(&server);
            stream.write_all(bytes).unwrap();
            stream
        })
        .into();
    for stream in &mut streams {
        assert!(is_closed(stream), "still open after {LIMIT:?}");
    }
    serves(&server).await;
}

#[tokio::test]
async fn huge_and_malformed_messages_end_the_session() {
    let server = filled().await;
    let huge = |length: u32| [&b"Q"[..], &length.to_be_bytes()].concat();
    for (bytes, code) in [
        (huge(u32::MAX), "54000"),
        (huge(1 << 30), "54000"),
        (huge(3), "08P01"),
        (b"~\0\0\0\x04".to_vec(), "08P01"),
        (b"Q\0\0\0\x06no".to_vec(), "08P01"),
        (b"B\0\0\0\x0C\0\0\xFF\xFF\0\0\0\0".to_vec(), "08P01"),
    ] {
        let mut client = Client::connect(&server);
        client.stream.write_all(&bytes).unwrap();
        assert_eq!(client.until(b"E").code.as_deref(), Some(code), "{bytes:?}");
        assert!(is_closed(&mut client.stream), "{bytes:?}");
    }
    let mut stream = open(&server);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(is_closed(&mut stream));
    // As long as it may be, and wrong.
    let mut client = Client::connect(&server);
    let long = format!("SELECT '{}'", "x".repeat(1 << 20));
    assert_eq!(client.query(&long).code.as_deref(), Some("54000"));
    assert_eq!(client.query("SELECT 1").code, None);
    // Deeper than any parser should go.
    let deep = format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(client.query(&deep).code.is_some());
    let chain = format!("SELECT 1 WHERE {}", vec!["true"; 100_000].join(" OR "));
    assert!(client.query(&chain).code.is_some());
    assert_eq!(client.query("SELECT 1").code, None);
    serves(&server).await;
}

#[tokio::test]
async fn what_a_session_keeps_is_bounded() {
    let server = filled().await;
    let mut client = Client::connect(&server);
    let text = format!("SELECT '{}'", "x".repeat(15_000));
    let mut refused = None;
    for number in 0..1_000 {
        let answer = client.query(&format!("PREPARE p{number} AS {text}"));
        if answer.code.is_some() {
            refused = Some((number, answer));
            break;
        }
    }
    let (number, answer) = refused.expect("a bound");
    assert_eq!(answer.code.as_deref(), Some("53400"), "{answer:?}");
    // A column's name has the text once more.
    assert!((50..140).contains(&number), "{number}");
    assert_eq!(client.query("DEALLOCATE ALL").code, None);
    client.send(b'P', b"s\0SELECT 1\0\0\0");
    for number in 0..100 {
        client.send(b'B', &[format!("p{number}").as_bytes(), b"\0s\0\0\0\0\0\0\0"].concat());
    }
    client.send(b'S', b"");
    assert_eq!(client.until(b"Z").code.as_deref(), Some("53400"));
    assert_eq!(client.query("EXECUTE s").code, None);
}

#[tokio::test]
async fn more_sessions_than_there_may_be_are_told_so() {
    let server =
        TestServer::start("[query]\nsessions_max = 2\nconcurrent_max = 1\ntimeout = \"1h\"");
    let (mut one, two) = (Client::connect(&server), Client::connect(&server));
    let refused = Client::try_connect(&server).err().expect("a third session");
    assert_eq!(refused.code.as_deref(), Some("53300"));
    assert!(refused.message.contains("`[query] sessions_max`"), "{refused:?}");
    // Hundreds that say nothing at all beside them.
    let held: Vec<TcpStream> = (0..500).map(|_| open(&server)).collect();
    assert_eq!(one.query("SELECT 1").code, None);
    assert_eq!(server.number("SELECT 1 AS n").await, 1);
    drop(held);
    // A query is stopped all the same.
    one.send_query(ENDLESS);
    let deadline = std::time::Instant::now() + LIMIT;
    let key = one.key.clone();
    one.stream.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    while one.stream.peek(&mut [0]).is_err() {
        assert!(std::time::Instant::now() < deadline, "the query was never stopped");
        Client::cancel(&server, &key);
    }
    one.stream.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(one.answer().code.as_deref(), Some("57014"));
    drop((one, two));
    while Client::try_connect(&server).is_err() {
        assert!(std::time::Instant::now() < deadline, "a place never became free");
    }
    let full = "auditmill_query_sessions_refused_total{wire=\"postgres\",reason=\"full\"}";
    let metrics = crate::server::client().get(server.url("/metrics")).send().await.unwrap();
    assert!(metrics.text().await.unwrap().contains(full), "{full}");
}

/// Who does not read is held up, costs no memory, and gives the turn back.
#[tokio::test]
async fn a_slow_reader_costs_no_memory() {
    let server = TestServer::start("[query]\nconcurrent_max = 1\nqueue_max = 0\ntimeout = \"3s\"");
    let mut client = Client::connect(&server);
    assert_eq!(client.query("SELECT 1").code, None);
    let before = server.memory("VmRSS");
    client.send_query("SELECT repeat('x', 1000) FROM generate_series(1, 10000000)");
    client.stream.peek(&mut [0]).expect("an answer that begins");
    let deadline = std::time::Instant::now() + LIMIT;
    while server.try_sql("SELECT 1 AS n").await.0 != 200 {
        assert!(std::time::Instant::now() < deadline, "it never gave its turn back");
    }
    let grown = server.memory("VmHWM").saturating_sub(before);
    assert!(grown < 300 << 20, "{grown} bytes for one who does not read");
}

/// Random messages, well-formed heads mostly: no session takes the service along.
#[tokio::test]
async fn random_messages_harm_no_one_else() {
    let server = filled().await;
    let kinds = prop::sample::select(b"QPBDECSHpdcfFX~".to_vec());
    let text = prop::sample::select(vec![
        &b"\0"[..],
        b"s\0",
        b"SELECT 1\0",
        b"SELECT $1\0",
        b"\0\0\0\0",
        b"\0\x01",
        b"\xFF\xFF\xFF\xFF",
        b"P\0",
        b"Ss\0",
        b"SELECT ';\0",
        b"EXECUTE s(\0",
        b"COPY (\0",
        b"SET\0",
        b"\0\x01\0\0\0\x01x",
    ]);
    let body = prop::collection::vec(text, 0..6).prop_map(|parts| parts.concat());
    let messages = prop::collection::vec((kinds, body), 1..12);
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let ran = runner.run(&messages, |messages| {
        let mut client = Client::connect(&server);
        let mut bytes = Vec::new();
        for (kind, body) in messages {
            bytes.push(kind);
            bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
            bytes.extend(body);
        }
        bytes.extend(b"X\0\0\0\x04");
        // It may have closed the connection before it had read all.
        let _ = client.stream.write_all(&bytes);
        prop_assert!(is_closed(&mut client.stream), "a session that hangs");
        Ok(())
    });
    ran.unwrap();
    assert!(!server.log().contains("unforeseen"), "{}", server.log());
    serves(&server).await;
}

#[tokio::test]
async fn a_password_is_a_token_and_tls_is_asked_for() {
    let pki = Pki::new();
    let token = "a-token-of-thirty-two-characters";
    let client = client_with_role("ann", "[\"*\"]", token, "viewer");
    let server = TestServer::start(&(pki.tls("127.0.0.1:0") + &client));
    let ask = |parameters: &str| psql_with(&server, parameters, &["SELECT 7 AS seven"]);
    let well = ask(&format!("sslmode=require password={token}"));
    assert_eq!(well.code, Some(0), "{}", well.stderr);
    assert!(well.stdout.contains('7'), "{}", well.stdout);
    let wrong = ask("sslmode=require password=wrong");
    assert!(wrong.stderr.contains("no token of this server"), "{}", wrong.stderr);
    let plain = ask(&format!("sslmode=disable password={token}"));
    assert!(plain.stderr.contains("in TLS only"), "{}", plain.stderr);
    // Without TLS, too, a password is asked for where there are tokens.
    let server = TestServer::start(&client);
    let ask = |parameters: &str| psql_with(&server, parameters, &["SELECT 7 AS seven"]);
    assert_eq!(ask(&format!("password={token}")).code, Some(0));
    assert_eq!(ask("password=wrong").code, Some(2));
    let refused = "auditmill_query_sessions_refused_total{wire=\"postgres\",reason=\"refused\"}";
    let authorized = server.client().get(server.url("/metrics")).bearer_auth(token);
    let metrics = authorized.send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains(&format!("{refused} 1")), "{metrics}");
}
