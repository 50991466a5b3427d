//! The one place that knows every kind of sink.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::backoff::Backoff;
use super::jsonl::Jsonl;
use super::outbox::Outbox;
use super::pager::PageOutbox;
use super::webhook::Webhook;
use crate::config::sink::{Alert, From, Sink};
use crate::findings::matcher::Matcher;
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
    /// CloudEvents over HTTP, of incidents.
    Pages(PageOutbox<Webhook>),
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
        // What people are told has a place of its own.
        let cursor =
            if settings.is_for_people() { 0 } else { store.open_sink(name, begin, now)? };
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
            Sink::Webhook(webhook) if settings.is_for_people() => {
                let pager = Webhook::new(webhook).with_context(fail)?;
                Self::Pages(PageOutbox::new(name, pager, store, metrics, backoff))
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
            Self::Pages(outbox) => outbox.run().await,
        }
    }

    /// A sink for machines is told of findings that one of these fits; of all, without any.
    #[must_use]
    pub fn only(self, only: Vec<Matcher>) -> Self {
        match self {
            Self::Jsonl(outbox) => Self::Jsonl(outbox.only(only)),
            Self::Webhook(outbox) => Self::Webhook(outbox.only(only)),
            #[cfg(feature = "kafka")]
            Self::Kafka(outbox) => Self::Kafka(outbox.only(only)),
            Self::Pages(outbox) => Self::Pages(outbox),
        }
    }
}
