//! How much of the engine's time a detection may take: one that is slow must not hold up the
//! others.
//!
//! A query that is run again for each window that changed rests after a long run, and is asked
//! about all that changed meanwhile at once: nothing is missed. What is asked of each event cannot
//! wait. A detection that takes half of the time for that is set aside for a while: the events that
//! come meanwhile are not judged by it, and its findings say that they may miss some.

use std::time::{Duration, Instant};

/// Runs that are shorter need no rest.
const SHORT: Duration = Duration::from_millis(1);
/// A run is followed by a rest that is so many times as long.
const REST: u32 = 49;
/// Over so long the time for events is added up.
const PERIOD: Duration = Duration::from_secs(10);
/// What is too much of it.
const PERIOD_MAX: Duration = Duration::from_secs(5);
/// For so long a detection is set aside.
const ASIDE: Duration = Duration::from_mins(1);

/// When a query may be run again.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    until: Option<Instant>,
}

impl Rest {
    /// A run took so long; `sharers` rest on their own and run one after the other.
    pub(crate) fn after(&mut self, took: Duration, sharers: usize) {
        let sharers = u32::try_from(sharers.max(1)).unwrap_or(u32::MAX);
        let length = took.saturating_mul(REST).saturating_mul(sharers);
        self.until = (took > SHORT).then(|| Instant::now().checked_add(length)).flatten();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }
}

/// The time that a detection takes for events.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    begun: Option<Instant>,
    spent: Duration,
    aside_until: Option<Instant>,
}

impl Budget {
    /// Takes note of time spent at `now`; true when the detection is set aside from here on.
    pub(crate) fn spend(&mut self, took: Duration, now: Instant) -> bool {
        if self.begun.is_none_or(|begun| now.saturating_duration_since(begun) > PERIOD) {
            (self.begun, self.spent) = (Some(now), Duration::ZERO);
        }
        self.spent += took;
        let is_over = self.spent > PERIOD_MAX;
        if is_over {
            *self = Self { aside_until: now.checked_add(ASIDE), ..Self::default() };
        }
        is_over
    }

    /// Whether it is set aside at `now`.
    pub(crate) fn is_aside(&self, now: Instant) -> bool {
        self.aside_until.is_some_and(|until| now < until)
    }
}

/// What is said when a detection is set aside.
pub(crate) fn aside() -> String {
    format!(
        "it took more than {} of {} seconds for its events: for {} seconds it judges no \
         events; make its conditions cheaper, or put comparisons of columns in front",
        PERIOD_MAX.as_secs(),
        PERIOD.as_secs(),
        ASIDE.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn short_runs_need_no_rest_and_long_ones_do() {
        let mut rest = Rest::default();
        assert!(rest.is_over());
        rest.after(SHORT, 1);
        assert!(rest.is_over());
        rest.after(SECOND * 60, 1);
        assert!(!rest.is_over());
        rest.after(Duration::ZERO, 1);
        assert!(rest.is_over());
    }

    #[test]
    fn who_takes_half_of_the_time_is_set_aside_for_a_while() {
        let mut budget = Budget::default();
        let start = Instant::now();
        for second in 0..60 {
            assert!(!budget.spend(SECOND / 3, start + SECOND * second), "a third is not too much");
        }
        let mut now = start + SECOND * 100;
        let mut seconds = 0;
        while !budget.spend(SECOND * 2 / 3, now) {
            now += SECOND;
            seconds += 1;
        }
        assert!(seconds < 12, "{seconds}");
        assert!(budget.is_aside(now + ASIDE / 2));
        assert!(!budget.is_aside(now + ASIDE));
        assert!(!budget.spend(SECOND, now + ASIDE), "what was before is forgotten");
    }
}
