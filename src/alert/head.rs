//! Signed heads of the history on their way out: to files, web hooks and Kafka topics that an
//! attacker of this machine cannot change.
//!
//! A file gets each head appended, with an empty line behind it; a URL gets it posted as
//! `text/plain`; `kafka://SINK/TOPIC` is a topic of the brokers of the sink of this name. A newer
//! head says all that an older one says, so that of those that wait only the newest is sent. What
//! fails is said once and tried again.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use reqwest::{Client, Url};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::http;
#[cfg(feature = "kafka")]
use super::kafka::Kafka;
use super::sink::Answer;
use crate::config::Sink;
use crate::config::sink::Tls;

const RETRY: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_mins(1) };
/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);
/// How long a head may take at the end.
const LAST: Duration = Duration::from_secs(5);

/// Where heads come from.
#[derive(Debug)]
pub struct Heads(watch::Sender<String>);

impl Heads {
    /// Takes heads to these files, URLs and topics, which are reached as these sinks are; one
    /// publisher for each.
    ///
    /// # Errors
    /// When one cannot be understood.
    pub fn open(targets: &[String], sinks: &[Sink]) -> Result<(Self, Vec<Publisher>)> {
        let (sender, heads) = watch::channel(String::new());
        let publisher = |target: &String| {
            let opened = Target::open(target, sinks);
            let target = opened.with_context(|| format!("`[history] publish`: `{target}`"))?;
            Ok(Publisher { target, heads: heads.clone() })
        };
        let publishers = targets.iter().map(publisher).collect::<Result<_>>()?;
        Ok((Self(sender), publishers))
    }

    /// There is a new head: the text of a signed note.
    pub fn tell(&self, note: &str) {
        self.0.send_replace(note.to_owned());
    }
}

enum Target {
    File(PathBuf),
    Url {
        url: Url,
        client: Client,
    },
    #[cfg(feature = "kafka")]
    Topic {
        kafka: Box<Kafka>,
        sink: String,
        topic: String,
    },
}

/// Takes heads to one place.
pub struct Publisher {
    target: Target,
    heads: watch::Receiver<String>,
}

impl Target {
    fn open(text: &str, sinks: &[Sink]) -> Result<Self> {
        if let Some(place) = text.strip_prefix("kafka://") {
            return Self::topic(place, sinks);
        }
        if !text.contains("://") {
            return Ok(Self::File(PathBuf::from(text)));
        }
        let url: Url = text.parse().context("not a URL")?;
        if !matches!(url.scheme(), "http" | "https") {
            bail!("a head goes to a file, to an http:// or https:// URL, or to kafka://SINK/TOPIC");
        }
        let client = http::client(&url, &Tls::default(), CALL, 1)?;
        Ok(Self::Url { url, client })
    }

    #[cfg(feature = "kafka")]
    fn topic(place: &str, sinks: &[Sink]) -> Result<Self> {
        let Some((name, topic)) = place.split_once('/').filter(|(_, topic)| !topic.is_empty())
        else {
            bail!("not of the form kafka://SINK/TOPIC");
        };
        let settings = sinks.iter().find_map(|sink| match sink {
            Sink::Kafka(settings) if settings.name == name => Some(settings),
            _ => None,
        });
        let settings = settings
            .ok_or_else(|| anyhow!("no `[[sink]]` of type \"kafka\" has the name `{name}`"))?;
        let kafka = Box::new(Kafka::new(settings)?);
        Ok(Self::Topic { kafka, sink: name.to_owned(), topic: topic.to_owned() })
    }

    #[cfg(not(feature = "kafka"))]
    fn topic(_place: &str, _sinks: &[Sink]) -> Result<Self> {
        bail!("this program was built without Kafka")
    }

    async fn publish(&mut self, note: &str) -> Result<()> {
        match self {
            Self::File(path) => {
                let mut options = File::options();
                let mut file = options.create(true).append(true).mode(0o600).open(path)?;
                file.write_all(format!("{note}\n").as_bytes())?;
                Ok(file.sync_all()?)
            }
            Self::Url { url, client } => {
                let request = client.post(url.clone()).header("content-type", "text/plain");
                match http::send(request.body(note.to_owned()), &[], true).await {
                    Answer::Delivered => Ok(()),
                    Answer::Retry { why, .. } | Answer::Refused { why } => Err(anyhow!(why)),
                }
            }
            #[cfg(feature = "kafka")]
            Self::Topic { kafka, topic, .. } => kafka.write(topic, note).await,
        }
    }

    /// Where, without what may be secret.
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url { url, .. } => url.host_str().unwrap_or_default().to_owned(),
            #[cfg(feature = "kafka")]
            Self::Topic { sink, topic, .. } => format!("{sink}/{topic}"),
        }
    }
}

impl Publisher {
    /// Publishes heads until there are no more; what is left then gets a few seconds.
    ///
    /// # Errors
    /// Never: what cannot be published is said.
    pub async fn run(mut self) -> Result<()> {
        let target = self.target.name();
        while self.heads.changed().await.is_ok() {
            let mut failures = 0;
            loop {
                let note = self.heads.borrow_and_update().clone();
                let is_last = self.heads.has_changed().is_err();
                let call = timeout(if is_last { LAST } else { CALL }, self.target.publish(&note));
                let published = call.await.unwrap_or_else(|_| Err(anyhow!("no answer")));
                let Err(error) = published else { break };
                if failures == 0 {
                    let error = format!("{error:#}");
                    warn!(target, error, "head not published, will try again");
                }
                failures += 1;
                if is_last {
                    return Ok(());
                }
                // A newer head is tried at once; the end too.
                let _ = timeout(RETRY.wait(failures, 0.0), self.heads.changed()).await;
            }
            if failures > 0 {
                info!(target, "head published");
            }
        }
        Ok(())
    }
}
