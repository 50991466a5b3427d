//! A grouped query taken apart: what is read of each row, how it is added up, and what is asked
//! of a group.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt32Array, new_null_array,
};
use arrow::compute::{cast, filter, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable as _, LogicalPlan, LogicalPlanBuilder, Operator,
};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionContext;

use super::super::explain::sql;
use super::super::intake::{Intake, simplifier};
use super::super::plan::{EVENT_COLUMNS, input_column};
use super::super::value::Value;
use super::super::windowed::{Grouped, key_name};
use super::aggregate::{Aggregate, Extreme, Kind, Partial};
use super::answers::Answers;
use super::column::{column, comes_back};

/// What a grouped query comes to.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Names of the key columns, without the cluster; in the intake they come first.
    pub(crate) names: Arc<[String]>,
    pub(crate) aggregates: Vec<Aggregate>,
    /// The group columns, then the aggregates.
    schema: SchemaRef,
    /// Which key column each group column is; `None` for the cluster.
    groups: Vec<Option<usize>>,
    having: Option<Arc<dyn PhysicalExpr>>,
    /// The HAVING reads group columns.
    having_reads_key: bool,
    shown: Vec<Arc<dyn PhysicalExpr>>,
    shown_names: Arc<[String]>,
    /// Counts that the HAVING demands at least: aggregate and number.
    pub(crate) floors: Vec<(usize, i64)>,
    /// The same in words.
    pub(crate) thresholds: Vec<String>,
    /// A group that is found stays found while events come.
    pub(crate) monotone: bool,
}

impl Plan {
    /// Takes a query apart whose plan has been analysed (types are coerced); `None` when it has
    /// something that only a run of the whole query can tell.
    ///
    /// # Errors
    /// When DataFusion cannot plan a part of it.
    pub(crate) fn of(
        context: &SessionContext,
        grouped: &Grouped<'_>,
        monotone: bool,
    ) -> Result<Option<(Self, Intake)>> {
        let aggregate = grouped.aggregate;
        let mut inputs = Inputs::default();
        let (mut names, mut groups) = (Vec::new(), Vec::new());
        for (expr, column) in aggregate.group_expr.iter().zip(aggregate.schema.columns()) {
            let name = key_name(grouped.projection, expr, &column);
            if name == "cluster" {
                groups.push(None);
                continue;
            }
            if !comes_back(&expr.get_type(aggregate.input.schema())?) {
                return Ok(None);
            }
            groups.push(Some(names.len()));
            inputs.expressions.push(expr.clone().unalias_nested().data);
            names.push(name);
        }
        let mut aggregates = Vec::new();
        for expr in &aggregate.aggr_expr {
            let Expr::AggregateFunction(function) = expr.clone().unalias_nested().data else {
                return Ok(None);
            };
            if order_matters(&function) {
                return Ok(None);
            }
            aggregates.push((function, expr.get_type(aggregate.input.schema())?));
        }
        let aggregates = aggregates.into_iter().map(|(function, data_type)| {
            Pending::of(function, data_type, aggregate.input.schema(), &mut inputs)
        });
        let aggregates = aggregates.collect::<Result<Vec<_>>>()?;
        let intake = inputs.plan(&aggregate.input)?;
        let Some(intake) = Intake::of(context, &intake)? else { return Ok(None) };
        let read = intake.outputs.schema();
        let aggregates = aggregates.into_iter().map(|pending| pending.plan(context, &read));
        let aggregates = aggregates.collect::<Result<Vec<_>>>()?;
        let state = context.state();
        let simplifier = simplifier(&aggregate.schema);
        let planned = |expr: &Expr| {
            state.create_physical_expr(simplifier.simplify(expr.clone())?, &aggregate.schema)
        };
        let shown = grouped.projection.expr.iter().zip(grouped.projection.schema.fields());
        let shown = shown.map(|(expr, field)| Ok((field.name().clone(), planned(expr)?)));
        let shown = shown.collect::<Result<Vec<_>>>()?;
        let (shown_names, shown): (Vec<_>, Vec<_>) = shown.into_iter().unzip();
        let fields = aggregate.schema.fields().iter();
        let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
        let fields: Vec<Field> = fields.collect();
        let floors = grouped.having.map(|having| floors(having, grouped, &aggregates));
        let floors = floors.unwrap_or_default();
        let thresholds = floors.iter().filter_map(|(at, number)| {
            let counted = aggregate.aggr_expr.get(*at)?.clone().unalias_nested().data;
            Some(format!("{} >= {number}", sql(&unnormalize_col(counted))))
        });
        let thresholds = thresholds.collect();
        let plan = Self {
            names: names.into(),
            aggregates,
            schema: Arc::new(Schema::new(fields)),
            groups,
            having: grouped.having.map(planned).transpose()?,
            having_reads_key: grouped.having.is_some_and(|having| reads_key(having, grouped)),
            shown,
            shown_names: shown_names.into(),
            floors,
            thresholds,
            monotone,
        };
        Ok(Some((plan, intake)))
    }

