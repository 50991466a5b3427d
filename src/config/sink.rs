//! `[[sink]]` and `[alert]`: where findings go, and how they are sent again. Values only.
//!
//! What may hold a secret is never shown: neither in logs nor when settings are printed.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::Url;

pub use http::{AlertmanagerSettings, PagerDutySettings, SlackSettings, WebhookSettings};
pub use kafka::{KafkaSettings, Sasl};
pub use line::{JsonlSettings, SyslogSettings, Transport};
pub use mail::{MailSettings, MailTransport};
pub use tls::Tls;

use super::value::Span;

// Sinks over HTTP.
mod http;

// Kafka, also for a source.
pub(super) mod kafka;

// Sinks of lines.
mod line;

// Mail.
mod mail;

// Whom to trust, and who we are.
mod tls;

/// `[alert]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alert {
    /// How long to wait before a sink that failed is tried again; doubles with each failure ...
    pub retry_first: Span,
    /// ... up to this.
    pub retry_max: Span,
    /// Findings of one actor this far apart are of one incident.
    pub incident_gap: Span,
    /// A sink that takes nothing for this long is dead: people are told through others.
    pub dead_after: Span,
    /// Where people reach this service, `https://auditmill.example`: what they are told has a link
    /// to it.
    pub link: Option<SinkUrl>,
}

impl Default for Alert {
    fn default() -> Self {
        Self {
            retry_first: Span(Duration::from_secs(1)),
            retry_max: Span(Duration::from_mins(1)),
            incident_gap: Span(Duration::from_hours(4)),
            dead_after: Span(Duration::from_mins(15)),
            link: None,
        }
    }
}

/// `[[sink]]`: where findings go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Sink {
    /// One finding per line.
    Jsonl(JsonlSettings),
    /// One CloudEvent per POST.
    Webhook(WebhookSettings),
    /// One message per finding.
    Kafka(KafkaSettings),
    /// Alerts that stand as long as they are repeated.
    Alertmanager(AlertmanagerSettings),
    /// Events that open and resolve alerts.
    PagerDuty(PagerDutySettings),
    /// One message per call, in a channel.
    Slack(SlackSettings),
    /// One message per finding, RFC 5424.
    Syslog(SyslogSettings),
    /// One mail per call.
    Mail(MailSettings),
}

impl Sink {
    /// Its name in messages and metrics; its place is kept under it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Jsonl(sink) => &sink.name,
            Self::Webhook(sink) => &sink.name,
            Self::Kafka(sink) => &sink.name,
            Self::Alertmanager(sink) => &sink.name,
            Self::PagerDuty(sink) => &sink.name,
            Self::Slack(sink) => &sink.name,
            Self::Syslog(sink) => &sink.name,
            Self::Mail(sink) => &sink.name,
        }
    }

    /// Where it begins when it is new.
    #[must_use]
    pub fn from(&self) -> From {
        match self {
            Self::Jsonl(sink) => sink.from,
            Self::Webhook(sink) => sink.from,
            Self::Kafka(sink) => sink.from,
            Self::Syslog(sink) => sink.from,
            // Nobody is called for what was before.
            Self::Alertmanager(_) | Self::PagerDuty(_) | Self::Slack(_) | Self::Mail(_) => {
                From::Now
            }
        }
    }

    /// The word of `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Jsonl(_) => "jsonl",
            Self::Webhook(_) => "webhook",
            Self::Kafka(_) => "kafka",
            Self::Alertmanager(_) => "alertmanager",
            Self::PagerDuty(_) => "pagerduty",
            Self::Slack(_) => "slack",
            Self::Syslog(_) => "syslog",
            Self::Mail(_) => "mail",
        }
    }

    /// Whether people read what it is told: incidents. Other sinks take whatever is found.
    #[must_use]
    pub fn is_for_people(&self) -> bool {
        match self {
            Self::Webhook(sink) => sink.takes == Takes::Incidents,
            Self::Jsonl(_) | Self::Kafka(_) | Self::Syslog(_) => false,
            Self::Alertmanager(_) | Self::PagerDuty(_) | Self::Slack(_) | Self::Mail(_) => true,
        }
    }
}

/// Where a sink begins when it is new; one that is known goes on where it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// With findings from now on.
    #[default]
    Now,
    /// With all findings that are kept.
    Start,
}

