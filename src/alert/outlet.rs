//! The one place that knows every kind of sink.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::alertmanager::Alertmanager;
use super::backoff::Backoff;
use super::jsonl::Jsonl;
use super::mail::Mail;
use super::notice::Notice;
use super::outbox::Outbox;
use super::pagerduty::PagerDuty;
use super::sink::{Answer, Standing};
use super::slack::Slack;
use super::syslog::Syslog;
use super::webhook::Webhook;
use crate::config::sink::{Alert, From, Sink};
use crate::findings::record::FindingRecord;
use crate::findings::sinks::Begin;
use crate::findings::store::Store;
use crate::metrics::Metrics;

/// A sink of any kind.
#[derive(Debug)]
pub enum AnySink {
    /// JSON lines.
    Jsonl(Jsonl),
    /// CloudEvents over HTTP.
    Webhook(Box<Webhook>),
    /// A Kafka topic.
    #[cfg(feature = "kafka")]
    Kafka(Box<super::kafka::Kafka>),
    /// Prometheus Alertmanager.
    Alertmanager(Box<Alertmanager>),
    /// `PagerDuty`.
    PagerDuty(Box<PagerDuty>),
    /// A channel of Slack.
    Slack(Box<Slack>),
    /// A syslog collector.
    Syslog(Box<Syslog>),
    /// Mail.
    Mail(Box<Mail>),
}

impl AnySink {
    /// Makes a sink; nothing is sent yet.
    ///
    /// # Errors
    /// When its settings cannot be used.
    pub fn new(settings: &Sink, alert: &Alert) -> Result<Self> {
        let link = alert.link.as_ref();
        let sink = || -> Result<Self> {
            Ok(match settings {
                Sink::Jsonl(settings) => {
                    let sink = Jsonl::open(settings);
                    Self::Jsonl(sink.with_context(|| format!("`{}`", settings.path.display()))?)
                }
                Sink::Webhook(settings) => Self::Webhook(Box::new(Webhook::new(settings)?)),
                #[cfg(feature = "kafka")]
                Sink::Kafka(settings) => Self::Kafka(Box::new(super::kafka::Kafka::new(settings)?)),
                #[cfg(not(feature = "kafka"))]
                Sink::Kafka(_) => anyhow::bail!(
                    "this program was built without Kafka: use one with the feature `kafka`"
                ),
                Sink::Alertmanager(settings) => {
                    Self::Alertmanager(Box::new(Alertmanager::new(settings, link)?))
                }
                Sink::PagerDuty(settings) => {
                    Self::PagerDuty(Box::new(PagerDuty::new(settings, link)?))
                }
                Sink::Slack(settings) => Self::Slack(Box::new(Slack::new(settings, link)?)),
                Sink::Syslog(settings) => Self::Syslog(Box::new(Syslog::new(settings)?)),
                Sink::Mail(settings) => Self::Mail(Box::new(Mail::new(settings, link)?)),
            })
        };
        sink().with_context(|| format!("open sink `{}`", settings.name()))
    }
}

/// Calls a method of whatever sink it is.
macro_rules! of {
    ($any:expr, $sink:ident => $call:expr) => {
        match $any {
            AnySink::Jsonl($sink) => $call,
            AnySink::Webhook($sink) => $call,
            #[cfg(feature = "kafka")]
            AnySink::Kafka($sink) => $call,
            AnySink::Alertmanager($sink) => $call,
            AnySink::PagerDuty($sink) => $call,
            AnySink::Slack($sink) => $call,
            AnySink::Syslog($sink) => $call,
            AnySink::Mail($sink) => $call,
        }
    };
}

impl super::sink::Sink for AnySink {
    fn batch_max(&self) -> usize {
        of!(self, sink => sink.batch_max())
    }

    async fn deliver(&mut self, findings: &[Arc<FindingRecord>]) -> Vec<Answer> {
        of!(self, sink => sink.deliver(findings).await)
    }

    async fn tell(&mut self, notices: &[Notice]) -> Vec<Answer> {
        of!(self, sink => sink.tell(notices).await)
    }

    fn standing(&self) -> Option<Standing> {
        of!(self, sink => sink.standing())
    }
}

/// A sink with its outbox.
#[derive(Debug)]
pub struct Outlet(Outbox<AnySink>);

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
        store.sink_kind(name, settings.kind());
        let sink = AnySink::new(settings, alert)?;
        let (store, metrics) = (Arc::clone(store), Arc::clone(metrics));
        Ok(Self(Outbox::new(name, sink, cursor, store, metrics, backoff)))
    }

    /// Delivers until the store is closed.
    ///
    /// # Errors
    /// Never for a sink that fails.
    pub async fn run(self) -> Result<()> {
        self.0.run().await
    }
}
