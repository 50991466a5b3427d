//! What sinks that POST have in common: a client that trusts and shows what the settings say, and
//! answers read whole, within bounds.
//!
//! Redirects are not followed: a finding goes nowhere but where the settings say. Proxies of the
//! environment are not used. What goes wrong is told without the URL, which may hold a secret.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, RequestBuilder, Response, StatusCode, Url};

use super::sink::Answer;
use crate::clock::now_micros;
use crate::config::sink::{Secret, Tls};

/// So much of an answer is read, for the sake of the connection and of who reads the log.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// So much of an answer's text is told.
const WORDS_MAX: usize = 200;

/// What receivers for people answer to a message that they will never take.
pub(super) const REFUSALS: [u16; 3] = [400, 413, 422];

/// A client for one receiver, with this time limit for a call as a whole.
///
/// # Errors
/// When a certificate or a key cannot be used.
pub(super) fn client(url: &Url, tls: &Tls<'_>, timeout: Duration, calls: usize) -> Result<Client> {
    // An error says that somebody did this before: as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .timeout(timeout)
        .pool_max_idle_per_host(calls)
        .user_agent(concat!("auditmill/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = tls.ca {
        let fail = || format!("read `ca`: `{}`", path.display());
        let pem = std::fs::read(path).with_context(fail)?;
        client = client.tls_certs_only(Certificate::from_pem_bundle(&pem).with_context(fail)?);
    } else if url.scheme() == "http" {
        // A machine without certificates of authorities is none to complain about here.
        client = client.tls_certs_only([]);
    }
    if let (Some(cert), Some(key)) = (tls.client_cert, tls.client_key) {
        let mut pem = Vec::new();
        for path in [cert, key] {
            let read = std::fs::read(path);
            pem.extend(read.with_context(|| format!("read `{}`", path.display()))?);
            pem.push(b'\n');
        }
        let fail = || format!("use `client_cert` `{}` with `client_key`", cert.display());
        client = client.identity(Identity::from_pem(&pem).with_context(fail)?);
    }
    client.build().context("set up an HTTP client")
}

/// Headers of the settings, whose values are not shown.
///
/// # Errors
/// When one cannot be sent.
pub(super) fn headers<'a>(
    settings: impl IntoIterator<Item = (&'a String, &'a Secret)>,
) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in settings {
        let key: HeaderName =
            name.parse().with_context(|| format!("`headers`: `{name}` is no name"))?;
        let mut value = HeaderValue::from_str(&value.0)
            .with_context(|| format!("`headers`: the value of `{name}` cannot be sent"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// A whole answer.
#[derive(Debug)]
struct Reply {
    pub(super) status: StatusCode,
    /// How long the receiver asked to be left alone.
    after: Option<Duration>,
    /// The beginning of what it said, on one line.
    words: String,
}

/// Sends, and gives what the answer means: see [`Reply::answer`].
pub(super) async fn send(request: RequestBuilder, refusals: &[u16], told: bool) -> Answer {
    reply(request).await.map_or_else(|answer| answer, |reply| reply.answer(refusals, told))
}

/// Sends, and reads the answer to its end.
async fn reply(request: RequestBuilder) -> Result<Reply, Answer> {
    let retry = |why| Answer::Retry { after: None, why };
    let mut response = request.send().await.map_err(|error| retry(words(error)))?;
    let status = response.status();
    let mut body: Vec<u8> = Vec::new();
    while body.len() < ANSWER_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            // Half an answer may come from half a receiver.
            Err(error) => return Err(retry(format!("{status}: {}", words(error)))),
        }
    }
    let text = String::from_utf8_lossy(&body);
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let text: String = text.take(WORDS_MAX).collect();
    Ok(Reply { status, after: retry_after(&response, status), words: text.trim().to_owned() })
}

impl Reply {
    /// What it means: 200 to 299 took it; these statuses refuse it for good; everything else is
    /// worth another try, also 401, 403 and 404, which somebody will set right. What was said with
    /// it is `told` on.
    fn answer(self, refusals: &[u16], told: bool) -> Answer {
        let status = self.status;
        let mut why = status.to_string();
        if told && !self.words.is_empty() {
            why = format!("{why}: {}", self.words);
        }
        match status.as_u16() {
            200..=299 => Answer::Delivered,
            refused if refusals.contains(&refused) => Answer::Refused { why },
            300..=399 => {
                let why =
                    format!("{status}: redirects are not followed, set `url` to where it leads");
                Answer::Retry { after: None, why }
            }
            _ => Answer::Retry { after: self.after, why },
        }
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
