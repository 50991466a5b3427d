//! Buckets that are forgotten, made again of what history has: an event came for them later than
//! detections hold what is over.
//!
//! What the buckets said before these events is made first, then the events are taken in: so what
//! they disprove is withdrawn, as it would have been had they come in time. An event that history
//! has twice, because it came again after repeats are told, counts once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use super::catalog::Catalog;
use super::detection::LoadError;
use super::engine::{Engine, EngineSettings, Pace};
use super::finding::Finding;
use super::outcome::{Beyond, Outcome};

/// Some detections over one stretch of one cluster's history.
#[derive(Debug)]
pub struct Again {
    engine: Engine,
    asked: Vec<Beyond>,
    span: (i64, i64),
    arrived: i64,
    /// The late rows, each event once.
    late: Vec<RecordBatch>,
    /// Ids of these events, and whether an earlier row has the event too.
    ids: HashMap<Box<str>, bool>,
    /// The last word on each finding, by its id.
    said: BTreeMap<String, Finding>,
    faults: BTreeSet<String>,
}

/// Parted into what one [`Again`] answers: of one cluster, and of stretches that overlap.
#[must_use]
pub fn parted(all: BTreeSet<Beyond>) -> Vec<Vec<Beyond>> {
    let mut all: Vec<Beyond> = all.into_iter().collect();
    all.sort_by(|a, b| (&a.cluster, a.from).cmp(&(&b.cluster, b.from)));
    let mut parts: Vec<(i64, Vec<Beyond>)> = Vec::new();
    for beyond in all {
        match parts.last_mut() {
            Some((to, part))
                if part.last().is_some_and(|of| of.cluster == beyond.cluster)
                    && beyond.from <= *to =>
            {
                *to = (*to).max(beyond.to);
                part.push(beyond);
            }
            _ => parts.push((beyond.to, vec![beyond])),
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

impl Again {
    /// Plans the detections, of a part of [`parted`]; `None` when the catalogue has none of them
    /// any more.
    ///
    /// # Errors
    /// When one cannot be planned.
    pub fn new(
        catalog: &Catalog,
        settings: EngineSettings,
        asked: &[Beyond],
    ) -> Result<Option<Self>, Vec<LoadError>> {
        let ids: BTreeSet<&str> = asked.iter().map(|beyond| beyond.detection.as_str()).collect();
        let catalog = catalog.selected(|id| ids.contains(id));
        let from = |beyond: &Beyond| {
            let window = catalog.get(&beyond.detection)?.window;
            Some(beyond.from.saturating_sub(window.map_or(0, |window| window.length)))
        };
        let Some(first) = asked.iter().filter_map(from).min() else { return Ok(None) };
        let last = asked.iter().map(|beyond| beyond.to).max().unwrap_or(first);
        let settings = EngineSettings { pace: Pace::Replay, limited: false, ..settings };
        Ok(Some(Self {
            engine: Engine::new(&catalog, settings)?,
            asked: asked.to_vec(),
            span: (first, last),
            arrived: asked.iter().map(|beyond| beyond.arrived).min().unwrap_or(i64::MAX),
            late: Vec::new(),
            ids: HashMap::new(),
            said: BTreeMap::new(),
            faults: BTreeSet::new(),
        }))
    }

    /// From and up to which event time all of the cluster's rows are needed, microseconds.
    #[must_use]
    pub fn span(&self) -> (i64, i64) {
        self.span
    }

    /// Rows that arrived from this time on are late ones, microseconds.
    #[must_use]
    pub fn arrived(&self) -> i64 {
        self.arrived
    }

    /// Takes in the late rows; all of them first.
    pub fn take_late(&mut self, rows: &RecordBatch) {
        let Some(ids) = rows.column_by_name("event_id").and_then(|of| of.as_string_view_opt())
        else {
            return;
        };
        let is_new = |id: Option<&str>| Some(self.ids.insert(id?.into(), false).is_none());
        let new: BooleanArray = ids.iter().map(is_new).collect();
        self.late.extend(filter_record_batch(rows, &new).ok());
    }

    /// Takes in the others, each once, in any order.
    pub fn take_in(&mut self, rows: &RecordBatch) {
        let ids = rows.column_by_name("event_id").and_then(|of| of.as_string_view_opt());
        for id in ids.into_iter().flatten().flatten() {
            if let Some(is_known) = self.ids.get_mut(id) {
                *is_known = true;
            }
        }
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
    /// What went wrong in a detection.
    pub fn findings(mut self) -> Result<Vec<Finding>, String> {
        let outcome = self.engine.finish();
        self.note(outcome);
        for rows in std::mem::take(&mut self.late) {
            let ids = rows.column_by_name("event_id").and_then(|of| of.as_string_view_opt());
            let is_new = |id: Option<&str>| id.map(|id| self.ids.get(id) != Some(&true));
            let new: BooleanArray = ids.into_iter().flatten().map(is_new).collect();
            let rows = filter_record_batch(&rows, &new).map_err(|error| error.to_string())?;
            let outcome = self.engine.on_batch(&rows, 0);
            self.note(outcome);
        }
        let outcome = self.engine.finish();
        self.note(outcome);
        if let Some(fault) = self.faults.pop_first() {
            return Err(fault);
        }
        let asked = |finding: &Finding| {
            let dedup = finding.detection.dedup;
            self.asked.iter().any(|beyond| {
                let buckets = beyond.from.div_euclid(dedup)..beyond.to.div_euclid(dedup);
                finding.cluster == beyond.cluster
                    && finding.detection.id == beyond.detection
                    && buckets.contains(&finding.bucket)
            })
        };
        Ok(self.said.into_values().filter(asked).collect())
    }
}