    /// Asks groups of a cluster by the values of their aggregates; `key` gives the key of each, by
    /// its number. Groups of one key stand together.
    ///
    /// # Errors
    /// When an expression of the query fails.
    pub(crate) fn ask<'a>(
        &self,
        cluster: &str,
        groups: Vec<Vec<Partial>>,
        key: impl Fn(usize) -> &'a [u8],
    ) -> Result<Answers> {
        let len = groups.len();
        let mut partials: Vec<_> = groups.into_iter().map(Vec::into_iter).collect();
        let aggregates = self.aggregates.iter().map(|aggregate| {
            aggregate.column(partials.iter_mut().filter_map(Iterator::next).collect())
        });
        let aggregates = aggregates.collect::<Result<Vec<_>>>()?;
        let all: Vec<usize> = (0..len).collect();
        let found = match &self.having {
            Some(having) => {
                // Most groups are not found: their keys need not be read.
                let keys = if self.having_reads_key {
                    self.keys(cluster, &all, &key)?
                } else {
                    let fields = self.schema.fields().iter().take(self.groups.len());
                    fields.map(|field| new_null_array(field.data_type(), len)).collect()
                };
                let batch = self.batch(keys, aggregates.clone())?;
                let found = having.evaluate(&batch)?.into_array(len)?;
                found.as_boolean_opt().map(true_only)
            }
            None => None,
        };
        let found = found.unwrap_or_else(|| BooleanArray::from(vec![true; len]));
        let numbers: Vec<usize> = all.into_iter().filter(|at| found.value(*at)).collect();
        if numbers.is_empty() {
            return Ok(Answers::default());
        }
        let aggregates = aggregates.iter().map(|column| filter(column, &found));
        let aggregates = aggregates.collect::<Result<Vec<_>, _>>()?;
        let rows = self.batch(self.keys(cluster, &numbers, &key)?, aggregates)?;
        let shown = self.shown.iter().map(|expr| expr.evaluate(&rows)?.into_array(rows.num_rows()));
        let mut places = vec![None; len];
        for (row, number) in numbers.into_iter().enumerate() {
            if let Some(place) = places.get_mut(number) {
                *place = Some(row);
            }
        }
        let (names, shown) = (Arc::clone(&self.shown_names), shown.collect::<Result<_>>()?);
        Ok(Answers { names, shown, places })
    }

    fn batch(&self, mut columns: Vec<ArrayRef>, aggregates: Vec<ArrayRef>) -> Result<RecordBatch> {
        columns.extend(aggregates);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// The group columns of these groups.
    fn keys<'a>(
        &self,
        cluster: &str,
        numbers: &[usize],
        key: &impl Fn(usize) -> &'a [u8],
    ) -> Result<Vec<ArrayRef>> {
        // Several windows of a key are asked at once: it is read once.
        let (mut keys, mut places): (Vec<Vec<Value>>, Vec<u32>) = (Vec::new(), Vec::new());
        let (mut last, mut place) = (None, 0);
        for number in numbers {
            let key = key(*number);
            if last != Some(key) {
                place = u32::try_from(keys.len()).unwrap_or(u32::MAX);
                keys.push(Value::read_canonical(key));
                last = Some(key);
            }
            places.push(place);
        }
        let places = UInt32Array::from(places);
        let columns = self.groups.iter().zip(self.schema.fields()).map(|(group, field)| {
            let Some(at) = group else {
                let one = cast(&StringArray::from(vec![cluster]), field.data_type())?;
                return Ok(take(&one, &UInt32Array::from(vec![0; places.len()]), None)?);
            };
            let values = keys.iter().map(|key| key.get(*at).unwrap_or(&Value::Null));
            Ok(take(&column(values, field.data_type())?, &places, None)?)
        });
        columns.collect()
    }
}

fn reads_key(having: &Expr, grouped: &Grouped<'_>) -> bool {
    let groups = grouped.aggregate.group_expr.len();
    let schema = &grouped.aggregate.schema;
    having
        .column_refs()
        .iter()
        .any(|column| schema.maybe_index_of_column(column).is_none_or(|position| position < groups))
}

/// What the intake gives: expressions over the input of the aggregate, each once.
#[derive(Default)]
struct Inputs {
    expressions: Vec<Expr>,
}

impl Inputs {
    /// The column of an expression.
    fn column(&mut self, expr: Expr) -> usize {
        let expr = expr.unalias_nested().data;
        let known = self.expressions.iter().position(|known| *known == expr);
        known.unwrap_or_else(|| {
            self.expressions.push(expr);
            self.expressions.len() - 1
        })
    }

    fn plan(self, input: &Arc<LogicalPlan>) -> Result<LogicalPlan> {
        let numbered = self.expressions.into_iter().enumerate();
        let mut outputs: Vec<Expr> =
            numbered.map(|(at, expr)| expr.alias(format!("__{at}"))).collect();
        for name in EVENT_COLUMNS {
            outputs.push(input_column(input.schema(), name)?.alias(format!("__{name}")));
        }
        LogicalPlanBuilder::from(input.as_ref().clone()).project(outputs)?.build()
    }
}

/// An aggregate whose arguments have their place, before the intake is planned.
struct Pending {
    function: AggregateFunction,
    kind: Option<Kind>,
    arguments: Vec<usize>,
    filter: Option<usize>,
    data_type: DataType,
}

