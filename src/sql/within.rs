//! A table of which a reader sees the rows of some clusters only.
//!
//! Promise: no expression of a reader's is evaluated over a row of another cluster, so that neither
//! an answer nor an error (`CAST(user_name AS INT)`) says anything of it, nor what lies around the
//! rows in memory. What goes below the condition on the cluster are comparisons of columns with
//! constants, which cannot fail.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue, exec_datafusion_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
};
use datafusion::prelude::{col, lit};
use futures::StreamExt as _;

use super::compact::compact;
use crate::event::ClusterName;

/// The column that says whose a row is.
const CLUSTER: &str = "cluster";

/// The rows of these clusters in another table; none, of a table without a column `cluster`.
#[derive(Debug)]
pub struct WithinTable {
    table: Arc<dyn TableProvider>,
    clusters: Vec<Expr>,
}

impl WithinTable {
    /// What this table has of these clusters.
    #[must_use]
    pub fn new(table: Arc<dyn TableProvider>, clusters: &BTreeSet<ClusterName>) -> Self {
        Self { table, clusters: clusters.iter().map(|name| lit(name.as_str())).collect() }
    }
}

/// Told to sessions of who does not see all clusters. EXPLAIN is not for them: statistics and names
/// of files are of all rows.
#[derive(Debug)]
pub struct Bounded;

/// Operators that have an answer for all values of their types.
const COMPARISONS: [Operator; 10] = [
    Operator::And,
    Operator::Or,
    Operator::Eq,
    Operator::NotEq,
    Operator::Lt,
    Operator::LtEq,
    Operator::Gt,
    Operator::GtEq,
    Operator::IsDistinctFrom,
    Operator::IsNotDistinctFrom,
];

/// Whether a condition cannot fail, whatever row it is asked of.
fn is_harmless(filter: &Expr) -> bool {
    let mut harmless = true;
    let walked = filter.apply(|part| {
        harmless &= match part {
            Expr::BinaryExpr(binary) => COMPARISONS.contains(&binary.op),
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::Between(_)
            | Expr::InList(_) => true,
            _ => false,
        };
        Ok(if harmless { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    harmless && walked.is_ok()
}

#[async_trait::async_trait]
impl TableProvider for WithinTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| {
                if is_harmless(filter) {
                    TableProviderFilterPushDown::Inexact
                } else {
                    TableProviderFilterPushDown::Unsupported
                }
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.table.schema();
        let all = || (0..schema.fields().len()).collect();
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(all);
        let Ok(cluster) = schema.index_of(CLUSTER) else {
            return Ok(Arc::new(EmptyExec::new(Arc::new(schema.project(&wanted)?))));
        };
        let mut read = wanted.clone();
        if !read.contains(&cluster) {
            read.push(cluster);
        }
        let theirs = col(CLUSTER).in_list(self.clusters.clone(), false);
        let mut harmless: Vec<Expr> =
            filters.iter().filter(|filter| is_harmless(filter)).cloned().collect();
        harmless.push(theirs.clone());
        let scan = self.table.scan(state, Some(&read), &harmless, None).await?;
        let columns = DFSchema::try_from(Arc::clone(&scan.schema()))?;
        let theirs = state.create_physical_expr(theirs, &columns)?;
        let mut rows: Arc<dyn ExecutionPlan> = Arc::new(FilterExec::try_new(theirs, scan)?);
        if read.len() > wanted.len() {
            let named = |at: usize| {
                let field = columns.inner().fields().get(at);
                let name = field.map(|field| field.name().clone());
                let name = name.ok_or_else(|| exec_datafusion_err!("a column is missing"))?;
                Ok((Arc::new(Column::new(&name, at)) as Arc<dyn PhysicalExpr>, name))
            };
            let columns = (0..wanted.len()).map(named).collect::<Result<Vec<_>>>()?;
            rows = Arc::new(ProjectionExec::try_new(columns, rows)?);
        }
        Ok(Arc::new(WithinExec(rows)))
    }
}

/// Another table, in which some columns have no values.
#[derive(Debug)]
pub struct MaskedTable {
    table: Arc<dyn TableProvider>,
    masked: &'static [&'static str],
}

impl MaskedTable {
    /// This table without the values of these columns, which may be NULL in it.
    #[must_use]
    pub fn new(table: Arc<dyn TableProvider>, masked: &'static [&'static str]) -> Self {
        Self { table, masked }
    }
}

#[async_trait::async_trait]
impl TableProvider for MaskedTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.table.scan(state, projection, &[], None).await?;
        let schema = rows.schema();
        let column = |(at, field): (usize, &Arc<Field>)| {
            let name = field.name().clone();
            let value: Arc<dyn PhysicalExpr> = if self.masked.contains(&name.as_str()) {
                Arc::new(Literal::new(ScalarValue::try_from(field.data_type())?))
            } else {
                Arc::new(Column::new(&name, at))
            };
            Ok((value, name))
        };
        let columns = schema.fields().iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(WithinExec(Arc::new(ProjectionExec::try_new(columns, rows)?))))
    }
}

/// A step that nothing of a reader's is moved below: no condition, no projection.
#[derive(Debug)]
struct WithinExec(Arc<dyn ExecutionPlan>);

impl DisplayAs for WithinExec {
    fn fmt_as(&self, _form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WithinExec")
    }
}

impl ExecutionPlan for WithinExec {
    fn name(&self) -> &'static str {
        "WithinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.0]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(children.pop().map_or(self, |rows| Arc::new(Self(rows))))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.0.execute(partition, context)?;
        // A filter leaves values of rows that it took out in dictionaries.
        let rows = rows.map(|rows| Ok(compact(&rows?)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
