//! What is read beside what comes over HTTP, made of the settings: logs, topics.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::parts::bytes;
use crate::config::source::KafkaSourceSettings;
use crate::config::{Settings, Source};
use crate::http::routes::Shared;
#[cfg(feature = "kafka")]
use crate::ingest::kafka::Consume;
use crate::ingest::tail::{FileSource, Tail};

/// A source, ready to read.
#[derive(Debug)]
pub(super) enum Reader {
    /// A log.
    Log(Box<Tail>),
    /// Topics of Kafka.
    #[cfg(feature = "kafka")]
    Topics(Box<Consume>),
}

impl Reader {
    /// Reads until `stop` is cancelled. Blocks its thread.
    pub(super) fn run(self, runtime: &Handle, stop: &CancellationToken) {
        match self {
            Self::Log(tail) => tail.run(runtime, stop),
            #[cfg(feature = "kafka")]
            Self::Topics(consume) => consume.run(runtime, stop),
        }
    }
}

/// The configured sources; nothing is read yet.
pub(super) fn readers(settings: &Settings, data: &Path, shared: &Shared) -> Result<Vec<Reader>> {
    // The longest line or record.
    let bytes_max = bytes(settings.http.body_bytes_max).max(1);
    let reader = |source: &Source| {
        let (door, metrics) = (Arc::clone(&shared.door), Arc::clone(&shared.metrics));
        match source {
            Source::File { name, path, cluster } => {
                let name = name.as_str().to_owned();
                let (path, cluster) = (path.clone(), cluster.clone());
                let source = FileSource { name, path, cluster, line_bytes_max: bytes_max };
                Ok(Reader::Log(Box::new(Tail::open(source, data, door, metrics)?)))
            }
            Source::Kafka(source) => topics(source, bytes_max, shared)
                .with_context(|| format!("open source `{}`", source.name.as_str())),
        }
    };
    settings.sources.iter().map(reader).collect()
}

#[cfg(feature = "kafka")]
fn topics(settings: &KafkaSourceSettings, bytes_max: usize, shared: &Shared) -> Result<Reader> {
    use crate::alert::kafka::{Connection, connection};
    use crate::config::sink::From;
    use crate::config::source::ClusterFrom;
    use crate::ingest::kafka::{KafkaSource, Naming, source_word};

    let mut options = connection(&Connection {
        brokers: &settings.brokers,
        sasl: settings.sasl,
        user: settings.user.as_deref(),
        secret_env: settings.secret_env.as_deref(),
        secret_file: settings.secret_file.as_deref(),
        is_encrypted: settings.tls,
        tls: settings.tls(),
        options: &settings.options,
    })?;
    let begin = match settings.from {
        From::Start => "earliest",
        From::Now => "latest",
    };
    options.insert("group.id".to_owned(), settings.group.clone());
    options.insert("auto.offset.reset".to_owned(), begin.to_owned());
    let source = KafkaSource {
        name: settings.name.as_str().to_owned(),
        topics: settings.topics.clone(),
        options,
        cluster: settings.cluster.clone(),
        naming: match &settings.cluster_from {
            None => Naming::Fixed,
            Some(ClusterFrom::Key) => Naming::Key,
            Some(ClusterFrom::Topic) => Naming::Topic,
            Some(ClusterFrom::Header(name)) => Naming::Header(name.clone()),
        },
        word: source_word(&settings.format).map_err(anyhow::Error::msg)?,
        record_bytes_max: bytes_max,
    };
    let (door, metrics) = (Arc::clone(&shared.door), Arc::clone(&shared.metrics));
    let consume = Consume::open(source, door, metrics).context("look at its settings")?;
    Ok(Reader::Topics(Box::new(consume)))
}

#[cfg(not(feature = "kafka"))]
fn topics(_: &KafkaSourceSettings, _: usize, _: &Shared) -> Result<Reader> {
    anyhow::bail!("this program was built without Kafka: use one with the feature `kafka`")
}
