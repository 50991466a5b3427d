//! Findings to a Kafka topic: value the finding as JSON (as `format` says), key `<cluster>/<finding
//! id>`, so that all revisions of a finding are in one partition, in order, and compaction leaves
//! the newest.
//!
//! The producer is idempotent and waits for all replicas: what it says is delivered is in the topic
//! once. A batch whose outcome is not known, as when brokers are away for longer than the time
//! limit, is sent again; consumers tell that by `id` and `revision`, also in the header
//! `delivery`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::sink::{Answer, Sink, delivery_id};
use super::{format, secret};
use crate::config::sink::{Format, KafkaSettings, Sasl, Secret, Tls};
use crate::findings::record::FindingRecord;

const BATCH_MAX: usize = 256;
/// The client's own limit ends a message first.
const GRACE: Duration = Duration::from_secs(5);

/// The sink.
pub struct Kafka {
    config: ClientConfig,
    producer: FutureProducer,
    topic: String,
    format: Format,
    timeout: Duration,
}

/// How brokers are reached, in the settings' words.
#[derive(Debug)]
pub struct Connection<'a> {
    /// Brokers to begin with.
    pub brokers: &'a [String],
    /// How we say who we are.
    pub sasl: Option<Sasl>,
    /// Who that is.
    pub user: Option<&'a str>,
    /// Environment variable with the password.
    pub secret_env: Option<&'a str>,
    /// File with the password.
    pub secret_file: Option<&'a Path>,
    /// Whether the connection is encrypted, also without a certificate of ours or theirs.
    pub is_encrypted: bool,
    /// Certificates.
    pub tls: Tls<'a>,
    /// Further options of librdkafka.
    pub options: &'a BTreeMap<String, Secret>,
}

/// The options of librdkafka that reach these brokers, secrets included.
///
/// # Errors
/// When the secret cannot be read.
pub fn connection(settings: &Connection<'_>) -> Result<BTreeMap<String, String>> {
    let mut options: BTreeMap<&str, String> = BTreeMap::from([
        ("client.id", "auditmill".to_owned()),
        // A broker that is back is found soon, however long it was away.
        ("reconnect.backoff.max.ms", "2000".to_owned()),
    ]);
    let is_encrypted = settings.is_encrypted || settings.tls.is_set();
    let protocol = match (settings.sasl, is_encrypted) {
        (None, false) => None,
        (None, true) => Some("SSL"),
        (Some(_), false) => Some("SASL_PLAINTEXT"),
        (Some(_), true) => Some("SASL_SSL"),
    };
    if let Some(protocol) = protocol {
        options.insert("security.protocol", protocol.to_owned());
    }
    if let Some(sasl) = settings.sasl {
        options.insert("sasl.mechanism", sasl.mechanism().to_owned());
    }
    if let Some(user) = settings.user {
        options.insert("sasl.username", user.to_owned());
    }
    let Tls { ca, client_cert, client_key } = settings.tls;
    for (name, path) in [
        ("ssl.ca.location", ca),
        ("ssl.certificate.location", client_cert),
        ("ssl.key.location", client_key),
    ] {
        if let Some(path) = path {
            options.insert(name, path.display().to_string());
        }
    }
    for (name, value) in settings.options {
        options.insert(name, value.0.clone());
    }
    if let Some(secret) = secret::read(settings.secret_env, settings.secret_file)? {
        options.insert("sasl.password", secret);
    }
    options.insert("bootstrap.servers", settings.brokers.join(","));
    Ok(options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
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
        let mut options = BTreeMap::from(
            [
                ("compression.type", "zstd"),
                ("linger.ms", "5"),
                ("topic.metadata.propagation.max.ms", "2000"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        options.extend(connection(&Connection {
            brokers: &settings.brokers,
            sasl: settings.sasl,
            user: settings.user.as_deref(),
            secret_env: settings.secret_env.as_deref(),
            secret_file: settings.secret_file.as_deref(),
            is_encrypted: settings.tls,
            tls: settings.tls(),
            options: &settings.options,
        })?);
        let mut set = |name: &str, value: String| options.insert(name.to_owned(), value);
        // What the promise rests on is not for the settings to change.
        set("enable.idempotence", "true".to_owned());
        set("acks", "all".to_owned());
        set("message.timeout.ms", timeout.as_millis().max(1_000).to_string());
        let mut config = ClientConfig::new();
        for (name, value) in &options {
            config.set(name, value);
        }
        let producer = create(&config)?;
        let (topic, format) = (settings.topic.clone(), settings.format);
        Ok(Self { config, producer, topic, format, timeout })
    }

    async fn send(&self, record: &FindingRecord) -> Result<(), KafkaError> {
        let key = format!("{}/{}", record.cluster, record.id);
        let delivery = delivery_id(record);
        let header = Header { key: "delivery", value: Some(&delivery) };
        let value = format::bytes(self.format, record);
        let message = FutureRecord::to(&self.topic)
            .key(&key)
            .payload(&value)
            .headers(OwnedHeaders::new().insert(header));
        self.producer.send(message, self.timeout).await.map(drop).map_err(|(error, _)| error)
    }
}

impl Kafka {
    /// Writes a text to a topic of the same brokers, and waits until it is there.
    ///
    /// # Errors
    /// When it is not there in time.
    pub(super) async fn write(&mut self, topic: &str, text: &str) -> Result<()> {
        self.mend()?;
        let message = FutureRecord::<(), str>::to(topic).payload(text);
        let sent = self.producer.send(message, self.timeout).await;
        sent.map(drop).map_err(|(error, _)| error.into())
    }

    /// A producer whose order is in doubt never works again; another one does.
    fn mend(&mut self) -> Result<()> {
        if self.producer.client().fatal_error().is_some() {
            self.producer = create(&self.config)?;
        }
        Ok(())
    }
}

impl Sink for Kafka {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    async fn deliver(&mut self, findings: &[Arc<FindingRecord>]) -> Vec<Answer> {
        if let Err(error) = self.mend() {
            let why = format!("{error:#}");
            return vec![Answer::Retry { after: None, why }; findings.len()];
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
