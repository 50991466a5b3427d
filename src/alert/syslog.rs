//! Findings as syslog messages (RFC 5424) over TLS (RFC 5425) or TCP (RFC 6587, octet counting).
//!
//! ```text
//! LENGTH <PRI>1 TIME HOST auditmill PID DETECTION [finding@32473 id="..." revision="..." ...] JSON
//! ```
//! Syslog has no receipts. Each batch has a connection of its own, which we end: a collector that
//! read to its end then ends it too, and the batch counts as delivered; one that breaks it off
//! gets the batch again, so nothing is lost in a buffer of a collector that went away. Collectors
//! tell repeats by `id` and `revision`.
//!
//! 32473 is the number that RFC 5612 reserves for what has none of its own.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::sink::{Answer, Sink};
use super::{format, tls};
use crate::config::sink::{Format, SyslogSettings, Transport};
use crate::findings::record::{FindingRecord, Severity};

const BATCH_MAX: usize = 64;
/// How long a collector may take to end a connection that we ended. One that never does has the
/// batch as much as any collector ever has.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// RFC 5424, section 6.
const HOST_MAX: usize = 255;
const MSGID_MAX: usize = 32;
/// The longest value of structured data: what is longer is in the message.
const VALUE_MAX: usize = 1_000;

/// The sink.
pub struct Syslog {
    address: String,
    /// Of the collector's certificate; none without TLS.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    format: Format,
    facility: u8,
    host: String,
    message_bytes_max: usize,
    timeout: Duration,
}

impl std::fmt::Debug for Syslog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Syslog").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Syslog {
    /// A sink for these settings; nothing is sent yet.
    ///
    /// # Errors
    /// When a certificate or the collector's name cannot be used.
    pub fn new(settings: &SyslogSettings) -> Result<Self> {
        let tls = match settings.transport {
            Transport::Tcp => None,
            Transport::Tls => {
                let name = ServerName::try_from(settings.host().to_owned());
                let name = name.with_context(|| format!("`address`: `{}`", settings.address))?;
                Some((tls::connector(&settings.tls())?, name))
            }
        };
        let own = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = settings.hostname.clone().unwrap_or_else(own);
        Ok(Self {
            address: settings.address.clone(),
            tls,
            format: settings.format,
            facility: settings.facility,
            host: printable(&host, HOST_MAX),
            message_bytes_max: usize::try_from(settings.message_bytes_max.as_u64())
                .unwrap_or(usize::MAX),
            timeout: settings.timeout.0,
        })
    }

    async fn send(&self, frames: &[u8]) -> std::io::Result<()> {
        let stream = TcpStream::connect(&self.address).await?;
        match &self.tls {
            None => write(stream, frames).await,
            Some((connector, name)) => {
                write(connector.connect(name.clone(), stream).await?, frames).await
            }
        }
    }

    /// A message with its length before it.
    fn frame(&self, finding: &FindingRecord) -> String {
        let mut message = self.head(finding);
        let body = format::json(self.format, finding);
        if message.len() + 1 + body.get().len() <= self.message_bytes_max {
            message.push(' ');
            message.push_str(body.get());
        } else {
            // Half a document is none: what there is to say shortly.
            let room = self.message_bytes_max.saturating_sub(message.len() + 1);
            let end = (0..=room.min(finding.summary.len()))
                .rev()
                .find(|end| finding.summary.is_char_boundary(*end));
            if let Some(summary) = finding.summary.get(..end.unwrap_or(0)) {
                let _ = write!(message, " {}", summary.replace(char::is_control, " "));
            }
        }
        format!("{} {message}", message.len())
    }

    /// Header and structured data.
    fn head(&self, finding: &FindingRecord) -> String {
        let level = match finding.severity {
            Severity::Critical => 2,
            Severity::High => 3,
            Severity::Medium => 4,
            Severity::Low => 5,
            Severity::Informational => 6,
        };
        let priority = u16::from(self.facility) * 8 + level;
        let time = if finding.last_seen.is_empty() { "-" } else { &finding.last_seen };
        let (host, process) = (&self.host, std::process::id());
        let kind = printable(&finding.detection, MSGID_MAX);
        let mut head =
            format!("<{priority}>1 {time} {host} auditmill {process} {kind} [finding@32473");
        let revision = finding.revision.to_string();
        let count = finding.count.to_string();
        for (name, value) in [
            ("id", finding.id.as_str()),
            ("revision", &revision),
            ("detection", &finding.detection),
            ("title", &finding.title),
            ("severity", finding.severity.as_str()),
            ("status", finding.status.as_str()),
            ("cluster", &finding.cluster),
            ("count", &count),
        ] {
            let _ = write!(head, " {name}=\"{}\"", quoted(value));
        }
        head.push(']');
        head
    }
}

impl Sink for Syslog {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    async fn deliver(&mut self, findings: &[Arc<FindingRecord>]) -> Vec<Answer> {
        let frames: String = findings.iter().map(|finding| self.frame(finding)).collect();
        let retry = |why| Answer::Retry { after: None, why };
        let sent = tokio::time::timeout(self.timeout, self.send(frames.as_bytes())).await;
        let answer = match sent {
            Ok(Ok(())) => Answer::Delivered,
            Ok(Err(error)) => retry(format!("{}: {error}", self.address)),
            Err(_) => retry(format!("{}: not within the time limit", self.address)),
        };
        vec![answer; findings.len()]
    }
}

/// Writes all, ends our side, and waits for the other side's end.
async fn write(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    frames: &[u8],
) -> std::io::Result<()> {
    stream.write_all(frames).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    let mut ignored = [0; 256];
    let end = async {
        loop {
            match stream.read(&mut ignored).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // The end of TLS without its farewell, as many have it, is an end.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    tokio::time::timeout(END_TIMEOUT, end).await.unwrap_or(Ok(()))
}

/// A word of the header: printable ASCII without spaces; `-` for none.
fn printable(text: &str, bytes_max: usize) -> String {
    let word: String = text.trim().chars().filter(char::is_ascii_graphic).take(bytes_max).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

/// A value of structured data, its three special characters escaped (RFC 5424, section 6.3.3).
/// Control characters are none of them, but end lines where they are shown.
fn quoted(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len());
    for c in value.chars().take(VALUE_MAX) {
        match c {
            '"' | '\\' | ']' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_words_cannot_break_out() {
        assert_eq!(quoted("a \"b\" ] \\ c\nd"), "a \\\"b\\\" \\] \\\\ c d");
        assert_eq!(quoted(&"]".repeat(2_000)).len(), 2_000);
        assert_eq!(printable("my host\n", 255), "myhost");
        assert_eq!(printable("äöü", 32), "-");
        assert_eq!(printable(&"x".repeat(99), 32).len(), 32);
    }
}