/// How a finding is written for machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// As in `GET /v1/findings`.
    #[default]
    Native,
    /// A Detection Finding (class 2004) of the Open Cybersecurity Schema Framework.
    Ocsf,
    /// A document of the Elastic Common Schema.
    Ecs,
}

/// What a webhook is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Takes {
    /// Every finding, for machines.
    #[default]
    Findings,
    /// Incidents, as people are called for them.
    Incidents,
}

/// A value that is shown as `***`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// A URL whose path, query and user may be secrets, as those of chat services are: only scheme,
/// host and port are shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SinkUrl(pub Url);

impl fmt::Display for SinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.0;
        write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        let bare = url.path() == "/" && url.query().is_none() && url.username().is_empty();
        f.write_str(if bare { "/" } else { "/***" })
    }
}

impl fmt::Debug for SinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SinkUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SinkUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text itself may hold a secret: errors do not repeat it.
        let text = String::deserialize(deserializer)?;
        let url: Url = text.parse().map_err(|error| de::Error::custom(format!("url: {error}")))?;
        match url.scheme() {
            "http" | "https" if url.has_host() => Ok(Self(url)),
            _ => Err(de::Error::custom("url: must begin with https:// or http://")),
        }
    }
}

/// Sinks of one name would share their place.
pub(super) fn check(sinks: &[Sink]) -> Result<(), String> {
    for (place, sink) in sinks.iter().enumerate() {
        let name = sink.name();
        if name.is_empty() || name.len() > 64 {
            return Err(format!("sink `{name}`: a name has 1 to 64 characters"));
        }
        check_one(sink).map_err(|wrong| format!("sink `{name}`: {wrong}"))?;
        if sinks.iter().take(place).any(|other| other.name() == name) {
            return Err(format!("two sinks have the name `{name}`"));
        }
    }
    Ok(())
}

/// What is wrong with the settings of a sink beside its name.
fn check_one(sink: &Sink) -> Result<(), String> {
    match sink {
        Sink::Jsonl(sink) => sink.check(),
        Sink::Webhook(sink) => sink.tls().check(),
        Sink::Kafka(sink) if sink.topic.is_empty() => {
            Err("`brokers` and `topic` must name something".to_owned())
        }
        Sink::Kafka(sink) => kafka::check(&sink.brokers, &sink.tls()),
        Sink::Alertmanager(sink) => sink.check(),
        Sink::PagerDuty(sink) => sink.tls().check(),
        Sink::Slack(sink) => sink.tls().check(),
        Sink::Syslog(sink) => sink.check(),
        Sink::Mail(sink) => sink.check(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;

    #[test]
    fn sinks_are_read_and_their_secrets_are_never_shown() {
        let text = r#"
            [alert]
            retry_first = "100ms"
            [[sink]]
            type = "webhook"
            name = "soc"
            url = "https://user:geheim@example.org:8443/geheim?token=geheim"
            secret_env = "SOC"
            headers = { authorization = "Bearer geheim" }
            [[sink]]
            type = "kafka"
            name = "bus"
            brokers = ["a:1", "b:2"]
            topic = "findings"
            from = "start"
            options = { "sasl.password" = "geheim", "security.protocol" = "SASL_SSL" }
        "#;
        let settings = load(text, &[("AUDITMILL_ALERT_RETRY_MAX", "7s")]).unwrap();
        assert_eq!(settings.alert.retry_max.to_string(), "7s");
        for shown in [settings.to_toml().unwrap(), format!("{settings:?}")] {
            assert!(!shown.contains("geheim"), "{shown}");
            assert!(shown.contains("https://example.org:8443/***"), "{shown}");
            assert!(shown.contains("SOC") && shown.contains("sasl.password"), "{shown}");
        }
        let check = |changed: &str, to: &str, expected: &str| {
            let error = load(&text.replace(changed, to), &[]).unwrap_err();
            assert!(error.contains(expected) && !error.contains("geheim"), "{error}");
        };
        check("\"bus\"", "\"soc\"", "two sinks have the name `soc`");
        check("\"bus\"", "\"\"", "a name has 1 to 64 characters");
        check("https://user", "ftp://user", "must begin with https://");
        check("https://user", "user", "url: ");
        check("topic", "tropic", "`tropic`");
        check("[\"a:1\", \"b:2\"]", "[]", "`brokers` and `topic` must name something");
        check("\"start\"", "\"end\"", "`end`");
    }
}
