//! Findings on their way out: whatever receivers do, all findings arrive, and nobody waits for
//! another one's receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::events::{exec, list, time};
use super::program::LIMIT;
use super::receiver::{Behaviour, OK, Receiver};
use super::server::TestServer;

/// Sinks are tried again soon, and hanging receivers given up soon.
fn settings(port: u16, secret: &Path) -> String {
    format!(
        "[alert]\nretry_first = \"5ms\"\nretry_max = \"50ms\"\n\
         [[sink]]\ntype = \"webhook\"\nname = \"soc\"\n\
         url = \"http://127.0.0.1:{port}/in?t=geheim\"\n\
         timeout = \"2s\"\nsecret_file = \"{secret}\"\nheaders = {{ \"x-team\" = \"geheim\" }}\n\
         [[sink]]\ntype = \"jsonl\"\nname = \"file\"\npath = \"{file}\"\n",
        secret = secret.display(),
        file = secret.with_file_name("findings.jsonl").display(),
    )
}

struct Sinks {
    dir: tempfile::TempDir,
}

impl Sinks {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "a secret\n").unwrap();
        Self { dir }
    }

    fn settings(&self, port: u16) -> String {
        settings(port, &self.dir.path().join("secret"))
    }

    /// Revisions by finding's key `name` as the other sink wrote them, in order.
    fn lines(&self) -> BTreeMap<String, Vec<u64>> {
        let text = std::fs::read_to_string(self.dir.path().join("findings.jsonl"));
        let mut lines: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        // The last line may not be whole yet.
        for line in text.unwrap_or_default().split_inclusive('\n').filter(|l| l.ends_with('\n')) {
            let finding: Value = serde_json::from_str(line).expect("a line is a finding");
            let name = finding["key"]["name"].as_str().expect("a key").to_owned();
            lines.entry(name).or_default().push(finding["revision"].as_u64().expect("a number"));
        }
        lines
    }
}

/// Asks `condition` again and again until it holds.
pub(crate) async fn until(
    what: &str,
    server: &TestServer,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let deadline = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited {LIMIT:?} for {what}:\n{}", server.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn names(numbers: std::ops::Range<u32>) -> BTreeSet<String> {
    numbers.map(|number| format!("p{number}")).collect()
}

fn keys(taken: &BTreeMap<String, Vec<u64>>) -> BTreeSet<String> {
    taken.keys().cloned().collect()
}

/// An exec in the pod of `number`, `later` seconds after the first: the same finding changes.
pub(crate) fn again(number: u32, later: u32) -> Value {
    let mut event = exec(number);
    event["auditID"] = json!(format!("exec-{number}-{later}"));
    event["stageTimestamp"] = json!(time(number + later));
    event
}

pub(crate) async fn deliver(server: &TestServer, events: &[Value]) {
    assert_eq!(server.post("east", list(events)).await, 200);
    server.quiesce().await;
}

#[tokio::test]
async fn whatever_a_receiver_does_all_findings_arrive_and_others_do_not_wait() {
    let sinks = Sinks::new();
    // Down at first: nobody listens there.
    let port = Receiver::start(0, &[]).await.port();
    let server = TestServer::start(&sinks.settings(port));
    let lag = "auditmill_sink_lag_findings{sink=\"soc\"}";
    let events: Vec<Value> = (1..40).map(exec).collect();
    deliver(&server, &events).await;
    until("the file", &server, async || keys(&sinks.lines()) == names(1..40)).await;
    assert_eq!(server.metric(lag).await, 39.0);
    let mut script = Vec::new();
    for _ in 0..3 {
        script.extend([Behaviour::Status(500), Behaviour::Busy, Behaviour::Garbage, OK]);
        script.extend([Behaviour::Half, Behaviour::Close, OK, Behaviour::Status(401)]);
    }
    script.extend([Behaviour::Hang, Behaviour::Status(302), Behaviour::Status(404), OK]);
    let receiver = Receiver::start(port, &script).await;
    // Findings change meanwhile.
    let events: Vec<Value> = (1..40).map(|number| again(number, 60)).collect();
    deliver(&server, &events).await;
    let newest = async || {
        let taken = receiver.taken();
        keys(&taken) == names(1..40) && taken.values().all(|taken| taken.last() == Some(&2))
    };
    until("every finding's newest revision", &server, newest).await;
    for (name, revisions) in receiver.taken() {
        assert!(revisions.is_sorted(), "{name}: {revisions:?}");
    }
    until("the file again", &server, async || {
        sinks.lines().values().all(|revisions| revisions.last() == Some(&2))
    })
    .await;
    for revisions in sinks.lines().values() {
        assert!(revisions == &[1, 2] || revisions == &[2], "{revisions:?}");
    }
    until("the lag to be gone", &server, async || server.metric(lag).await == 0.0).await;
    let delivered = "auditmill_sink_deliveries_total{sink=\"soc\",outcome=";
    assert!(server.metric(&format!("{delivered}\"retried\"}}")).await > 0.0);
    assert!(server.metric(&format!("{delivered}\"delivered\"}}")).await >= 39.0);
    assert_eq!(server.metric(&format!("{delivered}\"refused\"}}")).await, 0.0);
    check_posts(&receiver);
    assert!(!server.log().contains("geheim") && !server.log().contains("a secret"));
}

