//! `[[source]]`: what is read beside what comes over HTTP. Values only.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::sink::{From, Sasl, Secret, Tls, kafka};
use super::value::Name;
use crate::event::ClusterName;

/// `[[source]]`: what is read beside what comes over HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// An audit log (`--audit-log-path` of the API server), followed while it is written and
    /// rotated.
    File {
        /// Its name in messages and metrics; its progress is kept under it.
        name: Name,
        /// The file that is written.
        path: PathBuf,
        /// Whose events are in it.
        #[serde(default)]
        cluster: ClusterName,
    },
    /// Topics of Kafka.
    Kafka(Box<KafkaSourceSettings>),
}

/// `[[source]] type = "kafka"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSourceSettings {
    /// Its name in messages and metrics.
    pub name: Name,
    /// Brokers to begin with, `host:port`.
    pub brokers: Vec<String>,
    /// The topics; one that begins with `^` is a regular expression.
    pub topics: Vec<String>,
    /// The consumer group: its members share the partitions.
    #[serde(default = "group")]
    pub group: String,
    /// Whose events these are; with `cluster_from`, of records that name no cluster.
    #[serde(default)]
    pub cluster: ClusterName,
    /// What of a record names its cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_from: Option<ClusterFrom>,
    /// What wraps the events, as `?format=` of the webhook.
    #[serde(default = "format")]
    pub format: String,
    /// Where a group begins that has read nothing yet.
    #[serde(default = "from")]
    pub from: From,
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
    /// Further options of librdkafka.
    #[serde(default)]
    pub options: BTreeMap<String, Secret>,
}

fn group() -> String {
    "auditmill".to_owned()
}

fn format() -> String {
    "auto".to_owned()
}

fn from() -> From {
    From::Start
}

impl KafkaSourceSettings {
    /// Its TLS.
    #[must_use]
    pub fn tls(&self) -> Tls<'_> {
        let (ca, cert) = (self.ca.as_deref(), self.client_cert.as_deref());
        Tls { ca, client_cert: cert, client_key: self.client_key.as_deref() }
    }
}

/// What of a record of Kafka names its cluster: `key`, `topic` or `header:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterFrom {
    /// The record's key.
    Key,
    /// The topic's name.
    Topic,
    /// The header of this name.
    Header(String),
}

impl fmt::Display for ClusterFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("key"),
            Self::Topic => f.write_str("topic"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl Serialize for ClusterFrom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClusterFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match (text.as_str(), text.strip_prefix("header:")) {
            ("key", _) => Ok(Self::Key),
            ("topic", _) => Ok(Self::Topic),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            _ => Err(de::Error::custom(format!("`{text}` is not key, topic or header:NAME"))),
        }
    }
}

impl Source {
    /// Its name in messages and metrics.
    #[must_use]
    pub fn name(&self) -> &Name {
        match self {
            Self::File { name, .. } => name,
            Self::Kafka(source) => &source.name,
        }
    }
}

/// Two sources of one name would share their progress; a log followed twice is a mistake.
pub(super) fn check(sources: &[Source]) -> Result<(), String> {
    for (place, source) in sources.iter().enumerate() {
        let name = source.name().as_str();
        check_one(source).map_err(|wrong| format!("source `{name}`: {wrong}"))?;
        for other in sources.iter().take(place) {
            if other.name() == source.name() {
                return Err(format!("two sources have the name `{name}`"));
            }
            if let (Source::File { path, .. }, Source::File { path: other, .. }) = (source, other)
                && path == other
            {
                return Err(format!("two sources have the path `{}`", path.display()));
            }
        }
    }
    Ok(())
}

fn check_one(source: &Source) -> Result<(), String> {
    match source {
        Source::File { path, .. } if path.file_name().is_none() => {
            Err(format!("`{}` names no file", path.display()))
        }
        Source::File { .. } => Ok(()),
        Source::Kafka(source) => {
            if source.topics.iter().all(String::is_empty) || source.group.is_empty() {
                return Err("`topics` and `group` must name something".to_owned());
            }
            kafka::check(&source.brokers, &source.tls())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use super::*;

    #[test]
    fn a_kafka_source_is_read_and_its_secrets_are_never_shown() {
        let text = r#"
            [[source]]
            type = "kafka"
            name = "bus"
            brokers = ["a:1"]
            topics = ["audit"]
            cluster_from = "header:cluster"
            sasl = "scram-sha-512"
            user = "auditmill"
            secret_env = "BUS"
            options = { "ssl.key.password" = "geheim" }
        "#;
        let settings = load(text, &[]).unwrap();
        let Some(Source::Kafka(source)) = settings.sources.first() else {
            panic!("{settings:?}");
        };
        assert_eq!(source.cluster_from, Some(ClusterFrom::Header("cluster".to_owned())));
        assert_eq!((source.group.as_str(), source.from), ("auditmill", From::Start));
        assert!(!settings.to_toml().unwrap().contains("geheim"));
        let check = |changed: &str, to: &str, expected: &str| {
            let error = load(&text.replace(changed, to), &[]).unwrap_err();
            assert!(error.contains(expected) && !error.contains("geheim"), "{error}");
        };
        check("header:cluster", "header:", "`header:` is not key, topic or header:NAME");
        check("[\"audit\"]", "[]", "`topics` and `group` must name something");
        check("[\"a:1\"]", "[]", "`brokers` and");
        check("user =", "client_cert = \"x\"\nuser =", "go together");
        check("scram-sha-512", "scram", "`scram`");
        check("topics", "topcis", "`topcis`");
    }
}
