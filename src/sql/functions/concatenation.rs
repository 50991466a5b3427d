//! `a || b || c` of analysts' queries as one bounded call.
//!
//! The engine's own operator makes a text for each link of a chain, uncounted. This makes one for
//! the whole chain, says before how large it will be, and means the same: NULL where one of them
//! is NULL; what is no text is written as one. Lists are left to the engine.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::compute::can_cast_types;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable as _, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::bounded::{admit, content_bytes};
use crate::sql::meter::Meter;

/// What errors and plans call it.
pub(super) const NAME: &str = "||";

/// Plans chains of `||` as calls.
#[derive(Debug)]
pub(super) struct Concatenation(Arc<ScalarUDF>);

impl Concatenation {
    pub(super) fn new(meter: Arc<Meter>) -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        Self(Arc::new(ScalarUDF::from(Concatenated { signature, meter })))
    }
}

impl ExprPlanner for Concatenation {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let open = |side: &Expr| matches!(side, Expr::Placeholder(_));
        if expr.op != BinaryOperator::StringConcat || open(&expr.left) || open(&expr.right) {
            return Ok(PlannerResult::Original(expr));
        }
        let types = [expr.left.get_type(schema)?, expr.right.get_type(schema)?];
        if !types.iter().any(is_text) || types.iter().any(|kind| !is_written(kind)) {
            return Ok(PlannerResult::Original(expr));
        }
        let mut links = match expr.left {
            Expr::ScalarFunction(call) if call.func.name() == NAME => call.args,
            other => vec![other],
        };
        links.push(expr.right);
        let call = ScalarFunction::new_udf(Arc::clone(&self.0), links);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, value) => is_text(value),
        other => other.is_string(),
    }
}

/// Whether a value of this type can be written as a text.
fn is_written(kind: &DataType) -> bool {
    let of_bytes = matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    !kind.is_nested() && !of_bytes && can_cast_types(kind, &DataType::Utf8View)
}

#[derive(Debug)]
struct Concatenated {
    signature: Signature,
    meter: Arc<Meter>,
}

// There is one in a session.
impl PartialEq for Concatenated {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Concatenated {}

impl std::hash::Hash for Concatenated {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        NAME.hash(state);
    }
}

impl ScalarUDFImpl for Concatenated {
    fn name(&self) -> &'static str {
        NAME
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let mut name = String::new();
        for (number, link) in args.iter().enumerate() {
            let between = if number == 0 { "" } else { " || " };
            write!(name, "{between}{}", link.schema_name())?;
        }
        Ok(name)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        if let Some(kind) = kinds.iter().find(|kind| !is_written(kind)) {
            return plan_err!("`||` joins texts, and {kind} is none: CAST it");
        }
        Ok(vec![DataType::Utf8View; kinds.len()])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let links = args.args.iter().map(Link::of).collect::<Result<Vec<_>>>()?;
        let bytes = links.iter().map(|link| link.bytes(rows)).fold(0_u64, u64::saturating_add);
        admit(&self.meter, NAME, bytes, constant)?;
        let mut texts = StringViewBuilder::with_capacity(rows);
        let mut text = String::new();
        for row in 0..rows {
            text.clear();
            let whole = links.iter().try_for_each(|link| {
                text.push_str(link.text(row)?);
                Some(())
            });
            texts.append_option(whole.map(|()| text.as_str()));
        }
        let texts: ArrayRef = Arc::new(texts.finish());
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?)
        } else {
            ColumnarValue::Array(texts)
        })
    }
}

/// One of the texts that are joined.
enum Link {
    Same(Option<String>),
    ByRow(ArrayRef),
}

impl Link {
    fn of(value: &ColumnarValue) -> Result<Self> {
        Ok(match value.cast_to(&DataType::Utf8View, None)? {
            ColumnarValue::Scalar(value) => {
                Self::Same(value.try_as_str().flatten().map(str::to_owned))
            }
            ColumnarValue::Array(texts) => Self::ByRow(texts),
        })
    }

    fn bytes(&self, rows: usize) -> u64 {
        match self {
            Self::Same(text) => {
                (text.as_ref().map_or(0, String::len) as u64).saturating_mul(rows as u64)
            }
            Self::ByRow(texts) => content_bytes(texts),
        }
    }

    fn text(&self, row: usize) -> Option<&str> {
        match self {
            Self::Same(text) => text.as_deref(),
            Self::ByRow(texts) => {
                let texts: &StringViewArray = texts.as_string_view();
                texts.is_valid(row).then(|| texts.value(row))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;

    use crate::sql::context::analyst_session;

    async fn shown(sql: &str) -> String {
        let context = analyst_session(64 << 20).unwrap();
        let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
        pretty_format_batches(&rows).unwrap().to_string()
    }

    #[tokio::test]
    async fn chains_mean_what_the_operator_means() {
        let table = "(VALUES ('a', 1, TRUE), (NULL, 2, FALSE), ('c', NULL, NULL)) AS t(x, n, b)";
        let rows = format!("SELECT x || '-' || n || (b || x) AS j, x || 'y' FROM {table}");
        insta::assert_snapshot!(shown(&rows).await, @r#"
        +----------+------------------+
        | j        | t.x || Utf8("y") |
        +----------+------------------+
        | a-1truea | ay               |
        |          |                  |
        |          | cy               |
        +----------+------------------+
        "#);
        let constants =
            "SELECT 'a' || 1 || 'b' AS a, NULL || 'x' AS n, [1] || 2 AS l, '' || '' AS e";
        insta::assert_snapshot!(shown(constants).await, @r"
        +-----+---+--------+---+
        | a   | n | l      | e |
        +-----+---+--------+---+
        | a1b |   | [1, 2] |   |
        +-----+---+--------+---+
        ");
        let grouped = format!(
            "SELECT x || 'k' AS k, count(*) AS n FROM {table} GROUP BY x || 'k' ORDER BY x || 'k'"
        );
        insta::assert_snapshot!(shown(&grouped).await, @r"
        +----+---+
        | k  | n |
        +----+---+
        | ak | 1 |
        | ck | 1 |
        |    | 1 |
        +----+---+
        ");
    }
}
