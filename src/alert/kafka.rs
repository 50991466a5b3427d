//! Findings to a Kafka topic: value the finding as JSON, key `<cluster>/<finding id>`, so that all
//! revisions of a finding are in one partition, in order, and compaction leaves the newest.
//!
//! The producer is idempotent and waits for all replicas: what it says is delivered is in the topic
//! once. A batch whose outcome is not known, as when brokers are away for longer than the time
//! limit, is sent again; consumers tell that by `id` and `revision`, also in the header
//! `delivery`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::secret;
use super::sink::{Answer, Sink, delivery_id};
use crate::config::sink::KafkaSettings;
use crate::findings::record::FindingRecord;

const BATCH_MAX: usize = 256;
/// The client's own limit ends a message first.
const GRACE: Duration = Duration::from_secs(5);

/// The sink.
pub struct Kafka {
    config: ClientConfig,
    producer: FutureProducer,
    topic: String,
    timeout: Duration,
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Kafka {
    /// A sink for these settings. Brokers need not be there yet.
    ///
    /// # Errors
    /// When an option or the secret cannot be used.
    pub fn new(settings: &KafkaSettings) -> Result<Self> {
        let timeout = settings.timeout.0;
        let mut options: BTreeMap<&str, String> = BTreeMap::from([
            ("client.id", "auditmill".to_owned()),
            ("compression.type", "zstd".to_owned()),
            ("linger.ms", "5".to_owned()),
            // A broker that is back is found soon, however long it was away.
            ("reconnect.backoff.max.ms", "2000".to_owned()),
            ("topic.metadata.propagation.max.ms", "2000".to_owned()),
        ]);
        for (name, value) in &settings.options {
            options.insert(name, value.0.clone());
        }
        let secret = secret::read(settings.secret_env.as_deref(), settings.secret_file.as_deref())?;
        if let Some(secret) = secret {
            options.insert("sasl.password", secret);
        }
        // What the promise rests on is not for the settings to change.
        options.insert("bootstrap.servers", settings.brokers.join(","));
        options.insert("enable.idempotence", "true".to_owned());
        options.insert("acks", "all".to_owned());
        options.insert("message.timeout.ms", timeout.as_millis().max(1_000).to_string());
        let mut config = ClientConfig::new();
        for (name, value) in &options {
            config.set(*name, value);
        }
        let producer = create(&config)?;
        Ok(Self { config, producer, topic: settings.topic.clone(), timeout })
    }

    async fn send(&self, record: &FindingRecord) -> Result<(), KafkaError> {
        let key = format!("{}/{}", record.cluster, record.id);
        let delivery = delivery_id(record);
        let header = Header { key: "delivery", value: Some(&delivery) };
        // Texts and numbers only: there is nothing that cannot be written.
        let value = serde_json::to_vec(record).unwrap_or_default();
        let message = FutureRecord::to(&self.topic)
            .key(&key)
            .payload(&value)
            .headers(OwnedHeaders::new().insert(header));
        self.producer.send(message, self.timeout).await.map(drop).map_err(|(error, _)| error)
    }
}

impl Sink for Kafka {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    async fn deliver(&mut self, findings: &[Arc<FindingRecord>]) -> Vec<Answer> {
        if self.producer.client().fatal_error().is_some() {
            // A producer whose order is in doubt never works again; another one does.
            match create(&self.config) {
                Ok(producer) => self.producer = producer,
                Err(error) => {
                    let why = format!("{error:#}");
                    return vec![Answer::Retry { after: None, why }; findings.len()];
                }
            }
        }
        let sent = findings.iter().map(|record| self.send(record));
        let limit = self.timeout.saturating_add(GRACE);
        let answers = tokio::time::timeout(limit, futures::future::join_all(sent)).await;
        answers.map_or_else(
            |_| {
                let why = "no answer within the time limit".to_owned();
                vec![Answer::Retry { after: None, why }; findings.len()]
            },
            |outcomes| outcomes.into_iter().map(answer).collect(),
        )
    }
}

fn create(config: &ClientConfig) -> Result<FutureProducer> {
    config.create().context("set up a Kafka producer: look at `options`")
}

fn answer(outcome: Result<(), KafkaError>) -> Answer {
    let Err(error) = outcome else { return Answer::Delivered };
    let why = error.to_string();
    let at_fault = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::PolicyViolation
        )
    );
    if at_fault { Answer::Refused { why } } else { Answer::Retry { after: None, why } }
}
