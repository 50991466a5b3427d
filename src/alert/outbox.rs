//! Findings on their way to one sink: at least once, in their newest version, at the sink's pace.
//!
//! A sink follows the store by a cursor over change numbers that is saved after a delivery, so
//! memory holds a batch and no more, however long the sink is down, and a crash repeats a batch at
//! most. Receivers tell repeats by [`super::sink::delivery_id`]. What is sent has been synced to
//! disk before: the same id never comes with another content.
//!
//! - **The sink is down** when nothing of a batch gets through. Then one finding is tried at a
//!   time, and another one beside it, after waits that double up to `retry_max`. Nothing moves: an
//!   outage may last as long as findings are kept.
//! - **The sink cannot take one finding** when that fails three times while others get through. It
//!   is set aside, durably, and the others go on. It is tried again now and then; each failure
//!   counts only if something else got through since the last, so an outage uses up none. After
//!   20 of them it is given up like one that was refused.
//! - **The sink refuses a finding** for good: a row of `dead_letters`, a count in the ledger.
//!
//! A sink that cannot take a thousand findings is taken for down.

mod aside;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use self::aside::dead_letter;
use super::backoff::Backoff;
use super::on_disk::on_disk;
use super::sink::{Answer, Sink};
use crate::clock::now_micros;
use crate::findings::database::StoreError;
use crate::findings::matcher::{Matcher, fits_any};
use crate::findings::reading::Filter;
use crate::findings::record::FindingRecord;
use crate::findings::sinks::{DeadLetter, Settled};
use crate::findings::store::{Change, Store};
use crate::metrics::Metrics;

/// Revisions sent before their turn that are remembered.
const AHEAD_MAX: usize = 10_000;
/// The longest that a receiver is left alone because it asked for it.
const AFTER_MAX: Duration = Duration::from_mins(5);
/// How long what is left may take when the service stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// One sink and what is on its way to it.
#[derive(Debug)]
pub struct Outbox<S> {
    name: String,
    sink: S,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    /// Read from the store, not settled; ascending.
    pending: Vec<Pending>,
    /// All changes up to here are settled or in `pending`.
    end: Change,
    /// Revisions that were sent before their turn, in place of an older one that waited: when their
    /// turn comes, they were sent.
    ahead: HashMap<String, u64>,
    /// Rounds in a row in which something failed.
    failures: u32,
    /// Something got through in the last round.
    alive: bool,
    /// Something got through since a finding set aside failed for the last time.
    proof: bool,
    /// After a batch it is the turn of a finding set aside ...
    turn_aside: bool,
    /// ... but not before this, microseconds since 1970, UTC: a sink that is down must not be asked
    /// for one after the other.
    aside_at: i64,
    /// What is not saved yet.
    settled: Settled,
    /// The cursor that is saved.
    saved: Change,
    /// What the sink said when it last failed.
    trouble: Option<String>,
    /// It is told of findings that one of these fits; of all, without any.
    only: Vec<Matcher>,
}

#[derive(Debug)]
struct Pending {
    change: Change,
    record: Arc<FindingRecord>,
    failures: u32,
    /// It changed while it waited.
    newer: bool,
}

/// How a round went.
#[derive(Debug, Default)]
struct Round {
    through: bool,
    failed: bool,
    after: Option<Duration>,
}

impl<S: Sink> Outbox<S> {
    /// An outbox that begins behind `cursor`, which [`Store::open_sink`] gave, of findings that one
    /// of `only` fits; of all, without any.
    pub fn new(
        name: &str,
        sink: S,
        only: Vec<Matcher>,
        cursor: Change,
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        backoff: Backoff,
    ) -> Self {
        Self {
            name: name.to_owned(),
            sink,
            store,
            metrics,
            backoff,
            pending: Vec::new(),
            end: cursor,
            ahead: HashMap::new(),
            failures: 0,
            alive: true,
            proof: false,
            turn_aside: true,
            aside_at: 0,
            saved: cursor,
            settled: Settled { cursor, ..Settled::default() },
            trouble: None,
            only,
        }
    }

