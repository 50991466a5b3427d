//! Findings in a topic of a real broker, Apache Kafka, one node; events out of one (`source`);
//! over TLS and with a password (`secured`).
//!
//! It needs `AUDITMILL_KAFKA_LIB`, the folder that `tests/kafka/build.sh` filled, and Java 17;
//! `make test` sets it. Without it this says so and passes, except under `CI`.

#![expect(clippy::print_stdout, reason = "what a test prints is its report, seen with --nocapture")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::cluster::pki::Identity;
use super::cluster::process::{Process, lasting_port, until};
use super::events::{exec, list, time};
use super::server::TestServer;

mod secured;
mod source;

/// A Java program on a busy machine takes its time.
pub(crate) const LIMIT: Duration = Duration::from_mins(3);
const TOPIC: &str = "findings";
const HEADS: &str = "heads";
pub(crate) const PARTITIONS: i32 = 3;

pub(crate) fn library() -> Option<PathBuf> {
    let library = std::env::var_os("AUDITMILL_KAFKA_LIB").map(PathBuf::from);
    if library.is_none() {
        assert!(std::env::var_os("CI").is_none(), "AUDITMILL_KAFKA_LIB is not set, but CI is");
        println!("skipped: AUDITMILL_KAFKA_LIB is not set (tests/kafka/build.sh fills it)");
    }
    library
}

/// A broker that can be stopped and started over the same data.
pub(crate) struct Broker {
    library: PathBuf,
    dir: tempfile::TempDir,
    pub(crate) port: u16,
    starts: u32,
    process: Option<Process>,
}

impl Broker {
    /// Formatted, not started.
    pub(crate) fn new(library: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = lasting_port();
        let listener = format!(
            "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{{controller}}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
        );
        Self::formatted(library, dir, port, &listener, &[])
    }

    /// As [`Self::new`]; clients reach it at `localhost`, over TLS, as `auditmill`, with this
    /// password.
    pub(crate) fn secured(library: &Path, identity: &Identity, password: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pem =
            [&identity.key, &identity.cert].map(|path| std::fs::read_to_string(path).unwrap());
        let keystore = dir.path().join("broker.pem");
        std::fs::write(&keystore, pem.join("\n")).unwrap();
        let (port, between) = (lasting_port(), lasting_port());
        let modules = "org.apache.kafka.common.security";
        let own = "listener.name.sasl_ssl";
        let listener = format!(
            "listeners=SASL_SSL://127.0.0.1:{port},PLAINTEXT://127.0.0.1:{between},\
             CONTROLLER://127.0.0.1:{{controller}}\n\
             advertised.listeners=SASL_SSL://localhost:{port},PLAINTEXT://127.0.0.1:{between}\n\
             listener.security.protocol.map=\
             SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             {own}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512\n\
             {own}.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required \
             user_auditmill=\"{password}\";\n\
             {own}.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;\n\
             ssl.keystore.type=PEM\nssl.keystore.location={}\n",
            keystore.display()
        );
        let scram = format!("SCRAM-SHA-512=[name=auditmill,password={password}]");
        Self::formatted(library, dir, port, &listener, &["--add-scram", &scram])
    }

    fn formatted(
        library: &Path,
        dir: tempfile::TempDir,
        port: u16,
        listener: &str,
        arguments: &[&str],
    ) -> Self {
        let controller = lasting_port();
        let listener = listener.replace("{controller}", &controller.to_string());
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n{listener}\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\nlog.dirs={}\nnum.partitions={PARTITIONS}\n\
             offsets.topic.replication.factor=1\ngroup.initial.rebalance.delay.ms=0\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n",
            dir.path().join("data").display()
        );
        std::fs::write(dir.path().join("server.properties"), properties).unwrap();
        let log = "rootLogger.level=INFO\nrootLogger.appenderRef.c.ref=C\n\
                   appender.c.type=Console\nappender.c.name=C\n\
                   appender.c.layout.type=PatternLayout\n\
                   appender.c.layout.pattern=%p %m (%c)%n\n";
        std::fs::write(dir.path().join("log4j2.properties"), log).unwrap();
        let broker = Self { library: library.to_owned(), dir, port, starts: 0, process: None };
        let mut format = broker.java("kafka.tools.StorageTool");
        format.args(["format", "-t", "auditmillTestClusterAA", "-c"]).arg(broker.properties());
        let output = format.args(arguments).output().expect("run java");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        broker
    }

    fn properties(&self) -> PathBuf {
        self.dir.path().join("server.properties")
    }

    fn java(&self, class: &str) -> Command {
        let mut java = Command::new("java");
        let log = self.dir.path().join("log4j2.properties");
        java.args(["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        java.arg(format!("-Dlog4j2.configurationFile={}", log.display()));
        java.arg("-cp").arg(self.library.join("*")).arg(class);
        java
    }

    pub(crate) fn start(&mut self) {
        self.starts += 1;
        let mut java = self.java("kafka.Kafka");
        let name = format!("kafka-{}", self.starts);
        let mut process = Process::spawn(&name, java.arg(self.properties()), self.dir.path());
        until("the broker to start", LIMIT, || {
            let ended = process.exit_status();
            assert!(ended.is_none(), "the broker ended at once:\n{}", process.last_words());
            process.output().contains("Kafka Server started").then_some(())
        });
        self.process = Some(process);
    }

    /// Killed, not asked: what it had acknowledged is all that there is.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }
}

/// A message of the topic.
struct Seen {
    key: String,
    delivery: String,
    finding: Value,
}

fn consumer(broker: &Broker, topic: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", format!("127.0.0.1:{}", broker.port));
    config.set("group.id", "test").set("enable.auto.commit", "false");
    config.set("topic.metadata.refresh.interval.ms", "500");
    let consumer: BaseConsumer = config.create().expect("set up a consumer");
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&partitions).expect("assign partitions");
    consumer
}

