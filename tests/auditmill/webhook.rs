//! Deliveries in, findings out, and what is refused.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use super::events::{exec, list, read, secret, time};
use super::program::LIMIT;
use super::server::{TestServer, client, install_crypto, refused, text};

#[tokio::test]
async fn a_delivery_is_acknowledged_found_and_queryable() {
    let server = TestServer::start("");
    assert_eq!(server.post("east", list(&[exec(1), read(2)])).await, 200);
    server.quiesce().await;
    let findings = server.findings("").await;
    assert_eq!(findings.len(), 1);
    let mut finding = findings[0].clone();
    let event_id = finding["evidence"][0]["event_id"].take();
    assert_eq!(event_id.as_str().map(str::len), Some(32));
    assert_eq!(finding["id"].as_str().map(str::len), Some(32));
    for (field, expected) in [
        ("detection", json!("K8A-401")),
        ("title", json!("Command run inside a pod")),
        ("severity", json!("informational")),
        ("status", json!("open")),
        ("cluster", json!("east")),
        ("key", json!({"user_name": "mallory", "namespace": "dev", "name": "p1"})),
        ("count", json!(1)),
        ("first_seen", json!(time(1))),
        ("last_seen", json!(time(1))),
        ("summary", json!("mallory ran `sh` in pod dev/p1 from 10.0.0.1")),
        ("evidence", json!([{"event_id": null, "audit_id": "exec-1", "event_time": time(1)}])),
        ("attack", json!(["T1609"])),
        ("controls", json!(["WL-9"])),
    ] {
        assert_eq!(finding[field], expected, "{field}");
    }
    let rows = "SELECT cluster, event_id, verb, name, source FROM events ORDER BY name";
    let rows = server.sql(rows).await;
    assert_eq!(rows[1]["event_id"], event_id);
    let row = json!({"cluster": "east", "event_id": rows[0]["event_id"], "verb": "get",
        "name": "c2", "source": "webhook"});
    assert_eq!(rows[0], row);
    let found = server.sql("SELECT id, detection, count FROM findings").await;
    assert_eq!(found, json!([{"id": finding["id"], "detection": "K8A-401", "count": 1}]));
    assert!(server.metric("auditmill_ingest_deliveries_total{cluster=\"east\"}").await == 1.0);
    assert!(server.metric("auditmill_decode_events_total{cluster=\"east\"}").await == 2.0);
}

#[tokio::test]
async fn columns_can_be_named_in_any_order() {
    let server = TestServer::start("");
    assert_eq!(server.post("east", list(&[read(1)])).await, 200);
    server.quiesce().await;
    let rows = server.sql("SELECT verb, cluster FROM events").await;
    assert_eq!(rows, json!([{"verb": "get", "cluster": "east"}]));
}

#[tokio::test]
async fn the_same_body_twice_counts_once() {
    let server = TestServer::start("");
    let secrets: Vec<Value> = (1..=15).map(secret).collect();
    let body = list(&secrets);
    let duplicates = "auditmill_decode_duplicate_events_total{cluster=\"default\"}";
    let mut found = Vec::new();
    let repeated = "auditmill_decode_repeated_deliveries_total{cluster=\"default\"}";
    // Twice the same bytes, as a retry is; then the same events in another body.
    for (again, body) in [body.clone(), body.clone(), format!(" {body}")].into_iter().enumerate() {
        assert_eq!(server.post("default", body).await, 200);
        server.quiesce().await;
        assert_eq!(server.number("SELECT count(*) FROM events").await, 15);
        assert!(server.metric(repeated).await == f64::from(u8::from(again >= 1)));
        assert!(server.metric(duplicates).await == f64::from(15 * u8::from(again >= 2)));
        assert!(server.metric("auditmill_decode_events_total{cluster=\"default\"}").await == 15.0);
        found.push(server.findings("").await);
    }
    assert_eq!(found[0].len(), 1);
    assert_eq!(found[0][0]["count"], 15);
    assert!(found.iter().all(|again| *again == found[0]), "{found:?}");
}

