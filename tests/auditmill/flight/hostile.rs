//! Clients that mean harm: each is told so, or let go, and the service goes on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionBeginTransactionRequest, CommandPreparedStatementQuery, CommandStatementQuery,
    CommandStatementUpdate, ProstMessageExt as _, TicketStatementQuery,
};
use arrow_flight::{Action, Criteria, Empty, FlightData, FlightDescriptor, Ticket};
use futures::{StreamExt as _, stream};
use prost::Message as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::{connect, filled, rows};
use crate::auth::client_with_role;
use crate::program::LIMIT;
use crate::server::TestServer;

/// What begins HTTP/2 (RFC 9113, section 3.4), and an empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn raw(server: &TestServer) -> FlightServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.flight())).unwrap();
    FlightServiceClient::new(endpoint.timeout(LIMIT).connect().await.unwrap())
}

fn open(server: &TestServer) -> TcpStream {
    let stream = TcpStream::connect(server.flight()).expect("connect");
    stream.set_read_timeout(Some(LIMIT)).expect("set a limit");
    stream
}

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
    let mut client = connect(server).await;
    assert_eq!(rows(&mut client, "SELECT * FROM events").await, Ok(2));
    let answer = crate::server::client().get(server.url("/readyz")).send().await;
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed() {
    let server = filled("").await;
    let hello = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let junk: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let mut streams: Vec<TcpStream> = [&b""[..], &PREFACE[..10], PREFACE, hello, &junk]
        .map(|bytes| {
            let mut stream = open(&server);
            // It may be closed before all is sent.
            let _ = stream.write_all(bytes);
            stream
        })
        .into();
    for (number, stream) in streams.iter_mut().enumerate() {
        assert!(is_closed(stream), "{number} is still open after {LIMIT:?}");
    }
    // A browser speaks HTTP/1, and must not be answered.
    let call =
        format!("http://{}/arrow.flight.protocol.FlightService/ListActions", server.flight());
    let call = server.client().post(call).header("content-type", "application/grpc");
    assert_eq!(call.body(&b"\0\0\0\0\0"[..]).send().await.unwrap().status(), 505);
    serves(&server).await;
}

#[tokio::test]
async fn more_connections_than_there_may_be_are_closed() {
    let server = filled("[query]\nsessions_max = 3").await;
    let mut client = connect(&server).await;
    assert_eq!(rows(&mut client, "SELECT 1").await, Ok(1));
    let mut held: Vec<TcpStream> = (0..2_000).map(|_| open(&server)).collect();
    assert!(is_closed(held.last_mut().unwrap()));
    assert_eq!(rows(&mut client, "SELECT 1").await, Ok(1));
    assert_eq!(server.number("SELECT 1 AS n").await, 1);
    let full = "auditmill_query_sessions_refused_total{wire=\"flight\",reason=\"full\"}";
    assert!(server.metric(full).await >= 1_990.0);
    // Those that got a place and say nothing lose it.
    for stream in &mut held {
        assert!(is_closed(stream));
    }
    serves(&server).await;
}

