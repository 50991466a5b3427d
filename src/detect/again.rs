//! Buckets that are forgotten, made again of what history has: an event came for them later than
//! detections hold what is over.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;

use super::catalog::Catalog;
use super::detection::LoadError;
use super::engine::{Engine, EngineSettings, Pace};
use super::finding::Finding;
use super::outcome::{Beyond, Outcome};

/// One detection over one stretch of one cluster's history.
#[derive(Debug)]
pub struct Again {
    engine: Engine,
    beyond: Beyond,
    dedup: i64,
    length: i64,
    /// The last word on each finding, by its id.
    said: BTreeMap<String, Finding>,
    faults: BTreeSet<String>,
}

impl Again {
    /// Plans the detection; `None` when the catalogue has it no more.
    ///
    /// # Errors
    /// When it cannot be planned.
    pub fn new(
        catalog: &Catalog,
        settings: EngineSettings,
        beyond: Beyond,
    ) -> Result<Option<Self>, Vec<LoadError>> {
        let Some(detection) = catalog.get(&beyond.detection) else { return Ok(None) };
        let (dedup, length) = (detection.dedup, detection.window.map_or(0, |of| of.length));
        let settings = EngineSettings { pace: Pace::Replay, ..settings };
        let engine = Engine::new(&catalog.only(&beyond.detection), settings)?;
        Ok(Some(Self {
            engine,
            beyond,
            dedup,
            length,
            said: BTreeMap::new(),
            faults: BTreeSet::new(),
        }))
    }

    /// From and up to which event time all of the cluster's rows are needed, microseconds.
    #[must_use]
    pub fn span(&self) -> (i64, i64) {
        (self.beyond.from.saturating_sub(self.length), self.beyond.to)
    }

    /// Takes in rows, each once, in any order.
    pub fn take_in(&mut self, rows: &RecordBatch) {
        let outcome = self.engine.on_batch(rows, 0);
        self.note(outcome);
    }

    fn note(&mut self, outcome: Outcome) {
        self.faults.extend(outcome.faults.into_iter().map(|fault| fault.message));
        let said = outcome.findings.into_iter().map(|finding| (finding.id.clone(), finding));
        self.said.extend(said);
    }

    /// What the buckets say now.
    ///
    /// # Errors
    /// What went wrong in the detection.
    pub fn findings(mut self) -> Result<Vec<Finding>, String> {
        let outcome = self.engine.finish();
        self.note(outcome);
        if let Some(fault) = self.faults.pop_first() {
            return Err(fault);
        }
        let buckets =
            self.beyond.from.div_euclid(self.dedup)..self.beyond.to.div_euclid(self.dedup);
        let said = self.said.into_values();
        let asked = |finding: &Finding| {
            finding.cluster == self.beyond.cluster && buckets.contains(&finding.bucket)
        };
        Ok(said.filter(asked).collect())
    }
}
