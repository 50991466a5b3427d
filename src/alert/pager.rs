//! Calls on their way to one sink for people: at least once, in their newest revision.
//!
//! What a sink was not told yet stands in the store, so that an outage may last as long as it
//! likes and a crash repeats a call at most, under the same id and revision. A call that fails is
//! tried again after waits that double; others are tried beside it. One that the receiver refuses
//! for good is a row of `dead_letters`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::backoff::Backoff;
use super::on_disk::on_disk;
use super::sink::Answer;
use crate::clock::now_micros;
use crate::config::Span;
use crate::fault::point;
use crate::findings::paging::Call;
use crate::findings::paging::outbox::Pending;
use crate::findings::sinks::DeadLetter;
use crate::findings::store::Store;
use crate::metrics::Metrics;

/// Calls that are looked at in one round.
const ROUND: usize = 16;
/// The longest that a receiver is left alone because it asked for it.
const AFTER_MAX: Duration = Duration::from_mins(5);
/// How often it is looked when nobody says that there is something.
const IDLE: Duration = Duration::from_secs(30);

/// The most that stands and is told again in a turn; nobody reads more than these.
const STANDING_MAX: usize = 1_000;

/// Something that tells people. It ends by itself, within a time limit of its own, and never
/// tries again.
pub trait Pager: Send {
    /// Tells one call; receivers know a repeat by its id and revision.
    fn page(&mut self, call: &Call) -> impl Future<Output = Answer> + Send;

    /// What its receiver forgets unless it is told again; nothing, for most.
    fn standing(&self) -> Option<Standing> {
        None
    }
}

/// How a receiver is kept from forgetting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How often it is told again.
    pub every: Duration,
    /// A page stands for so long after its last event, if it is not closed.
    pub stands: Duration,
}

/// One sink for people and what is on its way to it.
#[derive(Debug)]
pub struct PageOutbox<P> {
    name: String,
    pager: P,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    /// What the receiver said when it last failed.
    trouble: Option<String>,
    /// When what stands is told again, microseconds since 1970, UTC.
    again_at: i64,
    /// Until then the receiver is left alone, whatever there is to tell.
    rests_until: i64,
}

impl<P: Pager> PageOutbox<P> {
    /// An outbox for the sink of this name.
    pub fn new(
        name: &str,
        pager: P,
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        backoff: Backoff,
    ) -> Self {
        Self {
            name: name.to_owned(),
            pager,
            store,
            metrics,
            backoff,
            trouble: None,
            again_at: 0,
            rests_until: 0,
        }
    }

    /// Delivers until the store is closed.
    ///
    /// # Errors
    /// Never for a sink that fails; only when the service is falling apart.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut tip = self.store.follow();
        loop {
            let closed = tip.borrow_and_update().closed;
            let wait = match self.round().await {
                Ok(wait) => wait,
                Err(error) => {
                    let error = format!("{error:#}");
                    error!(sink = self.name, error, "calls not delivered, trying again");
                    self.backoff.max
                }
            };
            if closed {
                return Ok(());
            }
            if !wait.is_zero() {
                let _ = tokio::time::timeout(wait, tip.changed()).await;
            }
        }
    }

    /// Tries what is due; gives how long there is nothing to do.
    async fn round(&mut self) -> anyhow::Result<Duration> {
        let name = self.name.clone();
        let pending = on_disk(&self.store, move |store| store.calls(&name, ROUND)).await?;
        self.metrics.sink_lag(&self.name, pending.len() as u64);
        let rest = self.rests_until.saturating_sub(now_micros());
        if rest > 0 {
            return Ok(IDLE.min(Duration::from_micros(u64::try_from(rest).unwrap_or(0))));
        }
        let full = pending.len() == ROUND;
        // A stop tells what is new; what stands is told by the next start.
        if pending.is_empty() && !self.store.follow().borrow().closed {
            return self.tell_again().await;
        }
        let mut wait = IDLE;
        let mut failed = 0;
        for Pending { failures, next_at, call, .. } in pending {
            let until = next_at.saturating_sub(now_micros());
            if until > 0 {
                let until = Duration::from_micros(u64::try_from(until).unwrap_or(0));
                return Ok(wait.min(until));
            }
            // What a receiver was told must not get another content under the same revision.
            on_disk(&self.store, Store::sync).await?;
            point("call_written");
            match self.pager.page(&call).await {
                Answer::Delivered => {
                    self.say(None);
                    point("call_delivered");
                    self.settle("delivered", call, None).await?;
                    point("call_settled");
                }
                Answer::Refused { why } => {
                    error!(sink = self.name, page = call.id, why, "a call is refused for good");
                    let letter = DeadLetter {
                        at: now_micros(),
                        sink: self.name.clone(),
                        finding: call.id.clone(),
                        revision: call.revision,
                        cluster: call.cluster.clone(),
                        why,
                    };
                    self.settle("refused", call, Some(letter)).await?;
                }
                Answer::Retry { after, why } => {
                    self.metrics.sink_delivery(&self.name, "retried");
                    self.say(Some(why));
                    let pause = self.backoff.wait(failures + 1, fastrand::f64());
                    let pause = after.map_or(pause, |after| after.min(AFTER_MAX).max(pause));
                    let (name, at) =
                        (self.name.clone(), now_micros().saturating_add(Span(pause).micros()));
                    on_disk(&self.store, move |store| store.call_failed(&name, &call, at)).await?;
                    wait = wait.min(pause);
                    // One may be at fault; when the second fails too, it is the receiver.
                    failed += 1;
                    if failed > 1 || after.is_some() {
                        self.rests_until = at;
                        return Ok(wait);
                    }
                }
            }
        }
        Ok(if full { Duration::ZERO } else { wait })
    }

    async fn settle(
        &self,
        outcome: &'static str,
        call: Call,
        refused: Option<DeadLetter>,
    ) -> anyhow::Result<()> {
        self.metrics.sink_delivery(&self.name, outcome);
        let (name, now) = (self.name.clone(), now_micros());
        on_disk(&self.store, move |store| store.call_settled(&name, &call, refused.as_ref(), now))
            .await
    }

    /// Tells what stands to a receiver that forgets; gives how long there is nothing to do. What
    /// fails is told in the next turn: an alert outlives some of them.
    async fn tell_again(&mut self) -> anyhow::Result<Duration> {
        let Some(standing) = self.pager.standing() else { return Ok(IDLE) };
        let now = now_micros();
        if now >= self.again_at {
            let since = now.saturating_sub(Span(standing.stands).micros());
            let name = self.name.clone();
            let read = move |store: &Store| store.standing_calls(&name, since, STANDING_MAX);
            for call in on_disk(&self.store, read).await? {
                if let Answer::Retry { why, .. } = self.pager.page(&call).await {
                    self.say(Some(why));
                    break;
                }
                self.say(None);
            }
            self.again_at = now_micros().saturating_add(Span(standing.every).micros());
        }
        let left = self.again_at.saturating_sub(now_micros());
        Ok(IDLE.min(Duration::from_micros(u64::try_from(left).unwrap_or(0).max(1_000))))
    }

    /// Says once what is wrong, and once that it is over.
    fn say(&mut self, trouble: Option<String>) {
        if self.trouble == trouble {
            return;
        }
        if let Some(why) = &trouble {
            warn!(sink = self.name, why, "nobody told, trying again");
        } else {
            info!(sink = self.name, "people are told");
        }
        self.store.sink_trouble(&self.name, trouble.clone());
        self.trouble = trouble;
    }
}
