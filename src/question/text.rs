//! Values in the place of `$name` in SQL.
//!
//! Promise: a value stays one value, whatever is in it: text is quoted, and a `$name` in a literal
//! or a comment is left alone. A server has no other way to take values with a question.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::event::time::rfc3339;

/// What stands for a `$name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing is said: NULL.
    Null,
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Microseconds since 1970, UTC.
    Time(i64),
    /// SQL of our own, such as a condition for each of several values.
    Sql(String),
}

/// Why values cannot be put in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FillError {
    /// The text is no SQL.
    #[error("{0}")]
    NoSql(String),
    /// A name that nobody gave a value.
    #[error("no value for `${0}`")]
    Unknown(String),
}

/// The times that SQL can say, microseconds since 1970: those of nanoseconds in 64 bits.
const TIMES: std::ops::RangeInclusive<i64> = -9_000_000_000_000_000..=9_000_000_000_000_000;

impl Value {
    /// As it is written in SQL.
    #[must_use]
    pub fn sql(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Text(text) => quoted(text),
            Self::Int(number) => number.to_string(),
            Self::Time(time) => {
                let time = (*time).clamp(*TIMES.start(), *TIMES.end());
                // Compared with a column it becomes a time of the column's kind when it is planned.
                quoted(&rfc3339(time))
            }
            Self::Sql(sql) => sql.clone(),
        }
    }
}

/// A text as a literal of SQL.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The question with these values in it.
///
/// # Errors
/// When it is no SQL, or names something that has no value.
pub fn filled(sql: &str, values: &BTreeMap<String, Value>) -> Result<String, FillError> {
    let mut text = String::with_capacity(sql.len());
    for token in tokens(sql)? {
        match name(&token) {
            None => text.push_str(&token.to_string()),
            Some(name) => {
                let value = values.get(name).ok_or_else(|| FillError::Unknown(name.to_owned()))?;
                text.push_str(&value.sql());
            }
        }
    }
    Ok(text)
}

/// The names that a question has, each once, in their order.
///
/// # Errors
/// When it is no SQL.
pub fn names(sql: &str) -> Result<Vec<String>, FillError> {
    let mut names = Vec::new();
    for token in tokens(sql)? {
        if let Some(name) = name(&token)
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn name(token: &Token) -> Option<&str> {
    match token {
        Token::Placeholder(name) => name.strip_prefix('$'),
        _ => None,
    }
}

/// The question's words with everything between them, written as they were.
fn tokens(sql: &str) -> Result<Vec<Token>, FillError> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).with_unescape(false).tokenize();
    let tokens = tokens.map_err(|error| FillError::NoSql(error.to_string()))?;
    // They are read with their escapes resolved, and could not be written again.
    if tokens.iter().any(|token| matches!(token, Token::EscapedStringLiteral(_))) {
        return Err(FillError::NoSql("a literal with E'...' is not taken".to_owned()));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &str) {
        let values = BTreeMap::from([
            ("who".to_owned(), Value::Text("o'neil \\' $n -- \u{0}".to_owned())),
            ("n".to_owned(), Value::Int(-7)),
            ("none".to_owned(), Value::Null),
            ("since".to_owned(), Value::Time(1_772_323_200_000_000)),
            ("any".to_owned(), Value::Sql("(a OR b)".to_owned())),
        ]);
        assert_eq!(filled(sql, &values).unwrap(), expected);
    }

    #[test]
    fn values_stay_values() {
        check("a = $who", "a = 'o''neil \\'' $n -- \u{0}'");
        check("a > $n AND $any", "a > -7 AND (a OR b)");
        check("$none IS NULL", "NULL IS NULL");
        check("t >= $since", "t >= '2026-03-01T00:00:00.000000Z'");
        // What is quoted or a comment is nobody's place.
        let left = "'it''s $n' || \"$n\" /* $n */ -- $n\n|| '\\n$n'";
        check(left, left);
        let same = "x ~ '^a|b$' AND json_exists(o, '$.a[?@.b == \"c\"]') AND a->>'x' <> $$ $n $$";
        check(same, same);
    }

    #[test]
    fn what_has_no_value_is_told() {
        let error = filled("a = $b", &BTreeMap::new()).unwrap_err();
        assert_eq!(error, FillError::Unknown("b".to_owned()));
        for text in ["a = 'b", "a = E'\\n'"] {
            assert!(matches!(filled(text, &BTreeMap::new()), Err(FillError::NoSql(_))));
        }
        assert_eq!(names("$b + $a + $b + '$c'").unwrap(), ["b", "a"]);
    }

    #[test]
    fn times_out_of_range_are_the_last_that_sql_knows() {
        assert!(Value::Time(i64::MAX).sql().starts_with("'22"));
        assert!(Value::Time(i64::MIN).sql().starts_with("'16"));
    }
}
