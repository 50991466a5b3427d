//! What the loop asks of the past while it runs: rows in memory and in files, as they are now.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::{max, min};
use datafusion::logical_expr::{Expr, cast, col, lit};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt as _;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::error::HistoryError;
use super::wide::{names, widened};
use crate::event::lookback::Lookback;

/// The table of events, to be asked outside of any async runtime.
#[derive(Debug, Clone)]
pub struct Recall {
    events: Arc<dyn TableProvider>,
    news: Arc<dyn TableProvider>,
}

impl Recall {
    /// Of the table that is queried, and the same without imported rows.
    #[must_use]
    pub fn new(events: Arc<dyn TableProvider>, news: Arc<dyn TableProvider>) -> Self {
        Self { events, news }
    }

    /// A cluster's rows from an event time up to another that arrived from one time up to another,
    /// microseconds, in no order. Columns that are not wanted are NULL, unless every row has them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn between(
        &self,
        cluster: &str,
        happened: (i64, i64),
        arrived: (i64, i64),
        wanted: &BTreeSet<String>,
    ) -> Result<Recalled, HistoryError> {
        let of = col("cluster").eq(lit(cluster));
        let within = |name: &str, (from, to): (i64, i64)| {
            col(name).gt_eq(time(from)).and(col(name).lt(time(to)))
        };
        let of = of.and(within("event_time", happened)).and(within("ingest_time", arrived));
        ask_wide(&self.events, |events| events.filter(of), wanted)
    }

    /// These rows, in no order. Columns that are not wanted are NULL, unless every row has them.
    /// Imported rows do not count, here and below.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of(
        &self,
        lookback: &Lookback,
        wanted: &BTreeSet<String>,
    ) -> Result<Recalled, HistoryError> {
        let from = |column: &str| col(column).gt_eq(time(lookback.since));
        let recent = from("ingest_time").or(from("event_time"));
        let further = lookback.further.iter().map(|(cluster, from)| {
            col("cluster").eq(lit(cluster)).and(col("event_time").gt_eq(time(*from)))
        });
        let of = further.fold(recent, Expr::or);
        ask_wide(&self.news, |events| events.filter(of), wanted)
    }

    /// Whether a row arrived before a time, microseconds.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn any_before(&self, time_micros: i64) -> Result<bool, HistoryError> {
        let before = col("ingest_time").lt(time(time_micros));
        let one = |events: DataFrame| {
            events.filter(before)?.select_columns(&["ingest_time"])?.limit(0, Some(1))
        };
        Ok(ask(&self.news, one)?.each(|_| {})? > 0)
    }

    /// Gives all rows from an event time up to another, microseconds, in the order of their event
    /// times and ids; gives their number. Columns that are not wanted are NULL, unless every row
    /// has them. They are sorted in memory: ask for a [slice](super::slice) at a time.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn in_order(
        &self,
        (from, to): (i64, i64),
        wanted: &BTreeSet<String>,
        take: impl FnMut(&RecordBatch),
    ) -> Result<u64, HistoryError> {
        let order = ["event_time", "event_id"].map(|name| col(name).sort(true, false));
        let within = col("event_time").gt_eq(time(from)).and(col("event_time").lt(time(to)));
        let sorted = |events: DataFrame| {
            // What is not wanted is not sorted either.
            events.filter(within)?.select_columns(&names(wanted))?.sort(order.to_vec())
        };
        let recalled = ask(&self.events, sorted)?;
        Recalled { is_narrow: true, ..recalled }.each(take)
    }

    /// Which keys were seen when: columns `cluster`, those of the key, `first` and `last` in
    /// microseconds of event time; of the rows for which all conditions are true, from `lookback`
    /// (microseconds) before the first of those that were `taken` in, and that arrived or happened
    /// before these. A key has several rows where it was seen over more than `lookback`: between
    /// `first` and `last` it was not away for as long.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn keys(
        &self,
        conditions: &[Expr],
        key: &[Expr],
        lookback: i64,
        taken: &Lookback,
    ) -> Result<Recalled, HistoryError> {
        let until = taken.since;
        let old = col("ingest_time").lt(time(until)).or(col("event_time").lt(time(until)));
        self.keys_of(old, conditions, key, (taken.earliest(), lookback))
    }

    /// The same of the rows that happened before an event time, microseconds.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn keys_before(
        &self,
        conditions: &[Expr],
        key: &[Expr],
        lookback: i64,
        until: i64,
    ) -> Result<Recalled, HistoryError> {
        self.keys_of(col("event_time").lt(time(until)), conditions, key, (until, lookback))
    }

    fn keys_of(
        &self,
        old: Expr,
        conditions: &[Expr],
        key: &[Expr],
        (first, lookback): (i64, i64),
    ) -> Result<Recalled, HistoryError> {
        let old = old.and(col("event_time").gt_eq(time(first.saturating_sub(lookback))));
        let condition = conditions.iter().cloned().fold(old, Expr::and);
        let mut groups = vec![col("cluster")];
        let numbered = key.iter().cloned().enumerate();
        groups.extend(numbered.map(|(number, expr)| expr.alias(format!("key_{number}"))));
        groups.push(
            (cast(col("event_time"), DataType::Int64) / lit(lookback.max(1))).alias("stretch"),
        );
        ask(&self.events, |events| {
            let aggregates =
                vec![min(col("event_time")).alias("first"), max(col("event_time")).alias("last")];
            let keys = (0..key.len()).map(|number| col(format!("key_{number}")));
            let shown = [col("cluster")]
                .into_iter()
                .chain(keys)
                .chain(["first", "last"].map(|name| cast(col(name), DataType::Int64).alias(name)));
            events.filter(condition)?.aggregate(groups, aggregates)?.select(shown)
        })
    }

    /// The earliest event of each cluster: columns `cluster` and `first`, microseconds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn earliest(&self) -> Result<Recalled, HistoryError> {
        ask(&self.events, |events| {
            let first = vec![min(col("event_time")).alias("first")];
            let first = events.aggregate(vec![col("cluster")], first)?;
            first.select(vec![col("cluster"), cast(col("first"), DataType::Int64).alias("first")])
        })
    }
}

