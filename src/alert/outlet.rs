//! The one place that knows every kind of sink.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::backoff::Backoff;
use super::jsonl::Jsonl;
use super::outbox::Outbox;
use super::webhook::Webhook;
use crate::config::sink::{Alert, From, Sink};
use crate::findings::sinks::Begin;
use crate::findings::store::Store;
use crate::metrics::Metrics;

/// A sink with its outbox.
#[derive(Debug)]
pub enum Outlet {
    /// JSON lines.
    Jsonl(Outbox<Jsonl>),
    /// CloudEvents over HTTP.
    Webhook(Outbox<Webhook>),
    /// A Kafka topic.
    #[cfg(feature = "kafka")]
    Kafka(Outbox<super::kafka::Kafka>),
}

impl Outlet {
    /// Makes a sink and finds its place in the store, as of `now` (microseconds since 1970, UTC);
    /// nothing is sent yet.
    ///
    /// # Errors
    /// When its settings cannot be used.
    pub fn open(
        settings: &Sink,
        alert: &Alert,
        store: &Arc<Store>,
        metrics: &Arc<Metrics>,
        now: i64,
    ) -> Result<Self> {
        let name = settings.name();
        let backoff = Backoff { first: alert.retry_first.0, max: alert.retry_max.0 };
        let begin = match settings.from() {
            From::Now => Begin::Now,
            From::Start => Begin::Start,
        };
        let cursor = store.open_sink(name, begin, now)?;
        let (store, metrics) = (Arc::clone(store), Arc::clone(metrics));
        let fail = || format!("open sink `{name}`");
        Ok(match settings {
            Sink::Jsonl(settings) => {
                let path = &settings.path;
                let sink = Jsonl::open(path);
                let sink = sink.with_context(|| format!("`{}`", path.display()));
                let sink = sink.with_context(fail)?;
                Self::Jsonl(Outbox::new(name, sink, cursor, store, metrics, backoff))
            }
            Sink::Webhook(settings) => {
                let sink = Webhook::new(settings).with_context(fail)?;
                Self::Webhook(Outbox::new(name, sink, cursor, store, metrics, backoff))
            }
            #[cfg(feature = "kafka")]
            Sink::Kafka(settings) => {
                let sink = super::kafka::Kafka::new(settings).with_context(fail)?;
                Self::Kafka(Outbox::new(name, sink, cursor, store, metrics, backoff))
            }
            #[cfg(not(feature = "kafka"))]
            Sink::Kafka(_) => {
                let why = "this program was built without Kafka: use one with the feature `kafka`";
                return Err(anyhow::anyhow!(why)).with_context(fail);
            }
        })
    }

    /// Delivers until the store is closed.
    ///
    /// # Errors
    /// Never for a sink that fails.
    pub async fn run(self) -> Result<()> {
        match self {
            Self::Jsonl(outbox) => outbox.run().await,
            Self::Webhook(outbox) => outbox.run().await,
            #[cfg(feature = "kafka")]
            Self::Kafka(outbox) => outbox.run().await,
        }
    }
}