/// Every POST is a CloudEvent with a good signature.
fn check_posts(receiver: &Receiver) {
    for post in receiver.posts() {
        let header = |name: &str| post.headers[name].clone();
        let kind = header("content-type");
        assert_eq!(kind, "application/cloudevents+json; charset=utf-8");
        assert_eq!(header("x-team"), "geheim");
        let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
        let mut mac = Hmac::<Sha256>::new_from_slice(b"a secret").unwrap();
        mac.update(format!("{id}.{timestamp}.{}", post.body).as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(header("webhook-signature"), expected);
        let event: Value = serde_json::from_str(&post.body).unwrap();
        let finding = &event["data"];
        let finding_id = finding["id"].as_str().unwrap();
        assert_eq!(event["id"], format!("{finding_id}-{}", finding["revision"]));
        assert_eq!(event["id"], id);
        for (field, expected) in [
            ("specversion", json!("1.0")),
            ("type", json!("io.auditmill.finding")),
            ("source", json!("/auditmill/east")),
            ("subject", json!(finding_id)),
            ("time", finding["last_seen"].clone()),
            ("datacontenttype", json!("application/json")),
        ] {
            assert_eq!(event[field], expected, "{field}");
        }
    }
}

#[tokio::test]
async fn a_finding_that_is_not_taken_holds_up_no_other() {
    let sinks = Sinks::new();
    let receiver = Receiver::start(0, &[]).await;
    // One is refused for good, one fails for now.
    receiver.choose(|finding| match finding["key"]["name"].as_str() {
        Some("p3") => Behaviour::Status(422),
        Some("p5") => Behaviour::Status(500),
        _ => OK,
    });
    let server = TestServer::start(&sinks.settings(receiver.port()));
    deliver(&server, &(1..10).map(exec).collect::<Vec<_>>()).await;
    let mut others = names(1..10);
    others.remove("p3");
    others.remove("p5");
    until("the others", &server, async || keys(&receiver.taken()) == others).await;
    // Those that come later, too: the one that fails is set aside.
    deliver(&server, &(10..14).map(exec).collect::<Vec<_>>()).await;
    others.extend(names(10..14));
    until("later ones", &server, async || keys(&receiver.taken()) == others).await;
    let aside = "auditmill_sink_deliveries_total{sink=\"soc\",outcome=\"set_aside\"}";
    until("it to be set aside", &server, async || server.metric(aside).await == 1.0).await;
    let lag = "auditmill_sink_lag_findings{sink=\"soc\"}";
    until("one to be left", &server, async || server.metric(lag).await == 1.0).await;
    let letters = "SELECT d.sink, d.revision, d.cluster, d.reason, f.id IS NOT NULL AS known
                   FROM dead_letters d LEFT JOIN findings f ON f.id = d.finding";
    let expected = json!([{"sink": "soc", "revision": 1, "cluster": "east",
        "reason": "422 Unprocessable Entity", "known": true}]);
    assert_eq!(server.sql(letters).await, expected);
    let ledger = "SELECT cluster, item, count FROM ledger WHERE kind = 'undeliverable'";
    let expected = json!([{"cluster": "east", "item": "soc", "count": 1}]);
    assert_eq!(server.sql(ledger).await, expected);
    receiver.choose(|_| OK);
    others.insert("p5".to_owned());
    until("the one set aside", &server, async || keys(&receiver.taken()) == others).await;
    until("nothing to be left", &server, async || server.metric(lag).await == 0.0).await;
}

#[tokio::test]
async fn a_finding_that_never_gets_through_while_others_do_is_given_up_visibly() {
    let sinks = Sinks::new();
    let receiver = Receiver::start(0, &[]).await;
    receiver.choose(|finding| match finding["key"]["name"].as_str() {
        Some("p1") => Behaviour::Status(500),
        _ => OK,
    });
    let server = TestServer::start(&sinks.settings(receiver.port()));
    deliver(&server, &[exec(1), exec(2)]).await;
    let letters = "SELECT count(*) FROM dead_letters WHERE reason LIKE 'given up after 20 tries%'";
    let mut number = 3;
    until("it to be given up", &server, async || {
        // Each failure counts once something else got through.
        deliver(&server, &[exec(number)]).await;
        number += 1;
        server.number(letters).await == 1
    })
    .await;
    assert_eq!(server.number("SELECT count(*) FROM dead_letters").await, 1);
    until("the others", &server, async || keys(&receiver.taken()) == names(2..number)).await;
}

/// A day in which a minute, the longest wait between two tries, takes six milliseconds.
#[tokio::test]
async fn a_day_of_a_dead_sink_costs_nothing_but_the_day() {
    const PARTS: u32 = 144;
    const EACH: u32 = 20;
    let sinks = Sinks::new();
    let port = Receiver::start(0, &[]).await.port();
    let settings = sinks.settings(port).replace("\"50ms\"", "\"6ms\"");
    let server = TestServer::start(&settings);
    let mut memory = 0;
    for part in 0..PARTS {
        let first = part * EACH;
        let mut events: Vec<Value> = (first..first + EACH).map(exec).collect();
        // Some of what was found an hour before goes on.
        let earlier = first.saturating_sub(6 * EACH);
        events.extend((earlier..earlier + 5).map(|number| again(number, 60 + part)));
        deliver(&server, &events).await;
        if part == PARTS / 4 {
            memory = server.memory("VmRSS");
        }
    }
    let grown = server.memory("VmRSS").saturating_sub(memory);
    assert!(grown < 48 << 20, "{grown} bytes more");
    let tried = "auditmill_sink_deliveries_total{sink=\"soc\",outcome=\"retried\"}";
    let tried = async || server.metric(tried).await >= 1_440.0;
    until("a try each minute", &server, tried).await;
    let all = names(0..PARTS * EACH);
    until("the file", &server, async || keys(&sinks.lines()) == all).await;
    let receiver = Receiver::start(port, &[]).await;
    let newest = || {
        let (taken, lines) = (receiver.taken(), sinks.lines());
        keys(&taken) == all && taken.iter().all(|(name, of)| of.last() == lines[name].last())
    };
    until("every finding's newest revision", &server, async || newest()).await;
    for (name, revisions) in receiver.taken().into_iter().chain(sinks.lines()) {
        assert!(revisions.is_sorted_by(|one, next| one < next), "twice {name}: {revisions:?}");
    }
    let refused = server.number("SELECT count(*) FROM dead_letters").await;
    assert_eq!(refused, 0);
}

#[tokio::test]
async fn a_new_start_goes_on_where_each_sink_was() {
    let sinks = Sinks::new();
    let port = Receiver::start(0, &[]).await.port();
    let mut server = TestServer::start(&sinks.settings(port));
    deliver(&server, &(1..6).map(exec).collect::<Vec<_>>()).await;
    until("the file", &server, async || keys(&sinks.lines()) == names(1..6)).await;
    let saved = "auditmill_sink_lag_findings{sink=\"file\"}";
    until("its place", &server, async || server.metric(saved).await == 0.0).await;
    server.kill_and_restart();
    let receiver = Receiver::start(port, &[]).await;
    deliver(&server, &[exec(6)]).await;
    until("what was missed", &server, async || keys(&receiver.taken()) == names(1..7)).await;
    until("the new one", &server, async || keys(&sinks.lines()) == names(1..7)).await;
    assert!(sinks.lines().values().all(|revisions| revisions == &[1]), "{:?}", sinks.lines());
    // One that is new begins with the present, or at the start where that is asked for.
    let path = server.data().with_file_name("auditmill.toml");
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (name, from) in [("late", "now"), ("all", "start")] {
        let file = sinks.dir.path().join(name);
        let sink = format!(
            "\n[[sink]]\ntype = \"jsonl\"\nname = \"{name}\"\npath = \"{}\"\nfrom = \"{from}\"\n",
            file.display()
        );
        text.push_str(&sink);
    }
    std::fs::write(&path, text).unwrap();
    server.kill_and_restart();
    deliver(&server, &[exec(7)]).await;
    let lines = |name: &str| {
        let text = std::fs::read_to_string(sinks.dir.path().join(name));
        text.unwrap_or_default().matches('\n').count()
    };
    until("all of them", &server, async || lines("all") == 7).await;
    until("the present", &server, async || lines("late") == 1).await;
    // A stop delivers what is left.
    assert_eq!(server.post("east", list(&[exec(8)])).await, 200);
    assert!(server.stop().success());
    assert_eq!((lines("all"), lines("late")), (8, 2));
}

/// Events of a stream: the number of each and the finding.
async fn stream(
    server: &TestServer,
    query: &str,
    last: Option<&str>,
) -> impl futures::Stream<Item = (String, Value)> + Unpin + use<> {
    let mut request = server.client().get(server.url(&format!("/v1/findings/stream{query}")));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.send().await.expect("open a stream");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let chunks = Box::pin(response.bytes_stream());
    Box::pin(futures::stream::unfold((chunks, String::new()), |(mut chunks, mut text)| async {
        loop {
            if let Some((event, rest)) = text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|value| value.trim_start().to_owned())
                };
                let found = field("id:").zip(field("data:"));
                text = rest.to_owned();
                if let Some((id, data)) = found {
                    let data = serde_json::from_str(&data).expect("a finding");
                    return Some(((id, data), (chunks, text)));
                }
                continue;
            }
            text.push_str(&String::from_utf8_lossy(&chunks.next().await?.ok()?));
        }
    }))
}

