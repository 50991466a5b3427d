//! A detection at work: what it takes of a batch, what is exempt from it, what it costs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray as _, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use tokio::runtime::Runtime;

use super::budget::{Budget, Rest, aside};
use super::catalog::Catalog;
use super::detection::{Detection, Kind, LoadError};
use super::exception::Exception;
use super::execution::{Execution, State};
use super::exemption::Exemption;
use super::intake::Outputs;
use super::mistake::located;
use super::outcome::{Beyond, Exempted, Fault, Outcome};
use super::plan::{Planned, plan};
use super::unwound::unwound;
use crate::sql::functions::pattern::compiled;

/// A detection that was planned.
#[derive(Debug)]
pub(crate) struct Running {
    /// All must be true of an event that matters.
    pub(crate) conditions: Vec<Expr>,
    outputs: Outputs,
    pub(crate) exemptions: Vec<Exemption>,
    pub(crate) execution: Execution,
    pub(crate) rows: u64,
    pub(crate) nanos: u64,
    pub(crate) budget: Budget,
    /// What it took for events since that was last looked at.
    taken: Duration,
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
    /// What exceptions are true of, by the number of their condition.
    pub(crate) hidden: &'a [Vec<u32>],
}

impl Taken<'_> {
    /// The last event time of its rows.
    fn latest(&self) -> i64 {
        let times = self.selected.iter().map(|row| time_of(self.times, *row));
        times.max().unwrap_or(i64::MIN)
    }
}

fn time_of(times: &[i64], row: u32) -> i64 {
    times.get(row as usize).copied().unwrap_or(i64::MAX)
}

/// Rows that nothing could be made of.
struct Lost {
    /// The last event time of them.
    latest: i64,
    /// What was said of the first.
    error: DataFusionError,
}

impl Running {
    /// Plans a detection, with what is exempt from it.
    ///
    /// # Errors
    /// With file, line and hint.
    pub(crate) fn new(
        runtime: &Runtime,
        catalog: &Catalog,
        detection: &Arc<Detection>,
    ) -> Result<Self, LoadError> {
        let Planned { intake, execution } = runtime.block_on(plan(detection))?;
        let exemptions = catalog.exceptions_of(&detection.id).map(Exemption::new);
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
        let hidden: Vec<Expr> = self.hidden().collect();
        let names = |expr: &Expr| -> Vec<String> {
            expr.column_refs().into_iter().map(|column| column.name.clone()).collect()
        };
        let read: Vec<String> = self.conditions.iter().chain(&hidden).flat_map(names).collect();
        read.into_iter().chain(self.outputs.columns().map(str::to_owned))
    }

    /// What is made of each of its rows.
    pub(crate) fn outputs(&self) -> &Outputs {
        &self.outputs
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
        self.exemptions.iter().map(Exemption::whole)
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

    /// Takes in its rows; what changed at once is in the outcome, and what failed.
    ///
    /// Rows that it could not make anything of are lost to it, and findings that may miss them say
    /// so from here on.
    pub(crate) fn take_in(&mut self, kept: &mut Kept, mut taken: Taken<'_>, outcome: &mut Outcome) {
        let begun = Instant::now();
        self.rows += taken.selected.len() as u64;
        self.exempt(&mut taken, &mut outcome.exempted);
        if !taken.selected.is_empty() {
            let (rows, lost) = self.made(&taken);
            if let Some(Lost { latest, error }) = lost {
                self.execution.misses(&mut kept.state, latest);
                outcome.faults.push(self.fault(&error));
            }
            let state = &mut kept.state;
            let found =
                rows.map(|rows| unwound(|| self.execution.take_in(state, taken.cluster, &rows)));
            match found {
                Some(Ok(findings)) => outcome.findings.extend(findings),
                Some(Err(error)) => {
                    self.execution.misses(&mut kept.state, taken.latest());
                    outcome.faults.push(self.fault(&error));
                }
                None => {}
            }
        }
        self.take_time(begun.elapsed());
    }

    /// What its query makes of its rows before it looks at several of them. One row may be to blame
    /// when that fails: then each is tried by itself.
    fn made(&self, taken: &Taken<'_>) -> (Option<RecordBatch>, Option<Lost>) {
        let of = |rows: Vec<u32>| unwound(|| self.outputs.of(taken.batch, &rows.into()));
        let whole = of(taken.selected.clone());
        if let Ok(rows) = whole {
            return (Some(rows), None);
        }
        let (mut made, mut lost) = (Vec::new(), None::<Lost>);
        for row in &taken.selected {
            match of(vec![*row]) {
                Ok(rows) => made.push(rows),
                Err(error) => {
                    let latest = time_of(taken.times, *row);
                    let lost = lost.get_or_insert(Lost { latest, error });
                    lost.latest = lost.latest.max(latest);
                }
            }
        }
        match concat_batches(&self.outputs.schema(), &made) {
            Ok(rows) => ((rows.num_rows() > 0).then_some(rows), lost),
            Err(error) => (None, Some(Lost { latest: taken.latest(), error: error.into() })),
        }
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

    /// Takes the rows out that an exception is about; the first that is counts them.
    fn exempt(&self, taken: &mut Taken<'_>, exempted: &mut BTreeMap<Exempted, u64>) {
        for Exemption { exception, number, .. } in &self.exemptions {
            let hidden = taken.hidden.get(*number).filter(|hidden| !hidden.is_empty());
            let Some(hidden) = hidden.filter(|_| exception.is_of(taken.cluster)) else { continue };
            let times = taken.times;
            let before = taken.selected.len();
            taken.selected.retain(|row| {
                hidden.binary_search(row).is_err() || exception.is_expired(time_of(times, *row))
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
    }

    /// Takes the rows out that only buckets have which are forgotten; says which these are.
    pub(crate) fn beyond(&self, told_from: i64, taken: &mut Taken<'_>) -> Option<Beyond> {
        let detection = self.detection();
        // The one knows of every key for long and says itself what is to be asked; what arrives now
        // is no news of who was silent then.
        if matches!(detection.kind, Kind::FirstSeen(_) | Kind::Silent(_)) {
            return None;
        }
        let times = taken.times;
        let time = |row: u32| time_of(times, row);
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
