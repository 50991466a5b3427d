//! Events in topics of a real broker: whatever happens to us or to it, each is stored.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

use super::{Broker, LIMIT, PARTITIONS, library};
use crate::events::{exec, list, read};
use crate::server::TestServer;
use crate::sinks::until;

const TOPIC: &str = "audit";

fn client(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", format!("127.0.0.1:{}", broker.port));
    config.set("message.timeout.ms", "120000");
    config
}

async fn create_topic(broker: &Broker) {
    let admin: AdminClient<DefaultClientContext> = client(broker).create().unwrap();
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    let created = admin.create_topics([&topic], &options).await.expect("ask for a topic");
    assert!(created.into_iter().all(|topic| topic.is_ok()));
}

/// Puts records into the topic: partition, cluster in a header (none for an empty one), value.
async fn put(producer: &FutureProducer, records: &[(i32, &str, String)]) {
    let sent = records.iter().map(|(partition, cluster, value)| {
        let mut headers = OwnedHeaders::new();
        if !cluster.is_empty() {
            headers = headers.insert(Header { key: "cluster", value: Some(*cluster) });
        }
        let record: FutureRecord<'_, str, String> =
            FutureRecord::to(TOPIC).payload(value).partition(*partition).headers(headers);
        producer.send(record, LIMIT)
    });
    for sent in futures::future::join_all(sent).await {
        sent.expect("the broker takes it");
    }
}

fn settings(broker: &Broker, options: &str) -> String {
    format!(
        "[[source]]\ntype = \"kafka\"\nname = \"bus\"\nbrokers = [\"127.0.0.1:{}\"]\n\
         topics = [\"{TOPIC}\"]\ncluster_from = \"header:cluster\"\n\
         options = {{ \"session.timeout.ms\" = \"6000\", \
         \"topic.metadata.refresh.interval.ms\" = \"500\" }}\n\
         {options}",
        broker.port
    )
}

fn events(numbers: std::ops::Range<u32>) -> Vec<(i32, &'static str, String)> {
    let partition = |number: u32| i32::try_from(number).unwrap() % PARTITIONS;
    numbers.map(|number| (partition(number), "east", read(number).to_string())).collect()
}