#[tokio::test]
async fn a_stream_tells_of_findings_as_they_come_and_goes_on_where_it_was() {
    let mut server = TestServer::start("");
    deliver(&server, &[exec(1)]).await;
    let mut all = stream(&server, "", None).await;
    let mut west = stream(&server, "?cluster=west&severity=informational", None).await;
    deliver(&server, &(2..5).map(exec).collect::<Vec<_>>()).await;
    assert_eq!(server.post("west", list(&[exec(9)])).await, 200);
    let mut seen = Vec::new();
    let mut last = String::new();
    while seen.len() < 4 {
        let (id, finding) = all.next().await.expect("an event");
        seen.push(finding["key"]["name"].as_str().unwrap().to_owned());
        assert!(last.is_empty() || id.parse::<u64>().unwrap() > last.parse::<u64>().unwrap());
        last = id;
    }
    seen.sort();
    assert_eq!(seen, ["p2", "p3", "p4", "p9"]);
    assert_eq!(west.next().await.expect("an event").1["key"]["name"], "p9");
    drop(all);
    // What came while nobody listened, also over a crash; each once, in its newest version.
    deliver(&server, &[exec(5)]).await;
    deliver(&server, &[again(5, 60)]).await;
    server.kill_and_restart();
    server.quiesce().await;
    let mut all = stream(&server, "", Some(&last)).await;
    let (_, finding) = all.next().await.expect("an event");
    assert_eq!((&finding["key"]["name"], &finding["revision"]), (&json!("p5"), &json!(2)));
    for wrong in ["?limit=5", "?cursor=x", "?since=soon", "?what=1"] {
        let (status, body) = server.get(&format!("/v1/findings/stream{wrong}")).await;
        assert_eq!(status, 400, "{wrong}: {body}");
    }
    // A stop ends it.
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    assert!(all.next().await.is_none());
    assert!(stopped.await.unwrap().success());
}
