//! Settings of Kafka: where findings go, and what a source shares with that.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Format, From, Secret, Tls};
use crate::config::value::Span;

/// `[[sink]] type = "kafka"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// Its name.
    pub name: String,
    /// Brokers to begin with, `host:port`.
    pub brokers: Vec<String>,
    /// The topic.
    pub topic: String,
    /// How a finding is written.
    #[serde(default)]
    pub format: Format,
    /// How we say who we are ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    /// ... and who that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Environment variable with the password ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// ... or a file with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Whether the connection is encrypted.
    #[serde(default)]
    pub tls: bool,
    /// PEM file with the authorities that the brokers' certificates must be of; else the
    /// machine's. Turns `tls` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    /// ... and one with its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// How long one message may take, all of the client's own tries included; at least 1s.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Where it begins when it is new.
    #[serde(default)]
    pub from: From,
    /// Further options of librdkafka.
    #[serde(default)]
    pub options: BTreeMap<String, Secret>,
}

fn timeout() -> Span {
    Span(Duration::from_secs(30))
}

/// How a client of Kafka says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sasl {
    /// User and password, as they are.
    Plain,
    /// A proof of the password, by SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// A proof of the password, by SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl Sasl {
    /// Kafka's word for it.
    #[must_use]
    pub fn mechanism(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl KafkaSettings {
    /// Its TLS.
    #[must_use]
    pub fn tls(&self) -> Tls<'_> {
        let (ca, cert) = (self.ca.as_deref(), self.client_cert.as_deref());
        Tls { ca, client_cert: cert, client_key: self.client_key.as_deref() }
    }
}

/// What is wrong with how brokers are reached.
pub(in crate::config) fn check(brokers: &[String], tls: &Tls<'_>) -> Result<(), String> {
    if brokers.is_empty() {
        return Err("`brokers` and `topic` must name something".to_owned());
    }
    tls.check()
}