    /// Delivers until the store is closed and all is delivered, or what is left does not get
    /// through.
    ///
    /// # Errors
    /// Never for a sink that fails; only when the service is falling apart.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut tip = self.store.follow();
        let mut closing = tip.clone();
        let stop = async move {
            let _ = closing.wait_for(|tip| tip.closed).await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::pin!(stop);
        loop {
            let closed = tip.borrow_and_update().closed;
            let next = tokio::select! {
                next = self.step() => next,
                () = &mut stop => return Ok(()),
            };
            let wait = match next {
                Ok(Next::Again) => continue,
                Ok(Next::Idle) if closed => return Ok(()),
                Ok(Next::Idle) => {
                    let _ = tokio::time::timeout(self.backoff.max, tip.changed()).await;
                    continue;
                }
                Ok(Next::Wait(wait)) => wait,
                Err(error) => {
                    self.failures += 1;
                    let error = format!("{error:#}");
                    error!(sink = self.name, error, "findings not delivered, trying again");
                    self.backoff.wait(self.failures, fastrand::f64())
                }
            };
            if closed {
                return Ok(());
            }
            let mut tip = tip.clone();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = tip.wait_for(|tip| tip.closed) => {}
            }
        }
    }

    async fn step(&mut self) -> anyhow::Result<Next> {
        // What was not saved for want of room is, before anything else is sent.
        self.save().await?;
        if self.pending.is_empty() {
            if std::mem::take(&mut self.turn_aside) && self.try_set_aside().await? {
                return Ok(Next::Again);
            }
            self.take(self.sink.batch_max()).await?;
        }
        if self.pending.is_empty() {
            self.save().await?;
            return Ok(if self.try_set_aside().await? { Next::Again } else { Next::Idle });
        }
        self.turn_aside = true;
        let chosen = self.choose().await?;
        if chosen.is_empty() {
            return Ok(Next::Again);
        }
        let answers = self.send(&chosen).await?;
        let round = self.settle(&chosen, answers);
        self.alive = round.through;
        self.proof |= round.through;
        if round.through {
            self.set_aside_hopeless().await?;
        }
        self.settled.cursor = self.pending.first().map_or(self.end, |first| first.change - 1);
        self.save().await?;
        if !round.failed {
            self.failures = 0;
            self.pending.iter_mut().for_each(|pending| pending.failures = 0);
            return Ok(Next::Again);
        }
        self.failures += 1;
        let wait = self.backoff.wait(self.failures, fastrand::f64());
        Ok(Next::Wait(round.after.map_or(wait, |after| after.min(AFTER_MAX).max(wait))))
    }

    /// Takes up to `limit` further changes from the store.
    async fn take(&mut self, limit: usize) -> anyhow::Result<()> {
        loop {
            let end = self.end;
            let ask = move |store: &Store| store.changes_after(end, &Filter::default(), limit);
            let changes = on_disk(&self.store, ask).await?;
            let full = changes.findings.len() >= limit.max(1);
            let mut taken = changes.findings;
            taken.retain(|(_, of)| {
                let sent = self.ahead.remove(&of.id) == Some(of.revision);
                !sent && fits_any(&self.only, of)
            });
            let any = !taken.is_empty();
            let pending = |(change, record)| Pending { change, record, failures: 0, newer: false };
            self.pending.extend(taken.into_iter().map(pending));
            self.end = changes.next;
            // Of what it is not told there may be much.
            if any || !full {
                break;
            }
        }
        if self.pending.is_empty() {
            self.settled.cursor = self.end;
        }
        Ok(())
    }

    /// Whom to try in this round, as places in `pending`: all while things get through, else the
    /// first alone; and with those that failed before at least one that may show that it is them.
    async fn choose(&mut self) -> anyhow::Result<Vec<usize>> {
        if self.pending.iter().all(|pending| pending.failures == 0) {
            return Ok((0..self.pending.len()).collect());
        }
        let all_failed = self.pending.iter().all(|pending| pending.failures > 0);
        let few = self.pending.len() < 2 * self.sink.batch_max().max(1);
        if (self.alive && all_failed && few) || self.pending.len() == 1 {
            self.take(1).await?;
        }
        self.refresh().await?;
        let last = self.pending.len().saturating_sub(1);
        Ok(match (self.alive, self.pending.is_empty()) {
            (_, true) => Vec::new(),
            (true, false) => (0..=last).collect(),
            (false, false) if last == 0 => vec![0],
            (false, false) => vec![0, last],
        })
    }

    /// Findings may have changed while they waited: only their newest version is sent.
    async fn refresh(&mut self) -> anyhow::Result<()> {
        let ids: Vec<String> = self.pending.iter().map(|p| p.record.id.clone()).collect();
        let get = move |store: &Store| -> Result<Vec<_>, StoreError> {
            ids.iter().map(|id| store.get(id)).collect()
        };
        let newest = on_disk(&self.store, get).await?;
        let mut newest = newest.into_iter();
        let mut seen = HashSet::new();
        // What is not there any more was given up, and counted as that. One that changed while it
        // waited may be here twice: sent side by side, its revisions could change places.
        self.pending.retain_mut(|pending| match newest.next().flatten() {
            Some(record) if seen.insert(record.id.clone()) => {
                pending.newer |= record.revision != pending.record.revision;
                pending.record = record;
                true
            }
            _ => false,
        });
        Ok(())
    }

    async fn send(&mut self, chosen: &[usize]) -> anyhow::Result<Vec<Answer>> {
        let records = chosen.iter().filter_map(|place| self.pending.get(*place));
        let records: Vec<_> = records.map(|pending| Arc::clone(&pending.record)).collect();
        self.deliver(&records).await
    }

    async fn deliver(&mut self, records: &[Arc<FindingRecord>]) -> anyhow::Result<Vec<Answer>> {
        // A change that was read is a change that is committed.
        on_disk(&self.store, |store| store.sync_change(store.last_change()?)).await?;
        let mut answers = self.sink.deliver(records).await;
        let missing = || Answer::Retry { after: None, why: "the sink gave no answer".to_owned() };
        answers.resize_with(records.len(), missing);
        for answer in &answers {
            let outcome = match answer {
                Answer::Delivered => "delivered",
                Answer::Retry { .. } => "retried",
                Answer::Refused { .. } => "refused",
            };
            self.metrics.sink_delivery(&self.name, outcome);
        }
        Ok(answers)
    }

    /// Takes what is done out of `pending`.
    fn settle(&mut self, chosen: &[usize], answers: Vec<Answer>) -> Round {
        let mut round = Round::default();
        let mut done = Vec::new();
        for (place, answer) in chosen.iter().zip(answers) {
            let Some(pending) = self.pending.get_mut(*place) else { continue };
            if pending.newer && !matches!(answer, Answer::Retry { .. }) {
                if self.ahead.len() >= AHEAD_MAX {
                    // Sent again at worst.
                    self.ahead.clear();
                }
                self.ahead.insert(pending.record.id.clone(), pending.record.revision);
            }
            match answer {
                Answer::Delivered => {
                    self.settled.cleared.push(pending.record.id.clone());
                    done.push(*place);
                }
                Answer::Refused { why } => {
                    let letter = dead_letter(&self.name, &pending.record, why);
                    self.settled.refused.push(letter);
                    self.settled.cleared.push(pending.record.id.clone());
                    done.push(*place);
                }
                Answer::Retry { after, why } => {
                    pending.failures += 1;
                    round.failed = true;
                    round.after = round.after.max(after);
                    self.say(Some(why));
                    continue;
                }
            }
            round.through = true;
        }
        if round.through && !round.failed {
            self.say(None);
        }
        let mut place = 0;
        self.pending.retain(|_| {
            place += 1;
            !done.contains(&(place - 1))
        });
        round
    }

    /// Saves what came of deliveries; what cannot be saved stays to be.
    async fn save(&mut self) -> anyhow::Result<()> {
        let Settled { cursor, refused, set_aside, cleared } = &self.settled;
        if *cursor == self.saved && refused.is_empty() && set_aside.is_empty() && cleared.is_empty()
        {
            return Ok(());
        }
        let (name, settled) = (self.name.clone(), self.settled.clone());
        on_disk(&self.store, move |store| store.settle(&name, &settled, now_micros())).await?;
        self.saved = self.settled.cursor;
        let empty = Settled { cursor: self.saved, ..Settled::default() };
        for letter in std::mem::replace(&mut self.settled, empty).refused {
            let DeadLetter { finding, why, .. } = letter;
            error!(sink = self.name, finding, why, "a finding is refused for good");
        }
        Ok(())
    }

    /// Says once what is wrong, and once that it is over.
    fn say(&mut self, trouble: Option<String>) {
        match &trouble {
            Some(why) if self.trouble.as_ref() != Some(why) => {
                warn!(sink = self.name, why, "the sink does not take a finding, trying again");
            }
            None if self.trouble.is_some() => info!(sink = self.name, "the sink takes findings"),
            _ => {}
        }
        if self.trouble != trouble {
            self.store.sink_trouble(&self.name, trouble.clone());
        }
        self.trouble = trouble;
    }
}

/// What to do after a step.
#[derive(Debug)]
enum Next {
    Again,
    /// There is nothing to do until something changes, or something set aside is due.
    Idle,
    Wait(Duration),
}
