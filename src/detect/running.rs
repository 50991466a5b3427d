//! A detection at work: what it takes of a batch, what is exempt from it, what it costs.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{AsArray as _, RecordBatch, UInt32Array};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::prelude::SessionContext;
use tokio::runtime::Runtime;

use super::budget::{Budget, Rest, aside};
use super::catalog::Catalog;
use super::detection::{Detection, Kind, LoadError};
use super::exception::{self, Exception};
use super::execution::{Execution, State};
use super::finding::Finding;
use super::index::column::truths;
use super::intake::{Expressions, Outputs};
use super::mistake::located;
use super::outcome::{Beyond, Exempted, Fault};
use super::plan::{Planned, plan};
use super::unwound::unwound;
use crate::sql::functions::pattern::compiled;

/// A detection that was planned.
#[derive(Debug)]
pub(crate) struct Running {
    /// All must be true of an event that matters.
    pub(crate) conditions: Vec<Expr>,
    outputs: Outputs,
    exemptions: Vec<Exemption>,
    pub(crate) execution: Execution,
    pub(crate) rows: u64,
    pub(crate) nanos: u64,
    pub(crate) budget: Budget,
    /// What it took for events since that was last looked at.
    taken: Duration,
}

#[derive(Debug)]
struct Exemption {
    exception: Arc<Exception>,
    condition: Arc<Expressions>,
    /// The condition with the clusters and the end of the exception.
    expr: Expr,
}

/// How many conditions of exceptions are kept planned; then all of them go.
const CONDITIONS_MAX: usize = 4_096;

/// A condition, planned.
type Condition = (Expr, Arc<Expressions>);

/// An exception's condition, planned once for all: a list's is that of many detections.
fn condition(context: &SessionContext, text: &str) -> Result<Condition> {
    static KNOWN: LazyLock<Mutex<HashMap<String, Condition>>> = LazyLock::new(Mutex::default);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(condition) = known().get(text) {
        return Ok(condition.clone());
    }
    let expr = exception::planned(text)?;
    let planned = Arc::new(Expressions::new(context, std::slice::from_ref(&expr))?);
    let mut known = known();
    if known.len() >= CONDITIONS_MAX {
        known.clear();
    }
    known.insert(text.to_owned(), (expr.clone(), Arc::clone(&planned)));
    Ok((expr, planned))
}

/// A detection's state of one cluster.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) state: State,
    /// What ends before this is forgotten: an edge of the detection's buckets.
    pub(crate) told_from: i64,
    pub(crate) rest: Rest,
}

/// The rows of a batch that a detection can use.
pub(crate) struct Taken<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) batch: &'a RecordBatch,
    /// Event time of each row of the batch.
    pub(crate) times: &'a [i64],
    pub(crate) selected: Vec<u32>,
}

impl Running {
    /// Plans a detection, with what is exempt from it.
    ///
    /// # Errors
    /// With file, line and hint.
    pub(crate) fn new(
        runtime: &Runtime,
        context: &SessionContext,
        catalog: &Catalog,
        detection: &Arc<Detection>,
    ) -> Result<Self, LoadError> {
        let Planned { intake, execution } = runtime.block_on(plan(detection))?;
        let exemptions = catalog.exceptions_of(&detection.id).map(|exception| {
            let (planned, condition) = condition(context, &exception.condition)?;
            let expr = exception.whole(planned);
            Ok(Exemption { exception: Arc::clone(exception), condition, expr })
        });
        let exemptions = exemptions.collect::<Result<Vec<_>>>();
        let exemptions = exemptions.map_err(|error| located(detection, &error))?;
        let outputs = intake.outputs;
        let conditions = intake.conditions;
        for condition in &conditions {
            // Patterns that are none or too large are this file's mistake.
            compiled(condition.clone()).map_err(|error| located(detection, &error))?;
        }
        let (budget, taken) = (Budget::default(), Duration::ZERO);
        Ok(Self { conditions, outputs, exemptions, execution, rows: 0, nanos: 0, budget, taken })
    }

    pub(crate) fn detection(&self) -> &Arc<Detection> {
        self.execution.detection()
    }

