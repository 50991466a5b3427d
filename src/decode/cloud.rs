//! What clouds wrap around events.
//!
//! Promise: what comes out of a wrapping is an event's text as the API server wrote it, or, for
//! GKE, which has its own form, a row; records that are not of the audit log are counted, and
//! what should be an event and is not is kept.
//!
//! Never: nothing is unpacked beyond a number of bytes per delivery.
//!
//! Forms: AWS, "Using subscription filters in Amazon `CloudWatch` Logs", and Firehose's "HTTP
//! endpoint delivery request and response specifications"; Azure, "Resource log schema" and the
//! categories of `Microsoft.ContainerService/managedClusters`; Google Cloud, `LogEntry` and
//! `AuditLog`.

mod entry;
mod pack;
mod record;

use memchr::memmem;

pub(super) use self::entry::log_entry;
pub(super) use self::pack::Unpacker;
pub(super) use self::record::unwrap;

use super::quarantine::{Flaw, Reason};
use super::scan::Scanner;
use super::tape::{Node, Source, Value, unescape};

/// The sources of rows that come wrapped.
pub(super) const EKS: &str = "eks";
pub(super) const GKE: &str = "gke";
pub(super) const AKS: &str = "aks";

/// Brackets that are read of a wrapping; what we look for lies less deep.
const LEVELS: usize = 6;

/// What `CloudWatch` Logs puts at the end of a message over 256 KiB.
const CUT_MARK: &[u8] = b"[Truncated...]";

/// What was found in a wrapping.
pub(super) enum Found<'v> {
    /// The text of what should be an event.
    Event { text: &'v str, source: &'static str },
    /// Base64, perhaps of gzip, of a subscription record.
    Packed(&'v str),
    /// A record of something else than the audit log.
    PassedOver,
    /// What should be a record and is none.
    Bad { raw: &'v str, source: &'static str, flaw: Flaw },
}

/// A wrapping that was read.
pub(super) struct Unwrapped<'v> {
    text: &'v str,
    nodes: Vec<Node>,
    unescaped: String,
}

impl<'v> Unwrapped<'v> {
    /// Reads the object `bytes`.
    pub(super) fn read(bytes: &'v [u8], scanner: &mut Scanner) -> Result<Self, Flaw> {
        let malformed = |at: usize| {
            Flaw::new(Reason::MalformedJson, format!("not JSON at byte {at} of the record"))
        };
        let text = std::str::from_utf8(bytes).map_err(|error| malformed(error.valid_up_to()))?;
        let mut nodes = Vec::new();
        scanner.take_flaw();
        scanner.nodes(bytes, 0, LEVELS, &mut nodes).map_err(|damage| malformed(damage.at))?;
        scanner.take_flaw().map_or(Ok(()), |at| Err(malformed(at)))?;
        let mut unescaped = String::new();
        unescape(&mut nodes, text, &mut unescaped).map_err(malformed)?;
        Ok(Self { text, nodes, unescaped })
    }

    fn value(&self) -> Option<Value<'_, '_>> {
        Value::new(&self.nodes, Source { text: self.text, unescaped: &self.unescaped })
    }
}

/// Why a text that should be an event is none.
pub(super) fn no_event(text: &[u8]) -> Flaw {
    if !text.trim_ascii_end().ends_with(CUT_MARK) {
        return Flaw::new(Reason::MalformedJson, "the record holds no JSON object");
    }
    let detail = match audit_id(text) {
        Some(id) => format!("cut off by the sender, auditID `{id}`"),
        None => "cut off by the sender before its auditID".to_owned(),
    };
    Flaw::new(Reason::TruncatedEvent, detail)
}

/// The auditID of an event that was cut off behind it. The API server writes it second, before
/// anything that a client can choose but the id itself.
fn audit_id(text: &[u8]) -> Option<&str> {
    const KEY: &[u8] = br#""auditID":""#;
    let start = memmem::find(text, KEY)? + KEY.len();
    let rest = text.get(start..)?;
    let id = rest.get(..memchr::memchr(b'"', rest)?)?;
    std::str::from_utf8(id).ok().filter(|id| !id.is_empty() && !id.contains('\\'))
}
