//! Alerts for Prometheus Alertmanager: `POST /api/v2/alerts`.
//!
//! An alert stands until its `endsAt`, so what still stands is told again before that
//! ([`Standing`]); what is over gets an end that has come. Alertmanager knows an alert by its
//! labels, which are the columns of the finding's key, `alertname` (the detection), `severity`,
//! `cluster` and `id`: they never change for one finding but the severity, when the detection's is
//! changed, and then the alert under the old one ends by itself. Of several instances each is a
//! sink of its own: they tell repeats.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Url};
use serde::Serialize;

use super::notice::{Notice, State, cut};
use super::sink::{Answer, Sink, Standing};
use super::{http, secret};
use crate::clock::now_micros;
use crate::config::sink::{AlertmanagerSettings, SinkUrl};
use crate::event::time::{parse_rfc3339, rfc3339};
use crate::findings::record::FindingRecord;

const BATCH_MAX: usize = 64;
/// The longest annotation: what is longer is in the finding.
const ANNOTATION_MAX: usize = 4_000;
/// The longest value of a label. `id` tells alerts apart whose labels are cut.
const LABEL_MAX: usize = 500;
/// An alert outlives so many repeats that fail.
const REPEATS: u32 = 4;

/// The sink.
#[derive(Debug)]
pub struct Alertmanager {
    client: Client,
    url: Url,
    headers: HeaderMap,
    labels: BTreeMap<String, String>,
    link: Option<SinkUrl>,
    repeat: Duration,
    stands: Duration,
}

/// As `postableAlert` in Alertmanager's API, version 2.
#[derive(Serialize)]
struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<&'static str, String>,
    #[serde(rename = "startsAt")]
    starts_at: String,
    #[serde(rename = "endsAt")]
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

impl Alertmanager {
    /// A sink for these settings; nothing is sent yet.
    ///
    /// # Errors
    /// When a secret, a header or a certificate cannot be used.
    pub fn new(settings: &AlertmanagerSettings, link: Option<&SinkUrl>) -> Result<Self> {
        let mut url = settings.url.0.clone();
        url.set_path(&format!("{}/api/v2/alerts", url.path().trim_end_matches('/')));
        let mut headers = http::headers(&settings.headers)?;
        let secret = secret::read(settings.secret_env.as_deref(), settings.secret_file.as_deref())?;
        if let Some(secret) = secret {
            let mut value = HeaderValue::from_str(&format!("Bearer {secret}"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Self {
            client: http::client(&url, &settings.tls(), settings.timeout.0, 1)?,
            url,
            headers,
            labels: settings.labels.clone(),
            link: link.cloned(),
            repeat: settings.repeat.0,
            stands: settings.stands.0,
        })
    }

    fn alert(&self, notice: &Notice, now: i64) -> Alert {
        let mut labels = self.labels.clone();
        // The key first: what it calls as we do must not hide ours.
        for (name, value) in notice.key.iter().filter(|(_, value)| !value.is_empty()) {
            labels.insert(label(name), cut(value, LABEL_MAX));
        }
        for (name, value) in [
            ("alertname", &notice.kind),
            ("severity", &notice.severity.to_string()),
            ("cluster", &notice.cluster),
            ("id", &notice.id),
        ] {
            labels.insert(name.to_owned(), value.clone());
        }
        let facts = notice.facts.iter().map(|(name, value)| format!("{name}: {value}"));
        let annotations = [
            ("title", notice.title.clone()),
            ("summary", notice.summary.clone()),
            ("respond", notice.respond.clone()),
            ("facts", facts.collect::<Vec<_>>().join("\n")),
        ];
        // It may not begin after it ends, whatever the cluster's clock says.
        let starts_at = parse_rfc3339(&notice.first_seen).unwrap_or(now).min(now);
        let ends_at = match notice.state {
            State::Closed => now,
            State::Open | State::Acknowledged => {
                let stands = self.repeat.saturating_mul(REPEATS).as_micros();
                now.saturating_add(i64::try_from(stands).unwrap_or(i64::MAX))
            }
        };
        Alert {
            labels,
            annotations: annotations.map(|(name, text)| (name, cut(&text, ANNOTATION_MAX))).into(),
            starts_at: rfc3339(starts_at),
            ends_at: rfc3339(ends_at),
            generator_url: notice.link.clone(),
        }
    }

    async fn post(&self, notices: &[Notice]) -> Answer {
        let now = now_micros();
        let alerts: Vec<Alert> = notices.iter().map(|notice| self.alert(notice, now)).collect();
        let request = self.client.post(self.url.clone()).headers(self.headers.clone());
        let reply = http::send(request.json(&alerts)).await;
        reply.map_or_else(|answer| answer, |reply| reply.answer(&[400, 413, 422], true))
    }
}

impl Sink for Alertmanager {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    async fn deliver(&mut self, findings: &[Arc<FindingRecord>]) -> Vec<Answer> {
        let link = self.link.as_ref();
        let notices = findings.iter().map(|finding| Notice::of_finding(finding, link));
        let notices: Vec<Notice> = notices.collect();
        self.tell(&notices).await
    }

    async fn tell(&mut self, notices: &[Notice]) -> Vec<Answer> {
        let answer = self.post(notices).await;
        if notices.len() < 2 || !matches!(answer, Answer::Refused { .. }) {
            return vec![answer; notices.len()];
        }
        // One of them is at fault, or some.
        let mut answers = Vec::with_capacity(notices.len());
        for notice in notices {
            answers.push(self.post(std::slice::from_ref(notice)).await);
        }
        answers
    }

    fn standing(&self) -> Option<Standing> {
        Some(Standing { every: self.repeat, stands: self.stands })
    }
}

/// A column's name as that of a label, which has fewer characters to choose from.
fn label(column: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let name: String = column.chars().map(fits).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}
