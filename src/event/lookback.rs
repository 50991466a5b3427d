//! Which rows of the past the state at a moment is made of.

use std::collections::BTreeMap;

/// All that arrived from a time on; and of clusters whose events come very late, what happened from
/// a time on, whenever it arrived. Times are microseconds since 1970, UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookback {
    /// From this arrival on.
    pub since: i64,
    /// By cluster, from this event time on.
    pub further: BTreeMap<String, i64>,
}

impl Lookback {
    /// Whether a row is one of them.
    #[must_use]
    pub fn has(&self, cluster: &str, event_time: i64, arrival: i64) -> bool {
        arrival >= self.since || self.further.get(cluster).is_some_and(|from| event_time >= *from)
    }

    /// No row happened before this, but for those that came late.
    #[must_use]
    pub fn earliest(&self) -> i64 {
        self.further.values().copied().fold(self.since, i64::min)
    }

    /// From which event time on all events of a cluster are among them that had arrived, if none
    /// arrives more than `skew` before it happened.
    #[must_use]
    pub fn known_from(&self, cluster: &str, skew: i64) -> i64 {
        let all = self.since.saturating_add(skew);
        self.further.get(cluster).map_or(all, |from| all.min(*from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_counts_where_events_come_very_late() {
        let lookback = Lookback { since: 100, further: [("late".to_owned(), 40)].into() };
        let has = [("late", 40, 0), ("late", 39, 0), ("late", 0, 100), ("east", 99, 99)];
        let has = has.map(|(cluster, time, arrival)| lookback.has(cluster, time, arrival));
        assert_eq!(has, [true, false, true, false]);
        assert_eq!((lookback.known_from("late", 5), lookback.known_from("east", 5)), (40, 105));
    }
}
