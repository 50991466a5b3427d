//! Findings as CloudEvents 1.0 in structured JSON, one in each POST.
//!
//! ```json
//! {"specversion":"1.0","id":"<finding id>-<revision>","source":"/auditmill/<cluster>",
//!  "type":"io.auditmill.finding","subject":"<finding id>","time":"<last_seen>",
//!  "datacontenttype":"application/json","data":{ the finding as in GET /v1/findings }}
//! ```
//! One with `takes = "incidents"` gets what people are called for: type `io.auditmill.incident`,
//! subject the page's id, data a [`Call`].
//!
//! With a secret, a POST is signed as Standard Webhooks 1.0 has it (standardwebhooks.com), for
//! which every language has a library. By hand, in Python:
//!
//! ```python
//! signed = headers["webhook-id"] + "." + headers["webhook-timestamp"] + "." + body
//! mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
//! good = hmac.compare_digest("v1," + base64.b64encode(mac).decode(), headers["webhook-signature"])
//! fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
//! if not (good and fresh): return 401
//! ```
//! `secret` is the bytes of the secret as given, or, of one that begins with `whsec_`, what the
//! rest is in Base64.
//!
//! Any answer of 200 to 299 that comes whole within the time limit is a delivery; 400, 413, 415 and
//! 422 say that this very finding is at fault, and refuse it; everything else is worth another try,
//! also 401, 403 and 404, which somebody will set right. Redirects are not followed: a finding goes
//! nowhere but where the settings say. Proxies of the environment are not used.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, StatusCode, Url};
use serde::Serialize;
use sha2::Sha256;

use super::pager::Pager;
use super::secret;
use super::sink::{Answer, Sink, delivery_id};
use crate::clock::now_micros;
use crate::config::sink::WebhookSettings;
use crate::findings::paging::Call;
use crate::findings::record::FindingRecord;

/// Calls at the same time.
const CALLS_MAX: usize = 8;
/// Findings in one batch: if all hang, the batch takes two time limits.
const BATCH_MAX: usize = 2 * CALLS_MAX;
/// So much of an answer is read, for the sake of the connection; nothing in it matters.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The sink.
#[derive(Debug)]
pub struct Webhook {
    client: Client,
    url: Url,
    headers: HeaderMap,
    key: Option<Key>,
}

/// The key of signatures; never shown.
struct Key(Vec<u8>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[derive(Serialize)]
struct CloudEvent<'a, D> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    r#type: &'static str,
    subject: &'a str,
    time: &'a str,
    datacontenttype: &'static str,
    data: &'a D,
}

