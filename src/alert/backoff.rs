//! How long to wait before something is tried again.

use std::time::Duration;

/// Waits that double from `first` to `max`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// The longest.
    pub max: Duration,
}

impl Backoff {
    /// The wait after so many failures in a row. `jitter` from 0 to 1 takes up to half of it away,
    /// so that many who failed together do not come again together.
    #[must_use]
    pub fn wait(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20));
        let wait = doubled.min(self.max.max(self.first));
        // However small it is set, nothing is tried without a pause.
        wait.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_less_some_jitter() {
        let second = Duration::from_secs(1);
        let backoff = Backoff { first: second, max: 60 * second };
        let waits = [0, 1, 2, 3, 6, 7, 1_000].map(|failures| backoff.wait(failures, 0.0));
        assert_eq!(waits, [1, 1, 2, 4, 32, 60, 60].map(|seconds| seconds * second));
        assert_eq!(backoff.wait(2, 1.0), second);
        let odd = Backoff { first: 60 * second, max: second };
        assert_eq!(odd.wait(9, 0.0), 60 * second);
        let none = Backoff { first: Duration::ZERO, max: Duration::ZERO };
        assert!(none.wait(9, 1.0) > Duration::ZERO);
    }
}
