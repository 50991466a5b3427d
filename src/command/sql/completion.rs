//! What a word may become when Tab is pressed: keywords, tables, columns, functions, orders.

use std::collections::BTreeSet;

use arrow::array::{Array as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

const KEYWORDS: &str = "\
    ALL AND AS ASC BETWEEN BY CASE CAST COUNT CROSS DESC DESCRIBE DISTINCT ELSE END EXCEPT EXISTS \
    EXPLAIN FALSE FILTER FROM FULL GROUP HAVING ILIKE IN INNER INTERSECT INTERVAL IS JOIN LEFT \
    LIKE LIMIT NOT NULL OFFSET ON OR ORDER OUTER OVER PARTITION RIGHT SELECT SHOW TABLES THEN \
    TIMESTAMP TRUE UNION USING VALUES WHEN WHERE WITH";
const ORDERS: [&str; 7] = ["\\?", "\\d", "\\df", "\\dt", "\\q", "\\timing", "\\x"];

/// One query that names tables, columns and functions, a kind and a name a row.
pub(super) const NAMES: &str = "
    SELECT 'name' AS kind, table_name AS name FROM information_schema.tables
    UNION SELECT 'name', column_name FROM information_schema.columns WHERE table_schema = 'public'
    UNION SELECT 'function', routine_name FROM information_schema.routines";

/// Words that may follow.
#[derive(Debug, Default)]
pub(super) struct Words {
    words: BTreeSet<String>,
}

impl Words {
    /// Keywords, and what the rows of [`NAMES`] name.
    pub(super) fn new(names: &[RecordBatch]) -> Self {
        let mut words: BTreeSet<String> = KEYWORDS.split_whitespace().map(str::to_owned).collect();
        for batch in names {
            let texts = |place: usize| {
                let column = batch.columns().get(place)?;
                let column = cast(column, &DataType::Utf8).ok()?;
                let texts = column.as_any().downcast_ref::<arrow::array::StringArray>()?.clone();
                Some(texts)
            };
            let (Some(kinds), Some(names)) = (texts(0), texts(1)) else { continue };
            for (kind, name) in kinds.iter().zip(names.iter()) {
                let Some(name) = name else { continue };
                let call = if kind == Some("function") { "(" } else { "" };
                words.insert(format!("{name}{call}"));
            }
        }
        Self { words }
    }

    /// Where the word at `place` begins, and what it may become.
    fn completions(&self, line: &str, place: usize) -> (usize, Vec<String>) {
        let before = line.get(..place).unwrap_or(line);
        if before.starts_with('\\') && !before.contains(' ') {
            let orders = ORDERS.into_iter().filter(|order| order.starts_with(before));
            return (0, orders.map(str::to_owned).collect());
        }
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let start = before.rfind(|c: char| !is_part(c)).map_or(0, |place| {
            place
                + before.get(place..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8)
        });
        let begun = before.get(start..).unwrap_or_default();
        if begun.is_empty() {
            return (start, Vec::new());
        }
        let wanted = begun.to_lowercase();
        let fits = |word: &&String| word.to_lowercase().starts_with(&wanted);
        (start, self.words.iter().filter(fits).cloned().collect())
    }
}

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        place: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.completions(line, place))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_completed_where_they_stand() {
        let mut words = Words::new(&[]);
        words.words.extend(["events", "event_time", "exec_command("].map(str::to_owned));
        let check = |line: &str, start: usize, expected: &[&str]| {
            let found = words.completions(line, line.len());
            assert_eq!(
                found,
                (start, expected.iter().map(|w| (*w).to_owned()).collect()),
                "{line}"
            );
        };
        check("sel", 0, &["SELECT"]);
        check("SELECT * FROM ev", 14, &["event_time", "events"]);
        check("SELECT e.exec", 9, &["exec_command("]);
        check("\\d", 0, &["\\d", "\\df", "\\dt"]);
        check("\\d ev", 3, &["event_time", "events"]);
        check("SELECT ", 7, &[]);
        check("", 0, &[]);
        check("é", 0, &[]);
    }
}
