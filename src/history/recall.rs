//! What the loop asks of the past while it runs: rows in memory and in files, as they are now.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::{max, min};
use datafusion::logical_expr::{Expr, cast, col, lit};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt as _;
use tokio::runtime::Builder;

use super::error::HistoryError;

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

    /// Gives a cluster's rows from an event time up to another that arrived from one time up to
    /// another, microseconds, in no order; gives their number.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn between(
        &self,
        cluster: &str,
        happened: (i64, i64),
        arrived: (i64, i64),
        take: impl FnMut(&RecordBatch),
    ) -> Result<u64, HistoryError> {
        let of = col("cluster").eq(lit(cluster));
        let within = |name: &str, (from, to): (i64, i64)| {
            col(name).gt_eq(time(from)).and(col(name).lt(time(to)))
        };
        let of = of.and(within("event_time", happened)).and(within("ingest_time", arrived));
        ask(&self.events, |events| events.filter(of), take)
    }

    /// Gives the rows that arrived at or after a time, microseconds, in no order; gives their
    /// number. Imported rows do not count, here and below.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn arrived(&self, since: i64, take: impl FnMut(&RecordBatch)) -> Result<u64, HistoryError> {
        let since = col("ingest_time").gt_eq(time(since));
        ask(&self.news, |events| events.filter(since), take)
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
        Ok(ask(&self.news, one, |_| {})? > 0)
    }

    /// Gives all rows from an event time up to another, microseconds, in the order of their event
    /// times and ids; gives their number. They are sorted in memory: ask for a
    /// [slice](super::slice) at a time.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn in_order(
        &self,
        (from, to): (i64, i64),
        take: impl FnMut(&RecordBatch),
    ) -> Result<u64, HistoryError> {
        let order = ["event_time", "event_id"].map(|name| col(name).sort(true, false));
        let within = col("event_time").gt_eq(time(from)).and(col("event_time").lt(time(to)));
        ask(&self.events, |events| events.filter(within)?.sort(order.to_vec()), take)
    }

    /// Gives which keys were seen when: columns `cluster`, those of the key, `first` and `last` in
    /// microseconds of event time; of the rows from `from` on for which all conditions are true,
    /// and that arrived or happened before `until`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn keys(
        &self,
        conditions: &[Expr],
        key: &[Expr],
        (from, until): (i64, i64),
        take: impl FnMut(&RecordBatch),
    ) -> Result<u64, HistoryError> {
        let old = col("ingest_time").lt(time(until)).or(col("event_time").lt(time(until)));
        let old = old.and(col("event_time").gt_eq(time(from)));
        let condition = conditions.iter().cloned().fold(old, Expr::and);
        let mut groups = vec![col("cluster")];
        let numbered = key.iter().cloned().enumerate();
        groups.extend(numbered.map(|(number, expr)| expr.alias(format!("key_{number}"))));
        ask(
            &self.events,
            |events| {
                let aggregates = vec![
                    min(col("event_time")).alias("first"),
                    max(col("event_time")).alias("last"),
                ];
                let keys = (0..key.len()).map(|number| col(format!("key_{number}")));
                let shown = [col("cluster")].into_iter().chain(keys).chain(
                    ["first", "last"].map(|name| cast(col(name), DataType::Int64).alias(name)),
                );
                events.filter(condition)?.aggregate(groups, aggregates)?.select(shown)
            },
            take,
        )
    }

    /// Gives the earliest event of each cluster: columns `cluster` and `first`, microseconds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn earliest(&self, take: impl FnMut(&RecordBatch)) -> Result<u64, HistoryError> {
        ask(
            &self.events,
            |events| {
                let first = vec![min(col("event_time")).alias("first")];
                let first = events.aggregate(vec![col("cluster")], first)?;
                first.select(vec![
                    col("cluster"),
                    cast(col("first"), DataType::Int64).alias("first"),
                ])
            },
            take,
        )
    }
}

fn ask(
    table: &Arc<dyn TableProvider>,
    question: impl FnOnce(DataFrame) -> Result<DataFrame, DataFusionError>,
    mut take: impl FnMut(&RecordBatch),
) -> Result<u64, HistoryError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(DataFusionError::from)?;
    let mut stream = runtime.block_on(async {
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        question(context.read_table(Arc::clone(table))?)?.execute_stream().await
    })?;
    let mut rows = 0;
    // `take` may have a runtime of its own: it is called outside of ours.
    while let Some(batch) = runtime.block_on(stream.next()) {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        take(&batch);
    }
    Ok(rows)
}

fn time(micros: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
}