/// Reads on until `enough`.
fn read(consumer: &BaseConsumer, seen: &mut Vec<Seen>, enough: impl Fn(&[Seen]) -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !enough(seen) {
        assert!(Instant::now() < deadline, "only {} messages came", seen.len());
        // Brokers that are not there yet are errors that pass.
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let header = message.headers().expect("a header").get(0);
        assert_eq!(header.key, "delivery");
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        seen.push(Seen {
            key: text(message.key()),
            delivery: text(header.value),
            finding: serde_json::from_slice(message.payload().unwrap()).unwrap(),
        });
    }
}

fn deliveries(seen: &[Seen]) -> BTreeSet<&str> {
    seen.iter().map(|seen| seen.delivery.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_reach_a_topic_whatever_happens_to_the_broker() {
    let Some(library) = library() else { return };
    let mut broker = Broker::new(&library);
    let server = TestServer::start(&format!(
        "[history]\npublish = [\"kafka://bus/{HEADS}\"]\nflush_after = \"1s\"\n\
         [alert]\nretry_first = \"20ms\"\nretry_max = \"200ms\"\n\
         [[sink]]\ntype = \"kafka\"\nname = \"bus\"\nbrokers = [\"127.0.0.1:{}\"]\n\
         topic = \"{TOPIC}\"\ntimeout = \"20s\"\noptions = {{ \"linger.ms\" = \"1\" }}\n",
        broker.port
    ));
    // There is no broker yet.
    let events: Vec<Value> = (0..20).map(exec).collect();
    assert_eq!(server.post("east", list(&events)).await, 200);
    server.quiesce().await;
    broker.start();
    let heads = consumer(&broker, HEADS);
    let consumer = consumer(&broker, TOPIC);
    let mut seen = Vec::new();
    read(&consumer, &mut seen, |seen| deliveries(seen).len() == 20);
    for Seen { key, delivery, finding } in &seen {
        let id = finding["id"].as_str().unwrap();
        assert_eq!(finding["revision"], 1);
        assert_eq!((key, delivery), (&format!("east/{id}"), &format!("{id}-1")));
    }
    let lag = "auditmill_sink_lag_findings{sink=\"bus\"}";
    while server.metric(lag).await > 0.0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Twice only what was sent anew because no answer came in time.
    let retried = "auditmill_sink_deliveries_total{sink=\"bus\",outcome=\"retried\"}";
    let retried = server.metric(retried).await;
    assert!(retried > 0.0 || seen.len() == 20, "{} messages", seen.len());

    broker.kill();
    let again = |number: u32| {
        let mut event = exec(number);
        event["auditID"] = json!(format!("again-{number}"));
        event["stageTimestamp"] = json!(time(number + 60));
        event
    };
    let events: Vec<Value> = (0..20).map(again).chain((20..30).map(exec)).collect();
    assert_eq!(server.post("east", list(&events)).await, 200);
    server.quiesce().await;
    assert_eq!(server.metric(lag).await, 30.0);
    broker.start();
    read(&consumer, &mut seen, |seen| deliveries(seen).len() == 50);
    let mut revisions: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for Seen { key, finding, .. } in &seen {
        revisions.entry(key).or_default().push(finding["revision"].as_u64().unwrap());
    }
    assert_eq!(revisions.len(), 30);
    let deadline = Instant::now() + LIMIT;
    let note = loop {
        assert!(Instant::now() < deadline, "no head came");
        let Some(Ok(message)) = heads.poll(Duration::from_millis(100)) else { continue };
        break String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
    };
    // A signed note: a text, an empty line, signatures.
    assert!(note.contains("\n\n\u{2014} "), "{note}");
    assert!(revisions.values().all(|revisions| revisions.is_sorted()), "{revisions:?}");
}
