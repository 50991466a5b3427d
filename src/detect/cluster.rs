//! One cluster's clock, and what detections keep of it.

use std::time::Instant;

use tokio::runtime::Runtime;

use super::execution::Execution;
use super::outcome::Outcome;
use super::requery::Ask;
use super::running::{Kept, Running, nanos, unwound};
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
    /// Arrival, microseconds.
    pub(crate) time: i64,
    /// Where the cluster's findings begin in the outcome.
    pub(crate) first: usize,
}

impl Cluster {
    /// Asks what is to be asked, last those that read findings: `first` is where the cluster's
    /// begin in the outcome.
    pub(crate) fn evaluate(
        &mut self,
        runtime: &Runtime,
        detections: &mut [Running],
        now: &Now<'_>,
        outcome: &mut Outcome,
    ) {
        for chains in [false, true] {
            let read = outcome.findings.get(now.first..).unwrap_or_default().to_vec();
            for (running, kept) in detections.iter_mut().zip(&mut self.states) {
                if matches!(running.execution, Execution::Chain(_)) != chains {
                    continue;
                }
                let begun = Instant::now();
                let (execution, state) = (&running.execution, &mut kept.state);
                let answer = unwound(|| {
                    if chains {
                        execution.take_findings(state, &read)?;
                    }
                    execution.evaluate(runtime, state, now.cluster, now.ask, now.time)
                });
                match answer {
                    Ok(findings) => outcome.findings.extend(findings),
                    Err(error) => outcome.faults.push(running.fault(&error)),
                }
                running.nanos += nanos(begun);
            }
        }
    }
}
