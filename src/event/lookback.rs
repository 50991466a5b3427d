//! Which rows of the past the state at a moment is made of.

use std::collections::BTreeMap;

/// All that arrived or happened from a time on, because clocks may be ahead; and of clusters whose
/// events come very late, what happened from an earlier time on. Times are microseconds since 1970,
/// UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookback {
    /// From this arrival or event time on.
    pub since: i64,
    /// By cluster, from this event time on.
    pub further: BTreeMap<String, i64>,
}

impl Lookback {
    /// Whether a row is one of them.
    #[must_use]
    pub fn has(&self, cluster: &str, event_time: i64, arrival: i64) -> bool {
        arrival >= self.since || event_time >= self.known_from(cluster)
    }

    /// From which event time on all events of a cluster are among them.
    #[must_use]
    pub fn known_from(&self, cluster: &str) -> i64 {
        self.further.get(cluster).map_or(self.since, |from| self.since.min(*from))
    }

    /// No row happened before this, but for those that came late.
    #[must_use]
    pub fn earliest(&self) -> i64 {
        self.further.values().copied().fold(self.since, i64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_counts_where_events_come_very_late() {
        let lookback = Lookback { since: 100, further: [("late".to_owned(), 40)].into() };
        let late = [("late", 40, 0), ("late", 39, 0), ("late", 0, 100)];
        let east = [("east", 99, 99), ("east", 100, 0), ("east", 0, 100)];
        let has = |(cluster, time, arrival)| lookback.has(cluster, time, arrival);
        assert_eq!(late.map(has), [true, false, true]);
        assert_eq!(east.map(has), [false, true, true]);
        assert_eq!((lookback.known_from("late"), lookback.known_from("east")), (40, 100));
    }
}