async fn count(server: &TestServer, expected: i64) {
    let stored = "SELECT count(*) FROM events WHERE verb = 'get' AND resource = 'configmaps'";
    let deadline = Instant::now() + LIMIT;
    loop {
        let stored = server.number(stored).await;
        if stored == expected {
            break;
        }
        assert!(Instant::now() < deadline, "{stored} of {expected} events");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_events_of_a_topic_are_stored_once() {
    let Some(library) = library() else { return };
    let mut broker = Broker::new(&library);
    // There is no broker yet.
    let mut server = TestServer::start(&settings(&broker, ""));
    broker.start();
    create_topic(&broker).await;
    let producer: FutureProducer = client(&broker).create().unwrap();
    put(&producer, &events(0..300)).await;
    count(&server, 300).await;
    let row = "SELECT DISTINCT cluster, source FROM events";
    assert_eq!(server.sql(row).await, json!([{"cluster": "east", "source": "kafka"}]));

    // Killed in the middle, again and again, and the broker once.
    let mut next = 300;
    for round in 0..4 {
        put(&producer, &events(next..next + 2_000)).await;
        next += 2_000;
        if round == 2 {
            broker.kill();
            broker.start();
        }
        server.kill_and_restart();
    }
    count(&server, i64::from(next)).await;
    let numbers = server.sql("SELECT count(DISTINCT audit_id) AS n FROM events").await;
    assert_eq!(numbers[0]["n"], next);
    // A stop in order leaves nothing to read again.
    assert!(server.stop().success());
    server.kill_and_restart();
    put(&producer, &events(next..next + 1)).await;
    count(&server, i64::from(next) + 1).await;
    let records = server.metric("auditmill_ingest_kafka_records_total{source=\"bus\"}").await;
    assert_eq!(records, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_any_form_are_read_and_bad_ones_hold_up_nobody() {
    let Some(library) = library() else { return };
    let mut broker = Broker::new(&library);
    broker.start();
    create_topic(&broker).await;
    let producer: FutureProducer = client(&broker).create().unwrap();
    let gke = json!({"insertId": "x", "logName": "projects/p/logs/other", "jsonPayload": {}});
    put(
        &producer,
        &[
            (0, "east", read(1).to_string()),
            (0, "east", "{\"auditID\": \"broken".to_owned()),
            (0, "west", read(2).to_string()),
            (0, "west", list(&[read(3), exec(4)])),
            (1, "", read(5).to_string()),
            (1, "NOT A NAME", read(6).to_string()),
            (1, "east", "not json at all".to_owned()),
            (1, "east", serde_json::to_string_pretty(&read(7)).unwrap()),
            (2, "east", String::new()),
            (2, "east", gke.to_string()),
            (2, "east", format!("{}\n{}", read(8), read(9))),
        ],
    )
    .await;
    let options = "cluster = \"lost\"\n[ingest]\nclusters_max = 3\n";
    let server = TestServer::start(&settings(&broker, options));
    let by_cluster = "SELECT cluster, count(*) AS n FROM events GROUP BY 1 ORDER BY 1";
    let expected = json!([
        {"cluster": "east", "n": 4}, {"cluster": "lost", "n": 2}, {"cluster": "west", "n": 3},
    ]);
    until("all events", &server, async || server.sql(by_cluster).await == expected).await;
    until("what is broken", &server, async || {
        server.number("SELECT count(*) FROM quarantine WHERE cluster = 'east'").await >= 2
    })
    .await;
    let unnamed = "auditmill_ingest_kafka_unnamed_records_total{source=\"bus\"}";
    assert_eq!(server.metric(unnamed).await, 2.0);
    // A cluster too many does not hold up the others: its events are with those of none.
    put(&producer, &[(0, "north", read(10).to_string()), (0, "west", read(11).to_string())]).await;
    let expected = json!([
        {"cluster": "east", "n": 4}, {"cluster": "lost", "n": 3}, {"cluster": "west", "n": 4},
    ]);
    until("one cluster too many", &server, async || server.sql(by_cluster).await == expected).await;
    until("a finding", &server, async || {
        server.number("SELECT count(*) FROM findings WHERE cluster = 'west'").await == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_share_a_topic_and_one_takes_over() {
    let Some(library) = library() else { return };
    let mut broker = Broker::new(&library);
    broker.start();
    create_topic(&broker).await;
    let producer: FutureProducer = client(&broker).create().unwrap();
    let one = TestServer::start(&settings(&broker, ""));
    let other = TestServer::start(&settings(&broker, ""));
    let ids = async |server: &TestServer| -> BTreeSet<String> {
        let rows = server.sql("SELECT DISTINCT audit_id FROM events").await;
        let id = |row: &Value| row["audit_id"].as_str().unwrap().to_owned();
        rows.as_array().unwrap().iter().map(id).collect()
    };
    // Until both have some: the group has settled.
    let mut next = 0;
    let deadline = Instant::now() + LIMIT;
    loop {
        put(&producer, &events(next..next + 30)).await;
        next += 30;
        if !ids(&one).await.is_empty() && !ids(&other).await.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "one of them has nothing");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // One is killed in the middle of much: the other goes on, and what one had it still has.
    put(&producer, &events(next..next + 3_000)).await;
    next += 3_000;
    let mut one = one;
    one.kill_and_restart();
    put(&producer, &events(next..next + 300)).await;
    next += 300;
    let all: BTreeSet<String> = (0..next).map(|number| format!("read-{number}")).collect();
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut found = ids(&one).await;
        found.extend(ids(&other).await);
        if found == all {
            break;
        }
        assert!(Instant::now() < deadline, "{} of {}", found.len(), all.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_door_makes_topics_wait() {
    let Some(library) = library() else { return };
    let mut broker = Broker::new(&library);
    broker.start();
    create_topic(&broker).await;
    let producer: FutureProducer = client(&broker).create().unwrap();
    // A body may have 64 KiB, and so has all that is in flight.
    let server = TestServer::start(&settings(
        &broker,
        "[http]\nbody_bytes_max = \"64KiB\"\n[ingest]\nbudget = \"64KiB\"\n",
    ));
    put(&producer, &events(0..6_000)).await;
    // One that is longer than any may be is quarantined, not in the way.
    put(&producer, &[(0, "east", format!("{{\"a\":\"{}\"}}", "x".repeat(200_000)))]).await;
    put(&producer, &events(6_000..6_003)).await;
    count(&server, 6_003).await;
    until("the long one", &server, async || {
        server.number("SELECT count(*) FROM quarantine").await >= 1
    })
    .await;
}