impl Webhook {
    /// A sink for these settings; nothing is sent yet.
    ///
    /// # Errors
    /// When a secret, a header or a certificate cannot be used.
    pub fn new(settings: &WebhookSettings) -> Result<Self> {
        // An error says that somebody did this before: as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(settings.timeout.0)
            .pool_max_idle_per_host(CALLS_MAX)
            .user_agent(concat!("auditmill/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &settings.ca {
            let fail = || format!("read `ca`: `{}`", path.display());
            let pem = std::fs::read(path).with_context(fail)?;
            client = client.tls_certs_only(Certificate::from_pem_bundle(&pem).with_context(fail)?);
        } else if settings.url.0.scheme() == "http" {
            // A machine without certificates of authorities is none to complain about here.
            client = client.tls_certs_only([]);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let key: HeaderName =
                name.parse().with_context(|| format!("`headers`: `{name}` is no name"))?;
            let mut value = HeaderValue::from_str(&value.0)
                .with_context(|| format!("`headers`: the value of `{name}` cannot be sent"))?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        let secret = secret::read(settings.secret_env.as_deref(), settings.secret_file.as_deref())?;
        Ok(Self {
            client: client.build().context("set up an HTTP client")?,
            url: settings.url.0.clone(),
            headers,
            key: secret.as_deref().map(key).transpose()?,
        })
    }

    /// Sends a CloudEvent of this id.
    async fn post(&self, id: String, body: String) -> Answer {
        let mut headers = self.headers.clone();
        let kind = "application/cloudevents+json; charset=utf-8";
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(Key(key)) = &self.key {
            let seconds = now_micros() / 1_000_000;
            let signature = signature(key, &id, seconds, &body);
            let signed = [
                ("webhook-id", id),
                ("webhook-timestamp", seconds.to_string()),
                ("webhook-signature", signature),
            ];
            for (name, value) in signed {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    headers.insert(HeaderName::from_static(name), value);
                }
            }
        }
        let request = self.client.post(self.url.clone()).headers(headers).body(body);
        match request.send().await {
            Ok(response) => answer(response).await,
            Err(error) => Answer::Retry { after: None, why: words(error) },
        }
    }
}

impl Sink for Webhook {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    async fn deliver(&mut self, findings: &[Arc<FindingRecord>]) -> Vec<Answer> {
        let calls = findings.iter().map(|record| {
            let id = delivery_id(record);
            let body = body(record, &id);
            self.post(id, body)
        });
        let calls: Vec<_> = calls.collect();
        futures::stream::iter(calls).buffered(CALLS_MAX).collect().await
    }
}

impl Pager for Webhook {
    async fn page(&mut self, call: &Call) -> Answer {
        let id = format!("{}-{}", call.id, call.revision);
        let event = CloudEvent {
            specversion: "1.0",
            id: &id,
            source: format!("/auditmill/{}", call.cluster),
            r#type: "io.auditmill.incident",
            subject: &call.id,
            time: &call.last_seen,
            datacontenttype: "application/json",
            data: call,
        };
        // Texts and numbers only: there is nothing that cannot be written.
        let body = serde_json::to_string(&event).unwrap_or_default();
        self.post(id, body).await
    }
}

/// What an answer means, once it is whole.
async fn answer(mut response: Response) -> Answer {
    let status = response.status();
    let mut bytes = 0;
    while bytes < ANSWER_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes += chunk.len(),
            Ok(None) => break,
            // Half an answer may come from half a receiver.
            Err(error) => {
                return Answer::Retry { after: None, why: format!("{status}: {}", words(error)) };
            }
        }
    }
    match status.as_u16() {
        200..=299 => Answer::Delivered,
        400 | 413 | 415 | 422 => Answer::Refused { why: status.to_string() },
        300..=399 => {
            let why = format!("{status}: redirects are not followed, set `url` to where it leads");
            Answer::Retry { after: None, why }
        }
        _ => Answer::Retry { after: retry_after(&response, status), why: status.to_string() },
    }
}

/// `Retry-After` of 429 and 503, in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(response: &Response, status: StatusCode) -> Option<Duration> {
    if !matches!(status.as_u16(), 429 | 503) {
        return None;
    }
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let micros = date.as_microsecond().saturating_sub(now_micros());
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// An error and its causes, without the URL, which may hold a secret.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

fn body(record: &FindingRecord, id: &str) -> String {
    let event = CloudEvent {
        specversion: "1.0",
        id,
        source: format!("/auditmill/{}", record.cluster),
        r#type: "io.auditmill.finding",
        subject: &record.id,
        time: &record.last_seen,
        datacontenttype: "application/json",
        data: record,
    };
    // Texts and numbers only: there is nothing that cannot be written.
    serde_json::to_string(&event).unwrap_or_default()
}

fn key(secret: &str) -> Result<Key> {
    match secret.strip_prefix("whsec_") {
        Some(encoded) => {
            let key = STANDARD.decode(encoded);
            Ok(Key(key.ok().context("what follows `whsec_` in the secret is not Base64")?))
        }
        None => Ok(Key(secret.as_bytes().to_vec())),
    }
}

fn signature(key: &[u8], id: &str, seconds: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's own libraries.
    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        let Key(key) = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = r#"{"test": 2432232314}"#;
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(super::key("whsec_not base64!").is_err());
    }
}
