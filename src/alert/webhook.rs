//! Findings as CloudEvents 1.0 in structured JSON, one in each POST.
//!
//! ```json
//! {"specversion":"1.0","id":"<finding id>-<revision>","source":"/auditmill/<cluster>",
//!  "type":"io.auditmill.finding","subject":"<finding id>","time":"<last_seen>",
//!  "datacontenttype":"application/json","data":{ the finding as in GET /v1/findings }}
//! ```
//! With `format = "ocsf"` or `"ecs"`, `data` is the finding in that form.
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

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use serde::Serialize;
use sha2::Sha256;

use super::pager::Pager;
use super::sink::{Answer, Sink, delivery_id};
use super::{format, http, secret};
use crate::clock::now_micros;
use crate::config::sink::{Format, WebhookSettings};
use crate::findings::paging::Call;
use crate::findings::record::FindingRecord;

/// Calls at the same time.
const CALLS_MAX: usize = 8;
/// Findings in one batch: if all hang, the batch takes two time limits.
const BATCH_MAX: usize = 2 * CALLS_MAX;
/// This very finding is at fault.
const REFUSALS: [u16; 4] = [400, 413, 415, 422];

/// The sink.
#[derive(Debug)]
pub struct Webhook {
    client: Client,
    url: Url,
    headers: HeaderMap,
    format: Format,
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
struct CloudEvent<'a, D: ?Sized> {
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
        let url = &settings.url.0;
        let secret = secret::read(settings.secret_env.as_deref(), settings.secret_file.as_deref())?;
        Ok(Self {
            client: http::client(url, &settings.tls(), settings.timeout.0, CALLS_MAX)?,
            url: url.clone(),
            headers: http::headers(&settings.headers)?,
            format: settings.format,
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
                // A group's name may have letters of any language.
                if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                    headers.insert(HeaderName::from_static(name), value);
                }
            }
        }
        let request = self.client.post(self.url.clone()).headers(headers).body(body);
        // What it says beside the status is for nobody: this URL may be anybody's.
        http::send(request, &REFUSALS, false).await
    }
}

impl Sink for Webhook {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    async fn deliver(&mut self, findings: &[Arc<FindingRecord>]) -> Vec<Answer> {
        let calls = findings.iter().map(|record| {
            let id = delivery_id(record);
            let body = body(record, &id, self.format);
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

fn body(record: &FindingRecord, id: &str, format: Format) -> String {
    let event = CloudEvent {
        specversion: "1.0",
        id,
        source: format!("/auditmill/{}", record.cluster),
        r#type: "io.auditmill.finding",
        subject: &record.id,
        time: &record.last_seen,
        datacontenttype: "application/json",
        data: &format::json(format, record),
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