#[tokio::test]
async fn clusters_are_told_by_the_path_and_bounded() {
    let server = TestServer::start("[ingest]\nclusters_max = 3");
    let default = server.client().post(server.url("/v1/audit?timeout=30s"));
    let answer = default.body(list(&[read(1)])).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let long = "a".repeat(64);
    assert_eq!(server.post("prod.eu-1", list(&[read(1)])).await, 200);
    assert_eq!(server.post(&long, list(&[read(1)])).await, 200);
    for bad in ["UPPER", "under_score", "a%20b", "%C3%A9", "a%2Fb", &"a".repeat(65)] {
        assert_eq!(server.post(bad, list(&[read(1)])).await, 403, "{bad}");
    }
    let refused = "auditmill_ingest_refused_total{reason=\"forbidden\"}";
    assert!(server.metric(refused).await == 6.0);
    // Three are known: a fourth is one too many, the three stay.
    assert_eq!(server.post("fourth", list(&[read(1)])).await, 403);
    assert!(server.metric(refused).await == 7.0);
    assert_eq!(server.post("prod.eu-1", list(&[read(2)])).await, 200);
    server.quiesce().await;
    let rows = "SELECT cluster, count(*) AS events FROM events GROUP BY cluster ORDER BY cluster";
    let expected = json!([{"cluster": long, "events": 1}, {"cluster": "default", "events": 1},
        {"cluster": "prod.eu-1", "events": 2}]);
    assert_eq!(server.sql(rows).await, expected);
}

#[tokio::test]
async fn a_body_over_the_limit_gets_413() {
    let server = TestServer::start("[http]\nbody_bytes_max = \"10KiB\"");
    let announced = raw(server.address(), "Content-Length: 10241\r\n", b"");
    assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");
    assert!(announced.contains("raise `[http] body_bytes_max`"), "{announced}");
    let chunk = [b"2801\r\n".as_slice(), &[b' '; 10_241], b"\r\n"].concat();
    let chunked = raw(server.address(), "Transfer-Encoding: chunked\r\n", &chunk);
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    assert!(server.metric("auditmill_ingest_refused_total{reason=\"too_large\"}").await == 2.0);
    // What just fits is taken, announced or chunked.
    let event = read(1).to_string();
    let fits = format!("{event}{}", " ".repeat(10_240 - event.len()));
    assert_eq!(server.post("default", fits.clone()).await, 200);
    let chunk = format!("2800\r\n{fits}\r\n0\r\n\r\n");
    let chunked = raw(server.address(), "Transfer-Encoding: chunked\r\n", chunk.as_bytes());
    assert!(chunked.starts_with("HTTP/1.1 200 "), "{chunked}");
    server.quiesce().await;
    assert_eq!(server.number("SELECT count(*) FROM events").await, 1);
}

#[tokio::test]
async fn over_the_budget_the_answer_is_not_now() {
    let mib = 1024 * 1024;
    let server =
        TestServer::start("[ingest]\nbudget = \"1MiB\"\n[http]\nbody_bytes_max = \"1MiB\"");
    let headers = format!("Content-Length: {mib}\r\nExpect: 100-continue\r\n");
    let mut holder = send(server.address(), &headers, b"");
    // The server asks for the body once it has made room for it.
    let mut go_on = [0; 25];
    holder.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    let deliver = || server.client().post(server.url("/v1/audit")).body(list(&[read(1)])).send();
    let busy = deliver().await.unwrap();
    assert_eq!(busy.status(), 429);
    assert_eq!(busy.headers()["retry-after"], "3");
    let chunked = raw(server.address(), "Transfer-Encoding: chunked\r\n", b"1\r\n \r\n");
    assert!(chunked.starts_with("HTTP/1.1 429 "), "{chunked}");
    assert!(server.metric("auditmill_ingest_refused_total{reason=\"memory\"}").await == 2.0);

    holder.write_all(&vec![b' '; mib]).unwrap();
    assert!(answer(holder).starts_with("HTTP/1.1 200 "));
    server.quiesce().await;
    assert_eq!(deliver().await.unwrap().status(), 200);
    server.quiesce().await;
    assert_eq!(server.number("SELECT count(*) FROM events").await, 1);
}

