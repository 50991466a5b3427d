//! The text of a mail (RFC 5322), its body in base64: whatever is in it, no line of it is
//! a header, too long, or a lone dot.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::alert::notice::{Notice, cut};
use crate::clock::now_micros;

const SUBJECT_MAX: usize = 150;
const LINE_CHARS_MAX: usize = 4_000;
/// RFC 2045: of base64 without the end of its line.
const LINE_MAX: usize = 76;
/// Bytes that make an encoded word of at most 75 characters (RFC 2047), `=?utf-8?B??=` with them.
const WORD_BYTES: usize = 45;

/// A whole mail; lines end as mail has it.
pub(super) fn text(notice: &Notice, sender: &str, recipients: &[String]) -> String {
    let host = sender.rsplit_once('@').map_or("localhost", |(_, host)| host);
    let thread = format!("<{}@{host}>", word(&notice.id));
    let mut text = String::new();
    for (name, value) in [
        ("From", sender.to_owned()),
        ("To", recipients.join(",\r\n ")),
        ("Subject", encoded(&cut(&notice.line(), SUBJECT_MAX))),
        ("Date", date()),
        ("Message-ID", format!("<{}-{}@{host}>", word(&notice.id), notice.revision)),
        ("References", thread),
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auditmill-Severity", notice.severity.to_string()),
        ("MIME-Version", "1.0".to_owned()),
        ("Content-Type", "text/plain; charset=utf-8".to_owned()),
        ("Content-Transfer-Encoding", "base64".to_owned()),
    ] {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text.push_str("\r\n");
    let body = STANDARD.encode(body(notice));
    let mut rest = body.as_str();
    while let Some((line, after)) = rest.split_at_checked(LINE_MAX) {
        text.push_str(line);
        text.push_str("\r\n");
        rest = after;
    }
    text.push_str(rest);
    text.push_str("\r\n");
    text
}

/// The story; lines end as mail has it.
fn body(notice: &Notice) -> String {
    let mut body = String::new();
    let line = format!("{}\nCluster: {}\n\n", notice.line(), notice.cluster);
    for line in line.lines().chain(notice.text.lines()).chain(["", &format!("id {}", notice.id)]) {
        body.push_str(&cut(line, LINE_CHARS_MAX).replace(char::is_control, " "));
        body.push_str("\r\n");
    }
    body
}

/// A text as the value of a header: as it is, or as encoded words, each on a line of its own.
fn encoded(text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    // What looks like an encoded word is not one.
    if text.is_ascii() && text.len() <= LINE_MAX - "Subject: ".len() && !text.contains("=?") {
        return text;
    }
    let mut words: Vec<String> = vec![String::new()];
    for c in text.chars() {
        match words.last_mut() {
            Some(word) if word.len() + c.len_utf8() <= WORD_BYTES => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    let words = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}

/// An id as what comes before the `@` of a `Message-ID`.
fn word(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')).collect()
}

fn date() -> String {
    let now = jiff::Timestamp::from_microsecond(now_micros()).unwrap_or_default();
    // Fails for years that are not to come.
    jiff::fmt::rfc2822::to_string(&now.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_one_header_whatever_is_in_them() {
        assert_eq!(encoded("plain"), "plain");
        let hostile = encoded("a\r\nBcc: eve@example.org\r\n\r\nbody");
        assert_eq!(hostile, "a  Bcc: eve@example.org    body");
        for text in ["ä".repeat(150), "x".repeat(150), "=?utf-8?B?eA==?=".to_owned()] {
            let header = encoded(&text);
            let mut decoded = String::new();
            for line in header.split("\r\n ") {
                assert!(line.len() <= 75, "{line}");
                let word = line.strip_prefix("=?utf-8?B?").and_then(|w| w.strip_suffix("?="));
                let bytes = STANDARD.decode(word.unwrap()).unwrap();
                // Each word is whole characters.
                decoded.push_str(&String::from_utf8(bytes).unwrap());
            }
            assert_eq!(decoded, text);
        }
    }
}
