//! Findings that a sink cannot take while it takes others: set aside, tried again, given up.

use std::sync::Arc;

use tracing::warn;

use super::{AFTER_MAX, Outbox};
use crate::alert::on_disk::on_disk;
use crate::alert::sink::{Answer, Sink};
use crate::clock::now_micros;
use crate::config::Span;
use crate::findings::record::FindingRecord;
use crate::findings::sinks::{DeadLetter, SetAside};

/// So often a finding fails in its turn before it is set aside.
const FAILURES_MAX: u32 = 3;
/// So often in all, while others get through, before it is given up.
const TRIES_MAX: u32 = 20;
/// Findings set aside for one sink.
const SET_ASIDE_MAX: u64 = 1_000;

impl<S: Sink> Outbox<S> {
    /// Sets aside what failed too often while others got through.
    pub(super) async fn set_aside_hopeless(&mut self) -> anyhow::Result<()> {
        if !self.pending.iter().any(|pending| pending.failures >= FAILURES_MAX) {
            return Ok(());
        }
        let (name, now) = (self.name.clone(), now_micros());
        let (_, held) = on_disk(&self.store, move |store| store.set_aside(&name, now)).await?;
        let mut room = SET_ASIDE_MAX.saturating_sub(held);
        let next_at = now.saturating_add(Span(self.backoff.max).micros());
        let why = self.trouble.clone().unwrap_or_default();
        let (name, metrics, settled) = (&self.name, &self.metrics, &mut self.settled);
        self.pending.retain(|pending| {
            if pending.failures < FAILURES_MAX || room == 0 {
                return true;
            }
            room -= 1;
            let finding = pending.record.id.clone();
            warn!(sink = name, finding, why, "a finding is set aside, others go on");
            metrics.sink_delivery(name, "set_aside");
            let failures = pending.failures;
            settled.set_aside.push(SetAside { finding, failures, next_at, why: why.clone() });
            false
        });
        Ok(())
    }

    /// Tries one that was set aside; false when there is none whose time has come.
    pub(super) async fn try_set_aside(&mut self) -> anyhow::Result<bool> {
        let (name, now) = (self.name.clone(), now_micros());
        if now < self.aside_at {
            return Ok(false);
        }
        let (due, _) = on_disk(&self.store, move |store| store.set_aside(&name, now)).await?;
        let Some(aside) = due else { return Ok(false) };
        let id = aside.finding.clone();
        let Some(record) = on_disk(&self.store, move |store| store.get(&id)).await? else {
            self.settled.cleared.push(aside.finding);
            return Ok(true);
        };
        let answer = self.deliver(&[Arc::clone(&record)]).await?.pop();
        match answer {
            Some(Answer::Delivered) | None => {
                self.settled.cleared.push(aside.finding);
                self.proof = true;
                self.say(None);
            }
            Some(Answer::Refused { why }) => {
                self.settled.refused.push(dead_letter(&self.name, &record, why));
                self.settled.cleared.push(aside.finding);
                self.proof = true;
            }
            Some(Answer::Retry { why, after }) => {
                self.aside_at = now.saturating_add(Span(self.backoff.max).micros());
                let failures = aside.failures + u32::from(std::mem::take(&mut self.proof));
                if failures >= TRIES_MAX {
                    let why =
                        format!("given up after {failures} tries while others got through: {why}");
                    self.settled.refused.push(dead_letter(&self.name, &record, why));
                    self.settled.cleared.push(aside.finding);
                } else {
                    let wait = self.backoff.max.saturating_mul(failures);
                    let wait = after.map_or(wait, |after| after.min(AFTER_MAX).max(wait));
                    let next_at = now.saturating_add(Span(wait).micros());
                    self.settled.set_aside.push(SetAside { failures, next_at, why, ..aside });
                }
            }
        }
        self.save().await?;
        Ok(true)
    }
}

/// What a sink refused, or cannot take.
pub(super) fn dead_letter(sink: &str, record: &FindingRecord, why: String) -> DeadLetter {
    DeadLetter {
        at: now_micros(),
        sink: sink.to_owned(),
        finding: record.id.clone(),
        revision: record.revision,
        cluster: record.cluster.clone(),
        why,
    }
}
