//! Buckets that are forgotten, made again of what history has: an event came for them later than
//! detections hold what is over.
//!
//! What the buckets said before these events is made first, then the events are taken in: so what
//! they disprove is withdrawn, as it would have been had they come in time. An event that history
//! has twice, because it came again after repeats are told, counts once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{AsArray as _, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::error::ArrowError;

use super::catalog::Catalog;
use super::detection::{Kind, LoadError};
use super::engine::{Engine, EngineSettings, Pace};
use super::finding::Finding;
use super::outcome::{Beyond, Outcome};
use super::rows::arrivals;

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

/// Notes what is owed; stretches of one detection that overlap become one.
pub fn owe(owed: &mut BTreeSet<Beyond>, mut beyond: Beyond) {
    let overlaps = |of: &Beyond| {
        of.cluster == beyond.cluster
            && of.detection == beyond.detection
            && of.from <= beyond.to
            && beyond.from <= of.to
    };
    let (joined, apart): (BTreeSet<_>, _) = std::mem::take(owed).into_iter().partition(overlaps);
    *owed = apart;
    for of in joined {
        beyond.from = beyond.from.min(of.from);
        beyond.to = beyond.to.max(of.to);
        beyond.arrived = beyond.arrived.min(of.arrived);
    }
    owed.insert(beyond);
}

/// How long before a bucket the first event may lie that matters to what it says, microseconds.
fn reach(catalog: &Catalog, beyond: &Beyond) -> i64 {
    let Some(detection) = catalog.get(&beyond.detection) else { return 0 };
    match &detection.kind {
        Kind::FirstSeen(novelty) => novelty.lookback,
        Kind::Absent(length) | Kind::Silent(length) => *length,
        Kind::Plain | Kind::OverFindings => detection.window.map_or(0, |window| window.length),
    }
}

/// Parted into what one [`Again`] answers: of one cluster, and of stretches that overlap with what
/// is before them. What looks back for weeks is asked alone: few columns are read for it.
#[must_use]
pub fn parted(all: BTreeSet<Beyond>, catalog: &Catalog) -> Vec<Vec<Beyond>> {
    let mut groups: BTreeMap<_, Vec<(i64, Beyond)>> = BTreeMap::new();
    for beyond in all {
        let kind = catalog.get(&beyond.detection).map(|detection| &detection.kind);
        let alone = matches!(kind, Some(Kind::FirstSeen(_))).then(|| beyond.detection.clone());
        let first = beyond.from.saturating_sub(reach(catalog, &beyond));
        groups.entry((beyond.cluster.clone(), alone)).or_default().push((first, beyond));
    }
    let mut parts: Vec<Vec<Beyond>> = Vec::new();
    for mut group in groups.into_values() {
        group.sort();
        let mut last: Option<i64> = None;
        for (first, beyond) in group {
            let to = beyond.to.max(last.unwrap_or(i64::MIN));
            match parts.last_mut() {
                Some(part) if last.is_some_and(|last| first <= last) => part.push(beyond),
                _ => parts.push(vec![beyond]),
            }
            last = Some(to);
        }
    }
    parts
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
        let is_there = |beyond: &&Beyond| catalog.get(&beyond.detection).is_some();
        let from = |beyond: &Beyond| beyond.from.saturating_sub(reach(&catalog, beyond));
        let Some(first) = asked.iter().filter(is_there).map(from).min() else { return Ok(None) };
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

    /// The columns that must have their values in the rows.
    #[must_use]
    pub fn columns(&self) -> BTreeSet<String> {
        self.engine.columns(None)
    }

    /// The cluster's first event, microseconds of event time.
    pub fn reaches(&mut self, cluster: &str, time: i64) {
        self.engine.reaches(cluster, time);
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

    /// What the buckets say now, and what they no longer say.
    ///
    /// # Errors
    /// What went wrong in a detection.
    pub fn findings(mut self) -> Result<Vec<Finding>, String> {
        self.close();
        // One arrival after the other: what was told between two of them is known.
        for rows in self.late_by_arrival().map_err(|error| error.to_string())? {
            let outcome = self.engine.on_batch(&rows, 0);
            self.note(outcome);
            self.close();
        }
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

    /// As if nothing came any more; what was missed within the span is told.
    fn close(&mut self) {
        let outcome = self.engine.finish_at(self.span.1);
        self.note(outcome);
    }

    /// The late rows that no earlier row has, in parts that arrived one after the other.
    fn late_by_arrival(&mut self) -> Result<Vec<RecordBatch>, ArrowError> {
        let mut new = Vec::new();
        for rows in std::mem::take(&mut self.late) {
            let ids = rows.column_by_name("event_id").and_then(|of| of.as_string_view_opt());
            let is_new = |id: Option<&str>| id.map(|id| self.ids.get(id) != Some(&true));
            let is_new: BooleanArray = ids.into_iter().flatten().map(is_new).collect();
            new.push(filter_record_batch(&rows, &is_new)?);
        }
        let Some(schema) = new.first().map(RecordBatch::schema) else { return Ok(new) };
        let new = concat_batches(&schema, &new)?;
        let arrivals = arrivals(&new);
        let mut order: Vec<(i64, u32)> = arrivals.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let parts = order.chunk_by(|a, b| a.0 == b.0);
        let parts = parts.map(|part| {
            let rows: UInt32Array = part.iter().map(|(_, row)| *row).collect();
            take_record_batch(&new, &rows)
        });
        parts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beyond(detection: &str, (from, to): (i64, i64), arrived: i64) -> Beyond {
        Beyond { cluster: "c".to_owned(), detection: detection.to_owned(), from, to, arrived }
    }

    #[test]
    fn what_overlaps_is_owed_once() {
        let mut owed = BTreeSet::new();
        let all = [("a", (0, 10), 5), ("a", (20, 30), 4), ("b", (5, 25), 3), ("a", (40, 50), 9)];
        for (detection, span, arrived) in all {
            owe(&mut owed, beyond(detection, span, arrived));
        }
        assert_eq!(owed.len(), 4);
        owe(&mut owed, beyond("a", (10, 20), 7));
        let one = [("a", (0, 30), 4), ("a", (40, 50), 9), ("b", (5, 25), 3)];
        let one: BTreeSet<Beyond> = one.map(|(id, span, at)| beyond(id, span, at)).into();
        assert_eq!(owed, one);
    }
}
