//! Settings of mail.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Tls;
use crate::config::value::Span;

/// `[[sink]] type = "mail"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailSettings {
    /// Its name.
    pub name: String,
    /// The server that takes mail, `host:port`.
    pub address: String,
    /// How it is reached.
    #[serde(default)]
    pub transport: MailTransport,
    /// Who sends, `auditmill@example.org`.
    pub sender: String,
    /// Who gets it.
    pub recipients: Vec<String>,
    /// Who we are to the server, if it wants to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Environment variable with the password ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// ... or a file with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// PEM file with the authorities that the server's certificate must be of; else the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    /// ... and one with its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// How long a mail may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

/// How a server of mail is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTransport {
    /// Begins for all to read and turns to TLS before anything is told; usually port 587.
    #[default]
    StartTls,
    /// TLS from the first byte; usually port 465.
    Tls,
    /// For all to read: to this machine only.
    Plain,
}

fn timeout() -> Span {
    Span(Duration::from_secs(30))
}

impl MailSettings {
    /// Its TLS.
    #[must_use]
    pub fn tls(&self) -> Tls<'_> {
        let (ca, cert) = (self.ca.as_deref(), self.client_cert.as_deref());
        Tls { ca, client_cert: cert, client_key: self.client_key.as_deref() }
    }

    /// The server's name or address, without the port.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let port = self.address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let host = self.host();
        if host.is_empty() || port.is_none() {
            return Err(format!("`address`: `{}` is not host:port", self.address));
        }
        let is_here =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if self.transport == MailTransport::Plain && !is_here {
            return Err("`transport = \"plain\"` is for a server on this machine only".to_owned());
        }
        if self.transport == MailTransport::Plain && self.tls().is_set() {
            return Err("`ca` and `client_cert` are for TLS".to_owned());
        }
        if self.recipients.is_empty() || self.recipients.len() > 50 {
            return Err("`recipients` names 1 to 50 addresses".to_owned());
        }
        for address in self.recipients.iter().chain([&self.sender]) {
            let ends = address.rsplit_once('@');
            let is_whole = ends.is_some_and(|(who, host)| !who.is_empty() && !host.is_empty());
            let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | ',');
            if !is_whole || address.len() > 254 || !address.chars().all(fits) {
                return Err(format!("`{address}` is not an address such as team@example.org"));
            }
        }
        let has_secret = self.secret_env.is_some() || self.secret_file.is_some();
        if self.user.is_some() != has_secret {
            return Err("`user` and its password (`secret_file`) go together".to_owned());
        }
        self.tls().check()
    }
}
