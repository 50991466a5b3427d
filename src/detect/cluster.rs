//! One cluster's clock, and what detections keep of it.

use std::time::Instant;

use tokio::runtime::Runtime;

use super::execution::Execution;
use super::outcome::Outcome;
use super::requery::Ask;
use super::running::{Kept, Running, nanos};
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
pub(crate) struct Now<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) ask: Ask,
    /// Arrival, microseconds; at the end of the input the last event's time.
    pub(crate) time: i64,
    /// Whether queries rest that are slow.
    pub(crate) limited: bool,
    /// How many clusters there are.
    pub(crate) sharers: usize,
    /// The most bytes that a detection keeps.
    pub(crate) state_bytes_max: usize,
    /// Where the cluster's findings begin in the outcome.
    pub(crate) first: usize,
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
        if read.is_empty() {
            return;
        }
        for (running, kept) in detections.iter_mut().zip(&mut self.states) {
            if running.is_chain() {
                let told = unwound(|| running.execution.take_findings(&mut kept.state, read));
                outcome.faults.extend(told.err().map(|error| running.fault(&error)));
                Execution::cap(&mut kept.state, state_bytes_max);
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
                self.tell_chains(detections, (now.first, now.state_bytes_max), outcome);
            }
            for (running, kept) in detections.iter_mut().zip(&mut self.states) {
                if running.is_chain() != chains || now.limited && !kept.rest.is_over() {
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
                let took = begun.elapsed();
                running.nanos += nanos(took);
                if running.execution.is_run_again() {
                    // What is found takes room too.
                    Execution::cap(&mut kept.state, now.state_bytes_max);
                    if now.limited {
                        kept.rest.after(took, now.sharers);
                    }
                }
            }
        }
    }
}