    /// What makes these columns of its query, as far as it has them.
    pub(crate) fn expressions(&self, columns: &[String]) -> Vec<Expr> {
        columns.iter().filter_map(|name| self.outputs.expression(name)).cloned().collect()
    }

    /// The columns of `events` that it reads, some of them several times.
    pub(crate) fn columns(&self) -> impl Iterator<Item = String> {
        let hidden = self.exemptions.iter().map(|exemption| &exemption.expr);
        let read = self.conditions.iter().chain(hidden).flat_map(Expr::column_refs);
        let read = read.map(|column| column.name.clone());
        read.chain(self.outputs.columns().map(str::to_owned))
    }

    /// What is made of each of its rows.
    pub(crate) fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// The first exception that hides a row of a cluster's batch from it, at the row's event time.
    pub(crate) fn exempting(
        &self,
        cluster: &str,
        batch: &RecordBatch,
        (row, time): (u32, i64),
    ) -> Result<Option<&Arc<Exception>>> {
        for Exemption { exception, condition, .. } in &self.exemptions {
            if !exception.is_of(cluster) || exception.is_expired(time) {
                continue;
            }
            let values = condition.of(batch, &UInt32Array::from(vec![row]))?;
            if values.first().map_or(Ok(Vec::new()), truths)?.contains(&true) {
                return Ok(Some(exception));
            }
        }
        Ok(None)
    }

    /// True when it reads what others find.
    pub(crate) fn is_chain(&self) -> bool {
        matches!(self.execution, Execution::Chain(_))
    }

    /// For how long before a finding's time its events may lie, microseconds.
    pub(crate) fn length(&self) -> i64 {
        let detection = self.detection();
        match detection.kind {
            Kind::Absent(length) | Kind::Silent(length) => length,
            _ => detection.window.map_or(0, |window| window.length),
        }
    }

