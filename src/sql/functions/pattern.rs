//! Regular expressions that are compiled once: what `~` and `regexp_like` become in conditions that
//! are asked of every batch. `DataFusion` compiles a pattern for each batch, which takes longer
//! than //! asking the few rows of it.

use std::sync::{Arc, LazyLock};

use datafusion::common::plan_err;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, ScalarUDF, lit, not};
use regex::{Regex, RegexBuilder};

use super::text::{Argument, Gives, TextFunction, TextUdf, Value};

/// What a compiled pattern may take, bytes. A text is read in time that grows with both.
const COMPILED_BYTES_MAX: usize = 256 << 10;

/// `regexp_like(text, pattern)`
struct Matches;

impl TextFunction for Matches {
    const NAME: &'static str = "regexp_like";
    const ARGUMENTS: &'static [Argument] = &[
        Argument { name: "text", meaning: "Any text." },
        Argument { name: "pattern", meaning: "A regular expression, flags in front: `(?i)...`." },
    ];
    const DESCRIPTION: &'static str = "Whether the pattern occurs in the text.";
    const EXAMPLE: &'static str = "regexp_like(user_agent, '^kubectl/v1[.]2[0-9]')";
    const GIVES: Gives = Gives::Boolean;
    type Prepared = Regex;

    fn prepare(argument: &str) -> Result<Regex> {
        let compiled = RegexBuilder::new(argument).size_limit(COMPILED_BYTES_MAX).build();
        compiled.or_else(|error| plan_err!("regular expression `{argument}`: {error}"))
    }

    fn evaluate<'a>(pattern: &Regex, text: &'a str) -> Value<'a> {
        pattern.is_match(text).into()
    }
}

/// The same expression with its constant patterns compiled once.
///
/// # Errors
/// When a pattern is none, or takes too much.
pub(crate) fn compiled(expr: Expr) -> Result<Expr> {
    expr.transform_up(|expr| match matching(&expr) {
        Some((text, pattern, negated)) => {
            Matches::prepare(&pattern)?;
            let matches = function().call(vec![text, lit(pattern)]);
            Ok(Transformed::yes(if negated { not(matches) } else { matches }))
        }
        None => Ok(Transformed::no(expr)),
    })
    .data()
}

fn function() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> =
        LazyLock::new(|| Arc::new(TextUdf::<Matches>::function()));
    Arc::clone(&FUNCTION)
}

/// The text, the pattern with its flags, and whether it must not match.
fn matching(expr: &Expr) -> Option<(Expr, String, bool)> {
    let constant = |expr: &Expr| match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (flags, negated) = match op {
                Operator::RegexMatch => ("", false),
                Operator::RegexIMatch => ("(?i)", false),
                Operator::RegexNotMatch => ("", true),
                Operator::RegexNotIMatch => ("(?i)", true),
                _ => return None,
            };
            Some((left.as_ref().clone(), format!("{flags}{}", constant(right)?), negated))
        }
        Expr::ScalarFunction(call) if call.func.name() == Matches::NAME => {
            let [text, pattern, flags @ ..] = call.args.as_slice() else { return None };
            let flags = match flags {
                [] => String::new(),
                [flags] => constant(flags)?,
                _ => return None,
            };
            let known = flags.chars().all(|flag| "imsx".contains(flag));
            let flags = if flags.is_empty() { flags } else { format!("(?{flags})") };
            known.then_some((text.clone(), format!("{flags}{}", constant(pattern)?), false))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray as _, StringViewArray};
    use arrow::record_batch::RecordBatch;
    use datafusion::common::DFSchema;

    use super::*;
    use crate::sql::context::session;

    const TEXTS: [Option<&str>; 6] =
        [Some("kubectl/v1.29"), Some("KUBECTL"), Some("curl"), Some(""), Some("a\nb"), None];

    #[test]
    fn compiled_patterns_say_what_the_engine_says() {
        for condition in [
            "t ~ '^kube'",
            "t ~* '^kube'",
            "t !~ '^kube'",
            "t !~* 'KUBE'",
            "t ~ ''",
            "regexp_like(t, '^b$')",
            "regexp_like(t, '^B$', 'im')",
            "regexp_like(t, 'a.b', 's')",
            "NOT regexp_like(t, 'v1[.]2[0-9]') AND t ~ 'r'",
        ] {
            assert_eq!(answers(condition, true), answers(condition, false), "{condition}");
        }
    }

    #[test]
    fn patterns_that_are_none_or_too_large_are_errors() {
        for (pattern, expected) in [("(a", "unclosed group"), ("(\\w{99}){99}", "size limit")] {
            let expr = lit("x").like(lit("x")).and(function().call(vec![lit("x"), lit(pattern)]));
            let error = compiled(expr).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    fn answers(condition: &str, compile: bool) -> Vec<Option<bool>> {
        let texts = StringViewArray::from(TEXTS.to_vec());
        let batch = RecordBatch::try_from_iter([("t", Arc::new(texts) as _)]).unwrap();
        let schema = DFSchema::try_from(batch.schema()).unwrap();
        let state = session().unwrap().state();
        let expr = state.create_logical_expr(condition, &schema).unwrap();
        let expr = if compile {
            let changed = compiled(expr.clone()).unwrap();
            assert_ne!(changed, expr);
            changed
        } else {
            expr
        };
        let planned = state.create_physical_expr(expr, &schema).unwrap();
        let values = planned.evaluate(&batch).unwrap().into_array(batch.num_rows()).unwrap();
        values.as_boolean().iter().collect()
    }
}
