//! Settings of sinks that POST.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Format, From, Secret, SinkUrl, Takes, Tls};
use crate::config::value::Span;

/// `[[sink]] type = "webhook"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Its name.
    pub name: String,
    /// Where to, `https://` or `http://`.
    pub url: SinkUrl,
    /// What is told.
    #[serde(default)]
    pub takes: Takes,
    /// How the finding in the event is written.
    #[serde(default)]
    pub format: Format,
    /// Environment variable with the secret that POSTs are signed with ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// ... or a file with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// PEM file with the authorities that the receiver's certificate must be of; else the
    /// machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    /// ... and one with its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// How long one POST may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Where it begins when it is new.
    #[serde(default)]
    pub from: From,
    /// Headers of each POST.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

/// `[[sink]] type = "alertmanager"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerSettings {
    /// Its name.
    pub name: String,
    /// Where it is, what comes before `/api/v2/alerts`; `https://` or `http://`.
    pub url: SinkUrl,
    /// How often what still stands is said again; without it an alert ends after four times this.
    #[serde(default = "repeat")]
    pub repeat: Span,
    /// A page stands for so long after its last event, unless it is closed.
    #[serde(default = "stands")]
    pub stands: Span,
    /// Labels of every alert, beside those that say what was found.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Environment variable with a bearer token ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// ... or a file with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// PEM file with the authorities that its certificate must be of; else the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    /// ... and one with its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// How long one POST may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Headers of each POST.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

/// `[[sink]] type = "pagerduty"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerDutySettings {
    /// Its name.
    pub name: String,
    /// Where events go; the service's address by default.
    #[serde(default = "pagerduty")]
    pub url: SinkUrl,
    /// Environment variable with the integration's key ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// ... or a file with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// PEM file with the authorities that the receiver's certificate must be of; else the
    /// machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    /// ... and one with its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// How long one POST may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

/// `[[sink]] type = "slack"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackSettings {
    /// Its name.
    pub name: String,
    /// Environment variable with the URL of the incoming webhook, which is a secret ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// ... or a file with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// PEM file with the authorities that the receiver's certificate must be of; else the
    /// machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    /// ... and one with its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// How long one POST may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

fn timeout() -> Span {
    Span(Duration::from_secs(10))
}

fn repeat() -> Span {
    Span(Duration::from_mins(3))
}

fn stands() -> Span {
    Span(Duration::from_hours(1))
}

fn pagerduty() -> SinkUrl {
    let url = "https://events.pagerduty.com/v2/enqueue".parse();
    SinkUrl(url.expect("a URL that is written here"))
}

impl WebhookSettings {
    /// Its TLS.
    #[must_use]
    pub fn tls(&self) -> Tls<'_> {
        let (ca, cert) = (self.ca.as_deref(), self.client_cert.as_deref());
        Tls { ca, client_cert: cert, client_key: self.client_key.as_deref() }
    }
}

impl AlertmanagerSettings {
    /// Its TLS.
    #[must_use]
    pub fn tls(&self) -> Tls<'_> {
        let (ca, cert) = (self.ca.as_deref(), self.client_cert.as_deref());
        Tls { ca, client_cert: cert, client_key: self.client_key.as_deref() }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.repeat.0 < Duration::from_secs(1) {
            return Err("`repeat` is at least 1s".to_owned());
        }
        for name in self.labels.keys() {
            let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
            let begins = name.starts_with(letter) && !name.starts_with("__");
            if !begins || !name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
                return Err(format!("`labels`: `{name}` is not the name of a label"));
            }
        }
        self.tls().check()
    }
}

impl PagerDutySettings {
    /// Its TLS.
    #[must_use]
    pub fn tls(&self) -> Tls<'_> {
        let (ca, cert) = (self.ca.as_deref(), self.client_cert.as_deref());
        Tls { ca, client_cert: cert, client_key: self.client_key.as_deref() }
    }
}

impl SlackSettings {
    /// Its TLS.
    #[must_use]
    pub fn tls(&self) -> Tls<'_> {
        let (ca, cert) = (self.ca.as_deref(), self.client_cert.as_deref());
        Tls { ca, client_cert: cert, client_key: self.client_key.as_deref() }
    }
}
