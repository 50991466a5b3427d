//! Timestamps as text: RFC 3339 in UTC with microseconds, the form that Kubernetes writes.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// `2026-01-02T03:04:05.000006Z` of microseconds since 1970; far out times are clamped.
#[must_use]
pub fn rfc3339(micros: i64) -> String {
    let clamped = micros.clamp(
        Timestamp::MIN.as_microsecond().saturating_add(1),
        Timestamp::MAX.as_microsecond().saturating_sub(1),
    );
    let timestamp = Timestamp::from_microsecond(clamped).unwrap_or_default();
    let mut text = String::with_capacity(27);
    let printer = DateTimePrinter::new().precision(Some(6));
    // Writing to a String cannot fail.
    let _ = printer.print_timestamp(&timestamp, &mut text);
    text
}

/// Microseconds since 1970 of an RFC 3339 text, any offset; `None` when it is not one.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let text = "2026-11-21T07:45:55.000120Z";
        assert_eq!(rfc3339(parse_rfc3339(text).unwrap()), text);
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(parse_rfc3339("2026-11-21 nonsense"), None);
        assert!(rfc3339(i64::MAX).starts_with("9999-"));
        assert!(rfc3339(i64::MIN).starts_with("-009999-"));
    }
}
