//! What a detection takes of the events: which rows pass its conditions, and what it makes of
//! each of them.
//!
//! Every query begins with filters and projections over `events`. Taken apart, they are conditions
//! over the table's columns, which the [index](super::index) finds rows for, and expressions over
//! the same columns, which are worked out for these rows only.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::common::{Column, DFSchema, DFSchemaRef, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, LogicalPlan, lit};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionContext;

use crate::event::schema::events_schema;
use crate::sql::functions::pattern::compiled;

/// Conditions on rows of the events table, and what is made of the rows that pass.
#[derive(Debug)]
pub(crate) struct Intake {
    /// All must be true. Columns are those of the events table, without a qualifier.
    pub(crate) conditions: Vec<Expr>,
    /// The plan's columns.
    pub(crate) outputs: Outputs,
}

impl Intake {
    /// Of a plan of filters and projections over `events`; `None` for any other shape.
    ///
    /// # Errors
    /// When DataFusion cannot plan it.
    pub(crate) fn of(context: &SessionContext, plan: &LogicalPlan) -> Result<Option<Self>> {
        Self::over(context, &events_schema(), plan)
    }

    /// The same over another table with these columns.
    ///
    /// # Errors
    /// When DataFusion cannot plan it.
    pub(crate) fn over(
        context: &SessionContext,
        table: &SchemaRef,
        plan: &LogicalPlan,
    ) -> Result<Option<Self>> {
        let state = context.state();
        let optimized = state.optimize(plan)?;
        let Some(flat) = Flat::of(&optimized)? else { return Ok(None) };
        let fields = plan.schema().fields().iter().zip(&flat.columns);
        let outputs = fields.map(|(field, (_, expr))| (field.name().clone(), expr.clone()));
        let outputs = Outputs::new(context, table, outputs.collect())?;
        Ok(Some(Self { conditions: flat.conditions, outputs }))
    }

    /// Of what reads no events.
    ///
    /// # Errors
    /// None that is known.
    pub(crate) fn nothing(context: &SessionContext) -> Result<Self> {
        let outputs = Outputs::new(context, &events_schema(), Vec::new())?;
        Ok(Self { conditions: vec![lit(false)], outputs })
    }
}

/// A plan of filters and projections as expressions over the columns of its scan.
struct Flat {
    columns: Vec<(Column, Expr)>,
    conditions: Vec<Expr>,
}

impl Flat {
    fn of(plan: &LogicalPlan) -> Result<Option<Self>> {
        match plan {
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
                let columns = scan.projected_schema.columns().into_iter();
                let columns = columns.map(|column| {
                    let own = Expr::Column(Column::new_unqualified(&column.name));
                    (column, own)
                });
                let mut flat = Self { columns: columns.collect(), conditions: Vec::new() };
                let filters = scan.filters.clone().into_iter();
                let unqualified = filters.map(|filter| {
                    let columns = flat.substitutions();
                    substitute(filter, &columns)
                });
                let filters = unqualified.collect::<Result<Vec<_>>>()?;
                flat.conditions.extend(filters.into_iter().flat_map(split_conjunction_owned));
                Ok(Some(flat))
            }
            LogicalPlan::Filter(filter) => {
                let Some(mut flat) = Self::of(&filter.input)? else { return Ok(None) };
                let predicate = substitute(filter.predicate.clone(), &flat.substitutions())?;
                flat.conditions.extend(split_conjunction_owned(predicate));
                Ok(Some(flat))
            }
            LogicalPlan::Projection(projection) => {
                let Some(flat) = Self::of(&projection.input)? else { return Ok(None) };
                let columns = flat.substitutions();
                let outputs = projection.schema.columns().into_iter().zip(&projection.expr);
                let outputs = outputs.map(|(column, expr)| {
                    Ok((column, substitute(expr.clone().unalias_nested().data, &columns)?))
                });
                let columns = outputs.collect::<Result<_>>()?;
                Ok(Some(Self { columns, conditions: flat.conditions }))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let Some(flat) = Self::of(&alias.input)? else { return Ok(None) };
                let columns = alias.schema.columns().into_iter();
                let columns = columns.zip(flat.columns.into_iter().map(|(_, expr)| expr));
                Ok(Some(Self { columns: columns.collect(), conditions: flat.conditions }))
            }
            // A condition that is never true.
            LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row => {
                let columns = empty.schema.iter().map(|(qualifier, field)| {
                    let column = Column::new(qualifier.cloned(), field.name());
                    let null = ScalarValue::try_from(field.data_type())?;
                    Ok((column, Expr::Literal(null, None)))
                });
                let columns = columns.collect::<Result<_>>()?;
                Ok(Some(Self { columns, conditions: vec![lit(false)] }))
            }
            _ => Ok(None),
        }
    }

    fn substitutions(&self) -> HashMap<Column, Expr> {
        self.columns.iter().cloned().collect()
    }
}

