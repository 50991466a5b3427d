//! Events for `PagerDuty`, Events API version 2: `trigger`, `acknowledge` and `resolve` of an alert
//! that is known by its `dedup_key`, the page's id.
//!
//! What the service says it takes (its developer documentation, "Events API v2", 2025): a
//! `routing_key` of 32 characters, a `dedup_key` of at most 255, a `summary` of at most 1024, a
//! severity of `critical`, `error`, `warning` or `info`, an event of at most 512 KB. It answers
//! 202; 400 for an event that it cannot take; 429 when there are too many.

use anyhow::{Context as _, Result, bail};
use reqwest::{Client, Url};
use serde_json::{Map, Value as Json, json};

use super::notice::{Notice, State, cut};
use super::pager::Pager;
use super::sink::Answer;
use super::{http, secret};
use crate::config::sink::PagerDutySettings;
use crate::findings::paging::Call;
use crate::findings::record::Severity;

const SUMMARY_MAX: usize = 1024;
const KEY_MAX: usize = 255;
/// Some room is left below the service's own limit.
const EVENT_BYTES_MAX: usize = 500_000;
/// What one fact may take of that.
const FACT_MAX: usize = 4_000;

/// The sink.
pub struct PagerDuty {
    client: Client,
    url: Url,
    /// Where events go: a secret.
    key: String,
}

impl std::fmt::Debug for PagerDuty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PagerDuty").finish_non_exhaustive()
    }
}

impl PagerDuty {
    /// A sink for these settings; nothing is sent yet.
    ///
    /// # Errors
    /// When the key or a certificate cannot be used.
    pub fn new(settings: &PagerDutySettings) -> Result<Self> {
        let secret = secret::read(settings.secret_env.as_deref(), settings.secret_file.as_deref())?;
        let what = "the integration's key: name it by `secret_file` or `secret_env`";
        let key = secret.context(what)?;
        if key.len() != 32 || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            bail!("an integration's key has 32 letters and digits, the secret is something else");
        }
        let url = settings.url.0.clone();
        let client = http::client(&url, &settings.tls(), settings.timeout.0, 1)?;
        Ok(Self { client, url, key })
    }

    /// The event, without the details when it is too long with them.
    fn body(&self, notice: &Notice) -> Vec<u8> {
        let bytes = |event: &Json| serde_json::to_vec(event).unwrap_or_default();
        let mut event = self.event(notice);
        let body = bytes(&event);
        if body.len() <= EVENT_BYTES_MAX {
            return body;
        }
        if let Some(payload) = event.get_mut("payload").and_then(Json::as_object_mut) {
            payload.remove("custom_details");
        }
        bytes(&event)
    }

    fn event(&self, notice: &Notice) -> Json {
        let action = match notice.state {
            State::Open => "trigger",
            State::Acknowledged => "acknowledge",
            State::Closed => "resolve",
        };
        let key = cut(&notice.id, KEY_MAX);
        let mut event = json!({
            "routing_key": self.key, "event_action": action, "dedup_key": key,
        });
        if notice.state != State::Open {
            return event;
        }
        let mut details = Map::new();
        details.insert("respond".to_owned(), json!(cut(&notice.respond, FACT_MAX)));
        for (name, value) in &notice.facts {
            details.insert((*name).to_owned(), json!(cut(value, FACT_MAX)));
        }
        event["payload"] = json!({
            "summary": cut(&notice.line(), SUMMARY_MAX),
            "source": if notice.cluster.is_empty() { "auditmill" } else { &notice.cluster },
            "severity": severity(notice.severity),
            "timestamp": notice.last_seen,
            "component": "kubernetes",
            "group": notice.cluster,
            "class": notice.kind,
            "custom_details": details,
        });
        event["client"] = json!("auditmill");
        if let Some(link) = &notice.link {
            event["client_url"] = json!(link);
            event["links"] = json!([{ "href": link, "text": "incident" }]);
        }
        event
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Informational | Severity::Low => "info",
        Severity::Medium => "warning",
        Severity::High => "error",
        Severity::Critical => "critical",
    }
}

impl Pager for PagerDuty {
    async fn page(&mut self, call: &Call) -> Answer {
        let body = self.body(&Notice::new(call));
        let request = self.client.post(self.url.clone());
        let request = request.header("content-type", "application/json").body(body);
        http::send(request, &http::REFUSALS, true).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        Notice {
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            revision: 1,
            state: State::Open,
            severity: Severity::Critical,
            cluster: "east".to_owned(),
            kind: "AuditmillIncident",
            title: "One identity reads many secrets".to_owned(),
            summary: "ä".repeat(5_000),
            respond: "Revoke it.".to_owned(),
            facts: vec![("user_name", "x".repeat(9_000))],
            text: String::new(),
            first_seen: "2026-03-01T00:00:01.000001Z".to_owned(),
            last_seen: "2026-03-01T00:00:02.000001Z".to_owned(),
            link: None,
        }
    }

    fn sink() -> PagerDuty {
        let url: Url = "https://127.0.0.1/v2/enqueue".parse().unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        PagerDuty { client: Client::new(), url, key: "k".repeat(32) }
    }

    #[test]
    fn an_event_is_within_the_limits_whatever_is_in_it() {
        let event = |notice: &Notice| -> Json {
            let body = sink().body(notice);
            assert!(body.len() <= 512 * 1024, "{} bytes", body.len());
            serde_json::from_slice(&body).unwrap()
        };
        let usual = event(&notice());
        let summary = usual["payload"]["summary"].as_str().unwrap();
        assert_eq!(summary.chars().count(), SUMMARY_MAX);
        let details = &usual["payload"]["custom_details"];
        assert_eq!(details["user_name"].as_str().unwrap().chars().count(), FACT_MAX);
        let mut large = notice();
        large.respond = "x".repeat(9_000);
        let names: Vec<&str> = (0..200).map(|number| &*number.to_string().leak()).collect();
        large.facts = names.into_iter().map(|name| (name, "x".repeat(9_000))).collect();
        assert!(event(&large)["payload"]["custom_details"].is_null());
        assert_eq!(event(&large)["payload"]["severity"], "critical");
    }

    #[test]
    fn a_state_is_an_action() {
        for (state, action) in [
            (State::Open, "trigger"),
            (State::Acknowledged, "acknowledge"),
            (State::Closed, "resolve"),
        ] {
            let event = sink().event(&Notice { state, ..notice() });
            assert_eq!(event["event_action"], action);
            assert_eq!(event["payload"].is_object(), state == State::Open);
        }
    }
}