impl Pending {
    fn of(
        function: AggregateFunction,
        data_type: DataType,
        input: &DFSchema,
        inputs: &mut Inputs,
    ) -> Result<Self> {
        let types = function.params.args.iter().map(|argument| argument.get_type(input));
        let types = types.collect::<Result<Vec<_>>>()?;
        let AggregateFunctionParams { args, distinct, filter, .. } = &function.params;
        let every_row = matches!(args.as_slice(), [Expr::Literal(value, _)] if !value.is_null());
        let kind = kind(function.func.name(), *distinct, &types, &data_type);
        let counts_rows = matches!(kind, Some(Kind::Count)) && every_row;
        let arguments = if counts_rows { Vec::new() } else { args.clone() };
        let arguments = arguments.into_iter().map(|argument| inputs.column(argument)).collect();
        let filter = filter.as_ref().map(|filter| inputs.column(filter.as_ref().clone()));
        Ok(Self { function, kind, arguments, filter, data_type })
    }

    fn plan(self, context: &SessionContext, read: &SchemaRef) -> Result<Aggregate> {
        let Self { function, kind, arguments, filter, data_type } = self;
        let kind = if let Some(kind) = kind {
            kind
        } else {
            // DataFusion's own, over the intake's columns. What is literal may be its setting.
            let named = DFSchema::try_from(Arc::clone(read))?;
            let state = context.state();
            let params = function.params;
            let planned = params.args.into_iter().zip(&arguments).map(|(argument, at)| {
                let column = || Expr::Column(Column::new_unqualified(read.field(*at).name()));
                let is_literal = matches!(argument, Expr::Literal(..));
                state.create_physical_expr(if is_literal { argument } else { column() }, &named)
            });
            let planned = planned.collect::<Result<Vec<_>>>()?;
            let function = AggregateExprBuilder::new(function.func, planned)
                .schema(Arc::clone(read))
                .alias("value")
                .with_distinct(params.distinct)
                .build()?;
            let function = Arc::new(function);
            Kind::Other(function)
        };
        Ok(Aggregate { kind, arguments, filter, data_type })
    }
}

/// How an aggregate is added up by ourselves.
fn kind(name: &str, distinct: bool, types: &[DataType], result: &DataType) -> Option<Kind> {
    let [argument] = types else { return None };
    let extreme = |extreme: Extreme| match argument {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            Some(Kind::TextExtreme(extreme))
        }
        DataType::Dictionary(_, value) if value.is_string() => Some(Kind::TextExtreme(extreme)),
        DataType::Timestamp(..) => Some(Kind::Extreme(extreme)),
        whole if is_whole(whole) => Some(Kind::Extreme(extreme)),
        _ => None,
    };
    match (name, distinct) {
        ("count", false) => Some(Kind::Count),
        ("count", true) => Some(Kind::CountDistinct),
        ("min", _) => extreme(Extreme::Min),
        ("max", _) => extreme(Extreme::Max),
        ("sum", false) if is_whole(argument) && *result == DataType::Int64 => Some(Kind::Sum),
        ("bool_and", _) if *argument == DataType::Boolean => Some(Kind::Truth(Extreme::Min)),
        ("bool_or", _) if *argument == DataType::Boolean => Some(Kind::Truth(Extreme::Max)),
        _ => None,
    }
}

/// Whole numbers that an `i64` holds.
pub(super) fn is_whole(data_type: &DataType) -> bool {
    data_type.is_integer() && *data_type != DataType::UInt64
}

/// The order of rows decides what it comes to.
fn order_matters(function: &AggregateFunction) -> bool {
    let ordered =
        ["first_value", "last_value", "any_value", "nth_value", "array_agg", "string_agg"];
    !function.params.order_by.is_empty()
        || function.params.null_treatment.is_some()
        || ordered.contains(&function.func.name())
}

/// NULL is not true.
fn true_only(found: &BooleanArray) -> BooleanArray {
    found.iter().map(|found| Some(found == Some(true))).collect()
}

/// Counts that a group must have at least for `having` to be true.
fn floors(having: &Expr, grouped: &Grouped<'_>, aggregates: &[Aggregate]) -> Vec<(usize, i64)> {
    let floor = |expr: &&Expr| {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
        let (column, op, number) = match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(number, _)) => (column, *op, number),
            (Expr::Literal(number, _), Expr::Column(column)) => (column, op.swap()?, number),
            _ => return None,
        };
        let ScalarValue::Int64(Some(number)) = number.cast_to(&DataType::Int64).ok()? else {
            return None;
        };
        let at = grouped.aggregate.schema.maybe_index_of_column(column)?;
        let at = at.checked_sub(grouped.aggregate.group_expr.len())?;
        let counts = matches!(aggregates.get(at)?.kind, Kind::Count | Kind::CountDistinct);
        match op {
            Operator::GtEq if counts => Some((at, number)),
            Operator::Gt if counts => Some((at, number.saturating_add(1))),
            _ => None,
        }
    };
    split_conjunction(having).iter().filter_map(floor).collect()
}