#[tokio::test]
async fn a_stranger_keeps_no_place() {
    let token = "a-token-of-thirty-two-characters";
    let settings = client_with_role("ann", "[\"*\"]", token, "viewer");
    let server = TestServer::start(&settings);
    let mut stranger = raw(&server).await;
    let refused = stranger.get_flight_info(FlightDescriptor::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    assert!(refused.message().contains("[[auth.client]]"), "{refused:?}");
    let deadline = Instant::now() + LIMIT;
    loop {
        let metrics = server.client().get(server.url("/metrics")).bearer_auth(token);
        let metrics = metrics.send().await.unwrap().text().await.unwrap();
        if metrics.contains("auditmill_query_sessions{wire=\"flight\"} 0") {
            break;
        }
        assert!(Instant::now() < deadline, "a stranger keeps a place");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn bad_tickets_and_commands_are_refused() {
    let server = filled("").await;
    let mut client = raw(&server).await;
    let handle = |bytes: &[u8]| {
        let statement_handle = bytes.to_vec().into();
        TicketStatementQuery { statement_handle }.as_any().encode_to_vec()
    };
    for ticket in [
        Vec::new(),
        b"\xFF".to_vec(),
        vec![0; 1 << 20],
        handle(b"\xFF\xFF\xFF"),
        handle(b"\x0A\x03SEL"),
        handle(b""),
        CommandStatementUpdate::default().as_any().encode_to_vec(),
    ] {
        let refused = client.do_get(Ticket::new(ticket.clone())).await.err().unwrap();
        let expected = [Code::InvalidArgument, Code::Unimplemented, Code::Internal];
        assert!(expected.contains(&refused.code()), "{refused:?}");
        let command = FlightDescriptor::new_cmd(ticket);
        assert!(client.get_flight_info(command).await.is_err());
    }
    let begin = ActionBeginTransactionRequest {}.as_any().encode_to_vec();
    for (action, body) in [
        ("BeginTransaction", begin),
        ("CreatePreparedStatement", b"\xFF".to_vec()),
        ("nothing", Vec::new()),
    ] {
        assert!(client.do_action(Action::new(action, body)).await.is_err(), "{action}");
    }
    assert!(client.list_flights(Criteria::default()).await.is_err());
    assert!(client.list_actions(Empty::default()).await.is_ok());
    assert!(client.do_put(stream::empty()).await.is_err());
    let update =
        CommandStatementUpdate { query: "DELETE FROM events".to_owned(), ..<_>::default() };
    let update = FlightDescriptor::new_cmd(update.as_any().encode_to_vec());
    let update = FlightData { flight_descriptor: Some(update), ..FlightData::default() };
    let refused = client.do_put(stream::iter([update])).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("only questions are answered"), "{refused:?}");
    assert!(!server.log().contains("panicked"), "{}", server.log());
    serves(&server).await;
}

/// Longer than may be, or deeper than any parser should go.
#[tokio::test]
async fn huge_statements_and_messages_are_refused() {
    let server = filled("").await;
    let mut client = connect(&server).await;
    let deep = format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let chain = format!("SELECT 1 WHERE {}", vec!["true"; 100_000].join(" OR "));
    let long = format!("SELECT '{}'", "x".repeat(1 << 20));
    let longer = format!("SELECT '{}'", "x".repeat(8 << 20));
    for (sql, expected) in [
        (deep, "nest it less deeply"),
        (chain, "operators"),
        (long, "bytes"),
        (longer, "a request has at most"),
    ] {
        let refused = rows(&mut client, &sql).await.unwrap_err();
        assert!(refused.contains(expected), "no {expected:?} in {refused}");
    }
    assert_eq!(rows(&mut client, "SELECT 1").await, Ok(1));
    // Parameters without an end.
    let before = server.memory("VmHWM");
    let mut raw = raw(&server).await;
    let message = || FlightData { data_body: vec![0; 1 << 20].into(), ..put("SELECT $1") };
    let endless = stream::iter((0..64).map(move |_| message()));
    let refused = raw.do_put(endless).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let grown = server.memory("VmHWM").saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes");
    serves(&server).await;
}

/// A message that binds parameters to a statement.
fn put(sql: &str) -> FlightData {
    // What the service makes of a statement: its text as field 1.
    let mut handle = vec![0x0A, u8::try_from(sql.len()).expect("a short statement")];
    handle.extend(sql.as_bytes());
    let command = CommandPreparedStatementQuery { prepared_statement_handle: handle.into() };
    let command = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    FlightData { flight_descriptor: Some(command), ..FlightData::default() }
}

/// Who does not read is held up, costs no memory, gives the turn back, and is let go.
#[tokio::test]
async fn a_slow_reader_costs_no_memory_and_is_let_go() {
    let settings = "[query]\nconcurrent_max = 1\nqueue_max = 0\ntimeout = \"1h\"";
    let server = TestServer::start(settings);
    let mut client = raw(&server).await;
    let before = server.memory("VmRSS");
    let sql = "SELECT repeat('x', 1000) AS t FROM generate_series(1, 10000000)".to_owned();
    let command = CommandStatementQuery { query: sql, transaction_id: None };
    let command = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let info = client.get_flight_info(command).await.unwrap().into_inner();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut answer = client.do_get(ticket).await.unwrap().into_inner();
    assert!(answer.next().await.unwrap().is_ok());
    let deadline = Instant::now() + 2 * LIMIT;
    while server.try_sql("SELECT 1 AS n").await.0 != 200 {
        assert!(Instant::now() < deadline, "it never gave its turn back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let grown = server.memory("VmHWM").saturating_sub(before);
    assert!(grown < 300 << 20, "{grown} bytes for one who does not read");
    // What it reads now ends in an error, not as an answer would.
    let last = loop {
        match answer.next().await {
            Some(Ok(_)) => {}
            last => break last,
        }
    };
    let last: Option<Status> = last.and_then(Result::err);
    assert!(last.is_some(), "an answer that was cut short ended well");
}
