//! How far a long work is, told on standard error: in place on a terminal, else a line now and
//! then.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use bytesize::ByteSize;

/// How often it is told.
const ON_TERMINAL: Duration = Duration::from_millis(500);
const IN_LINES: Duration = Duration::from_secs(10);

/// Tells how far a work is.
pub(super) struct Meter {
    started: Instant,
    told: Instant,
    terminal: bool,
    /// Bytes that there are; 0 when nobody knows.
    total: u64,
}

impl Meter {
    /// A work that begins now, on so many bytes; 0 when nobody knows.
    pub(super) fn start(total: u64) -> Self {
        let started = Instant::now();
        Self { started, told: started, terminal: io::stderr().is_terminal(), total }
    }

    /// How long it has been going on.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// So far it is now; says so if it is time.
    pub(super) fn tell(&mut self, bytes: u64, events: u64) {
        let every = if self.terminal { ON_TERMINAL } else { IN_LINES };
        if self.told.elapsed() < every {
            return;
        }
        self.told = Instant::now();
        let line = progress(self.elapsed(), bytes, self.total, events);
        if self.terminal {
            // What is told is lost when nobody can read it: the work goes on.
            let _ = write!(io::stderr(), "\r{line}\x1b[K");
        } else {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// It is over: the line is left.
    pub(super) fn end(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn progress(elapsed: Duration, bytes: u64, total: u64, events: u64) -> String {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = events.saturating_mul(1_000) / millis;
    let read = ByteSize::b(bytes).display().iec();
    if total == 0 || bytes == 0 {
        return format!("{read} read, {events} events, {rate} events/s");
    }
    let share = bytes.saturating_mul(100) / total;
    let left = u128::from(millis) * u128::from(total.saturating_sub(bytes)) / u128::from(bytes);
    let left = Duration::from_secs(u64::try_from(left / 1_000).unwrap_or(u64::MAX));
    format!(
        "{read} of {} read ({share} %), {events} events, {rate} events/s, {} left",
        ByteSize::b(total).display().iec(),
        humantime::format_duration(left)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_long() {
        let line = |bytes, total| progress(Duration::from_secs(10), bytes, total, 5_000);
        let expected = "1.0 MiB of 7.0 MiB read (14 %), 5000 events, 500 events/s, 1m left";
        assert_eq!(line(1 << 20, 7 << 20), expected);
        assert_eq!(line(1 << 20, 0), "1.0 MiB read, 5000 events, 500 events/s");
    }
}
