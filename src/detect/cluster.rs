//! One cluster's clock, and what detections keep of it.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::asked::Apart;
use super::chain::{Feed, Told};
use super::execution::Execution;
use super::outcome::Outcome;
use super::requery::Ask;
use super::running::{Kept, Running, fault, nanos};
use super::unwound::unwound;
use super::watermark::{Stragglers, Watermark};

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) watermark: Watermark,
    pub(crate) stragglers: Stragglers,
    /// One for each detection.
    pub(crate) states: Vec<Kept>,
}

/// What is to be asked, and when.
#[derive(Clone, Copy)]
pub(crate) struct Now<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) ask: Ask,
    /// The same of those that read findings.
    pub(crate) ask_chains: Ask,
    /// Arrival, microseconds; at the end of the input the last event's time.
    pub(crate) time: i64,
    pub(crate) limits: Limits,
    /// Where queries run that are slow; without it all others wait for them.
    pub(crate) apart: Option<&'a Apart>,
    /// Where the cluster's findings begin in the outcome.
    pub(crate) first: usize,
}

/// How much a detection may take.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Whether queries rest that are slow.
    pub(crate) limited: bool,
    /// How many clusters there are.
    pub(crate) sharers: usize,
    /// The most bytes that a detection keeps.
    pub(crate) state_bytes_max: usize,
}

impl Cluster {
    /// Takes note of events from `oldest` on that arrived by `now`; gives how many of them came too
    /// late for windows that were closed.
    pub(crate) fn arrive(&mut self, times: &[i64], oldest: i64, arrivals: &[i64], now: i64) -> u64 {
        let watermark = self.watermark.follow(times, arrivals, now);
        self.stragglers.observe(oldest, now);
        // What came with it may have come later: since its own arrival a cluster is idle.
        let came = arrivals.iter().copied().filter(|arrival| *arrival <= now).max();
        let latest = times.iter().copied().max().unwrap_or(i64::MIN);
        self.watermark.observe(latest, came.unwrap_or(now));
        times.iter().filter(|time| **time < watermark).count() as u64
    }

    /// Hands what others found to those that read it; they are asked later. `first` is where the
    /// cluster's findings begin in the outcome, and then the most bytes that one keeps.
    pub(crate) fn tell_chains(
        &mut self,
        detections: &mut [Running],
        (first, state_bytes_max): (usize, usize),
        outcome: &mut Outcome,
    ) {
        let read = outcome.findings.get(first..).unwrap_or_default();
        if read.is_empty() || !detections.iter().any(Running::is_chain) {
            return;
        }
        let begun = Instant::now();
        let feeds = detections.iter().filter_map(|running| running.execution.feed());
        let wanted = feeds.flat_map(Feed::columns).collect();
        let told = match unwound(|| Ok(Told::of(read, &wanted)?)) {
            Ok(told) => told,
            Err(error) => return outcome.faults.push(fault("*", &error)),
        };
        let mut before = Duration::ZERO;
        for (running, kept) in detections.iter_mut().zip(&mut self.states) {
            if running.is_chain() {
                let taken = unwound(|| running.execution.take_findings(&mut kept.state, &told));
                outcome.faults.extend(taken.err().map(|error| running.fault(&error)));
                Execution::cap(&mut kept.state, state_bytes_max);
                // What is made for all is on the first one's account.
                let now = begun.elapsed();
                running.nanos += nanos(now.saturating_sub(std::mem::replace(&mut before, now)));
            }
        }
    }

    /// Asks what is to be asked, last those that read findings.
    pub(crate) fn evaluate(
        &mut self,
        runtime: &Runtime,
        detections: &mut [Running],
        now: &Now<'_>,
        outcome: &mut Outcome,
    ) {
        for chains in [false, true] {
            if chains {
                self.tell_chains(detections, (now.first, now.limits.state_bytes_max), outcome);
            }
            let now = &if chains { Now { ask: now.ask_chains, ..*now } } else { *now };
            for (running, kept) in detections.iter_mut().zip(&mut self.states) {
                let rests = now.limits.limited && !kept.rest.is_over();
                if running.is_chain() != chains || rests || !running.execution.is_asked() {
                    continue;
                }
                let begun = Instant::now();
                let (execution, state) = (&running.execution, &mut kept.state);
                let mut faults = Vec::new();
                let answer = unwound(|| execution.evaluate(runtime, state, now, &mut faults));
                outcome.faults.extend(faults.iter().map(|error| running.fault(error)));
                match answer {
                    Ok(findings) => outcome.findings.extend(findings),
                    Err(error) => outcome.faults.push(running.fault(&error)),
                }
                let took = begun.elapsed() + kept.state.spent();
                if running.execution.is_run_again() {
                    running.nanos += nanos(took);
                    // What is found takes room too.
                    Execution::cap(&mut kept.state, now.limits.state_bytes_max);
                    if now.limits.limited {
                        kept.rest.after(took, now.limits.sharers);
                    }
                } else {
                    running.take_time(took);
                }
            }
        }
    }
}
