//! `[history]`: what is kept, where and for how long.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize, Serializer};

use super::value::Span;

/// `[history]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Where events are kept: a folder or `file://`, `s3://`, `gs://`, `az://`; none: `history` in
    /// the data directory.
    pub url: Option<String>,
    /// Options of the object store, by the names of the `object_store` crate.
    pub options: Options,
    /// Memory for events that are not yet in files; beyond, the journal has to wait.
    pub memory: ByteSize,
    /// So many bytes of events in memory are written to files ...
    pub flush_bytes: ByteSize,
    /// ... and at the latest after so long.
    pub flush_after: Span,
    /// Days that ended longer ago are let go; 0 keeps all.
    pub keep: Span,
    /// The oldest days are let go beyond so many bytes of files; 0 keeps all.
    pub space: ByteSize,
    /// Whether only the first word of the command of an exec is kept.
    pub redact_exec_arguments: bool,
    /// What is not kept of bodies.
    pub redact: Vec<Redact>,
    /// File with the key that signs what is done to the history; none: `signing.key` in the data
    /// directory, made at the first start.
    pub signing_key: Option<PathBuf>,
    /// Where each signed head of the history goes: files, to which it is appended, `http://` and
    /// `https://` URLs, to which it is posted, and `kafka://SINK/TOPIC`, a topic of the brokers of
    /// the sink of that name.
    pub publish: Vec<String>,
    /// How many findings are kept.
    pub findings_max: usize,
    /// How long after its last event a finding is kept; the ledger likewise.
    pub findings_keep: Span,
    /// Disk space for what could not be read; the oldest goes first.
    pub quarantine: ByteSize,
}

/// `[history.options]`: shown without what may be a secret.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Options(pub BTreeMap<String, String>);

/// Ends of the names of options whose values are shown; of others nobody knows.
const SHOWN: [&str; 12] = [
    "region",
    "endpoint",
    "endpoint_url",
    "allow_http",
    "allow_invalid_certificates",
    "virtual_hosted_style_request",
    "timeout",
    "account_name",
    "container_name",
    "bucket",
    "skip_signature",
    "conditional_put",
];
/// What is shown instead of a secret.
const MASK: &str = "***";

impl Options {
    fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| {
            let lower = name.to_ascii_lowercase();
            // An address may hold a password.
            let open = SHOWN.iter().any(|end| lower.ends_with(end)) && !value.contains('@');
            (name.as_str(), if open { value.as_str() } else { MASK })
        })
    }
}

impl Serialize for Options {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.shown())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

/// `[[history.redact]]`: values that are replaced by `REDACTED` before events are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redact {
    /// The resource whose bodies are meant, such as `secrets`; `*` means all.
    pub resource: String,
    /// JSON paths (RFC 9535) in request and response bodies, such as `$.data.*`.
    pub paths: Vec<String>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            url: None,
            options: Options::default(),
            memory: ByteSize::gib(1),
            flush_bytes: ByteSize::mib(256),
            flush_after: Span(Duration::from_mins(1)),
            keep: Span(Duration::from_hours(24 * 400)),
            space: ByteSize::b(0),
            redact_exec_arguments: false,
            redact: Vec::new(),
            signing_key: None,
            publish: Vec::new(),
            findings_max: 100_000,
            findings_keep: Span(Duration::from_hours(24 * 400)),
            quarantine: ByteSize::mib(64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_shown_without_secrets() {
        let text = "[options]\naws_region = \"eu-1\"\naws_secret_access_key = \"hunter2\"\n\
                    AWS_SESSION_TOKEN = \"hunter2\"\naws_endpoint = \"http://u:hunter2@h\"\n\
                    azure_storage_account_key = \"hunter2\"\nproxy_url = \"http://hunter2\"\n";
        let history: History = toml::from_str(text).unwrap();
        assert_eq!(history.options.0.get("aws_secret_access_key").unwrap(), "hunter2");
        for shown in [toml::to_string(&history).unwrap(), format!("{history:?}")] {
            assert!(shown.contains("eu-1") && !shown.contains("hunter2"), "{shown}");
        }
    }
}
