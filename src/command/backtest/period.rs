//! From when and until when: times as people write them.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::detect::detection::Kind;
use crate::detect::finding::Finding;
use crate::event::time::{parse_rfc3339, rfc3339};

/// A stretch of event time, microseconds; the end is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::command) struct Period {
    pub(in crate::command) since: i64,
    pub(in crate::command) until: i64,
}

impl Period {
    /// Of what the flags say, open where they say nothing; `now` is the wall clock.
    pub(in crate::command) fn of(
        since: Option<&str>,
        until: Option<&str>,
        now: i64,
    ) -> Result<Self> {
        let time = |flag: &str, text: &str| {
            moment(text, now).ok_or_else(|| {
                anyhow!("{flag}: `{text}` is no time: write 2026-03-01, 2026-03-01T12:00:00Z or 7d")
            })
        };
        let since = since.map(|text| time("--since", text)).transpose()?.unwrap_or(i64::MIN);
        let until = until.map(|text| time("--until", text)).transpose()?.unwrap_or(i64::MAX);
        if since >= until {
            bail!("--since is not before --until: there is nothing between them");
        }
        Ok(Self { since, until })
    }

    /// Whether a finding is told: an event of its own, or what was missed, is not from before.
    pub(super) fn holds(self, finding: &Finding) -> bool {
        let detection = &finding.detection;
        let reached = match detection.kind {
            Kind::Absent(_) | Kind::Silent(_) => {
                (finding.bucket.saturating_add(1)).saturating_mul(detection.dedup).saturating_sub(1)
            }
            _ => finding.evidence.last().map_or(i64::MAX, |event| event.event_time),
        };
        reached >= self.since
    }

    /// The day of a finding, `YYYY-MM-DD` in UTC: that of its first event in the period.
    pub(super) fn day(self, finding: &Finding) -> String {
        let first = finding.evidence.first().map_or(self.since, |event| event.event_time);
        let mut day = rfc3339(first.max(self.since));
        day.truncate(10);
        day
    }
}

/// RFC 3339, the start of a day, or how long before `now`; microseconds.
fn moment(text: &str, now: i64) -> Option<i64> {
    let text = text.trim();
    let ago = |ago: Duration| Some(now.saturating_sub(i64::try_from(ago.as_micros()).ok()?));
    parse_rfc3339(text)
        .or_else(|| parse_rfc3339(&format!("{text}T00:00:00Z")))
        .or_else(|| humantime::parse_duration(text).ok().and_then(ago))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_people_write() {
        let now = parse_rfc3339("2026-03-08T12:00:00Z").unwrap();
        let is = |text: &str, expected: &str| {
            assert_eq!(moment(text, now).map(rfc3339).as_deref(), Some(expected), "{text}");
        };
        is("2026-03-01T10:00:00+02:00", "2026-03-01T08:00:00.000000Z");
        is("2026-03-01", "2026-03-01T00:00:00.000000Z");
        is("7d", "2026-03-01T12:00:00.000000Z");
        is(" 90m ", "2026-03-08T10:30:00.000000Z");
        for text in ["", "yesterday", "2026-13-01", "7"] {
            assert_eq!(moment(text, now), None, "{text}");
        }
        let period = Period::of(Some("2d"), Some("1d"), now).unwrap();
        assert_eq!(period.until - period.since, 86_400_000_000);
        let error = Period::of(Some("1d"), Some("2d"), now).unwrap_err();
        assert!(error.to_string().contains("not before"), "{error}");
        let error = Period::of(Some("soon"), None, now).unwrap_err();
        assert!(error.to_string().starts_with("--since: `soon` is no time"), "{error}");
    }
}
