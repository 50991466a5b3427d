//! Settings of sinks that write one line or message after the other.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::{Format, From, Tls};
use crate::config::value::Span;

/// `[[sink]] type = "jsonl"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonlSettings {
    /// Its name.
    pub name: String,
    /// The file, appended to; `-` is standard output.
    pub path: PathBuf,
    /// How a finding is written.
    #[serde(default)]
    pub format: Format,
    /// A file of this size is put aside as `PATH.1` and begun anew; 0: never.
    #[serde(default = "no_bytes")]
    pub rotate_bytes: ByteSize,
    /// So many that were put aside are kept.
    #[serde(default = "rotate_keep")]
    pub rotate_keep: u32,
    /// Where it begins when it is new.
    #[serde(default)]
    pub from: From,
}

impl JsonlSettings {
    /// A sink with defaults.
    #[must_use]
    pub fn new(name: &str, path: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            path,
            format: Format::default(),
            rotate_bytes: no_bytes(),
            rotate_keep: rotate_keep(),
            from: From::default(),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=1_000).contains(&self.rotate_keep) {
            return Err("`rotate_keep` is from 1 to 1000".to_owned());
        }
        Ok(())
    }
}

fn no_bytes() -> ByteSize {
    ByteSize::b(0)
}

fn rotate_keep() -> u32 {
    5
}

/// `[[sink]] type = "syslog"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogSettings {
    /// Its name.
    pub name: String,
    /// The collector, `host:port`.
    pub address: String,
    /// How it is reached.
    #[serde(default)]
    pub transport: Transport,
    /// How a finding is written.
    #[serde(default)]
    pub format: Format,
    /// The facility's number; 13 is "log audit".
    #[serde(default = "facility")]
    pub facility: u8,
    /// The name of this machine in messages; else its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The longest message; of a longer one the summary is sent.
    #[serde(default = "message_bytes_max")]
    pub message_bytes_max: ByteSize,
    /// PEM file with the authorities that the collector's certificate must be of; else the
    /// machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    /// ... and one with its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// How long a batch may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Where it begins when it is new.
    #[serde(default)]
    pub from: From,
}

/// How a collector is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// RFC 5425.
    #[default]
    Tls,
    /// RFC 6587, for all to read.
    Tcp,
}

fn facility() -> u8 {
    13
}

fn message_bytes_max() -> ByteSize {
    ByteSize::kib(64)
}

fn timeout() -> Span {
    Span(Duration::from_secs(10))
}

impl SyslogSettings {
    /// Its TLS.
    #[must_use]
    pub fn tls(&self) -> Tls<'_> {
        let (ca, cert) = (self.ca.as_deref(), self.client_cert.as_deref());
        Tls { ca, client_cert: cert, client_key: self.client_key.as_deref() }
    }

    /// The collector's name or address, without the port.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let port = self.address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if self.host().is_empty() || port.is_none() {
            return Err(format!("`address`: `{}` is not host:port", self.address));
        }
        if self.facility > 23 {
            return Err("`facility` is from 0 to 23".to_owned());
        }
        // What every collector must take (RFC 5425, section 4.3.1).
        if self.message_bytes_max < ByteSize::kib(2) {
            return Err("`message_bytes_max` is at least 2KiB".to_owned());
        }
        if self.transport == Transport::Tcp && self.tls().is_set() {
            return Err("`ca` and `client_cert` are for `transport = \"tls\"`".to_owned());
        }
        self.tls().check()
    }
}
