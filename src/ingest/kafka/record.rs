//! A record of a topic: whose events are in it, and its bytes.

use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use super::source::{KafkaSource, Naming};
use crate::event::ClusterName;

/// A record, away from the client.
pub(super) struct Taken {
    /// Topic and partition.
    pub(super) place: (String, i32),
    /// The offset behind it.
    pub(super) next: i64,
    pub(super) cluster: ClusterName,
    /// It says whose events are in it, or need not.
    pub(super) is_named: bool,
    pub(super) body: Vec<u8>,
    /// So many bytes of it were left out.
    pub(super) passed_over: usize,
}

impl Taken {
    pub(super) fn of(source: &KafkaSource, message: &BorrowedMessage<'_>) -> Self {
        let header = |name: &String| {
            let headers = message.headers()?;
            headers.iter().find(|header| header.key == name.as_str())?.value
        };
        let name = match &source.naming {
            Naming::Fixed => None,
            Naming::Key => message.key(),
            Naming::Topic => Some(message.topic().as_bytes()),
            Naming::Header(name) => header(name),
        };
        let named = name.and_then(|name| std::str::from_utf8(name).ok()?.parse().ok());
        let payload = message.payload().unwrap_or_default();
        let body = payload.get(..source.record_bytes_max).unwrap_or(payload);
        Self {
            place: (message.topic().to_owned(), message.partition()),
            next: message.offset() + 1,
            is_named: named.is_some() || source.naming == Naming::Fixed,
            cluster: named.unwrap_or_else(|| source.cluster.clone()),
            body: body.to_owned(),
            passed_over: payload.len() - body.len(),
        }
    }
}

/// Whether this is an object on one line, by its ends: joined with others it stays apart from them.
pub(super) fn is_line(body: &[u8]) -> bool {
    body.starts_with(b"{") && body.ends_with(b"}") && memchr::memchr2(b'\n', b'\r', body).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_are_joined() {
        for (body, expected) in [
            ("{\"a\":1}", true),
            ("{\n}", false),
            ("{\"a\":1", false),
            ("[{}]", false),
            ("", false),
            ("{}{}", true),
        ] {
            assert_eq!(is_line(body.as_bytes()), expected, "{body}");
        }
    }
}
