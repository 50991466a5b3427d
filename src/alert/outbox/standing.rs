//! What still stands, told again to receivers that forget: newest first, a page at a time, when
//! there is nothing else to do. It moves no cursor; what is not told in one turn is in the next.

use std::sync::Arc;
use std::time::Duration;

use super::{AFTER_MAX, Outbox};
use crate::alert::sink::{Answer, Sink};
use crate::clock::now_micros;
use crate::event::time::rfc3339;
use crate::findings::reading::Filter;
use crate::findings::record::{FindingRecord, Status};

/// So many findings are told in a turn; nobody reads more alerts than these.
const STANDING_MAX: usize = 5_000;

/// Where the turn is.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// When there is something to do next, microseconds since 1970, UTC.
    next_at: i64,
    /// Where the next page starts.
    cursor: Option<String>,
    /// Told in this turn.
    told: usize,
}

impl<S: Sink> Outbox<S> {
    /// Tells the next page of what stands; false when there is nothing to tell now.
    pub(super) async fn tell_again(&mut self) -> anyhow::Result<bool> {
        let Some(standing) = self.sink.standing() else { return Ok(false) };
        let now = now_micros();
        // A stop delivers what is new; what stands is told by the next start.
        if now < self.turn.next_at || self.store.follow().borrow().closed {
            return Ok(false);
        }
        let since = now.saturating_sub(micros(standing.stands));
        let filter = Filter { since: Some(rfc3339(since)), ..Filter::default() };
        let (limit, cursor) = (self.sink.batch_max(), self.turn.cursor.clone());
        let page = self.on_disk(move |store| store.list(&filter, limit, cursor.as_deref())).await?;
        let is_open = |finding: &Arc<FindingRecord>| finding.status == Status::Open;
        let findings: Vec<_> = page.findings.into_iter().filter(is_open).collect();
        if !findings.is_empty() {
            let answers = self.deliver(&findings).await?;
            // What is refused was refused before, and that is on record.
            let failed = answers.into_iter().find_map(|answer| match answer {
                Answer::Retry { after, why } => Some((after, why)),
                Answer::Delivered | Answer::Refused { .. } => None,
            });
            if let Some((after, why)) = failed {
                self.failures += 1;
                let wait = self.backoff.wait(self.failures, fastrand::f64());
                let wait = after.map_or(wait, |after| after.min(AFTER_MAX).max(wait));
                self.turn.next_at = now.saturating_add(micros(wait));
                self.say(Some(why));
                return Ok(false);
            }
            self.failures = 0;
            self.say(None);
        }
        self.turn.told += findings.len();
        self.turn.cursor = page.next;
        if self.turn.cursor.is_none() || self.turn.told >= STANDING_MAX {
            let next_at = now.saturating_add(micros(standing.every));
            self.turn = Turn { next_at, ..Turn::default() };
        }
        Ok(true)
    }

    /// How long there is nothing to do: until something set aside may be due, or what stands is to
    /// be told again.
    pub(super) fn idle(&self) -> Duration {
        if self.sink.standing().is_none() {
            return self.backoff.max;
        }
        let left = self.turn.next_at.saturating_sub(now_micros());
        self.backoff.max.min(Duration::from_micros(u64::try_from(left).unwrap_or(0).max(1_000)))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
