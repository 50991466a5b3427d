//! Event time per cluster: how far a cluster's events have come, and when a window is over.
//!
//! The watermark is `min(largest event time, now + skew) - lateness`; a cluster that has been
//! idle follows the wall clock instead. It decides only when windows close, never what is in
//! them. All times are microseconds since 1970, UTC.

use std::collections::VecDeque;

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

impl Patience {
    /// How far a cluster's event time has come at `now`, at least: its latest event and its last
    /// arrival are known.
    #[must_use]
    pub fn watermark(self, latest: i64, arrived: i64, now: i64) -> i64 {
        let mut watermark = Watermark::new(self);
        watermark.observe(latest, arrived);
        watermark.advance(now)
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

    /// Takes note of what arrived one after the other by `now` and is read again at once: windows
    /// that were over before some of it came are over, so that what was said of them is known.
    ///
    /// Gives up to where event time was over before the last of it came.
    pub fn follow(&mut self, event_times: &[i64], arrivals: &[i64], now: i64) -> i64 {
        for (event_time, arrival) in event_times.iter().zip(arrivals) {
            if *arrival < self.arrival_last || *arrival > now {
                continue;
            }
            if *arrival > self.arrival_last && self.arrival_last > i64::MIN {
                self.advance(*arrival);
            }
            self.observe(*event_time, *arrival);
        }
        self.reached
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

    /// The time of the latest event.
    #[must_use]
    pub fn latest(&self) -> i64 {
        self.event_time_max
    }

    /// Where the last `advance` came to.
    #[must_use]
    pub fn reached(&self) -> i64 {
        self.reached
    }
}

/// How far back the events of late go: what may be forgotten is what no event came for in a while.
#[derive(Clone, Debug)]
pub struct Stragglers {
    hold: i64,
    /// How much of arrival is one part, microseconds.
    part: i64,
    /// The oldest event by part of arrival, ascending.
    parts: VecDeque<(i64, i64)>,
}

/// Parts are no longer than this, and a hold has about as many.
const PART_MAX: i64 = 60_000_000;
const PARTS: i64 = 60;

impl Stragglers {
    /// Looks back so many microseconds of arrival.
    #[must_use]
    pub fn new(hold: i64) -> Self {
        let part = (hold / PARTS).clamp(1, PART_MAX);
        Self { hold, part, parts: VecDeque::new() }
    }

    /// Takes note of events from `event_time_min` on, arrived at `now`.
    pub fn observe(&mut self, event_time_min: i64, now: i64) {
        let part = now.div_euclid(self.part);
        match self.parts.back_mut() {
            Some((last, oldest)) if *last >= part => *oldest = (*oldest).min(event_time_min),
            _ => self.parts.push_back((part, event_time_min)),
        }
    }

    /// The oldest event that arrived lately, as of `now`; `i64::MAX` when none did.
    pub fn oldest(&mut self, now: i64) -> i64 {
        let since = now.saturating_sub(self.hold).div_euclid(self.part);
        while self.parts.front().is_some_and(|(part, _)| *part < since) {
            self.parts.pop_front();
        }
        self.parts.iter().map(|(_, oldest)| *oldest).min().unwrap_or(i64::MAX)
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

    #[test]
    fn what_is_read_again_at_once_lets_time_pass_as_it_did() {
        let mut watermark = Watermark::new(Patience::default());
        let (times, arrivals) = ([1_000, 1_010, 1_005], [1_001, 1_011, 1_500]);
        let seconds = |values: [i64; 3]| values.map(|value| value * SECOND);
        watermark.follow(&seconds(times), &seconds(arrivals), 1_600 * SECOND);
        watermark.observe(1_010 * SECOND, 1_600 * SECOND);
        // Nothing came from 1011 to 1500.
        assert_eq!(watermark.advance(1_600 * SECOND), 1_200 * SECOND);
        let mut all_at_once = Watermark::new(Patience::default());
        all_at_once.observe(1_010 * SECOND, 1_600 * SECOND);
        assert_eq!(all_at_once.advance(1_600 * SECOND), 710 * SECOND);
    }

    #[test]
    fn stragglers_count_while_they_come() {
        const MINUTE: i64 = 60 * SECOND;
        let mut stragglers = Stragglers::new(10 * MINUTE);
        assert_eq!(stragglers.oldest(0), i64::MAX);
        stragglers.observe(5, 0);
        stragglers.observe(3, 1);
        stragglers.observe(7, 5 * MINUTE);
        assert_eq!(stragglers.oldest(10 * MINUTE), 3);
        assert_eq!(stragglers.oldest(11 * MINUTE), 7);
        assert_eq!(stragglers.oldest(16 * MINUTE), i64::MAX);
    }
}