    /// What is true of the events that an exception hides from it.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = Expr> {
        self.exemptions.iter().map(|exemption| exemption.expr.clone())
    }

    /// True when it would find the same as `other`.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        let exceptions = |of: &Self| -> Vec<Arc<Exception>> {
            of.exemptions.iter().map(|exemption| Arc::clone(&exemption.exception)).collect()
        };
        self.detection() == other.detection() && exceptions(self) == exceptions(other)
    }

    /// The state of a cluster that nothing has come of yet, and of which nothing is told that ends
    /// before `told_from`, an edge of its buckets.
    pub(crate) fn start(&self, told_from: i64) -> Kept {
        let mut state = self.execution.state();
        self.execution.forget(&mut state, told_from);
        Kept { state, told_from, rest: Rest::default() }
    }

    /// The first edge of its buckets that is not before a time.
    pub(crate) fn edge_after(&self, time: i64) -> i64 {
        if time == i64::MIN {
            return time;
        }
        self.edge(time.saturating_add(self.detection().dedup - 1))
    }

    /// The last edge of its buckets that is not after a time.
    pub(crate) fn edge(&self, time: i64) -> i64 {
        let dedup = self.detection().dedup;
        time.div_euclid(dedup).saturating_mul(dedup)
    }

    /// Takes in its rows; gives the findings that changed at once.
    pub(crate) fn take_in(
        &mut self,
        kept: &mut Kept,
        mut taken: Taken<'_>,
        exempted: &mut BTreeMap<Exempted, u64>,
    ) -> Result<Vec<Finding>> {
        let begun = Instant::now();
        self.rows += taken.selected.len() as u64;
        let findings = unwound(|| {
            self.exempt(&mut taken, exempted)?;
            if taken.selected.is_empty() {
                return Ok(Vec::new());
            }
            let rows = self.outputs.of(taken.batch, &UInt32Array::from(taken.selected))?;
            self.execution.take_in(&mut kept.state, taken.cluster, &rows)
        });
        self.take_time(begun.elapsed());
        findings
    }

    /// So much was spent on its events.
    pub(crate) fn take_time(&mut self, took: Duration) {
        self.nanos += nanos(took);
        self.taken += took;
    }

    /// Says so when it has taken too much, and is set aside.
    pub(crate) fn over_budget(&mut self, now: Instant) -> Option<Fault> {
        let taken = std::mem::take(&mut self.taken);
        if taken.is_zero() || !self.budget.spend(taken, now) {
            return None;
        }
        Some(Fault { detection: self.detection().id.clone(), message: aside() })
    }

    /// Takes the rows out that an exception is about.
    fn exempt(&self, taken: &mut Taken<'_>, exempted: &mut BTreeMap<Exempted, u64>) -> Result<()> {
        for Exemption { exception, condition, .. } in &self.exemptions {
            if !exception.is_of(taken.cluster) || taken.selected.is_empty() {
                continue;
            }
            let rows = UInt32Array::from(taken.selected.clone());
            let values = condition.of(taken.batch, &rows)?;
            let mut hides = values.first().map_or(Ok(Vec::new()), truths)?.into_iter();
            let before = taken.selected.len();
            taken.selected.retain(|row| {
                let time = taken.times.get(*row as usize).copied().unwrap_or(i64::MAX);
                let hidden = hides.next().unwrap_or_default();
                !hidden || exception.is_expired(time)
            });
            let hidden = before - taken.selected.len();
            if hidden > 0 {
                let exempt = Exempted {
                    exception: exception.name.clone(),
                    cluster: taken.cluster.to_owned(),
                    detection: self.detection().id.clone(),
                };
                *exempted.entry(exempt).or_default() += hidden as u64;
            }
        }
        Ok(())
    }

    /// Takes the rows out that only buckets have which are forgotten; says which these are.
    pub(crate) fn beyond(&self, told_from: i64, taken: &mut Taken<'_>) -> Option<Beyond> {
        let detection = self.detection();
        // The one knows of every key for long and says itself what is to be asked; what arrives now
        // is no news of who was silent then.
        if matches!(detection.kind, Kind::FirstSeen(_) | Kind::Silent(_)) {
            return None;
        }
        let time = |row: u32| taken.times.get(row as usize).copied().unwrap_or(i64::MAX);
        let old = taken.selected.iter().map(|row| time(*row)).filter(|time| *time < told_from);
        let (first, last) =
            old.fold((i64::MAX, i64::MIN), |(first, last), time| (first.min(time), last.max(time)));
        if first > last {
            return None;
        }
        let arrivals = arrivals(taken.batch);
        let arrived = taken.selected.iter().filter(|row| time(**row) < told_from);
        let arrived = arrived.filter_map(|row| arrivals?.get(*row as usize).copied()).min();
        let length = self.length();
        // The last window of an event ends no later than this, and may end at an edge.
        taken.selected.retain(|row| time(*row).saturating_add(length) >= told_from);
        let to = self.edge(last.saturating_add(length)).saturating_add(detection.dedup);
        Some(Beyond {
            cluster: taken.cluster.to_owned(),
            detection: detection.id.clone(),
            from: self.edge(first),
            to: to.min(told_from),
            arrived: arrived.unwrap_or(i64::MAX),
        })
    }

    /// What its state cannot tell of events that came for buckets that are forgotten; the first of
    /// them arrived at `arrived`.
    pub(crate) fn asks(&self, kept: &mut Kept, cluster: &str, arrived: i64) -> Vec<Beyond> {
        let State::FirstSeen(state) = &mut kept.state else { return Vec::new() };
        let (dedup, told_from) = (self.detection().dedup, kept.told_from);
        let asks = state.asks().into_iter().map(|(first, last)| Beyond {
            cluster: cluster.to_owned(),
            detection: self.detection().id.clone(),
            from: self.edge(first),
            to: self.edge(last).saturating_add(dedup).min(told_from),
            arrived,
        });
        asks.filter(|beyond| beyond.from < beyond.to).collect()
    }

    pub(crate) fn fault(&self, error: &DataFusionError) -> Fault {
        fault(&self.detection().id, error)
    }
}

/// When each row arrived, microseconds.
fn arrivals(rows: &RecordBatch) -> Option<&[i64]> {
    let column = rows.column_by_name("ingest_time")?;
    Some(column.as_primitive_opt::<TimestampMicrosecondType>()?.values())
}

pub(crate) fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn fault(detection: &str, error: &DataFusionError) -> Fault {
    Fault { detection: detection.to_owned(), message: error.strip_backtrace() }
}
