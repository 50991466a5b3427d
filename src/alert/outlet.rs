//! The one place that knows every kind of sink.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::alertmanager::Alertmanager;
use super::backoff::Backoff;
use super::jsonl::Jsonl;
use super::mail::Mail;
use super::outbox::Outbox;
use super::pager::{PageOutbox, Pager, Standing};
use super::pagerduty::PagerDuty;
use super::sink::Answer;
use super::slack::Slack;
use super::syslog::Syslog;
use super::webhook::Webhook;
use crate::config::sink::{Alert, From, Sink};
use crate::findings::matcher::Matcher;
use crate::findings::paging::Call;
use crate::findings::record::FindingRecord;
use crate::findings::sinks::Begin;
use crate::findings::store::Store;
use crate::metrics::Metrics;

/// A sink of any kind.
#[derive(Debug)]
pub enum AnySink {
    /// It takes findings.
    Machine(Machine),
    /// It takes what people are called for.
    People(People),
}

/// A sink for machines.
#[derive(Debug)]
pub enum Machine {
    /// JSON lines.
    Jsonl(Jsonl),
    /// CloudEvents over HTTP.
    Webhook(Box<Webhook>),
    /// A Kafka topic.
    #[cfg(feature = "kafka")]
    Kafka(Box<super::kafka::Kafka>),
    /// A syslog collector.
    Syslog(Box<Syslog>),
}

/// A sink for people.
#[derive(Debug)]
pub enum People {
    /// CloudEvents over HTTP.
    Webhook(Box<Webhook>),
    /// Prometheus Alertmanager.
    Alertmanager(Box<Alertmanager>),
    /// `PagerDuty`.
    PagerDuty(Box<PagerDuty>),
    /// A channel of Slack.
    Slack(Box<Slack>),
    /// Mail.
    Mail(Box<Mail>),
}

impl AnySink {
    /// Makes a sink; nothing is sent yet.
    ///
    /// # Errors
    /// When its settings cannot be used.
    pub fn new(settings: &Sink) -> Result<Self> {
        let sink = || -> Result<Self> {
            Ok(match settings {
                Sink::Jsonl(settings) => {
                    let sink = Jsonl::open(settings);
                    let sink = sink.with_context(|| format!("`{}`", settings.path.display()))?;
                    Self::Machine(Machine::Jsonl(sink))
                }
                Sink::Webhook(webhook) => {
                    let sink = Box::new(Webhook::new(webhook)?);
                    if settings.is_for_people() {
                        Self::People(People::Webhook(sink))
                    } else {
                        Self::Machine(Machine::Webhook(sink))
                    }
                }
                #[cfg(feature = "kafka")]
                Sink::Kafka(settings) => {
                    Self::Machine(Machine::Kafka(Box::new(super::kafka::Kafka::new(settings)?)))
                }
                #[cfg(not(feature = "kafka"))]
                Sink::Kafka(_) => anyhow::bail!(
                    "this program was built without Kafka: use one with the feature `kafka`"
                ),
                Sink::Syslog(settings) => {
                    Self::Machine(Machine::Syslog(Box::new(Syslog::new(settings)?)))
                }
                Sink::Alertmanager(settings) => {
                    Self::People(People::Alertmanager(Box::new(Alertmanager::new(settings)?)))
                }
                Sink::PagerDuty(settings) => {
                    Self::People(People::PagerDuty(Box::new(PagerDuty::new(settings)?)))
                }
                Sink::Slack(settings) => {
                    Self::People(People::Slack(Box::new(Slack::new(settings)?)))
                }
                Sink::Mail(settings) => Self::People(People::Mail(Box::new(Mail::new(settings)?))),
            })
        };
        sink().with_context(|| format!("open sink `{}`", settings.name()))
    }
}

/// Calls a method of whatever sink for machines it is.
macro_rules! of {
    ($any:expr, $sink:ident => $call:expr) => {
        match $any {
            Machine::Jsonl($sink) => $call,
            Machine::Webhook($sink) => $call,
            #[cfg(feature = "kafka")]
            Machine::Kafka($sink) => $call,
            Machine::Syslog($sink) => $call,
        }
    };
}

impl super::sink::Sink for Machine {
    fn batch_max(&self) -> usize {
        of!(self, sink => sink.batch_max())
    }

    async fn deliver(&mut self, findings: &[Arc<FindingRecord>]) -> Vec<Answer> {
        of!(self, sink => sink.deliver(findings).await)
    }
}

impl Pager for People {
    async fn page(&mut self, call: &Call) -> Answer {
        match self {
            Self::Webhook(pager) => pager.page(call).await,
            Self::Alertmanager(pager) => pager.page(call).await,
            Self::PagerDuty(pager) => pager.page(call).await,
            Self::Slack(pager) => pager.page(call).await,
            Self::Mail(pager) => pager.page(call).await,
        }
    }

    fn standing(&self) -> Option<Standing> {
        match self {
            Self::Alertmanager(pager) => pager.standing(),
            Self::Webhook(_) | Self::PagerDuty(_) | Self::Slack(_) | Self::Mail(_) => None,
        }
    }
}

/// A sink with its outbox.
#[derive(Debug)]
pub enum Outlet {
    /// Findings.
    Findings(Outbox<Machine>),
    /// What people are called for.
    Calls(PageOutbox<People>),
}

impl Outlet {
    /// Makes a sink and finds its place in the store, as of `now` (microseconds since 1970, UTC);
    /// nothing is sent yet. One for machines is told of findings that one of `only` fits; of all,
    /// without any.
    ///
    /// # Errors
    /// When its settings cannot be used.
    pub fn open(
        settings: &Sink,
        only: Vec<Matcher>,
        alert: &Alert,
        (store, metrics): (&Arc<Store>, &Arc<Metrics>),
        now: i64,
    ) -> Result<Self> {
        let name = settings.name();
        let backoff = Backoff { first: alert.retry_first.0, max: alert.retry_max.0 };
        let sink = AnySink::new(settings)?;
        let (store, metrics) = (Arc::clone(store), Arc::clone(metrics));
        let outlet = match sink {
            AnySink::Machine(sink) => {
                let begin = match settings.from() {
                    From::Now => Begin::Now,
                    From::Start => Begin::Start,
                };
                let cursor = store.open_sink(name, begin, now)?;
                store.sink_kind(name, settings.kind());
                Self::Findings(Outbox::new(name, sink, only, cursor, store, metrics, backoff))
            }
            AnySink::People(pager) => {
                // What people are told has a place of its own.
                store.open_pager(name);
                store.sink_kind(name, settings.kind());
                Self::Calls(PageOutbox::new(name, pager, store, metrics, backoff))
            }
        };
        Ok(outlet)
    }

    /// Delivers until the store is closed.
    ///
    /// # Errors
    /// Never for a sink that fails.
    pub async fn run(self) -> Result<()> {
        match self {
            Self::Findings(outbox) => outbox.run().await,
            Self::Calls(outbox) => outbox.run().await,
        }
    }
}
