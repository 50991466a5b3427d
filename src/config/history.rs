//! `[history]`: what is kept, where and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::value::Span;

/// `[history]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Where events are kept: a folder or `file://`, `s3://`, `gs://`, `az://`; none: `history` in
    /// the data directory.
    pub url: Option<String>,
    /// Options of the object store, by the names of the `object_store` crate.
    pub options: BTreeMap<String, String>,
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
    /// How many findings are kept.
    pub findings_max: usize,
    /// How long after its last event a finding is kept; the ledger likewise.
    pub findings_keep: Span,
    /// Disk space for what could not be read; the oldest goes first.
    pub quarantine: ByteSize,
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
            options: BTreeMap::new(),
            memory: ByteSize::gib(1),
            flush_bytes: ByteSize::mib(256),
            flush_after: Span(Duration::from_mins(1)),
            keep: Span(Duration::from_hours(24 * 400)),
            space: ByteSize::b(0),
            redact_exec_arguments: false,
            redact: Vec::new(),
            findings_max: 100_000,
            findings_keep: Span(Duration::from_hours(24 * 400)),
            quarantine: ByteSize::mib(64),
        }
    }
}
