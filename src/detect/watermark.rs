//! Event time per cluster: how far a cluster's events have come, and when a window is over.
//!
//! The watermark is `min(largest event time, now + skew) - lateness`; a cluster that has been
//! idle follows the wall clock instead. It decides only when windows close, never what is in
//! them. All times are microseconds since 1970, UTC.

/// How patient we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How late an event may come: a retried batch is up to four minutes late.
    pub lateness: i64,
    /// How far ahead of our clock an event may claim to be.
    pub skew: i64,
    /// After this long without a delivery a cluster counts as idle.
    pub idle_after: i64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { lateness: 300_000_000, skew: 60_000_000, idle_after: 60_000_000 }
    }
}

/// The event clock of one cluster. It never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Watermark {
    patience: Patience,
    event_time_max: i64,
    arrival_last: i64,
    reached: i64,
}

impl Watermark {
    /// A clock that has seen nothing.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self { patience, event_time_max: i64::MIN, arrival_last: i64::MIN, reached: i64::MIN }
    }

    /// Takes note of events up to `event_time_max`, arrived at `now`.
    pub fn observe(&mut self, event_time_max: i64, now: i64) {
        self.event_time_max = self.event_time_max.max(event_time_max);
        self.arrival_last = self.arrival_last.max(now);
    }

    /// Up to where event time is over, as of `now`.
    pub fn advance(&mut self, now: i64) -> i64 {
        let Patience { lateness, skew, idle_after } = self.patience;
        let ahead = now.saturating_add(skew);
        let events = self.event_time_max.min(ahead).saturating_sub(lateness);
        let idle = now.saturating_sub(self.arrival_last) > idle_after;
        let clock = if idle { now.saturating_sub(lateness) } else { i64::MIN };
        self.reached = self.reached.max(events).max(clock);
        self.reached
    }

    /// Where the last `advance` came to.
    #[must_use]
    pub fn reached(&self) -> i64 {
        self.reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn follows_events_the_wall_and_idleness() {
        let mut watermark = Watermark::new(Patience::default());
        watermark.observe(1_000 * SECOND, 1_000 * SECOND);
        assert_eq!(watermark.advance(1_000 * SECOND), 700 * SECOND);
        // An event from the future moves it no further than the clock allows.
        watermark.observe(9_000 * SECOND, 1_001 * SECOND);
        assert_eq!(watermark.advance(1_001 * SECOND), 761 * SECOND);
        // Idle: the wall clock closes what is left.
        assert_eq!(watermark.advance(2_000 * SECOND), 1_760 * SECOND);
        // It never goes back.
        assert_eq!(watermark.advance(1_000 * SECOND), 1_760 * SECOND);
    }
}