fn unqualified(expr: Expr) -> Result<Expr> {
    let replaced = expr.transform_up(|expr| match expr {
        Expr::Column(Column { relation: Some(_), name, .. }) => {
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
        }
        other => Ok(Transformed::no(other)),
    });
    replaced.data()
}

fn substitute(expr: Expr, columns: &HashMap<Column, Expr>) -> Result<Expr> {
    let replaced = expr.transform_up(|expr| match &expr {
        Expr::Column(column) => match columns.get(column) {
            Some(replacement) => Ok(Transformed::yes(replacement.clone())),
            None => Ok(Transformed::no(expr)),
        },
        _ => Ok(Transformed::no(expr)),
    });
    replaced.data()
}

/// Some functions (`coalesce`) are only there until they are simplified.
pub(crate) fn simplifier(schema: &DFSchemaRef) -> ExprSimplifier {
    ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::clone(schema)).build())
}

/// Expressions over columns of the events table, or of another.
#[derive(Debug)]
pub(crate) struct Expressions {
    /// The table's columns that they read, by position.
    columns: Vec<usize>,
    schema: SchemaRef,
    planned: Vec<Arc<dyn PhysicalExpr>>,
}

impl Expressions {
    /// Of logical expressions over columns of the events table.
    pub(crate) fn new(context: &SessionContext, expressions: &[Expr]) -> Result<Self> {
        Self::over(context, &events_schema(), expressions)
    }

    /// Of logical expressions over columns of a table with these columns.
    pub(crate) fn over(
        context: &SessionContext,
        table: &SchemaRef,
        expressions: &[Expr],
    ) -> Result<Self> {
        let unqualified = expressions.iter().cloned().map(unqualified);
        let unqualified = unqualified.map(|expr| compiled(expr?));
        let expressions = unqualified.collect::<Result<Vec<_>>>()?;
        let mut columns = Vec::new();
        for expr in &expressions {
            for column in expr.column_refs() {
                columns.push(table.index_of(&column.name)?);
            }
        }
        columns.sort_unstable();
        columns.dedup();
        let schema = Arc::new(table.project(&columns)?);
        let named = DFSchema::try_from(Arc::clone(&schema))?;
        let state = context.state();
        let planned =
            expressions.iter().map(|expr| state.create_physical_expr(expr.clone(), &named));
        Ok(Self { columns, schema, planned: planned.collect::<Result<_>>()? })
    }

    /// The table's columns that they read.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().map(|field| field.name().as_str())
    }

    /// Their values for these rows of a batch of the table, in their order.
    pub(crate) fn of(&self, batch: &RecordBatch, rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
        let all = rows.len() == batch.num_rows();
        let input = self.columns.iter().map(|at| {
            let column = batch.column(*at);
            // Rows ascend, so that all of them are the batch itself.
            if all { Ok(Arc::clone(column)) } else { take(column, rows, None) }
        });
        let input = input.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let input = RecordBatch::try_new_with_options(Arc::clone(&self.schema), input, &options)?;
        let values = self.planned.iter().map(|expr| expr.evaluate(&input)?.into_array(rows.len()));
        values.collect()
    }

    /// The value of the first of them, which reads one column, for each of some values of it.
    pub(crate) fn of_column(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let input = RecordBatch::try_new(Arc::clone(&self.schema), vec![Arc::clone(values)])?;
        let first = self.planned.first();
        let first = first.ok_or_else(|| DataFusionError::Internal("no condition".to_owned()))?;
        first.evaluate(&input)?.into_array(values.len())
    }
}

/// What is made of each row: named columns.
#[derive(Debug)]
pub(crate) struct Outputs {
    logical: Vec<(String, Expr)>,
    expressions: Expressions,
    schema: SchemaRef,
}

impl Outputs {
    fn new(
        context: &SessionContext,
        table: &SchemaRef,
        outputs: Vec<(String, Expr)>,
    ) -> Result<Self> {
        let (names, exprs): (Vec<_>, Vec<_>) = outputs.iter().cloned().unzip();
        let expressions = Expressions::over(context, table, &exprs)?;
        let types = expressions.planned.iter();
        let types = types.map(|expr| expr.data_type(&expressions.schema));
        let fields = names.into_iter().zip(types).map(|(name, data_type)| {
            // What a condition lets through is known to it, not to the type.
            Ok(Field::new(name, data_type?, true))
        });
        let schema = Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?));
        Ok(Self { logical: outputs, expressions, schema })
    }

    /// The columns of the result.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The columns of `events` that they are made of.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.expressions.columns()
    }

    /// The expression that makes a column.
    pub(crate) fn expression(&self, name: &str) -> Option<&Expr> {
        let (_, expr) = self.logical.iter().find(|(of, _)| of == name)?;
        Some(expr)
    }

    /// Of these rows of a batch of the events table.
    pub(crate) fn of(&self, batch: &RecordBatch, rows: &UInt32Array) -> Result<RecordBatch> {
        let columns = self.expressions.of(batch, rows)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}