/// Go's client, the API server's, writes and then looks: a connection that is closed while it still
/// writes loses the answer.
#[tokio::test]
async fn who_is_refused_while_sending_sees_why_and_may_go_on() {
    let mib = 1024 * 1024;
    let server =
        TestServer::start("[ingest]\nbudget = \"4MiB\"\n[http]\nbody_bytes_max = \"4MiB\"");
    let headers = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", 4 * mib);
    let mut holder = send(server.address(), &headers, b"");
    holder.read_exact(&mut [0; 25]).unwrap();
    for (headers, status) in [
        (format!("Content-Length: {}\r\n", 4 * mib), "HTTP/1.1 429 "),
        (format!("Content-Length: {}\r\n", 4 * mib + 1), "HTTP/1.1 413 "),
    ] {
        let body = vec![b' '; if status.contains("429") { 4 * mib } else { 4 * mib + 1 }];
        let mut sender = send(server.address(), &headers, &body);
        let answer = answer(sender.try_clone().unwrap());
        assert!(answer.starts_with(status), "{answer}");
        assert_eq!(answer.contains("retry-after: 3\r\n"), status.contains("429"), "{answer}");
        // The same connection is good for the next request.
        sender.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let answer = self::answer(sender);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_sender_who_leaves_gives_its_room_back() {
    let server =
        TestServer::start("[ingest]\nbudget = \"1MiB\"\n[http]\nbody_bytes_max = \"1MiB\"");
    for _ in 0..20 {
        let headers = "Content-Length: 1048576\r\nExpect: 100-continue\r\n";
        let mut leaver = loop {
            let mut leaver = send(server.address(), headers, b"");
            let mut status = [0; 12];
            leaver.read_exact(&mut status).unwrap();
            match &status {
                b"HTTP/1.1 100" => break leaver,
                // The one before has not been noticed to be gone.
                b"HTTP/1.1 429" => {}
                other => panic!("{}", String::from_utf8_lossy(other)),
            }
        };
        leaver.write_all(b"half a body").unwrap();
    }
    assert!(server.number("SELECT count(*) FROM events").await == 0);
}

#[tokio::test]
async fn a_slow_sender_gets_408() {
    let server = TestServer::start("[http]\nbody_timeout = \"1s\"");
    let slow = raw(server.address(), "Content-Length: 1000\r\n", b"{\"kind\":");
    assert!(slow.starts_with("HTTP/1.1 408 "), "{slow}");
    assert!(server.metric("auditmill_ingest_refused_total{reason=\"too_slow\"}").await == 1.0);
    assert_eq!(server.post("default", list(&[read(1)])).await, 200);
}

#[tokio::test]
async fn a_web_page_of_another_name_gets_403() {
    let server = TestServer::start("");
    for path in ["/v1/findings", "/metrics", "/healthz", "/v1/audit"] {
        let ask = |host: &str| {
            let url = server.url(path);
            let request = if path == "/v1/audit" {
                server.client().post(url).body(list(&[read(1)]))
            } else {
                server.client().get(url)
            };
            request.header("host", host).send()
        };
        for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1"] {
            assert_eq!(ask(host).await.unwrap().status(), 403, "{path} {host}");
        }
        for host in ["localhost", "127.0.0.1", "[::1]:8080"] {
            assert_eq!(ask(host).await.unwrap().status(), 200, "{path} {host}");
        }
    }
    let page = server.client().post(server.url("/v1/sql")).header("host", "evil.example");
    let (status, body) = text(page.body(r#"{"query": "SELECT 1"}"#).send().await.unwrap()).await;
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("use localhost or 127.0.0.1 as the host"), "{body}");
}

#[tokio::test]
async fn health_and_unknown_paths() {
    let server = TestServer::start("");
    assert_eq!(server.get("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(server.get("/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(server.get("/v1/nothing").await.0, 404);
    assert_eq!(server.get("/v1/audit").await.0, 405);
    // The end of the text tells a scraper that nothing is missing.
    let (status, metrics) = server.get("/metrics").await;
    assert!(status == 200 && metrics.ends_with("# EOF\n"), "{metrics}");
}

#[tokio::test]
async fn what_was_acknowledged_is_written_before_a_stop() {
    let mut server = TestServer::start("");
    let sent = 40;
    for delivery in 0..sent {
        let events: Vec<Value> = (0..10).map(|n| exec(delivery * 10 + n)).collect();
        assert_eq!(server.post("default", list(&events)).await, 200);
    }
    let status = server.stop();
    assert_eq!(status.code(), Some(0), "{}", server.log());
    let lines = std::fs::read_to_string(server.data().join("findings.jsonl")).unwrap();
    let findings: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.ends_with('\n') && findings.iter().all(|f| f["detection"] == "K8A-401"));
    let pods: BTreeSet<&str> = findings.iter().filter_map(|f| f["key"]["name"].as_str()).collect();
    assert_eq!(pods.len(), 10 * sent as usize);
}

#[tokio::test]
async fn findings_are_filtered_paged_and_streamed() {
    let server = TestServer::start("");
    let execs: Vec<Value> = (0..25).map(|n| exec(n * 60)).collect();
    let secrets: Vec<Value> = (0..15).map(secret).collect();
    assert_eq!(server.post("east", list(&execs)).await, 200);
    assert_eq!(server.post("west", list(&secrets)).await, 200);
    server.quiesce().await;
    let count = async |query: &str| server.findings(query).await.len();
    assert_eq!(count("").await, 26);
    assert_eq!(count("severity=high").await, 1);
    assert_eq!(count("severity=low").await, 0);
    assert_eq!(count("severity=informational,high").await, 26);
    assert_eq!(count("detection=K8A-401").await, 25);
    assert_eq!(count("detection=K8A-999").await, 0);
    assert_eq!(count("cluster=west").await, 1);
    assert_eq!(count("cluster=west&detection=K8A-401").await, 0);
    assert_eq!(count(&format!("since={}", time(20 * 60))).await, 5);
    assert_eq!(count("since=2026-03-01T01:20:00%2B01:00").await, 5, "an offset is understood");
    assert_eq!(count("since=100000d").await, 26);
    assert_eq!(count("since=1us").await, 0);
    for wrong in ["since=yesterday", "severity=huge", "limit=x", "colour=red"] {
        let (status, body) = server.get(&format!("/v1/findings?{wrong}")).await;
        assert_eq!(status, 400, "{wrong}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(body["error"].is_string(), "{body}");
    }

    let all = server.findings("").await;
    let ids = |findings: &[Value]| -> Vec<String> {
        findings.iter().map(|f| f["id"].as_str().unwrap().to_owned()).collect()
    };
    let newest_first =
        all.is_sorted_by(|a, b| a["first_seen"].as_str() >= b["first_seen"].as_str());
    assert!(newest_first, "{all:?}");
    for limit in [1, 7, 13, 26] {
        let mut paged = Vec::new();
        let mut next = String::new();
        loop {
            let page = server.findings_page(&format!("limit={limit}{next}")).await;
            let findings = page["findings"].as_array().unwrap();
            assert!(!findings.is_empty() && findings.len() <= limit);
            paged.extend(ids(findings));
            assert!(paged.len() <= all.len(), "limit {limit}: a finding comes twice");
            let Some(cursor) = page["next"].as_str() else { break };
            next = format!("&cursor={cursor}");
        }
        assert_eq!(paged, ids(&all), "limit {limit}");
    }

    let ask = server.client().get(server.url("/v1/findings?limit=1000"));
    let answer = ask.header("accept", "application/x-ndjson").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let lines = answer.text().await.unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, all);

    let one = all[3].clone();
    let (status, body) = server.get(&format!("/v1/findings/{}", one["id"].as_str().unwrap())).await;
    let mut alone: Value = serde_json::from_str(&body).unwrap();
    // Alone it also says what people made of it.
    let members = alone.as_object_mut().unwrap();
    let said = ["incident", "triage", "trail"].map(|name| members.remove(name).is_some());
    // And where its events are in the history.
    for event in members["evidence"].as_array_mut().unwrap() {
        for name in ["segment", "row", "leaf"] {
            event.as_object_mut().unwrap().remove(name);
        }
    }
    assert_eq!((status, said, alone), (200, [true; 3], one));
    assert_eq!(server.get("/v1/findings/00000000000000000000000000000000").await.0, 404);
}

#[test]
fn an_open_address_without_credentials_refuses_to_start() {
    let open = "error: `[http] listen` is 0.0.0.0:0, which others can reach: set `[http] tls_cert` \
                and `tls_key`, and `[auth] client_ca` or an `[[auth.client]]`, or listen on \
                127.0.0.1\n";
    check_refused("[http]\nlisten = \"0.0.0.0:0\"", open);
    // TLS alone says who we are, not who they are.
    let pki = Pki::new();
    check_refused(&format!("{}\nlisten = \"0.0.0.0:0\"", pki.tls()), open);
    let alone = "error: `[auth] client_ca` needs TLS: set `[http] tls_cert` and `tls_key`\n";
    check_refused(&pki.client_ca(), alone);
    let half = "error: `[http] tls_cert` and `tls_key` go together: set both or none\n";
    check_refused(&format!("[http]\ntls_key = \"{}\"", pki.path("server.key").display()), half);
}

#[test]
fn settings_that_cannot_be_refuse_to_start() {
    check_refused(
        "[ingest]\nbudget = \"1MiB\"",
        "error: `[ingest] budget` (1.0 MiB) is below `[http] body_bytes_max` (256.0 MiB): the \
         largest delivery could never be taken; raise the one or lower the other\n",
    );
    let ended = refused("[http]\nlistne = \"127.0.0.1:0\"");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("auditmill.toml: TOML parse error at line "), "{}", ended.stderr);
    assert!(ended.stderr.contains("unknown field `listne`, expected one of"), "{}", ended.stderr);
}

fn check_refused(settings: &str, expected: &str) {
    let ended = refused(settings);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let last = ended.stderr.lines().filter(|line| !line.starts_with('{')).collect::<Vec<_>>();
    assert_eq!(last.join("\n") + "\n", expected);
}

#[tokio::test]
async fn tls_serves_whom_the_authority_knows() {
    let pki = Pki::new();
    let server = TestServer::start(&format!("{}\n{}", pki.tls(), pki.client_ca()));
    let deliver = async |client: &reqwest::Client| {
        let delivery = client.post(server.url("/v1/audit/tls")).body(list(&[exec(1)]));
        // Without credentials a Host header is checked; with them any name may lead here.
        delivery.header("host", "auditmill.example").send().await.map(|a| a.status().as_u16())
    };
    let known = pki.client("client");
    assert_eq!(deliver(&known).await.unwrap(), 200);
    let stranger = Pki::new();
    assert!(deliver(&pki.client_without_certificate()).await.is_err());
    assert!(deliver(&pki.with_identity(&stranger, "client")).await.is_err());
    assert!(deliver(&client()).await.is_err(), "a client that does not know the authority");
    let found = known.get(server.url("/v1/findings")).send().await.unwrap();
    assert_eq!(found.version(), reqwest::Version::HTTP_2);
    let plain = server.url("/v1/findings").replace("https:", "http:");
    assert!(client().get(plain).send().await.is_err(), "TLS only");
}

/// An authority with a server's and a client's certificate, in files.
struct Pki(tempfile::TempDir);

impl Pki {
    fn new() -> Self {
        install_crypto();
        let pki = Self(tempfile::tempdir().unwrap());
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = authority.self_signed(&key).unwrap();
        std::fs::write(pki.path("ca.crt"), certificate.pem()).unwrap();
        let issuer = Issuer::new(authority, key);
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let names = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
            let certificate = names.signed_by(&key, &issuer).unwrap();
            std::fs::write(pki.path(&format!("{name}.crt")), certificate.pem()).unwrap();
            std::fs::write(pki.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn tls(&self) -> String {
        let (cert, key) = (self.path("server.crt"), self.path("server.key"));
        format!("[http]\ntls_cert = \"{}\"\ntls_key = \"{}\"", cert.display(), key.display())
    }

    fn client_ca(&self) -> String {
        format!("[auth]\nclient_ca = \"{}\"", self.path("ca.crt").display())
    }

    fn client(&self, name: &str) -> reqwest::Client {
        self.with_identity(self, name)
    }

    fn with_identity(&self, holder: &Self, name: &str) -> reqwest::Client {
        let read = |path: PathBuf| std::fs::read(Path::new(&path)).unwrap();
        let pem =
            [read(holder.path(&format!("{name}.crt"))), read(holder.path(&format!("{name}.key")))];
        let identity = reqwest::Identity::from_pem(&pem.concat()).unwrap();
        self.builder().identity(identity).build().unwrap()
    }

    fn client_without_certificate(&self) -> reqwest::Client {
        self.builder().build().unwrap()
    }

    fn builder(&self) -> reqwest::ClientBuilder {
        let ca = std::fs::read(self.path("ca.crt")).unwrap();
        let ca = reqwest::Certificate::from_pem(&ca).unwrap();
        reqwest::Client::builder().tls_certs_only([ca]).timeout(LIMIT).no_proxy()
    }
}

/// Sends a delivery's head and these bytes, and keeps the connection.
fn send(address: &str, headers: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let head = format!("POST /v1/audit HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    stream
}

/// Sends a delivery's head and these bytes; gives the answer.
fn raw(address: &str, headers: &str, body: &[u8]) -> String {
    answer(send(address, headers, body))
}

/// The head of an answer and what came with it.
fn answer(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
            });
            let whole = match length {
                Some(length) => body.len() >= length,
                // Chunks, or nothing.
                None => !head.contains("transfer-encoding: chunked") || body.ends_with("0\r\n\r\n"),
            };
            if whole {
                return text.into_owned();
            }
        }
        assert!(read > 0, "the connection ended: {text}");
    }
}