/// An answer, of the table as it was when it was asked; it is worked on while it is waited for.
pub struct Recalled {
    stream: SendableRecordBatchStream,
    runtime: Runtime,
    /// Columns that were not read are to be there.
    is_narrow: bool,
}

/// What there is of an answer.
#[derive(Debug)]
pub enum Part {
    /// More of its rows.
    Rows(RecordBatch),
    /// Nothing yet.
    NotYet,
    /// Nothing more.
    End,
}

impl Recalled {
    /// More of it, if there is any within about this time. Not for use inside an async runtime.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn within(&mut self, limit: Duration) -> Result<Part, HistoryError> {
        let Self { stream, runtime, is_narrow } = self;
        match runtime.block_on(async { timeout(limit, stream.next()).await }) {
            Err(_) => Ok(Part::NotYet),
            Ok(None) => Ok(Part::End),
            Ok(Some(rows)) if *is_narrow => Ok(Part::Rows(widened(&rows?)?)),
            Ok(Some(rows)) => Ok(Part::Rows(rows?)),
        }
    }

    /// Gives all of it; gives the number of rows. Not for use inside an async runtime.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn each(mut self, mut take: impl FnMut(&RecordBatch)) -> Result<u64, HistoryError> {
        let mut count = 0;
        loop {
            // `take` may have a runtime of its own: it is called outside of ours.
            match self.within(Duration::from_hours(1))? {
                Part::Rows(rows) => {
                    count += rows.num_rows() as u64;
                    take(&rows);
                }
                Part::NotYet => {}
                Part::End => return Ok(count),
            }
        }
    }
}

impl fmt::Debug for Recalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recalled").field("is_narrow", &self.is_narrow).finish_non_exhaustive()
    }
}

fn ask(
    table: &Arc<dyn TableProvider>,
    question: impl FnOnce(DataFrame) -> Result<DataFrame, DataFusionError>,
) -> Result<Recalled, HistoryError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(DataFusionError::from)?;
    let stream = runtime.block_on(async {
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        question(context.read_table(Arc::clone(table))?)?.execute_stream().await
    })?;
    Ok(Recalled { stream, runtime, is_narrow: false })
}

fn ask_wide(
    table: &Arc<dyn TableProvider>,
    question: impl FnOnce(DataFrame) -> Result<DataFrame, DataFusionError>,
    wanted: &BTreeSet<String>,
) -> Result<Recalled, HistoryError> {
    let recalled = ask(table, |events| question(events)?.select_columns(&names(wanted)))?;
    Ok(Recalled { is_narrow: true, ..recalled })
}

fn time(micros: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
}
