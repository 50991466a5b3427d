//! Alerts for Prometheus Alertmanager: `POST /api/v2/alerts`.
//!
//! An alert stands until its `endsAt`, so what still stands is told again before that
//! ([`Standing`]); what is over gets an end that has come. Alertmanager knows an alert by its
//! labels, which are `alertname`, `severity`, `cluster` and `id`: of one page they change only when
//! it gets worse, and then the alert under the old severity ends by itself. Of several instances
//! each is a sink of its own: they tell repeats.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Url};
use serde::Serialize;

use super::notice::{Notice, State, cut};
use super::pager::{Pager, Standing};
use super::sink::Answer;
use super::{http, secret};
use crate::clock::now_micros;
use crate::config::sink::AlertmanagerSettings;
use crate::event::time::{parse_rfc3339, rfc3339};
use crate::findings::paging::Call;

/// The longest annotation: what is longer is in the finding.
const ANNOTATION_MAX: usize = 4_000;
/// The longest value of a label.
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
    pub fn new(settings: &AlertmanagerSettings) -> Result<Self> {
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
            repeat: settings.repeat.0,
            stands: settings.stands.0,
        })
    }

    fn alert(&self, notice: &Notice, now: i64) -> Alert {
        let mut labels = self.labels.clone();
        for (name, value) in [
            ("alertname", notice.kind),
            ("severity", notice.severity.as_str()),
            ("cluster", &notice.cluster),
            ("id", &notice.id),
        ] {
            labels.insert(name.to_owned(), cut(value, LABEL_MAX));
        }
        // One that is empty is none.
        labels.retain(|_, value| !value.is_empty());
        let facts = notice.facts.iter().map(|(name, value)| format!("{name}: {value}"));
        let annotations = [
            ("title", notice.title.clone()),
            ("summary", notice.summary.clone()),
            ("respond", notice.respond.clone()),
            ("facts", facts.collect::<Vec<_>>().join("\n")),
            ("text", notice.text.clone()),
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
}

impl Pager for Alertmanager {
    async fn page(&mut self, call: &Call) -> Answer {
        let alerts = [self.alert(&Notice::new(call), now_micros())];
        let request = self.client.post(self.url.clone()).headers(self.headers.clone());
        http::send(request.json(&alerts), &http::REFUSALS, true).await
    }

    fn standing(&self) -> Option<Standing> {
        Some(Standing { every: self.repeat, stands: self.stands })
    }
}
